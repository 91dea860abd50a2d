"""Opinions on members, in tables of fake time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.liveness import (
    LOST_OFFLINE_AFTER_MS,
    LOST_SUSPECT_AFTER_MS,
    OFFLINE_AFTER_MS,
    PAUSE_MS,
    PING_AFTER_MS,
    QUIET_AFTER_MS,
    QUIET_EVERY_MS,
    SUSPECT_AFTER_MS,
    Liveness,
    Opinion,
)

TICK = 250
SUSPECT_TICK = -(-SUSPECT_AFTER_MS // TICK) * TICK
"""The first tick at which so long a silence is seen."""


class Watcher:
    """A liveness with a clock that ticks as the engine does."""

    def __init__(self, *names: str) -> None:
        self.now = 10_000
        self.liveness = Liveness(self.now)
        self.liveness.watch(names, self.now)
        self.pings: list[tuple[int, str]] = []
        self.probes: list[tuple[int, str]] = []
        self.changes: list[tuple[int, str, Opinion]] = []

    def hear(self, name: str, age_ms: int = 0, *, direct: bool = True) -> bool:
        return self.liveness.heard(name, self.now, age_ms, direct=direct)

    def run(self, ms: int, *alive: str) -> None:
        """Let time pass; `alive` are heard each tick."""
        for _ in range(ms // TICK):
            self.now += TICK
            for name in alive:
                self.hear(name)
            self.tick()

    def tick(self) -> None:
        questions = self.liveness.tick(self.now)
        self.pings += [(self.now, name) for name in questions.ping]
        self.probes += [(self.now, name) for name in questions.probe]
        self.changes += [(self.now, name, self.liveness.opinion(name)) for name in questions.changed]

    def opinion(self, name: str = "a") -> Opinion:
        return self.liveness.opinion(name)


@pytest.fixture
def watcher() -> Watcher:
    watcher = Watcher("a", "b")
    watcher.hear("a")
    watcher.hear("b")
    return watcher


def test_a_new_member_is_offline_until_heard_and_never_suspect_before() -> None:
    watcher = Watcher("a")
    assert watcher.opinion() is Opinion.OFFLINE
    watcher.run(2_000)
    assert watcher.changes == []
    assert watcher.pings, "it is asked for"
    assert watcher.hear("a") is True
    assert watcher.opinion() is Opinion.ONLINE
    assert watcher.hear("a") is False


def test_nobody_else_is_watched(watcher: Watcher) -> None:
    assert watcher.hear("z") is False
    assert watcher.opinion("z") is Opinion.OFFLINE
    assert watcher.liveness.direct_age_ms("z", watcher.now) is None
    watcher.liveness.link_up("z")
    watcher.liveness.link_down("z", watcher.now)


def test_watching_keeps_the_ones_that_stay(watcher: Watcher) -> None:
    watcher.liveness.watch(("a", "c"), watcher.now)
    assert watcher.opinion("a") is Opinion.ONLINE
    assert watcher.opinion("b") is watcher.opinion("c") is Opinion.OFFLINE


@pytest.mark.parametrize(
    ("silent", "opinion"),
    [
        (0, Opinion.ONLINE),
        (SUSPECT_TICK - TICK, Opinion.ONLINE),
        (SUSPECT_TICK, Opinion.SUSPECT),
        (OFFLINE_AFTER_MS - TICK, Opinion.SUSPECT),
        (OFFLINE_AFTER_MS, Opinion.OFFLINE),
        (10 * OFFLINE_AFTER_MS, Opinion.OFFLINE),
    ],
)
def test_silence(watcher: Watcher, silent: int, opinion: Opinion) -> None:
    watcher.run(silent, "b")
    assert watcher.opinion() is opinion
    assert watcher.opinion("b") is Opinion.ONLINE


def test_a_member_that_others_hear_is_pinged_until_it_is_heard_itself(watcher: Watcher) -> None:
    start = watcher.now
    while watcher.now < start + QUIET_AFTER_MS + 2 * QUIET_EVERY_MS:
        watcher.now += TICK
        watcher.hear("a", direct=False)
        watcher.hear("b")
        watcher.tick()
    due = [start + QUIET_AFTER_MS + n * QUIET_EVERY_MS for n in range(3)]
    assert watcher.pings == [(at, "a") for at in due] and not watcher.changes and not watcher.probes
    watcher.hear("a")
    watcher.run(QUIET_AFTER_MS - TICK, "b")
    assert {name for at, name in watcher.pings if at > due[-1] and at < due[-1] + PING_AFTER_MS} == set()


def test_silence_leads_to_pings_then_to_one_probe_then_to_two_changes(watcher: Watcher) -> None:
    start = watcher.now
    watcher.run(12_000, "b")
    assert [t - start for t, name in watcher.pings][:3] == [PING_AFTER_MS, PING_AFTER_MS + 1_000, PING_AFTER_MS + 2_000]
    assert {name for _, name in watcher.pings} == {"a"}
    assert watcher.probes == [(start + SUSPECT_TICK, "a")]
    assert watcher.changes == [
        (start + SUSPECT_TICK, "a", Opinion.SUSPECT),
        (start + OFFLINE_AFTER_MS, "a", Opinion.OFFLINE),
    ]


@pytest.mark.parametrize(
    ("lost", "opinion"),
    [
        (LOST_SUSPECT_AFTER_MS - 150, Opinion.ONLINE),
        (500, Opinion.SUSPECT),
        (LOST_OFFLINE_AFTER_MS - 50, Opinion.SUSPECT),
        (2_000, Opinion.OFFLINE),
    ],
)
def test_a_lost_link_goes_the_same_way_faster(watcher: Watcher, lost: int, opinion: Opinion) -> None:
    watcher.liveness.link_down("a", watcher.now)
    watcher.run(lost, "b")
    assert watcher.opinion() is opinion
    assert not [t for t, name in watcher.pings if name == "a"], "there is no connection to ping through"


def test_it_is_uneasy_while_a_verdict_on_a_lost_link_is_due(watcher: Watcher) -> None:
    uneasy = [watcher.liveness.uneasy]
    watcher.liveness.link_down("a", watcher.now)
    uneasy.append(watcher.liveness.uneasy)
    watcher.run(3_000, "b")
    uneasy.append(watcher.liveness.uneasy)
    assert watcher.opinion() is Opinion.OFFLINE
    assert uneasy == [False, True, False]


def test_a_link_that_returns_in_time_changes_nothing(watcher: Watcher) -> None:
    watcher.liveness.link_down("a", watcher.now)
    watcher.run(250, "b")
    watcher.liveness.link_up("a")
    watcher.run(1_000, "b")
    assert watcher.changes == []


def test_a_second_loss_does_not_restart_the_clock(watcher: Watcher) -> None:
    watcher.liveness.link_down("a", watcher.now)
    watcher.run(1_500, "b")
    watcher.liveness.link_down("a", watcher.now)
    watcher.run(500, "b")
    assert watcher.opinion() is Opinion.OFFLINE


@pytest.mark.parametrize(
    ("age", "opinion"),
    [(0, Opinion.ONLINE), (200, Opinion.ONLINE), (400, Opinion.SUSPECT), (600, Opinion.SUSPECT), (5_000, Opinion.SUSPECT)],
)
def test_after_a_loss_only_newer_evidence_counts(watcher: Watcher, age: int, opinion: Opinion) -> None:
    """Another member's word of what it heard before the loss says nothing."""
    watcher.liveness.link_down("a", watcher.now)
    watcher.run(500, "b")
    assert watcher.opinion() is Opinion.SUSPECT
    watcher.hear("a", age, direct=False)
    watcher.tick()
    assert watcher.opinion() is opinion


def test_indirect_evidence_keeps_a_member_online_that_this_node_cannot_reach(watcher: Watcher) -> None:
    watcher.liveness.link_down("a", watcher.now)
    for _ in range(20):
        watcher.run(1_000, "b")
        watcher.hear("a", 300, direct=False)
        assert watcher.opinion() is Opinion.ONLINE
    watcher.run(OFFLINE_AFTER_MS, "b")
    assert watcher.opinion() is Opinion.OFFLINE


def test_only_direct_evidence_gives_a_direct_age(watcher: Watcher) -> None:
    fresh = Watcher("a")
    fresh.hear("a", 100, direct=False)
    assert fresh.liveness.direct_age_ms("a", fresh.now) is None
    watcher.run(1_000, "b")
    watcher.hear("a", 0, direct=False)
    assert watcher.liveness.direct_age_ms("a", watcher.now) == 1_000


def test_old_evidence_never_makes_younger_evidence_older(watcher: Watcher) -> None:
    watcher.hear("a", 100_000, direct=False)
    watcher.run(1_000, "b")
    assert watcher.opinion() is Opinion.ONLINE


@pytest.mark.parametrize("pause", [PAUSE_MS + 1, 30_000, 3_600_000])
@pytest.mark.parametrize("linked", [True, False])
def test_an_observer_that_was_paused_accuses_nobody(watcher: Watcher, pause: int, linked: bool) -> None:
    watcher.run(1_000, "b")
    if not linked:
        watcher.liveness.link_down("a", watcher.now)
    watcher.now += pause
    watcher.tick()
    assert watcher.changes == []
    watcher.run(5_000, "a", "b")
    assert watcher.opinion("a") is watcher.opinion("b") is Opinion.ONLINE


@pytest.mark.parametrize("heard_first", [True, False])
def test_a_pause_gives_nobody_more_time_than_before(watcher: Watcher, heard_first: bool) -> None:
    """What waited in the sockets is handled before the first tick: it must not count as heard in the future."""
    watcher.now += 60_000
    if heard_first:
        watcher.hear("a")
        watcher.hear("b")
    watcher.tick()
    watcher.run(OFFLINE_AFTER_MS, "b")
    assert watcher.opinion() is Opinion.OFFLINE
    watcher.liveness.link_down("b", watcher.now)
    watcher.run(2_000)
    assert watcher.opinion("b") is Opinion.OFFLINE


def test_an_offline_member_comes_back_at_once_and_not_by_halves(watcher: Watcher) -> None:
    watcher.run(20_000, "b")
    assert watcher.hear("a", SUSPECT_AFTER_MS + 100, direct=False) is False
    watcher.tick()
    assert watcher.opinion() is Opinion.OFFLINE, "evidence as old as that makes nobody suspect again"
    assert watcher.hear("a", 100, direct=False) is True
    assert watcher.opinion() is Opinion.ONLINE


STEPS = st.lists(st.tuples(st.integers(0, 3_000), st.sampled_from(["hear", "old", "down", "up", "tick"])), min_size=1, max_size=40)


@given(STEPS)
def test_opinions_hold_whatever_happens(steps: list[tuple[int, str]]) -> None:
    watcher = Watcher("a")
    heard = None
    for ms, step in steps:
        watcher.now += ms
        match step:
            case "hear":
                watcher.hear("a")
                heard = watcher.now
                assert watcher.opinion() is Opinion.ONLINE or watcher.liveness._watched["a"].link_lost_ms is not None
            case "old":
                watcher.hear("a", 4_000, direct=False)
            case "down":
                watcher.liveness.link_down("a", watcher.now)
            case "up":
                watcher.liveness.link_up("a")
            case _:
                watcher.tick()
    if heard is None:
        assert watcher.opinion() is Opinion.OFFLINE
    watcher.run(OFFLINE_AFTER_MS + TICK)
    assert watcher.opinion() is Opinion.OFFLINE
    watcher.liveness.link_up("a")
    assert watcher.hear("a")
