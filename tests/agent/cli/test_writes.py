"""Writes: the way of the digest, refusals, dry runs, and what is told of the outcome."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.writes import Duration, assignments

Run = Callable[..., Result]

LUN_A = "3624a9370e92ace0b12e941bf000cb4d5"
LUN_B = "360014050000000100004000800000000"
STALE = "0" * 64


@pytest.fixture
def two_luns(fake_agent: Any) -> Any:
    fake_agent.document = {
        "defaults": {"polling-interval": "5"},
        f"wwid/{LUN_A}": {"alias": "vmpool-a"},
        f"wwid/{LUN_B}": {"no-path-retry": "12"},
        "storage/san": {"type": "multipath"},
    }
    return fake_agent


def test_add_writes_with_the_digest_it_read(run: Run, fake_agent: Any) -> None:
    result = run("lun", "add", LUN_A, "--alias", "a", "--set", "no_path_retry=18", "expected-paths=8", "--reason", "why")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert re.fullmatch(rf"changed wwid/{LUN_A} \(edit 9f3a21c0:1, digest [0-9a-f]{{12}}\)\n", result.stderr)
    assert fake_agent.document == {f"wwid/{LUN_A}": {"alias": "a", "no-path-retry": "18", "expected-paths": "8"}}
    assert fake_agent.last_reason == "why"


def test_a_given_digest_is_used_without_reading(run: Run, fake_agent: Any) -> None:
    assert run("lun", "add", LUN_A, "--digest", fake_agent.digest).exit_code == 0
    assert [method for method, _ in fake_agent.requests] == ["POST"]


@pytest.mark.parametrize(
    "args",
    [
        ("lun", "add", "3600"),
        ("lun", "set", LUN_A, "alias=b"),
        ("lun", "unset", LUN_A, "alias"),
        ("lun", "rm", LUN_A),
        ("defaults", "set", "polling-interval=6"),
        ("defaults", "unset", "polling-interval"),
        ("storage", "add", "lvm", "x"),
        ("storage", "set", "san", "nodes=n1"),
        ("storage", "rm", "san"),
        ("config", "apply", "-"),
        ("overrides", "set", "-"),
        ("overrides", "clear"),
    ],
)
def test_a_stale_digest_is_status_4_and_changes_nothing(run: Run, two_luns: Any, args: tuple[str, ...]) -> None:
    before, overrides = two_luns.text, two_luns.overrides
    result = run(*args, "--digest", STALE, input="")
    assert result.exit_code == 4
    assert result.stderr.splitlines()[0] == "pathmesh: the configuration has changed"
    assert result.stderr.splitlines()[1].startswith("  hint: ")
    assert (two_luns.text, two_luns.overrides) == (before, overrides)
    assert len(two_luns.writes()) == 1


def test_a_change_between_reading_and_writing_is_refused_and_not_repeated(run: Run, two_luns: Any) -> None:
    two_luns.before_write = lambda fake: fake.document["defaults"].update({"polling-interval": "7"})
    result = run("defaults", "set", "polling-interval=6")
    assert result.exit_code == 4
    assert two_luns.document["defaults"] == {"polling-interval": "7"}
    assert len(two_luns.writes()) == 1


def test_set_and_unset_change_only_what_is_named(run: Run, two_luns: Any) -> None:
    assert run("lun", "set", LUN_A, "no_path_retry=3").exit_code == 0
    assert two_luns.document[f"wwid/{LUN_A}"] == {"alias": "vmpool-a", "no-path-retry": "3"}
    assert run("lun", "unset", LUN_A, "no_path_retry").exit_code == 0
    assert two_luns.document[f"wwid/{LUN_A}"] == {"alias": "vmpool-a"}
    assert run("defaults", "unset", "polling_interval").exit_code == 0
    assert "defaults" not in two_luns.document


def test_a_value_may_hold_blanks_and_equals_signs(run: Run, two_luns: Any) -> None:
    assert run("lun", "set", LUN_A, "comment=a b=c").exit_code == 0
    assert two_luns.document[f"wwid/{LUN_A}"]["comment"] == "a b=c"


def test_removing_several_is_one_edit_or_none(run: Run, two_luns: Any) -> None:
    failed = run("lun", "rm", LUN_A, "3600")
    assert failed.exit_code == 1
    assert failed.stderr == "pathmesh: there is no wwid/3600\n"
    assert f"wwid/{LUN_A}" in two_luns.document
    assert run("lun", "rm", LUN_A, LUN_B, LUN_A).exit_code == 0
    assert [key for key in two_luns.document if key.startswith("wwid/")] == []
    assert two_luns.counter == 1


def test_a_dry_run_shows_the_difference_and_writes_nothing(run: Run, two_luns: Any) -> None:
    before = two_luns.text
    result = run("lun", "set", LUN_A, "alias=new", "--dry-run")
    assert result.exit_code == 0
    assert "-\talias vmpool-a\n+\talias new\n" in result.stdout
    assert result.stderr == "dry run: this would change it, nothing was written\n"
    assert two_luns.text == before
    nothing = run("lun", "set", LUN_A, "alias=vmpool-a", "--dry-run")
    assert nothing.stderr == "dry run: nothing would change\n"


def test_no_change_is_said(run: Run, two_luns: Any) -> None:
    result = run("lun", "set", LUN_A, "alias=vmpool-a")
    assert (result.exit_code, result.stderr) == (0, "nothing to change\n")


def test_verbose_shows_the_difference_of_a_write(run: Run, two_luns: Any) -> None:
    assert "+\talias new\n" in run("lun", "set", LUN_A, "alias=new", "-v").stdout


def test_warnings_are_shown_and_do_not_refuse(run: Run, two_luns: Any) -> None:
    result = run("lun", "set", LUN_A, "no-path-retry=queue")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: wwid/{LUN_A} no-path-retry: processes hang\n")


def test_a_refused_edit_lists_its_problems_with_hints(run: Run, two_luns: Any) -> None:
    result = run("lun", "set", LUN_A, "no-path-retry=banana")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "pathmesh: the edit is refused",
        f"error: wwid/{LUN_A} no-path-retry: expected fail, queue or a number",
        "  hint: queue hangs when all paths are gone",
    ]


def test_an_open_conflict_is_status_4(run: Run, two_luns: Any) -> None:
    two_luns.conflicts = [{"key": f"wwid/{LUN_A}", "siblings": []}]
    result = run("lun", "set", LUN_A, "alias=x")
    assert result.exit_code == 4
    assert "pathmesh resolve" in result.stderr
    assert run("lun", "set", LUN_B, "alias=x").exit_code == 0


def test_something_that_exists_is_a_failure_and_no_conflict(run: Run, two_luns: Any) -> None:
    result = run("lun", "add", LUN_A)
    assert (result.exit_code, result.stderr) == (1, f"pathmesh: wwid/{LUN_A} exists already\n  hint: change it with `pathmesh lun set`\n")
    storage = run("storage", "add", "lvm", "san")
    assert (storage.exit_code, storage.stderr.splitlines()[-1]) == (1, "  hint: change it with `pathmesh storage set`")


def test_an_alias_stands_for_its_wwid(run: Run, two_luns: Any) -> None:
    assert run("lun", "set", "vmpool-a", "no-path-retry=3").exit_code == 0
    assert two_luns.document[f"wwid/{LUN_A}"] == {"alias": "vmpool-a", "no-path-retry": "3"}
    assert run("lun", "unset", "vmpool-a", "no-path-retry", "--digest", two_luns.digest).exit_code == 0
    assert two_luns.document[f"wwid/{LUN_A}"] == {"alias": "vmpool-a"}
    assert run("lun", "rm", "vmpool-a", LUN_A, LUN_B).exit_code == 0
    assert [key for key in two_luns.document if key.startswith("wwid/")] == []


def test_a_word_that_is_no_lun_is_refused_by_its_own_name(run: Run, two_luns: Any) -> None:
    result = run("lun", "set", "vmpool-z", "no-path-retry=3")
    assert (result.exit_code, result.stderr) == (1, "pathmesh: there is no wwid/vmpool-z\n")


def test_a_wwid_goes_before_an_alias_of_the_same_name(run: Run, two_luns: Any) -> None:
    two_luns.document[f"wwid/{LUN_B}"] = {"alias": LUN_A}
    assert run("lun", "rm", LUN_A).exit_code == 0
    assert f"wwid/{LUN_B}" in two_luns.document


def test_an_alias_of_several_luns_is_refused(run: Run, two_luns: Any) -> None:
    two_luns.document[f"wwid/{LUN_B}"] = {"alias": "vmpool-a"}
    result = run("lun", "rm", "vmpool-a")
    assert result.exit_code == 1
    assert LUN_A in result.stderr
    assert LUN_B in result.stderr
    assert two_luns.writes() == []


def test_a_lun_found_by_its_alias_is_guarded_by_the_state_it_was_found_in(run: Run, two_luns: Any) -> None:
    two_luns.before_write = lambda fake: fake.document[f"wwid/{LUN_A}"].update({"alias": "other"})
    assert run("lun", "rm", "vmpool-a").exit_code == 4
    assert f"wwid/{LUN_A}" in two_luns.document


def test_the_outcome_as_json_and_tsv(run: Run, two_luns: Any) -> None:
    body = json.loads(run("lun", "set", LUN_A, "alias=x", "--json").stdout)
    assert body["changed"] == [f"wwid/{LUN_A}"]
    assert body["digest"] == two_luns.digest
    lines = run("lun", "set", LUN_A, "alias=y", "-o", "tsv").stdout.splitlines()
    assert lines[0] == "dry_run\tedit\tdigest\toverrides_digest\tchanged"
    assert lines[1].split("\t")[2] == two_luns.digest


def test_the_digest_chain_of_a_script(run: Run, fake_agent: Any) -> None:
    first = json.loads(run("lun", "add", LUN_A, "--json").stdout)
    assert run("lun", "add", LUN_B, "--digest", first["digest"]).exit_code == 0
    assert run("lun", "rm", LUN_B, "--digest", first["digest"]).exit_code == 4


def test_storages(run: Run, two_luns: Any) -> None:
    assert run("storage", "add", "lvm", "san-lvm", "vgname=vm", f"base=san:{LUN_A}", "nodes=n1,n2").exit_code == 0
    assert two_luns.document["storage/san-lvm"] == {
        "type": "lvm",
        "vgname": "vm",
        "base": f"san:{LUN_A}",
        "nodes": "n1,n2",
    }
    assert run("storage", "set", "san-lvm", "vgname=other", "--delete", "nodes").exit_code == 0
    assert run("storage", "ls").stdout.splitlines()[2] == f"san-lvm  lvm        all    san:{LUN_A}  vgname=other"
    assert run("storage", "set", "san-lvm").exit_code == 2
    assert run("storage", "rm", "san-lvm", "san").exit_code == 0
    assert [key for key in two_luns.document if key.startswith("storage/")] == []


def test_overrides(run: Run, fake_agent: Any, tmp_path: Path) -> None:
    file = tmp_path / "o.conf"
    file.write_text("devices {\n}\n", encoding="utf-8")
    assert run("overrides", "set", str(file), "--reason", "because").exit_code == 0
    assert fake_agent.overrides == "devices {\n}\n"
    assert fake_agent.last_reason == "because"
    assert run("overrides", "show").stdout == "devices {\n}\n"
    assert json.loads(run("overrides", "show", "--json").stdout)["digest"] == fake_agent.overrides_digest
    assert run("overrides", "set", "-", "--dry-run", input="x").exit_code == 0
    assert fake_agent.overrides == "devices {\n}\n"
    assert run("overrides", "clear").exit_code == 0
    assert fake_agent.overrides == ""


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("devices {}", 0, "good\n"),
        (" bogus 1", 0, "warning: standard input:1:2: unknown keyword bogus\ngood, with remarks\n"),
        ("multipaths {}", 1, "error: standard input: multipaths belongs to the structured configuration\n"),
    ],
)
def test_checking_overrides(run: Run, text: str, status: int, message: str) -> None:
    result = run("overrides", "check", "-", input=text)
    assert (result.exit_code, result.stderr) == (status, message)


def test_overrides_show_the_digest_that_guards_them(run: Run, fake_agent: Any) -> None:
    for command in (("set", "-"), ("clear",)):
        result = run("overrides", *command, input="devices {\n}\n")
        assert f"digest {fake_agent.overrides_digest[:12]})" in result.stderr
        assert fake_agent.digest != fake_agent.overrides_digest or command == ("clear",)


def test_refused_overrides_name_the_file(run: Run, fake_agent: Any, tmp_path: Path) -> None:
    file = tmp_path / "o.conf"
    file.write_text("multipaths {}", encoding="utf-8")
    message = "line 1: multipaths belongs to the structured configuration"
    assert run("overrides", "set", str(file)).stderr == f"pathmesh: {file}: {message}\n"
    assert run("overrides", "set", "-", input="multipaths {}").stderr == f"pathmesh: standard input: {message}\n"
    assert run("overrides", "check", str(file)).stderr.startswith(f"error: {file}: multipaths")


def test_accepting_paths(run: Run, fake_agent: Any) -> None:
    result = run("lun", "accept", LUN_A, "--node", "n3", "--expires", "1d12h", "--reason", "switch gone")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == ["NODE  PATHS  EXPECTED NOW  NO LONGER EXPECTED", "n3    1      p1            p2"]
    assert fake_agent.bodies == [{"nodes": ["n3"], "reason": "switch gone", "expires_seconds": 129600}]
    assert fake_agent.writes() == [("POST", f"/v1/luns/{LUN_A}/accept")]
    result = run("lun", "accept", LUN_A)
    assert fake_agent.bodies[-1] == {"nodes": None, "expires_seconds": None}
    assert result.stderr == "n3: left out (cell-unknown)\n", "nobody takes two nodes for all"


def test_accepting_as_a_dry_run_writes_nothing(run: Run, fake_agent: Any) -> None:
    result = run("lun", "accept", LUN_A, "--node", "n2", "--dry-run")
    assert (result.exit_code, result.stdout.splitlines()[1].split()) == (0, ["n2", "1", "p1", "p2"])
    assert result.stderr == "dry run: nothing was written\n"
    assert fake_agent.writes() == [("POST", f"/v1/luns/{LUN_A}/accept?dry_run=true")]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_would_hide_a_failure_is_not_accepted(run: Run, fake_agent: Any, dry: tuple[str, ...]) -> None:
    result = run("lun", "accept", "nothing-usable", *dry)
    assert result.exit_code == 1 and "n2: no path of it is usable" in result.stderr


def test_the_paths_of_an_nvme_subsystem_are_accepted_by_its_nqn(run: Run, fake_agent: Any) -> None:
    assert run("lun", "accept", "nqn.2010-06.com.purestorage:flasharray.1", "--node", "n1").exit_code == 0
    assert fake_agent.writes() == [("POST", "/v1/luns/nqn.2010-06.com.purestorage%3Aflasharray.1/accept")]


def test_removing_a_member_as_a_dry_run_sends_no_write(run: Run, fake_agent: Any) -> None:
    result = run("member", "evict", "n2", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "dry run: n2 (admin, joined) would be removed, nothing was written\n")
    assert run("member", "retire", "n9", "--dry-run").exit_code == 1
    assert fake_agent.writes() == []


@pytest.mark.parametrize("args", [("member", "retire", "n2"), ("lun", "accept", LUN_A), ("resolve", "defaults", "--take", "1")])
def test_a_stale_digest_is_refused_where_the_api_is_guarded_otherwise(run: Run, fake_agent: Any, args: tuple[str, ...]) -> None:
    assert run(*args, "--digest", STALE).exit_code == 4
    assert fake_agent.writes() == []


def test_tokens(run: Run, fake_agent: Any) -> None:
    created = run("token", "create", "--ttl", "15m", "--uses", "2", "--role", "observer")
    assert created.stdout == "pm1.secret\n"
    assert "pathmesh token revoke t1" in created.stderr
    assert fake_agent.bodies == [{"ttl_seconds": 900, "uses": 2, "role": "observer"}]
    assert run("token", "ls").stdout.splitlines()[1] == "t1  observer  2          2026-07-03T13:46:00Z  open"
    assert run("token", "revoke", "t1").exit_code == 0
    assert fake_agent.tokens == []


def test_removing_members(run: Run, fake_agent: Any) -> None:
    assert run("member", "evict", "n2", "--reason", "stolen").exit_code == 0
    assert fake_agent.requests == [("DELETE", "/v1/members/n2?reason=stolen&evict=true")]
    gone = run("member", "retire", "n2")
    assert (gone.exit_code, gone.stderr) == (1, "pathmesh: no member n2\n")


def test_a_name_cannot_leave_its_path_segment(run: Run, fake_agent: Any) -> None:
    run("member", "retire", "../config?x=1")
    assert fake_agent.requests == [("DELETE", "/v1/members/..%2Fconfig%3Fx%3D1")]


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("7d", 604800), ("1w1d", 691200)])
def test_durations(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None) == seconds


@given(st.text(max_size=10))
def test_a_duration_is_positive_or_refused(text: str) -> None:
    try:
        assert Duration().convert(text, None, None) > 0
    except click.BadParameter:
        return


@given(st.lists(st.text(max_size=10), max_size=4))
def test_assignments_are_canonical_or_refused(words: list[str]) -> None:
    try:
        options = assignments(tuple(words))
    except click.UsageError:
        return
    assert len(options) == len(words)
    assert all(name and value and "_" not in name for name, value in options.items())
