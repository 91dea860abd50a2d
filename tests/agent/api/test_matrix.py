"""The matrix in brief, and what changed of it since a version; a LUN's paths; the word of the matrix in the stream of events."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from scripts.cluster.nodes import wait_for
from store.cells import NVME_SUBSYSTEM, Cell

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "3600140500000000b0000000000000002"


def matrix(api: Any, query: str = "") -> Any:
    return api.get(f"/v1/matrix?brief=true{query}")


def luns(body: Any) -> dict[str, Any]:
    return {row["id"]: row for row in body["resources"] if row["kind"] == "multipath.map"}


def allow(api: Any, wwid: str, **options: str) -> None:
    assert api.write("POST", "/v1/config/wwids", {"wwid": wwid, "options": options}).status == 200


def test_brief_rows_say_what_the_lun_is(api: Any, map_cell: Any) -> None:
    allow(api, A, alias="vmpool")
    assert api.write("POST", "/v1/config/storages", {"id": "san", "type": "multipath"}).status == 200
    assert (
        api.write("POST", "/v1/config/storages", {"id": "vg", "type": "lvm", "options": {"base": f"san:{A}", "vgname": "v"}}).status == 200
    )
    api.observe(map_cell(A, "degraded", usable=1, reasons=("path-lost",)))
    row = luns(matrix(api))[A]
    assert (row["alias"], row["vendor"], row["product"], row["size_bytes"]) == ("vmpool", "PURE", "FlashArray", 2**30)
    assert row["storages"] == ["vg"] and row["expected_nodes"] == ["n1"] and row["configured"] is True
    assert row["cells"] == {"n1": ["degraded", 1, 2, ["path-lost"]]} and row["state"] == "degraded" and row["since"]
    assert api.get("/v1/matrix")["version"] == matrix(api)["version"]


def test_only_what_changed_comes(api: Any, map_cell: Any) -> None:
    allow(api, A)
    allow(api, B)
    api.observe(map_cell(A), map_cell(B))
    before = matrix(api)
    assert matrix(api, f"&changed_since={before['version']}")["resources"] == []
    api.observe(map_cell(A, "degraded", usable=1), map_cell(B))
    after = matrix(api, f"&changed_since={before['version']}")
    assert after["whole"] is False and after["gone"] == [] and set(luns(after)) == {A}
    assert luns(api.get(f"/v1/matrix?changed_since={before['version']}"))[A]["nodes"]["n1"]["state"] == "degraded", "whole rows too"
    kind = f"&kind=multipath.map&changed_since={before['version']}"
    assert set(luns(matrix(api, kind))) == {A} and {row["kind"] for row in matrix(api, kind)["resources"]} == {"multipath.map"}


def test_what_the_configuration_says_is_a_change_too(api: Any, map_cell: Any) -> None:
    allow(api, A)
    allow(api, B)
    api.observe(map_cell(A), map_cell(B))
    before = matrix(api)
    assert api.write("PATCH", f"/v1/config/wwids/{A}", {"set": {"alias": "other"}}).status == 200
    after = luns(matrix(api, f"&changed_since={before['version']}"))
    assert after[A]["alias"] == "other" and after[A]["cells"] == luns(before)[A]["cells"]
    assert B not in after or after[B] != luns(before)[B]


def test_what_is_gone_is_told(api: Any, map_cell: Any) -> None:
    allow(api, A)
    allow(api, B)
    api.observe(map_cell(A), map_cell(B))
    before = matrix(api)
    assert api.write("DELETE", f"/v1/config/wwids/{B}").status == 200
    api.observe(map_cell(A))
    after = matrix(api, f"&changed_since={before['version']}")
    assert after["gone"] == [{"kind": "multipath.map", "id": B}] and B not in luns(after)
    allow(api, B)
    api.observe(map_cell(A), map_cell(B))
    again = matrix(api, f"&changed_since={before['version']}")
    assert again["gone"] == [] and B in luns(again)


def test_a_version_of_another_time_gives_the_whole(api: Any, map_cell: Any) -> None:
    allow(api, A)
    api.observe(map_cell(A))
    now = matrix(api)
    epoch, _, number = now["version"].partition(".")
    for version in (f"{int(epoch) + 1}.{number}", f"{epoch}.{int(number) + 1000}"):
        whole = matrix(api, f"&changed_since={version}")
        assert whole["whole"] is True and whole["gone"] == [] and whole["resources"] == now["resources"]


@pytest.mark.parametrize("version", ["", "x", "1", "1.", ".1", "-1.2", "1.2.3", "1.99999999999999999", "١.٢"])
def test_what_is_no_version(api: Any, version: str) -> None:
    assert api.ask("GET", f"/v1/matrix?changed_since={'%D9%A1.%D9%A2' if not version.isascii() else version}").json["code"] == "malformed"


@pytest.mark.parametrize("query", ["state=failed", "node=n1", "resource=x", "limit=5", "cursor=eA=="])
def test_what_goes_not_together(api: Any, query: str) -> None:
    answer = api.ask("GET", f"/v1/matrix?changed_since=1.1&{query}")
    assert answer.status == 400 and "changed_since" in answer.json["detail"]


def test_the_paths_of_a_lun(api: Any, map_cell: Any) -> None:
    allow(api, A, alias="vmpool")
    api.observe(map_cell(A, "degraded", usable=1, reasons=("path-lost",)))
    body = api.get("/v1/luns/vmpool/paths")
    assert body["kind"] == "multipath.map" and body["wwid"] == A
    cell = body["nodes"]["n1"]
    assert cell["state"] == "degraded" and len(cell["missing_paths"]) == 1 and cell["device"] == "dm-0" and cell["age_seconds"] == 0.0
    (group,) = cell["path_groups"]
    assert group["group"] == 1 and [(p["dev"], p["class"]) for p in group["paths"]] == [("sda", "active")]
    assert api.get("/v1/nodes/n1/maps")["maps"][0]["path_groups"] == cell["path_groups"]
    assert api.ask("GET", "/v1/luns/nobody/paths").json["code"] == "not-found"


def test_the_paths_of_a_subsystem_and_of_who_reported_nothing(api: Any, map_cell: Any) -> None:
    nqn = "nqn.2014-08.org.nvmexpress:uuid:x"
    detail = map_cell(A).detail
    api.observe(Cell(NVME_SUBSYSTEM, nqn, "healthy", (), detail, {}, 0.0))
    assert api.get(f"/v1/luns/{nqn}/paths")["kind"] == NVME_SUBSYSTEM
    assert api.write("POST", "/v1/config/storages", {"id": "san", "type": "multipath"}).status == 200
    allow(api, B)
    cell = api.get(f"/v1/luns/{B}/paths")["nodes"]["n1"]
    assert cell["path_groups"] == [] and cell["device"] is None and cell["state"] in ("missing", "pending")


class Stream:
    """A stream of events that is told of the matrix."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile()

    def matrix(self) -> str:
        """The next word of the matrix."""
        for line in self._file:
            if line == "event: matrix\n":
                return str(json.loads(next(self._file).removeprefix("data: "))["version"])
        raise AssertionError("the stream ended")


@contextmanager
def followed(api: Any, query: str = "?matrix=true") -> Iterator[Stream]:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(10)
        connection.connect(str(api.settings.api.socket))
        connection.sendall(f"GET /v1/events{query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode())
        stream = Stream(connection)
        yield stream
        stream._file.close()
    wait_for("nobody follows", lambda: api.node.events.streams == 0)


def test_the_stream_tells_the_version_at_first_and_whenever_it_moves(api: Any, map_cell: Any) -> None:
    allow(api, A)
    with followed(api) as stream:
        first = stream.matrix()
        assert first == matrix(api)["version"]
        api.observe(map_cell(A))
        second = stream.matrix()
        assert second != first
        assert set(luns(matrix(api, f"&changed_since={first}"))) == {A}
        for usable in (1, 2, 1):
            api.observe(map_cell(A, "degraded" if usable == 1 else "healthy", usable=usable))
        last = stream.matrix()
        wait_for("the last word is the present version", lambda: _catch_up(stream, last, api), 5)


def _catch_up(stream: Stream, last: str, api: Any) -> bool:
    while last != matrix(api)["version"]:
        last = stream.matrix()
    return True


def test_who_does_not_ask_is_not_told(api: Any, map_cell: Any) -> None:
    with followed(api, "") as stream:
        wait_for("it follows", lambda: api.node.events.streams == 1)
        api.observe(map_cell(A))
        api.call(lambda: api.node.events.note("alarm", "end", code="test"))
        kinds = []
        for line in stream._file:
            if line.startswith("event: "):
                kinds.append(line.strip())
            if '"end"' in line:
                break
        assert "event: matrix" not in kinds and "event: alarm" in kinds
    assert api.ask("GET", "/v1/events?matrix=maybe").status == 400


def test_who_am_i(api: Any) -> None:
    me = api.get("/v1/whoami")
    assert me["node"] == "n1" and me["cluster"] == "san" and me["may_write"] is True and me["session"] is None and me["version"]
