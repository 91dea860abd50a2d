"""How many paths other nodes expect, read from their cells as they change."""

from typing import Any

import pytest

from agent import peer_sizes
from agent.peer_sizes import PeerSizes
from store.cells import MULTIPATH_MAP, NODE_FACTS, Cell, CellView
from store.health import HealthStream, Merge, OwnStream, new_stream

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "360014050000000100004000800000000"


def cell(wwid: str, baseline: Any) -> Cell:
    return Cell(MULTIPATH_MAP, wwid, "healthy", (), {"baseline": baseline})


class Peer:
    """A node, and its stream as it is held here."""

    def __init__(self, name: str, *cells: Cell) -> None:
        self.own = OwnStream(name, bytes(16), 1, lambda body: b"s", 0)
        self.stream: HealthStream | None = None
        self.report(*cells)

    def report(self, *cells: Cell) -> HealthStream:
        self.own.report(cells, 0)
        delta = self.own.stream.delta(self.stream.head.content if self.stream else None, 0)
        if self.stream is None:
            self.stream, result = new_stream(delta, 0, lambda *_: True)
        else:
            result = self.stream.merge(delta, 0, lambda *_: True)
        assert result is Merge.TAKEN and self.stream is not None
        return self.stream


def test_every_other_nodes_expectation_counts() -> None:
    sizes = PeerSizes()
    n2, n3 = Peer("n2", cell(A, ["p1", "p2"]), cell(B, ["p1"])), Peer("n3", cell(A, ["p1"] * 4), Cell(NODE_FACTS, "node", "healthy"))
    own = Peer("n1", cell(A, ["p1"] * 9))
    streams = {name: peer.stream for name, peer in (("n1", own), ("n2", n2), ("n3", n3)) if peer.stream is not None}
    assert sizes.look(streams, "n1") == {A: (2, 4), B: (1,)}
    n2.report(cell(A, ["p1", "p2", "p3"]))
    assert sizes.look(streams, "n1") == {A: (3, 4)}
    n2.report(cell(A, []), cell(B, {"not": "a list"}))
    assert sizes.look(streams, "n1") == {A: (4,)}
    del streams["n3"]
    assert sizes.look(streams, "n1") == {}
    anew = Peer("n2", cell(B, ["p1", "p2"])).stream
    assert anew is not None
    assert sizes.look({"n2": anew}, "n1") == {B: (2,)}


def test_only_cells_that_moved_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def size(found: CellView) -> int:
        read.append(found.id)
        return len(found.detail["baseline"])

    monkeypatch.setattr(peer_sizes, "_size", size)
    sizes, peer = PeerSizes(), Peer("n2", cell(A, ["p1"]), cell(B, ["p1"]))
    assert peer.stream is not None
    for _ in range(2):
        assert sizes.look({"n2": peer.stream}, "n1") == {A: (1,), B: (1,)}
    assert sorted(read) == sorted([A, B])
    peer.report(cell(A, ["p1"]), cell(B, ["p1", "p2"]))
    assert sizes.look({"n2": peer.stream}, "n1") == {A: (1,), B: (2,)}
    assert sorted(read) == sorted([A, B, B])
