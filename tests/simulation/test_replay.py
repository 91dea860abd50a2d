"""A recording of an engine, run again: the same inputs, the same effects."""

from pathlib import Path
from random import Random

import pytest

from gossip.engine import Engine, Identity
from gossip.events import Commit, Committed, Event, LocalEdit, LocalSnapshot, Tick
from gossip.recording import Options, Recording, take_image
from scripts.simulation import forge
from scripts.simulation.cli import main
from scripts.simulation.replay import replay
from store.cells import Cell
from store.replica import Replica


def recorded(path: Path) -> bytes:
    """A node alone that makes an edit, recorded to the file; its state hash at the end."""
    member = forge.member("n1")
    recording = Recording(1_000_000, lambda now_ms: None)
    replica = Replica(forge.CLUSTER, forge.verify, forge.founding_log([member]))
    identity = Identity(
        "n1", member.actor, 1, b"n" * 16, recording.signing(lambda body: forge.sign(member.signing_key, body)), forge.verify
    )
    random = Random(5)
    recording.begin(take_image(identity, replica, {}, random, 1_000, Options()))
    engine = Engine(identity, replica, {}, random, 1_000)
    engine.start(1_000)
    recording.started(1_000)
    now = 1_000
    waiting: list[Event] = [
        LocalSnapshot((Cell("multipath.map", "36000", "healthy"),)),
        LocalEdit(1, {"defaults": {"polling-interval": "5"}}, 1.0),
    ]
    while waiting:
        now += 100
        event = waiting.pop(0)
        recording.note(event, now)
        for effect in engine.handle(event, now):
            if isinstance(effect, Commit):
                waiting += [Committed(effect.batch), Tick()]
    path.write_bytes(recording.dump())
    return engine.replica.fold.state_hash


def test_a_recording_says_what_happened_and_ends_in_the_same_state(tmp_path: Path) -> None:
    path = tmp_path / "recording"
    state = recorded(path)
    lines: list[str] = []
    assert replay(path, verify_with=forge.verify, line=lines.append) == 0
    text = "\n".join(lines)
    assert "segment 1 of 1: n1, epoch 1" in text
    assert "e change defaults  [w1]" in text and "a1" in text and "s 36000=healthy" in text
    assert state.hex()[:16] in text
    again: list[str] = []
    replay(path, verify_with=forge.verify, line=again.append)
    assert again[-1] == lines[-1] and lines[-1].startswith("trace ")


def test_a_file_that_is_no_recording_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other"
    path.write_bytes(b"something else")
    assert main(["--replay", str(path)]) == 2
    assert main(["--replay", str(tmp_path / "missing")]) == 2
    told = capsys.readouterr()
    assert len(told.err.splitlines()) == 2 and "Traceback" not in told.err
