"""`pathmesh matrix`: every resource by every node, once or watched in place."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import click

from agent.cli.base import Command
from agent.cli.errors import AgentUnreachable
from agent.cli.output import LUN_SEVERITY, MISSING, Cell, Painted, aligned, one_line, severity
from agent.cli.session import Session
from agent.cli.status import paths_text
from agent.cli.writes import WWIDS
from agent.flags import flag_text, worst_first

CLEAR, HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[0J"
WRAP_OFF, WRAP_ON = "\x1b[?7l", "\x1b[?7h"


@click.command(cls=Command)
@click.option("--kind", metavar="K", help="Only resources of this kind, for example multipath.map.")
@click.option("--state", metavar="S", help="Only resources in this state.")
@click.option("--node", metavar="N", help="Only this node.")
@click.option("--resource", metavar="R", help="Only this resource, by its id (a WWID).")
@click.option("--watch", is_flag=True, help="Show it again and again, in place on a terminal, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How often --watch looks.",
)
@click.pass_obj
def matrix(
    session: Session,
    kind: str | None,
    state: str | None,
    node: str | None,
    resource: str | None,
    watch: bool,
    interval: float,
) -> None:
    """Show every resource on every node: the state, and usable/expected paths.

    A ! marks a cell that has flags: what is worth knowing of it although it works. They are told in words below the table.

    \b
    Examples:
      pathmesh matrix --state degraded
      pathmesh matrix --watch
    """
    query = {"kind": kind, "state": state, "node": node, "resource": resource}
    if watch:
        _watch(session, query, interval)
        return
    _show(session, fetch(session, query))


def fetch(session: Session, query: Mapping[str, str | None]) -> dict[str, Any]:
    """The whole matrix: the pages that the API gives, joined."""
    client = session.client()
    document: dict[str, Any] = client.get("/v1/matrix", query)
    resources = list(document.get("resources") or ())
    cursor = document.get("next")
    while cursor:
        page = client.get("/v1/matrix", {**query, "cursor": str(cursor)})
        resources.extend(page.get("resources") or ())
        cursor = page.get("next")
    return {**document, "resources": resources, "next": None}


def _show(session: Session, document: Mapping[str, Any]) -> None:
    if session.output == "json":
        session.json(document)
    elif session.output == "tsv":
        header = ("kind", "id", "resource_state", "node", "state", "redundancy", "usable", "expected", "reasons", "flags")
        session.table(header, _cells(document))
    elif document["resources"]:
        aliases = _aliases(session)
        session.lines([*_table(session, document, aliases), *_notes(document, aliases)])
    else:
        session.say("no such resource")


def _cells(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for resource in document["resources"]:
        for name, cell in sorted((resource.get("nodes") or {}).items()):
            paths = cell.get("paths") or {}
            numbers = ("" if paths.get(n) is None else str(paths[n]) for n in ("usable", "expected"))
            rows.append(
                (
                    str(resource.get("kind")),
                    str(resource.get("id")),
                    str(resource.get("state")),
                    name,
                    str(cell.get("state")),
                    str(cell.get("redundancy") or ""),
                    *numbers,
                    ",".join(str(reason) for reason in cell.get("reasons") or ()),
                    ",".join(_flags(cell)),
                )
            )
    return rows


def _table(session: Session, document: Mapping[str, Any], aliases: Mapping[str, str]) -> list[str]:
    resources = sorted(
        document["resources"],
        key=lambda r: (str(r.get("kind")), severity(r.get("state"), LUN_SEVERITY), str(r.get("id"))),
    )
    nodes = sorted({name for resource in resources for name in resource.get("nodes") or {}})
    rows: list[list[Cell]] = []
    for resource in resources:
        state = str(resource.get("state", "unknown"))
        cells = resource.get("nodes") or {}
        name = str(resource.get("id"))
        row: list[Cell] = [str(resource.get("kind")), name, aliases.get(name, MISSING), Painted(state, state)]
        row.extend(_cell(cells.get(name)) for name in nodes)
        rows.append(row)
    return aligned(("KIND", "RESOURCE", "ALIAS", "STATE", *nodes), rows, color=session.colors)


def _aliases(session: Session) -> dict[str, str]:
    """The configured aliases by WWID."""
    return {entry["wwid"]: entry["options"].get("alias", MISSING) for entry in session.get(WWIDS)["wwids"]}


def _cell(cell: Mapping[str, Any] | None) -> Cell:
    state = str((cell or {}).get("state", "absent"))
    if cell is None or state == "absent":
        return Painted("-", "dim")
    words = [state, paths_text(cell)]
    if words[1] and cell.get("redundancy") == "single":
        words.append("single")
    if _flags(cell):
        words.append("!")
    if isinstance(cell.get("last"), Mapping):
        words.append(f"(was {cell['last'].get('state')})")
    return Painted(" ".join(word for word in words if word), state)


def _flags(cell: Mapping[str, Any]) -> list[str]:
    return [str(flag) for flag in cell.get("flags") or ()]


def _notes(document: Mapping[str, Any], aliases: Mapping[str, str]) -> list[str]:
    """What each flag means, with what carries it and where."""
    found: dict[str, dict[str, list[str]]] = {}
    for resource in document["resources"]:
        name = str(resource.get("id"))
        alias = aliases.get(name, MISSING)
        for node, cell in sorted((resource.get("nodes") or {}).items()):
            for flag in _flags(cell):
                found.setdefault(flag, {}).setdefault(name if alias == MISSING else alias, []).append(node)
    lines = []
    for flag in sorted(found, key=worst_first):
        lines += ["", one_line(f"! {flag_text(flag)}")]
        lines += ["  " + one_line(f"{name} on {', '.join(nodes)}") for name, nodes in sorted(found[flag].items())]
    return lines


def _watch(session: Session, query: Mapping[str, str | None], interval: float) -> None:
    """Show the matrix until Ctrl-C. An agent that goes away after the first answer is waited for."""
    in_place = session.output == "table" and sys.stdout.isatty()
    document = fetch(session, query)
    try:
        if in_place:
            click.echo(WRAP_OFF + CLEAR, nl=False, color=True)
            _draw(session, document, "")
        else:
            _show(session, document)
            sys.stdout.flush()
        while True:
            time.sleep(interval)
            before, note = document, ""
            try:
                document = fetch(session, query)
            except AgentUnreachable as error:
                note = one_line(error.message)
            if in_place:
                _draw(session, document, note)
            elif document != before:  # no terminal: one document for each change
                session.lines([""] if session.output == "table" else [])
                _show(session, document)
                sys.stdout.flush()
    except KeyboardInterrupt:
        return
    finally:
        if in_place:
            click.echo(WRAP_ON, nl=False, color=True)


def _draw(session: Session, document: Mapping[str, Any], note: str) -> None:
    """Draw one frame over the last one; what does not fit the screen is counted, so that nothing scrolls."""
    aliases = _aliases(session)
    lines = _table(session, document, aliases) if document["resources"] else ["no such resource"]
    room = max(os.get_terminal_size(sys.stdout.fileno()).lines, 4) - 3
    notes = _notes(document, aliases)
    if len(lines) + len(notes) <= room:
        lines += notes
    below = [f"and {len(lines) - room} more rows"] if len(lines) > room else []
    foot = session.paint(note, "failed") if note else f"{time.strftime('%H:%M:%S')}, Ctrl-C ends"
    frame = "".join(f"{line}{CLEAR_LINE}\n" for line in [*lines[:room], *below, foot])
    click.echo(f"{HOME}{frame}{CLEAR_BELOW}", nl=False, color=True)
