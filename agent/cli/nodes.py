"""`pathmesh node` and `pathmesh dump`: what is known of the nodes, and everything at once."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from agent.cli.base import Command, Group
from agent.cli.client import quoted
from agent.cli.output import Cell, Painted, age_text, aligned, printable, size_text, text_of
from agent.cli.session import Session

_PATH_ROLES = {
    "active": "healthy",
    "standby": "healthy",
    "transient": "unknown",
    "suspect": "degraded",
    "marginal": "degraded",
    "failed": "failed",
}


@click.group(cls=Group)
def node() -> None:
    """Show the nodes of the cluster, and what each sees."""


@node.command("ls")
@click.pass_obj
def list_nodes(session: Session) -> None:
    """List the nodes with the state of their agent, their multipathd and their configuration."""
    body = session.get("/v1/nodes")
    if session.output == "json":
        session.json(body)
        return
    rows: list[list[Cell]] = []
    for entry in body["nodes"]:
        state, apply = str(entry.get("state", "unknown")), text_of((entry.get("apply") or {}).get("state"))
        rows.append(
            [
                str(entry["node"]),
                Painted(f"{state} (maintenance)" if entry.get("maintenance") and session.output != "tsv" else state, state),
                text_of(entry.get("role")),
                Painted(apply, apply),
                text_of(entry.get("daemon")),
                text_of(entry.get("tools_version")),
                _age(session, entry),
            ]
        )
    session.table(("NODE", "STATE", "ROLE", "APPLY", "MULTIPATHD", "TOOLS", "AGE"), rows, empty="no nodes")


@node.command("maps")
@click.argument("name", metavar="[NODE]", required=False)
@click.pass_obj
def maps(session: Session, name: str | None) -> None:
    """Show the maps, path groups and paths of a node; default: the node of the agent asked."""
    chosen = name or str(session.get("/v1/status")["node"])
    body = session.get(f"/v1/nodes/{quoted(chosen)}/maps")
    if session.output == "json":
        session.json(body)
    elif session.output == "tsv":
        session.table(("node", "wwid", "alias", "state", "group", "path", "dev", "class", "checker", "dm"), list(_records(body)))
    else:
        session.lines(_tree(session, body))
        if not body["maps"]:
            session.say(f"{chosen} reports no maps")


@click.command(cls=Command)
@click.option("--section", "sections", multiple=True, metavar="S", help="Only this top-level part; may be repeated.")
@click.pass_obj
def dump(session: Session, sections: tuple[str, ...]) -> None:
    """Write everything that the agent knows as one JSON document, for scripts and support.

    \b
    Example:
      pathmesh dump --section status --section members > support.json
    """
    response = session.client().request("GET", "/v1/dump")
    if not sections:
        session.json_bytes(response)
        return
    body = response.json()
    unknown = [section for section in sections if section not in body]
    if unknown:
        raise click.UsageError(f"no section {unknown[0]!r} in the dump: it has {', '.join(sorted(body))}")
    session.json({section: body[section] for section in sections})


def _age(session: Session, entry: Mapping[str, Any]) -> str:
    age = entry.get("age_seconds")
    return ("" if age is None else str(age)) if session.output == "tsv" else age_text(age)


def _tree(session: Session, body: Mapping[str, Any]) -> Iterator[str]:
    for number, entry in enumerate(body["maps"]):
        state = str(entry.get("state", "unknown"))
        array = " ".join(str(entry[name]).strip() for name in ("vendor", "product") if entry.get(name))
        words = [
            session.paint(printable(str(entry.get("alias") or entry["wwid"])), "bold"),
            session.paint(state, state),
            *([printable(str(entry["wwid"]))] if entry.get("alias") else []),
            *([printable(array)] if array else []),
            *([size_text(entry["size_bytes"])] if entry.get("size_bytes") else []),
        ]
        if number:
            yield ""
        yield "  ".join(words)
        for group in entry.get("path_groups") or ():
            yield f"  group {group.get('group')}"
            rows: list[list[Cell]] = [
                [
                    text_of(path.get("dev")),
                    Painted(text_of(path.get("class")), _PATH_ROLES.get(str(path.get("class")), "unknown")),
                    text_of(path.get("chk")),
                    text_of(path.get("dm")),
                    text_of(path.get("id")),
                ]
                for path in group.get("paths") or ()
            ]
            yield from aligned(("", "", "", "", ""), rows, color=session.colors, indent="    ")


def _records(body: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for entry in body["maps"]:
        head = (str(body["node"]), str(entry["wwid"]), str(entry.get("alias") or ""), str(entry.get("state", "unknown")))
        for group in entry.get("path_groups") or ():
            for path in group.get("paths") or ():
                named = (str(path.get(name) or "") for name in ("id", "dev", "class", "chk", "dm"))
                yield (*head, str(group.get("group")), *named)
