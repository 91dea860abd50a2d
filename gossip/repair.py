"""Repair: two nodes that have the same edits and different states find out where, and what of it can be put right.

Theory of operation. The asker compares ranges of the sorted live keys by count and hash; a range that differs is split in 16 by the
answerer, and one of at most 16 keys is listed with the dots and hashes of each key's siblings. All questions are the asker's, one at a
time; the answerer only reads, and remembers nothing. Each side asks for itself and changes itself alone.

There is one honest way for two such states to differ: one side has collected a deletion, while an edit that had not seen it was still on
its way and then found the key gone here, and deleted there. That side takes the deletion back, so that both show the same conflict.
Anything else (a value that one side lacks, or has otherwise) is the mark of a damage, and who is right cannot be told: the key is frozen on
both sides, never merged by guess. Both judge by the same rule from the same two lists.

A comparison ends for certain: an answerer's first split says how many keys it has, which fixes the whole tree of ranges; an answer
that does not fit in there, or does not answer, ends it.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice, pairwise
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from gossip.key_ranges import DELETED, KeyIndex, shares, value_hash
from gossip.messages import REPAIR_FAN, KeyDot, KeyRange, ListedKey, RangePart, Ranges
from gossip.stability import clock_hash
from store.clocks import Dot, covers
from store.edits import EditError, SignedEdit, decode_edit
from store.fold import replaces
from store.limits import limit
from store.replica import Replica


class Step(NamedTuple):
    """What to do after a message: send these; and at the end of a comparison, which has `frozen` set (perhaps to nothing): take these
    deletions back, by key, and freeze these keys.
    """

    send: tuple[Ranges, ...] = ()
    readmit: Mapping[str, SignedEdit] = MappingProxyType({})
    frozen: frozenset[str] | None = None


@dataclass(slots=True)
class _Doubt:
    """A key in which nothing but deletions differ: `missing` here, and `extra` here."""

    missing: frozenset[Dot]
    extra: frozenset[Dot]


class _Refused(Exception):
    """The answer is none to what was asked."""


@dataclass(slots=True)
class _Run:
    """One comparison, as far as it is.

    `todo` are ranges that differ, with the peer's count (None in the first: unknown). They are taken from the end, so that few are open at
    a time; what keys they lead to is settled before the next.
    """

    clock: bytes
    number: int
    asked: Ranges
    todo: list[tuple[str, str, int | None]] = field(default_factory=list)
    open: tuple[tuple[str, str, int | None], ...] = ()
    doubts: dict[str, _Doubt] = field(default_factory=dict)
    collected: dict[KeyDot, bool] = field(default_factory=dict)
    """What the peer lacks, and whether it may have collected it."""
    edits: dict[Dot, SignedEdit | None] = field(default_factory=dict)
    """What was asked for; None if the peer does not have it, or it is worth nothing."""
    frozen: set[str] = field(default_factory=set)
    readmit: dict[str, SignedEdit] = field(default_factory=dict)
    bytes: int = 0


class Repair:
    """Compares this node's state with peers', and answers theirs. Invariant: never more than `repairs` runs, each bounded."""

    def __init__(self, replica_of: Callable[[], Replica], counters: Counter[str] | None = None) -> None:
        """`replica_of` gives the replica as it is now."""
        self._replica_of = replica_of
        self._counters: Counter[str] = Counter() if counters is None else counters
        self._runs: dict[str, _Run] = {}
        self._number = 0
        self._cached: KeyIndex | None = None

    def start(self, peer_key: str) -> Ranges:
        """Begin a comparison with this peer (anew, if one is under way): both must have the same clock, and no edits of unknown kinds.

        An answer that is lost ends it; so begin again as long as the states differ. One run of both sides puts right what can be.
        """
        index = self._index()
        self._runs.pop(peer_key, None)
        if len(self._runs) >= limit("repairs"):
            del self._runs[next(iter(self._runs))]
            self._counters["repairs_dropped"] += 1
        self._number += 1
        everything = Ranges(self._number, index.clock_hash, ask=(index.between("", ""),))
        self._runs[peer_key] = _Run(index.clock_hash, self._number, everything, open=(("", "", None),))
        return everything

    def take(self, peer_key: str, ranges: Ranges) -> Step:
        """Answer a question, or go on after the answer to this node's own. Never raises for what a peer says."""
        if not ranges.answer:
            return Step((self._answer(ranges),))
        run = self._runs.get(peer_key)
        if run is None or ranges.number != run.number:
            return Step()
        index = self._index()
        try:
            if not ranges.clock == run.clock == index.clock_hash:
                raise _Refused
            self._learn(run, index, ranges)
        except _Refused:
            del self._runs[peer_key]
            self._counters["repairs_failed"] += 1
            return Step()
        question = self._next(run, index)
        if question is None:
            del self._runs[peer_key]
            return Step((), run.readmit, frozenset(run.frozen))
        run.asked = question
        return Step((question,))

    def _index(self) -> KeyIndex:
        replica = self._replica_of()
        if self._cached is None or not self._cached.fits(replica):
            self._cached = KeyIndex(replica, self._cached)
        return self._cached

    # -- answering ----------------------------------------------------------------------------------------------------

    def _answer(self, asked: Ranges) -> Ranges:
        """What this node has of it, as much as fits; nothing if the states cannot be compared."""
        replica = self._replica_of()
        own = clock_hash(replica.fold.clock)
        if asked.clock != own or replica.unknown_kinds:
            return Ranges(asked.number, own, True)
        index = self._index()
        parts: list[RangePart] = []
        left = limit("repair_message_bytes")
        for number, wanted in enumerate(asked.ask):
            part = index.part(number, wanted)
            left -= len(msgspec.msgpack.encode(part))
            if left < 0:
                break
            parts.append(part)
        gone = tuple(entry for entry in asked.absent if _may_have_collected(replica, entry))
        edits: list[bytes] = []
        left = limit("repair_message_bytes")
        for pair in asked.want:
            raw = replica.raw(Dot(*pair))
            if raw is not None:
                left -= len(raw)
                if left < 0 and edits:
                    break
                edits.append(raw)
        return Ranges(asked.number, own, True, parts=tuple(parts), absent=gone, edits=tuple(edits))

    # -- asking -------------------------------------------------------------------------------------------------------

    def _next(self, run: _Run, index: KeyIndex) -> Ranges | None:
        """The next question of a run; None if it is at its end."""
        while run.bytes <= limit("repair_bytes"):
            if run.doubts:
                question = self._about_doubts(run)
                if question is not None:
                    return question
                self._judge(run)
                run.doubts.clear()
                run.collected.clear()
            elif run.todo:
                most = limit("repair_ranges")
                run.open, run.todo = tuple(run.todo[-most:]), run.todo[:-most]
                return self._question(run, ask=tuple(index.between(low, high) for low, high, _ in run.open))
            else:
                return None
        self._counters["repairs_cut"] += 1
        self._judge(run)
        return None

    def _about_doubts(self, run: _Run) -> Ranges | None:
        most = limit("repair_ranges")
        extra = (KeyDot(key, *dot) for key, doubt in run.doubts.items() for dot in sorted(doubt.extra))
        absent = tuple(islice((entry for entry in extra if entry not in run.collected), most))
        if absent:
            return self._question(run, absent=absent)
        missing = dict.fromkeys(dot for doubt in run.doubts.values() for dot in sorted(doubt.missing))
        want = tuple(islice((dot for dot in missing if dot not in run.edits), most))
        return self._question(run, want=want) if want else None

    def _question(
        self,
        run: _Run,
        *,
        ask: tuple[KeyRange, ...] = (),
        absent: tuple[KeyDot, ...] = (),
        want: tuple[Dot, ...] = (),
    ) -> Ranges:
        self._number += 1
        run.number = self._number
        return Ranges(run.number, run.clock, ask=ask, absent=absent, want=want)

    def _learn(self, run: _Run, index: KeyIndex, answer: Ranges) -> None:
        """Take the answer to the last question; _Refused if it is none."""
        asked = run.asked
        if asked.ask:
            told = {part.index: part for part in answer.parts}
            if not told or len(told) < len(answer.parts) or not told.keys() <= set(range(len(run.open))):
                raise _Refused
            run.todo += [wanted for number, wanted in enumerate(run.open) if number not in told]
            for number, part in told.items():
                if not part.equal:
                    self._compare(run, index, *run.open[number], part)
        elif asked.absent:
            gone = set(answer.absent)
            run.collected.update({entry: entry in gone for entry in asked.absent})
        else:
            self._take_edits(run, {Dot(*pair) for pair in asked.want}, answer.edits)

    def _compare(self, run: _Run, index: KeyIndex, low: str, high: str, count: int | None, part: RangePart) -> None:
        """Go on into a range that differs: into the parts of it that do, or key by key."""
        if part.split:
            total = sum(r.count for r in part.split)
            ends = list(pairwise((low, *(r.low for r in part.split[1:]), high)))
            if (
                not REPAIR_FAN < total <= limit("repair_keys")
                or count not in (None, total)
                or [r.count for r in part.split] != [b - a for a, b in pairwise(shares(total))]
                or [(r.low, r.high) for r in part.split] != ends
                or not _ascending([r.low for r in part.split], low, high)
            ):
                raise _Refused
            run.todo += [(r.low, r.high, r.count) for r in reversed(part.split) if index.between(r.low, r.high) != r]
            return
        names = [listed.key for listed in part.keys]
        if count not in (None, len(names)) or not _ascending(names, low, high):
            raise _Refused
        theirs = {listed.key: listed for listed in part.keys}
        for key in dict.fromkeys((*index.within(low, high), *names)):
            self._compare_key(run, index, key, theirs.get(key))

    def _compare_key(self, run: _Run, index: KeyIndex, key: str, theirs: ListedKey | None) -> None:
        if theirs is not None and theirs.hash == index.hash_of(key):
            return
        here = {s.dot: value_hash(s.value) for s in self._replica_of().fold.siblings(key)}
        there = {Dot(s.actor, s.counter): s.value for s in theirs.siblings} if theirs is not None else {}
        missing, extra = frozenset(there.keys() - here.keys()), frozenset(here.keys() - there.keys())
        if (
            (theirs is not None and theirs.more)
            or any(there[dot] != here[dot] for dot in here.keys() & there.keys())
            or any(there[dot] != DELETED for dot in missing)
            or any(here[dot] != DELETED for dot in extra)
            or not (missing or extra)
        ):
            _freeze(run, key)
        else:
            run.doubts[key] = _Doubt(missing, extra)

    def _take_edits(self, run: _Run, wanted: set[Dot], raws: tuple[bytes, ...]) -> None:
        """Keep the edits that are real and had a right to what they did. Those that did not come are asked for again, unless none came."""
        replica = self._replica_of()
        came: dict[Dot, SignedEdit | None] = {}
        for raw in raws:
            try:
                signed = decode_edit(raw)
            except EditError:
                raise _Refused from None
            if signed.dot not in wanted:
                raise _Refused
            run.bytes += len(raw)
            came[signed.dot] = signed if replica.signer(signed) is not None and not replica.is_void(signed) else None
        run.edits.update(came or dict.fromkeys(wanted))

    def _judge(self, run: _Run) -> None:
        """Decide what was in doubt: take a deletion back that can only have been collected here, leave what was so there, freeze the rest.

        Both sides see the same siblings if both follow this, and none of them may have replaced another. Of several deletions of one key
        one is taken back at a time. What was not answered yet is left out.
        """
        replica = self._replica_of()
        read = cache(replica.signed)  # one edit may have written thousands of keys
        for key, doubt in run.doubts.items():
            if not (doubt.missing <= run.edits.keys() and all(KeyDot(key, *dot) in run.collected for dot in doubt.extra)):
                continue
            here = {s.dot: read(s.dot) for s in replica.fold.siblings(key)}
            siblings = here | {dot: run.edits[dot] for dot in doubt.missing}
            edits = [signed.edit for signed in siblings.values() if signed is not None]
            deletions = [edit for edit in edits if edit.dot in doubt.missing]
            if (
                len(edits) == len(siblings)
                and all(key in edit.changes and edit.changes[key] is None and covers(replica.floor, edit.dot) for edit in deletions)
                and all(run.collected[KeyDot(key, *dot)] for dot in doubt.extra)
                and not any(replaces(edit, key, dot) for edit in edits for dot in siblings if dot != edit.dot)
            ):
                back = siblings[min(doubt.missing)] if doubt.missing else None
                if back is not None:
                    run.readmit[key] = back
            else:
                _freeze(run, key)


def _freeze(run: _Run, key: str) -> None:
    run.frozen.add(key)
    run.bytes += len(key)


def _ascending(names: list[str], low: str, high: str) -> bool:
    """Whether these are all different, in order, and within the range."""
    ends = all(low <= name and (not high or name < high) for name in names)
    return ends and all(a < b for a, b in pairwise(names))


def _may_have_collected(replica: Replica, entry: KeyDot) -> bool:
    """Whether this deletion is here, or may have been collected here."""
    dot = Dot(entry.actor, entry.counter)
    return covers(replica.floor, dot) or any(s.dot == dot for s in replica.fold.siblings(entry.key))
