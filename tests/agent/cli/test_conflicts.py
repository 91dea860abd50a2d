"""Conflicts: how they are shown, and how one is settled."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]

LUN_A = "3624a9370e92ace0b12e941bf000cb4d5"
KEY = f"wwid/{LUN_A}"
ONE = "9f3a21c04b6d4f0e8a2b7c1d5e6f7081:17"
TWO = "0badcafe4b6d4f0e8a2b7c1d5e6f7081:17"
GONE = "ffadcafe4b6d4f0e8a2b7c1d5e6f7081:3"


def sibling(dot: str, value: dict[str, str] | None, *, winner: bool = False) -> dict[str, Any]:
    wall = "2026-07-03T12:00:00Z"
    author = "n1" if dot == ONE else "n2"
    return {"dot": dot, "lamport": 5, "author": author, "wall": wall, "reason": "r 1", "value": value, "winner": winner}


@pytest.fixture
def conflicting(fake_agent: Any) -> Any:
    fake_agent.document = {KEY: {"alias": "b"}, "storage/s": {"type": "lvm", "vgname": "v"}}
    fake_agent.conflicts = [
        {"key": KEY, "siblings": [sibling(ONE, {"alias": "a"}), sibling(TWO, {"alias": "b"}, winner=True)]},
        {"key": "storage/s", "siblings": [sibling(ONE, {"type": "lvm", "vgname": "w"}), sibling(GONE, None)]},
        {"key": "overrides", "siblings": [sibling(ONE, {"text": "x\ny\n"}), sibling(TWO, None)]},
    ]
    return fake_agent


def test_none_is_status_0(run: Run) -> None:
    result = run("conflicts")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no conflicts\n")


def test_any_is_status_4_with_numbers_authors_and_values(run: Run, conflicting: Any) -> None:
    result = run("conflicts")
    assert result.exit_code == 4
    assert result.stdout.splitlines()[:6] == [
        KEY,
        '  1  9f3a21c0:17  by n1, 2026-07-03T12:00:00Z: "r 1"',
        "       alias a",
        '  2  0badcafe:17  by n2, 2026-07-03T12:00:00Z: "r 1"  applied',
        "       alias b",
        f"  settle it: pathmesh resolve {KEY} --take N",
    ]
    assert "       (removed)" in result.stdout.splitlines()


def test_as_json_and_tsv_it_is_status_4_too(run: Run, conflicting: Any) -> None:
    result = run("conflicts", "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout) == {"conflicts": conflicting.conflicts}
    result = run("conflicts", "-o", "tsv")
    assert result.exit_code == 4
    assert result.stdout.splitlines()[2] == f'{KEY}\t2\t{TWO}\tyes\tn2\t2026-07-03T12:00:00Z\tr 1\t{{"alias": "b"}}'


@pytest.mark.parametrize("take", ["1", "9f3a:17", ONE])
def test_taking_a_version_by_number_or_edit(run: Run, conflicting: Any, take: str) -> None:
    result = run("resolve", KEY, "--take", take, "--reason", "n1 is right")
    assert result.exit_code == 0
    assert conflicting.bodies == [{"dots": [ONE, TWO], "take": 1, "reason": "n1 is right"}]
    assert conflicting.document[KEY] == {"alias": "a"}
    assert conflicting.writes() == [("POST", f"/v1/conflicts/wwid%2F{LUN_A}/resolve")]
    assert f"changed {KEY}" in result.stderr


@pytest.mark.parametrize("take", ["0", "3", "x", "9f3a:18", ":17", "²"])
def test_a_version_that_is_not_there_is_a_usage_error(run: Run, conflicting: Any, take: str) -> None:
    result = run("resolve", KEY, "--take", take)
    assert result.exit_code == 2
    assert "expected 1 to 2, or one of 9f3a21c0:17, 0badcafe:17" in result.stderr
    assert conflicting.writes() == []


def test_a_key_without_a_conflict_is_said(run: Run, conflicting: Any) -> None:
    result = run("resolve", "defaults", "--take", "1")
    assert result.exit_code == 1
    assert result.stderr.startswith("pathmesh: defaults has no conflict\n")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        (KEY, "alias c\nno_path_retry 5\n", {"alias": "c", "no-path-retry": "5"}),
        (KEY, f"# mine\nwwid: {LUN_A}\n\talias c\n\tcomment a%3Ab\n\n", {"alias": "c", "comment": "a:b"}),
        (KEY, '{"alias": "c", "no_path_retry": "5"}', {"alias": "c", "no-path-retry": "5"}),
        (KEY, "null\n", None),
        ("storage/s", "vgname x\n", {"type": "lvm", "vgname": "x"}),
        ("storage/s", "multipath: s\n", {"type": "multipath"}),
        ("overrides", "devices {\n}\n", {"text": "devices {\n}\n"}),
    ],
)
def test_giving_a_value(run: Run, conflicting: Any, key: str, text: str, value: dict[str, str] | None) -> None:
    result = run("resolve", key, "--value", "-", input=text)
    assert result.exit_code == 0, result.stderr
    assert conflicting.bodies[0]["value"] == value


@pytest.mark.parametrize(
    ("key", "text", "status", "message"),
    [
        (KEY, "wwid: 3600\n\talias c\n", 2, f"the value is of wwid/3600, not of {KEY}"),
        (KEY, "alias a\nalias b\n", 1, "line 3"),
        (KEY, '{"alias": 3}', 2, "must map options to strings"),
        (KEY, '{"alias"', 2, "not valid JSON"),
    ],
)
def test_a_value_that_is_none_is_refused(run: Run, conflicting: Any, key: str, text: str, status: int, message: str) -> None:
    result = run("resolve", key, "--value", "-", input=text)
    assert result.exit_code == status
    assert message in result.stderr
    assert conflicting.writes() == []


def test_a_dry_run_is_passed_on(run: Run, conflicting: Any) -> None:
    assert run("resolve", KEY, "--take", "1", "--dry-run").exit_code == 0
    assert conflicting.writes()[0][1].endswith("/resolve?dry_run=true")
    assert conflicting.document[KEY] == {"alias": "b"}
