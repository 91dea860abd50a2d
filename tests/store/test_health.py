"""Health streams: merging, ages, and what is refused."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from store.cells import Cell, PackedCell
from store.health import (
    ABSENT,
    DETAIL_DEPTH,
    UNKNOWN_AGE_MS,
    CellEntry,
    Cut,
    Head,
    HealthDelta,
    HealthStream,
    Merge,
    OwnStream,
    decode_stream,
    encode_stream,
    is_plain,
    mark,
    new_stream,
)
from store.limits import LIMITS, Limit, limit

ACTOR = b"a" * 16
HOLDERS = 3


def sign(body: bytes) -> bytes:
    import hashlib

    return hashlib.sha512(b"n1" + body).digest()


def verify(body: bytes, signature: bytes) -> bool:
    return signature == sign(body)


def cell(name: str, state: str = "healthy", **more: Any) -> Cell:
    return Cell("multipath.map", name, state, **more)


def shown(stream: HealthStream) -> dict[str, str]:
    return {c.id: c.state for c in stream.cells()}


def own(epoch: int = 1, now_ms: int = 0) -> OwnStream:
    return OwnStream("n1", ACTOR, epoch, sign, now_ms)


def holder_of(source: OwnStream, now_ms: int = 0) -> HealthStream:
    stream, result = new_stream(source.stream.delta(None, now_ms), now_ms, verify)
    assert result is Merge.TAKEN
    assert stream is not None
    return stream


def hear(held: HealthStream, source: OwnStream, age_ms: int, now_ms: int) -> Merge:
    return held.hear_beat(source.stream.head, source.stream.signature, age_ms, now_ms, verify)


@dataclass
class Message:
    """A delta under way: when it left, and by how much its age may already be too small because of earlier hops."""

    delta: HealthDelta
    sent_ms: int
    slack_ms: int


class StreamMachine(RuleBasedStateMachine):
    """One node reports, holders relay to each other in any way a network allows; time is virtual."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000
        self.epoch = 1
        self.source = own(1, self.now)
        self.beat_ms = {(1, 0): self.now}
        self.holders: list[HealthStream | None] = [None] * HOLDERS
        self.slack = [0] * HOLDERS
        self.under_way: list[Message] = []

    @initialize()
    def start(self) -> None:
        self.report({"m0": "healthy"})

    @rule(cells=st.dictionaries(st.sampled_from([f"m{n}" for n in range(5)]), st.sampled_from(["healthy", "degraded", "failed"])))
    def report(self, cells: dict[str, str]) -> None:
        before = shown(self.source.stream)
        moved = self.source.report([cell(name, state) for name, state in cells.items()], self.now)
        assert moved == (before != cells)
        assert shown(self.source.stream) == cells
        if moved:
            self.beat_ms[self.source.stream.head.life] = self.now

    @rule()
    def beat(self) -> None:
        before = self.source.stream.head
        self.source.beat(self.now)
        assert self.source.stream.head.content == before.content
        self.beat_ms[self.source.stream.head.life] = self.now

    @rule(ms=st.integers(1, 5_000))
    def pass_time(self, ms: int) -> None:
        self.now += ms

    @rule()
    def restart(self) -> None:
        self.epoch += 1
        self.source = own(self.epoch, self.now)
        self.beat_ms[(self.epoch, 0)] = self.now

    @rule(data=st.data(), base=st.none() | st.tuples(st.integers(1, 4), st.integers(0, 20)))
    def send(self, data: st.DataObject, base: tuple[int, int] | None) -> None:
        """Anybody sends from any base, whether or not anybody has that."""
        choice = data.draw(st.integers(-1, HOLDERS - 1))
        stream = self.source.stream if choice < 0 else self.holders[choice]
        if stream is not None:
            slack = 0 if choice < 0 else self.slack[choice]
            self.under_way.append(Message(stream.delta(base, self.now), self.now, slack))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), to=st.integers(0, HOLDERS - 1), keep=st.booleans())
    def deliver(self, data: st.DataObject, to: int, keep: bool) -> None:
        """Any message, in any order, once, again, or (never chosen) not at all."""
        position = data.draw(st.integers(0, len(self.under_way) - 1))
        message = self.under_way[position]
        if not keep:
            del self.under_way[position]
        held = self.holders[to]
        before = held.head if held else None
        if held is None or held.head.epoch < message.delta.head.epoch:
            stream, result = new_stream(message.delta, self.now, verify)
            if stream is not None:
                self.holders[to] = held = stream
        else:
            result = held.merge(message.delta, self.now, verify)
        assert result in (Merge.TAKEN, Merge.BEAT, Merge.OLD, Merge.GAP)
        if held is not None and (before is None or held.head.life > before.life):
            assert result in (Merge.TAKEN, Merge.BEAT)
            self.slack[to] = message.slack_ms + self.now - message.sent_ms
        if before is not None and held is not None:
            assert held.head.content >= before.content
            assert held.head.life >= before.life

    @invariant()
    def what_is_held_was_said(self) -> None:
        for stream, slack in zip(self.holders, self.slack, strict=True):
            if stream is None:
                continue
            assert all(e.seq <= stream.head.seq for e in stream.entries.values())
            if stream.head.content == self.source.stream.head.content:
                assert shown(stream) == shown(self.source.stream)
                assert stream.map_hash == self.source.stream.map_hash
            true_age = self.now - self.beat_ms[stream.head.life]
            assert true_age - slack <= stream.age_ms(self.now) <= true_age

    def teardown(self) -> None:
        """Once everything gets through, all hold the same."""
        for position, held in enumerate(self.holders):
            base = held.head.content if held else None
            delta = self.source.stream.delta(base, self.now)
            if held is None or held.head.epoch < delta.head.epoch:
                stream, result = new_stream(delta, self.now, verify)
                assert stream is not None
                held = self.holders[position] = stream
            else:
                result = held.merge(delta, self.now, verify)
            assert result in (Merge.TAKEN, Merge.BEAT, Merge.OLD)
            assert held.head == self.source.stream.head
            assert shown(held) == shown(self.source.stream)
            assert held.age_ms(self.now) == self.source.stream.age_ms(self.now) or result is Merge.OLD


StreamMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestStreams = StreamMachine.TestCase


def test_an_equal_snapshot_moves_nothing() -> None:
    source = own()
    assert source.report([cell("m1", measures={"sysfs": "dm-0"}, observed_at=1.0)], 10)
    head = source.stream.head
    assert not source.report([cell("m1", measures={"sysfs": "dm-7"}, observed_at=2.0)], 20)
    assert source.stream.head == head
    assert source.report([cell("m1", detail={"alias": "x"})], 30)
    assert source.stream.head.seq == head.seq + 1


def test_what_goes_becomes_absent_and_can_come_back() -> None:
    source = own()
    source.report([cell("m1"), cell("m2")], 0)
    held = holder_of(source)
    source.report([cell("m2")], 10)
    delta = source.stream.delta(held.head.content, 10)
    assert [(e.cell.id, e.cell.state) for e in delta.cells] == [("m1", ABSENT)]
    assert held.merge(delta, 10, verify) is Merge.TAKEN
    assert shown(held) == {"m2": "healthy"}
    source.report([cell("m1"), cell("m2")], 20)
    assert held.merge(source.stream.delta(held.head.content, 20), 20, verify) is Merge.TAKEN
    assert shown(held) == {"m1": "healthy", "m2": "healthy"}


def test_the_cells_of_others_are_packed_wherever_they_came_from() -> None:
    source = own()
    source.report([cell("m1", detail={"x": 1})], 0)
    first = holder_of(source)
    source.report([cell("m1", detail={"x": 1}), cell("m2", detail={"y": [2]}, measures={"z": 3})], 1)
    assert first.merge(source.stream.delta(first.head.content, 1), 1, verify) is Merge.TAKEN
    second, _ = new_stream(first.delta(None, 2), 2, verify)
    assert second is not None
    for stream in (first, second, decode_stream(encode_stream(second), 3)):
        assert [type(held.cell) for held in stream.entries.values()] == [PackedCell, PackedCell]
        assert {e.cell.key: e for e in stream.delta(None, 3).cells} == {e.cell.key: e for e in source.stream.delta(None, 3).cells}
        assert stream.entries == first.entries
    assert [type(held.cell) for held in source.stream.entries.values()] == [Cell, Cell]


def test_an_empty_stream_is_a_stream() -> None:
    assert shown(holder_of(own())) == {}


def test_a_delta_that_starts_later_is_a_gap() -> None:
    source = own()
    held = holder_of(source)
    for n in range(3):
        source.report([cell(f"m{n}")], n)
    assert held.merge(source.stream.delta((1, 2), 5), 5, verify) is Merge.GAP
    assert new_stream(source.stream.delta((1, 2), 5), 5, verify) == (None, Merge.GAP)
    assert held.merge(source.stream.delta((1, 0), 5), 5, verify) is Merge.TAKEN


@pytest.mark.parametrize("base", [(1, 1), None])
def test_a_map_that_is_not_the_signed_one_is_a_mismatch_and_changes_nothing(base: tuple[int, int] | None) -> None:
    source = own()
    source.report([cell("m1")], 0)
    held = holder_of(source)
    source.report([cell("m1", "failed")], 10)
    delta = source.stream.delta(base, 10)
    lie = msgspec.structs.replace(delta, cells=(CellEntry(2, cell("m1")),))
    before = (held.head, shown(held), held.age_ms(20))
    assert held.merge(lie, 20, verify) is Merge.MISMATCH
    assert (held.head, shown(held), held.age_ms(20)) == before
    assert held.merge(delta, 20, verify) is Merge.TAKEN
    assert shown(held) == {"m1": "failed"}


def altered(entry: CellEntry, **changes: Any) -> CellEntry:
    return CellEntry(entry.seq, msgspec.structs.replace(entry.cell, **changes))


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda old, gone, new: (old, gone, altered(new, state="healthy")), id="state"),
        pytest.param(lambda old, gone, new: (old, gone, altered(new, reasons=("x",))), id="reasons"),
        pytest.param(lambda old, gone, new: (old, gone, altered(new, detail={"y": 1})), id="detail"),
        pytest.param(lambda old, gone, new: (old, gone, altered(new, measures={"faults": 9})), id="measures"),
        pytest.param(lambda old, gone, new: (old, gone, altered(new, observed_at=1.0)), id="observed_at"),
        pytest.param(lambda old, gone, new: (old, gone, CellEntry(1, new.cell)), id="seq"),
        pytest.param(lambda old, gone, new: (old, new), id="without the one that is gone"),
        pytest.param(lambda old, gone, new: (old, altered(gone, state="healthy"), new), id="back again"),
        pytest.param(lambda old, gone, new: (old, gone), id="without the new one"),
        pytest.param(lambda old, gone, new: (old, gone, new, altered(new, id="m9")), id="one more"),
        pytest.param(lambda old, gone, new: (old, altered(old, id="m1", state=ABSENT), altered(gone, id="m0")), id="names swapped"),
    ],
)
def test_a_relay_can_change_nothing_and_leave_out_nothing(lie: Any) -> None:
    source = own()
    source.report([cell("m0"), cell("m1")], 0)
    source.report([cell("m0"), cell("m2", "failed", detail={"x": 1}, measures={"faults": 2}, observed_at=7.0)], 1)
    delta = source.stream.delta(None, 1)
    entries = {e.cell.id: e for e in delta.cells}
    told = lie(entries["m0"], entries["m1"], entries["m2"])
    assert new_stream(msgspec.structs.replace(delta, cells=told), 1, verify) == (None, Merge.MISMATCH)
    assert new_stream(msgspec.structs.replace(delta, cells=tuple(reversed(delta.cells))), 1, verify)[1] is Merge.TAKEN


def test_a_beat_that_the_node_did_not_make_is_forged() -> None:
    source = own()
    source.report([cell("m1")], 0)
    held = holder_of(source)
    head, signature = source.stream.head, source.stream.signature
    for beat in (head.beat + 1, 2**53):
        assert held.hear_beat(Head(ACTOR, 1, head.seq, beat), signature, 0, 10, verify) is Merge.FORGED
        delta = msgspec.structs.replace(source.stream.delta(None, 0), head=Head(ACTOR, 1, head.seq, beat))
        assert held.merge(delta, 10, verify) is Merge.FORGED
        assert new_stream(delta, 10, verify) == (None, Merge.FORGED)
    assert held.head == head
    source.beat(20)
    assert hear(held, source, 0, 20) is Merge.BEAT
    assert held.delta(None, 20).signature == source.stream.signature, "who hears it second-hand can check it too"


def test_only_a_beat_that_would_be_taken_costs_a_verification() -> None:
    source = own()
    source.report([cell("m1")], 0)
    held = holder_of(source)

    def never(_body: bytes, _signature: bytes) -> bool:
        raise AssertionError("nothing is new")

    assert held.hear_beat(held.head, b"", 0, 10, never) is Merge.OLD
    assert held.hear_beat(Head(ACTOR, 1, 7, 99), b"", 0, 10, never) is Merge.OLD
    assert held.hear_beat(Head(ACTOR, 1, 1, 99), b"", UNKNOWN_AGE_MS, 10, never) is Merge.OLD


_DETAILS = st.dictionaries(
    st.text(max_size=4),
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.lists(st.text()),
    max_size=4,
)


@given(st.integers(0, 2**53), st.text(), st.lists(st.text(), max_size=3), _DETAILS, _DETAILS, st.integers(0, 9) | st.floats(0, 2e9))
def test_a_mark_is_the_same_wherever_the_entry_came(seq: int, state: str, reasons: Any, detail: Any, measures: Any, at: float) -> None:
    entry = CellEntry(seq, Cell("multipath.map", "m1", state, tuple(reasons), detail, measures, at))
    came = msgspec.msgpack.decode(msgspec.msgpack.encode(entry), type=CellEntry)
    assert mark(came) == mark(entry)


def test_a_stream_that_grows_too_large_loses_measures_then_lists_then_all_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(paths: int, word: int) -> list[Cell]:
        return [
            cell(f"m{n}", "degraded", reasons=("path-lost",), detail={"alias": "a" * word, "path_list": ["p" * 50] * paths},
                 measures={"devs": "d" * 500}, observed_at=5.0)
            for n in range(10)
        ]  # fmt: skip

    monkeypatch.setitem(LIMITS, "stream_bytes", Limit(10_000, "bytes", "", ""))
    source = own()
    steps = [
        (2, 1, Cut.NOTHING),
        (15, 1, Cut.MEASURES),
        (25, 1, Cut.LISTS),
        (1, 1_000, Cut.DETAIL),
        (2, 3, Cut.NOTHING),
    ]
    for now, (paths, word, cut) in enumerate(steps):
        assert source.report(snapshot(paths, word), now)
        shown_cell = source.stream.entries["multipath.map", "m3"].cell
        assert source.cut is cut
        assert source.stream.size <= 10_000
        assert bool(shown_cell.measures) == (cut is Cut.NOTHING)
        assert ("path_list" in shown_cell.detail) == (cut < Cut.LISTS)
        assert ("alias" in shown_cell.detail) == (cut < Cut.DETAIL)
        assert shown_cell.reasons == (("path-lost",) if cut < Cut.LISTS else ("path-lost", "truncated"))
        assert shown_cell.state == "degraded"
        assert not source.report(snapshot(paths, word), now), "the same again moves nothing"
        assert shown(holder_of(source)) == shown(source.stream)


def test_a_map_that_is_too_large_is_refused_as_soon_as_its_size_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    source = own()
    source.report([cell(f"m{n}", detail={"x": "y" * 100}) for n in range(20)], 0)
    delta = source.stream.delta(None, 0)
    assert new_stream(msgspec.structs.replace(delta, size=2**40), 0, verify) == (None, Merge.FORGED), "nobody else can say so"
    monkeypatch.setitem(LIMITS, "stream_cells", Limit(19, "cells", "", ""))
    assert new_stream(delta, 0, verify) == (None, Merge.OVERSIZED)
    monkeypatch.setitem(LIMITS, "stream_bytes", Limit(delta.size - 1, "bytes", "", ""))
    assert new_stream(msgspec.structs.replace(delta, cells=()), 0, verify) == (None, Merge.OVERSIZED)


def test_a_cell_from_beyond_its_head_is_a_mismatch() -> None:
    source = own()
    source.report([cell("m1")], 0)
    delta = source.stream.delta(None, 0)
    assert new_stream(msgspec.structs.replace(delta, cells=(CellEntry(9, cell("m1")),)), 0, verify) == (None, Merge.MISMATCH)


def test_a_wrong_signature_is_forged() -> None:
    source = own()
    held = holder_of(source)
    source.report([cell("m1")], 0)
    good = source.stream.delta((1, 0), 0)
    for bad in (
        msgspec.structs.replace(good, signature=bytes(64)),
        msgspec.structs.replace(good, head=Head(ACTOR, 1, 2, 9)),
        msgspec.structs.replace(good, map_hash=bytes(32), cells=()),
    ):
        assert held.merge(bad, 5, verify) is Merge.FORGED
        assert new_stream(bad, 5, verify) == (None, Merge.FORGED)
    assert held.head.seq == 0


def test_one_position_with_two_contents_is_equivocation() -> None:
    one, two = own(), own()
    one.report([cell("m1")], 0)
    two.report([cell("m1", "failed")], 0)
    held = holder_of(one)
    assert held.merge(two.stream.delta(None, 0), 5, verify) is Merge.EQUIVOCATION
    assert shown(held) == {"m1": "healthy"}
    forged = msgspec.structs.replace(two.stream.delta(None, 0), signature=bytes(64))
    assert held.merge(forged, 5, verify) is Merge.FORGED


def test_a_beat_of_other_content_is_not_taken() -> None:
    source = own()
    held = holder_of(source)
    source.report([cell("m1")], 0)
    assert hear(held, source, 0, 100) is Merge.OLD
    assert held.age_ms(100) == 100


def test_an_age_adds_up_over_hops_without_any_shared_clock() -> None:
    source = own(now_ms=0)
    source.report([cell("m1")], 0)
    first, _ = new_stream(source.stream.delta(None, 300), 1_000_300, verify)  # another clock entirely
    assert first is not None
    second, _ = new_stream(first.delta(None, 1_002_300), 77, verify)
    assert second is not None
    assert second.age_ms(77) == 2_300
    assert second.age_ms(1_077) == 3_300
    assert second.age_ms(50) == 2_300  # a clock that stepped back makes nothing younger


def test_an_older_epoch_is_old_and_a_newer_one_starts_anew() -> None:
    old, new = own(1), own(2)
    old.report([cell("m1")], 0)
    new.report([cell("m2")], 0)
    held = holder_of(new)
    assert held.merge(old.stream.delta(None, 0), 0, verify) is Merge.OLD
    assert old.stream.delta((2, 1), 0).base == 0
    assert held.delta((1, 1), 0).base == 0


def test_a_stream_reads_back_but_is_not_fresh_until_heard() -> None:
    source = own()
    source.report([cell("m1", detail={"paths": {"usable": 1}}), cell("m2")], 0)
    source.report([cell("m1")], 0)
    held = decode_stream(encode_stream(holder_of(source)), 50)
    assert [e.entry() for e in held.entries.values()] == [e.entry() for e in source.stream.entries.values()]
    assert held.map_hash == source.stream.map_hash
    assert held.head == source.stream.head
    fresh = [held.fresh]
    assert held.age_ms(60) >= UNKNOWN_AGE_MS
    assert held.merge(source.stream.delta(None, 60), 60, verify) is Merge.OLD
    fresh.append(held.fresh)
    source.beat(70)
    assert hear(held, source, 5, 75) is Merge.BEAT
    fresh.append(held.fresh)
    assert fresh == [False, False, True]
    assert held.age_ms(80) == 10


def test_what_came_from_a_disk_makes_nobody_elses_knowledge_fresh() -> None:
    source = own()
    source.report([cell("m1")], 0)
    listener = holder_of(source)
    source.beat(10)
    restarted = decode_stream(encode_stream(source.stream), 20)
    told = restarted.delta(None, 30)
    assert (
        listener.hear_beat(told.head, told.signature, told.age_ms, 30, verify) is Merge.OLD
    )  # an honest age of an older beat is worth more
    assert listener.age_ms(30) == 30
    newcomer, result = new_stream(told, 30, verify)
    assert result is Merge.TAKEN
    assert newcomer is not None
    assert not newcomer.fresh
    assert newcomer.age_ms(30) >= UNKNOWN_AGE_MS


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b.replace(b"healthy", b"failing"), lambda b: b"", lambda b: b"\xc1" + b])
def test_a_damaged_row_is_a_value_error(damage: Any) -> None:
    source = own()
    source.report([cell("m1")], 0)
    with pytest.raises(ValueError, match="damaged"):
        decode_stream(damage(encode_stream(source.stream)), 0)


@pytest.mark.parametrize(
    ("detail", "plain"),
    [
        ({"a": [1, 2.5, "x", None, True, {"b": []}]}, True),
        ({"a": float("nan")}, False),
        ({"a": float("inf")}, False),
        ({"a": b"bytes"}, False),
        ({"a": {1: 2}}, False),
        ({"a": msgspec.msgpack.Ext(5, b"x")}, False),
        (msgspec.json.decode(b'{"a":' * (DETAIL_DEPTH - 1) + b"{}" + b"}" * (DETAIL_DEPTH - 1)), True),
        (msgspec.json.decode(b'{"a":' * (DETAIL_DEPTH + 1) + b"{}" + b"}" * (DETAIL_DEPTH + 1)), False),
    ],
)
def test_plain(detail: Any, plain: bool) -> None:
    assert is_plain(cell("m1", detail=detail)) is plain
    assert is_plain(cell("m1", measures=detail)) is plain
    assert not is_plain(cell("m1", observed_at=float("nan")))


def test_cells_that_are_gone_do_not_pile_up() -> None:
    source = own()
    half = limit("stream_cells") // 2 + 1
    source.report([cell(f"a{n}") for n in range(half)], 0)
    held = holder_of(source)
    source.report([cell(f"b{n}") for n in range(half)], 1)
    assert len(source.stream.entries) == len(shown(source.stream)) == half
    # Whoever still has those that are forgotten, or has not heard that they went, finds out, and asks for the whole.
    assert held.merge(source.stream.delta(held.head.content, 2), 2, verify) is Merge.MISMATCH
    assert held.merge(source.stream.delta(None, 2), 2, verify) is Merge.TAKEN
    assert shown(held) == shown(source.stream)
