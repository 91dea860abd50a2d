"""Commands around the membership: maintenance, who sees whom, leaving, the feature level."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


def answers(fake_agent: Any, path: str, body: Any) -> None:
    """What the agent says to this, and to the same as a dry run."""
    fake_agent.answers |= {path: body, f"{path}?dry_run=true": body}


def row(name: str, **sees: str) -> dict[str, Any]:
    return {"node": name, "state": "online", "age_seconds": 0.1, "unheard": [], "unreached": [], "sees": sees}


REACH = {
    "nodes": [row("n1", n1="self", n2="ok"), row("n2", n1="unheard", n2="self")],
    "one_way": [{"hears": "n1", "unheard": "n2"}],
    "cut": [],
    "problems": ["n1 hears n2, n2 does not hear n1"],
}
LEVEL = {"level": 1, "highest": 1, "members": [{"name": "n1", "level": 2}, {"name": "n2", "level": None}]}


def test_maintenance_begins_and_ends(run: Run, fake_agent: Any) -> None:
    found = {"reason": "HBA", "since": "2026-07-03T12:46:00Z", "expires": "2026-07-03T14:46:00Z"}
    answers(fake_agent, "/v1/members/n2/maintenance", {"name": "n2", "maintenance": found, "edit": "aa:1", "dry_run": False})
    result = run("member", "maintenance", "n2", "on", "--expires", "2h", "--reason", "HBA")
    assert (result.exit_code, result.stderr) == (0, "maintenance of n2 is on until 2026-07-03T14:46:00Z\n")
    assert fake_agent.requests == [("PUT", "/v1/members/n2/maintenance")]
    assert fake_agent.bodies[-1] == {"on": True, "expires_seconds": 7200, "reason": "HBA"}
    assert json.loads(run("member", "maintenance", "n2", "on", "--json").stdout)["maintenance"] == found
    answers(fake_agent, "/v1/members/n2/maintenance", {"name": "n2", "maintenance": None, "edit": None, "dry_run": False})
    assert run("member", "maintenance", "n2", "off").stderr == "n2 is not in maintenance: nothing to change\n"
    assert "nothing was written" in run("member", "maintenance", "n2", "off", "--dry-run").stderr
    assert fake_agent.requests[-1] == ("PUT", "/v1/members/n2/maintenance?dry_run=true")


def test_an_end_has_no_expiry(run: Run, fake_agent: Any) -> None:
    result = run("member", "maintenance", "n2", "off", "--expires", "2h")
    assert result.exit_code == 2 and fake_agent.requests == []


def test_members_in_maintenance_are_marked(run: Run, fake_agent: Any) -> None:
    entry = {"name": "n2", "role": "editor", "state": "joined", "liveness": "offline", "endpoints": [], "actor": "aa", "age_seconds": None}
    fake_agent.answers["/v1/members"] = {"members": [{**entry, "maintenance": {"reason": ""}}]}
    assert "joined (maintenance)" in run("member", "ls").stdout
    assert "\tjoined\t" in run("member", "ls", "-o", "tsv").stdout


def test_who_sees_whom_is_a_matrix(run: Run, fake_agent: Any) -> None:
    fake_agent.answers["/v1/members/reach"] = REACH
    result = run("member", "reach")
    assert result.stdout.splitlines() == ["NODE  n1       n2", "n1    -        ok", "n2    unheard  -"]
    assert result.stderr == "n1 hears n2, n2 does not hear n1\n"
    assert run("member", "reach", "-o", "tsv").stdout.splitlines()[1:] == ["n1\tn1\tself", "n1\tn2\tok", "n2\tn1\tunheard", "n2\tn2\tself"]
    assert json.loads(run("member", "reach", "--json").stdout) == REACH


def test_a_large_cluster_shows_the_exceptions_alone(run: Run, fake_agent: Any) -> None:
    names = [f"n{n:02}" for n in range(40)]
    nodes = [row(a, **{b: "self" if a == b else "cut" if (a, b) == ("n03", "n07") else "ok" for b in names}) for a in names]
    fake_agent.answers["/v1/members/reach"] = {"nodes": nodes, "problems": []}
    assert run("member", "reach").stdout.splitlines() == ["NODE  DOES NOT SEE", "n03   n07 (cut)"]
    assert len(run("member", "reach", "-v").stdout.splitlines()) == 41
    fake_agent.answers["/v1/members/reach"] = {"nodes": [row(a, **dict.fromkeys(names, "ok")) for a in names], "problems": []}
    result = run("member", "reach")
    assert (result.stdout, result.stderr) == ("", "everybody sees everybody\n")


def test_leaving(run: Run, fake_agent: Any) -> None:
    errors = [{"code": "in-use", "message": "LUN a is mounted", "hint": "it goes when it is free"}]
    purged = {"state": "teardown", "errors": errors}
    answer = {"left": "n1", "known_by": ["n2", "n3"], "purged": purged, "warnings": ["this is the only admin"], "dry_run": False}
    answers(fake_agent, "/v1/leave", answer)
    result = run("leave", "--purge", "--timeout", "7")
    assert result.exit_code == 0 and fake_agent.bodies[-1] == {"purge": True, "wait_seconds": 7}
    assert result.stderr.splitlines() == [
        "warning: this is the only admin",
        "warning: LUN a is mounted",
        "  hint: it goes when it is free",
        "n1 has left the cluster (known to n2,n3); now stop its agent",
    ]
    assert json.loads(run("leave", "--json").stdout)["left"] == "n1"
    assert fake_agent.bodies[-1] == {"purge": False, "wait_seconds": 20}
    assert "would leave" in run("leave", "--dry-run").stderr and fake_agent.requests[-1] == ("POST", "/v1/leave?dry_run=true")


def test_the_level(run: Run, fake_agent: Any) -> None:
    answers(fake_agent, "/v1/cluster/level", LEVEL)
    result = run("cluster", "level")
    assert result.stdout.splitlines() == ["MEMBER  SPEAKS", "n1      2", "n2      -"]
    assert "at level 1" in result.stderr and fake_agent.requests == [("GET", "/v1/cluster/level")]
    assert run("cluster", "level", "--raise", "2", "--reason", "all new").stderr == "the level is 2 now\n"
    assert fake_agent.bodies[-1] == {"level": 2, "reason": "all new"} and fake_agent.requests[-1] == ("PUT", "/v1/cluster/level")
    assert "nothing was written" in run("cluster", "level", "--raise", "2", "--dry-run").stderr
    assert json.loads(run("cluster", "level", "--json").stdout) == LEVEL


@pytest.mark.parametrize("wanted", ["0", "x", "-1"])
def test_a_level_is_a_number(run: Run, fake_agent: Any, wanted: str) -> None:
    assert run("cluster", "level", "--raise", wanted).exit_code == 2 and fake_agent.requests == []
