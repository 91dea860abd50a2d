"""Log lines, for people and for collectors."""

import json
from collections.abc import Iterator

import pytest
import structlog

from agent.logging import configure
from agent.settings import LogSettings


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings(format="json"))
    structlog.get_logger("agent").info("started", node="n1\nfake line")
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    found = json.loads(line)
    assert found | {"timestamp": ""} == {"event": "started", "node": "n1\nfake line", "level": "info", "timestamp": ""}
    assert found["timestamp"].endswith("Z")


def test_lines_for_people_have_no_colours_when_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogSettings())
    structlog.get_logger("agent").warning("careful", node="n1")
    assert "\x1b" not in (text := capsys.readouterr().err) and "careful" in text and "node=n1" in text


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_the_least_that_shows(capsys: pytest.CaptureFixture[str], level: str, shown: int) -> None:
    configure(LogSettings(level=level))
    log = structlog.get_logger("agent")
    for method in (log.debug, log.info, log.warning, log.error):
        method("x")
    assert len(capsys.readouterr().err.splitlines()) == shown


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_fault_shows_its_place_and_no_values(capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure(LogSettings(format=form))
    secret = "do-not-" + "show"
    try:
        raise ValueError(len(secret))
    except ValueError as fault:
        structlog.get_logger("agent").error("request failed", exc_info=fault)
    text = capsys.readouterr().err
    assert "ValueError: 11" in text and "test_logging.py" in text and "do-not-show" not in text
