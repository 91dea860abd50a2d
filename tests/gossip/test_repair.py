"""Two states that should be one: whatever differs is put right on both sides, or frozen on both, in few and small messages."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gossip import codec
from gossip.key_ranges import DELETED, KeyIndex
from gossip.messages import REPAIR_FAN, KeyDot, KeyRange, ListedKey, ListedSibling, RangePart, Ranges
from gossip.repair import Repair, Step
from gossip.stability import clock_hash
from store.clocks import Dot
from store.edits import LATE, RESOLVE, SignedEdit
from store.level import LEVEL, LEVEL_KEY, level_value
from store.limits import LIMITS, Limit, limit
from store.members import Role
from store.replica import Replica

WHOLE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def wired(ranges: Ranges) -> Ranges:
    header, body = codec.encode(ranges)
    assert len(body) <= limit("repair_message_bytes") + limit("edit_bytes")
    message = codec.decode(header, body)
    assert isinstance(message, Ranges)
    return message


@dataclass
class Side:
    """One node's end of a comparison: it takes back what it is told to, at once."""

    replica: Replica
    counters: Counter[str] = field(default_factory=Counter)
    frozen: frozenset[str] | None = None
    readmitted: int = 0

    def __post_init__(self) -> None:
        self.repair = Repair(lambda: self.replica, self.counters)

    def take(self, peer: str, ranges: Ranges) -> tuple[Ranges, ...]:
        step = self.repair.take(peer, ranges)
        assert step.frozen is not None or not step.readmit
        if step.frozen is not None:
            self.frozen = step.frozen
            self.readmitted += len(step.readmit)
            assert not step.frozen & step.readmit.keys()
            if step.readmit:
                self.replica = self.replica.readmitted(step.readmit)
        return step.send


def compare(a: Side, b: Side) -> int:
    """Both sides begin; returns how many messages that took."""
    count = 0
    a.frozen = b.frozen = None
    pending: list[tuple[Side, str, Ranges]] = [(b, "a", a.repair.start("b")), (a, "b", b.repair.start("a"))]
    while pending:
        side, peer, message = pending.pop(0)
        count += 1
        assert count < 50_000
        other = a if side is b else b
        pending += [(other, "b" if side is b else "a", wired(m)) for m in side.take(peer, wired(message))]
    assert a.frozen is not None
    assert b.frozen is not None
    return count


def settle(a: Side, b: Side) -> int:
    """As two agents do: again as long as that changes something; returns the messages of the longest round."""
    worst = 0
    for _ in range(4):
        before = a.readmitted + b.readmitted
        worst = max(worst, compare(a, b))
        if a.readmitted + b.readmitted == before:
            return worst
    raise AssertionError("it does not come to an end")


def siblings(replica: Replica, key: str) -> dict[Dot, Any]:
    """The live siblings: a deletion that stands alone is none."""
    found = replica.fold.siblings(key)
    return {} if len(found) == 1 and found[0].value is None else {s.dot: s.value for s in found}


# -- making states differ ---------------------------------------------------------------------------------------------

SAME = ("plain", "conflict", "deleted")
HONEST = ("collected", "double", "crossed", "late", "resolved")
"""What collecting a deletion too early leads to."""
DAMAGE = ("lost", "emptied", "stale", "other value", "collected and lost", "collected and other value")
"""What a damage of one side explains, and nothing else."""
FATES = (*SAME, *HONEST, *DAMAGE)


class Pair:
    """Two replicas with the same edits, made to differ key by key: `fates` says how, and on which side (`a` or `b`).

    `n1` writes everything first. Then `n1` deletes what side `a` is to collect, and `n2` what side `b` is to collect; each side hears of
    the other's deletions only after it collected. What `n3` and `n4` write afterwards has mostly not seen the deletions.
    """

    def __init__(self, scribe: Any, fates: Mapping[str, tuple[str, str]], *, at_once: bool = False) -> None:
        self.scribe, self.fates = scribe, fates
        self.written: Counter[str] = Counter()
        keys = sorted(fates)
        setup = [scribe.founding("n1")]
        for name in ("n2", "n3", "n4"):
            setup.append(scribe.registration("n1", scribe.member(name), {scribe.actor("n1"): len(setup)}))
        for n in range(0, len(keys), 4096):
            setup.append(scribe.edit("n1", {k: {"v": "0"} for k in keys[n : n + 4096]}, {scribe.actor("n1"): len(setup)}))
        self.setup = setup
        self.past = {scribe.actor("n1"): len(setup)}

        def with_fate(*wanted: str) -> list[str]:
            return [key for key in keys if fates[key][0] in wanted]

        def to_collect(side: str) -> list[str]:
            return [k for k in with_fate(*HONEST, *DAMAGE[-2:]) if fates[k][0] == "crossed" or fates[k][1] == side]

        step = limit("edit_keys") if at_once else 1
        self.deletions = {"a": self.write("n1", to_collect("a"), None, step), "b": self.write("n2", to_collect("b"), None, step)}
        rest = self.write("n3", with_fate("collected", "conflict", "crossed", "stale", "other value", "lost", *DAMAGE[-2:]), {"v": "3"})
        rest += self.write("n4", with_fate("conflict", "lost", "collected and lost"), {"v": "4"})
        rest += self.write("n4", with_fate("deleted", "double"), None)
        # What lists all that it replaces, and was not shown the deletion that it has seen.
        clock = scribe.replica(*setup, *self.deletions["a"], *self.deletions["b"], *rest).fold.clock
        for key in with_fate("late", "resolved"):
            kind = LATE if fates[key][0] == "late" else RESOLVE
            rest.append(scribe.edit("n4", {key: {"v": "5"}}, clock, kind=kind, covers={key: []}))
            clock = clock | {scribe.actor("n4"): rest[-1].edit.counter}
        self.rest = rest
        self.truth = scribe.replica(*setup, *self.deletions["a"], *self.deletions["b"], *rest)
        self.a = Side(self.damaged("a", self.made("a", "b")))
        self.b = Side(self.damaged("b", self.made("b", "a")))

    @property
    def replayable(self) -> list[SignedEdit]:
        """All real deletions."""
        return [*self.deletions["a"], *self.deletions["b"], *(s for s in self.rest if None in s.edit.changes.values())]

    def write(self, author: str, keys: Sequence[str], value: dict[str, str] | None, step: int = 1) -> list[SignedEdit]:
        """Edits of one author that have seen the setup and each other, `step` keys in each."""
        made: list[SignedEdit] = []
        actor = self.scribe.actor(author)
        for n in range(0, len(keys), step):
            before = self.past.get(actor, 0) + self.written[author]
            context = self.past | ({actor: before} if before else {})
            made.append(self.scribe.edit(author, dict.fromkeys(keys[n : n + step], value), context))
            self.written[author] += 1
        return made

    def made(self, own: str, other: str) -> Replica:
        replica: Replica = self.scribe.replica(*self.setup)
        replica.commit(*self.deletions[own])
        collection = replica.collect(replica.fold.clock)
        if collection is not None:
            replica.collected(collection)
        replica.commit(*self.deletions[other], *(self.told(signed, own) for signed in self.rest))
        return replica

    def told(self, signed: SignedEdit, side: str) -> SignedEdit:
        """The edit as this side has it: of an author that signed two edits with one dot, another one."""
        changes = {
            key: {"v": "x"} if self.fates[key] in ((f, side) for f in DAMAGE if "other value" in f) else v
            for key, v in signed.edit.changes.items()
        }
        if changes == signed.edit.changes:
            return signed
        other: SignedEdit = self.scribe.edit("n3", changes, signed.edit.context)
        return other

    def damaged(self, side: str, replica: Replica) -> Replica:
        """The replica with the damages of this side in its base."""
        fates = {key: fate for key, (fate, at) in self.fates.items() if at == side}
        found: dict[str, tuple[Dot, ...]] = {}
        for key in replica.fold:
            dots = tuple(s.dot for s in replica.fold.siblings(key))
            fate = fates.get(key, "")
            if fate in ("lost", "collected and lost"):
                dots = tuple(dot for dot in dots if dot.actor != self.scribe.actor("n3"))
            elif fate == "stale":
                dots = tuple(s.dot for s in self.setup if key in s.edit.changes)
            if fate != "emptied":
                found[key] = dots
        base = msgspec.structs.replace(replica.present_base(), siblings=found)
        return Replica(replica.cluster_id, replica.verify, list(replica.edits()), base)

    def check(self, before: Mapping[str, tuple[dict[Dot, Any], dict[Dot, Any]]]) -> None:
        """What was honest is one again; what is damaged is frozen on both sides, and nothing else is, and it is as it was."""
        harmed = {key for key, (fate, _) in self.fates.items() if fate in DAMAGE}
        assert self.a.frozen == self.b.frozen == harmed
        for key in self.fates:
            now = siblings(self.a.replica, key), siblings(self.b.replica, key)
            assert now == (before[key] if key in harmed else (siblings(self.truth, key),) * 2), (key, self.fates[key])
        assert (self.a.replica.fold.state_hash == self.b.replica.fold.state_hash) == (not harmed)
        assert self.a.counters == self.b.counters == {}

    def run(self) -> int:
        before = {key: (siblings(self.a.replica, key), siblings(self.b.replica, key)) for key in self.fates}
        messages = settle(self.a, self.b)
        self.check(before)
        return messages


def most_messages(keys: int, differing: int) -> int:
    """Two for each question: each level of the tree once if nothing else came up, and a few for each 16 keys that differ."""
    return 2 * 2 * (2 + math.ceil(math.log(max(keys, 2), REPAIR_FAN)) + 4 * math.ceil(differing / REPAIR_FAN))


FATE = st.tuples(st.sampled_from(FATES), st.sampled_from("ab"))


@pytest.mark.parametrize("side", "ab")
@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("at_once", [True, False])
def test_each_way_to_differ(scribe: Any, fate: str, side: str, at_once: bool) -> None:
    pair = Pair(scribe, {"k": (fate, side), "other": ("plain", "a"), "third": ("conflict", "a")}, at_once=at_once)
    differ = siblings(pair.a.replica, "k") != siblings(pair.b.replica, "k")
    assert differ == (fate not in SAME)
    assert pair.run() <= 2 * 2 * 4


@WHOLE
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), FATE, max_size=60), st.booleans())
def test_any_mixture_of_keys(scribe: Any, fates: dict[str, tuple[str, str]], at_once: bool) -> None:
    assume(not any(key.startswith(("member/", "cluster/")) for key in fates))
    pair = Pair(scribe, fates, at_once=at_once)
    assert pair.run() <= most_messages(len(fates), len(fates))


@pytest.mark.parametrize("place", [0, 1, 4_999, 9_999])
@pytest.mark.parametrize("fate", ["collected", "stale"])
def test_one_key_of_ten_thousand(scribe: Any, place: int, fate: str) -> None:
    fates = {f"wwid/{n:08}": ("plain", "a") for n in range(10_000)}
    fates[f"wwid/{place:08}"] = (fate, "b")
    assert Pair(scribe, fates).run() <= 2 * 2 * 7


@pytest.mark.slow
def test_ten_thousand_keys_that_all_differ(scribe: Any) -> None:
    every = (*HONEST[:3], *DAMAGE)
    fates = {f"wwid/{n:08}": (every[n % len(every)], "ab"[n // 64 % 2]) for n in range(10_000)}
    pair = Pair(scribe, fates, at_once=True)
    assert pair.run() <= 2 * 2 * 200


def test_a_side_that_has_lost_everything(scribe: Any) -> None:
    fates = {f"wwid/{n:08}": ("emptied", "b") for n in range(3_000)}
    assert Pair(scribe, fates).run() <= 2 * 2 * 40


# -- one side that does not play by the rules ----------------------------------------------------------------------------


def small(scribe: Any) -> Pair:
    names = [f"k{n:03}" for n in range(60)]
    return Pair(scribe, {key: (FATES[n % len(FATES)], "ab"[n // len(FATES) % 2]) for n, key in enumerate(names)})


def answered(side: Side, question: Ranges) -> Ranges:
    (answer,) = side.repair.take("x", wired(question)).send
    return wired(answer)


def test_a_lost_answer_ends_nothing_else(scribe: Any) -> None:
    pair = small(scribe)
    answered(pair.b, pair.a.repair.start("b"))
    pair.run()


def test_answers_that_were_not_asked_for_do_nothing(scribe: Any) -> None:
    pair = small(scribe)
    first = pair.a.repair.start("b")
    answer = answered(pair.b, first)
    nobody = pair.a.repair.take("c", answer)
    assert nobody == Step()
    (second,) = pair.a.repair.take("b", answer).send
    assert pair.a.repair.take("b", answer) == Step()  # doubled on its way
    third = pair.a.repair.take("b", answered(pair.b, second))
    assert third.send or third.frozen is not None


def test_a_state_that_moves_on_ends_the_comparison(scribe: Any) -> None:
    pair = small(scribe)
    answer = answered(pair.b, pair.a.repair.start("b"))
    clock = pair.a.replica.fold.clock
    pair.a.replica.commit(scribe.edit("n1", {"new": {"v": "1"}}, clock))
    assert pair.a.repair.take("b", answer) == Step()
    assert pair.a.counters == {"repairs_failed": 1}
    other = pair.a.repair.start("b")
    refused = answered(pair.b, other)
    assert refused.parts == ()
    assert pair.a.repair.take("b", refused) == Step()


def test_nothing_is_compared_with_edits_of_unknown_kinds(scribe: Any) -> None:
    pair = small(scribe)
    for side in (pair.a, pair.b):
        side.replica.commit(scribe.edit("n1", {LEVEL_KEY: level_value(LEVEL + 1)}, side.replica.fold.clock))
        side.replica.commit(scribe.edit("n1", {"new": {"v": "1"}}, side.replica.fold.clock, kind="of a later version"))
    answer = answered(pair.b, pair.a.repair.start("b"))
    assert answer.parts == ()
    assert pair.a.repair.take("b", answer) == Step()
    assert pair.a.counters == {"repairs_failed": 1}


def test_few_comparisons_at_a_time(scribe: Any) -> None:
    pair = small(scribe)
    first = {f"p{n}": pair.a.repair.start(f"p{n}") for n in range(limit("repairs") + 2)}
    assert pair.a.counters == {"repairs_dropped": 2}
    alive = [peer for peer, question in first.items() if pair.a.repair.take(peer, answered(pair.b, question)).send]
    assert alive == [f"p{n}" for n in range(2, limit("repairs") + 2)]


def test_the_longest_keys_and_the_widest_question_fit(scribe: Any) -> None:
    keys = [f"{n:04}" + "\U0001f600" * 296 for n in range(1_000)]
    replica = scribe.replica(scribe.founding("n1"))
    for n in range(0, 1_000, 100):
        replica.commit(scribe.edit("n1", {key: {"v": "1"} for key in keys[n : n + 100]}, replica.fold.clock))
    side = Side(replica)
    bounds = ["", *keys[2::4], ""]
    ask = tuple(KeyRange(low, high, 0, bytes(32)) for low, high in pairwise(bounds))[: limit("repair_ranges")]
    question = wired(Ranges(1, clock_hash(replica.fold.clock), ask=ask))
    answer = answered(side, question)
    assert 0 < len(answer.parts) < len(ask)  # the rest is asked for again
    absent = tuple(KeyDot(key, scribe.actor("n1"), 2**53) for key in keys[: limit("repair_ranges")])
    wired(Ranges(1, clock_hash(replica.fold.clock), ask=(), absent=absent))


def test_edits_of_any_size_fit_an_answer(scribe: Any) -> None:
    replica = scribe.replica(scribe.founding("n1"))
    sizes = (200_000, 700_000, 10, 300_000, 100_000, 100_000)
    for size in sizes:
        replica.commit(scribe.edit("n1", {f"k{n}": {"v": "x" * 50_000} for n in range(max(1, size // 50_000))}, replica.fold.clock))
    side = Side(replica)
    want = [(scribe.actor("n1"), n) for n in range(1, len(sizes) + 2)]
    got = 0
    while want:
        answer = answered(side, Ranges(1, clock_hash(replica.fold.clock), want=tuple(want)))
        assert answer.edits
        got += len(answer.edits)
        want = want[len(answer.edits) :]
    assert got == len(sizes) + 1


def told(question: Ranges, *parts: RangePart, edits: Sequence[bytes] = ()) -> Ranges:
    return wired(Ranges(question.number, question.clock, True, parts=parts, edits=tuple(edits)))


@pytest.mark.parametrize("what", ["forged", "void", "another key's", "no deletion", "no edit", "another edit"])
def test_a_deletion_that_never_was_is_not_taken_back(scribe: Any, what: str) -> None:
    one, two = scribe.actor("n1"), scribe.actor("n2")
    log = [scribe.founding("n1"), scribe.registration("n1", scribe.member("n2", Role.EDITOR), {one: 1})]
    log.append(scribe.registration("n1", scribe.member("n3"), {one: 2}))
    log.append(scribe.edit("n1", {"other": {"v": "1"}}, {one: 3}))
    log.append(scribe.edit("n1", {"other": None}, {one: 4}))
    log.append(scribe.edit("n2", {"k": None, "member/n1": None}, {one: 3}))
    log.append(scribe.edit("n3", {"k": {"v": "1"}}, {one: 3}))
    asker = Side(scribe.replica(*log))
    asker.replica.collected(asker.replica.collect(asker.replica.fold.clock))
    raws = {
        "forged": (Dot(one, 5), scribe.edit("n1", {"k": None}, {one: 4}, signer="n2").raw),
        "void": (Dot(two, 1), log[5].raw),
        "another key's": (Dot(one, 5), log[4].raw),
        "no deletion": (Dot(one, 4), scribe.edit("n1", {"k": {"v": "2"}}, {one: 3}).raw),
        "no edit": (Dot(one, 5), b"no edit"),
        "another edit": (Dot(one, 4), log[4].raw),
    }
    dot, raw = raws[what]
    answerer = KeyIndex(asker.replica)
    index = answerer.part(0, KeyRange("", "", 0, bytes(32)))
    keys = tuple(ListedKey(k.key, bytes(32), (*k.siblings, ListedSibling(*dot, DELETED))) if k.key == "k" else k for k in index.keys)
    step = asker.repair.take("b", told(asker.repair.start("b"), RangePart(0, False, keys=keys)))
    assert step.send[0].want == (dot,)
    step = asker.repair.take("b", told(step.send[0], edits=[raw]))
    if what in ("no edit", "another edit"):
        assert step == Step()
        assert asker.counters == {"repairs_failed": 1}
    else:
        assert step == Step((), {}, frozenset({"k"}))


def even(lows: Sequence[str], counts: Sequence[int]) -> tuple[KeyRange, ...]:
    return tuple(KeyRange(low, high, count, b"h" * 32) for (low, high), count in zip(pairwise(lows), counts, strict=True))


LOWS = ["", *"bcdefghijklmnop", ""]
GOOD = even(LOWS, [2] * 16)
MALFORMED = {
    "nothing": (),
    "an index that was not asked for": (RangePart(1, True),),
    "one index twice": (RangePart(0, True), RangePart(0, True)),
    "too few keys to split": (RangePart(0, False, even(LOWS, [1] * 16)),),
    "an uneven split": (RangePart(0, False, even(LOWS, [1, 3] * 8)),),
    "a gap": (RangePart(0, False, (KeyRange("", "a", 2, bytes(32)), *GOOD[1:])),),
    "another beginning": (RangePart(0, False, (KeyRange("a", "b", 2, bytes(32)), *GOOD[1:])),),
    "another end": (RangePart(0, False, (*GOOD[:-1], KeyRange("p", "q", 2, bytes(32)))),),
    "no order": (RangePart(0, False, even(["", *"cbdefghijklmnop", ""], [2] * 16)),),
    "fifteen parts": (RangePart(0, False, even(LOWS[1:], [2] * 15)),),
    "keys out of order": (RangePart(0, False, keys=(ListedKey("b", bytes(32), ()), ListedKey("a", bytes(32), ()))),),
    "a key twice": (RangePart(0, False, keys=(ListedKey("b", bytes(32), ()), ListedKey("b", bytes(32), ()))),),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_an_answer_that_cannot_be_ends_the_comparison(scribe: Any, what: str) -> None:
    asker = small(scribe).a
    assert asker.repair.take("b", told(asker.repair.start("b"), *MALFORMED[what])) == Step()
    assert asker.counters == {"repairs_failed": 1}


@pytest.mark.parametrize(
    "part",
    [
        RangePart(15, False, keys=(ListedKey("a", bytes(32), ()), ListedKey("b", bytes(32), ()))),
        RangePart(15, False, keys=(ListedKey("b", bytes(32), ()), ListedKey("x", bytes(32), ()))),
        RangePart(15, False, keys=(ListedKey("a", bytes(32), ()),)),
        RangePart(15, False, even(["", *"0123456789ABCDE", "b"], [2] * 16)),
    ],
)
def test_an_answer_must_fit_into_what_was_said_before(scribe: Any, part: RangePart) -> None:
    asker = small(scribe).a
    (question,) = asker.repair.take("b", told(asker.repair.start("b"), RangePart(0, False, GOOD))).send
    assert question.ask[15].low == ""
    assert question.ask[15].high == "b"
    assert asker.repair.take("b", told(question, part)) == Step()
    assert asker.counters == {"repairs_failed": 1}


class Liar:
    """Claims to have keys without end, and that all of them are other ones; keeps to the form."""

    def __init__(self, count: int) -> None:
        self.keys = [f"{n:08x}" for n in range(count)]

    def answer(self, question: Ranges) -> Ranges:
        parts = []
        for index, asked in enumerate(question.ask):
            inside = [key for key in self.keys if asked.low <= key and (not asked.high or key < asked.high)]
            if len(inside) <= REPAIR_FAN:
                dot = ListedSibling(bytes(16), 1, DELETED)
                parts.append(RangePart(index, False, keys=tuple(ListedKey(key, b"h" * 32, (dot,)) for key in inside)))
            else:
                places = [len(inside) * n // REPAIR_FAN for n in range(REPAIR_FAN + 1)]
                lows = [asked.low, *(inside[place] for place in places[1:-1])]
                ends = zip(lows, [*lows[1:], asked.high], places, places[1:], strict=False)
                parts.append(RangePart(index, False, tuple(KeyRange(low, high, b - a, b"h" * 32) for low, high, a, b in ends)))
        return Ranges(question.number, question.clock, True, parts=tuple(parts))


def test_a_liar_with_many_keys_wastes_its_own_time(scribe: Any) -> None:
    pair = small(scribe)
    liar = Liar(3_000)
    step, count = Step((pair.a.repair.start("b"),)), 0
    while step.send:
        step = pair.a.repair.take("b", wired(liar.answer(wired(step.send[0]))))
        count += 1
    assert count <= 100
    assert step.readmit == {}
    assert step.frozen is not None
    assert len(step.frozen) <= 3_000 + len(pair.a.replica.fold.clock) + 100


def test_a_liar_with_too_many_keys_is_left_at_once(scribe: Any) -> None:
    pair = small(scribe)
    question = pair.a.repair.start("b")
    total = limit("repair_keys") + 16
    lows = ["", *"abcdefghijklmno", ""]
    split = tuple(KeyRange(low, high, total // 16, b"h" * 32) for low, high in pairwise(lows))
    assert pair.a.repair.take("b", Ranges(question.number, question.clock, True, parts=(RangePart(0, False, split),))) == Step()
    assert pair.a.counters == {"repairs_failed": 1}


@pytest.fixture(scope="module")
def known(scribe: Any) -> Pair:
    """Made once: the tests below change neither side."""
    return small(scribe)


def spoil(data: st.DataObject, answer: Ranges, pair: Pair) -> Ranges:
    """An answer with something changed in it."""

    def some(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(data.draw(st.lists(st.sampled_from(values), max_size=6))) if values else ()

    scribe = pair.scribe
    forged = scribe.edit("n1", {"k003": None}, pair.past, signer="n9").raw
    raws = [*answer.edits, *(signed.raw for signed in pair.replayable), forged, b"no edit"]
    ranges = [r for part in answer.parts for r in part.split] or [KeyRange("", "", 17, bytes(32))]
    listed = [key for part in answer.parts for key in part.keys] or [ListedKey("k001", bytes(32), ())]
    parts = [*answer.parts, RangePart(0, True), RangePart(9, True), RangePart(0, False), RangePart(0, False, some(ranges), some(listed))]
    change: dict[str, Callable[[], Any]] = {
        "parts": lambda: some(parts),
        "edits": lambda: some(raws),
        "absent": lambda: some([*answer.absent, KeyDot("k001", bytes(16), 1)]),
        "number": lambda: data.draw(st.integers(0, 20)),
        "clock": lambda: bytes(32),
    }
    what = data.draw(st.sampled_from(["parts", "parts", "edits", "edits", "absent", "number", "clock"]))
    return msgspec.structs.replace(answer, **{what: change[what]()})


@WHOLE
@given(data=st.data())
def test_no_answer_makes_the_asker_fail_or_believe(known: Pair, data: st.DataObject) -> None:
    """Whatever comes instead of the right answers, what is taken back are real deletions, and it comes to an end."""
    asker, answerer = Side(known.a.replica), Side(known.b.replica)
    question = asker.repair.start("b")
    for _ in range(60):
        answer = answered(answerer, question)
        if data.draw(st.booleans()):
            answer = spoil(data, answer, known)
        step = asker.repair.take("b", answer)
        if not step.send:
            break
        (question,) = step.send
    else:
        raise AssertionError("no end")
    real = {signed.raw for signed in known.replayable}
    assert all(signed.raw in real and signed.edit.changes[key] is None for key, signed in step.readmit.items())
    asker.replica.readmitted(step.readmit)


KEY = st.sampled_from(["", "k001", "k010", "k059", "z"]) | st.text(max_size=3)
ACTOR = st.binary(min_size=16, max_size=16)
COUNT = st.sampled_from([0, 1, 16, 17, 60]) | st.integers(0, 2**53)
HASH = st.sampled_from([bytes(32), DELETED])
SPLIT = st.lists(st.builds(KeyRange, KEY, KEY, COUNT, HASH), max_size=REPAIR_FAN).map(tuple)
LISTED = st.builds(ListedKey, KEY, HASH, st.lists(st.builds(ListedSibling, ACTOR, COUNT, HASH), max_size=3).map(tuple), st.booleans())
PART = st.builds(RangePart, st.integers(0, 3), st.booleans(), SPLIT, st.lists(LISTED, max_size=3).map(tuple))


@WHOLE
@given(data=st.data(), answer=st.booleans())
def test_no_message_makes_anybody_fail(known: Pair, data: st.DataObject, answer: bool) -> None:
    side = Side(known.a.replica)
    question = side.repair.start("b")
    message = Ranges(
        question.number,
        question.clock,
        answer,
        ask=data.draw(SPLIT),
        parts=tuple(data.draw(st.lists(PART, max_size=3))),
        absent=tuple(data.draw(st.lists(st.builds(KeyDot, KEY, ACTOR, COUNT), max_size=3))),
        want=tuple(data.draw(st.lists(st.tuples(ACTOR, COUNT), max_size=3))),
        edits=tuple(data.draw(st.lists(st.binary(max_size=20), max_size=3))),
    )
    step = side.repair.take("b", wired(message))
    assert step.readmit == {}
    for reply in step.send:
        assert wired(reply).answer is not answer


def test_a_deletion_that_was_replaced_is_not_taken_back(scribe: Any) -> None:
    """A peer that still shows it has a damaged state, or lies."""
    pair = Pair(scribe, {"k": ("collected", "a")})
    clock = pair.a.replica.fold.clock
    newer = scribe.edit("n4", {"k": {"v": "6"}}, clock)
    for side in (pair.a, pair.b):
        side.replica.commit(newer)
    assert siblings(pair.a.replica, "k") == siblings(pair.b.replica, "k") == {newer.dot: {"v": "6"}}
    base = pair.b.replica.present_base()
    back = {**base.siblings, "k": tuple(sorted((newer.dot, pair.deletions["a"][0].dot)))}
    log = sorted([*pair.b.replica.edits(), *pair.deletions["a"]], key=lambda s: s.edit.lamport)
    pair.b.replica = Replica(scribe.cluster, scribe.verify, {s.dot: s for s in log}.values(), msgspec.structs.replace(base, siblings=back))
    assert len(siblings(pair.b.replica, "k")) == 2
    compare(pair.a, pair.b)
    assert pair.a.frozen == pair.b.frozen == {"k"}
    assert pair.a.readmitted == pair.b.readmitted == 0


def test_a_deletion_above_the_floor_was_not_collected(scribe: Any) -> None:
    """So a side that does not show it is damaged."""
    pair = Pair(scribe, {"k": ("conflict", "a"), "other": ("collected", "b")})
    deletion = scribe.edit("n2", {"k": None}, pair.past | {scribe.actor("n2"): 1})
    for side in (pair.a, pair.b):
        side.replica.commit(deletion)
    base = pair.b.replica.present_base()
    without = {**base.siblings, "k": tuple(dot for dot in base.siblings["k"] if dot != deletion.dot)}
    pair.b.replica = Replica(scribe.cluster, scribe.verify, list(pair.b.replica.edits()), msgspec.structs.replace(base, siblings=without))
    compare(pair.a, pair.b)
    assert pair.a.frozen == pair.b.frozen == {"k"}
    assert pair.b.readmitted == 1


def test_more_siblings_than_are_listed_are_frozen_if_they_differ(scribe: Any) -> None:
    names = [f"m{n}" for n in range(limit("repair_siblings") + 6)]
    log = [scribe.founding("n1")]
    for name in names:
        log.append(scribe.registration("n1", scribe.member(name), {scribe.actor("n1"): len(log)}))
    past = {scribe.actor("n1"): len(log)}
    log += [scribe.edit(name, {"same": {"v": name}, "k": {"v": name}}, past) for name in names]
    one = scribe.replica(*log)
    base = one.present_base()
    lacking = msgspec.structs.replace(base, siblings={**base.siblings, "k": base.siblings["k"][:-1]})
    a, b = Side(one), Side(Replica(scribe.cluster, scribe.verify, log, lacking))
    compare(a, b)
    assert a.frozen == b.frozen == {"k"}


def test_a_comparison_that_gathers_too_much_goes_on_in_the_next(scribe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "repair_bytes", Limit(4_000, "bytes", "", ""))
    pair = Pair(scribe, {f"k{n:04}": ("collected", "a") for n in range(1_500)})
    rounds = 0
    while pair.a.replica.fold.state_hash != pair.b.replica.fold.state_hash:
        before = pair.a.readmitted
        compare(pair.a, pair.b)
        assert before < pair.a.readmitted
        rounds += 1
    assert rounds > 1
    assert rounds - 1 <= pair.a.counters["repairs_cut"] <= rounds
    assert pair.a.frozen == pair.b.frozen == frozenset()
