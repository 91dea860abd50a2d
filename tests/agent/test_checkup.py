"""What is found in the files of a node whose agent does not run; and that looking changes none of them."""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.bootstrap import init
from agent.checkup import examine
from agent.guard import read_guard, write_guard
from store.database import FILE_NAME, Database


@pytest.fixture
def settings(tmp_path: Path, settings_in: Any) -> Any:
    settings = settings_in(tmp_path)
    init(settings, "n1", "san")
    return settings


def codes(settings: Any) -> list[str]:
    """What is found; everything stays as it is."""
    kept = {p: p.read_bytes() for p in settings.source.parent.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm"))}
    found = examine(settings.source)
    assert {p: p.read_bytes() for p in kept} == kept
    assert all(finding.message and "\n" not in finding.message and finding.hint for finding in found), found
    return [finding.code for finding in found]


def test_nothing_is_wrong_with_a_node_that_was_just_made(settings: Any) -> None:
    assert codes(settings) == []


def test_a_node_that_was_never_made(tmp_path: Path, settings_in: Any) -> None:
    settings = settings_in(tmp_path)
    assert codes(settings) == ["key-missing", "not-a-member"]
    settings.node.state_dir.mkdir(mode=0o700)
    assert codes(settings) == ["key-missing", "not-a-member"]


def test_settings_that_are_wrong_or_absent(settings: Any, tmp_path: Path) -> None:
    settings.source.write_text(settings.source.read_text() + '[web]\nlistenn = "x"\n')
    assert "settings-invalid" in codes(settings)
    assert [finding.code for finding in examine(tmp_path / "absent.toml")] == ["settings-missing"]


def database(settings: Any) -> Path:
    return Path(settings.node.state_dir / FILE_NAME)


def wide_open(settings: Any) -> None:
    settings.node.state_dir.chmod(0o755)


def open_keys(settings: Any) -> None:
    (settings.node.keys_dir / "mesh.key").chmod(0o644)


def no_guard(settings: Any) -> None:
    (settings.node.state_dir / "guard").unlink()


def bad_guard(settings: Any) -> None:
    (settings.node.state_dir / "guard").write_bytes(b"x")


def newer_guard(settings: Any) -> None:
    guard = read_guard(settings.node.state_dir)
    assert guard is not None
    write_guard(settings.node.state_dir, msgspec.structs.replace(guard, epoch=9))


def other_guard(settings: Any) -> None:
    guard = read_guard(settings.node.state_dir)
    assert guard is not None
    write_guard(settings.node.state_dir, msgspec.structs.replace(guard, birth=msgspec.structs.replace(guard.birth, actor=b"x" * 16)))


def lost(settings: Any) -> None:
    for path in settings.node.state_dir.glob(f"{FILE_NAME}*"):
        path.unlink()


def garbage(settings: Any) -> None:
    lost(settings)
    database(settings).write_bytes(b"this is no database at all" * 400)


def torn(settings: Any) -> None:
    with contextlib.closing(sqlite3.connect(database(settings))) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = database(settings).read_bytes()
    lost(settings)
    database(settings).write_bytes(data[: len(data) // 2])


def record(settings: Any) -> None:
    with contextlib.closing(sqlite3.connect(database(settings))) as file:
        file.execute("UPDATE meta SET value = x'c1' WHERE name = 'node'")
        file.commit()


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (wide_open, "state-mode"),
        (open_keys, "key-mode"),
        (no_guard, "guard-missing"),
        (bad_guard, "guard-damaged"),
        (newer_guard, "database-restored"),
        (other_guard, "guard-mismatch"),
        (lost, "database-lost"),
        (garbage, "database-corrupt"),
        (torn, "database-corrupt"),
    ],
)
def test_what_is_wrong_is_found(settings: Any, harm: Callable[[Any], None], code: str) -> None:
    harm(settings)
    assert code in codes(settings)


def test_a_damaged_record_of_the_node(settings: Any) -> None:
    record(settings)
    assert [finding.code for finding in examine(settings.source)] == ["database-corrupt"]


def test_a_base_counts_as_much_as_the_log(settings: Any, tmp_path: Path) -> None:
    shutil.copy(database(settings), tmp_path / "kept")
    with contextlib.closing(sqlite3.connect(database(settings))) as file:
        file.execute("DROP TABLE base")
        file.commit()
    assert codes(settings) == [], "a database of the first version has none"


@pytest.mark.anyio
async def test_a_database_in_use_is_left_alone(settings: Any) -> None:
    held = await Database.open(settings.node.state_dir)
    try:
        assert [finding.code for finding in examine(settings.source)] == ["already-running"]
    finally:
        await held.close()
