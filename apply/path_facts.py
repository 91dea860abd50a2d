"""What identifies a path and is not in the daemon's JSON: the port through which the rest of `apply` asks for it. Pure."""

from dataclasses import dataclass
from typing import Protocol

from apply.sessions import Session


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

    def target_port(self, dev: str) -> str: ...

    def gone(self, dev: str, sysfs: str, wwid: str) -> bool: ...


class NoFacts:
    """Nothing beyond what the daemon prints: for a simulated host, and for pure tests."""

    def iscsi_portal(self, dev: str) -> IscsiPortal | None:
        return None

    def nvme_address(self, dev: str) -> NvmeAddress | None:
        return None

    def ancestry(self, dev: str) -> str | None:
        return None

    def target_port(self, dev: str) -> str:
        return ""

    def gone(self, dev: str, sysfs: str, wwid: str) -> bool:
        return False

    def map_size(self, sysfs: str, wwid: str) -> int | None:
        return None

    def attached_wwids(self) -> frozenset[str]:
        return frozenset()

    def sessions(self) -> tuple[Session, ...]:
        return ()


def nvme_address(transport: str, address: str) -> NvmeAddress:
    """The ends of a controller's connection from its `transport` and `address`."""
    fields = dict(part.strip().partition("=")[::2] for part in address.split(",") if "=" in part)
    return NvmeAddress(transport, fields.get("traddr", address), fields.get("trsvcid", ""), fields.get("host_traddr", ""))
