"""An agent that is killed again and again while it is written to: what was acknowledged is there, and no edit is made twice."""

import contextlib
import http.client
import json
import random
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.cluster.client import Client
from scripts.cluster.nodes import Node, wait_for
from scripts.cluster.sample import LUN_A, LUN_B

pytestmark = pytest.mark.slow
ROUNDS = 5


class Writers:
    """Two clients that count up a LUN's comment each, and remember what was acknowledged."""

    def __init__(self, node: Node) -> None:
        self.acknowledged = {LUN_A: 0, LUN_B: 0}
        self.edits: set[str] = set()
        self._threads = [threading.Thread(target=self._write, args=(node.socket, wwid)) for wwid in self.acknowledged]

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _write(self, path: Path, wwid: str) -> None:
        client = Client(path)
        with contextlib.closing(client), contextlib.suppress(OSError, http.client.HTTPException):
            number = int(client.ask("GET", f"/v1/config/wwids/{wwid}").json["options"].get("comment", "0"))
            self.acknowledged[wwid] = number
            while True:
                digest = client.ask("GET", "/v1/config").digest
                answer = client.ask("PATCH", f"/v1/config/wwids/{wwid}", {"set": {"comment": str(number + 1)}}, {"if-match": digest})
                if answer.status == 200:
                    number += 1
                    self.acknowledged[wwid] = number
                    self.edits.add(answer.json["edit"])
                else:
                    assert answer.status == 412, answer


def test_no_acknowledged_edit_is_lost_and_no_dot_used_twice(tmp_path: Path, nodes_in: Any) -> None:
    first, second = nodes_in(tmp_path, 2)
    first.run("init")
    first.start_agent()
    second.run("join", json.loads(first.run("token", "create", "--json").stdout)["token"])
    second.start_agent()
    for wwid in (LUN_A, LUN_B):
        first.run("lun", "add", wwid)
    moments = random.Random(5)
    edits: set[str] = set()
    for _ in range(ROUNDS):
        with Writers(first) as writers:
            wait_for("some writes", lambda writers=writers: min(writers.acknowledged.values()) and len(writers.edits) > 10)
            time.sleep(moments.random() / 10)
            assert first.stop("agent", signal.SIGKILL) == -signal.SIGKILL
        assert not edits & writers.edits
        edits |= writers.edits
        first.start_agent()
        for wwid, number in writers.acknowledged.items():
            kept = int(first.get(f"/v1/config/wwids/{wwid}")["options"]["comment"])
            assert kept in (number, number + 1), "all that was acknowledged, and at most the one write that nobody heard of"
    want = first.get("/v1/dump")
    wait_for("the other node has the same", lambda: second.get("/v1/dump")["clock"] == want["clock"], 30)
    assert second.get("/v1/dump")["state_hash"] == want["state_hash"] and second.get("/v1/conflicts")["conflicts"] == []
    problems = [p["code"] for node in (first, second) for p in node.get("/v1/status")["config"]["problems"]]
    assert "diverged" not in problems and "equivocation" not in problems
    for node in (first, second):
        assert node.stop() == 0 and "Traceback" not in node.log("agent")


def test_a_database_that_another_program_holds_refuses_writes_until_it_is_free(tmp_path: Path, nodes_in: Any) -> None:
    [node] = nodes_in(tmp_path)
    node.run("init")
    node.start_agent()
    digest = node.ask("GET", "/v1/config").digest
    body = {"wwid": LUN_A, "options": {}}
    with contextlib.closing(sqlite3.connect(node.directory / "state" / "pathmesh.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = threading.Thread(target=lambda: answers.append(node.ask("POST", "/v1/config/wwids", body, if_match=digest)))
        answers: list[Any] = []
        waiting.start()
        reader = Client(node.socket)
        with contextlib.closing(reader):
            while waiting.is_alive():
                begun = time.monotonic()
                assert reader.ask("GET", "/v1/status").status == 200
                assert time.monotonic() - begun < 2, "reads go on"
                waiting.join(0.2)
        other.execute("ROLLBACK")
    [answer] = answers
    assert answer.status == 507 and answer.json["code"] == "storage-failed" and "locked by another process" in answer.json["detail"], answer
    assert node.ask("GET", "/v1/config").digest == digest
    assert any(p["code"] == "storage-failed" for p in node.get("/v1/status")["config"]["problems"])
    assert node.ask("POST", "/v1/config/wwids", body, if_match=digest).status == 200
    assert node.stop() == 0 and "Traceback" not in node.log("agent")
