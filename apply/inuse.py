"""Whether a LUN's map may lose its place in the allow-list: what on this host stands on it.

Anything that holds the map holds it back: a device-mapper device above it (a partition, a logical volume, an encrypted volume), a mount or
swap area on it or on anything above it, a line in fstab that names it, an open count. A map that is not there holds nothing.
"""

import asyncio
import contextlib
import re
import shutil
from pathlib import Path
from typing import Protocol

from apply.sysfs import Sysfs

PROBE_SECONDS = 5.0
_ESCAPE = re.compile(r"\\([0-7]{3})")
_BY = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}


class InUse(Protocol):
    """The guard before pruning."""

    async def reason(self, wwid: str) -> str:
        """What uses the LUN on this host, in a few words; empty if nothing does."""


class NothingInUse:
    """The guard of a simulated host, whose maps are no block devices."""

    async def reason(self, wwid: str) -> str:
        return ""


class HostInUse:
    """The guard of a real host. `root` is where /sys, /proc, /dev and /etc are found; `dmsetup` is the program, if there is one."""

    def __init__(self, root: Path = Path("/"), dmsetup: str | None = shutil.which("dmsetup")) -> None:
        self._sysfs = Sysfs(root / "sys")
        self._root = root
        self._dmsetup = dmsetup

    async def reason(self, wwid: str) -> str:
        found = await asyncio.to_thread(self._seen, wwid)
        return await self._open_count(wwid) if found is None else found

    def _seen(self, wwid: str) -> str | None:
        """What files tell; empty if there is no such map, None if they name no user of it."""
        device = self._sysfs.find_map(wwid)
        if device is None:
            return ""
        holders = sorted(path.name for path in _listing(device / "holders"))
        if holders:
            return f"held by {', '.join(_title(self._sysfs.root / 'block' / name) for name in holders[:4])}"
        number = _read(device / "dev")
        return self._mounted(number, device.name) or None

    def _mounted(self, number: str, name: str) -> str:
        for line in _read(self._root / "proc" / "self" / "mountinfo").splitlines():
            fields = line.split()
            if len(fields) > 4 and (fields[2] == number or self._node(_source(fields)) == name):
                return f"mounted on {_unescaped(fields[4])}"
        for line in _read(self._root / "proc" / "swaps").splitlines()[1:]:
            if self._node(line.split()[0]) == name:
                return "used as swap"
        for line in _read(self._root / "etc" / "fstab").splitlines():
            fields = line.split()
            if fields and not fields[0].startswith("#") and self._node(_device_of(fields[0])) == name:
                return f"named in fstab for {fields[1] if len(fields) > 1 else fields[0]}"
        return ""

    def _node(self, device: str) -> str:
        """The kernel name of a device node, through its links."""
        if not device.startswith("/dev/"):
            return ""
        with contextlib.suppress(OSError, RuntimeError):
            return (self._root / device.lstrip("/")).resolve(strict=True).name
        return ""

    async def _open_count(self, wwid: str) -> str:
        """A process that merely opened the map (a virtual machine) shows in the open count alone, which only dmsetup tells.

        What cannot be told counts as in use: a line too many harms nobody.
        """
        if self._dmsetup is None:
            return "whether it is open cannot be told without dmsetup"
        try:
            process = await asyncio.create_subprocess_exec(
                self._dmsetup, "info", "-c", "--noheadings", "-o", "open", "-u", f"mpath-{wwid}",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            return f"dmsetup cannot be run: {error.strerror}"
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                output, _ = await process.communicate()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            return "dmsetup does not answer"
        count = output.strip()
        if process.returncode or not count.isdigit():
            return "dmsetup does not say whether it is open"
        return f"open {count.decode()} times" if int(count) else ""


def _source(fields: list[str]) -> str:
    """What is mounted, of a line of mountinfo (proc_pid_mountinfo(5)): a file system over several devices has a number of its own."""
    mark = fields.index("-") if "-" in fields else len(fields)
    return _unescaped(fields[mark + 2]) if mark + 2 < len(fields) else ""


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def _device_of(spec: str) -> str:
    """The device path behind an fstab entry (fstab(5): tags, and blanks as octal escapes)."""
    text = _unescaped(spec)
    tag, equals, value = text.partition("=")
    return f"/dev/disk/{_BY[tag]}/{value.strip(chr(34))}" if equals and tag in _BY else text


def _title(device: Path) -> str:
    return _read(device / "dm" / "name") or device.name


def _listing(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
