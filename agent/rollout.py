"""How far an edit has come: which member has committed it, and which host has applied it, as this node has heard."""

from collections.abc import Mapping
from typing import Any

from agent.cell_view import iso, said, said_all
from agent.history import History
from agent.lasting import lasting
from agent.picture import Picture
from apply.outcome import APPLIED_CLOCK, ApplyState
from gossip.engine import Engine
from store.cells import MULTIPATH_APPLY, CellView
from store.clocks import Dot, covers
from store.document import OVERRIDES, is_config_key
from store.errors import UsageError
from store.matrix import Reporter

UNKNOWN, WAITING, COMMITTED, APPLIED, FAILED, NOT_APPLICABLE = "unknown", "waiting", "committed", "applied", "failed", "not-applicable"
STATES = (FAILED, UNKNOWN, WAITING, COMMITTED, APPLIED, NOT_APPLICABLE)
"""Where a member stands with an edit: what needs somebody's eye first."""


def rollout(engine: Engine, picture: Picture, dot: Dot) -> dict[str, Any]:
    """How far an edit has come.

    `done` says that every member has it: applied where it concerns hosts (the configuration and the overrides do), else committed.
    """
    signed = engine.replica.signed(dot)
    hosts = signed is None or any(_for_hosts(key) for key in signed.edit.changes)  # collected: what it was is not asked, only where it is
    reporters = picture.reporters()
    nodes = [_standing(engine, picture, member.name, dot, reporters, hosts=hosts) for member in engine.replica.registry.active]
    ended = {APPLIED, NOT_APPLICABLE} if hosts else {COMMITTED}
    return {
        "edit": str(dot),
        "author": signed.edit.author if signed else None,
        "wall": iso(signed.edit.wall) if signed else None,
        "reason": signed.edit.reason if signed else None,
        "keys": sorted(signed.edit.changes) if signed else None,
        "hosts": hosts,
        "done": all(node["state"] in ended for node in nodes),
        "counts": {state: sum(node["state"] == state for node in nodes) for state in STATES},
        "nodes": nodes,
    }


async def newest(history: History) -> Dot:
    """The newest edit of the configuration or the overrides. UsageError `not-found` if nobody ever wrote."""
    found = await history.newest(_for_hosts)
    if found is None:
        raise UsageError("nobody has written a configuration yet", code="not-found", hint="name an edit of `pathmesh config history`")
    return found


def _for_hosts(key: str) -> bool:
    return is_config_key(key) or key == OVERRIDES


def _standing(engine: Engine, picture: Picture, name: str, dot: Dot, reporters: Mapping[str, Reporter], *, hosts: bool) -> dict[str, Any]:
    """One member. What it was known to have it has for good; what it does now is known only while it is heard."""
    own = name == engine.identity.name
    clock = engine.replica.fold.clock if own else engine.clock_of(name)
    heard = reporters.get(name) is Reporter.FRESH
    told = picture.cell(name, MULTIPATH_APPLY, "config")
    cell = told.whole() if told is not None else None
    committed = clock is not None and covers(clock, dot)
    state, code, message = UNKNOWN, "", ""
    if committed or _applied(cell, dot, ""):
        state, code, message = _of_committed(cell, dot, picture.config.apply_digest, heard=heard) if hosts else (COMMITTED, "", "")
    elif clock is not None and heard:
        state, message = WAITING, "lacks the edit"
    else:
        message = _unheard(reporters.get(name), picture.age_seconds(name))
    return {
        "node": name,
        "state": state,
        "code": code or None,
        "message": message or None,
        "reporter": reporters[name].value if name in reporters else Reporter.UNHEARD.value,
        "age_seconds": picture.age_seconds(name),
    }


def _unheard(reporter: Reporter | None, age: float | None) -> str:
    """Why it is not known where a member stands."""
    if reporter is Reporter.FRESH:
        return "heard, but it has not told yet which edits it has"
    return "not heard since this agent's start" if age is None else f"not heard for {lasting(age)}"


def _of_committed(cell: CellView | None, dot: Dot, digest: str, *, heard: bool) -> tuple[str, str, str]:
    """The state of a member that has the edit, with the first fault of a failed apply."""
    if cell is None:
        return COMMITTED, "", ""
    state = said(cell.detail, "state", "")
    if state == ApplyState.NOT_APPLICABLE:
        return NOT_APPLICABLE, "", ""
    if _applied(cell, dot, digest):
        return APPLIED, "", ""
    if heard and state == ApplyState.FAILED and said(cell.detail, "desired", "") == digest:
        fault = next(iter(said_all(cell.detail, "errors", dict)), {})
        return FAILED, said(fault, "code", "failed"), said(fault, "message", "")
    return COMMITTED, "", ""


def _applied(cell: CellView | None, dot: Dot, digest: str) -> bool:
    """Whether the node's apply cell shows that the edit is in effect there.

    By the clock it applied up to; where it tells none (an older version, or too many actors), by having what this node wants, if told.
    """
    if cell is None:
        return False
    clock: dict[str, Any] = said(cell.detail, APPLIED_CLOCK, {})
    if clock:
        counter = clock.get(dot.actor.hex())
        return type(counter) is int and counter >= dot.counter
    return bool(digest) and said(cell.detail, "applied", "") == digest
