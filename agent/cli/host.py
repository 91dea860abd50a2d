"""`pathmesh render` and `pathmesh apply`: what this node's multipathd gets, and how far that is."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from agent.cli.base import Command, exits
from agent.cli.errors import FAILED
from agent.cli.output import Cell, Painted, aligned, one_line, printable, short, text_of
from agent.cli.session import Session

APPLY_TIMEOUT_SECONDS = 120.0
"""A reconfigure may take a minute with dead paths, and is verified after that."""


@click.command(cls=Command)
@click.option("--node", metavar="N", help="As this node would; default: the node of the agent asked.")
@click.option("--diff", is_flag=True, help="Show the difference to the files that are there now.")
@click.pass_obj
def render(session: Session, node: str | None, diff: bool) -> None:
    """Show the files that a node would write for multipathd, without writing them."""
    body = session.get("/v1/render", {"node": node})
    files = body.get("files") or {}
    if session.output == "json":
        session.json(body)
    elif session.output == "tsv":
        lines = [(name, str(n), line) for name, text in sorted(files.items()) for n, line in _numbered(text)]
        session.table(("file", "line", "text"), lines)
    elif diff:
        session.diff(str(body.get("diff") or ""))
        if not body.get("diff"):
            session.say("the files are as they should be")
        session.lines([printable(line) for line in _beyond_files(body)])
    else:
        for number, (name, text) in enumerate(sorted(files.items())):
            session.lines([*([""] if number else []), session.paint(f"# {printable(name)}", "dim")])
            session.text(text)
        if not files:
            session.say("no file is wanted: the configuration is empty")
    if session.output != "json":
        for problem in body.get("skipped") or ():
            session.problem({"severity": "warning", **problem})


def _beyond_files(body: Mapping[str, Any]) -> Iterator[str]:
    """What an apply would do to this host beside its files."""
    allow, maps = body.get("allow_list") or {}, body.get("maps") or {}
    yield from (f"allow-list: + {wwid}" for wwid in allow.get("append") or ())
    yield from (f"allow-list: - {wwid}" for wwid in allow.get("disable") or ())
    yield from (f"allow-list: {each.get('message')}" for each in allow.get("deferred") or ())
    renamed = maps.get("renamed") or {}
    yield from (f"map {wwid}: renamed from {each.get('from')} to {each.get('to')}" for wwid, each in sorted(renamed.items()))
    yield from (f"map {wwid}: made" for wwid in maps.get("made") or ())
    yield from (f"map {wwid}: goes once it is unused" for wwid in maps.get("released") or ())
    if maps.get("known") is False:
        yield "maps: multipathd does not answer, so what becomes of them is not known"
    yield from (f"refused ({each.get('code')}): {each.get('message')}" for each in body.get("refused") or ())


@click.command(cls=Command)
@click.option("--now", is_flag=True, help="Apply again now, without waiting for a change.")
@click.pass_obj
def apply(session: Session, now: bool) -> None:
    """Show how far the configuration is applied on this node; with --now, apply it again.

    With --now the exit status is 1 when the outcome is `failed`.
    """
    client = session.client(APPLY_TIMEOUT_SECONDS)
    body = client.request("POST" if now else "GET", "/v1/apply").json()
    state = body["apply"]
    if session.output == "json":
        session.json(body)
    elif session.output == "tsv":
        names = ("state", "desired", "applied", "at")
        row = [str(state.get(name) or "") for name in names]
        session.table((*names, "errors"), [[*row, ",".join(str(e.get("code")) for e in state.get("errors") or ())]])
    else:
        session.lines(_lines(session, state))
    if now and state.get("state") == "failed":
        exits(FAILED)


def _lines(session: Session, state: Mapping[str, Any]) -> list[str]:
    name = str(state.get("state", "unknown"))
    rows: list[list[Cell]] = [
        ["state", Painted(name, name)],
        ["desired", short(state.get("desired"))],
        ["applied", short(state.get("applied"))],
        ["at", text_of(state.get("at"))],
    ]
    lines = aligned(("", ""), rows, color=session.colors)
    for error in state.get("errors") or ():
        count = f" ({error['count']} times since {error.get('since')})" if error.get("count", 1) > 1 else ""
        code = session.paint(one_line(str(error.get("code", "error"))), "failed")
        lines.append(f"{code}: {one_line(str(error.get('message', '')))}{count}")
        if error.get("hint"):
            lines.append(f"  hint: {one_line(str(error['hint']))}")
    return lines


def _numbered(text: str) -> list[tuple[int, str]]:
    return list(enumerate(text.splitlines(), start=1))
