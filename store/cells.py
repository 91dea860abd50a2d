"""One cell of the matrix, as its own node reports it, and the small form in which every other node keeps it."""

import hashlib
import sys
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

MULTIPATH_MAP = "multipath.map"
MULTIPATH_APPLY = "multipath.apply"
NVME_SUBSYSTEM = "nvme.subsystem"
NODE_FACTS = "node.facts"
GOSSIP_REACH = "gossip.reach"
STORAGE = "storage"
STORAGE_GROUPS = "storage.groups"
REMEMBERED_PATHS = "paths.remembered"


class CellView(Protocol):
    """What readers use of a cell, however it is kept.

    `detail` and `measures` may be decoded anew at each access: read them once, and not at all where the rest is enough.
    """

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def reasons(self) -> tuple[str, ...]: ...
    @property
    def detail(self) -> Mapping[str, Any]: ...
    @property
    def measures(self) -> Mapping[str, Any]: ...
    @property
    def observed_at(self) -> float: ...
    @property
    def key(self) -> tuple[str, str]: ...

    def whole(self) -> "Cell":
        """The cell with everything decoded."""
        ...


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

    def whole(self) -> "Cell":
        """Itself."""
        return self


def not_seen(cell: Cell, reason: str) -> Cell:
    """What is left of a cell when its node cannot look: `unknown` for this reason, with what was known last beside it."""
    if cell.state == "unknown":
        return cell if cell.reasons == (reason,) else msgspec.structs.replace(cell, reasons=(reason,))
    last = {"state": cell.state, "reasons": list(cell.reasons), **{key: cell.detail[key] for key in ("flags",) if key in cell.detail}}
    return msgspec.structs.replace(cell, state="unknown", reasons=(reason,), detail={**cell.detail, "last": last})


_canonical = msgspec.msgpack.Encoder(order="deterministic")
_body = msgspec.msgpack.Decoder(tuple[dict[str, Any], dict[str, Any]])
_PLAIN = b"\x92"
"""What a body begins with that is not compressed: a msgpack array of two. A zlib stream never does (RFC 1950, section 2.2: CM is 8)."""


class PackedCell(msgspec.Struct, frozen=True, gc=False):
    """A cell of another node: as it is read, with its detail and measures in a few hundred bytes instead of several thousand.

    A node holds the cells of all others and shows few of them at a time. Equal cells are equal without being decoded: `body` is canonical.
    What rows are made from (state and reasons) is not in it, and names that every node repeats are kept once.
    """

    kind: str
    id: str
    state: str
    reasons: tuple[str, ...]
    observed_at: float
    body: bytes
    """Detail and measures as one msgpack array, compressed if that is shorter; empty if both are."""

    @property
    def key(self) -> tuple[str, str]:
        """The resource that this cell is about."""
        return (self.kind, self.id)

    @property
    def detail(self) -> dict[str, Any]:
        """Decoded at each access."""
        return self._decoded()[0]

    @property
    def measures(self) -> dict[str, Any]:
        """Decoded at each access."""
        return self._decoded()[1]

    def whole(self) -> Cell:
        """The cell that was packed."""
        detail, measures = self._decoded()
        return Cell(self.kind, self.id, self.state, self.reasons, detail, measures, self.observed_at)

    def _decoded(self) -> tuple[dict[str, Any], dict[str, Any]]:
        body = self.body
        if not body:
            return {}, {}
        return _body.decode(body if body.startswith(_PLAIN) else zlib.decompress(body))


def pack(cell: Cell) -> PackedCell:
    """The small form of a cell that came as a message or from the disk. The order of a dict's items is not kept."""
    body = b""
    if cell.detail or cell.measures:
        body = _canonical.encode((cell.detail, cell.measures))
        body = min(body, zlib.compress(body, 1), key=len)
    reasons = tuple(sys.intern(reason) for reason in cell.reasons)
    return PackedCell(sys.intern(cell.kind), sys.intern(cell.id), sys.intern(cell.state), reasons, float(cell.observed_at), body)


def content_hash(cell: Cell) -> bytes:
    """SHA-256 of what makes the cell (32 bytes); volatile parts are left out, so equal hashes mean nothing to send."""
    return hashlib.sha256(_canonical.encode([cell.kind, cell.id, cell.state, cell.reasons, cell.detail])).digest()
