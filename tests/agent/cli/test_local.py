"""The commands that work without an agent."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import Result

from agent.settings import Settings
from store.errors import UnavailableError, UsageError

Run = Callable[..., Result]


class Calls(ModuleType):
    """Stands for the modules behind the commands; keeps what they were called with, and raises what it is told to."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.seen: list[tuple[Any, ...]] = []
        self.fault: Exception | None = None
        self.status = 0

    def _call(self, *args: Any) -> int:
        self.seen.append(args)
        if self.fault is not None:
            raise self.fault
        return self.status

    init = join = run = _call


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> Calls:
    module = Calls("agent.bootstrap")
    monkeypatch.setitem(sys.modules, "agent.bootstrap", module)
    return module


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Calls:
    module = Calls("agent.daemon")
    monkeypatch.setitem(sys.modules, "agent.daemon", module)
    return module


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pathmesh.toml"
    path.write_text(f'[node]\nname = "n7"\nstate_dir = "{tmp_path}/state"\n', encoding="utf-8")
    return path


def test_init_hands_settings_name_and_cluster_on(run: Run, bootstrap: Calls, file: Path) -> None:
    result = run("--config", str(file), "init", "--cluster", "san")
    assert result.exit_code == 0
    settings, name, cluster = bootstrap.seen[0]
    assert isinstance(settings, Settings)
    assert settings.source == file
    assert (name, cluster) == ("n7", "san")
    assert result.stderr.startswith("n7 is the first node of cluster san")


def test_a_name_on_the_command_line_wins(run: Run, bootstrap: Calls, file: Path) -> None:
    assert run("join", "pm1.secret", "--name", "n8", "--config", str(file)).exit_code == 0
    assert bootstrap.seen[0][1:] == ("pm1.secret", "n8")


@pytest.mark.parametrize(
    "fault",
    [UsageError("set up before", code="already-member", hint="move it away"), UnavailableError("sponsor unreachable")],
)
def test_a_node_that_cannot_be_made_is_status_1(run: Run, bootstrap: Calls, file: Path, fault: Exception) -> None:
    bootstrap.fault = fault
    result = run("init", "--config", str(file))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"pathmesh: {fault}\n")


def test_the_agents_status_is_the_exit_status(run: Run, daemon: Calls, file: Path) -> None:
    daemon.status = 7
    assert run("agent", "--config", str(file)).exit_code == 7
    assert daemon.seen[0][0].node.name == "n7"


def test_bad_settings_stop_the_agent_with_one_line(run: Run, daemon: Calls, file: Path) -> None:
    file.write_text("[log]\nlevle = 'info'\n", encoding="utf-8")
    result = run("agent", "--config", str(file))
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"pathmesh: {file}: log.levle: unknown setting; [log] has level, format",
        "  hint: did you mean 'level'?",
    ]
    assert daemon.seen == []


def test_checking_good_settings(run: Run, file: Path) -> None:
    result = run("settings", "check", "--config", str(file))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{file}: good\n")
    assert "node.name                              n7" in run("settings", "check", "-v", "--config", str(file)).stdout
    body = json.loads(run("settings", "check", "--json", "--config", str(file)).stdout)
    assert body["problems"] == []
    assert body["settings"]["node"]["name"] == "n7"


def test_checking_bad_settings_lists_all_faults(run: Run, file: Path) -> None:
    file.write_text("[log]\nlevle = 'info'\nformat = 3\n", encoding="utf-8")
    result = run("settings", "check", "--config", str(file))
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        f"error: log.levle: unknown setting; [log] has level, format ({file})",
        "  hint: did you mean 'level'?",
        f'error: log.format: 3 refused; expected "console" or "json" ({file})',
    ]


def test_checking_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    result = run("settings", "check", "--config", str(tmp_path / "absent"))
    assert result.exit_code == 1
    assert result.stderr == f"pathmesh: {tmp_path / 'absent'}: no such settings file\n"


LUNS = """
[[lun]]
wwid = "360014050000000100004000800000000"
vendor = "LAB"
product = "SANDISK1"
rev = "4.0"
size_bytes = 67108864
[[lun.path]]
dev = "sda"
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_simulated_host_says_when_it_is_ready_and_stops_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    address, program = tmp_path / "mp.sock", tmp_path / "multipathd"
    (tmp_path / "etc").mkdir()
    (tmp_path / "luns.toml").write_text(LUNS, encoding="utf-8")
    command = [sys.executable, "-m", "agent.cli", "simulate-host", "--socket", str(address)]
    command += ["--etc-dir", str(tmp_path / "etc"), "--luns", str(tmp_path / "luns.toml"), "--program", str(program)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"ready at {address}\n"
        assert program.exists()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(address))
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    assert not address.exists()
    assert not program.exists()


def test_a_bad_lun_file_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "luns.toml").write_text("[[lun]]\nwwid = 3\n", encoding="utf-8")
    socket_path = str(tmp_path / "s")
    result = run("simulate-host", "--socket", socket_path, "--etc-dir", str(tmp_path), "--luns", str(tmp_path / "luns.toml"))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"pathmesh: {tmp_path / 'luns.toml'}")
