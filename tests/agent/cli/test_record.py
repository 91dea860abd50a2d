"""`pathmesh record`: a new file, for its owner alone, or nothing."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def recorded(fake_agent: Any) -> None:
    fake_agent.answers["/v1/recording"] = "what it was told"


def test_the_recording_is_written(run: Run, recorded: None, tmp_path: Path) -> None:
    file = tmp_path / "n1.recording"
    result = run("record", str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert file.read_text() == "what it was told"
    assert file.stat().st_mode & 0o777 == 0o600
    assert result.stderr == f"{file}: 16 bytes; repeat the run with: ./scripts/simulate --replay {file}\n"


def test_as_json(run: Run, recorded: None, tmp_path: Path) -> None:
    file = tmp_path / "n1.recording"
    assert json.loads(run("record", str(file), "--json").stdout) == {"file": str(file), "bytes": 16}


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_what_exists_is_left_alone(run: Run, fake_agent: Any, tmp_path: Path, kind: str) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    if kind != "dangling link":
        other.write_text("mine")
    if kind == "file":
        other.rename(file)
    else:
        file.symlink_to(other)
    result = run("record", str(file))  # the agent is not even asked
    assert result.exit_code == 1
    assert f"{file}: exists; nothing was written" in result.stderr
    assert "hint: name another file" in result.stderr
    assert kind == "dangling link" or file.read_text() == "mine"
    assert other.exists() == (kind == "link")


def test_a_file_that_cannot_be_made(run: Run, recorded: None, tmp_path: Path) -> None:
    result = run("record", str(tmp_path / "no-such" / "file"))
    assert result.exit_code == 1
    assert "cannot be written: No such file or directory" in result.stderr


def test_a_disk_that_is_full_leaves_no_file(run: Run, recorded: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __init__(self, descriptor: int, mode: str) -> None:
            os.close(descriptor)

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None: ...

        def write(self, _: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("agent.cli.record.os.fdopen", Full)
    file = tmp_path / "file"
    result = run("record", str(file))
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert not file.exists()


def test_a_refusal_leaves_no_file(run: Run, tmp_path: Path, fake_agent: Any) -> None:
    file = tmp_path / "file"
    result = run("record", str(file))
    assert result.exit_code != 0
    assert not file.exists()
