"""What the nodes say of their hosts, as far as an edit is judged by it: the tools they have, and how they see a LUN."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from apply.option_model import Version


@dataclass(frozen=True, slots=True)
class Sighting:
    """How one node sees a LUN. What it does not tell is empty."""

    node: str
    vendor: str = ""
    product: str = ""
    devnodes: tuple[str, ...] = ()
    """The paths' device names, such as sda."""
    protocols: tuple[str, ...] = ()
    """As multipathd calls them, such as scsi:fcp."""
    name: str = ""
    """What the LUN's map is called there; empty if it has none, or it is not told."""


_PROTOCOLS = {"fc": "scsi:fcp", "iscsi": "scsi:iscsi", "sas": "scsi:sas"}


def protocol_of(identity: str) -> str:
    """How multipathd calls the transport of a path, by the path's identity; empty if that does not tell."""
    kind, _, rest = identity.partition(":")
    return f"nvme:{rest.partition(':')[0]}" if kind == "nvme" and ":" in rest else _PROTOCOLS.get(kind, "")


class Hosts(Protocol):
    """Where the answers come from."""

    def oldest_tools(self) -> tuple[Version, str] | None:
        """The oldest release of multipath-tools that a node has, and the node; None if no node told."""

    def sightings(self, wwid: str) -> Sequence[Sighting]:
        """How nodes see a LUN; nothing if none does."""

    def maps_besides(self, wwids: Collection[str]) -> Mapping[str, Sequence[Sighting]]:
        """The maps that nodes have of other LUNs than these, by WWID, and how they see them."""


class NoHosts:
    """Nobody has told anything."""

    def oldest_tools(self) -> tuple[Version, str] | None:
        return None

    def sightings(self, wwid: str) -> Sequence[Sighting]:
        return ()

    def maps_besides(self, wwids: Collection[str]) -> Mapping[str, Sequence[Sighting]]:
        return {}


NOBODY = NoHosts()
