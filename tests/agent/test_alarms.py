"""Alarms: counted, shown while recent, bounded."""

import pytest

from agent.alarms import KEPT, SHOWN_SECONDS, Alarms


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr("agent.alarms.time.monotonic", lambda: clock[0])
    return clock


def test_an_alarm_is_a_problem(now: list[float]) -> None:
    alarms = Alarms()
    alarms.raise_alarm("diverged", "n1 and n2 differ", "look")
    assert alarms.problems() == [
        {"code": "diverged", "key": "", "option": "", "message": "n1 and n2 differ", "hint": "look", "severity": "warning"}
    ]


def test_the_same_one_is_counted_and_shows_its_last_text(now: list[float]) -> None:
    alarms = Alarms()
    for n in range(3):
        alarms.raise_alarm("bad-peer", f"peer n{n}")
    [problem] = alarms.problems()
    assert problem["message"] == "peer n2 (3 times)"


def test_old_ones_are_not_shown(now: list[float]) -> None:
    alarms = Alarms()
    alarms.raise_alarm("old", "x")
    now[0] += SHOWN_SECONDS - 1
    alarms.raise_alarm("new", "y")
    assert [p["code"] for p in alarms.problems()] == ["old", "new"]
    now[0] += 1
    assert [p["code"] for p in alarms.problems()] == ["new"]


def test_the_oldest_is_forgotten_beyond_the_bound(now: list[float]) -> None:
    alarms = Alarms()
    for n in range(KEPT + 2):
        alarms.raise_alarm(f"code-{n}", "x")
    alarms.raise_alarm("code-2", "again")
    codes = [p["code"] for p in alarms.problems()]
    assert len(codes) == KEPT and codes[-1] == "code-2" and "code-0" not in codes and "code-1" not in codes
