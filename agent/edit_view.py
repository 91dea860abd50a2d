"""One edit as people and scripts see it: what it did to each key, what became of that, and what was written beside it."""

import heapq
from collections.abc import Sequence
from typing import Any

from agent.cell_view import iso
from agent.maintenance import PREFIX as MAINTENANCE
from agent.maintenance import maintenance_reason
from agent.past import Past, rank
from store.clocks import Dot, covers
from store.document import Options
from store.edits import LATE, Edit, SignedEdit
from store.errors import listed
from store.members import MEMBER_PREFIX, Member, MemberState, read_member
from store.replica import Replica

CONCURRENT_SHOWN = 16


def entry_json(replica: Replica, signed: SignedEdit, past: Past, *, keys: int | None = None) -> dict[str, Any]:
    """One edit; of its keys at most so many are told. `past` must know all of the edit's keys."""
    edit = signed.edit
    void = replica.is_void(signed)
    shown = sorted(edit.changes)[:keys]
    states = {key: "void" if void else _state(replica, edit, key, past) for key in edit.changes}
    return {
        "edit": str(edit.dot),
        "kind": edit.kind,
        "author": edit.author,
        "wall": iso(edit.wall),
        "reason": edit.reason,
        "state": _overall(set(states.values())),
        "late": is_late(replica, edit),
        "keys": shown,
        "more_keys": len(edit.changes) - len(shown),
        "changes": [_change(replica, edit, key, states[key], past) for key in shown],
        "concurrent_with": [] if void else _concurrent(edit, past),
    }


def short(dot: Dot) -> str:
    """An edit's name with its actor cut short, for messages."""
    return f"{dot.actor.hex()[:8]}:{dot.counter}"


def edit_line(edit: Edit, *, late: bool = False) -> str:
    """An edit in one line for people: who did what, and why."""
    what, reason = f"changed {_named(sorted(edit.changes))}", edit.reason
    key, value = next(iter(edit.changes.items()))
    if len(edit.changes) == 1 and key.startswith(MAINTENANCE):
        name = key.removeprefix(MAINTENANCE)
        what = f"{'ended' if value is None else 'began'} the maintenance of {name}"
        reason = "" if reason == maintenance_reason(name, on=value is not None) else reason
    return f"{edit.author} {what}{' (late)' if late else ''}{': ' if reason else ''}{reason}"


def _named(keys: Sequence[str]) -> str:
    return listed(keys, 3)


def is_late(replica: Replica, edit: Edit) -> bool:
    """Whether the edit came back after its time: told again by a node that had fallen behind, or by a member retired meanwhile."""
    return edit.kind == LATE or _after_retirement(replica, edit)


def _state(replica: Replica, edit: Edit, key: str, past: Past) -> str:
    """What became of the edit's value of a key: `applied`, `conflict` (one of several values now) or `superseded`."""
    siblings = replica.fold.siblings(key)
    if any(s.dot == edit.dot for s in siblings):
        return "conflict" if replica.fold.in_conflict(key) else "applied"
    removed = not siblings and edit.changes[key] is None  # the record of a removal goes once everybody has it
    return "applied" if removed and past.later(edit, key) is None else "superseded"


def _overall(states: set[str]) -> str:
    if "conflict" in states:
        return "conflict"
    return states.pop() if len(states) == 1 else "partial" if states else "void"


def _change(replica: Replica, edit: Edit, key: str, state: str, past: Past) -> dict[str, Any]:
    """What the edit did to one key. Without `before_known` every option that it has now is listed, with nothing before."""
    known, before = past.before(edit, key)
    after = edit.changes[key]
    old, new = before or {}, after or {}
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    winner = replica.fold.winner(key)
    return {
        "key": key,
        "action": _action(known, before, after),
        "state": state,
        "winner": winner is not None and winner.dot == edit.dot,
        "before_known": known,
        "options": [{"option": name, "before": old.get(name), "after": new.get(name)} for name in names],
    }


def _action(known: bool, before: Options | None, after: Options | None) -> str:
    if after is None:
        return "removed" if not known or before is not None else "unchanged"
    if not known:
        return "set"
    if before is None:
        return "added"
    return "changed" if before != after else "unchanged"


def _concurrent(edit: Edit, past: Past) -> list[str]:
    """Edits of the same keys that had not seen this one, nor this one them; the newest of them."""
    found: dict[Dot, Edit] = {}
    for key in edit.changes:
        for other in past.touching(key):
            if other.dot != edit.dot and not covers(edit.context, other.dot) and not covers(other.context, edit.dot):
                found[other.dot] = other
    return [str(other.dot) for other in heapq.nlargest(CONCURRENT_SHOWN, found.values(), key=rank)]


def _after_retirement(replica: Replica, edit: Edit) -> bool:
    """Whether the edit's author was retired by somebody who had not seen it."""
    member = replica.registry.by_actor.get(edit.owner)
    if member is None or member.state is not MemberState.RETIRED:
        return False
    retirements = [s.dot for s in replica.fold.siblings(MEMBER_PREFIX + member.name) if _retires(member, s.value)]
    contexts = [signed.edit.context for dot in retirements if (signed := replica.signed(dot)) is not None]
    return any(not covers(context, edit.dot) for context in contexts)


def _retires(member: Member, value: Options | None) -> bool:
    told = read_member(member.name, value) if value is not None else None
    return told is not None and told.actor == member.actor and told.state is MemberState.RETIRED
