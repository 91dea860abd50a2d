"""How many paths other nodes expect, read from their cells as they change."""

from typing import Any

import pytest

from agent import peer_sizes
from agent.peer_sizes import PeerSizes
from apply.storages import ExpectedNodes
from store.cells import MULTIPATH_MAP, NODE_FACTS, Cell, CellView
from store.health import HealthStream, Merge, OwnStream, new_stream

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "360014050000000100004000800000000"
EVERYWHERE = dict.fromkeys((A, B), ExpectedNodes(frozenset({"n1", "n2", "n3"}), "explicit"))


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


def test_every_peers_expectation_counts() -> None:
    sizes, peers = PeerSizes(), {"n2", "n3", "n4"}
    n2, n3 = Peer("n2", cell(A, ["p1", "p2"]), cell(B, ["p1"])), Peer("n3", cell(A, ["p1"] * 4), Cell(NODE_FACTS, "node", "healthy"))
    own = Peer("n1", cell(A, ["p1"] * 9))
    streams = {name: peer.stream for name, peer in (("n1", own), ("n2", n2), ("n3", n3)) if peer.stream is not None}
    assert sizes.look(streams, peers, EVERYWHERE) == {A: (2, 4), B: (1,)}
    n2.report(cell(A, ["p1", "p2", "p3"]))
    assert sizes.look(streams, peers, EVERYWHERE) == {A: (3, 4)}
    n2.report(cell(A, []), cell(B, {"not": "a list"}))
    assert sizes.look(streams, peers, EVERYWHERE) == {A: (4,)}
    del streams["n3"]
    assert sizes.look(streams, peers, EVERYWHERE) == {}
    anew = Peer("n2", cell(B, ["p1", "p2"])).stream
    assert anew is not None
    assert sizes.look({"n2": anew}, peers, EVERYWHERE) == {B: (2,)}


def test_only_nodes_on_which_a_lun_is_expected_count() -> None:
    """A LUN that is zoned to a backup host by one path says nothing of how many the others should have."""
    found = {name: Peer(name, cell(A, ["p1"] * n), cell(B, ["p1"])).stream for n, name in enumerate(("n2", "n3", "n4"), 2)}
    streams = {name: stream for name, stream in found.items() if stream is not None}
    expected = {A: ExpectedNodes(frozenset({"n1", "n3"}), "explicit")}
    sizes = PeerSizes()
    assert sizes.look(streams, {"n2", "n3", "n4"}, expected) == {A: (3,)}
    assert sizes.look(streams, {"n2", "n3", "n4"}, {A: ExpectedNodes(frozenset({"n1", "n4"}), "explicit")}) == {A: (4,)}
    assert sizes.look(streams, {"n2", "n4"}, EVERYWHERE) == {A: (2,), B: (1,)}


def test_only_cells_that_moved_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def size(found: CellView) -> int:
        read.append(found.id)
        return len(found.detail["baseline"])

    monkeypatch.setattr(peer_sizes, "_size", size)
    sizes, peer = PeerSizes(), Peer("n2", cell(A, ["p1"]), cell(B, ["p1"]))
    assert peer.stream is not None
    for _ in range(2):
        assert sizes.look({"n2": peer.stream}, {"n2"}, EVERYWHERE) == {A: (1,), B: (1,)}
    assert sorted(read) == sorted([A, B])
    peer.report(cell(A, ["p1"]), cell(B, ["p1", "p2"]))
    assert sizes.look({"n2": peer.stream}, {"n2"}, EVERYWHERE) == {A: (1,), B: (2,)}
    assert sorted(read) == sorted([A, B, B])
