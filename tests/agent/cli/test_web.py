"""`web-login`: a link, and how to use it; `web-sessions`: who has the page open, and the end of that."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
URL = "http://127.0.0.1:7981/login#abc"


@pytest.fixture
def linked(fake_agent: Any) -> Any:
    fake_agent.answers |= {"/v1/web/links": {"url": URL, "expires_seconds": 300}, "/v1/whoami": {"node": "n1"}}
    return fake_agent


def test_the_link_is_all_that_is_on_standard_output(run: Run, linked: Any) -> None:
    result = run("web-login")
    assert result.exit_code == 0 and result.stdout == f"{URL}\n"
    assert "once" in result.stderr and "5 minutes" in result.stderr and "ssh -L 7981:127.0.0.1:7981 n1" in result.stderr
    assert run("web-login", "--quiet").stderr == ""
    assert linked.writes() == [("POST", "/v1/web/links")] * 2


def test_for_programs(run: Run, linked: Any) -> None:
    assert json.loads(run("web-login", "--json").stdout) == {"url": URL, "expires_seconds": 300}
    assert run("web-login", "-o", "tsv").stdout == f"url\texpires_seconds\n{URL}\t300\n"


def test_a_port_that_only_root_may_take_has_another_one_at_the_tunnels_beginning(run: Run, linked: Any) -> None:
    linked.answers["/v1/web/links"] = {"url": "http://127.0.0.1:480/login#abc", "expires_seconds": 300}
    told = run("web-login").stderr
    assert "ssh -L 7980:127.0.0.1:480 n1" in told and "port 7980 instead of 480" in told


ENTRY = {"label": "3f9a02c1", "uid": 1000, "user": "alice", "began": "2026-07-03T12:46:00Z", "expires": "2026-07-04T00:46:00Z"}
OTHER = {**ENTRY, "label": "77aa0001", "user": "evil\x1b[2J"}


@pytest.fixture
def opened(fake_agent: Any) -> Any:
    fake_agent.answers |= {"/v1/web/sessions": {"sessions": [ENTRY, OTHER]}}
    return fake_agent


def test_open_sessions_are_listed(run: Run, opened: Any) -> None:
    lines = run("web-sessions").stdout.splitlines()
    assert lines[0].split() == ["LABEL", "USER", "BEGAN", "EXPIRES"]
    assert lines[1].split() == ["3f9a02c1", "alice", "2026-07-03T12:46:00Z", "2026-07-04T00:46:00Z"]
    assert "\x1b" not in lines[2]
    assert json.loads(run("web-sessions", "--json").stdout) == {"sessions": [ENTRY, OTHER]}
    assert run("web-sessions", "-o", "tsv").stdout.splitlines()[1] == "\t".join(
        str(ENTRY[n]) for n in ("label", "user", "began", "expires")
    )
    opened.answers["/v1/web/sessions"] = {"sessions": []}
    nobody = run("web-sessions")
    assert nobody.exit_code == 0 and nobody.stdout == "" and "no web sessions" in nobody.stderr
    assert opened.writes() == []


def test_one_is_ended_or_all(run: Run, opened: Any) -> None:
    opened.answers |= {"/v1/web/sessions/3f9a02c1": {"ended": [ENTRY]}, "/v1/web/sessions": {"ended": [ENTRY, OTHER]}}
    one = run("web-sessions", "--end", "3f9a02c1")
    assert one.exit_code == 0 and one.stdout == "" and one.stderr == "session 3f9a02c1 of alice has ended\n"
    assert "77aa0001" in run("web-sessions", "--end-all").stderr
    assert json.loads(run("web-sessions", "--end-all", "--json").stdout) == {"ended": [ENTRY, OTHER]}
    opened.answers["/v1/web/sessions"] = {"ended": []}
    assert "no session" in run("web-sessions", "--end-all").stderr
    assert opened.writes() == [("DELETE", "/v1/web/sessions/3f9a02c1"), *[("DELETE", "/v1/web/sessions")] * 3]
    assert run("web-sessions", "--end", "x", "--end-all").exit_code == 2
    assert run("web-sessions", "--end", "no-such").exit_code == 1
