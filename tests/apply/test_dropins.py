"""The drop-ins: whole or not at all, and never over somebody else's file."""

import errno
import os
from pathlib import Path

import pytest

from apply.dropins import DropIns, WriteFailed
from apply.managed import is_managed, sha256
from apply.render import MAIN, OVERRIDES, RenderedFile

OURS = b"# Written by pathmesh. Do not edit\n\ndefaults {\n}\n"


def quiet(_: str) -> None:
    pass


def test_a_file_is_installed_with_its_mode_and_nothing_is_left_behind(tmp_path: Path) -> None:
    dropins = DropIns(tmp_path / "etc" / "conf.d", tmp_path / "kept")
    points: list[str] = []
    dropins.install(MAIN, RenderedFile(OURS, 0o644), points.append)
    dropins.install(OVERRIDES, RenderedFile(OURS, 0o600), points.append)
    assert dropins.current() == {MAIN: OURS, OVERRIDES: OURS}
    assert points == ["apply.install.temporary", "apply.install.renamed"] * 2
    assert (tmp_path / "etc/conf.d").stat().st_mode & 0o777 == 0o755
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "etc/conf.d").iterdir()}
    assert modes == {MAIN: 0o644, OVERRIDES: 0o600}


def test_the_temporary_name_is_one_that_multipathd_does_not_read(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    dropins = DropIns(tmp_path, tmp_path / "kept")
    dropins.install(MAIN, RenderedFile(OURS, 0o644), lambda _: seen.append(sorted(p.name for p in tmp_path.iterdir())))
    assert seen[0] == [MAIN + ".tmp"]
    assert not seen[0][0].endswith(".conf")
    assert seen[1] == [MAIN]


def test_a_left_over_temporary_is_no_obstacle_and_is_cleared(tmp_path: Path) -> None:
    (tmp_path / (MAIN + ".tmp")).write_bytes(b"half")
    (tmp_path / "other.conf.tmp").write_bytes(b"somebody else's")
    dropins = DropIns(tmp_path, tmp_path / "kept")
    dropins.install(MAIN, RenderedFile(OURS, 0o644), quiet)
    (tmp_path / (OVERRIDES + ".tmp")).write_bytes(b"half")
    dropins.clear_temporaries()
    assert sorted(p.name for p in tmp_path.iterdir()) == [MAIN, "other.conf.tmp"]


def test_keeping_and_restoring(tmp_path: Path) -> None:
    dropins = DropIns(tmp_path / "conf.d", tmp_path / "kept")
    dropins.install(MAIN, RenderedFile(OURS, 0o600), quiet)
    dropins.keep({MAIN: RenderedFile(OURS, 0o600)})
    assert dropins.kept() == dropins.present() == {MAIN: RenderedFile(OURS, 0o600)}
    dropins.install(MAIN, RenderedFile(OURS + b"# bad\n", 0o644), quiet)
    dropins.install(OVERRIDES, RenderedFile(OURS, 0o644), quiet)
    dropins.restore(dropins.kept())
    assert dropins.current() == {MAIN: OURS}
    assert (tmp_path / "conf.d" / MAIN).stat().st_mode & 0o777 == 0o600
    dropins.keep({})
    assert dropins.kept() == {}
    dropins.restore(dropins.kept())
    assert dropins.current() == {}


def test_removal(tmp_path: Path) -> None:
    dropins = DropIns(tmp_path / "conf.d", tmp_path / "kept")
    dropins.remove(MAIN)
    dropins.install(MAIN, RenderedFile(OURS, 0o644), quiet)
    dropins.remove(MAIN)
    assert dropins.current() == {}


def test_a_file_is_ours_only_with_marker_and_hash() -> None:
    known = [sha256(OURS), sha256(b"defaults {\n}\n")]
    assert is_managed(OURS, known)
    assert not is_managed(OURS + b"# edited\n", known)
    assert not is_managed(b"defaults {\n}\n", known)
    assert not is_managed(OURS, [])


def test_failures_name_the_path(tmp_path: Path) -> None:
    (tmp_path / "conf.d").write_bytes(b"a file where the directory should be")
    dropins = DropIns(tmp_path / "conf.d", tmp_path / "kept")
    with pytest.raises(WriteFailed) as caught:
        dropins.install(MAIN, RenderedFile(OURS, 0o644), quiet)
    assert (caught.value.code, str(tmp_path / "conf.d" / MAIN) in caught.value.message) == ("write-failed", True)
    assert dropins.current() == {}


@pytest.mark.parametrize(
    ("number", "word"), [(errno.EROFS, "read-only"), (errno.ENOSPC, "full"), (errno.EACCES, "root"), (errno.EIO, "disk")]
)
def test_the_hint_fits_the_failure(number: int, word: str) -> None:
    assert word in WriteFailed(Path("/etc/x"), OSError(number, os.strerror(number))).hint
