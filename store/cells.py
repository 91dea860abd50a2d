"""One cell of the matrix, as its own node reports it."""

import hashlib
from typing import Any

import msgspec

MULTIPATH_MAP = "multipath.map"
MULTIPATH_APPLY = "multipath.apply"
NODE_FACTS = "node.facts"
GOSSIP_REACH = "gossip.reach"


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What a node says of one resource.

    `detail` is content: a change of it is a change of the cell. `measures` is volatile (counters, countdowns, sd names): it travels with
    the next change but never causes one. Both hold plain JSON values only. `observed_at` is wall time in seconds, for people only.
    """

    kind: str
    id: str
    state: str
    reasons: tuple[str, ...] = ()
    detail: dict[str, Any] = {}
    measures: dict[str, Any] = {}
    observed_at: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """The resource that this cell is about."""
        return (self.kind, self.id)


_canonical = msgspec.msgpack.Encoder(order="deterministic")


def content_hash(cell: Cell) -> bytes:
    """SHA-256 of what makes the cell (32 bytes); volatile parts are left out, so equal hashes mean nothing to send."""
    return hashlib.sha256(_canonical.encode([cell.kind, cell.id, cell.state, cell.reasons, cell.detail])).digest()
