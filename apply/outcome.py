"""What the last reconcile of this host came to, and how it is told to other nodes."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from store.cells import MULTIPATH_APPLY, Cell
from store.clocks import Vector
from store.limits import limit

APPLY_ID = "config"
APPLIED_CLOCK = "applied_clock"
"""The detail that says up to which edits this host has applied."""


class ApplyState(enum.StrEnum):
    """Where this host stands against the wanted configuration."""

    IN_SYNC = "in-sync"
    PENDING = "pending"
    FAILED = "failed"
    TEARDOWN = "teardown"  # everything of ours is to go, and something may not go yet
    NOT_APPLICABLE = "not-applicable"  # no multipath-tools here, and nothing here needs them


class ApplyError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault or note. `since` is in unix seconds; `count` is in how many failed reconciles in a row it was met.

    `wwid` is the LUN that it is about, empty if it is about none or about several.
    """

    code: str
    message: str
    hint: str = ""
    since: float = 0.0
    count: int = 1
    wwid: str = ""


class ApplyOutcome(msgspec.Struct, frozen=True):
    """The result of one reconcile.

    `desired` and `applied` are digests, `applied` that of the last verified state; `at` is when it was verified (unix seconds, 0 = never).
    `notes` are worth knowing and are no faults. `added` and `removed` are the allow-list lines that this reconcile changed. `since` is when
    this state began (unix seconds), whatever was wanted meanwhile. `applied_clock` is the clock of the configuration that was last in
    effect, by actor in hex.
    """

    state: ApplyState
    desired: str
    applied: str = ""
    at: float = 0.0
    errors: tuple[ApplyError, ...] = ()
    notes: tuple[ApplyError, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: bool = False
    since: float = 0.0
    applied_clock: Mapping[str, int] = {}


def told_clock(clock: Vector) -> Mapping[str, int]:
    """The clock as the cell carries it; empty if it has more actors than a cell should."""
    return {actor.hex(): counter for actor, counter in sorted(clock.items())} if len(clock) <= limit("applied_clock") else {}


def awaiting(outcome: ApplyOutcome, desired: str, now: float) -> ApplyOutcome:
    """The outcome once something newer is to be applied: pending, since now (unix seconds) or since it has been."""
    since = outcome.since if outcome.state is ApplyState.PENDING else now
    return msgspec.structs.replace(outcome, state=ApplyState.PENDING, desired=desired, since=since)


def carry_on(found: Sequence[ApplyError], before: Iterable[ApplyError], now: float, *, counted: bool) -> tuple[ApplyError, ...]:
    """The same faults with the time they were first met and, if `counted`, how often; a fault is the same if code and message are."""
    known = {(error.code, error.message): error for error in before}
    result = []
    for error in dict.fromkeys(found):
        old = known.get((error.code, error.message))
        since, count = (now, 1) if old is None else (old.since, old.count + counted)
        result.append(msgspec.structs.replace(error, since=since, count=count))
    return tuple(result)


_CELL_STATES = {
    ApplyState.IN_SYNC: "healthy",
    ApplyState.NOT_APPLICABLE: "healthy",
    ApplyState.PENDING: "pending",
    ApplyState.TEARDOWN: "pending",
    ApplyState.FAILED: "failed",
}


def apply_cell(outcome: ApplyOutcome, wall: float) -> Cell:
    """The cell that tells every node how this one fares; times in its detail are ISO 8601 in UTC."""
    detail: dict[str, Any] = {
        "state": outcome.state.value,
        "desired": outcome.desired,
        "applied": outcome.applied,
        "at": _iso(outcome.at) if outcome.at else None,
        "errors": [_plain(error) for error in outcome.errors],
        "notes": [_plain(note) for note in outcome.notes],
    }
    if outcome.applied_clock:
        detail[APPLIED_CLOCK] = dict(outcome.applied_clock)
    reasons = tuple(dict.fromkeys(error.code for error in outcome.errors))
    return Cell(MULTIPATH_APPLY, APPLY_ID, _CELL_STATES[outcome.state], reasons, detail, {}, wall)


def _plain(error: ApplyError) -> dict[str, Any]:
    plain = {"code": error.code, "message": error.message, "hint": error.hint, "since": _iso(error.since), "count": error.count}
    return {**plain, "wwid": error.wwid} if error.wwid else plain


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
