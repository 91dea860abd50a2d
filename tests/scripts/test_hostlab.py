"""The lab's own rules, as far as they need no guest: nothing half-built is ever used, and what is missing is said in a line."""

from pathlib import Path

import pytest

from scripts.hostlab import cache, packages
from scripts.hostlab.errors import LabError
from scripts.hostlab.lab import Lab, found
from scripts.hostlab.san import lun


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATHMESH_LAB_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("PATHMESH_LAB_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_dir() == tmp_path / "xdg" / "pathmesh-lab"


def test_an_entry_is_named_by_what_it_is_made_from() -> None:
    assert cache.entry("image", 1, "a") == cache.entry("image", 1, "a")
    assert len({cache.entry("image", *parts) for parts in ((1, "a"), (1, "b"), (2, "a"), (1, "a", ""))}) == 4


def test_an_entry_is_made_once_and_replaces_older_ones(directory: Path) -> None:
    made: list[Path] = []

    def make(place: Path) -> None:
        made.append(place)
        (place / "x").write_text("whole")

    other, old, new = cache.entry("multipath", 1), cache.entry("image", 1), cache.entry("image", 2)
    for target in (other, old, old, new):
        assert (cache.build(target, make) / "x").read_text() == "whole"
    assert len(made) == 3 and all(place not in (other, old, new) for place in made), "an entry is made beside its place"
    assert {path.name for path in directory.iterdir() if path.is_dir()} == {other.name, new.name}


def test_a_build_that_fails_leaves_nothing_and_the_old_one_stays(directory: Path) -> None:
    old, new = cache.entry("image", 1), cache.entry("image", 2)
    cache.build(old, lambda place: None)

    def fail(place: Path) -> None:
        (place / "half").touch()
        raise LabError("the archive is gone")

    with pytest.raises(LabError):
        cache.build(new, fail)
    assert [path.name for path in directory.iterdir() if path.is_dir()] == [old.name]
    (directory / f".{new.name}.left-by-a-kill").mkdir()
    cache.build(new, lambda place: None)
    assert [path.name for path in directory.iterdir() if path.is_dir()] == [new.name]


def test_missing_programs_are_named_with_their_packages() -> None:
    with pytest.raises(LabError, match=r"no-such-tool not found: this test needs it") as caught:
        cache.need(["sh", "no-such-tool"], "this test")
    assert caught.value.hint == "on Debian: apt-get install no-such-tool"


def test_a_program_that_fails_is_told_in_one_line() -> None:
    with pytest.raises(LabError, match=r"^sh -c .*: exit 3: E: first \| E: second$"):
        cache.run("sh", "-c", "echo noise >&2; echo E: first >&2; echo E: second >&2; exit 3")


def test_package_sources_that_are_none_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "sources"
    empty.write_text("# nothing\n")
    monkeypatch.setenv("PATHMESH_LAB_SOURCES", str(empty))
    with pytest.raises(LabError, match="no package source in"):
        packages.sources()
    empty.write_text("Types: deb\nURIs: http://localhost/\nSuites: stable\nComponents: main\n")
    assert packages.sources() == [empty]


def test_no_lab_is_found_where_none_is(tmp_path: Path) -> None:
    assert found(tmp_path) is None
    with pytest.raises(LabError, match="there is no guest 1"):
        Lab(tmp_path, "none").guest(1)


def test_a_lun_s_wwid_is_a_naa_of_32_digits() -> None:
    assert lun(1) == "360014050000000100004000800000000" and len(lun(15)) == 33
