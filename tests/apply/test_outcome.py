"""Outcomes, their cell, and the wait after a failure."""

from apply.backoff import Backoff
from apply.outcome import APPLIED_CLOCK, ApplyError, ApplyOutcome, ApplyState, apply_cell, awaiting, carry_on, told_clock
from store.cells import content_hash
from store.limits import limit


def test_the_cell_of_an_outcome() -> None:
    outcome = ApplyOutcome(
        ApplyState.FAILED,
        "d2",
        "d1",
        1_800_000_000.5,
        (ApplyError("not-installed", "gone", "apt install multipath-tools", 1_800_000_100.0, 3),),
    )
    cell = apply_cell(outcome, 1_800_000_200.0)
    assert (cell.kind, cell.id, cell.state, cell.reasons) == ("multipath.apply", "config", "failed", ("not-installed",))
    assert cell.detail == {
        "state": "failed",
        "desired": "d2",
        "applied": "d1",
        "at": "2027-01-15T08:00:00Z",
        "errors": [
            {
                "code": "not-installed",
                "message": "gone",
                "hint": "apt install multipath-tools",
                "since": "2027-01-15T08:01:40Z",
                "count": 3,
            }
        ],
        "notes": [],
    }
    assert content_hash(cell) == content_hash(apply_cell(outcome, 5.0))


def test_the_lun_that_an_error_is_about_is_told() -> None:
    errors = (ApplyError("wwid-create-failed", "no map", wwid="361"), ApplyError("write-failed", "full"))
    told = apply_cell(ApplyOutcome(ApplyState.FAILED, "d", errors=errors), 0.0).detail["errors"]
    assert [error.get("wwid") for error in told] == ["361", None]


def test_the_cell_state_of_each_apply_state() -> None:
    states = {state: apply_cell(ApplyOutcome(state, "d"), 0.0).state for state in ApplyState}
    assert states == {
        ApplyState.IN_SYNC: "healthy",
        ApplyState.PENDING: "pending",
        ApplyState.FAILED: "failed",
        ApplyState.TEARDOWN: "pending",
        ApplyState.NOT_APPLICABLE: "healthy",
    }


def test_the_cell_tells_up_to_which_edits_it_applied_unless_those_are_of_too_many_authors() -> None:
    clock = {bytes([n]) * 16: n for n in (2, 1)}
    told = told_clock(clock)
    assert told == {"01" * 16: 1, "02" * 16: 2}
    outcome = ApplyOutcome(ApplyState.IN_SYNC, "d", "d", applied_clock=told)
    assert apply_cell(outcome, 0.0).detail[APPLIED_CLOCK] == told
    assert awaiting(outcome, "d2", 1.0).applied_clock == told, "it stays told while something newer waits"
    assert APPLIED_CLOCK not in apply_cell(ApplyOutcome(ApplyState.IN_SYNC, "d", "d"), 0.0).detail
    most = {n.to_bytes(16): 1 for n in range(limit("applied_clock"))}
    assert len(told_clock(most)) == len(most) and told_clock({**most, b"x" * 16: 1}) == {}


def test_the_same_fault_keeps_its_time_and_is_counted() -> None:
    first = carry_on([ApplyError("a", "m"), ApplyError("a", "m"), ApplyError("b", "m")], (), 10.0, counted=True)
    assert first == (ApplyError("a", "m", "", 10.0, 1), ApplyError("b", "m", "", 10.0, 1))
    second = carry_on([ApplyError("b", "m", "new hint"), ApplyError("a", "other")], first, 20.0, counted=True)
    assert second == (ApplyError("b", "m", "new hint", 10.0, 2), ApplyError("a", "other", "", 20.0, 1))
    assert carry_on([ApplyError("b", "m")], second, 30.0, counted=False)[0].count == 2


def test_a_row_of_edits_does_not_make_pending_young_again() -> None:
    first = awaiting(ApplyOutcome(ApplyState.IN_SYNC, "d1", "d1", since=5.0), "d2", 10.0)
    assert (first.state, first.desired, first.applied, first.since) == (ApplyState.PENDING, "d2", "d1", 10.0)
    assert awaiting(first, "d3", 50.0) == ApplyOutcome(ApplyState.PENDING, "d3", "d1", since=10.0)


def test_backoff() -> None:
    backoff = Backoff().wanted("d1")
    assert backoff.seconds == 0
    waits = []
    for _ in range(8):
        backoff = backoff.failed("d1")
        waits.append(backoff.seconds)
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]
    assert backoff.wanted("d1") == backoff
    assert backoff.wanted("d2").seconds == 0
    assert backoff.failed("d2").seconds == 10
    assert backoff.succeeded("d1").seconds == 0
