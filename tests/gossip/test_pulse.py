"""Health content: what leaves when, what is taken of others, and whom its faults are laid upon."""

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.events import Alarm, LocalSnapshot, Publish, SetEpoch
from gossip.messages import Delta, Digest, Place
from gossip.pulse import EPOCH_LEAP, HAND_ON_TO, MOVE_EVERY_MS, PUSH_GAP_MS
from gossip.vitals import STALE_MS
from store.cells import Cell
from store.health import HealthDelta, OwnStream
from store.limits import LIMITS, Limit, limit
from store.matrix import Reporter

Make = Callable[..., Any]
MAP = "multipath.map"


def snapshot(parts: Any, **states: str) -> None:
    parts.pulse.snapshot(LocalSnapshot(tuple(Cell(MAP, wwid, state) for wwid, state in states.items())), parts.now)


def pushed(parts: Any) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """To whom this node's own content was pushed, and what of it."""
    return [
        (names, {entry.cell.id: entry.cell.state for part in delta.health for entry in part.cells})
        for names, delta in parts.sent(Delta)
        if delta.push
    ]


def stream_of(scribe: Any, name: str, now: int = 1_000_000) -> OwnStream:
    """A member's own stream, as that member makes it."""
    return OwnStream(name, scribe.actor(name), 1, lambda body: scribe.sign(name, body), now)


def report(own: OwnStream, now: int, **states: str) -> HealthDelta:
    """The member observes this; the delta with all of it."""
    own.report([Cell(MAP, wwid, state) for wwid, state in states.items()], now)
    return own.stream.delta(None, now)


def take(parts: Any, delta: HealthDelta, carrier: str = "n2", *, push: bool = False, waited_ms: int = 0) -> None:
    parts.pulse.take(parts.mesh.by_name[carrier], Delta(health=(delta,), push=push), waited_ms, parts.now)


def shown(parts: Any, name: str) -> dict[str, str]:
    stream = parts.state.exchange.streams.get(name)
    return {cell.id: cell.state for cell in stream.cells()} if stream is not None else {}


# -- this node's own ------------------------------------------------------------------------------------------------------------


def test_a_change_leaves_at_once_and_the_next_after_a_gap_with_all_that_came_meanwhile(parts: Make) -> None:
    p = parts("n2", "n3")
    p.open("n2")
    p.open("n3")
    snapshot(p, a="healthy")
    assert pushed(p) == [(("n2", "n3"), {"a": "healthy"})]
    p.now += 10
    snapshot(p, a="degraded")
    snapshot(p, a="degraded", b="failed")
    p.pulse.tick(p.now)
    assert not pushed(p) and p.pulse.waits
    p.now += PUSH_GAP_MS
    p.pulse.tick(p.now)
    assert pushed(p) == [(("n2", "n3"), {"a": "degraded", "b": "failed"})] and not p.pulse.waits


def test_what_says_the_same_moves_nothing(parts: Make) -> None:
    p = parts("n2")
    p.open("n2")
    snapshot(p, a="healthy")
    p.effects()
    p.now += 60_000
    snapshot(p, a="healthy")
    assert not p.effects() and p.pulse.observed_ms == p.now, "but it was observed"


def test_who_holds_anothers_name_is_not_told(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    p.open("n2").contested = True
    snapshot(p, a="healthy")
    assert not pushed(p)


def test_a_cell_that_no_peer_takes_loses_its_detail(parts: Make) -> None:
    p = parts("n2")
    p.open("n2")
    for detail in ({"x": "y" * limit("cell_bytes")}, {"x": {1: "a key that is no text"}}):
        p.pulse.snapshot(LocalSnapshot((Cell(MAP, "a", "failed", (), detail),)), p.now)
        (cell,) = p.state.exchange.own.stream.cells()
        assert cell.state == "failed" and not cell.detail and "truncated" in cell.reasons
    assert p.state.counters["cells_oversized"] == 2


def test_health_that_is_too_large_is_cut_and_that_is_said(parts: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    old = LIMITS["stream_bytes"]
    monkeypatch.setitem(LIMITS, "stream_bytes", Limit(400, old.unit, old.reason, old.effect, old.counter))
    p = parts("n2")
    cells = tuple(Cell(MAP, f"{n}", "healthy", (), {"paths": ["p"] * 50}) for n in range(3))
    for _ in range(2):
        p.pulse.snapshot(LocalSnapshot(cells), p.now)
    assert [effect.code for effect in p.effects() if isinstance(effect, Alarm)] == ["health-cut"]
    assert all("truncated" in cell.reasons for cell in p.state.exchange.own.stream.cells())


def test_a_clone_says_nothing_of_its_own(parts: Make) -> None:
    p = parts("n2")
    p.open("n2").cloned = True
    assert not p.pulse.speaks
    snapshot(p, a="healthy")
    assert not pushed(p)
    p.mesh.by_name["n2"].cloned = False
    p.pulse.tick(p.now)
    assert pushed(p) == [(("n2",), {"a": "healthy"})]


# -- an earlier life of it --------------------------------------------------------------------------------------------------------


def heard(parts: Any, epoch: int, seq: int = 1, beat: int = 1) -> bool:
    """A peer shows that it has heard n1 this far on."""
    place = Place(parts.state.identity.actor[:4], epoch, seq, beat, b"tag!")
    return bool(parts.pulse.follow_own(Digest(b"", b"", health={"n1": place}), parts.now))


def epochs(parts: Any) -> list[int]:
    return [effect.epoch for effect in parts.effects() if isinstance(effect, SetEpoch)]


def test_a_node_that_was_heard_further_on_goes_on_in_a_later_epoch_once_that_is_durable(parts: Make) -> None:
    p = parts("n2")
    p.open("n2")
    snapshot(p, a="healthy")
    p.effects()
    assert heard(p, 7) and epochs(p) == [8]
    snapshot(p, a="failed")
    assert not pushed(p), "nothing is sent in an epoch that may be gone after a crash"
    p.state.identity = replace(p.state.identity, epoch=8)
    p.pulse.begin(8, p.now + PUSH_GAP_MS)
    assert pushed(p) == [(("n2",), {"a": "failed"})]
    assert p.state.exchange.own.stream.head.content == (8, 1)


def test_what_was_heard_of_this_life_or_before_moves_nothing(parts: Make) -> None:
    p = parts("n2")
    p.open("n2")
    snapshot(p, a="healthy")
    p.effects()
    head, tag = p.state.exchange.own.stream.head, p.state.exchange.own.stream.map_hash[:4]
    for place in (Place(head.actor[:4], 0, 9, 9, tag), Place(head.actor[:4], head.epoch, head.seq, head.beat, tag)):
        assert not p.pulse.follow_own(Digest(b"", b"", health={"n1": place}), p.now)
    other = Place(head.actor[:4], head.epoch, head.seq, head.beat, b"else")
    assert p.pulse.follow_own(Digest(b"", b"", health={"n1": other}), p.now), "the same position, and other content"


def test_nobody_can_drive_the_epoch_up(parts: Make) -> None:
    p = parts("n2")
    p.open("n2")
    assert not heard(p, EPOCH_LEAP + 2) and not epochs(p)
    assert heard(p, 5) and not heard(p, 9) and epochs(p) == [6]
    p.now += MOVE_EVERY_MS
    assert heard(p, 9) and epochs(p) == [10]


# -- the others' ------------------------------------------------------------------------------------------------------------------


def test_news_is_shown_and_counts_as_life(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    p.open("n2")
    assert p.vitals.reporter("n3", p.now) is Reporter.OFFLINE
    take(p, report(stream_of(scribe, "n3"), p.now, a="failed"))
    assert shown(p, "n3") == {"a": "failed"} and p.vitals.reporter("n3", p.now) is Reporter.FRESH
    published = [effect for effect in p.effects() if isinstance(effect, Publish)]
    assert any("n3" in effect.health for effect in published) and any("n3" in effect.standing for effect in published)


def test_what_waited_for_this_process_is_that_much_older(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    p.open("n2")
    take(p, report(stream_of(scribe, "n2"), p.now, a="failed"), waited_ms=STALE_MS + 1)
    assert shown(p, "n2") == {"a": "failed"} and p.vitals.reporter("n2", p.now) is Reporter.STALE


def test_forged_health_is_laid_upon_its_carrier(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    peer = p.open("n2")
    delta = report(stream_of(scribe, "n3"), p.now, a="failed")
    take(p, msgspec.structs.replace(delta, signature=b"x" * 64))
    assert not shown(p, "n3") and peer.bad == 1 and p.state.counters["health_bad"] == 1


def test_a_gap_and_a_wrong_sum_are_asked_about(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    p.open("n2")
    own = stream_of(scribe, "n3")
    report(own, p.now, a="healthy")
    base = own.stream.head.content
    report(own, p.now, a="failed")
    take(p, own.stream.delta(base, p.now))
    ((names, digest),) = p.sent(Digest)
    assert names == ("n2",) and not digest.whole and "n3" not in digest.health
    p.now += 1_000
    whole = own.stream.delta(None, p.now)
    take(p, msgspec.structs.replace(whole, cells=whole.cells[:0]))
    assert [digest.whole for _, digest in p.sent(Digest)] == [("n3",)], "what does not fit what was signed is wanted whole"
    take(p, whole)
    assert shown(p, "n3") == {"a": "failed"} and not p.pull.whole


def test_two_contents_of_one_position_call_an_operator_once(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    p.open("n2")
    take(p, report(stream_of(scribe, "n3"), p.now, a="healthy"))
    p.effects()
    for _ in range(3):
        take(p, report(stream_of(scribe, "n3"), p.now, a="failed"))
    assert [effect.code for effect in p.effects() if isinstance(effect, Alarm)] == ["equivocation"]
    assert shown(p, "n3") == {"a": "healthy"}


def test_a_map_beyond_the_limit_is_refused_and_not_asked_for_again(scribe: Any, parts: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    p = parts("n2", "n3")
    peer = p.open("n2")
    delta = report(stream_of(scribe, "n3"), p.now, a="healthy")
    old = LIMITS["stream_bytes"]
    monkeypatch.setitem(LIMITS, "stream_bytes", Limit(delta.size - 1, old.unit, old.reason, old.effect, old.counter))
    take(p, delta)
    take(p, delta)
    assert [effect.code for effect in p.effects() if isinstance(effect, Alarm)] == ["health-oversized"]
    p.pull.ask(peer, p.now)
    assert [digest.refused for _, digest in p.sent(Digest)] == [{"n3": delta.head.content}]


def test_a_stranger_has_no_health(scribe: Any, parts: Make) -> None:
    p = parts("n2")
    p.open("n2")
    take(p, report(stream_of(scribe, "n9"), p.now, a="failed"))
    take(p, report(stream_of(scribe, "n1"), p.now, a="failed"))
    assert not shown(p, "n9") and not shown(p, "n1"), "and what others say of this node itself is nothing"


def test_in_a_large_cluster_news_goes_on_to_some_but_never_back(scribe: Any, parts: Make) -> None:
    names = [f"n{n}" for n in range(2, limit("full_mesh") + 6)]
    p = parts(*names)
    assert not p.mesh.view.full_mesh
    connected = sorted(p.mesh.by_name)
    for name in connected:
        p.open(name)
    carrier = connected[0]
    own = stream_of(scribe, "n3")
    take(p, report(own, p.now, a="failed"), carrier, push=True)
    sent = [names for names, delta in p.sent(Delta) if delta.push]
    assert len(sent) == 1 and len(set(sent[0])) == HAND_ON_TO and carrier not in sent[0]
    take(p, own.stream.delta(None, p.now), carrier, push=True)
    assert not p.sent(Delta), "what is known goes no further"
    take(p, report(own, p.now, a="healthy"), carrier)
    assert not p.sent(Delta), "nor what answers a question"


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 100_000), steps=st.integers(1, 12))
def test_in_whatever_order_parts_of_it_come_others_show_only_what_was_so(scribe: Any, parts: Make, seed: int, steps: int) -> None:
    """Deltas from any base, lost, repeated and shuffled: what is shown was reported, never goes back, and is all of it in the end."""
    random, p = Random(seed), parts("n2", "n3")
    p.open("n2")
    own = stream_of(scribe, "n2")
    positions = [own.stream.head.content]
    truth: dict[tuple[int, int], dict[str, str]] = {}
    deltas = []
    for _ in range(steps):
        states = {wwid: random.choice(("healthy", "failed")) for wwid in "abc" if random.random() < 0.7}
        own.report([Cell(MAP, wwid, state) for wwid, state in states.items()], p.now)
        head = own.stream.head.content
        truth[head] = {cell.id: cell.state for cell in own.stream.cells()}
        deltas += [own.stream.delta(base, p.now) for base in (None, random.choice(positions))]
        positions.append(head)
    random.shuffle(deltas)
    before = (0, 0)
    for delta in [*deltas, *random.choices(deltas, k=5)]:
        if random.random() < 0.8:
            take(p, delta)
        stream = p.state.exchange.streams.get("n2")
        if stream is not None:
            assert stream.head.content >= before and shown(p, "n2") == truth.get(stream.head.content, {})
            before = stream.head.content
    take(p, own.stream.delta(None, p.now))
    assert shown(p, "n2") == truth.get(own.stream.head.content, {})
