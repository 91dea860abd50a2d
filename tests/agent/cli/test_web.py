"""`web-login`: a link, and how to use it."""

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
