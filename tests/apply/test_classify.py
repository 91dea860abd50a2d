"""Path classes and map states, as tables."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.classify import (
    TRANSIENT_SECONDS,
    USABLE,
    Expectation,
    MapState,
    PathClass,
    PathMemory,
    Redundancy,
    map_verdict,
    path_class,
    queueing,
    settle,
)
from apply.topology import Map, Path

ACTIVE, STANDBY, MARGINAL, TRANSIENT, SUSPECT, FAILED = PathClass

WORDS = {
    "dm_st": ["active", "failed", "undef", "", "new word"],
    "chk_st": ["ready", "ghost", "undef", "i/o pending", "shaky", "delayed", "faulty", "i/o timeout", "disconnected", "down", "", "new"],
    "dev_st": ["running", "offline", "unknown", ""],
    "marginal_st": ["normal", "marginal", "new"],
}


def path(
    dm: str = "active", chk: str = "ready", dev_st: str = "running", marginal: str = "normal", dev: str = "sda", dev_t: str = "8:0"
) -> Path:
    return Path(dev=dev, dev_t=dev_t, dm_st=dm, chk_st=chk, dev_st=dev_st, marginal_st=marginal)


@pytest.mark.parametrize(
    ("found", "cls", "reason"),
    [
        (path(), ACTIVE, ""),
        (path(chk="ghost"), STANDBY, ""),
        (path(chk="undef"), TRANSIENT, ""),
        (path(chk="i/o pending"), TRANSIENT, ""),
        (path(dm="undef"), TRANSIENT, ""),
        (path(dm="undef", dev_st="unknown"), TRANSIENT, ""),
        (path(chk="shaky"), SUSPECT, "path-suspect"),
        (path(chk="delayed", dev_st=""), SUSPECT, "path-suspect"),
        (path(marginal="marginal"), MARGINAL, "path-marginal"),
        (path(chk="ghost", marginal="marginal"), MARGINAL, "path-marginal"),
        (path(dm="failed"), FAILED, "path-failed"),
        (path(dm="failed", marginal="marginal"), FAILED, "path-failed"),
        (path(chk="faulty"), FAILED, "path-failed"),
        (path(chk="i/o timeout"), FAILED, "path-failed"),
        (path(chk="disconnected"), FAILED, "lun-unmapped"),
        (path(dm="failed", chk="disconnected"), FAILED, "lun-unmapped"),
        (path(dev_st="offline"), FAILED, "path-failed"),
        (path(dev="-"), FAILED, "path-phantom"),
        (path(dev_t="#:#"), FAILED, "path-phantom"),
        (path(chk="down"), SUSPECT, "path-suspect"),
        (path(chk="a new word"), SUSPECT, "path-suspect"),
        (path(chk=""), SUSPECT, "path-suspect"),
        (path(dev_st="unknown"), SUSPECT, "path-suspect"),
        (path(dm="a new word"), SUSPECT, "path-suspect"),
    ],
)
def test_path_classes(found: Path, cls: PathClass, reason: str) -> None:
    assert path_class(found) == (cls, reason)


def test_every_combination_of_words_is_judged_and_only_clean_ones_are_active() -> None:
    for dm, chk, dev_st, marginal in itertools.product(*WORDS.values()):
        cls, reason = path_class(path(dm, chk, dev_st, marginal))
        if cls is ACTIVE:
            assert (dm, chk, dev_st) == ("active", "ready", "running")
        if cls in USABLE:
            assert dm == "active"
            assert chk in ("ready", "ghost")
            assert dev_st == "running"
        assert bool(reason) == (cls in (FAILED, SUSPECT, MARGINAL))


def test_an_unfinished_check_keeps_the_former_class_for_a_while() -> None:
    cls, memory = settle(ACTIVE, None, 0.0)
    assert cls is ACTIVE
    for now, expected in [(5.0, ACTIVE), (34.9, ACTIVE), (35.0, SUSPECT), (90.0, SUSPECT)]:
        cls, memory = settle(TRANSIENT, memory, now)
        assert cls is expected, now
    cls, memory = settle(FAILED, memory, 91.0)
    assert (cls, memory) == (FAILED, PathMemory(FAILED))


def test_a_new_path_is_transient_then_suspect() -> None:
    cls, memory = settle(TRANSIENT, None, 100.0)
    assert cls is TRANSIENT
    cls, _ = settle(TRANSIENT, memory, 100.0 + TRANSIENT_SECONDS)
    assert cls is SUSPECT


NONE = Expectation(None, "none", min_paths=1)


def learned(count: int, minimum: int = 2, *, fewer: bool = False) -> Expectation:
    return Expectation(count, "learned", frozenset(f"p{n}" for n in range(count)), min_paths=minimum, fewer_than_peers=fewer)


def given_count(count: int) -> Expectation:
    return Expectation(count, "configured", explicit=True)


@pytest.mark.parametrize(
    ("classes", "expected", "state", "reasons", "redundancy"),
    [
        ([ACTIVE, ACTIVE], learned(2), MapState.HEALTHY, (), Redundancy.FULL),
        ([ACTIVE, STANDBY], learned(2), MapState.HEALTHY, (), Redundancy.FULL),
        ([ACTIVE, FAILED], learned(2), MapState.DEGRADED, ("fault", "single-path"), Redundancy.SINGLE),
        ([ACTIVE], learned(2), MapState.DEGRADED, ("path-lost", "single-path"), Redundancy.SINGLE),
        ([ACTIVE, ACTIVE], learned(4), MapState.DEGRADED, ("path-lost",), Redundancy.REDUCED),
        ([ACTIVE, ACTIVE, ACTIVE], learned(4, 4), MapState.DEGRADED, ("path-lost", "below-min-paths"), Redundancy.REDUCED),
        ([ACTIVE], learned(1), MapState.DEGRADED, ("single-path",), Redundancy.SINGLE),
        ([ACTIVE], learned(1, 1), MapState.HEALTHY, (), Redundancy.SINGLE),
        ([ACTIVE], given_count(1), MapState.HEALTHY, (), Redundancy.FULL),
        ([ACTIVE, ACTIVE], given_count(4), MapState.DEGRADED, ("below-expected",), Redundancy.REDUCED),
        ([ACTIVE, ACTIVE, ACTIVE], given_count(2), MapState.HEALTHY, (), Redundancy.FULL),
        ([ACTIVE, ACTIVE, FAILED], given_count(2), MapState.DEGRADED, ("fault",), Redundancy.FULL),
        ([ACTIVE, TRANSIENT], given_count(2), MapState.DEGRADED, ("below-expected", "single-path"), Redundancy.SINGLE),
        ([STANDBY, STANDBY], learned(2), MapState.DEGRADED, ("no-optimized",), Redundancy.FULL),
        ([ACTIVE, MARGINAL], learned(2), MapState.DEGRADED, ("fault",), Redundancy.FULL),
        ([FAILED, FAILED], learned(2), MapState.FAILED, ("fault", "all-paths-failed"), Redundancy.NONE),
        ([FAILED, TRANSIENT], learned(2), MapState.FAILED, ("fault", "all-paths-failed"), Redundancy.NONE),
        ([SUSPECT, SUSPECT], NONE, MapState.FAILED, ("fault", "all-paths-failed"), Redundancy.NONE),
        ([TRANSIENT, TRANSIENT], NONE, MapState.PENDING, ("paths-settling",), Redundancy.NONE),
        ([], learned(2), MapState.FAILED, ("path-lost", "no-paths"), Redundancy.NONE),
        ([], NONE, MapState.FAILED, ("no-paths",), Redundancy.NONE),
        ([ACTIVE, ACTIVE], learned(2, fewer=True), MapState.DEGRADED, ("fewer-than-peers",), Redundancy.FULL),
        ([ACTIVE], NONE, MapState.HEALTHY, (), Redundancy.SINGLE),
    ],
)
def test_map_verdicts(
    classes: Sequence[PathClass], expected: Expectation, state: MapState, reasons: tuple[str, ...], redundancy: Redundancy
) -> None:
    faults = ["fault" for cls in classes if cls in (FAILED, SUSPECT, MARGINAL)]
    verdict = map_verdict(classes, faults, [f"p{n}" for n in range(len(classes))], expected, suspended=False)
    assert (verdict.state, verdict.reasons, verdict.redundancy) == (state, reasons, redundancy)


def test_a_long_suspension_degrades() -> None:
    verdict = map_verdict([ACTIVE, ACTIVE], [], ["p0", "p1"], learned(2), suspended=True)
    assert (verdict.state, verdict.reasons) == (MapState.DEGRADED, ("suspended",))


@given(st.lists(st.sampled_from(list(PathClass)), max_size=8), st.one_of(st.none(), st.integers(0, 8)), st.integers(1, 4))
def test_no_map_is_healthy_without_cause(classes: list[PathClass], count: int | None, minimum: int) -> None:
    faults = ["fault" for cls in classes if cls in (FAILED, SUSPECT, MARGINAL)]
    expected = Expectation(count, "learned", min_paths=minimum)
    verdict = map_verdict(classes, faults, [str(n) for n in range(len(classes))], expected, suspended=False)
    usable = sum(1 for cls in classes if cls in USABLE)
    if verdict.state is MapState.HEALTHY:
        assert ACTIVE in classes
        assert not faults
        assert usable >= max(minimum, count or 0)
    assert (verdict.state is MapState.HEALTHY) == (not verdict.reasons)
    assert (verdict.redundancy is Redundancy.NONE) == (usable == 0)


@pytest.mark.parametrize(
    ("word", "flag"), [("off", "off"), ("on", "on"), ("-", "none"), ("5 chk", "retry"), ("25 sec", "retry"), ("", "none"), ("new", "none")]
)
def test_queueing(word: str, flag: str) -> None:
    assert queueing(Map(queueing=word)) == flag
