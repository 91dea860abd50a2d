"""Facts of block devices that multipathd does not print, read from sysfs.

Every fact of a dm device is believed only if its `dm/uuid` names the map in question: `dm-0` may be anything else by now, and on a host
with a simulated multipathd it always is. Paths and attribute names: Documentation/ABI of the kernel, and open-iscsi's sysfs class.

What identifies a path stays the same for as long as its device is there, so it is read once: the inode of a device's entry in sysfs, which
is never used twice, tells one device of a name from the next one.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from apply.designators import target_port
from apply.path_facts import IscsiPortal, NvmeAddress, nvme_address
from apply.sessions import Session, logged_in


@dataclass(frozen=True)
class _Device:
    """What was read once of one device; `inode` tells it from another one that comes under the same name."""

    inode: int
    portal: IscsiPortal | None
    nvme: NvmeAddress | None
    ancestry: str | None
    target_port: str
    wwid: str


class Sysfs:
    """The real host. `root` is where sysfs is mounted, `udev` udev's database."""

    def __init__(self, root: Path = Path("/sys"), udev: Path = Path("/run/udev/data")) -> None:
        self.root = root
        self._udev = udev
        self._block = root / "block"
        self._places: dict[str, Path] = {}
        """Where each device is found; made once, for it is asked for at every poll."""
        self._known: dict[str, _Device] = {}

    def map_size(self, sysfs: str, wwid: str) -> int | None:
        """The map's exact size in bytes."""
        device = self.map_device(sysfs, wwid)
        sectors = "" if device is None else _read(device / "size")
        return int(sectors) * 512 if sectors.isdigit() else None

    def map_device(self, sysfs: str, wwid: str) -> Path | None:
        """The sysfs directory of `dm-N` if it is this WWID's map."""
        if not re.fullmatch(r"dm-[0-9]+", sysfs):
            return None
        device = self._block / sysfs
        return device if _read(device / "dm" / "uuid") == f"mpath-{wwid}" else None

    def find_map(self, wwid: str) -> Path | None:
        """The sysfs directory of this WWID's map, whatever its number."""
        for device in _children(self._block, "dm-*"):
            if _read(device / "dm" / "uuid") == f"mpath-{wwid}":
                return device
        return None

    def attached_wwids(self) -> frozenset[str]:
        """WWIDs of the SCSI disks of this host as multipathd would name them, whether or not it looks at them."""
        try:
            with os.scandir(self._block) as entries:
                inodes = {entry.name: entry.inode() for entry in entries}
        except OSError:
            inodes = {}
        for known in (self._known, self._places):
            for name in known.keys() - inodes.keys():
                known.pop(name, None)  # an apply may look at the same time, in another thread
        found = (self._device(name, inode) for name, inode in inodes.items() if name.startswith("sd"))
        return frozenset(device.wwid for device in found if device is not None and device.wwid)

    def sessions(self) -> tuple[Session, ...]:
        """The iSCSI sessions that are logged in."""
        return tuple(logged_in(self.root))

    def iscsi_portal(self, dev: str) -> IscsiPortal | None:
        device = self._device(dev)
        return device.portal if device is not None else None

    def nvme_address(self, dev: str) -> NvmeAddress | None:
        device = self._device(dev)
        return device.nvme if device is not None else None

    def ancestry(self, dev: str) -> str | None:
        """Where the path hangs in the device tree, without the numbers that the kernel gives in the order of discovery."""
        device = self._device(dev)
        return device.ancestry if device is not None else None

    def target_port(self, dev: str) -> str:
        """The target's port as the disk names it (page 0x83); empty if it does not."""
        device = self._device(dev)
        return device.target_port if device is not None else ""

    def gone(self, dev: str, sysfs: str, wwid: str) -> bool:
        """Whether the kernel has taken away this path of the map `sysfs` (`dm-N`) while multipathd still lists it."""
        return self._inode(dev) is None and self.map_device(sysfs, wwid) is not None

    # -- one device ---------------------------------------------------------------------------------------------------

    def _device(self, dev: str, inode: int | None = None) -> _Device | None:
        """The device's facts. They are kept only if it was there before and after they were read, and none was missing meanwhile."""
        inode = self._inode(dev) if inode is None else inode
        known = self._known.get(dev)
        if inode is None or (known is not None and known.inode == inode):
            return known if inode is not None else None
        found = self._read_device(dev, inode)
        if found.ancestry is not None and self._inode(dev) == inode:
            self._known[dev] = found
        return found

    def _inode(self, dev: str) -> int | None:
        place = self._places.get(dev)
        if place is None:
            place = self._places[dev] = self._block / dev
        try:
            return place.lstat().st_ino
        except (OSError, ValueError):
            self._places.pop(dev, None)
            return None

    def _read_device(self, dev: str, inode: int) -> _Device:
        place, directory = self._place(dev), self._block / dev / "device"
        return _Device(
            inode,
            self._portal(place),
            self._nvme(directory),
            _ancestry(place) if place is not None else self._id_path(dev),
            target_port(_read_bytes(directory / "vpd_pg83")),
            _canonical(_read(directory / "wwid")),
        )

    def _portal(self, place: Path | None) -> IscsiPortal | None:
        session = next((p.name for p in place.parents if re.fullmatch(r"session[0-9]+", p.name)), None) if place is not None else None
        if session is None:
            return None
        for connection in _children(self.root / "class" / "iscsi_connection", f"connection{session.removeprefix('session')}:*"):
            address, port = _read(connection / "persistent_address"), _read(connection / "persistent_port")
            tpgt = _read(self.root / "class" / "iscsi_session" / session / "tpgt")
            if address and port.isdigit():
                return IscsiPortal(address, int(port), int(tpgt) if tpgt.isdigit() else 0)
        return None

    def _nvme(self, controller: Path) -> NvmeAddress | None:
        transport = _read(controller / "transport")
        return nvme_address(transport, _read(controller / "address")) if transport else None

    def _id_path(self, dev: str) -> str | None:
        """udev's name of the place, for a device of which sysfs tells no place."""
        number = _read(self._block / dev / "dev")
        found = re.search(r"^E:ID_PATH=(.+)$", _read(self._udev / f"b{number}"), re.MULTILINE) if number else None
        return found[1] if found is not None else None

    def _place(self, dev: str) -> Path | None:
        link = self._block / dev / "device"
        try:
            return Path("/") / link.resolve(strict=True).relative_to(self.root.resolve())
        except (OSError, ValueError, RuntimeError):
            return None


def _ancestry(place: Path) -> str:
    parts = [part for part in place.parts if part not in ("/", "sys", "devices")]
    return "/".join(re.sub(r"^(host|target|session)[0-9]+", r"\1", re.sub(r"^[0-9]+(?=:[0-9]+:[0-9]+:)", "", part)) for part in parts)


def _canonical(wwid: str) -> str:
    """sysfs writes `naa.6…`, `eui.…`; udev's ID_SERIAL, which multipathd uses, writes 3 or 2 before the same digits."""
    kind, _, rest = wwid.partition(".")
    prefix = {"naa": "3", "eui": "2"}.get(kind)
    return prefix + rest if prefix else ""


def _children(directory: Path, pattern: str) -> Iterable[Path]:
    try:
        return sorted(directory.glob(pattern))
    except OSError:
        return ()


def _read(path: Path) -> str:
    return _read_bytes(path).decode("utf-8", "replace").strip()


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError):
        return b""
