"""Who is up and whose word counts: beats, pings, probes, and the standing of every node."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gossip.antientropy import PULL_SUFFICES
from gossip.events import Publish
from gossip.liveness import OFFLINE_AFTER_MS, PING_AFTER_MS, SUSPECT_AFTER_MS, Opinion
from gossip.messages import Alive, Beat, Delta, Ping, Pong, Probe
from gossip.vitals import (
    ANSWER_WITHIN_MS,
    BEAT_MS,
    HUGE,
    HUGE_BEAT_MS,
    LARGE_BEAT_MS,
    PROBES,
    SPREAD_MS,
    SPREAD_TO,
    STALE_MS,
)
from store.cells import Cell
from store.health import OwnStream
from store.limits import limit
from store.matrix import Reporter
from store.members import MemberState

Make = Callable[..., Any]


class Heart:
    """A member's own stream, and what it says of it."""

    def __init__(self, scribe: Any, parts: Any, name: str) -> None:
        self.name = name
        self.parts = parts
        self.own = OwnStream(name, scribe.actor(name), 1, lambda body: scribe.sign(name, body), parts.now)
        self.own.report([Cell("multipath.map", "a", "healthy")], parts.now)

    def content(self, carrier: str) -> None:
        """Its whole content comes from this peer."""
        peer = self.parts.mesh.by_name[carrier]
        self.parts.pulse.take(peer, Delta(health=(self.own.stream.delta(None, self.parts.now),)), 0, self.parts.now)

    def beat(self, age_ms: int = 0) -> Beat:
        """Its next beat, which has already lived so long."""
        self.own.beat(self.parts.now - age_ms)
        head = self.own.stream.head
        return Beat(head.actor[:4], head.epoch, head.seq, head.beat, head.clock_tag, age_ms, self.own.stream.signature)


def carry(parts: Any, carrier: str, **beats: Beat) -> tuple[list[str], int]:
    """A peer brings these beats; whose content is lacking, and how many were forged."""
    found: tuple[list[str], int] = parts.vitals.beats(parts.mesh.by_name[carrier], beats, parts.now)
    return found


def large(parts: Make, more: int = 0) -> Any:
    """A node that hands beats on, connected to all."""
    p = parts(*(f"n{n}" for n in range(2, PULL_SUFFICES + 2 + more)))
    for name in p.mesh.by_name:
        p.open(name)
    return p


def standings(parts: Any) -> set[str]:
    return {name for effect in parts.effects() if isinstance(effect, Publish) for name in effect.standing}


def pass_time(parts: Any, ms: int, *, step: int = 500) -> None:
    """Ticks, half a second apart, with a beating heart."""
    for _ in range(0, ms, step):
        parts.now += step
        parts.vitals.tick(parts.now, beats=True)


# -- standing -------------------------------------------------------------------------------------------------------------------


def test_how_far_a_nodes_word_counts(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    assert p.vitals.reporter("n2", p.now) is Reporter.OFFLINE
    assert p.vitals.reporter("n9", p.now) is Reporter.LEFT
    p.open("n2")
    assert p.vitals.reporter("n2", p.now) is Reporter.UNHEARD, "it lives, and has not said how it is"
    Heart(scribe, p, "n2").content("n2")
    assert p.vitals.reporter("n2", p.now) is Reporter.FRESH
    pass_time(p, SUSPECT_AFTER_MS)
    assert p.vitals.reporter("n2", p.now) is Reporter.SUSPECT
    p.vitals.heard("n2", p.now, direct=True)
    assert p.vitals.reporter("n2", p.now) is Reporter.FRESH
    for _ in range(STALE_MS // 1_000 + 1):
        pass_time(p, 1_000)
        p.vitals.heard("n2", p.now, direct=True)
    assert p.vitals.reporter("n2", p.now) is Reporter.STALE, "it lives, and has no beat"
    pass_time(p, 2 * OFFLINE_AFTER_MS)
    assert p.vitals.reporter("n2", p.now) is Reporter.OFFLINE
    p.commit(scribe.registration("n1", scribe.member("n2", state=MemberState.LEFT), p.clock))
    assert p.vitals.reporter("n2", p.now) is Reporter.LEFT


def test_this_nodes_own_word_counts_while_its_heart_beats(parts: Make) -> None:
    p = parts("n2")
    pass_time(p, STALE_MS)
    assert p.vitals.reporter("n1", p.now) is Reporter.FRESH
    for _ in range(0, STALE_MS + BEAT_MS, 500):
        p.now += 500
        p.vitals.tick(p.now, beats=False)
    assert p.vitals.reporter("n1", p.now) is Reporter.STALE


def test_a_standing_is_told_when_it_moves_and_not_otherwise(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    p.open("n2")
    Heart(scribe, p, "n2").content("n2")
    assert "n2" in standings(p)
    p.vitals.touch(["n2", "n3"], p.now)
    p.vitals.heard("n2", p.now, direct=True)
    assert not standings(p)
    p.commit(scribe.registration("n1", scribe.member("n2", state=MemberState.RETIRED), p.clock))
    p.mesh.follow()
    p.vitals.follow(p.now)
    assert standings(p) == {"n2"}


# -- beats ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "every"), [(3, BEAT_MS), (limit("full_mesh"), BEAT_MS), (limit("full_mesh") + 1, LARGE_BEAT_MS), (HUGE + 1, HUGE_BEAT_MS)]
)
def test_the_heart_beats_slower_where_many_hear_it(parts: Make, members: int, every: int) -> None:
    p = parts(*(f"n{n}" for n in range(2, members + 1)))
    assert p.vitals.beat_ms == every and p.vitals.liveness.slack_ms == every - BEAT_MS
    first = p.state.exchange.own.stream.head.beat
    pass_time(p, 20_000)
    assert abs(p.state.exchange.own.stream.head.beat - first - 20_000 // every) <= 1


def test_a_beat_that_others_carried_shows_life_at_its_age(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    p.open("n2")
    heart = Heart(scribe, p, "n3")
    heart.content("n2")
    pass_time(p, SUSPECT_AFTER_MS)
    assert p.vitals.liveness.opinion("n3") is Opinion.SUSPECT
    assert carry(p, "n2", n3=heart.beat(SUSPECT_AFTER_MS + 1)) == ([], 0)
    assert p.vitals.liveness.opinion("n3") is Opinion.SUSPECT, "too old to clear it"
    carry(p, "n2", n3=heart.beat(100))
    assert p.vitals.reporter("n3", p.now) is Reporter.FRESH
    assert p.state.exchange.streams["n3"].age_ms(p.now) == 100


def test_a_beat_of_content_that_is_not_here_is_said_to_be_lacking(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    p.open("n2")
    heart = Heart(scribe, p, "n3")
    assert carry(p, "n2", n3=heart.beat()) == (["n3"], 0)
    heart.content("n2")
    heart.own.report([], p.now)
    assert carry(p, "n2", n3=heart.beat(), n9=heart.beat()) == (["n3"], 0)
    assert p.state.exchange.streams["n3"].head.seq == 1


def test_forged_beats_are_counted_up_to_where_the_message_is_dropped(scribe: Any, parts: Make) -> None:
    p = large(parts, more=5)
    hearts = [Heart(scribe, p, name) for name in sorted(p.mesh.by_name)]
    for heart in hearts:
        heart.content("n2")
    forged = {heart.name: msgspec.structs.replace(heart.beat(), signature=b"x" * 64) for heart in hearts}
    assert len(forged) > limit("forged_beats")
    assert carry(p, "n2", **forged) == ([], limit("forged_beats"))
    assert p.state.counters["beats_forged"] == limit("forged_beats")


def test_a_clock_tag_in_a_beat_says_how_far_its_node_is(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    p.open("n2")
    heart = Heart(scribe, p, "n3")
    heart.content("n2")
    assert p.state.clocks.of(scribe.actor("n3")) is None
    heart.own.clock_tag = p.state.clocks.tag
    carry(p, "n2", n3=heart.beat())
    assert p.state.clocks.of(scribe.actor("n3")) == p.clock


def test_in_a_small_cluster_beats_are_not_handed_on(scribe: Any, parts: Make) -> None:
    p = parts("n2", "n3")
    p.open("n2")
    p.open("n3")
    heart = Heart(scribe, p, "n3")
    heart.content("n3")
    carry(p, "n3", n3=heart.beat())
    assert not p.vitals.spreading


def test_new_beats_go_on_to_a_few_and_not_back(scribe: Any, parts: Make) -> None:
    p = large(parts)
    heart = Heart(scribe, p, "n3")
    heart.content("n2")
    newest = heart.beat()
    carry(p, "n2", n3=newest)
    carry(p, "n4", n3=newest)
    assert p.vitals.spreading
    p.effects()
    p.now += SPREAD_MS
    p.vitals.tick(p.now, beats=False)
    sent = [(names, delta.beats) for names, delta in p.sent(Delta)]
    assert 1 <= len(sent) <= SPREAD_TO and not p.vitals.spreading
    for (name,), beats in sent:
        assert name != "n2" and beats.keys() == {"n3"}
        assert beats["n3"].beat == newest.beat and beats["n3"].age_ms == SPREAD_MS, "its age goes on"
    pass_time(p, SPREAD_MS)
    assert all("n3" not in delta.beats for _, delta in p.sent(Delta)), "each goes on once"


# -- questions --------------------------------------------------------------------------------------------------------------------


def test_a_ping_is_answered(parts: Make) -> None:
    p = parts("n2")
    p.vitals.ping(p.open("n2"), Ping(7))
    assert p.sent(Pong) == [(("n2",), Pong(7))]


def test_a_silent_member_is_pinged_and_then_asked_after_at_three_others(parts: Make) -> None:
    p = parts(*(f"n{n}" for n in range(2, 8)))
    names = sorted(p.mesh.by_name)
    for name in names:
        p.open(name)
    pinged, probed, began = [], [], p.now
    for _ in range(0, SUSPECT_AFTER_MS + 500, 500):
        for name in names[1:]:
            p.vitals.heard(name, p.now, direct=True)
        p.now += 500
        p.vitals.tick(p.now, beats=True)
        effects = p.state.effects[:]
        pinged += [(p.now, who) for who, _ in p.sent(Ping)]
        p.state.effects = effects
        probed += p.sent(Probe)
    assert pinged and {who for _, who in pinged} == {("n2",)}
    assert pinged[0][0] - began == PING_AFTER_MS
    ((helpers, probe),) = probed
    assert probe == Probe("n2") and len(set(helpers)) == PROBES and "n2" not in helpers


def test_a_probe_goes_to_the_member_and_its_answer_back_to_the_asker(parts: Make) -> None:
    p = parts("n2", "n3", "n4")
    asker = p.open("n2")
    p.open("n3")
    p.vitals.probe(asker, Probe("n3"))
    (((target,), ping),) = p.sent(Ping)
    assert target == "n3"
    p.now += 40
    p.vitals.heard("n3", p.now, direct=True)
    p.vitals.pong(Pong(ping.nonce), p.now)
    assert p.sent(Alive) == [(("n2",), Alive("n3", 0))]
    p.vitals.pong(Pong(ping.nonce), p.now)
    p.vitals.pong(Pong(99), p.now)
    p.vitals.probe(asker, Probe("n4"))
    p.vitals.probe(asker, Probe("n9"))
    assert not p.effects(), "one answer to one question; who cannot be reached here is not asked"


def test_the_word_of_a_third_counts_once_and_only_if_it_was_asked_for_lately(parts: Make) -> None:
    p = parts("n2", "n3", "n4")
    for name in ("n2", "n3", "n4"):
        p.open(name)
    while p.vitals.liveness.opinion("n3") is Opinion.ONLINE:
        for name in ("n2", "n4"):
            p.vitals.heard(name, p.now, direct=True)
        pass_time(p, 500)
    third, other = p.mesh.by_name["n2"], p.mesh.by_name["n3"]
    p.vitals.alive(other, Alive("n3", 0), p.now)
    assert p.vitals.liveness.opinion("n3") is Opinion.SUSPECT, "nobody asked that one"
    p.vitals.alive(third, Alive("n3", 0), p.now + ANSWER_WITHIN_MS + 1)
    assert p.vitals.liveness.opinion("n3") is Opinion.SUSPECT, "too late"
    p.vitals.alive(third, Alive("n3", 0), p.now)
    assert p.vitals.liveness.opinion("n3") is Opinion.SUSPECT, "that question is answered"
    p.vitals.alive(p.mesh.by_name["n4"], Alive("n3", 10), p.now)
    assert p.vitals.liveness.opinion("n3") is Opinion.ONLINE
