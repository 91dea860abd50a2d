"""Global options, exit statuses, errors, lazy loading, and what a run imports."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from agent import settings
from agent.cli import session
from agent.cli.base import Group
from agent.cli.root import root

Run = Callable[..., Result]
Spawn = Callable[..., "subprocess.CompletedProcess[str]"]


def all_commands() -> list[tuple[str, click.Command]]:
    """Every command with its path, groups included."""
    found: list[tuple[str, click.Command]] = []

    def walk(context: click.Context, command: click.Command) -> None:
        found.append((context.command_path, command))
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                walk(click.Context(child, context, name), child)

    walk(click.Context(root, info_name="pathmesh"), root)
    return found


def test_every_command_of_this_version_is_there() -> None:
    assert sorted(path.removeprefix("pathmesh ") for path, command in all_commands() if not isinstance(command, Group)) == sorted(
        """init/join/agent/status/matrix/dump/conflicts/resolve/render/apply/simulate-host/record/settings check
        token create/token ls/token revoke/member ls/member evict/member retire/node ls/node maps
        member maintenance/member reach/leave/cluster level/doctor
        lun ls/lun show/lun add/lun set/lun unset/lun rm/lun scan/lun accept
        defaults show/defaults set/defaults unset/overrides show/overrides set/overrides check/overrides clear
        storage ls/storage add/storage set/storage rm/storage status
        storage volumes/storage activate/storage deactivate/storage create-vg
        config show/config edit/config apply/config diff/config export/config import
        config history/config revert/config rollout/events/web-login/web-sessions""".replace("\n", "/")
        .replace("        ", "")
        .split("/")
    )


@pytest.mark.parametrize(("path", "command"), all_commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_has_a_sentence_of_help(path: str, command: click.Command) -> None:
    first = (command.help or "").strip().split("\n\n")[0]
    assert first.endswith((".", ".)")), path
    for param in command.params:
        if isinstance(param, click.Option):
            assert (param.help or "").endswith("."), f"{path} {param.opts}"


def test_every_help_page_can_be_shown() -> None:
    for path, _ in all_commands():
        result = CliRunner().invoke(root, [*path.split()[1:], "--help"], prog_name="pathmesh")
        assert result.exit_code == 0, path
        assert result.stdout.startswith(f"Usage: {path} "), path


def test_help_names_the_exit_statuses_and_the_sections() -> None:
    text = CliRunner().invoke(root, ["--help"], prog_name="pathmesh").stdout
    assert "3 agent not reachable" in text
    assert all(f"\n{title}:\n" in text for title in root.sections)


@pytest.mark.parametrize(
    "args",
    [
        ("--json", "status"),
        ("status", "--json"),
        ("status", "-o", "json"),
        ("-o", "tsv", "status", "--output", "json"),
    ],
)
def test_global_options_stand_before_or_after_the_command(run: Run, args: tuple[str, ...]) -> None:
    result = run(*args)
    assert result.exit_code == 0
    assert result.stdout.startswith('{"schema": 1')


def test_global_options_stand_inside_a_group_too(run: Run) -> None:
    assert run("lun", "--json", "ls").stdout.startswith('{"digest": ')


def test_option_names_may_be_written_with_underscores(run: Run) -> None:
    assert run("defaults", "set", "a=1", "--dry_run").stderr.startswith("dry run:")


def test_a_socket_on_the_command_line_beats_the_environment(run: Run, fake_agent: Any, tmp_path: Path) -> None:
    absent = {"PATHMESH_SOCKET": str(tmp_path / "absent")}
    assert run("status", env=absent).exit_code == 3
    assert run("--socket", fake_agent.socket, "status", env=absent).exit_code == 0
    assert run("status", "--socket", fake_agent.socket, env=absent).exit_code == 0


def test_the_socket_of_the_settings_file_is_used(run: Run, fake_agent: Any, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(f'[api]\nsocket = "{fake_agent.socket}"\n', encoding="utf-8")
    no_socket = {"PATHMESH_SOCKET": None}
    assert run("status", "--config", str(file), env=no_socket).exit_code == 0
    assert run("status", env={**no_socket, "PATHMESH_CONFIG": str(file)}).exit_code == 0
    missing = run("--config", str(tmp_path / "absent.toml"), "status", env=no_socket)
    assert missing.exit_code == 1
    assert missing.stderr == f"pathmesh: {tmp_path / 'absent.toml'}: no such settings file\n"


def test_the_shortcuts_repeat_the_settings_defaults() -> None:
    assert str(settings.DEFAULT_PATH) == session.DEFAULT_CONFIG
    assert str(settings.ApiSettings().socket) == session.DEFAULT_SOCKET


def test_an_agent_that_is_not_there_is_status_3_with_a_hint(run: Run, tmp_path: Path) -> None:
    result = run("status", "--socket", str(tmp_path / "absent"))
    assert result.exit_code == 3
    assert result.stdout == ""
    first, hint = result.stderr.splitlines()
    assert first == f"pathmesh: no agent: the socket {tmp_path / 'absent'} does not exist"
    assert hint.startswith("  hint: ")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("statsu",), "pathmesh: no such command 'statsu'. Did you mean 'status'?"),
        (("lun", "ad"), "pathmesh: no such command 'ad'. Did you mean 'add'?"),
        (("lun", "set"), "pathmesh: missing argument 'WWID'"),
        (("status", "-o", "xml"), "pathmesh: invalid value for '-o' / '--output': 'xml' is not one of"),
        (("status", "--bogus"), "pathmesh: no such option"),
        (("defaults", "set", "foo"), "pathmesh: 'foo' is no assignment"),
        (("defaults", "set", "foo="), "pathmesh: 'foo=' has no value"),
        (("defaults", "set", "a_b=1", "a-b=2"), "pathmesh: option 'a-b' is given twice"),
        (("lun", "rm", "x", "--digest", "abc"), "pathmesh: invalid value for '--digest'"),
        (("token", "create", "--ttl", "soon"), "pathmesh: invalid value for '--ttl'"),
        (("config", "apply", "/does/not/exist"), "pathmesh: /does/not/exist: No such file or directory"),
        (("resolve", "defaults"), "pathmesh: give either --take or --value"),
    ],
)
def test_usage_errors_are_status_2_and_one_line(run: Run, fake_agent: Any, args: tuple[str, ...], message: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert len(result.stderr.splitlines()) == 2
    assert result.stderr.splitlines()[1].endswith("--help")
    assert fake_agent.writes() == []


def test_no_command_shows_the_help_with_status_2(run: Run) -> None:
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: pathmesh")


def test_version(run: Run) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("pathmesh ")


def test_quiet_leaves_messages_out(run: Run) -> None:
    assert run("defaults", "set", "a=1").stderr.startswith("changed defaults")
    assert run("-q", "defaults", "set", "a=2").stderr == ""


def test_nobody_reading_is_no_traceback(spawn: Spawn, fake_agent: Any) -> None:
    command = f"{sys.executable} -m agent.cli --socket {fake_agent.socket} matrix -o tsv | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert result.stderr == ""
    assert result.stdout.strip() in ("0", "141")


HEAVY = ("rich", "sqlalchemy", "zmq", "starlette", "cryptography", "asyncio", "msgspec", "email", "http.client", "pathlib")


def test_status_imports_nothing_heavy(fake_agent: Any) -> None:
    program = (
        "import sys\nfrom agent.cli import main\n"
        f"sys.argv = ['pathmesh', '--socket', {fake_agent.socket!r}, 'status']\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert left.code == 0, left.code\n"
        f"print('loaded', sorted(set(sys.modules) & set({HEAVY!r})), [m for m in sys.modules if m.startswith('agent.cli.')])\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stderr
    loaded = result.stdout.splitlines()[-1]
    assert loaded.startswith("loaded [] ")
    assert "agent.cli.status" in loaded
    assert "agent.cli.lun" not in loaded
