"""LVM on this host: what it sees, and the few things that are done with it when somebody asks for them.

Nothing is ever forced or answered `yes`: where LVM would ask before it overwrites something, it finds nobody to answer and gives up.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from apply.programs import Output, Programs
from apply.usage import kind_of
from apply.volume_groups import FIELDS, Report, parse_report
from store.errors import UnavailableError

REPORT_SECONDS = 30.0
CHANGE_SECONDS = 120.0
PROBE_SECONDS = 15.0
MIB = 2**20
PROBED_MIB = 4
"""So much of either end of a device has to be readable before it is believed that nothing is written there."""


class Lvm:
    """The LVM of the host whose /sys is below `root`. Every method raises UnavailableError (see `Programs`, and `lvm-failed`)."""

    def __init__(self, programs: Programs, root: Path = Path("/")) -> None:
        self._programs = programs
        self._root = root

    @property
    def installed(self) -> bool:
        """Whether there is LVM on this host at all."""
        return self._programs.has("lvm")

    async def report(self) -> Report:
        """What LVM sees now."""
        options = ("--all", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", ",".join(FIELDS))
        output = await self._run("pvs", *options, seconds=REPORT_SECONDS)
        return await asyncio.to_thread(parse_report, output.stdout, partial(kind_of, root=self._root))

    async def signatures(self, device: str) -> tuple[str, ...]:
        """The types of everything that is written on a device (file systems, partition tables, members of something), by wipefs(8).

        What cannot be read is no signature to wipefs, and no fault either. So both ends of the device, where signatures are, are read
        past the cache first. UnavailableError `probe-failed` if that fails.
        """
        await self._read_ends(device)
        found = await self._probe(device, "wipefs", "--no-act", "--json", "--output", "TYPE", device)
        try:
            return tuple(sorted({str(entry["type"]) for entry in msgspec.json.decode(found.encode())["signatures"]}))
        except (msgspec.MsgspecError, RecursionError, LookupError, TypeError):
            raise _unprobed(device, "wipefs gives no list of signatures") from None

    async def _read_ends(self, device: str) -> None:
        size = (await self._probe(device, "blockdev", "--getsize64", device)).strip()
        if not size.isdecimal() or not int(size):
            raise _unprobed(device, "its size is not known")
        reading = ("dd", f"if={device}", "of=/dev/null", f"bs={MIB}", "iflag=direct")
        await self._probe(device, *reading, f"count={PROBED_MIB}")
        await self._probe(device, *reading, f"skip={max(0, int(size) // MIB - PROBED_MIB)}")

    async def _probe(self, device: str, *argv: str) -> str:
        output = await self._programs.run(*argv, seconds=PROBE_SECONDS)
        if output.status:
            raise _unprobed(device, f"{argv[0]}: {output.complaint}")
        return output.stdout

    async def create(self, name: str, device: str) -> None:
        """Make the volume group `name` on a device, which becomes a physical volume with it."""
        await self._change("vgcreate", name, device)

    async def activate(self, name: str, volumes: Sequence[str] = ()) -> None:
        """Activate logical volumes of a group; all if none is named."""
        await self._activate(name, volumes, "y")

    async def deactivate(self, name: str, volumes: Sequence[str] = ()) -> None:
        """Deactivate them; LVM refuses while one is open."""
        await self._activate(name, volumes, "n")

    async def _activate(self, name: str, volumes: Sequence[str], how: str) -> None:
        if volumes:
            await self._change("lvchange", "--activate", how, *(f"{name}/{volume}" for volume in volumes))
        else:
            await self._change("vgchange", "--activate", how, name)

    async def _change(self, command: str, *arguments: str) -> None:
        """Run a command that writes, to its end."""
        _checked(command, await self._programs.change("lvm", command, *arguments, seconds=CHANGE_SECONDS))

    async def _run(self, command: str, *arguments: str, seconds: float) -> Output:
        return _checked(command, await self._programs.run("lvm", command, *arguments, seconds=seconds))


def _unprobed(device: str, why: str) -> UnavailableError:
    hint = "what cannot be read may hold anything: see the kernel's log, and pathmesh node maps"
    return UnavailableError(f"{device}: whether it is empty cannot be told: {why}", code="probe-failed", hint=hint)


def _checked(command: str, output: Output) -> Output:
    if output.status:
        raise UnavailableError(f"lvm {command}: {output.complaint}", code="lvm-failed", hint="lvm's own message says what is wrong")
    return output
