"""Turns the engine's news into events: what edits did, who came and went, which cells and LUNs read otherwise than before.

What is cheap is told at once. Cells are told by comparing rows, which are worked out anew for that: some time after the news, so that many
of them cost one look, and never so often that it costs more than a small part of the processor. Nothing new costs nothing.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from agent import __version__
from agent.cell_view import said, said_all
from agent.edit_view import edit_line, is_late, short
from agent.event_log import STOPPED, EventLog
from agent.path_events import PathEvent, path_events
from agent.picture import Picture
from gossip.engine import Engine
from gossip.events import Alarm, Publish
from gossip.runner import boottime_ms
from store.cells import MULTIPATH_APPLY, MULTIPATH_MAP, CellView
from store.clocks import Actor, Dot
from store.limits import limit
from store.matrix import CellState, RollUp, Row, ShownCell
from store.members import MEMBER_PREFIX, MemberState

SETTLE_SECONDS = 0.1
"""How long after news the rows are compared."""
REST = 20
"""After a comparison the next waits so many times as long as it took,"""
LEAST_REST_SECONDS = 0.25
"""and at least so long."""
LOOK_SECONDS = 10.0
"""How soon what comes without news is noticed: a collection, the end of flapping."""
ALARM_AGAIN_SECONDS = 60.0
"""An alarm that is raised again within this time is no new event."""
KEYS_SHOWN = 16

_COLLECTED, _SNAPSHOTS = "edits_collected", "snapshots_taken"


class _Happening(NamedTuple):
    message: str
    more: dict[str, Any]


class EventSources:
    """Watches one node's engine and picture for its event log."""

    def __init__(self, engine: Engine, picture: Picture, events: EventLog, standing: Callable[[str, int], str]) -> None:
        """`standing(name, now_ms)` says how a member stands: `online`, `suspect`, `offline`, `left` or `retired`."""
        self._engine = engine
        self._picture = picture
        self._events = events
        self._standing_of = standing
        self._wake = asyncio.Event()
        self._clock: dict[Actor, int] = dict(engine.replica.fold.clock)
        self._conflicts = set(engine.replica.fold.conflicts)
        self._members = self._read_members()
        self._standing: dict[str, str] = {}
        self._flapping: set[str] = set()
        self._counted = self._counts()
        self._alarmed: dict[tuple[str, str], float] = {}

    def started(self) -> None:
        """The agent is up; what is there now is no news."""
        now = boottime_ms()
        self._standing = {name: self._standing_of(name, now) for name in self._members}
        self._picture.watch()
        name, epoch = self._engine.identity.name, self._engine.identity.epoch
        self._events.note("agent-started", f"the agent of {name} started", node=name, version=__version__, epoch=epoch)

    def stopped(self) -> None:
        """The agent ends in order."""
        self._look()
        name = self._engine.identity.name
        self._events.note(STOPPED, f"the agent of {name} stopped", node=name)

    def news(self, change: Publish) -> None:
        """Tell what follows from the news at once, and have the rows compared soon."""
        self._note_counts()
        if change.keys:
            self._note_edits()
            self._note_conflicts(change.keys)
            if any(key.startswith(MEMBER_PREFIX) for key in change.keys):
                self._note_members()
        if change.standing:
            self._note_standing(change.standing)
        if change.keys or change.health or change.standing:
            self._wake.set()

    def alarmed(self, alarm: Alarm) -> None:
        """Tell an alarm, unless it was told a moment ago."""
        now, which = time.monotonic(), (alarm.code, alarm.message)
        self._alarmed = {known: at for known, at in self._alarmed.items() if now - at < ALARM_AGAIN_SECONDS}
        if which not in self._alarmed and len(self._alarmed) < limit("events_at_once"):
            self._alarmed[which] = now
            self._events.note("alarm", alarm.message, code=alarm.code)

    async def run(self) -> None:
        """Compare rows after news, and write the events, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._events.run(), name="event-writer")
            group.create_task(self._look_forever(), name="event-sources")

    async def _look_forever(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                self._note_counts()
                self._note_flapping(tuple(self._flapping))
                continue
            await asyncio.sleep(SETTLE_SECONDS)
            self._wake.clear()
            begun = time.perf_counter()
            self._look()
            await asyncio.sleep(max(LEAST_REST_SECONDS, REST * (time.perf_counter() - begun)))

    # -- the configuration --------------------------------------------------------------------------------------------

    def _note_edits(self) -> None:
        replica = self._engine.replica
        came = {actor: (self._clock.get(actor, 0), counter) for actor, counter in replica.fold.clock.items()}
        self._clock = dict(replica.fold.clock)
        count = sum(new - old for old, new in came.values())
        told = 0
        for actor, (old, new) in came.items():
            for counter in range(old + 1, min(new, old + limit("events_at_once") - told) + 1):
                signed = replica.signed(Dot(actor, counter))
                if signed is not None:
                    told += 1
                    edit = signed.edit
                    keys = sorted(edit.changes)
                    late = is_late(replica, edit)
                    self._events.note(
                        "late-edit" if late else "edit",
                        edit_line(edit, late=late),
                        edit=str(edit.dot),
                        edit_kind=edit.kind,
                        author=edit.author,
                        reason=edit.reason,
                        keys=keys[:KEYS_SHOWN],
                        more_keys=max(0, len(keys) - KEYS_SHOWN),
                    )
        if count > told:
            self._more("edit", count - told, f"{count - told} more edits arrived: see `pathmesh config history`")

    def _note_conflicts(self, keys: Iterable[str]) -> None:
        fold = self._engine.replica.fold
        opened = [key for key in sorted(keys) if fold.in_conflict(key) and key not in self._conflicts]
        ended = [key for key in sorted(keys) if not fold.in_conflict(key) and key in self._conflicts]
        self._conflicts.update(opened)
        self._conflicts.difference_update(ended)
        found = []
        for key in opened[: limit("events_at_once") + 1]:
            siblings = fold.siblings(key)
            authors = ", ".join(sorted({s.author for s in siblings}))
            found.append(_Happening(f"{key} has concurrent values, by {authors}", {"key": key, "edits": [str(s.dot) for s in siblings]}))
        self._tell("conflict-opened", found, len(opened))
        told = []
        for key in ended[: limit("events_at_once") + 1]:
            winner = fold.winner(key)
            by = f" by {winner.author} (edit {short(winner.dot)})" if winner is not None else ""
            told.append(_Happening(f"the conflict of {key} was resolved{by}", {"key": key, "edit": str(winner.dot) if winner else None}))
        self._tell("conflict-resolved", told, len(ended))

    def _read_members(self) -> dict[str, tuple[Actor, MemberState]]:
        return {name: (member.actor, member.state) for name, member in self._engine.replica.registry.by_name.items()}

    def _note_members(self) -> None:
        before, self._members = self._members, self._read_members()
        found: dict[str, list[_Happening]] = {}
        for name, (actor, state) in self._members.items():
            if before.get(name) != (actor, state):
                found.setdefault(f"member-{state.value}", []).append(_Happening(f"{name} {_CAME[state]} the cluster", {"node": name}))
        for kind, happenings in found.items():
            self._tell(kind, happenings)

    # -- nodes --------------------------------------------------------------------------------------------------------

    def _note_standing(self, names: Iterable[str]) -> None:
        now = boottime_ms()
        moved = []
        for name in sorted(names):
            if name not in self._members:
                self._standing.pop(name, None)
                continue
            before, after = self._standing.get(name, "offline"), self._standing_of(name, now)
            self._standing[name] = after
            if before != after:
                moved.append(_Happening(f"{name} is {after}, was {before}", {"node": name, "before": before, "after": after}))
        self._tell("node", moved)
        self._note_flapping(names)

    def _note_flapping(self, names: Iterable[str]) -> None:
        now = boottime_ms()
        for name in sorted(names):
            if self._members.get(name, _NOBODY)[1] is not MemberState.JOINED:
                self._flapping.discard(name)
                continue
            flaps = self._engine.liveness.flapping(name, now)
            if flaps != (name in self._flapping):
                (self._flapping.add if flaps else self._flapping.discard)(name)
                what = "comes and goes" if flaps else "no longer comes and goes"
                self._events.note("node-flapping", f"{name} {what}", node=name, flapping=flaps)

    def _counts(self) -> Counter[str]:
        return Counter({name: self._engine.counters[name] for name in (_COLLECTED, _SNAPSHOTS)})

    def _note_counts(self) -> None:
        before, self._counted = self._counted, self._counts()
        if (gone := self._counted[_COLLECTED] - before[_COLLECTED]) > 0:
            left = len(self._engine.replica)
            self._events.note("log-collected", f"{gone} edits that everybody has left the log, {left} are kept", edits=gone, kept=left)
        if self._counted[_SNAPSHOTS] > before[_SNAPSHOTS]:
            clock = self._engine.replica.fold.clock
            came = sum(counter - self._clock.get(actor, 0) for actor, counter in clock.items())
            self._clock = dict(clock)
            self._events.note("snapshot-taken", f"a snapshot brought {came} edits that a peer's log no longer has", edits=came)

    # -- the matrix ---------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Tell what reads otherwise than when last looked."""
        luns, cells, applies = [], [], []
        paths: dict[str, list[_Happening]] = {}
        swept: dict[tuple[str, str], Counter[str]] = {}
        for key, (before, after) in self._picture.moves().items():
            kind, name = key
            if kind == MULTIPATH_MAP and _state(before) != _state(after):
                luns.append(self._lun(name, _state(before), _state(after)))
            for node, was, now in _moved(before, after):
                if kind == MULTIPATH_APPLY:
                    applies += _apply(node, was, now)
                elif _swept(was, now):
                    swept.setdefault((node, _why(now)), Counter())[_shown(now)] += 1
                elif (_shown(was), _reasons(was)) != (_shown(now), _reasons(now)):
                    cells.append(self._cell(kind, name, node, was, now))
                if kind == MULTIPATH_MAP:
                    for found in path_events(was.cell if was else None, now.cell if now else None):
                        paths.setdefault(found.kind, []).append(self._path(name, node, found))
        self._tell("path-lost", paths.get("path-lost", ()))
        self._tell("path-back", paths.get("path-back", ()))
        self._tell("paths-expected", paths.get("paths-expected", ()))
        self._tell("lun", luns)
        self._tell("apply", applies)
        self._tell("cell", cells)
        self._tell("cells", [_sweep(node, why, states) for (node, why), states in swept.items()])

    def _lun(self, wwid: str, before: str, after: str) -> _Happening:
        return _Happening(f"LUN {self._named(wwid)} is {after}, was {before}", {"wwid": wwid, "before": before, "after": after})

    def _cell(self, kind: str, name: str, node: str, was: ShownCell | None, now: ShownCell | None) -> _Happening:
        what = f"LUN {self._named(name)}" if kind == MULTIPATH_MAP else f"{kind} {name}"
        before, after, reasons = _shown(was), _shown(now), _reasons(now)
        why = f" ({', '.join(reasons)})" if reasons else ""
        change = f"is {after}, was {before}" if before != after else f"is still {after}"
        more = {"node": node, "resource_kind": kind, "id": name, "before": before, "after": after, "reasons": list(reasons)}
        return _Happening(f"{what} on {node} {change}{why}", more)

    def _path(self, wwid: str, node: str, found: PathEvent) -> _Happening:
        return _Happening(f"LUN {self._named(wwid)} on {node}: {found.what}", {"node": node, "wwid": wwid, **found.more})

    def _named(self, wwid: str) -> str:
        lun = self._picture.config.model.luns.get(wwid)
        return f"{lun.alias} ({wwid})" if lun is not None and lun.alias else wwid

    # -- telling ------------------------------------------------------------------------------------------------------

    def _tell(self, kind: str, happenings: Sequence[_Happening], count: int | None = None) -> None:
        """One event each, and one for all that are too many; `count` is how many there are in truth."""
        told = happenings[: limit("events_at_once")]
        for message, more in told:
            self._events.note(kind, message, **more)
        left = (len(happenings) if count is None else count) - len(told)
        if left > 0:
            self._more(kind, left, f"{left} more events of the kind {kind} at once: look at the whole")

    def _more(self, kind: str, count: int, message: str) -> None:
        self._events.note("more", message, of=kind, count=count)


_NOBODY = (b"", MemberState.RETIRED)
_CAME = {MemberState.JOINED: "joined", MemberState.LEFT: "left", MemberState.RETIRED: "was retired from"}


def _moved(before: Row | None, after: Row | None) -> Iterator[tuple[str, ShownCell | None, ShownCell | None]]:
    """The nodes whose cell is another one than before, with both; a row has a cell of every node, most of which stay."""
    old = before.nodes if before is not None else {}
    new = after.nodes if after is not None else {}
    for node, now in new.items():
        if (was := old.get(node)) != now:
            yield node, was, now
    for node, was in old.items():
        if node not in new:
            yield node, was, None


def _state(row: Row | None) -> str:
    return row.state.value if row is not None else RollUp.UNUSED.value


def _shown(cell: ShownCell | None) -> str:
    return cell.state.value if cell is not None else CellState.ABSENT.value


def _reasons(cell: ShownCell | None) -> tuple[str, ...]:
    return cell.reasons if cell is not None else ()


def _unheard(cell: ShownCell | None) -> bool:
    """Whether the cell reads unknown because its node is not to be believed now."""
    return any(reason.startswith("reporter-") for reason in _reasons(cell))


def _swept(was: ShownCell | None, now: ShownCell | None) -> bool:
    """Whether nothing but the word of its node counts otherwise: then all its cells move, and one event tells it."""
    return was is not None and now is not None and was.cell == now.cell and (_unheard(was) or _unheard(now))


def _why(cell: ShownCell | None) -> str:
    return next((reason for reason in _reasons(cell) if reason.startswith("reporter-")), "")


def _sweep(node: str, why: str, states: Counter[str]) -> _Happening:
    count = states.total()
    reading = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    cause = why.removeprefix("reporter-") if why else "heard"
    return _Happening(
        f"{count} cells of {node} read {reading}: it is {cause}",
        {"node": node, "count": count, "states": dict(sorted(states.items())), "reasons": [why] if why else []},
    )


def _applying(cell: CellView | None) -> tuple[str, tuple[str, ...]]:
    """The state of a node's apply, and the codes of what is wrong, as it said last."""
    if cell is None:
        return "pending", ()
    detail = cell.detail
    return said(detail, "state", "pending"), tuple(said(fault, "code", "") for fault in said_all(detail, "errors", dict))


def _apply(node: str, was: ShownCell | None, now: ShownCell | None) -> list[_Happening]:
    (before, _), (after, codes) = old, new = _applying(was.cell if was else None), _applying(now.cell if now else None)
    if old == new:
        return []
    why = f" ({', '.join(codes)})" if codes else ""
    change = f"is {after}, was {before}" if before != after else f"is still {after}"
    return [_Happening(f"apply on {node} {change}{why}", {"node": node, "before": before, "after": after, "codes": list(codes)})]
