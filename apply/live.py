"""What the daemon has in effect at one moment. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from apply.confsyntax import Block
from apply.topology import Map, Seen, Topology


@dataclass(frozen=True)
class Live:
    """One reading of the daemon; `pid` is its process."""

    pid: int
    config: Block
    topology: Topology
    seen: Mapping[str, Seen]

    @cached_property
    def maps(self) -> dict[str, Map]:
        """The maps by WWID."""
        return {found.uuid: found for found in self.topology.maps}

    @cached_property
    def names(self) -> dict[str, str]:
        """The maps' names by WWID."""
        return {found.uuid: found.name for found in self.topology.maps}
