"""Health streams on their way: what is lacking, splitting, and putting parts together."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip import codec
from gossip.exchange import ENVELOPE_BYTES, NAMES_BYTES, PART_BYTES, PART_CELLS, Cursor, Exchange, split
from gossip.messages import Delta, Digest, Place
from store.cells import Cell
from store.health import CellEntry, Cut, Head, HealthDelta, Held, Merge, OwnStream, hold_foreign, mark
from store.limits import LIMITS, Limit, limit
from store.members import MemberState, Registry

NAMES = ("n1", "n2", "n3")


def digest(health: dict[str, Place] | None = None, **more: Any) -> Digest:
    return Digest(bytes(32), bytes(32), health=health or {}, **more)


class Site:
    """One node's exchange, in a cluster whose members everybody knows."""

    def __init__(self, scribe: Any, name: str, *, epoch: int = 1, names: Iterable[str] = NAMES) -> None:
        self.name = name
        self.counters: Counter[str] = Counter()
        self.registry = Registry({n: scribe.member(n) for n in names})
        self.own = OwnStream(name, scribe.actor(name), epoch, lambda body: scribe.sign(name, body), 0)
        self.exchange = Exchange(self.own, {}, scribe.verify, self.counters)

    def digest(self, whole: tuple[str, ...] = ()) -> Digest:
        return digest(self.exchange.places(), whole=whole, refused=self.exchange.refused)

    def take(self, delta: HealthDelta, now_ms: int = 0, carrier: str = "p") -> Merge:
        return self.exchange.take(delta, self.registry, now_ms, carrier)

    def pull(self, source: "Site", now_ms: int = 0, *, whole: tuple[str, ...] = (), most: int = 100) -> int:
        """Ask until the answer is complete; returns the number of messages."""
        cursor: Cursor | None = None
        sent = 0
        for _ in range(most):
            answer = source.exchange.answer(self.digest(whole), self.name, cursor, now_ms)
            for deltas in answer.messages:
                assert len(codec.encode(Delta(health=deltas))[1]) <= limit("bulk_message_bytes")
                sent += 1
                for delta in deltas:
                    self.take(delta, now_ms, source.name)
            for node, beat in answer.beats.items():
                self.exchange.hear(node, beat, self.registry, now_ms)
            cursor = answer.cursor
            if cursor is None:
                return sent
        raise AssertionError("the answer never ends")

    def shown(self, node: str) -> dict[str, str]:
        return {c.id: c.state for c in self.exchange.streams[node].cells()}


def cells(count: int, size: int = 0, state: str = "healthy") -> list[Cell]:
    filler = hashlib.sha256(b"x").hexdigest() * (size // 64 + 1)
    return [Cell("multipath.map", f"m{n:05}", state, detail={"x": filler[:size]} if size else {}) for n in range(count)]


@pytest.fixture
def sites(scribe: Any) -> tuple[Site, Site, Site]:
    one, two, three = (Site(scribe, name) for name in NAMES)
    return one, two, three


def test_content_and_beats_reach_a_third_through_a_second(sites: tuple[Site, Site, Site]) -> None:
    one, two, three = sites
    one.own.report(cells(3), 0)
    two.pull(one)
    three.pull(two)
    assert three.shown("n1") == one.shown("n1")
    one.own.beat(1_000)
    assert three.exchange.streams["n1"].age_ms(1_000) == 1_000
    two.pull(one, 1_500)
    three.pull(two, 2_000)
    assert three.exchange.streams["n1"].age_ms(2_000) == 1_000
    assert three.pull(two, 3_000) == 0


def test_a_small_change_travels_alone(sites: tuple[Site, Site, Site]) -> None:
    one, two, _ = sites
    one.own.report(cells(50), 0)
    two.pull(one)
    one.own.report([*cells(49), Cell("multipath.map", "m00049", "failed")], 10)
    (delta,) = one.exchange.deltas("n1", two.exchange.streams["n1"].head.content, 10)
    assert [e.cell.id for e in delta.cells] == ["m00049"]
    assert two.take(delta, 10) is Merge.TAKEN
    assert two.shown("n1") == one.shown("n1")


def test_nobody_is_sent_its_own_stream(sites: tuple[Site, Site, Site]) -> None:
    one, two, _ = sites
    one.own.report(cells(1), 0)
    two.pull(one)
    content, beats = two.exchange.lacking(digest(), "n1", 0)
    assert "n1" not in content
    assert beats == {}
    assert one.take(one.own.stream.delta(None, 0)) is Merge.OLD


def test_the_stalest_comes_first(scribe: Any) -> None:
    hub = Site(scribe, "n1")
    for name in ("n2", "n3"):
        other = Site(scribe, name)
        other.own.report(cells(1), 0)
        hub.pull(other)
    theirs = digest({"n2": Place(scribe.actor("n2")[:4], 1, 0, 0, bytes(4))})
    assert hub.exchange.lacking(theirs, "n9", 0)[0] == ["n1", "n3", "n2"]


def test_a_digest_of_a_slice_is_answered_with_that_slice(scribe: Any) -> None:
    hub = Site(scribe, "n1", names=[f"n{n}" for n in range(1, 8)])
    for number in range(2, 8):
        other = Site(scribe, f"n{number}", names=["n1"])
        other.own.report(cells(1), 0)
        hub.pull(other)
    assert sorted(hub.exchange.places(("n3", "n5"))) == ["n3", "n4", "n5"]
    assert sorted(hub.exchange.places(("n6", ""))) == ["n6", "n7"]
    assert sorted(hub.exchange.lacking(digest(span=("n3", "n5")), "n4", 0)[0]) == ["n3", "n5"]
    assert sorted(hub.exchange.lacking(digest(span=("", "n2")), "n9", 0)[0]) == ["n1", "n2"]


def test_wanted_means_newer_content_of_members(sites: tuple[Site, Site, Site], scribe: Any) -> None:
    one, two, _ = sites
    one.own.report(cells(1), 0)
    places = one.exchange.places()
    assert two.exchange.wanted(places, two.registry) == ["n1"]
    two.pull(one)
    assert two.exchange.wanted(places, two.registry) == []
    assert not two.exchange.fresher(places)
    one.own.beat(10)
    assert two.exchange.wanted(one.exchange.places(), two.registry) == []
    assert two.exchange.fresher(one.exchange.places())
    tag = scribe.actor("n9")[:4]
    assert two.exchange.wanted({"n9": Place(tag, 1, 1, 1, tag), "n1": Place(tag, 9, 9, 9, tag)}, two.registry) == []
    assert one.exchange.wanted({"n1": Place(scribe.actor("n1")[:4], 9, 9, 9, tag)}, one.registry) == []


def test_a_node_learns_that_it_was_heard_further_on(sites: tuple[Site, Site, Site], scribe: Any) -> None:
    one, two, _ = sites
    one.own.report(cells(3), 0)
    two.pull(one)
    assert one.exchange.beyond_own(two.exchange.places()) is None
    again = Site(scribe, "n1")
    assert again.exchange.beyond_own(two.exchange.places()) == 1
    again.own.report(cells(2), 0)
    again.own.begin(2, 5)
    assert again.exchange.beyond_own(two.exchange.places()) is None
    two.pull(again, 10)
    assert two.shown("n1") == again.shown("n1")
    tag = scribe.actor("n9")[:4]
    assert one.exchange.beyond_own({"n1": Place(tag, 9, 9, 9, tag)}) is None, "another's"


def test_only_who_the_registry_names_is_shown(sites: tuple[Site, Site, Site], scribe: Any) -> None:
    one, two, _ = sites
    one.own.report(cells(1), 0)
    delta = one.own.stream.delta(None, 0)
    imposter = OwnStream("n1", scribe.actor("n9"), 5, lambda body: scribe.sign("n9", body), 0)
    imposter.report(cells(1, state="failed"), 0)
    assert two.take(imposter.stream.delta(None, 0)) is Merge.OLD
    assert two.take(msgspec.structs.replace(delta, node="n9")) is Merge.OLD
    assert two.take(msgspec.structs.replace(delta, node="n3")) is Merge.OLD
    assert "n1" not in two.exchange.streams
    assert two.take(delta) is Merge.TAKEN


def test_a_new_incarnation_of_a_name_replaces_the_old_one(scribe: Any, sites: tuple[Site, Site, Site]) -> None:
    one, two, _ = sites
    one.own.report(cells(1), 0)
    two.pull(one)
    two.registry = Registry({"n1": scribe.member("n1", actor="anew"), "n2": scribe.member("n2")})
    assert two.exchange.prune(two.registry) == {"n1"}
    assert two.exchange.prune(two.registry) == set()
    anew = OwnStream("n1", scribe.actor("anew"), 1, lambda body: scribe.sign("anew", body), 0)
    assert two.take(anew.stream.delta(None, 0)) is Merge.TAKEN
    assert two.take(one.own.stream.delta(None, 0)) is Merge.OLD
    one.own.beat(1)
    assert two.exchange.hear("n1", one.exchange.beat("n1", 1), two.registry, 1) is Merge.OLD


def test_a_member_that_left_keeps_its_stream(scribe: Any, sites: tuple[Site, Site, Site]) -> None:
    one, two, _ = sites
    two.pull(one)
    two.registry = Registry({"n1": scribe.member("n1", state=MemberState.LEFT)})
    assert two.exchange.prune(two.registry) == set()


def entries(sizes: list[int]) -> HealthDelta:
    made = tuple(CellEntry(1, Cell("k", f"c{n}", "s", detail={"x": "y" * size})) for n, size in enumerate(sizes))
    return HealthDelta("n1", Head(bytes(16), 1, 1, 1), 0, 0, bytes(32), 0, b"", made)


def held(delta: HealthDelta) -> dict[tuple[str, str], Held]:
    return {entry.cell.key: hold_foreign(entry) for entry in delta.cells}


@given(st.integers(0, 2**53), st.lists(st.text(), max_size=3), st.dictionaries(st.text(), st.integers(0, 9)), st.floats(0, 2e9))
def test_an_entry_is_no_longer_than_its_mark_says(seq: int, reasons: list[str], detail: dict[str, int], at: float) -> None:
    entry = CellEntry(seq, Cell("multipath.map", "m1", "healthy", tuple(reasons), detail, detail, at))
    assert len(msgspec.msgpack.encode(entry)) <= mark(entry).size + NAMES_BYTES


@settings(deadline=None)
@given(st.lists(st.integers(0, limit("cell_bytes") - 200), max_size=60))
def test_every_part_fits_and_nothing_is_lost(sizes: list[int]) -> None:
    delta = entries(sizes)
    parts = split(delta, held(delta))
    assert [e for part in parts for e in part.cells] == list(delta.cells)
    assert [(p.part, p.parts) for p in parts] == [(n, len(parts)) for n in range(len(parts))]
    for part in parts:
        assert len(msgspec.msgpack.encode(part)) <= PART_BYTES + ENVELOPE_BYTES


def test_few_large_cells_are_split_too() -> None:
    """Two hundred cells of 8 KiB are above what one message carries."""
    delta = entries([8_000] * 200)
    parts = split(delta, held(delta))
    assert len(parts) > 1
    for part in parts:
        codec.encode(Delta(health=(part,)))


def test_many_tiny_cells_are_split_by_number() -> None:
    delta = entries([0] * (2 * PART_CELLS + 1))
    parts = split(delta, held(delta))
    assert [len(p.cells) for p in parts] == [PART_CELLS, PART_CELLS, 1]
    assert [codec.decode(*codec.encode(Delta(health=(p,)))) for p in parts]


LARGE = (600, 8_000)  # about 4.8 MB: eleven parts


def test_a_large_stream_arrives_through_real_messages(sites: tuple[Site, Site, Site]) -> None:
    one, two, three = sites
    one.own.report(cells(*LARGE), 0)
    assert two.pull(one) >= 5
    three.pull(two)
    assert three.exchange.streams["n1"].map_hash == one.own.stream.map_hash
    assert not three.exchange._assemblies


def test_a_stream_larger_than_one_answer_arrives_in_several(sites: tuple[Site, Site, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    from store import limits

    monkeypatch.setitem(limits.LIMITS, "answer_parts", limits.Limit(2, "messages", "", ""))
    one, two, _ = sites
    one.own.report(cells(*LARGE), 0)
    answer = one.exchange.answer(digest(), "n2", None, 0)
    assert len(answer.messages) == 2
    assert answer.cursor == Cursor("n1", sum(len(m) for m in answer.messages))
    assert two.pull(one) >= 5
    assert two.shown("n1") == one.shown("n1")


@pytest.mark.parametrize("seed", range(8))
def test_parts_in_any_order_with_losses_and_repetitions(sites: tuple[Site, Site, Site], seed: int) -> None:
    one, two, _ = sites
    one.own.report(cells(*LARGE), 0)
    parts = one.exchange.deltas("n1", None, 0)
    random = Random(seed)
    taken = 0
    for now in range(0, 100_000, 1_000):
        one.own.beat(now)
        parts = one.exchange.deltas("n1", None, now + 300)
        random.shuffle(parts)
        for part in parts:
            for _ in range(random.choice((0, 1, 1, 2))):
                taken += two.take(part, now + 300) is Merge.TAKEN
        if taken:
            break
    assert taken == 1
    assert two.exchange.streams["n1"].map_hash == one.own.stream.map_hash
    assert two.exchange.streams["n1"].age_ms(now + 300) >= 300


def test_content_that_moves_on_starts_the_assembly_anew(sites: tuple[Site, Site, Site]) -> None:
    one, two, _ = sites
    one.own.report(cells(*LARGE), 0)
    old = one.exchange.deltas("n1", None, 0)
    one.own.report(cells(*LARGE, "degraded"), 10)
    new = one.exchange.deltas("n1", None, 10)
    for part in (*old[:-1], *new):
        two.take(part, 20)
    assert two.shown("n1") == one.shown("n1")


def test_two_peers_parts_are_not_mixed(sites: tuple[Site, Site, Site]) -> None:
    """A peer that sends other cells under a true head spoils nothing of what an honest one sends."""
    one, two, _ = sites
    one.own.report(cells(*LARGE), 0)
    parts = one.exchange.deltas("n1", None, 0)
    for part in parts:
        two.take(msgspec.structs.replace(part, cells=part.cells[:1]), 0, "liar")
        result = two.take(part, 0, "honest")
    assert result is Merge.TAKEN


@pytest.mark.parametrize("change", [{"part": 64}, {"part": 11, "parts": 11}, {"signature": bytes(64)}, {"map_hash": bytes(32)}])
def test_parts_that_cannot_be_are_forged_and_not_kept(sites: tuple[Site, Site, Site], change: dict[str, Any]) -> None:
    one, two, _ = sites
    one.own.report(cells(*LARGE), 0)
    part = one.exchange.deltas("n1", None, 0)[0]
    assert two.take(msgspec.structs.replace(part, **change)) is Merge.FORGED
    assert not two.exchange._assemblies
    assert two.counters["health_forged"] == 1


def test_what_peers_send_by_halves_is_bounded(sites: tuple[Site, Site, Site]) -> None:
    one, two, _ = sites
    """A peer that sends more than the node signed is found out as soon as it has."""
    one.own.report(cells(10, 50_000), 0)
    delta = one.own.stream.delta(None, 0)
    for n in range(64):
        part = msgspec.structs.replace(delta, part=n, parts=64)
        assert two.take(part, 0, "liar") is (Merge.MISMATCH if n % 2 else Merge.OLD)
        assert sum(a.size for a in two.exchange._assemblies.values()) <= delta.size
    two.take(msgspec.structs.replace(delta, part=0, parts=64), 0, "liar")
    two.exchange.forget_peer("liar")
    assert not two.exchange._assemblies


@pytest.mark.parametrize(("bound", "value"), [("stream_bytes", 2_000_000), ("stream_cells", 500)])
def test_a_stream_beyond_the_bounds_is_refused_once_and_not_asked_for_again(
    sites: tuple[Site, Site, Site], monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    one, two, three = sites
    one.own.report(cells(100, 100), 0)
    two.pull(one)
    before = two.shown("n1")
    one.own.report(cells(*LARGE), 10)
    monkeypatch.setitem(LIMITS, bound, Limit(value, "", "", ""))
    assert two.pull(one, 20) >= 5
    assert two.counters["health_oversized"] == 1
    assert two.shown("n1") == before
    for now in range(1_000, 5_000, 1_000):
        one.own.beat(now)
        assert two.pull(one, now) == 0
        assert not two.exchange.wanted(one.exchange.places(), two.registry)
    assert two.counters["health_oversized"] == 1
    assert two.exchange.streams["n1"].age_ms(5_000) == 5_000, "what it shows grows old"
    assert three.exchange.wanted(two.exchange.places(), three.registry), "a third finds out for itself"
    assert three.pull(two) == 1, "from one that has the former content only"
    assert two.take(one.own.stream.delta(None, 6_000), 6_000) is Merge.OLD, "whoever sends it"
    one.own.report(cells(10), 7_000)
    two.pull(one, 7_000, whole=("n1",))
    assert two.shown("n1") == one.shown("n1")
    assert two.exchange.refused == {}


def test_a_refusal_is_forgotten_with_its_actor(scribe: Any, sites: tuple[Site, Site, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, _ = sites
    one.own.report(cells(*LARGE), 0)
    monkeypatch.setitem(LIMITS, "stream_bytes", Limit(2_000_000, "", "", ""))
    two.pull(one)
    assert two.exchange.refused == {"n1": (1, 1)}
    two.exchange.prune(Registry({"n1": scribe.member("n1", actor="anew")}))
    assert two.exchange.refused == {}


def test_the_largest_report_there_can_be_gets_through(sites: tuple[Site, Site, Site]) -> None:
    """As many LUNs with as many paths as are reported, as long as a host really names them."""
    one, two, _ = sites
    names = [f"fc:0x21000024ff7a{n:04x}>0x500a09828dfb{n:04x}" for n in range(limit("paths_per_lun"))]
    paths = [{"id": n, "class": "active", "group": 1, "chk": "ready", "dm": "active", "dev_state": "running"} for n in names]
    measures = {"sysfs": "dm-1", "devs": dict.fromkeys(names, "sdaaa"), "priorities": dict.fromkeys(names, 50)}
    detail = {"alias": "a" * 40, "vendor": "NETAPP", "product": "LUN C-Mode", "path_list": paths, "baseline": names, "missing_paths": []}
    whole = [Cell("multipath.map", f"36{n:030x}", "healthy", (), detail, measures, 1e9) for n in range(limit("luns_per_node"))]
    one.own.report(whole, 0)
    assert one.own.cut is Cut.NOTHING
    assert 24 * 2**20 < one.own.stream.size < limit("stream_bytes")
    two.pull(one)
    assert two.exchange.streams["n1"].map_hash == one.own.stream.map_hash


def test_a_beat_counts_only_with_its_nodes_signature(sites: tuple[Site, Site, Site]) -> None:
    one, two, three = sites
    one.own.report(cells(1), 0)
    two.pull(one)
    three.pull(two)
    one.own.beat(1_000)
    true = one.exchange.beat("n1", 1_000)
    for forged in (
        msgspec.structs.replace(true, beat=2**53),
        msgspec.structs.replace(true, clock_tag=b"another!"),
        msgspec.structs.replace(true, signature=b""),
        msgspec.structs.replace(true, signature=bytes(64)),
    ):
        assert two.exchange.hear("n1", forged, two.registry, 1_000) is Merge.FORGED
    assert two.exchange.hear("n1", true, two.registry, 1_000) is Merge.BEAT
    assert three.exchange.hear("n1", two.exchange.beat("n1", 1_500), three.registry, 1_500) is Merge.BEAT
    assert three.exchange.streams["n1"].age_ms(1_500) == 500
    assert two.exchange.hear("n2", two.exchange.beat("n2", 0), two.registry, 0) is Merge.OLD
    assert two.exchange.hear("n9", true, two.registry, 0) is Merge.OLD


def test_a_stream_that_only_changes_never_reaches_its_limit(sites: tuple[Site, Site, Site]) -> None:
    one, two, _ = sites
    for n in range(60):
        one.own.report(cells(100, 5_000, f"s{n}"), n)
        two.pull(one, n)
    assert two.counters["health_oversized"] == 0
    assert two.shown("n1") == one.shown("n1")
