"""Events through the API: pages, and streams that resume, beat, end with the agent, and drop who takes nothing."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api.events import HEARTBEAT_SECONDS
from agent.bootstrap import init
from agent.web.files import load_files
from gossip.vitals import STALE_MS
from scripts.cluster.nodes import wait_for
from store.limits import limit

A = "3624a9370e92ace0b12e941bf000cb4d5"


class Reader:
    """One stream, read by hand."""

    def __init__(self, node: Any, query: str = "", **headers: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(node.settings.api.socket))
        head = {"Host": "x", "Accept": "text/event-stream"} | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self.socket.sendall(f"GET /v1/events{query} HTTP/1.1\r\n{lines}\r\n".encode())
        self.text = ""

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def until(self, mark: str) -> str:
        """All that came, once it holds this."""
        while mark not in self.text:
            data = self.socket.recv(65536)
            assert data, f"ended without {mark!r}: {self.text[-300:]}"
            self.text += data.decode()
        return self.text

    def events(self) -> list[dict[str, Any]]:
        """What came so far."""
        return [json.loads(line.removeprefix("data: ")) for line in self.text.splitlines() if line.startswith("data: ")]

    def end(self) -> None:
        """Read until the connection ends."""
        while data := self.socket.recv(65536):
            self.text += data.decode()


def note(node: Any, *messages: str) -> None:
    """Let things happen."""
    node.call(lambda: [node.node.events.note("alarm", message, code="test") for message in messages])


def test_a_page_of_events(lone: Any) -> None:
    newest = lone.get("/v1/events")["newest"]
    note(lone, "one", "two", "three")
    body = lone.get(f"/v1/events?since={newest}&limit=2")
    assert [e["message"] for e in body["events"]] == ["one", "two"] and body["next"] == newest + 2 and body["gap"] is False
    assert body["newest"] == newest + 3
    assert body["events"][0].keys() == {"cursor", "at", "kind", "message", "code"}
    assert [e["message"] for e in lone.get(f"/v1/events?since={body['next']}")["events"]] == ["three"]
    assert [e["message"] for e in lone.get("/v1/events?limit=1")["events"]] == ["three"]
    assert lone.get(f"/v1/events?since={newest + 1000}")["gap"] is True


@pytest.mark.parametrize("query", ["?since=x", "?since=-1", "?limit=0", "?limit=100000", "?sinc=1"])
def test_a_question_that_makes_no_sense(lone: Any, query: str) -> None:
    assert lone.ask("GET", f"/v1/events{query}").status == 400
    assert lone.ask("GET", f"/v1/events{query}", headers={"accept": "text/event-stream"}).status == 400
    assert lone.ask("GET", "/v1/events", headers={"accept": "text/event-stream", "last-event-id": "x"}).status == 400


def test_a_write_and_a_cell_are_events(api: Any, map_cell: Any) -> None:
    newest = api.get("/v1/events")["newest"]
    edit = api.write("POST", "/v1/config/wwids", {"wwid": A, "reason": "new"}).json["edit"]
    api.observe(map_cell(A))
    wait_for("the cell is told", lambda: any(e["kind"] == "cell" for e in api.get(f"/v1/events?since={newest}")["events"]))
    events = api.get(f"/v1/events?since={newest}")["events"]
    assert [e["edit"] for e in events if e["kind"] == "edit"] == [edit]
    assert [(e["node"], e["id"], e["after"]) for e in events if e["kind"] == "cell"][-1] == ("n1", A, "healthy")


def test_a_stream_begins_now_or_where_it_is_told(lone: Any) -> None:
    note(lone, "before")
    newest = lone.get("/v1/events")["newest"]
    with Reader(lone) as now, Reader(lone, f"?since={newest - 1}") as since, Reader(lone, Last_Event_ID=str(newest - 1)) as resumed:
        for reader in (now, since, resumed):
            reader.until("text/event-stream")
        wait_for("all follow", lambda: lone.node.events.streams == 3)
        note(lone, "after")
        for reader in (now, since, resumed):
            reader.until('"after"')
        assert [e["message"] for e in now.events()] == ["after"]
        assert [e["message"] for e in since.events()] == [e["message"] for e in resumed.events()] == ["before", "after"]
        assert f"id: {newest + 1}\nevent: alarm\ndata: " in now.text
    wait_for("nobody follows", lambda: lone.node.events.streams == 0)


def test_a_cursor_that_is_gone_is_told_by_an_event_of_its_own(lone: Any) -> None:
    note(lone, "x")
    with Reader(lone, "?since=999999999") as reader:
        reader.until("event: gap")
        reader.until('"kind":"agent-started"')
        gap = reader.events()[0]
        assert gap["since"] == 999999999 and gap["next"] == reader.events()[1]["cursor"] == 1


def test_a_silent_stream_beats(lone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.api.events.HEARTBEAT_SECONDS", 0.05)
    with Reader(lone) as reader:
        reader.until(": alive\n\n")


def test_the_page_misses_no_beat_and_does_not_wait_longer_for_them_than_for_a_reporter() -> None:
    script = load_files()["live.js"].data.decode()
    found = re.search(r"SILENCE_MS = ([\d_]+);", script)
    assert found is not None and 2000 * HEARTBEAT_SECONDS < int(found[1]) < STALE_MS


def test_a_head_request_opens_no_stream(lone: Any) -> None:
    answer = lone.ask("HEAD", "/v1/events", headers={"accept": "text/event-stream"})
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
    wait_for("nobody follows", lambda: lone.node.events.streams == 0)


def test_only_so_many_may_follow(lone: Any) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(limit("event_streams")):
            stack.enter_context(Reader(lone)).until("text/event-stream")
        wait_for("all follow", lambda: lone.node.events.streams == limit("event_streams"))
        answer = lone.ask("GET", "/v1/events", headers={"accept": "text/event-stream"})
        assert answer.status == 503 and answer.json["code"] == "too-many-streams" and answer.json["hint"]
        assert lone.ask("GET", "/v1/events").status == 200, "a page is still answered"
    wait_for("nobody follows", lambda: lone.node.events.streams == 0)


@pytest.fixture
def own(tmp_path: Path, live_node: Any, settings_in: Any) -> Iterator[Any]:
    """A node of this test alone."""
    settings = settings_in(tmp_path)
    init(settings, "n1", "san")
    with live_node(settings) as node:
        yield node


def test_who_takes_nothing_is_dropped_and_goes_on_where_it_was(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = limit

    def quick(name: str) -> float:
        return 0.3 if name == "event_send_seconds" else real(name)

    monkeypatch.setattr("agent.api.events.limit", quick)
    with Reader(own) as slow, Reader(own) as quick_one:
        wait_for("both follow", lambda: own.node.events.streams == 2)
        before = own.get("/v1/events")["newest"]
        filler = "x" * 20_000
        end = time.monotonic() + 20
        while own.node.events.streams == 2 and time.monotonic() < end:
            note(own, *[filler] * 5)
            last = own.node.events.newest
            quick_one.until(f"id: {last}\n")
        assert own.node.events.streams == 1, "the slow one was dropped, the other not"
        with contextlib.suppress(ConnectionResetError):
            slow.end()
        got = [event["cursor"] for event in slow.events()[:-1]]  # the last one may be cut
    assert got == list(range(before + 1, before + 1 + len(got)))
    with Reader(own, Last_Event_ID=str(got[-1])) as again:
        again.until(f"id: {got[-1] + 1}\n")
    assert own.get("/v1/status")["node"] == "n1"


def test_streams_end_when_the_agent_stops_and_go_on_after_its_start(tmp_path: Path, live_node: Any, settings_in: Any) -> None:
    settings = settings_in(tmp_path)
    init(settings, "n1", "san")
    with live_node(settings) as node:
        reader = Reader(node, "?since=0")
        reader.until("agent-started")
        begun = time.monotonic()
    assert time.monotonic() - begun < 2, "no stream holds up the stop"
    with reader:
        reader.end()
    assert reader.text.endswith("0\r\n\r\n"), "it ended in order"
    last = reader.events()[-1]["cursor"]
    with live_node(settings) as node, Reader(node, Last_Event_ID=str(last)) as reader:
        reader.until("agent-started")
        assert [e["kind"] for e in reader.events()] == ["agent-stopped", "agent-started"]
        assert [e["cursor"] for e in reader.events()] == [last + 1, last + 2]
