"""Facts of block devices that multipathd does not print, read from sysfs.

Every fact of a dm device is believed only if its `dm/uuid` names the map in question: `dm-0` may be anything else by now, and on a host
with a simulated multipathd it always is. Paths and attribute names: Documentation/ABI of the kernel, and open-iscsi's sysfs class.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class IscsiPortal:
    """The target end of an iSCSI session."""

    address: str
    port: int
    tpgt: int


@dataclass(frozen=True)
class NvmeAddress:
    """The two ends of an NVMe path, as its controller was connected."""

    transport: str
    traddr: str
    trsvcid: str
    host_traddr: str


class PathFacts(Protocol):
    """What identifies a path and is not in the daemon's JSON; None = not known here."""

    def iscsi_portal(self, dev: str) -> IscsiPortal | None: ...

    def nvme_address(self, dev: str) -> NvmeAddress | None: ...

    def ancestry(self, dev: str) -> str | None: ...


class NoFacts:
    """Nothing beyond what the daemon prints: for a simulated host, and for pure tests."""

    def iscsi_portal(self, dev: str) -> IscsiPortal | None:
        return None

    def nvme_address(self, dev: str) -> NvmeAddress | None:
        return None

    def ancestry(self, dev: str) -> str | None:
        return None

    def map_size(self, sysfs: str, wwid: str) -> int | None:
        return None

    def attached_wwids(self) -> frozenset[str]:
        return frozenset()


class Sysfs:
    """The real host. `root` is where sysfs is mounted."""

    def __init__(self, root: Path = Path("/sys")) -> None:
        self.root = root

    def map_size(self, sysfs: str, wwid: str) -> int | None:
        """The map's exact size in bytes."""
        device = self.map_device(sysfs, wwid)
        sectors = "" if device is None else _read(device / "size")
        return int(sectors) * 512 if sectors.isdigit() else None

    def map_device(self, sysfs: str, wwid: str) -> Path | None:
        """The sysfs directory of `dm-N` if it is this WWID's map."""
        if not re.fullmatch(r"dm-[0-9]+", sysfs):
            return None
        device = self.root / "block" / sysfs
        return device if _read(device / "dm" / "uuid") == f"mpath-{wwid}" else None

    def find_map(self, wwid: str) -> Path | None:
        """The sysfs directory of this WWID's map, whatever its number."""
        for device in _children(self.root / "block", "dm-*"):
            if _read(device / "dm" / "uuid") == f"mpath-{wwid}":
                return device
        return None

    def attached_wwids(self) -> frozenset[str]:
        """WWIDs of the SCSI disks of this host as multipathd would name them, whether or not it looks at them."""
        found = (_canonical(_read(device / "device" / "wwid")) for device in _children(self.root / "block", "sd*"))
        return frozenset(wwid for wwid in found if wwid)

    def iscsi_portal(self, dev: str) -> IscsiPortal | None:
        session = self._ancestor(dev, r"session[0-9]+")
        if session is None:
            return None
        for connection in _children(self.root / "class" / "iscsi_connection", f"connection{session.name.removeprefix('session')}:*"):
            address, port = _read(connection / "persistent_address"), _read(connection / "persistent_port")
            tpgt = _read(self.root / "class" / "iscsi_session" / session.name / "tpgt")
            if address and port.isdigit():
                return IscsiPortal(address, int(port), int(tpgt) if tpgt.isdigit() else 0)
        return None

    def nvme_address(self, dev: str) -> NvmeAddress | None:
        controller = self.root / "block" / dev / "device"
        transport = _read(controller / "transport")
        if not transport:
            return None
        address = _read(controller / "address")
        fields = dict(part.partition("=")[::2] for part in address.split(",") if "=" in part)
        return NvmeAddress(transport, fields.get("traddr", address), fields.get("trsvcid", ""), fields.get("host_traddr", ""))

    def ancestry(self, dev: str) -> str | None:
        """Where the path hangs in the device tree, without the numbers that the kernel gives in the order of discovery."""
        device = self._device(dev)
        if device is None:
            return None
        parts = [part for part in device.parts if part not in ("/", "sys", "devices")]
        return "/".join(re.sub(r"^(host|target|session)[0-9]+", r"\1", re.sub(r"^[0-9]+(?=:[0-9]+:[0-9]+:)", "", part)) for part in parts)

    def _device(self, dev: str) -> Path | None:
        link = self.root / "block" / dev / "device"
        try:
            return Path("/") / link.resolve(strict=True).relative_to(self.root.resolve())
        except (OSError, ValueError, RuntimeError):
            return None

    def _ancestor(self, dev: str, pattern: str) -> Path | None:
        device = self._device(dev)
        return next((p for p in device.parents if re.fullmatch(pattern, p.name)), None) if device is not None else None


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
    try:
        return path.read_text("utf-8", "replace").strip()
    except (OSError, ValueError):
        return ""
