"""What every operation does with a request that is wrong: the status, the problem document, and nothing changed."""

import json
import socket
from typing import Any

import pytest

from agent.api.app import OPERATIONS
from agent.api.errors import CODES
from agent.api.routes import Access, Operation
from store.limits import limit

WWID = "3624a9370e92ace0b12e941bf000cb4d5"


def problem(answer: Any, status: int, code: str) -> Any:
    """The problem document of an answer, its form checked."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json
    assert {"type", "title", "status", "code", "detail", "hint"} <= body.keys()
    assert body["status"] == status and body["code"] == code, body
    assert body["detail"] and "\n" not in body["detail"] and "Traceback" not in body["detail"]
    return body


def address(operation: Operation) -> str:
    """An address of the operation, with something for every part of its path."""
    path = operation.path
    for part, value in (("{wwid}", WWID), ("{id}", "san"), ("{name}", "n1"), ("{key:path}", "defaults"), ("{edit}", "00" * 16 + ":1")):
        path = path.replace(part, value)
    return path


def raw(node: Any, data: bytes) -> bytes:
    """Bytes as they are, and the first of what comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(node.settings.api.socket))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
        return found


WRITES = [o for o in OPERATIONS if o.access is Access.WRITE]
GUARDED = [o for o in OPERATIONS if o.digest]
WITH_BODY = [o for o in OPERATIONS if o.body is not None]
READS = [o for o in OPERATIONS if o.method == "GET"]


def named(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


def test_unknown_addresses_and_methods(lone: Any) -> None:
    problem(lone.ask("GET", "/v1/nothing"), 404, "not-found")
    problem(lone.ask("GET", "/"), 404, "not-found")
    answer = lone.ask("DELETE", "/v1/status")
    problem(answer, 405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("operation", GUARDED, ids=named)
def test_a_write_needs_the_digest_it_was_made_from(api: Any, operation: Operation) -> None:
    before = api.digest()
    path = address(operation)
    problem(api.ask(operation.method, path, {}), 428, "digest-required")
    for header in ("abc", before.strip('"'), f'"{before[1:-2]}"', f'"{before[1:-1].upper()}"', "*", ""):
        problem(api.ask(operation.method, path, {}, {"if-match": header}), 400, "malformed")
    assert api.digest() == before


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"surprise": 1}', "surprise"),
        (b"[]", "array"),
        (b"{", "truncated"),
        (b'{"reason": "\xff\xfe"}', "utf-8"),
        (b'{"reason": "\\ud800"}', "truncated"),
        (b'{"reason": ' + b"[" * 100_000, "$.reason"),
        (b'{"surprise": ' + b"[" * 100_000, "surprise"),
        (b"\x00\x01", "malformed"),
    ],
    ids=["unknown field", "not an object", "cut short", "not UTF-8", "lone surrogate", "deep", "deep in an unknown field", "binary"],
)
def test_a_malformed_body_is_told_where(api: Any, operation: Operation, body: bytes, told: str) -> None:
    before = api.digest()
    api.client.request(operation.method, address(operation), body, {"content-type": "application/json", "if-match": before})
    response = api.client.getresponse()
    found = json.loads(response.read())
    assert response.status == 400 and found["code"] == "malformed", found
    if b"reason" in body and "reason" not in operation.body.__annotations__:
        told = "reason"
    assert told in found["detail"], found
    assert api.digest() == before


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/v1/config/wwids", {"wwid": WWID, "options": {}, "alias": "x"}, "alias"),
        ("POST", "/v1/config/wwids", {"wwid": 5}, "wwid"),
        ("POST", "/v1/config/wwids", {"wwid": WWID, "options": {"alias": None}}, "options"),
        ("POST", "/v1/config/edits", {"changes": [{"key": "defaults", "sets": {}}]}, "sets"),
        ("POST", "/v1/config/edits", {"changes": [{"set": {}}]}, "key"),
        ("PUT", "/v1/config", {"sections": [{"type": "wwid", "id": WWID, "options": {"x": [1]}}]}, "sections"),
        ("POST", "/v1/config/wwids", {"wwid": WWID, "reason": "x" * 5000}, "reason"),
        ("POST", f"/v1/luns/{WWID}/accept", {"expires_seconds": 0}, "expires_seconds"),
        ("POST", "/v1/members/tokens", {"uses": "many"}, "uses"),
    ],
)
def test_a_wrong_field_is_named(api: Any, method: str, path: str, body: Any, field: str) -> None:
    found = problem(api.write(method, path, body), 400, "malformed")
    assert field in found["detail"], found


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_an_unknown_query_parameter_is_refused(api: Any, operation: Operation) -> None:
    before = api.digest()
    found = problem(api.ask(operation.method, f"{address(operation)}?dryrun=true", None, {"if-match": before}), 400, "malformed")
    assert "dryrun" in found["detail"]
    assert api.digest() == before


@pytest.mark.parametrize("operation", [o for o in WRITES if "dry_run" in o.query], ids=named)
def test_a_flag_is_true_or_false(api: Any, operation: Operation) -> None:
    bodies = {"PatchBody": {}, "LunBody": {"wwid": WWID}, "StorageBody": {"id": "san", "type": "multipath"}, "EditBody": {"changes": []},
              "DocumentBody": {"sections": []}, "ResolveBody": {"dots": [], "take": 1}, "AcceptBody": {},
              "MaintenanceBody": {"on": True}, "LeaveBody": {}, "RevertBody": {}, "LevelBody": {"level": 1},
              "CreateGroupBody": {}}  # fmt: skip
    assert api.write("POST", "/v1/config/wwids", {"wwid": WWID}).status == 200
    assert api.write("POST", "/v1/config/storages", {"id": "san", "type": "multipath"}).status == 200
    if operation.method == "POST" and operation.path in ("/v1/config/wwids", "/v1/config/storages"):
        assert api.write("PUT", "/v1/config", "").status == 200
    of = "/v1/overrides" if "overrides" in operation.path else "/v1/config"
    before = api.digest(of)
    body = bodies[operation.body.__name__] if operation.body is not None else None
    found = problem(api.ask(operation.method, f"{address(operation)}?dry_run=maybe", body, {"if-match": before}), 400, "malformed")
    assert "dry_run" in found["detail"]
    assert api.digest(of) == before


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.body is not None or (o.text and o.method != "GET")], ids=named)
def test_other_content_types_are_refused(api: Any, operation: Operation) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/html", "application/yaml"):
        headers = {"content-type": kind, "if-match": api.digest()}
        api.client.request(operation.method, address(operation), b"a=b", headers)
        response = api.client.getresponse()
        assert response.status == 415 and json.loads(response.read())["code"] == "unsupported-type"


def test_json_is_no_overrides(api: Any) -> None:
    problem(api.write("PUT", "/v1/overrides", {"text": "x"}, of="/v1/overrides"), 415, "unsupported-type")


@pytest.mark.parametrize(("path", "most"), [("/v1/config", "document_request_bytes"), ("/v1/overrides", "document_request_bytes")])
def test_a_body_that_is_too_large_is_refused_declared_or_not(api: Any, path: str, most: str) -> None:
    digest = api.digest(path)
    size = limit(most) + 1
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nIf-Match: {digest}\r\nConnection: close\r\n"
    declared = raw(api, f"{head}Content-Length: {size}\r\n\r\n".encode())
    assert declared.startswith(b"HTTP/1.1 413") and b"request-too-large" in declared
    api.client.request("PUT", path, iter([b"#" * 65536] * (size // 65536 + 1)), {"content-type": "text/plain", "if-match": digest})
    response = api.client.getresponse()
    assert response.status == 413 and json.loads(response.read())["code"] == "request-too-large"
    api.client.close()
    assert api.digest(path) == digest


def test_an_ordinary_body_has_a_smaller_limit(api: Any) -> None:
    body = {"set": {"comment": "x" * limit("request_bytes")}}
    problem(api.write("PATCH", "/v1/config/defaults", body), 413, "request-too-large")
    api.client.close()


def test_a_document_that_is_too_large_is_refused(api: Any) -> None:
    sections = [{"type": "wwid", "id": f"3624a9370e92ace0b12e941{n:010x}", "options": {}} for n in range(limit("wwid_sections") + 1)]
    answer = api.write("PUT", "/v1/config", {"sections": sections})
    assert answer.status in (413, 422) and "LUNs" in answer.json["detail"], answer
    assert api.get("/v1/config")["sections"] == []


def test_what_is_no_http_is_answered_and_ends(lone: Any) -> None:
    for data in (b"\x00\xff" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -4\r\n\r\n"):
        assert raw(lone, data).startswith((b"HTTP/1.1 400", b"HTTP/1.1 505")), data
    assert lone.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    "operation",
    [
        o
        for o in READS
        if "{edit}" not in o.path
        and o.path
        not in (
            "/v1/luns/{wwid}",
            "/v1/luns/{wwid}/paths",
            "/v1/config/wwids/{wwid}",
            "/v1/config/storages/{id}",
            "/v1/rollout",
            "/v1/storages/{id}/volumes",
        )
    ],
    ids=named,
)
def test_head_is_get_without_a_body(lone: Any, operation: Operation) -> None:
    path = address(operation)
    assert lone.ask("GET", path).status == 200
    answer = lone.ask("HEAD", path)
    assert answer.status == 200 and answer.body == b"" and int(answer.headers["content-length"]) > 0


def test_more_clients_than_the_limit_are_told_so(lone: Any) -> None:
    idle = []
    try:
        for _ in range(limit("api_clients")):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(lone.settings.api.socket))
            idle.append(connection)
        assert raw(lone, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 503")
    finally:
        for connection in idle:
            connection.close()
    lone.client.close()
    assert lone.ask("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    "start",
    [b"", b"GET /healthz HT", b"PUT /v1/overrides HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nabc"],
    ids=["nothing", "half a head", "half a body"],
)
def test_a_client_that_never_finishes_its_request_is_shown_out(lone: Any, monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    monkeypatch.setattr(lone.server.config, "timeout_keep_alive", 0.2)
    monkeypatch.setattr("agent.api.patience.HEAD_SECONDS", 0.2)
    head = start.replace(b"\r\n\r\n", f"\r\nIf-Match: {lone.digest('/v1/overrides')}\r\n\r\n".encode())
    lone.client.close()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(lone.settings.api.socket))
        connection.sendall(head)
        assert connection.recv(1) in (b"", b"H")
    assert lone.get("/v1/overrides")["text"] == ""


def test_every_code_has_a_meaning() -> None:
    assert all(meaning and status.value >= 400 for status, meaning in CODES.values())
