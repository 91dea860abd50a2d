"""The whole document: show, apply, diff, import, edit."""

import os
import shlex
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from store import section_config

Run = Callable[..., Result]

LUN_A = "3624a9370e92ace0b12e941bf000cb4d5"
LUN_B = "360014050000000100004000800000000"
TEXT = f"defaults: global\n\tpolling-interval 5\n\nwwid: {LUN_A}\n\talias a\n\n"


@pytest.fixture
def configured(fake_agent: Any) -> Any:
    fake_agent.document = {"defaults": {"polling-interval": "5"}, f"wwid/{LUN_A}": {"alias": "a"}}
    return fake_agent


@pytest.fixture
def editor(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """Make an editor of one Python statement on `text`; the environment that names it."""

    def make(statement: str) -> dict[str, str]:
        script = tmp_path / "editor"
        program = f"import pathlib, sys\np = pathlib.Path(sys.argv[1])\ntext = p.read_text()\n{statement}\np.write_text(text)\n"
        script.write_text(f"#!{sys.executable}\n{program}", encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return {"EDITOR": shlex.quote(str(script)), "VISUAL": "", "TMPDIR": str(tmp_path)}

    return make


def kept_files(directory: Path) -> list[Path]:
    return list(directory.glob("pathmesh-*.cfg"))


def test_show_raw_and_export_are_the_stored_text(run: Run, configured: Any) -> None:
    assert run("config", "show", "--raw").stdout == TEXT
    assert run("config", "export").stdout == TEXT


def test_show_puts_problems_and_conflicts_in_comments_that_apply_ignores(run: Run, configured: Any) -> None:
    configured.conflicts = [{"key": f"wwid/{LUN_A}", "siblings": []}]
    shown = run("config", "show").stdout
    assert shown.splitlines()[:2] == [
        f"# conflict: wwid/{LUN_A}: pathmesh conflicts",
        f"# warning: wwid/{LUN_B} alias: alias vmpool-a is taken (give it another alias)",
    ]
    assert section_config.to_document(section_config.parse(shown)) == configured.document


def test_show_as_tsv(run: Run, configured: Any) -> None:
    assert run("config", "show", "-o", "tsv").stdout.splitlines() == [
        "type\tid\toption\tvalue",
        "defaults\tglobal\tpolling-interval\t5",
        f"wwid\t{LUN_A}\talias\ta",
    ]


def test_a_section_without_options_has_a_row_too(run: Run, configured: Any) -> None:
    configured.document[f"wwid/{LUN_B}"] = {}
    assert f"wwid\t{LUN_B}\t\t" in run("config", "show", "-o", "tsv").stdout.splitlines()


@pytest.mark.parametrize("command", ["apply", "diff", "import"])
def test_a_refused_file_is_named(run: Run, configured: Any, tmp_path: Path, command: str) -> None:
    file = tmp_path / "c.cfg"
    file.write_text(f"wwid: {LUN_A}\n\tno-path-retry banana\n\n", encoding="utf-8")
    result = run("config", command, str(file))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == f"pathmesh: {file}: the edit is refused"


def test_apply_replaces_the_whole_document(run: Run, configured: Any, tmp_path: Path) -> None:
    file = tmp_path / "c.cfg"
    file.write_text(f"wwid: {LUN_B}\n\talias b\n\n", encoding="utf-8")
    result = run("config", "apply", str(file), "--reason", "release 12")
    assert result.exit_code == 0
    assert configured.document == {f"wwid/{LUN_B}": {"alias": "b"}}
    assert configured.last_reason == "release 12"
    assert f"changed defaults, wwid/{LUN_B}, wwid/{LUN_A}" in result.stderr


def test_apply_reads_standard_input(run: Run, configured: Any) -> None:
    assert run("config", "apply", "-", input="").exit_code == 0
    assert configured.document == {}


def test_apply_of_a_broken_text_names_the_line(run: Run, configured: Any) -> None:
    result = run("config", "apply", "-", input="defaults: global\n\ta 1\nwwid: x\n")
    assert result.exit_code == 1
    assert result.stderr.startswith("pathmesh: standard input: line 3: ")
    assert configured.text == TEXT


def test_apply_refuses_a_file_that_is_not_utf8(run: Run, configured: Any, tmp_path: Path) -> None:
    file = tmp_path / "c.cfg"
    file.write_bytes(b"\xff")
    result = run("config", "apply", str(file))
    assert result.exit_code == 2
    assert "not UTF-8 at byte 0" in result.stderr


def test_diff_writes_nothing(run: Run, configured: Any) -> None:
    result = run("config", "diff", "-", input=TEXT.replace("alias a", "alias b"))
    assert result.exit_code == 0
    assert "-\talias a\n+\talias b\n" in result.stdout
    assert configured.text == TEXT


def test_import_reads_leniently_and_says_what_it_made_of_it(run: Run, configured: Any) -> None:
    foreign = f"defaults: anything\n  polling-interval 7\n  polling-interval 8\n\n\nwwid: {LUN_B}\n    alias b\n"
    result = run("config", "import", "-", input=foreign)
    assert result.exit_code == 0
    assert configured.document[f"wwid/{LUN_B}"] == {"alias": "b"}
    assert result.stderr.startswith("warning: standard input:1: the id of ")
    assert len(configured.writes()) == 1


def test_import_tells_the_place_of_what_is_left_behind(run: Run, configured: Any, tmp_path: Path) -> None:
    file = tmp_path / "multipath.conf"
    file.write_bytes(b"defaults {\n\tuser_friendly_names yes # gr\xf6\xdfer\n}\n")
    result = run("config", "import", str(file), "--dry-run")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == f"warning: {file}:2:9: user_friendly_names yes # größer is pinned"
    answer = run("config", "import", str(file), "--json").stdout
    assert '"format": "multipath.conf"' in answer and '"line": 2' in answer


def test_editing(run: Run, configured: Any, editor: Any, tmp_path: Path) -> None:
    result = run("config", "edit", env=editor("text = text.replace('alias a', 'alias b')"))
    assert result.exit_code == 0, result.stderr
    assert "-\talias a\n+\talias b\n" in result.stdout
    assert configured.document[f"wwid/{LUN_A}"] == {"alias": "b"}
    assert kept_files(tmp_path) == []


def test_editing_without_a_change_writes_nothing(run: Run, configured: Any, editor: Any, tmp_path: Path) -> None:
    result = run("config", "edit", env=editor("pass"))
    assert (result.exit_code, result.stderr) == (0, "nothing to change\n")
    assert configured.writes() == []
    assert kept_files(tmp_path) == []


def test_editing_as_a_dry_run(run: Run, configured: Any, editor: Any) -> None:
    result = run("config", "edit", "--dry-run", env=editor("text = text.replace('alias a', 'alias b')"))
    assert result.exit_code == 0
    assert "+\talias b" in result.stdout
    assert configured.text == TEXT


@pytest.mark.parametrize(
    ("statement", "status"),
    [("text = 'rubbish'", 1), ("text = text.replace('alias a', 'no-path-retry banana')", 1), ("sys.exit(7)", 1)],
)
def test_a_refused_text_is_kept(run: Run, configured: Any, editor: Any, tmp_path: Path, statement: str, status: int) -> None:
    result = run("config", "edit", env=editor(statement))
    assert result.exit_code == status
    assert configured.text == TEXT
    (kept,) = kept_files(tmp_path)
    assert f"your text is kept in {kept}" in result.stderr


def test_an_edit_that_somebody_overtakes_is_status_4_and_kept(run: Run, configured: Any, editor: Any, tmp_path: Path) -> None:
    environment = editor("text = text.replace('alias a', 'alias b')")
    configured.before_write = lambda fake: fake.document["defaults"].update({"polling-interval": "6"})
    result = run("config", "edit", env=environment)
    assert result.exit_code == 4
    assert configured.document[f"wwid/{LUN_A}"] == {"alias": "a"}
    (kept,) = kept_files(tmp_path)
    assert "alias b" in kept.read_text(encoding="utf-8")


def test_an_editor_that_does_not_exist_says_so(run: Run, configured: Any, tmp_path: Path) -> None:
    environment = {"EDITOR": "/does/not/exist", "VISUAL": "", "TMPDIR": str(tmp_path)}
    result = run("config", "edit", env=environment)
    assert result.exit_code == 1
    assert "cannot run the editor '/does/not/exist'" in result.stderr


@pytest.fixture(autouse=True)
def own_temporary_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", os.fspath(tmp_path))
