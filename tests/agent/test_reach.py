"""Who sees whom: what is told, steadily, and what it says of pairs of nodes."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.reach import (
    HEARD_PER_PEER_MOST_MS,
    HEARD_PER_PEER_MS,
    HEARD_WITHIN_MS,
    MOST_NAMES,
    Reach,
    Steady,
    cut,
    in_words,
    look,
    matrix,
    one_way,
    reach_cell,
    reach_document,
    read_reach,
)
from gossip.liveness import QUIET_AFTER_MS, QUIET_EVERY_MS, Opinion
from store.cells import GOSSIP_REACH, Cell

NAMES = ("n1", "n2", "n3", "n4")
some_names = st.frozensets(st.sampled_from(NAMES))
reaches = st.builds(Reach, some_names, some_names)


def engine(**peers: tuple[bool, int | None, Opinion]) -> Any:
    """Stands in for an engine: of each peer whether the connection to it stands, its direct age in ms, and the opinion on it."""
    return SimpleNamespace(
        peers={name: SimpleNamespace(name=name, up=up, contested=False, guest=False) for name, (up, _, _) in peers.items()},
        liveness=SimpleNamespace(opinion=lambda name: peers[name][2], direct_age_ms=lambda name, _: peers[name][1]),
    )


def test_exceptions_only_and_none_of_those_that_are_gone() -> None:
    patience = HEARD_WITHIN_MS + 5 * HEARD_PER_PEER_MS
    found = look(
        engine(
            n2=(True, patience, Opinion.ONLINE),
            n3=(True, patience + 1, Opinion.ONLINE),
            n4=(False, 10, Opinion.SUSPECT),
            n5=(False, None, Opinion.ONLINE),
            n6=(False, None, Opinion.OFFLINE),
        ),
        0,
    )
    assert found == Reach(frozenset({"n3", "n5"}), frozenset({"n4", "n5"}))


def test_patience_has_a_bound_however_many_peers_there_are() -> None:
    bound = HEARD_WITHIN_MS + HEARD_PER_PEER_MOST_MS
    assert bound <= 25_000 and bound - QUIET_AFTER_MS > 2 * QUIET_EVERY_MS, "one that is merely quiet was asked twice before"
    peers = {f"n{n}": (True, bound + (n == 7), Opinion.ONLINE) for n in range(64)}
    assert look(engine(**peers), 0).unheard == {"n7"}


def test_peers_that_are_only_passing_by_do_not_count() -> None:
    seen = engine(n2=(False, None, Opinion.ONLINE), n3=(False, None, Opinion.ONLINE))
    seen.peers["n2"].guest = True
    seen.peers["n3"].contested = True
    assert look(seen, 0) == Reach()


@given(st.lists(reaches, min_size=1, max_size=12))
def test_only_what_was_found_twice_in_a_row_is_told(found: list[Reach]) -> None:
    steady, told = Steady(), []
    for each in found:
        told.append(steady.observe(each))
    before = [Reach(), *found[:-1]]
    for now, last, reach in zip(found, before, told, strict=True):
        for field in (0, 1):
            assert now[field] & last[field] <= reach[field] <= now[field] | last[field]


def test_a_flapping_connection_does_not_flap_in_the_report() -> None:
    steady = Steady()
    bad = Reach(frozenset({"n2"}), frozenset())
    assert [steady.observe(reach) for reach in (bad, Reach(), bad, Reach())] == [Reach()] * 4
    assert [steady.observe(reach) for reach in (bad, bad, Reach(), bad, Reach(), Reach())] == [Reach(), bad, bad, bad, bad, Reach()]


@given(reaches)
def test_a_cell_tells_it_all(reach: Reach) -> None:
    cell = reach_cell(reach, 5.0)
    assert cell.key == (GOSSIP_REACH, "reach") and read_reach(cell) == reach
    assert (cell.state == "healthy") is (reach == Reach())


def test_a_cell_has_its_bounds_and_nonsense_is_left_out() -> None:
    many = frozenset(f"n{n}" for n in range(3000))
    assert len(reach_cell(Reach(many, many), 0.0).detail["unheard"]) == MOST_NAMES
    assert read_reach(None) is None
    assert read_reach(Cell(GOSSIP_REACH, "reach", "healthy", detail={"unheard": [1, "n2", None], "unreached": 5})) == Reach(
        frozenset({"n2"}), frozenset()
    )


def test_one_way_and_cut_pairs_are_named() -> None:
    told = {
        "n1": Reach(frozenset({"n2"}), frozenset()),
        "n2": Reach(frozenset(), frozenset({"n1"})),
        "n3": Reach(frozenset({"n4"}), frozenset({"n4"})),
        "n4": Reach(frozenset({"n3"}), frozenset()),
        "n5": None,
    }
    assert one_way(told) == [("n2", "n1")]
    assert cut(told) == [("n3", "n4")]
    assert in_words(told) == ["n2 hears n1, n1 does not hear n2", "n3 and n4 do not hear each other"]
    sees = matrix(told, told, frozenset({"n5"}))
    assert sees["n1"] == {"n1": "self", "n2": "unheard", "n3": "ok", "n4": "ok", "n5": "offline"}
    assert sees["n2"]["n1"] == "unreached" and sees["n3"]["n4"] == "cut" and sees["n5"]["n1"] == "unknown"


def test_a_connection_that_cannot_be_made_is_told_before_anybody_misses_a_word() -> None:
    told: dict[str, Reach | None] = {"n1": Reach(frozenset(), frozenset({"n3"})), "n2": Reach(), "n3": Reach()}
    assert one_way(told) == [("n1", "n3")] and not cut(told)
    assert in_words(told) == ["n1 cannot connect to n3, but hears it"]
    nodes: dict[str, dict[str, Any]] = {name: {"state": "online", "age_seconds": 0.0} for name in told}
    document = reach_document(nodes, told)
    assert document["one_way"] == [{"hears": "n1", "unheard": "n3"}] and document["problems"] == in_words(told)
    told["n3"] = Reach(frozenset({"n1"}), frozenset())
    assert in_words(told) == ["n1 hears n3, n3 does not hear n1"]
    told["n3"] = Reach(frozenset(), frozenset({"n1"}))
    assert in_words(told) == ["n1 and n3 do not reach each other"] and not one_way(told) and cut(told) == [("n1", "n3")]


@given(st.dictionaries(st.sampled_from(NAMES), st.none() | reaches))
def test_a_pair_is_one_way_or_cut_or_neither(told: dict[str, Reach | None]) -> None:
    one, both = one_way(told), cut(told)
    for a, b in one:
        first, second = told[a], told[b]
        assert first is not None and second is not None and b not in first.unheard
        assert a in second.unheard or b in first.unreached
        assert (a, b) not in both and (b, a) not in both and (b, a) not in one
    nodes: dict[str, dict[str, Any]] = {name: {"state": "online", "age_seconds": 0.0} for name in NAMES}
    document = reach_document(nodes, told)
    assert [row["node"] for row in document["nodes"]] == list(NAMES) and len(document["problems"]) == len(one) + len(both)


@pytest.mark.parametrize("field", ["unheard", "unreached"])
def test_a_document_shows_what_nobody_told_as_unknown(field: str) -> None:
    [row] = reach_document({"n1": {"state": "offline", "age_seconds": None}}, {})["nodes"]
    assert row[field] is None and row["sees"] == {"n1": "self"}
