"""What stands on each map of this host, read from sysfs and /proc alone: nothing here opens a device, so nothing here can hang.

A use is a short text `<kind>:<name>`:

    pv:<volume group>       the map, or a partition of it, holds a volume group (its name from an active logical volume, or from LVM itself)
    dm:<name>               another device of device-mapper stands on it (an encrypted volume, a partition that nothing uses)
    mount:<where>           a file system on it is mounted
    swap                    it is a swap area
    open:<program>          a process has it open (a virtual machine: `open:kvm 100`)
"""

import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_MAP_UUID = re.compile(r"(?:part[0-9]+-)?mpath-(.+)", re.DOTALL)
_LV_UUID = re.compile(r"LVM-(?P<group>[A-Za-z0-9]{32})[A-Za-z0-9]{32}(?:-.*)?")
_ESCAPE = re.compile(r"\\([0-7]{3})")
_UNIT_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
MOST_USES = 8
"""Uses listed for one map."""
_LONGEST = 100


@dataclass(frozen=True)
class MapDevice:
    """A device of device-mapper that is a LUN's map or a partition of it. `number` is `major:minor`; `holders` are kernel names."""

    wwid: str
    number: str
    kernel: str
    name: str
    holders: tuple[str, ...]
    partition: bool


@dataclass(frozen=True)
class HostUse:
    """One look at the host.

    `devices` are the maps and their partitions; `uses` what stands on each LUN, by WWID, sorted. Of volume groups, by uuid without dashes:
    `active` is how many of their logical volumes are active, `direct` the disks (name, WWID) under these that are no maps. `fingerprint`
    moves when devices come, go or are put on others, and when maps are mounted.
    """

    devices: tuple[MapDevice, ...] = ()
    uses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    active: Mapping[str, int] = field(default_factory=dict)
    direct: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    explained: Mapping[str, int] = field(default_factory=dict)
    """By number of a device: how many of its openers are known (each holder, a mount, a swap area)."""
    fingerprint: int = 0

    def numbers(self) -> dict[str, str]:
        """The WWID by number of each map and partition."""
        return {device.number: device.wwid for device in self.devices}


def look(root: Path = Path("/")) -> HostUse:
    """Look at the host whose /sys and /proc are below `root`; what cannot be read is not there."""
    block = root / "sys" / "block"
    names: dict[str, tuple[str, str]] = {}
    devices: list[MapDevice] = []
    active: dict[str, int] = {}
    direct: dict[str, frozenset[tuple[str, str]]] = {}
    seen = []
    for found_device in _listing(block, "dm-"):
        kernel, uuid = found_device.name, _read(found_device / "dm" / "uuid")
        names[kernel] = (uuid, _read(found_device / "dm" / "name"))
        holders: tuple[str, ...] = ()
        if found := _MAP_UUID.fullmatch(uuid):
            holders = tuple(_names(found_device / "holders"))
            number = _read(found_device / "dev")
            devices.append(MapDevice(found[1], number, kernel, names[kernel][1], holders, uuid.startswith("part")))
        elif found := _LV_UUID.fullmatch(uuid):
            active[found["group"]] = active.get(found["group"], 0) + 1
            direct[found["group"]] = direct.get(found["group"], frozenset()).union(_disks_below(found_device, root))
        seen.append((kernel, uuid, holders))
    mounts, swaps = _mounts(root), _swaps(root)
    uses: dict[str, set[str]] = {device.wwid: set() for device in devices}
    explained: dict[str, int] = {}
    for device in devices:
        own = {f"mount:{mounts[device.number]}"} if device.number in mounts else set()
        own |= {"swap"} if device.kernel in swaps else set()
        explained[device.number] = len(device.holders) + len(own)
        uses[device.wwid] |= own.union(*(_holder_uses(names.get(holder), holder) for holder in device.holders))
    partitions = {f"dm:{device.name}" for device in devices if device.partition and explained[device.number]}
    listed = {wwid: _listed(found - partitions) for wwid, found in uses.items()}
    return HostUse(tuple(devices), listed, active, direct, explained, hash((tuple(seen), tuple(sorted(explained.items())))))


def with_groups(uses: Mapping[str, tuple[str, ...]], groups: Mapping[str, Collection[str]]) -> dict[str, tuple[str, ...]]:
    """The uses with the volume groups that LVM found on maps, by WWID; an inactive group shows nowhere else."""
    return {wwid: _listed({*found, *(f"pv:{group}" for group in groups.get(wwid, ()))}) for wwid, found in uses.items()}


def kind_of(number: str, root: Path = Path("/")) -> tuple[str, str]:
    """What a block device is, `map`, `partition` (of a map), `path` (a disk with a WWID) or `other`, and the LUN's WWID if it has one."""
    link = root / "sys" / "dev" / "block" / number
    if not re.fullmatch(r"[0-9]+:[0-9]+", number) or not link.exists():
        return "other", ""
    device = link.resolve()
    uuid = _read(device / "dm" / "uuid")
    if found := _MAP_UUID.fullmatch(uuid):
        return "partition" if uuid.startswith("part") else "map", found[1]
    if (device / "dm").exists():
        return "other", ""
    disk = device.parent if (device / "partition").exists() else device
    wwid = next((found[1] for name in _names(disk / "holders") if (found := _held_by_map(disk, name))), _wwid_of_disk(disk))
    return ("path", wwid) if wwid else ("other", "")


def openers(numbers: Collection[str], root: Path = Path("/")) -> dict[str, tuple[str, ...]]:
    """Which processes have block devices open, by the devices' numbers: the program's name, and its scope if it has one (a guest's).

    Goes through the open files of every process, so ask only for devices whose open count nothing else explains. Files of /proc for which
    the kernel needs a process's memory, and files elsewhere than in /dev, are left alone: both may hang.
    """
    wanted = {os.makedev(*map(int, number.split(":"))): number for number in numbers}
    found: dict[str, set[str]] = {}
    for process in _listing(root / "proc", "", digits=True) if wanted else ():
        for number in {wanted[device] for device in _open_devices(process, root / "dev") if device in wanted}:
            found.setdefault(number, set()).add(_program(process))
    return {number: tuple(sorted(names)) for number, names in found.items()}


def _open_devices(process: Path, directory: Path) -> Iterator[int]:
    try:
        for entry in os.scandir(process / "fd"):
            try:
                if not Path(entry.path).readlink().is_relative_to(directory):
                    continue
                status = entry.stat()
            except OSError:
                continue
            if stat.S_ISBLK(status.st_mode):
                yield status.st_rdev
    except OSError:
        return


def _program(process: Path) -> str:
    """A program by its short name, and the scope it runs in, as guests do: `qemu.slice/100.scope`, `machine-qemu\\x2d1\\x2dweb.scope`."""
    unit = _read(process / "cgroup").rpartition("\n")[2].rpartition("/")[2]
    scope = unit.removesuffix(".scope") if unit.endswith(".scope") and not unit.startswith("session-") else ""
    scope = _UNIT_ESCAPE.sub(lambda match: chr(int(match[1], 16)), scope)
    return " ".join(part for part in (_read(process / "comm"), scope) if part) or "process"


def _holder_uses(found: tuple[str, str] | None, kernel: str) -> set[str]:
    if found is None:
        return {f"dm:{kernel}"}
    uuid, name = found
    return {f"pv:{group_of(name)}"} if uuid.startswith("LVM-") else {f"dm:{name or kernel}"}


def group_of(name: str) -> str:
    """The volume group in the name of a logical volume's device: `group-volume`, where each `-` of either is doubled (libdevmapper)."""
    return name.replace("--", "\0").partition("-")[0].replace("\0", "-")


def _disks_below(device: Path, root: Path) -> list[tuple[str, str]]:
    """The disks right under a logical volume that have a WWID, with it: paths, if their LUN should be used through a map."""
    disks = [name for name in _names(device / "slaves") if not name.startswith("dm-")]
    found = ((name, kind_of(_read(device / "slaves" / name / "dev"), root)) for name in disks)
    return [(name, wwid) for name, (kind, wwid) in found if kind == "path"]


def _wwid_of_disk(disk: Path) -> str:
    """The WWID of a SCSI disk as udev's ID_SERIAL has it (where sysfs has `naa.` and `eui.`, 3 and 2), of an NVMe namespace as it is."""
    kind, dot, rest = _read(disk / "device" / "wwid").partition(".")
    if prefix := {"naa": "3", "eui": "2"}.get(kind if dot else ""):
        return prefix + rest
    return _read(disk / "wwid") if disk.name.startswith("nvme") else ""


def _held_by_map(disk: Path, holder: str) -> re.Match[str] | None:
    return _MAP_UUID.fullmatch(_read(disk / "holders" / holder / "dm" / "uuid"))


def _mounts(root: Path) -> dict[str, str]:
    """Where each device is mounted, by number; of several places the first."""
    found: dict[str, str] = {}
    for line in _read(root / "proc" / "self" / "mountinfo").splitlines():
        fields = line.split()
        if len(fields) > 4:
            found.setdefault(fields[2], _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4]))
    return found


def _swaps(root: Path) -> frozenset[str]:
    """The kernel names of swap areas that are devices."""
    lines = _read(root / "proc" / "swaps").splitlines()[1:]
    names = (line.split()[0] for line in lines if line.startswith("/dev/"))
    return frozenset((root / name.lstrip("/")).resolve().name for name in names)


def _listed(uses: Collection[str]) -> tuple[str, ...]:
    """A few, cut to what a cell can hold; a name that came from elsewhere is one printable line."""
    clean = sorted({"".join(char if char.isprintable() else "?" for char in use)[:_LONGEST] for use in uses})
    return tuple(clean[:MOST_USES])


def _read(path: Path) -> str:
    """A small file of the kernel's without the blanks around it; empty if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _listing(directory: Path, prefix: str = "", *, digits: bool = False) -> list[Path]:
    return [directory / name for name in _names(directory) if name.startswith(prefix) and (not digits or name.isdigit())]


def _names(directory: Path) -> list[str]:
    """What a directory holds, in order; there may be thousands of block devices, so no object is made for each."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in entries)
    except OSError:
        return []
