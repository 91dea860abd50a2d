"""Whether a LUN's map may lose its place in the allow-list: what on this host stands on it.

Anything that holds the map holds it back: a device-mapper device above it (a partition, a logical volume, an encrypted volume), a mount or
swap area on it or on anything above it, a line in fstab that names it, an open count. Of a map that is not there the lines of fstab tell
that name it by its WWID, or by the name that it has by our configuration: they mean it also while its paths are away.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from apply.programs import HostPrograms, Programs
from apply.sysfs import Sysfs
from store.errors import UnavailableError

PROBE_SECONDS = 5.0
_ESCAPE = re.compile(r"\\([0-7]{3})")
_PARTITION = re.compile(r"(?:-part|p)?[0-9]+")
_BY = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}


class InUse(Protocol):
    """The guard before pruning."""

    async def reason(self, wwid: str, name: str = "") -> str:
        """What uses the LUN on this host, in a few words; empty if nothing does. `name` is what its map is, or was last, called."""


class NothingInUse:
    """The guard of a simulated host, whose maps are no block devices."""

    async def reason(self, wwid: str, name: str = "") -> str:
        return ""


class HostInUse:
    """The guard of a real host. `root` is where /sys, /proc, /dev and /etc are found."""

    def __init__(self, root: Path = Path("/"), programs: Programs | None = None) -> None:
        self._sysfs = Sysfs(root / "sys")
        self._root = root
        self._programs = programs or HostPrograms()

    async def reason(self, wwid: str, name: str = "") -> str:
        found = await asyncio.to_thread(self._seen, wwid, name)
        return await self._open_count(wwid) if found is None else found

    def _seen(self, wwid: str, name: str) -> str | None:
        """What files tell; empty if there is no such map and none is waited for, None if there is one and they name no user of it."""
        block = self._sysfs.root / "block"
        try:
            next(block.iterdir(), None)
        except OSError as fault:
            return f"whether there is a map of it cannot be told: {block}: {fault.strerror}"
        device = self._sysfs.find_map(wwid)
        if device is None:
            return self._in_fstab(lambda spec: _means(spec, wwid, name))
        holders = sorted(path.name for path in _listing(device / "holders"))
        if holders:
            return f"held by {', '.join(_title(self._sysfs.root / 'block' / name) for name in holders[:4])}"
        number, kernel = _read(device / "dev"), device.name
        return self._mounted(number, kernel) or self._in_fstab(lambda spec: self._node(spec) == kernel or _means(spec, wwid, name)) or None

    def _mounted(self, number: str, name: str) -> str:
        for line in _read(self._root / "proc" / "self" / "mountinfo").splitlines():
            fields = line.split()
            if len(fields) > 4 and (fields[2] == number or self._node(_source(fields)) == name):
                return f"mounted on {_unescaped(fields[4])}"
        for line in _read(self._root / "proc" / "swaps").splitlines()[1:]:
            if self._node(line.split()[0]) == name:
                return "used as swap"
        return ""

    def _in_fstab(self, means: Callable[[str], bool]) -> str:
        """The first line of fstab whose device, as a path, is the one that is meant."""
        for line in _read(self._root / "etc" / "fstab").splitlines():
            fields = line.split()
            if fields and not fields[0].startswith("#") and means(_device_of(fields[0])):
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
        argv = ("dmsetup", "info", "--columns", "--noheadings", "-o", "open", "--uuid", f"mpath-{wwid}")
        try:
            output = await self._programs.run(*argv, seconds=PROBE_SECONDS)
        except UnavailableError as fault:
            return f"whether it is open cannot be told: {fault.message}"
        count = output.stdout.strip()
        if output.status or not count.isdecimal():
            return "dmsetup does not say whether it is open"
        return f"open {count} times" if int(count) else ""


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


def _means(device: str, wwid: str, name: str) -> bool:
    """Whether a path means the map of a LUN or a partition of it, by the WWID or the name in it, whatever is there now."""
    directory, _, last = device.rpartition("/")
    if directory == "/dev/disk/by-id" and (wwid in last or f"wwn-0x{wwid[1:]}" in last):
        return True
    if directory not in ("/dev/mapper", "/dev/disk/by-id"):
        return False
    last = last.removeprefix("dm-name-")
    rests = (last.removeprefix(known) for known in {wwid, name} - {""} if last.startswith(known))
    return any(not rest or _PARTITION.fullmatch(rest) for rest in rests)


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
