"""`config history`, `revert` and `rollout` on the command line."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]

LUN_A = "3624a9370e92ace0b12e941bf000cb4d5"
KEY = f"wwid/{LUN_A}"
ACTOR = "9f3a21c04b6d4f0e8a2b7c1d5e6f7081"
EDIT = f"{ACTOR}:17"
QUOTED = EDIT.replace(":", "%3A")


def change(key: str, action: str, *options: tuple[str, str | None, str | None], known: bool = True) -> dict[str, Any]:
    listed = [{"option": name, "before": before, "after": after} for name, before, after in options]
    return {"key": key, "action": action, "state": "applied", "winner": True, "before_known": known, "options": listed}


def entry(number: int = 17, *changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "edit": f"{ACTOR}:{number}",
        "kind": "change",
        "author": "n1",
        "wall": "2026-07-03T12:00:00Z",
        "reason": "release 12",
        "state": "applied",
        "late": False,
        "keys": [c["key"] for c in changes],
        "more_keys": 0,
        "changes": list(changes),
        "concurrent_with": [],
    } | more


def answers(fake_agent: Any, *entries: dict[str, Any], query: str = "?limit=50", following: str | None = None) -> dict[str, Any]:
    body = {"key": None, "edits": list(entries), "next": following}
    fake_agent.answers[f"/v1/history{query}"] = body
    return body


def test_each_edit_has_a_line_and_its_changes_below(run: Run, fake_agent: Any) -> None:
    answers(
        fake_agent,
        entry(17, change(KEY, "changed", ("alias", "a", "b"), ("comment", "x", None)), change("defaults", "removed", ("a", "1", None))),
        entry(16, change(KEY, "added", ("alias", None, "a")), state="superseded", reason="", concurrent_with=[f"0badcafe{ACTOR[8:]}:3"]),
        entry(15, change("storage/s", "set", ("type", None, "lvm"), known=False), state="conflict", late=True, kind="late", more_keys=9),
        entry(14, change("defaults", "changed", ("polling-interval", "5", "6")), kind="resolve", reason="\x1b[2Jx\ny"),
    )
    result = run("config", "history")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        '9f3a21c0:17  2026-07-03T12:00:00Z  n1: "release 12"  applied',
        f"    {KEY} changed: alias a -> b, comment x -> (unset)",
        "    defaults removed",
        "9f3a21c0:16  2026-07-03T12:00:00Z  n1  superseded",
        f"    {KEY} added: alias a",
        "    concurrent with 0badcafe:3",
        '9f3a21c0:15  2026-07-03T12:00:00Z  n1: "release 12"  conflict, late',
        "    storage/s set (what was before is not known): type lvm",
        "    and 9 more sections",
        '9f3a21c0:14  2026-07-03T12:00:00Z  n1: "\\x1b[2Jx y"  applied, resolve',
        "    defaults changed: polling-interval 5 -> 6",
    ]


def test_texts_are_shown_by_the_lines_that_differ(run: Run, fake_agent: Any) -> None:
    text = "".join(f"line {n}\n" for n in range(40))
    answers(fake_agent, entry(17, change("overrides", "changed", ("text", text, text.replace("line 20\n", "line twenty\n")))))
    lines = run("config", "history").stdout.splitlines()
    assert lines[1:] == [
        "    overrides changed",
        *(f"      {x}" for x in ("@@ -20,3 +20,3 @@", " line 19", "-line 20", "+line twenty", " line 21")),
    ]


def test_many_changes_are_cut_unless_all_are_asked_for(run: Run, fake_agent: Any) -> None:
    changes = [change(f"wwid/3{n:032x}", "added", ("alias", None, f"a{n}")) for n in range(20)]
    answers(fake_agent, entry(17, *changes))
    lines = run("config", "history").stdout.splitlines()
    assert len(lines) == 9 and lines[-1] == "    and 13 more lines: -v shows them"
    assert len(run("config", "history", "-v").stdout.splitlines()) == 21


def test_of_a_member_its_keys_are_shown_only_if_all_is_asked_for(run: Run, fake_agent: Any) -> None:
    options = ("actor", "curve-key", "endpoint", "role", "signing-key", "state")
    body = answers(fake_agent, entry(17, change("member/n3", "added", *((name, None, f"its-{name}") for name in options))))
    assert run("config", "history").stdout.splitlines()[1:] == [
        "    member/n3 added: endpoint its-endpoint, role its-role, state its-state"
    ]
    assert all(f"{name} its-{name}" in run("config", "history", "-v").stdout for name in options)
    assert json.loads(run("config", "history", "--json").stdout) == body


def test_as_json_and_tsv(run: Run, fake_agent: Any) -> None:
    body = answers(fake_agent, entry(17, change(KEY, "changed", ("alias", "a\tb", None)), change("defaults", "unchanged")))
    assert json.loads(run("config", "history", "--json").stdout) == body
    lines = run("config", "history", "-o", "tsv").stdout.splitlines()
    assert lines[0].split("\t") == [
        "edit", "wall", "author", "kind", "state", "late", "reason", "key", "action", "option", "before", "after",
    ]  # fmt: skip
    assert lines[1].split("\t") == [
        EDIT, "2026-07-03T12:00:00Z", "n1", "change", "applied", "no", "release 12", KEY, "changed", "alias", "a\\tb", "",
    ]  # fmt: skip
    assert len(lines) == 3


def test_pages_are_put_together_up_to_the_limit(run: Run, fake_agent: Any) -> None:
    answers(fake_agent, entry(17), entry(16), query="?key=vmpool&limit=3", following="5.aa.1")
    answers(fake_agent, entry(15), query="?key=vmpool&limit=1&cursor=5.aa.1", following="4.aa.1")
    result = run("config", "history", "vmpool", "--limit", "3")
    assert [line[:11] for line in result.stdout.splitlines()] == ["9f3a21c0:17", "9f3a21c0:16", "9f3a21c0:15"]
    assert result.stderr == "there are older edits: --limit 6 shows more\n"


def test_no_edits(run: Run, fake_agent: Any) -> None:
    answers(fake_agent)
    result = run("config", "history")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no edits\n")


# -- revert -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def revertable(fake_agent: Any) -> Any:
    fake_agent.document = {"defaults": {"polling-interval": "5"}}
    fake_agent.answers[f"/v1/history/{QUOTED}"] = entry() | {"digest": fake_agent.digest}
    written = {
        "digest": "d" * 64,
        "overrides_digest": "e" * 64,
        "edit": f"{ACTOR}:18",
        "changed": ["defaults"],
        "warnings": [],
        "diff": "-x\n",
        "dry_run": False,
    }
    fake_agent.answers[f"/v1/history/{QUOTED}/revert"] = written
    fake_agent.answers[f"/v1/history/{QUOTED}/revert?dry_run=true"] = written | {"edit": None, "dry_run": True}
    return fake_agent


def test_a_revert_writes_with_the_digest_that_it_read(run: Run, revertable: Any) -> None:
    result = run("config", "revert", EDIT, "--reason", "not ready")
    assert result.exit_code == 0 and result.stderr == f"changed defaults (edit 9f3a21c0:18, digest {'d' * 12})\n"
    assert revertable.requests == [("GET", f"/v1/history/{QUOTED}"), ("POST", f"/v1/history/{QUOTED}/revert")]
    assert revertable.bodies == [{"reason": "not ready"}]


def test_a_revert_with_a_digest_reads_nothing_and_a_dry_run_shows_the_difference(run: Run, revertable: Any) -> None:
    result = run("config", "revert", EDIT, "--digest", "a" * 64, "--dry-run")
    assert result.exit_code == 0 and result.stdout == "-x\n" and "nothing was written" in result.stderr
    assert revertable.requests == [("POST", f"/v1/history/{QUOTED}/revert?dry_run=true")]


# -- rollout ----------------------------------------------------------------------------------------------------------


def standing(node: str, state: str, code: str | None = None, message: str | None = None) -> dict[str, Any]:
    return {"node": node, "state": state, "code": code, "message": message, "reporter": "fresh", "age_seconds": 0.4}


def rollout(*nodes: dict[str, Any]) -> dict[str, Any]:
    counts = {state: sum(n["state"] == state for n in nodes) for state in ("failed", "unknown", "waiting", "committed", "applied")}
    return {
        "edit": EDIT,
        "author": "n1",
        "wall": "2026-07-03T12:00:00Z",
        "reason": "release 12",
        "keys": [KEY],
        "hosts": True,
        "done": all(n["state"] in ("applied", "not-applicable") for n in nodes),
        "counts": counts,
        "nodes": list(nodes),
    }


def test_a_rollout_that_is_done_is_status_0(run: Run, fake_agent: Any) -> None:
    fake_agent.answers["/v1/rollout"] = rollout(standing("n1", "applied"), standing("n2", "not-applicable"))
    result = run("config", "rollout")
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.splitlines() == [
        'edit 9f3a21c0:17  n1, 2026-07-03T12:00:00Z: "release 12"',
        "NODE  STATE           HEARD  AGE    WHY",
        "n1    applied         fresh  0.4 s  -",
        "n2    not-applicable  fresh  0.4 s  -",
    ]


def test_a_rollout_that_is_not_done_is_status_1_and_names_the_fault(run: Run, fake_agent: Any) -> None:
    fake_agent.answers[f"/v1/rollout/{QUOTED}"] = rollout(
        standing("n1", "applied"), standing("n2", "failed", "not-installed", "multipathd is not there"), standing("n3", "waiting")
    )
    result = run("config", "rollout", EDIT, "-o", "tsv")
    assert result.exit_code == 1 and result.stderr == "2 of 3 nodes have not applied it\n"
    assert result.stdout.splitlines()[2].split("\t") == [EDIT, "n2", "failed", "not-installed", "multipathd is not there", "fresh", "0.4"]
    assert "not-installed: multipathd is not there" in run("config", "rollout", EDIT).stdout
    assert json.loads(run("config", "rollout", EDIT, "--json").stdout)["counts"]["failed"] == 1


class Steps(dict[str, Any]):
    """Answers a path with one body after another; the last one stays."""

    def __init__(self, path: str, *bodies: Any) -> None:
        super().__init__({path: bodies[0]})
        self.path, self.bodies = path, list(bodies)

    def __getitem__(self, path: str) -> Any:
        if path == self.path and len(self.bodies) > 1:
            return self.bodies.pop(0)
        return self.bodies[-1] if path == self.path else super().__getitem__(path)


def test_waiting_ends_when_it_is_done_and_shows_the_steps_if_asked(run: Run, fake_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.cli.history.LOOK_SECONDS", 0.01)
    path = f"/v1/rollout/{QUOTED}"
    bodies = [rollout(standing("n1", state)) for state in ("waiting", "committed", "committed", "applied")]
    for arguments, tables in ((("--wait", "5"), 1), (("--wait",), 1), (("--watch",), 3)):
        fake_agent.answers = Steps(path, *bodies)
        result = run("config", "rollout", EDIT, *arguments)
        assert result.exit_code == 0 and result.stdout.count("NODE") == tables, result.stdout
        assert result.stdout.splitlines()[-1].startswith("n1    applied")


def test_waiting_ends_when_the_time_is_up_and_when_an_apply_fails(run: Run, fake_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.cli.history.LOOK_SECONDS", 0.01)
    fake_agent.answers[f"/v1/rollout/{QUOTED}"] = rollout(standing("n1", "waiting"))
    result = run("config", "rollout", EDIT, "--wait", "0.2")
    assert result.exit_code == 1 and len(fake_agent.requests) > 2
    fake_agent.answers = Steps(f"/v1/rollout/{QUOTED}", rollout(standing("n1", "committed")), rollout(standing("n1", "failed")))
    fake_agent.requests.clear()
    assert run("config", "rollout", EDIT, "--wait", "3600").exit_code == 1
    assert len(fake_agent.requests) <= 3
