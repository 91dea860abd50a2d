"""`pathmesh lun`: the allow-list, the options of each LUN, and what the nodes see of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from agent.cli.base import Group
from agent.cli.client import Client, quoted
from agent.cli.errors import ApiError
from agent.cli.output import CELL_SEVERITY, MISSING, Cell, Painted, age_text, aligned, one_line, severity, size_text, text_of
from agent.cli.session import Session
from agent.cli.status import paths_text
from agent.cli.writes import (
    EDITS,
    WWIDS,
    Duration,
    Write,
    assignments,
    check_digest,
    digest_for,
    hint_if_exists,
    option_name,
    report,
    section_path,
    write_options,
)
from agent.flags import flag_text, worst_first
from store.errors import PathmeshError

LUNS = "/v1/luns"


@click.group(cls=Group)
def lun() -> None:
    """Manage the allow-listed LUNs and their options."""


@lun.command("ls")
@click.pass_obj
def list_luns(session: Session) -> None:
    """List the allow-listed LUNs with their health."""
    body = session.get(WWIDS)
    if session.output == "json":
        session.json(body)
        return
    seen = {entry.get("wwid"): entry for entry in session.get("/v1/status").get("luns") or ()}
    rows: list[list[Cell]] = []
    for section in body["wwids"]:
        options, health = section["options"], seen.get(section["wwid"], {})
        state = str(health.get("state", "unknown"))
        rows.append(
            [
                section["wwid"],
                options.get("alias", MISSING),
                Painted("disabled", "dim") if _disabled(options) else Painted(state, state),
                str(health.get("size_bytes") or "") if session.output == "tsv" else size_text(health.get("size_bytes")),
                " ".join(str(health[name]).strip() for name in ("vendor", "product") if health.get(name)) or MISSING,
                text_of(health.get("expected_nodes")),
                text_of(options.get("comment")),
            ]
        )
    header = ("WWID", "ALIAS", "STATE", "SIZE", "ARRAY", "EXPECTED ON", "COMMENT")
    session.table(header, rows, empty="no LUN is allow-listed: see `pathmesh lun scan`, then `pathmesh lun add WWID`")


@lun.command("show")
@click.argument("wwid")
@click.pass_obj
def show(session: Session, wwid: str) -> None:
    """Show the options of one LUN, named by WWID or alias, and its health on every node."""
    health = _found(session, f"{LUNS}/{quoted(wwid)}")
    wwid = health["wwid"] if health is not None else wwid
    section = _found(session, section_path(WWIDS, wwid))
    if health is None and section is None:
        raise PathmeshError(f"LUN {wwid}: nobody sees it and it is not allow-listed", code="not-found")
    if session.output == "json":
        session.json({**(section or {"wwid": wwid, "options": None}), "health": health})
        return
    options = (section or {}).get("options") or {}
    rows = sorted(options.items())
    if session.output == "tsv":
        session.table(("kind", "node", "name", "value"), list(_records(options, health or {})))
        return
    configured = "allow-listed" if section is not None else "not allow-listed"
    state = str((health or {}).get("state", "unknown"))
    session.lines([f"{session.paint(wwid, 'bold')}  {session.paint(state, state)}, {configured}"])
    if health is not None:
        session.lines(_facts(health))
    if rows:
        session.lines(["", *aligned(("OPTION", "VALUE"), rows, color=session.colors)])
    if health is not None and health.get("nodes"):
        session.lines(["", *_cells(session, health["nodes"]), *_flags(health["nodes"])])


@lun.command("add")
@click.argument("wwid")
@click.argument("options", nargs=-1, metavar="[OPTION=VALUE]...")
@click.option("--alias", metavar="A", help="The name of the map, /dev/mapper/A.")
@click.option("--set", "more", multiple=True, metavar="OPTION=VALUE", help="An option of the LUN; may be repeated.")
@write_options
@click.pass_obj
def add(session: Session, wwid: str, options: tuple[str, ...], alias: str | None, more: tuple[str, ...], write: Write) -> None:
    """Allow-list a LUN on every node.

    \b
    Examples:
      pathmesh lun add 3624a9370e92ace0b12e941bf000cb4d5 --alias vmpool-a
      pathmesh lun add 3624a9370e92ace0b12e941bf000cb4d5 no-path-retry=18 expected-paths=8 --reason "ticket 4711"
    """
    wanted = assignments(more + options)
    if alias is not None:
        if "alias" in wanted:
            raise click.UsageError("the alias is given twice")
        wanted["alias"] = alias
    client = session.client()
    body = write.body(wwid=wwid, options=wanted)
    digest = digest_for(client, write)
    with hint_if_exists("pathmesh lun set"):
        response = client.request("POST", WWIDS, query=write.flags, body=body, if_match=digest)
    report(session, response.json())


@lun.command("set")
@click.argument("wwid")
@click.argument("options", nargs=-1, required=True, metavar="OPTION=VALUE...")
@write_options
@click.pass_obj
def set_options(session: Session, wwid: str, options: tuple[str, ...], write: Write) -> None:
    """Set options of a LUN, named by WWID or alias; those not named stay.

    \b
    Example:
      pathmesh lun set 3624a9370e92ace0b12e941bf000cb4d5 no-path-retry=18 comment="VM pool A"
    """
    _change(session, wwid, write, write.body(set=assignments(options), delete=[]))


@lun.command("unset")
@click.argument("wwid")
@click.argument("options", nargs=-1, required=True, metavar="OPTION...")
@write_options
@click.pass_obj
def unset_options(session: Session, wwid: str, options: tuple[str, ...], write: Write) -> None:
    """Remove options of a LUN, named by WWID or alias, so that their defaults hold again."""
    _change(session, wwid, write, write.body(set={}, delete=[option_name(name) for name in options]))


@lun.command("rm")
@click.argument("wwids", nargs=-1, required=True, metavar="WWID...")
@write_options
@click.pass_obj
def remove(session: Session, wwids: tuple[str, ...], write: Write) -> None:
    """Take LUNs, named by WWID or alias, off the allow-list, all of them in one edit or none."""
    client = session.client()
    chosen, digest = _resolved(client, write, wwids)
    body = write.body(changes=[{"key": f"wwid/{wwid}", "remove": True} for wwid in dict.fromkeys(chosen)])
    response = client.request("POST", EDITS, query=write.flags, body=body, if_match=digest)
    report(session, response.json())


@lun.command("scan")
@click.pass_obj
def scan(session: Session) -> None:
    """List the LUNs that nodes see and that are not allow-listed."""
    body = session.get(f"{LUNS}/scan")
    if session.output == "json":
        session.json(body)
        return
    rows: list[list[Cell]] = []
    for entry in body["luns"]:
        nodes = entry.get("nodes") or {}
        size = entry.get("size_bytes")
        rows.append(
            [
                str(entry["wwid"]),
                text_of(str(entry.get("vendor") or "").strip()),
                text_of(str(entry.get("product") or "").strip()),
                str(size or "") if session.output == "tsv" else size_text(size),
                ", ".join(f"{name}:{(seen or {}).get('paths', '?')}" for name, seen in sorted(nodes.items())),
            ]
        )
    session.table(("WWID", "VENDOR", "PRODUCT", "SIZE", "PATHS PER NODE"), rows, empty="every LUN seen is allow-listed")


@lun.command("accept")
@click.argument("wwid")
@click.option("--node", "nodes", multiple=True, metavar="N", help="Only on this node; may be repeated.")
@click.option("--expires", type=Duration(), metavar="D", help="Ask again after this time, for example 7d.")
@write_options
@click.pass_obj
def accept(session: Session, wwid: str, nodes: tuple[str, ...], expires: int | None, write: Write) -> None:
    """Take the paths that a LUN has now as the expected ones.

    A native NVMe subsystem is named by its NQN, as `pathmesh matrix --kind nvme.subsystem` shows it; its paths are its controllers.
    It is refused for a node whose state is not known now, and for one that sees paths and can use none of them. Without --node,
    nodes that are not known, or see no path at all, are left out: that a LUN is gone is accepted only of nodes that are named.

    \b
    Examples:
      pathmesh lun accept 3624a9370e92ace0b12e941bf000cb4d5 --node n3 --reason "switch B is gone for good"
      pathmesh lun accept nqn.2010-06.com.purestorage:flasharray.1 --expires 7d --reason "port 2 is being replaced"
    """
    client = session.client()
    check_digest(client, write)
    body = write.body(nodes=list(nodes) or None, expires_seconds=expires)
    answer = client.request("POST", f"{LUNS}/{quoted(wwid)}/accept", query=write.flags, body=body).json()
    if session.output == "json":
        session.json(answer)
        return
    rows = [
        [str(entry["node"]), str(len(entry["paths"])), text_of(entry["paths"]), text_of(entry.get("given_up"))]
        for entry in answer.get("accepted") or ()
    ]
    session.table(("NODE", "PATHS", "EXPECTED NOW", "NO LONGER EXPECTED"), rows, empty="nothing to accept")
    for entry in answer.get("left_out") or ():
        session.say(f"{entry['node']}: left out ({entry['code']})")
    if write.dry_run:
        session.say("dry run: nothing was written")


def _found(session: Session, path: str) -> dict[str, Any] | None:
    """The body of a GET, None when there is no such thing."""
    try:
        body: dict[str, Any] = session.get(path)
    except ApiError as error:
        if error.status != 404:
            raise
        return None
    return body


def _change(session: Session, wwid: str, write: Write, body: Mapping[str, Any]) -> None:
    client = session.client()
    (chosen,), digest = _resolved(client, write, [wwid])
    response = client.request("PATCH", section_path(WWIDS, chosen), query=write.flags, body=body, if_match=digest)
    report(session, response.json())


def _resolved(client: Client, write: Write, words: Sequence[str]) -> tuple[list[str], str]:
    """The WWIDs that WWIDs or aliases name, and the digest to write with: the one given, else that of the state they were found in.

    A word that is neither stays, and the agent says what is wrong with it. Raises PathmeshError for an alias of several LUNs.
    """
    body = client.get(WWIDS)
    known = {entry["wwid"] for entry in body["wwids"]}
    wwids = []
    for word in words:
        named = [word] if word in known else [e["wwid"] for e in body["wwids"] if e["options"].get("alias") == word]
        if len(named) > 1:
            raise PathmeshError(f"{word} is the alias of {' and '.join(named)}", code="ambiguous-alias", hint="name the LUN by its WWID")
        wwids.append(named[0] if named else word)
    return wwids, write.digest or str(body["digest"])


def _disabled(options: Mapping[str, str]) -> bool:
    return options.get("disable", "0").lower() not in ("0", "no", "false", "off")


def _records(options: Mapping[str, str], health: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """One row for each option, each fact about the LUN, and each fact about it on a node."""
    for name, value in sorted(options.items()):
        yield "option", "", name, value
    if not health:
        return
    facts = ("state", "vendor", "product", "size_bytes", "device", "expected_nodes", "expected_source")
    for name in facts:
        yield "lun", "", name, text_of(health.get(name))
    for consumer in health.get("consumers") or ():
        yield "lun", "", "used_by", str(consumer.get("storage"))
    for node, cell in sorted((health.get("nodes") or {}).items()):
        paths = cell.get("paths") or {}
        yield "node", node, "state", text_of(cell.get("state"))
        yield "node", node, "redundancy", text_of(cell.get("redundancy"))
        for name in ("usable", "expected"):
            yield "node", node, f"{name}_paths", text_of(paths.get(name))
        for name in ("queueing", "age_seconds", "reasons"):
            yield "node", node, name, text_of(cell.get(name))
        for flag in cell.get("flags") or ():
            yield "node", node, "flag", str(flag)
        for path in cell.get("missing_paths") or ():
            yield "node", node, "missing_path", str(path)
        for path in cell.get("failed_paths") or ():
            yield "node", node, "failed_path", str(path)


def _facts(health: Mapping[str, Any]) -> list[str]:
    array = " ".join(str(health[name]).strip() for name in ("vendor", "product") if health.get(name))
    used = ", ".join(f"{c.get('storage')} ({c.get('type')})" for c in health.get("consumers") or ())
    rows: list[list[Cell]] = [
        ["array", array or "-"],
        ["size", size_text(health.get("size_bytes"))],
        ["device", text_of(health.get("device"))],
        ["expected on", f"{text_of(health.get('expected_nodes'))} ({text_of(health.get('expected_source'))})"],
        ["used by", used or "-"],
    ]
    return aligned(("", ""), rows, color=False, indent="  ")


def _reasons(cell: Mapping[str, Any]) -> list[str]:
    lost = [f"lost {path}" for path in cell.get("missing_paths") or ()]
    return [*(cell.get("reasons") or ()), *lost, *(f"failed {path}" for path in cell.get("failed_paths") or ())]


def _flags(cells: Mapping[str, Any]) -> list[str]:
    """What is worth knowing although it works, and where."""
    found: dict[str, list[str]] = {}
    for name, cell in sorted(cells.items()):
        for flag in cell.get("flags") or ():
            found.setdefault(str(flag), []).append(name)
    lines = [one_line(f"! on {', '.join(found[flag])}: {flag_text(flag)}") for flag in sorted(found, key=worst_first)]
    return ["", *lines] if lines else []


def _cells(session: Session, cells: Mapping[str, Any]) -> list[str]:
    rows: list[list[Cell]] = []
    for name, cell in sorted(cells.items(), key=lambda item: (severity(item[1].get("state"), CELL_SEVERITY), item[0])):
        state, redundancy = str(cell.get("state", "unknown")), text_of(cell.get("redundancy"))
        rows.append(
            [
                name,
                Painted(state, state),
                Painted(redundancy, redundancy),
                paths_text(cell) or "-",
                text_of(cell.get("queueing")),
                age_text(cell.get("age_seconds")),
                ", ".join(_reasons(cell)) or "-",
            ]
        )
    return aligned(("NODE", "STATE", "REDUNDANCY", "PATHS", "QUEUEING", "AGE", "REASONS"), rows, color=session.colors)
