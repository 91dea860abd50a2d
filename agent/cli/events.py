"""`pathmesh events`: what happened, as this node's agent saw it, once or as it happens."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import click

from agent.cli.base import Command
from agent.cli.errors import AgentUnreachable, ApiError
from agent.cli.output import one_line, printable, tsv
from agent.cli.session import Session

EVENTS = "/v1/events"
STREAM = "text/event-stream"
SILENCE_SECONDS = 45.0
"""Three heartbeats: a stream that is silent for longer is dead."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 5.0

_HEADER = ("cursor", "at", "kind", "node", "message")
_CURSOR_WIDTH, _KIND_WIDTH = 6, 17
_CURSOR_DIGITS = 15
_ROLES = {
    "alarm": "error",
    "conflict-opened": "warning",
    "late-edit": "warning",
    "node-flapping": "warning",
    "more": "dim",
    "agent-started": "dim",
    "agent-stopped": "dim",
    "log-collected": "dim",
}


class Cursor(click.ParamType[int]):
    """The number of an event."""

    name = "cursor"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if not (text.isascii() and text.isdigit() and len(text) <= _CURSOR_DIGITS):
            self.fail(f"{text[:40]!r} is no cursor: give the number that `pathmesh events` shows before an event, or 0", param, ctx)
        return int(text)


class Sent(NamedTuple):
    """One message of a stream: its cursor (empty if it has none), its kind, its data."""

    id: str
    kind: str
    data: str


@click.command(cls=Command)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C; an agent that goes away is waited for.")
@click.option("--since", type=Cursor(), metavar="CURSOR", help="What came after this event; 0 = all that is kept.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, metavar="N", help="At most so many, unless --follow."
)
@click.pass_obj
def events(session: Session, follow: bool, since: int | None, limit: int) -> None:
    """Show what happened: edits, conflicts, members, nodes, cells and LUNs that changed, applies, alarms.

    Without --since it is the newest events, with --follow what comes from now on. With --json, --follow prints one event a line.

    \b
    Examples:
      pathmesh events --limit 20
      pathmesh events --follow
      pathmesh events --since 4711 --json
    """
    if follow:
        _follow(session, since)
        return
    query = {"since": None if since is None else str(since), "limit": str(limit)}
    body = session.get(EVENTS, query)
    if body.get("gap"):
        _tell_gap(session, foreign=since is not None and since > body["newest"])
    if session.output == "json":
        session.json(body)
    elif session.output == "tsv":
        session.table(_HEADER, [_record(event) for event in body["events"]])
    else:
        session.lines(_line(session, event) for event in body["events"])
        if not body["events"]:
            session.say("no events")


def _follow(session: Session, since: int | None) -> None:
    """Show events as they come. The first connection must succeed; a later one is tried for again and again, from the last cursor."""
    client = session.client()
    position = str(client.get(EVENTS, {"limit": "1"})["newest"] if since is None else since)
    begun, wait = False, FIRST_WAIT_SECONDS
    if session.output == "tsv":
        session.lines(tsv(_HEADER, []))
    try:
        while True:
            try:
                for sent in messages(client.stream(EVENTS, accept=STREAM, since=position, silence=SILENCE_SECONDS)):
                    if not sent.kind:
                        begun, wait = True, FIRST_WAIT_SECONDS
                        continue
                    _show(session, sent)
                    position = sent.id or position
            except (AgentUnreachable, ApiError) as error:
                if not begun or (isinstance(error, ApiError) and error.status < 500):
                    raise
                session.say(f"{one_line(error.message)}; trying again")
            sys.stdout.flush()
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
    except KeyboardInterrupt:
        return


def messages(lines: Iterable[bytes]) -> Iterator[Sent]:
    """The messages of a stream of server-sent events; an empty one for every line that says only that the stream is alive.

    See the HTML Living Standard, 9.2.6. Other fields than `id`, `event` and `data` are left out.
    """
    fields = {"id": "", "event": ""}
    data: list[str] = []
    for raw in lines:
        line = raw.decode(errors="replace").removesuffix("\r")
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif name in fields:
            fields[name] = value.removeprefix(" ")
        elif not line:
            yield Sent(fields["id"], fields["event"] or "message", "\n".join(data)) if data else Sent("", "", "")
            fields, data = {"id": "", "event": ""}, []
        elif not name:
            yield Sent("", "", "")


def _show(session: Session, sent: Sent) -> None:
    try:
        event = json.loads(sent.data)
    except ValueError:
        return  # nothing that an agent of this version sends
    if sent.kind == "gap":
        since, following = event.get("since"), event.get("next")
        _tell_gap(session, foreign=isinstance(since, int) and isinstance(following, int) and since >= following)
        return
    if session.output == "json":
        click.echo(json.dumps(event, ensure_ascii=False))
    elif session.output == "tsv":
        session.lines(list(tsv(_HEADER, [_record(event)]))[1:])
    else:
        session.lines([_line(session, event)])
    sys.stdout.flush()


def _tell_gap(session: Session, *, foreign: bool) -> None:
    """`foreign`: the cursor is beyond the newest one, so it is another log's."""
    if foreign:
        session.say("warning: this log has no such cursor: shown from its beginning")
    else:
        session.say("warning: events between this cursor and the first of these are no longer kept")


def _line(session: Session, event: Mapping[str, Any]) -> str:
    kind = printable(str(event.get("kind")))
    shown = session.paint(kind, _ROLES.get(kind, "")) + " " * max(0, _KIND_WIDTH - len(kind))
    cursor = printable(str(event.get("cursor"))).rjust(_CURSOR_WIDTH)
    return f"{cursor}  {event.get('at')}  {shown}  {one_line(str(event.get('message')))}"


def _record(event: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(event[name]) if event.get(name) is not None else "" for name in _HEADER)
