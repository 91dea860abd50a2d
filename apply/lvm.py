"""LVM on this host: what it sees, and the few things that are done with it when somebody asks for them.

Nothing is ever forced or answered `yes`: where LVM would ask before it overwrites something, it finds nobody to answer and gives up.
"""

import asyncio
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


class Lvm:
    """The LVM of the host whose /sys is below `root`. Every method raises UnavailableError (see `Programs.run`, and `lvm-failed`)."""

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
        """The types of everything that is written on a device (file systems, partition tables, members of something), by wipefs(8)."""
        argv = ("wipefs", "--no-act", "--json", "--output", "TYPE", device)
        output = await self._programs.run(*argv, seconds=PROBE_SECONDS)
        if output.status:
            raise UnavailableError(f"{device}: {output.complaint}", code="probe-failed")
        try:
            found = msgspec.json.decode(output.stdout.encode() or b'{"signatures": []}')["signatures"]
            return tuple(sorted({str(entry["type"]) for entry in found}))
        except (msgspec.MsgspecError, RecursionError, LookupError, TypeError):
            raise UnavailableError(f"{device}: wipefs gives no list of signatures", code="probe-failed") from None

    async def create(self, name: str, device: str) -> None:
        """Make the volume group `name` on a device, which becomes a physical volume with it."""
        await self._run("vgcreate", name, device, seconds=CHANGE_SECONDS)

    async def activate(self, name: str) -> None:
        """Activate the logical volumes of a group."""
        await self._run("vgchange", "--activate", "y", name, seconds=CHANGE_SECONDS)

    async def deactivate(self, name: str) -> None:
        """Deactivate them; LVM refuses while one is open."""
        await self._run("vgchange", "--activate", "n", name, seconds=CHANGE_SECONDS)

    async def _run(self, command: str, *arguments: str, seconds: float) -> Output:
        output = await self._programs.run("lvm", command, *arguments, seconds=seconds)
        if output.status:
            raise UnavailableError(f"lvm {command}: {output.complaint}", code="lvm-failed", hint="lvm's own message says what is wrong")
        return output
