"""Setting a damaged database aside."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.errors import UnavailableError
from store.quarantine import KEPT, set_aside


def content(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_the_file_goes_with_its_journal_and_the_reason_beside_it(tmp_path: Path) -> None:
    database = tmp_path / "node.db"
    for part in ("", "-wal", "-shm"):
        database.with_name(f"node.db{part}").write_text(f"data{part}")
    (tmp_path / "guard").write_text("stays")
    assert set_aside(database, "it is no database") == tmp_path / "node.db.damaged-1"
    assert content(tmp_path) == {
        "node.db.damaged-1": "data",
        "node.db.damaged-1-wal": "data-wal",
        "node.db.damaged-1-shm": "data-shm",
        "node.db.damaged-1.why": "it is no database\n",
        "guard": "stays",
    }


def test_a_journal_that_is_not_there_is_not_missed(tmp_path: Path) -> None:
    database = tmp_path / "node.db"
    database.write_text("data")
    set_aside(database, "why")
    assert content(tmp_path) == {"node.db.damaged-1": "data", "node.db.damaged-1.why": "why\n"}


@given(st.sets(st.integers(1, 40), max_size=8))
def test_the_newest_are_kept_and_a_number_is_never_used_again(tmp_path_factory: pytest.TempPathFactory, present: set[int]) -> None:
    directory = tmp_path_factory.mktemp("state")
    database = directory / "node.db"
    for number in present:
        for part in ("", "-wal", ".why"):
            (directory / f"node.db.damaged-{number}{part}").write_text(str(number))
    (directory / "node.db.damaged-x").write_text("not ours")
    database.write_text("new")
    newest = max(present, default=0) + 1
    assert set_aside(database, "why").name == f"node.db.damaged-{newest}"
    numbers = {*sorted(present)[-(KEPT - 1) :], newest}
    found = content(directory)
    assert {name for name in found if name.removeprefix("node.db.damaged-").isdigit()} == {f"node.db.damaged-{n}" for n in numbers}
    assert found[f"node.db.damaged-{newest}"] == "new" and found["node.db.damaged-x"] == "not ours"
    assert {name for name in found if name.endswith(".why")} == {f"node.db.damaged-{n}.why" for n in numbers}
    assert {name for name in found if name.endswith("-wal")} == {f"node.db.damaged-{n}-wal" for n in numbers - {newest}}


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be set aside") as caught:
        set_aside(tmp_path / "missing" / "node.db", "why")
    assert caught.value.code == "state-dir" and caught.value.hint
