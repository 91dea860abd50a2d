"""The reference of the HTTP API, written from the table of operations; `python -m agent.api.reference` renews `docs/api.md`.

A test compares that file with this.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent.api.app import OPERATIONS
from agent.api.errors import CODES
from agent.api.routes import Access
from agent.event_log import KINDS

_HEAD = """\
# HTTP API

Every node answers on its unix socket: `curl --unix-socket /run/pathmesh/pathmesh.sock http://localhost/v1/status`. What is answered is
what this node holds; nothing is asked of another node. `GET /v1/openapi.json` is the same table for programs.

Whoever may connect may read: root and the members of the socket's group. **W** marks what only root, the agent's own user and the
members of `pathmesh-admin` may do. Every such call is logged with its uid.

**D** marks writes that need `If-Match` with the digest of what they were made from: the `ETag` of a read, and of a write's answer.
`?dry_run=true` checks everything, answers with the difference, and writes nothing. Where `preview` is taken too, a dry run with
`preview=true` tells what the files of the nodes would become, by the release of their multipath-tools.

With `web.listen` set the same operations are answered on that port of the loopback, to a browser with a session: `POST /v1/web/links` gives
a link that opens one, once; the session acts as whoever asked for the link, writes only while that user is in the group, and
every write is logged with it. There every write needs an `Origin` that is the page's own.

Bodies are JSON (`application/json`); **T** marks where text (`text/plain`) is taken or, if `Accept` asks for it, given. Unknown fields
and unknown query parameters are refused.

## Operations

| operation | | query | body | |
|--|--|--|--|--|
"""

_BODIES = """
## Bodies

| body | field | type | default |
|--|--|--|--|
"""

_MATRIX = """
## The matrix

The entity tag of `GET /v1/matrix` is its `version`: with `If-None-Match` an unchanged matrix costs no body (304). With `changed_since`, the
version of an earlier answer, `resources` holds only the rows that came or changed since then, and `gone` the `kind` and `id` of those that
are no more; if that is not known any longer (the agent was restarted, or it is long ago), `whole` is true and all rows come. `kind` alone
goes together with it. `GET /v1/events?matrix=true` tells when to ask.

With `brief=true` rows say what a table shows. A row has `since`, the time since which it reads as it does; that of a LUN has `alias`,
`vendor`, `product`, `size_bytes`, `configured`, `storages` and `expected_nodes`. Instead of `nodes` it has `cells`, a list for each node:
state, usable paths, expected paths (null where there is none), then, if there is something to say, the reasons, the state that was known
last of a cell that is not known now (else null), and the flags, worst first.
"""

_EVENTS = """
## Events

`GET /v1/events` gives the newest `limit` events, or with `since` those after that cursor, oldest first. `next` is the cursor to go on from.
`gap` says that events between `since` and the first of these are no longer kept.

With `Accept: text/event-stream` they come as they happen, as server-sent events: `id` is the cursor, `event` the kind, `data` the same JSON
object. Without `since` or the header `Last-Event-ID` the stream begins now. A comment comes every 5 seconds. The event `gap`, which has no
`id`, says with `since` and `next` that what was in between is no longer kept. A reader that takes nothing for too long is disconnected; it
goes on with `Last-Event-ID`. At most so many readers follow at a time as docs/limits.md says. With `matrix=true` the event `matrix`, which
has no `id`, tells the matrix's `version`, at the beginning and whenever it is another one.

Every event has `cursor`, `at` (wall time of this node), `kind`, and `message`, one line for people.

| kind | meaning, and what else it has |
|--|--|
"""

_ERRORS = """
## Errors

An error is an `application/problem+json` document (RFC 9457) with `status`, `title`, `detail` (one line that says what and where), `hint`
(what to do, may be empty) and `code`. Codes are stable. A refused edit has `problems`: every fault at once, each with `code`, `key`,
`option`, `message`, `hint` and `severity`. A code that is not in this table comes with 422 if the request is refused for what it asks,
503 if something that the node needs cannot be used now.

| code | status | meaning |
|--|--|--|
"""


def api() -> str:
    """The text of `docs/api.md`."""
    return "".join((_HEAD, *_operations(), _BODIES, *_bodies(), _MATRIX, _EVENTS, *_events(), _ERRORS, *_errors()))


def _operations() -> Iterator[str]:
    for operation in OPERATIONS:
        path = operation.path.replace(":path}", "}")
        marks = (("W", operation.access is Access.WRITE), ("D", operation.digest), ("T", operation.text))
        query = ", ".join(f"`{name}`" for name in operation.query)
        body = f"`{operation.body.__name__}`" if operation.body is not None else ""
        yield f"| `{operation.method} {path}` | {' '.join(m for m, holds in marks if holds)} | {query} | {body} | {operation.summary} |\n"


def _bodies() -> Iterator[str]:
    _, components = msgspec.json.schema_components([o.body for o in OPERATIONS if o.body is not None], ref_template="{name}")
    for name in sorted(components):
        schema = components[name]
        for field, described in schema["properties"].items():
            default = "required" if field in schema.get("required", ()) else f"`{_literal(described.get('default'))}`"
            yield f"| `{name}` | `{field}` | {_type(described)} | {default if 'default' in described or default == 'required' else ''} |\n"


def _literal(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return f"`{schema['$ref']}`"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object":
        return f"name → {_type(schema['additionalProperties'])}"
    return str(schema["type"])


def _events() -> Iterator[str]:
    for kind, meaning in KINDS.items():
        yield f"| `{kind}` | {meaning} |\n"


def _errors() -> Iterator[str]:
    for code, (status, meaning) in sorted(CODES.items(), key=lambda item: (item[1][0].value, item[0])):
        yield f"| `{code}` | {status.value} | {meaning} |\n"


if __name__ == "__main__":
    (Path(__file__).parents[2] / "docs" / "api.md").write_text(api(), encoding="utf-8")
