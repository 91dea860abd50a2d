"""How far other hosts' clocks are off, from what their cells tell."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import skew
from agent.skew import LEAST, SAMPLES, ClockSkew
from gossip.events import Publish

NOW = 1_800_000_000.0


class Fake:
    """An engine with one other node, whose newest cell and age the test sets."""

    later = 0.0

    def __init__(self) -> None:
        self.cells = [SimpleNamespace(observed_at=NOW - 900.0)]
        self.age_ms = 0
        stream = SimpleNamespace(fresh=True, cells=lambda: self.cells, age_ms=lambda _: self.age_ms)
        self.streams: dict[str, Any] = {"n2": stream}
        self.identity = SimpleNamespace(name="n1")
        self.exchange = SimpleNamespace(streams=self.streams)

    def told(self, clocks: ClockSkew, observed_at: float, *, age_ms: int = 0) -> None:
        self.cells = [SimpleNamespace(observed_at=observed_at), SimpleNamespace(observed_at=0.0)]
        self.age_ms = age_ms
        clocks.news(Publish(health=frozenset({"n1", "n2"})))


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    Fake.later = 0.0
    monkeypatch.setattr(skew.time, "time", lambda: NOW + Fake.later)


@given(st.floats(-1e6, 1e6), st.lists(st.integers(0, 5000), min_size=3, max_size=12))
def test_the_delay_never_makes_a_clock_look_further_behind_than_the_quickest_sample(offset: float, ages: list[int]) -> None:
    fake, Fake.later = Fake(), 0.0
    clocks = ClockSkew(fake)  # type: ignore[arg-type]
    fake.told(clocks, NOW - 1e7)
    late = []
    for number, waited in enumerate(ages):  # each was observed at a later time, and waited where no age tells of it
        Fake.later = 20.0 * number
        fake.told(clocks, NOW + Fake.later - waited / 1000 + offset)
        late.append(waited / 1000)
    assert clocks.known()["n2"] == pytest.approx(offset - min(late[-SAMPLES:]), abs=0.01)


def test_one_sample_is_none_and_what_was_there_before_is_none_either() -> None:
    fake = Fake()
    clocks = ClockSkew(fake)  # type: ignore[arg-type]
    fake.told(clocks, NOW - 4000)
    assert not clocks.known(), "how old that is, nobody knows"
    for number in range(LEAST):
        assert not clocks.known()
        fake.told(clocks, NOW + 100 + number)
    assert clocks.known()["n2"] == pytest.approx(100 + LEAST - 1)
    fake.told(clocks, NOW + 50)
    assert clocks.known()["n2"] == pytest.approx(100 + LEAST - 1), "an older cell that came late says nothing"


def test_a_node_that_is_gone_is_forgotten() -> None:
    fake = Fake()
    clocks = ClockSkew(fake)  # type: ignore[arg-type]
    for number in range(4):
        fake.told(clocks, NOW + number)
    assert clocks.known()
    del fake.streams["n2"]
    clocks.news(Publish(health=frozenset({"n2"})))
    assert not clocks.known()
