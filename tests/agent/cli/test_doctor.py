"""`pathmesh doctor`, with an agent and without."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from agent.cli.root import root

Run = Callable[..., Result]
FINDING = {"code": "floor-blocked", "severity": "warning", "message": "n3 has not\nreceived them", "hint": "bring it back"}


def test_nothing_wrong_is_status_0(run: Run, fake_agent: Any) -> None:
    fake_agent.answers["/v1/doctor"] = {"node": "n1", "findings": []}
    result = run("doctor")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "nothing is wrong on n1\n")


def test_findings_are_status_1(run: Run, fake_agent: Any) -> None:
    fake_agent.answers["/v1/doctor"] = {"node": "n1", "findings": [FINDING]}
    result = run("doctor")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["warning: floor-blocked: n3 has not received them", "  hint: bring it back"]
    assert json.loads(run("doctor", "--json").stdout) == {"node": "n1", "findings": [FINDING]}
    assert run("doctor", "-o", "tsv").stdout.splitlines()[0] == "severity\tcode\tmessage\thint"


def test_without_an_agent_the_files_are_checked(tmp_path: Path) -> None:
    config = tmp_path / "pathmesh.toml"
    config.write_text(f'[node]\nstate_dir = "{tmp_path}/state"\nkeys_dir = "{tmp_path}/keys"\n[api]\nsocket = "{tmp_path}/api.sock"\n')
    result = CliRunner().invoke(root, ["--config", str(config), "doctor"], prog_name="pathmesh")
    assert result.exit_code == 1
    first, *rest = result.stdout.splitlines()
    assert first.startswith("error: agent-unreachable: ") and "only this node's files were checked" in first
    assert any("key-missing" in line for line in rest) and any("not-a-member" in line for line in rest)
