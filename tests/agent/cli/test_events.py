"""`events` on the command line: once, and following a real agent over its restart."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from sse_starlette import ServerSentEvent

from agent.bootstrap import init
from agent.cli.events import Sent, messages

Run = Callable[..., Result]


def event(cursor: int, kind: str = "edit", message: str = "n1 changed defaults", **more: Any) -> dict[str, Any]:
    return {"cursor": cursor, "at": "2026-07-03T12:00:00Z", "kind": kind, "message": message} | more


def page(*events: dict[str, Any], gap: bool = False) -> dict[str, Any]:
    newest = events[-1]["cursor"] if events else 0
    return {"events": list(events), "next": newest, "gap": gap, "newest": newest}


# -- once -------------------------------------------------------------------------------------------------------------


def test_the_newest_events_are_shown_line_by_line(run: Run, fake_agent: Any) -> None:
    fake_agent.answers["/v1/events?limit=100"] = page(event(3), event(4, "conflict-opened", "x\x1b[2J\ny"))
    result = run("events")
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.splitlines() == [
        "     3  2026-07-03T12:00:00Z  edit               n1 changed defaults",
        "     4  2026-07-03T12:00:00Z  conflict-opened    x\\x1b[2J y",
    ]


def test_a_gap_is_told_beside_the_events(run: Run, fake_agent: Any) -> None:
    fake_agent.answers["/v1/events?since=7&limit=5"] = body = page(event(30, node="n2"), gap=True)
    for output in ("table", "json", "tsv"):
        result = run("events", "--since", "7", "--limit", "5", "-o", output)
        assert result.exit_code == 0 and "no longer kept" in result.stderr
    assert json.loads(run("events", "--since", "7", "--limit", "5", "--json").stdout) == body
    lines = run("events", "--since", "7", "--limit", "5", "-o", "tsv").stdout.splitlines()
    assert [line.split("\t") for line in lines] == [
        ["cursor", "at", "kind", "node", "message"],
        ["30", "2026-07-03T12:00:00Z", "edit", "n2", "n1 changed defaults"],
    ]


def test_a_cursor_beyond_the_newest_is_another_logs(run: Run, fake_agent: Any) -> None:
    fake_agent.answers["/v1/events?since=31&limit=100"] = page(event(29), event(30), gap=True)
    result = run("events", "--since", "31")
    assert result.exit_code == 0 and result.stderr == "warning: this log has no such cursor: shown from its beginning\n"
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["29", "30"]


@pytest.mark.parametrize("text", ["abc", "-1", "1.5", "", "\u0663", "9" * 16])
def test_what_is_no_cursor_is_refused(run: Run, fake_agent: Any, text: str) -> None:
    result = run("events", f"--since={text}")
    assert result.exit_code == 2 and "is no cursor" in result.stderr and not fake_agent.requests


def test_no_events(run: Run, fake_agent: Any) -> None:
    fake_agent.answers["/v1/events?limit=100"] = page()
    assert run("events").stderr == "no events\n"


# -- the stream's form ------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1)


@given(
    st.lists(st.tuples(st.integers(0, 2**53), TEXT, st.lists(TEXT, min_size=1, max_size=3)), max_size=5), st.sampled_from(["\n", "\r\n"])
)
def test_a_stream_is_read_as_it_was_written(sent: list[tuple[int, str, list[str]]], sep: str) -> None:
    encoded = b": alive" + sep.encode() * 2
    for cursor, kind, lines in sent:
        encoded += ServerSentEvent("\n".join(lines), event=kind, id=str(cursor), sep=sep).encode()
        encoded += ServerSentEvent(comment="alive", sep=sep).encode()
    found = [each for each in messages(encoded.split(b"\n")) if each.kind]
    assert [(each.id, each.data) for each in found] == [(str(cursor), "\n".join(lines)) for cursor, _, lines in sent]
    assert all(each.kind for each in found)


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=20))
def test_no_stream_breaks_the_reader(lines: list[bytes]) -> None:
    assert all(isinstance(each, Sent) for each in messages(lines))


# -- following --------------------------------------------------------------------------------------------------------


class Follower:
    """A `pathmesh events --follow` that runs."""

    def __init__(self, socket: Path, *arguments: str) -> None:
        environment = {k: v for k, v in os.environ.items() if not re.match(r"PATHMESH_|NO_COLOR", k)} | {"PATHMESH_SOCKET": str(socket)}
        command = [sys.executable, "-m", "agent.cli", "events", "--follow", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: queue.Queue[str] = queue.Queue()
        self.messages: queue.Queue[str] = queue.Queue()
        streams = ((self.process.stdout, self.lines), (self.process.stderr, self.messages))
        self.threads = [threading.Thread(target=_pump, args=pair) for pair in streams]
        for thread in self.threads:
            thread.start()

    def next(self) -> str:
        return self.lines.get(timeout=20)

    def said(self) -> str:
        return self.messages.get(timeout=20)

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(20)
        for thread in self.threads:
            thread.join(20)
        return status


def _pump(stream: Any, lines: "queue.Queue[str]") -> None:
    with stream:
        for line in stream:
            lines.put(line.rstrip("\n"))


@contextmanager
def following(socket: Path, *arguments: str) -> Iterator[Follower]:
    follower = Follower(socket, *arguments)
    try:
        yield follower
    finally:
        if follower.process.poll() is None:
            follower.end()


def note(node: Any, message: str) -> None:
    node.call(lambda: node.node.events.note("alarm", message, code="test"))


def followed(node: Any, count: int = 1) -> None:
    end = time.monotonic() + 20
    while node.node.events.streams < count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_following_goes_on_over_a_restart_of_the_agent_without_a_gap(tmp_path: Path, live_node: Any, settings_in: Any) -> None:
    settings = settings_in(tmp_path)
    init(settings, "n1", "san")
    with live_node(settings) as node:
        note(node, "before")
        follower = Follower(settings.api.socket, "-o", "tsv")
        assert follower.next() == "cursor\tat\tkind\tnode\tmessage"
        followed(node)
        note(node, "one")
        assert follower.next().endswith("alarm\t\tone"), "what was before is not shown"
    try:
        assert "trying again" in follower.said()
        with live_node(settings) as node:
            assert follower.next().endswith("the agent of n1 stopped")
            assert follower.next().endswith("the agent of n1 started")
            note(node, "two")
            assert follower.next().endswith("alarm\t\ttwo")
            assert follower.end() == 0
        assert follower.lines.empty()
    finally:
        if follower.process.poll() is None:
            follower.end()


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_following_from_a_cursor_shows_what_was(lone: Any, arguments: tuple[str, ...]) -> None:
    newest = lone.get("/v1/events")["newest"]
    note(lone, "first")
    with following(lone.settings.api.socket, "--since", str(newest), *arguments) as follower:
        line = follower.next()
        assert json.loads(line)["message"] == "first" if arguments else line.endswith("alarm              first")
        note(lone, "second")
        assert "second" in follower.next()
        assert follower.end() == 0


def test_a_cursor_of_another_log_is_told(lone: Any) -> None:
    with following(lone.settings.api.socket, "--since", "99999999") as follower:
        assert "no such cursor" in follower.said() and follower.next().endswith("the agent of n1 started")


def test_without_an_agent_it_ends_at_once(tmp_path: Path) -> None:
    with following(tmp_path / "none.sock") as follower:
        assert follower.process.wait(20) == 3 and "does not exist" in follower.said()


def test_a_refusal_at_the_first_try_ends_it(lone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone.node.events, "streams", 1_000)
    with following(lone.settings.api.socket) as follower:
        assert follower.process.wait(20) == 1 and "follow the events already" in follower.said()
