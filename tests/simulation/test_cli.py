"""The simulator's command line: what it refuses, in one line each, and how it tells what came of a run."""

from pathlib import Path

import pytest

from scripts.simulation import cli
from scripts.simulation.cli import ACTIONS, main
from scripts.simulation.faults import FAULTS
from scripts.simulation.run import Outcome, Plan
from scripts.simulation.users import MEMBERSHIP, USERS
from store.limits import limit

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *words: str) -> tuple[int, list[str], list[str]]:
    """Exit status, and the lines on both outputs."""
    try:
        status = main(words)
    except SystemExit as left:
        assert isinstance(left.code, int)
        status = left.code
    told = capsys.readouterr()
    return status, told.out.splitlines(), told.err.splitlines()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--nodes", "1"), "--nodes: '1'"),
        (("--nodes", str(limit("members") + 1)), "--nodes: '2049'"),
        (("--nodes", "five"), "--nodes: 'five'"),
        (("--seed", "-1"), "--seed: '-1'"),
        (("--seeds", "0"), "--seeds: '0'"),
        (("--steps", "-1"), "--steps: '-1'"),
        (("--steps", "1.5"), "--steps: '1.5'"),
        (("--jobs", "0"), "--jobs: '0'"),
        (("--seconds", "-0.1"), "--seconds: '-0.1'"),
        (("--seconds", "nan"), "--seconds: 'nan'"),
        (("--seconds", "inf"), "--seconds: 'inf'"),
        (("--without", "crash,rain"), "--without: 'rain' is none of"),
        (("--profile", "daily"), "--profile"),
        (("--seed",), "--seed"),
        (("more",), "more"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_status_2(words: tuple[str, ...], named: str, capsys: Capture) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, [])
    assert len(err) == 1 and err[0].startswith("scripts/simulate: ") and named in err[0]


def test_an_unknown_action_is_answered_with_those_that_there_are(capsys: Capture) -> None:
    _, _, err = run(capsys, "--without", "rain")
    assert set(ACTIONS) == {*USERS, *FAULTS, *MEMBERSHIP}
    assert all(name in err[0] for name in ACTIONS)


@pytest.mark.parametrize("content", [None, b"", b"something else", b"\x93\x01\x02\x03"])
def test_a_recording_that_is_none_is_one_line_and_status_2(content: bytes | None, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "recording"
    if content is not None:
        file.write_bytes(content)
    status, out, err = run(capsys, "--replay", str(file))
    assert (status, out) == (2, [])
    assert len(err) == 1 and err[0].startswith(f"scripts/simulate: {file}: ")


def test_one_seed_ends_with_its_verdict_and_its_trace(capsys: Capture) -> None:
    status, out, err = run(capsys, "--seed", "7", "--steps", "3", "--nodes", "2", "--seconds", "1")
    assert (status, err) == (0, [])
    assert out[0].startswith("seed 7: ") and out[-2] == "1 seed: all invariants held"
    word, trace = out[-1].split()
    assert word == "trace" and len(bytes.fromhex(trace)) == 32


def test_many_seeds_end_with_one_verdict_and_one_trace(capsys: Capture) -> None:
    words = ("--seeds", "2", "--steps", "2", "--nodes", "2", "--jobs", "1", "--without", " burst,, crash ")
    status, out, _ = run(capsys, *words)
    assert status == 0 and out[-2] == "2 seeds: all invariants held" and out[-1].startswith("trace ")
    assert not any(line.startswith("seed ") for line in out)
    assert sum(line.startswith("seed ") for line in run(capsys, *words, "-v")[1]) == 2


def test_nothing_may_be_left_to_do(capsys: Capture) -> None:
    assert run(capsys, "--without", ",".join(ACTIONS), "--steps", "4")[1][-2] == "1 seed: all invariants held"


def test_a_broken_seed_is_named_with_how_to_run_it_again(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(plan: Plan) -> Outcome:
        return Outcome(plan.seed, "ab" * 32, "" if plan.seed % 2 else f"invariant 4 broken at {plan.seed} ms: a test")

    monkeypatch.setattr(cli, "simulate", simulate)
    words = ("--jobs", "1", "--churn", "--seconds", "2.5", "--without", "crash,edit")
    status, out, _ = run(capsys, "--seeds", "4", *words)
    assert status == 1 and out[-2] == "4 seeds: invariants were broken in 2 of them"
    assert out[0] == "seed 2: invariant 4 broken at 2 ms: a test"
    assert out[1] == "  again: ./scripts/simulate --seed 2 --nodes 5 --steps 60 --seconds 2.5 --churn --without crash,edit --log"
    status, out, _ = run(capsys, "--seed", "6", *words)
    assert status == 1 and out[-2:] == ["1 seed: an invariant was broken", f"trace {'ab' * 32}"]


def test_what_never_happened_fails_a_nightly_run_only(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "simulate", lambda plan: Outcome(plan.seed, "ab" * 32))
    assert run(capsys)[0] == 0
    status, out, _ = run(capsys, "--profile", "nightly")
    assert status == 1 and out[-2] == "1 seed: all invariants held"
    assert out[-3].startswith("never happened: ")
