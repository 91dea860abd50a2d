"""Roll-ups: tables of the rules, and what holds for all of them."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.cells import Cell
from store.matrix import (
    ROLL_UP_SEVERITY,
    SEVERITY,
    CellState,
    Expectation,
    Reporter,
    RollUp,
    Row,
    Sources,
    build_rows,
    count_states,
    read_state,
    roll_up,
    show_cell,
    worst,
)

S, R = CellState, RollUp


def on(expected: Iterable[CellState], extra: Iterable[CellState] = (), *, wanted: bool = True) -> RollUp:
    """The roll-up of cells on expected nodes and on others."""
    cells = {f"e{n}": state for n, state in enumerate(expected)}
    nodes = frozenset(cells)
    return roll_up(cells | {f"x{n}": state for n, state in enumerate(extra)}, Expectation(nodes, wanted))


@pytest.mark.parametrize(
    ("expected", "extra", "result"),
    [
        ([], [], R.UNUSED),
        ([S.HEALTHY], [], R.HEALTHY),
        ([S.HEALTHY, S.HEALTHY], [], R.HEALTHY),
        ([], [S.HEALTHY], R.HEALTHY),
        # failed: something is down and nothing works
        ([S.FAILED], [], R.FAILED),
        ([S.MISSING], [], R.FAILED),
        ([S.FAILED, S.MISSING], [], R.FAILED),
        ([S.FAILED, S.UNKNOWN], [], R.FAILED),
        ([S.MISSING, S.PENDING], [], R.FAILED),
        ([], [S.FAILED], R.FAILED),
        # partial: something is down and something works
        ([S.FAILED, S.HEALTHY], [], R.PARTIAL),
        ([S.MISSING, S.DEGRADED], [], R.PARTIAL),
        ([S.MISSING, S.HEALTHY, S.UNKNOWN], [], R.PARTIAL),
        ([S.MISSING], [S.HEALTHY], R.PARTIAL),
        ([S.HEALTHY], [S.FAILED], R.PARTIAL),
        # degraded: nothing is down
        ([S.DEGRADED], [], R.DEGRADED),
        ([S.DEGRADED, S.HEALTHY], [], R.DEGRADED),
        ([S.DEGRADED, S.UNKNOWN], [], R.DEGRADED),
        ([S.DEGRADED, S.PENDING], [], R.DEGRADED),
        ([S.HEALTHY], [S.DEGRADED], R.DEGRADED),
        # unknown: all of them, or some with nothing worse
        ([S.UNKNOWN], [], R.UNKNOWN),
        ([S.UNKNOWN, S.UNKNOWN], [], R.UNKNOWN),
        ([S.HEALTHY, S.HEALTHY, S.UNKNOWN], [], R.UNKNOWN),
        ([S.PENDING, S.UNKNOWN], [], R.UNKNOWN),
        # pending: only healthy and pending
        ([S.PENDING], [], R.PENDING),
        ([S.PENDING, S.HEALTHY], [], R.PENDING),
        # what should not be there worsens nothing
        ([S.HEALTHY], [S.UNEXPECTED], R.HEALTHY),
        ([S.UNEXPECTED], [], R.HEALTHY),
        ([], [S.UNEXPECTED], R.UNUSED),
        ([], [S.ABSENT], R.UNUSED),
        ([], [S.MISSING], R.UNUSED),
    ],
)
def test_the_table(expected: list[CellState], extra: list[CellState], result: RollUp) -> None:
    assert on(expected, extra) is result


@pytest.mark.parametrize(
    ("expected", "result"),
    [
        ([S.MISSING], R.UNUSED), ([S.UNKNOWN], R.UNKNOWN), ([S.HEALTHY], R.HEALTHY), ([S.FAILED], R.FAILED), ([S.DEGRADED], R.DEGRADED),
        ([S.MISSING, S.HEALTHY], R.PARTIAL),
    ],
)  # fmt: skip
def test_what_nobody_wants_and_nobody_carries_is_unused(expected: list[CellState], result: RollUp) -> None:
    assert on(expected, wanted=False) is result


STATES = st.lists(st.sampled_from(CellState), min_size=1, max_size=6)


@given(STATES)
def test_the_order_of_nodes_does_not_count(states: list[CellState]) -> None:
    assert on(states) is on(list(reversed(states))) is on(sorted(states))


@given(STATES)
def test_repeating_a_node_changes_nothing(states: list[CellState]) -> None:
    assert on(states) is on([*states, *states])


@given(STATES)
def test_one_more_unknown_node_never_hides_anything(states: list[CellState]) -> None:
    assert ROLL_UP_SEVERITY[on([*states, S.UNKNOWN])] >= ROLL_UP_SEVERITY[on(states)]


@given(STATES)
def test_unknown_never_reads_as_healthy(states: list[CellState]) -> None:
    assert ROLL_UP_SEVERITY[on([*states, S.UNKNOWN])] >= ROLL_UP_SEVERITY[R.UNKNOWN]


@given(STATES)
def test_losing_sight_of_a_working_node_never_improves_anything(states: list[CellState]) -> None:
    blind = [S.UNKNOWN if s in (S.HEALTHY, S.PENDING) else s for s in states]
    assert ROLL_UP_SEVERITY[on(blind)] >= ROLL_UP_SEVERITY[on(states)]


@given(STATES, st.lists(st.sampled_from([S.UNEXPECTED, S.ABSENT]), max_size=3))
def test_unexpected_and_absent_worsen_nothing(states: list[CellState], extra: list[CellState]) -> None:
    assert on(states, extra) is on(states)


@given(STATES)
def test_a_worse_node_never_improves_the_whole(states: list[CellState]) -> None:
    """Along the scale of what is known to work less and less."""
    worse = {S.HEALTHY: S.DEGRADED, S.DEGRADED: S.FAILED, S.UNEXPECTED: S.HEALTHY, S.PENDING: S.UNKNOWN}
    for position, state in enumerate(states):
        if state in worse:
            changed = [*states[:position], worse[state], *states[position + 1 :]]
            if state in (S.UNEXPECTED,) and set(states) & {S.FAILED, S.MISSING}:
                continue  # one that is found to work after all makes a failure a partial one
            assert ROLL_UP_SEVERITY[on(changed)] >= ROLL_UP_SEVERITY[on(states)]


@given(STATES)
def test_every_combination_has_the_roll_up_of_its_worst_fact(states: list[CellState]) -> None:
    found = set(states)
    if found & {S.FAILED, S.MISSING}:
        assert on(states) is (R.PARTIAL if found & {S.HEALTHY, S.DEGRADED} else R.FAILED)
    else:
        for state, result in ((S.DEGRADED, R.DEGRADED), (S.UNKNOWN, R.UNKNOWN), (S.PENDING, R.PENDING)):
            if state in found:
                assert on(states) is result
                break
        else:
            assert on(states) is R.HEALTHY


def test_severities_follow_the_documented_order() -> None:
    assert list(SEVERITY) == ["absent", "healthy", "unexpected", "pending", "unknown", "degraded", "missing", "failed"]
    assert list(ROLL_UP_SEVERITY) == ["unused", "healthy", "pending", "unknown", "degraded", "partial", "failed"]


@given(st.lists(st.sampled_from(RollUp)), st.lists(st.sampled_from(RollUp)))
def test_worst_is_a_join(left: list[RollUp], right: list[RollUp]) -> None:
    assert worst([*left, *right]) is worst([worst(left), worst(right)])
    assert worst([*left, *left]) is worst(left)
    assert worst([]) is R.UNUSED


@given(st.text(max_size=20))
def test_a_state_of_a_later_version_reads_unknown(text: str) -> None:
    assert read_state(text) is (S(text) if text in set(S) else S.UNKNOWN)


CELL = Cell("multipath.map", "w", "healthy", ("fine",))


@pytest.mark.parametrize("reporter", [r for r in Reporter if r is not Reporter.FRESH])
def test_a_cell_of_a_reporter_that_cannot_be_believed_reads_unknown_and_stays_visible(reporter: Reporter) -> None:
    found = show_cell(CELL, reporter, expected=False, settled=True)
    assert found is not None
    assert (found.state, found.reasons, found.cell) == (S.UNKNOWN, (f"reporter-{reporter.value}",), CELL)
    found = show_cell(None, reporter, expected=True, settled=True)
    assert found is not None
    assert found.state is S.UNKNOWN


def test_cells_of_a_fresh_reporter() -> None:
    found = show_cell(CELL, Reporter.FRESH, expected=False, settled=True)
    assert found is not None
    assert (found.state, found.reasons) == (S.HEALTHY, ("fine",))
    missing = show_cell(None, Reporter.FRESH, expected=True, settled=True)
    assert missing is not None
    assert missing.state is S.MISSING
    pending = show_cell(None, Reporter.FRESH, expected=True, settled=False)
    assert pending is not None
    assert pending.state is S.PENDING
    assert show_cell(None, Reporter.OFFLINE, expected=False, settled=True) is None


def rows(sources: Sources, expectations: dict[str, Expectation], ids: Iterable[str] | None = None) -> dict[str, Row]:
    return {row.id: row for row in build_rows("multipath.map", sources, expectations, ids=ids)}


def carrying(state: str) -> dict[str, Cell]:
    return {"w": Cell("multipath.map", "w", state)}


def test_rows_of_a_small_cluster() -> None:
    sources = Sources(
        {"a": carrying("healthy"), "b": carrying("degraded"), "d": carrying("unexpected")},
        {"a": Reporter.FRESH, "b": Reporter.FRESH, "c": Reporter.FRESH, "d": Reporter.FRESH},
        unsettled={"c"},
    )
    found = rows(sources, {"w": Expectation(frozenset("abc"), True), "v": Expectation(frozenset("a"), True)})
    assert list(found) == ["v", "w"]
    assert {n: c.state for n, c in found["w"].nodes.items()} == {"a": S.HEALTHY, "b": S.DEGRADED, "c": S.PENDING, "d": S.UNEXPECTED}
    assert found["w"].state is R.DEGRADED
    assert found["v"].state is R.FAILED
    assert list(rows(sources, {}, ids=["w"])) == ["w"]


def test_a_node_in_maintenance_is_shown_and_not_counted() -> None:
    sources = Sources({"a": carrying("healthy"), "b": carrying("failed")}, {"a": Reporter.FRESH, "b": Reporter.FRESH}, maintenance={"b"})
    row = rows(sources, {"w": Expectation(frozenset("ab"), True)})["w"]
    assert row.state is R.HEALTHY
    assert row.nodes["b"].state is S.FAILED


def test_losing_sight_of_an_unexpected_map_worsens_nothing() -> None:
    sources = Sources({"a": carrying("healthy"), "d": carrying("unexpected")}, {"a": Reporter.FRESH, "d": Reporter.OFFLINE})
    row = rows(sources, {"w": Expectation(frozenset("a"), True)})["w"]
    assert row.nodes["d"].state is S.UNKNOWN
    assert row.state is R.HEALTHY
    row = rows(sources, {"w": Expectation(frozenset("ad"), True)})["w"]
    assert row.state is R.UNKNOWN


def test_losing_sight_of_a_carrier_is_unknown() -> None:
    sources = Sources({"a": carrying("healthy"), "d": carrying("healthy")}, {"a": Reporter.FRESH, "d": Reporter.OFFLINE})
    assert rows(sources, {"w": Expectation(frozenset("a"), True)})["w"].state is R.UNKNOWN


def unknown(last: Any) -> Cell:
    return Cell("multipath.map", "w", "unknown", ("daemon-down",), {"last": last} if last is not None else {})


@pytest.mark.parametrize(
    ("cell", "reporter", "result"),
    [
        (Cell("multipath.map", "w", "healthy"), Reporter.OFFLINE, R.UNKNOWN),
        (Cell("multipath.map", "w", "pending"), Reporter.STALE, R.UNKNOWN),
        (Cell("multipath.map", "w", "of-a-newer-version"), Reporter.FRESH, R.UNKNOWN),
        (unknown({"state": "healthy"}), Reporter.FRESH, R.UNKNOWN),
        (unknown({"state": "failed"}), Reporter.OFFLINE, R.UNKNOWN),
        (unknown(None), Reporter.FRESH, R.UNKNOWN),
        (unknown({"state": 5}), Reporter.FRESH, R.UNKNOWN),
        (unknown(["healthy"]), Reporter.FRESH, R.UNKNOWN),
        (unknown({"state": "unexpected"}), Reporter.FRESH, R.UNUSED),
        (unknown({"state": "missing"}), Reporter.FRESH, R.UNUSED),
        (Cell("multipath.map", "w", "missing"), Reporter.OFFLINE, R.UNUSED),
        (Cell("multipath.map", "w", "unexpected"), Reporter.OFFLINE, R.UNUSED),
    ],
)
def test_a_resource_that_nobody_names_is_unknown_once_its_only_carrier_is(cell: Cell, reporter: Reporter, result: RollUp) -> None:
    sources = Sources({"a": {"w": cell}}, {"a": reporter})
    row = rows(sources, {"w": Expectation()})["w"]
    assert (row.state, row.nodes["a"].reasons) == (
        result,
        (f"reporter-{reporter.value}",) if reporter is not Reporter.FRESH else cell.reasons,
    )
    (stray,) = build_rows("multipath.map", sources, {}, nothing=Expectation(stray=True))
    assert stray.state is R.UNUSED, "nobody should carry it"


def test_an_unknown_cell_of_a_node_that_is_not_expected_worsens_nothing_if_it_was_no_carrier() -> None:
    for last, result in (({"state": "unexpected"}, R.HEALTHY), ({"state": "degraded"}, R.UNKNOWN)):
        sources = Sources({"a": carrying("healthy"), "d": {"w": unknown(last)}}, {"a": Reporter.FRESH, "d": Reporter.FRESH})
        assert rows(sources, {"w": Expectation(frozenset("a"), True)})["w"].state is result
        assert rows(sources, {"w": Expectation(frozenset("ad"), True)})["w"].state is R.UNKNOWN


def test_counts_name_every_state() -> None:
    counts = count_states([Row("k", "1", R.FAILED, {}), Row("k", "2", R.FAILED, {}), Row("k", "3", R.UNUSED, {})])
    assert counts == {"unused": 1, "healthy": 0, "pending": 0, "unknown": 0, "degraded": 0, "partial": 0, "failed": 2}
