"""The learned paths of others: what is kept of an earlier life, who answers, and what is taken."""

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.remembered import ASKS, KEEPERS, RememberedPaths, baseline_of, keepers, offered
from store.cells import MULTIPATH_MAP, NODE_FACTS, REMEMBERED_PATHS, Cell
from store.health import HealthStream, Merge, OwnStream, new_stream
from store.limits import limit

A, B = "3624a9370e92ace0b12e941bf000cb4d5", "360014050000000100004000800000000"
OLD, NEW = b"o" * 16, b"n" * 16


def lun(wwid: str, baseline: Any, state: str = "healthy") -> Cell:
    return Cell(MULTIPATH_MAP, wwid, state, (), {"baseline": baseline})


def facts(*, asks: bool = False) -> Cell:
    return Cell(NODE_FACTS, "node", "healthy", (), {ASKS: True} if asks else {})


def stream(name: str, *cells: Cell, actor: bytes = OLD, epoch: int = 1) -> HealthStream:
    """A node's stream as another one holds it."""
    own = OwnStream(name, actor, epoch, lambda body: b"s", 0)
    own.report(cells, 0)
    held, result = new_stream(own.stream.delta(None, 0), 0, lambda *_: True)
    assert result is Merge.TAKEN and held is not None
    return held


def streams(*held: HealthStream) -> dict[str, HealthStream]:
    return {one.node: one for one in held}


class Keeper:
    """A node that remembers others."""

    def __init__(self, name: str = "n1") -> None:
        self.name = name
        self.memory = RememberedPaths()

    def look(self, *held: HealthStream) -> bool:
        return self.memory.look(streams(*held), self.name, [one.node for one in held])

    def offers(self, *held: HealthStream, online: Iterable[str] = ("n1", "n2", "n3")) -> list[Cell]:
        return self.memory.offers(streams(*held), self.name, list(online), 5.0)


def paths(cells: Iterable[Cell]) -> dict[str, list[str]]:
    return {wwid: names for cell in cells for wwid, names in cell.detail["paths"].items()}


def test_a_node_that_was_reinstalled_is_told_what_it_had_learned() -> None:
    keeper = Keeper()
    assert not keeper.look(stream("n2", lun(A, ["p", "q"]), lun(B, ["r"], "degraded"), facts()))
    assert not keeper.look()
    again = stream("n2", lun(A, ["p"]), facts(asks=True), actor=NEW)
    assert keeper.look(again)
    cells = keeper.offers(again)
    assert [(cell.kind, cell.id) for cell in cells] == [(REMEMBERED_PATHS, "n2/0")]
    assert paths(cells) == {A: ["p", "q"], B: ["r"]}
    assert offered(streams(stream("n1", *cells), stream("n3", lun(A, ["x"]))), "n2") == {A: ("p", "q"), B: ("r",)}
    assert offered(streams(stream("n1", *cells)), "n3") == {}
    settled = stream("n2", lun(A, ["p", "q"]), facts(), actor=NEW)
    assert not keeper.look(settled)
    assert (keeper.offers(settled), keeper.memory.pending) == ([], False)


def test_a_mere_restart_costs_nothing() -> None:
    keeper = Keeper()
    keeper.look(stream("n2", lun(A, ["p"]), facts()))
    bare = stream("n2", epoch=2)
    assert not keeper.look(bare) and keeper.memory.pending, "it has not said anything of itself yet"
    assert keeper.offers(bare) == []
    assert not keeper.look(stream("n2", lun(A, ["p"]), facts(), epoch=2))
    assert not keeper.memory.pending


def test_a_database_that_was_lost_asks_under_the_same_actor() -> None:
    keeper = Keeper()
    keeper.look(stream("n2", lun(A, ["p", "q"]), facts()))
    asking = stream("n2", lun(A, ["p"]), facts(asks=True), epoch=2)
    assert keeper.look(asking)
    assert paths(keeper.offers(asking)) == {A: ["p", "q"]}
    once_more = stream("n2", lun(A, ["z"]), facts(asks=True), epoch=3)
    assert keeper.look(once_more)
    assert paths(keeper.offers(once_more)) == {A: ["p", "q"]}, "what it learned anew meanwhile is in its own hands"


def test_what_it_said_before_it_went_blind_counts() -> None:
    assert baseline_of(Cell(MULTIPATH_MAP, A, "unknown", ("daemon-down",), {"last": {"baseline": ["p"]}})) == ("p",)
    keeper = Keeper()
    keeper.look(stream("n2", Cell(MULTIPATH_MAP, A, "unknown", (), {"last": {"baseline": ["p", "q"]}}), facts()))
    asking = stream("n2", facts(asks=True), actor=NEW)
    keeper.look(asking)
    assert paths(keeper.offers(asking)) == {A: ["p", "q"]}


def test_a_node_that_nobody_knew_is_answered_by_nobody() -> None:
    keeper = Keeper()
    asking = stream("n2", facts(asks=True))
    assert not keeper.look(asking)
    assert keeper.offers(asking) == []


def test_a_few_answer_and_everybody_knows_who() -> None:
    names = [f"n{n}" for n in range(40)]
    chosen = keepers("n7", names)
    assert len(chosen) == KEEPERS and "n7" not in chosen
    assert keepers("n7", list(reversed(names))) == chosen
    answering = []
    for name in names:
        keeper, asking = Keeper(name), stream("n7", facts(asks=True), actor=NEW)
        keeper.look(stream("n7", lun(A, ["p"]), facts()))
        keeper.look(asking)
        if name != "n7" and keeper.offers(asking, online=names):
            answering.append(name)
    assert sorted(answering) == sorted(chosen)
    assert keepers("n7", ["n7"]) == []


def test_who_is_out_of_the_registry_is_forgotten() -> None:
    keeper = Keeper()
    keeper.look(stream("n2", lun(A, ["p"]), facts()))
    keeper.look(stream("n2", epoch=2))
    keeper.memory.forget({"n1"})
    assert not keeper.memory.pending
    assert not keeper.look(stream("n2", facts(asks=True), actor=NEW))


def test_a_large_memory_travels_in_cells_that_may_be_so_large() -> None:
    luns = {f"3{n:032x}": [f"fc:0x{n:016x}>0x{p:016x}" for p in range(8)] for n in range(500)}
    keeper = Keeper()
    keeper.look(stream("n2", *(lun(wwid, names) for wwid, names in luns.items()), facts()))
    asking = stream("n2", facts(asks=True), actor=NEW)
    keeper.look(asking)
    cells = keeper.offers(asking)
    assert len(cells) > 1
    assert paths(cells) == luns
    held = stream("n1", *cells)
    assert all(entry.size < limit("cell_bytes") for entry in held.entries.values())
    assert offered(streams(held), "n2") == {wwid: tuple(sorted(names)) for wwid, names in luns.items()}
    assert keeper.offers(asking)[0] is cells[0], "it is made once"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
)


@given(st.dictionaries(st.text(max_size=4), JSON))
def test_whatever_a_peer_offers_is_survived(detail: dict[str, Any]) -> None:
    held = stream("n1", Cell(REMEMBERED_PATHS, "n2/0", "healthy", (), detail))
    for names in offered(streams(held), "n2").values():
        assert names and all(isinstance(name, str) and name for name in names)
    keeper = Keeper()
    keeper.look(stream("n2", Cell(MULTIPATH_MAP, A, "healthy", (), detail), Cell(NODE_FACTS, "node", "healthy", (), detail)))
    keeper.look(stream("n2", facts(asks=True), actor=NEW))
    keeper.offers(stream("n2", facts(asks=True), actor=NEW))
