"""`pathmesh config history`, `revert` and `rollout`: who changed what and why, its undoing, and how far it has come."""

import difflib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from agent.cli.base import Command, exits
from agent.cli.client import quoted
from agent.cli.errors import FAILED
from agent.cli.output import MISSING, Cell, Painted, age_text, aligned, one_line, printable, text_of
from agent.cli.session import Session
from agent.cli.writes import Write, edit_text, report, write_options

HISTORY = "/v1/history"
ROLLOUT = "/v1/rollout"
LINES_SHOWN = 8
"""Lines of one edit's changes that are shown without --verbose."""
WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.5

_OF_MEMBERS = ("state", "role", "endpoint")
"""What is shown of a member without --verbose."""
_STATE_ROLES = {"conflict": "warning", "superseded": "dim", "void": "dim", "partial": "dim", "applied": "healthy"}
_ROLLOUT_ROLES = {
    "applied": "healthy",
    "committed": "pending",
    "waiting": "pending",
    "unknown": "unknown",
    "failed": "failed",
    "not-applicable": "dim",
}


@click.command("history", cls=Command)
@click.argument("key", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, metavar="N", help="At most so many edits.")
@click.pass_obj
def history(session: Session, key: str | None, limit: int) -> None:
    """Show who changed what and why, newest first; of one section if KEY is given.

    KEY is a section (`defaults`, `overrides`, `wwid/…`, `storage/…`), a WWID, a storage or a LUN's alias. What a value was before
    an edit is left out where this node no longer knows it. -v shows every change of every edit, members' keys too.

    \b
    Examples:
      pathmesh config history
      pathmesh config history vmpool-a --limit 5
    """
    body = _fetch(session, key, limit)
    if session.output == "json":
        session.json(body)
    elif session.output == "tsv":
        header = ("edit", "wall", "author", "kind", "state", "late", "reason", "key", "action", "option", "before", "after")
        session.table(header, [row for entry in body["edits"] for row in _records(entry)])
    else:
        for entry in body["edits"]:
            session.lines(_lines(session, entry))
        if not body["edits"]:
            session.say("no edits")
        elif body["next"]:
            session.say(f"there are older edits: --limit {2 * limit} shows more")


@click.command("revert", cls=Command)
@click.argument("edit")
@write_options
@click.pass_obj
def revert(session: Session, edit: str, write: Write) -> None:
    """Undo an edit by a new one: each section that it changed gets the value that it had before.

    EDIT is named as `config history` shows it. Refused if one of the sections was changed again since or has an open conflict, or if
    this node no longer knows what was before.

    \b
    Examples:
      pathmesh config revert 9f3a21c0:17 --dry-run
      pathmesh config revert 9f3a21c0:17 --reason "the array was not ready"
    """
    client = session.client()
    path = f"{HISTORY}/{quoted(edit)}"
    digest = write.digest or client.request("GET", path).digest()
    answer = client.request("POST", f"{path}/revert", query=write.flags, body=write.body(), if_match=digest).json()
    report(session, answer)


@click.command("rollout", cls=Command)
@click.argument("edit", required=False)
@click.option(
    "--wait",
    type=click.FloatRange(0.1, 86_400),
    is_flag=False,
    flag_value=WAIT_SECONDS,
    metavar="[SECONDS]",
    help=f"Wait until it has come everywhere or failed somewhere, at most so long ({WAIT_SECONDS:g}).",
)
@click.option("--watch", is_flag=True, help="Wait too, and show every step.")
@click.pass_obj
def rollout(session: Session, edit: str | None, wait: float | None, watch: bool) -> None:
    """Show which node has committed and applied an edit; by default the newest one of the configuration.

    Exit status 0 if every node has applied it (or has nothing to apply), 1 if one failed or is not there yet.

    \b
    Examples:
      pathmesh config rollout
      pathmesh config rollout 9f3a21c0:17 --wait 120
    """
    path = ROLLOUT if edit is None else f"{ROLLOUT}/{quoted(edit)}"
    body = session.get(path)
    if wait is not None or watch:
        body = _wait(session, body, f"{ROLLOUT}/{quoted(str(body['edit']))}", wait or WAIT_SECONDS, watch=watch)
    _show_rollout(session, body)
    if not body["done"]:
        left = sum(count for state, count in body["counts"].items() if state not in ("applied", "not-applicable"))
        session.say(f"{left} of {len(body['nodes'])} nodes have not {'applied' if body['hosts'] else 'committed'} it")
        exits(FAILED)


def _fetch(session: Session, key: str | None, limit: int) -> dict[str, Any]:
    """So many edits, page by page: an answer may hold fewer than are asked for."""
    client = session.client()
    found: list[Any] = []
    cursor: str | None = None
    while True:
        query = {"key": key, "limit": str(min(1_000, limit - len(found))), "cursor": cursor}
        page: dict[str, Any] = client.get(HISTORY, query)
        found += page["edits"]
        cursor = page["next"]
        if not cursor or not page["edits"] or len(found) >= limit:
            return {**page, "edits": found}


# -- history ----------------------------------------------------------------------------------------------------------


def _lines(session: Session, entry: Mapping[str, Any]) -> list[str]:
    state = str(entry.get("state"))
    marks = [session.paint(state, _STATE_ROLES.get(state, ""))]
    if entry.get("late"):
        marks.append(session.paint("late", "warning"))
    if entry.get("kind") != "change" and not entry.get("late"):
        marks.append(printable(str(entry.get("kind"))))
    reason = f': "{one_line(str(entry["reason"]))}"' if entry.get("reason") else ""
    author = printable(str(entry.get("author") or "?"))
    head = f"{session.paint(edit_text(entry['edit']), 'bold')}  {entry.get('wall') or '?'}  {author}{reason}  {', '.join(marks)}"
    lines = [line for change in entry.get("changes") or () for line in _change_lines(change, verbose=session.verbose)]
    if entry.get("more_keys"):
        lines.append(f"and {entry['more_keys']} more sections")
    if not session.verbose and len(lines) > LINES_SHOWN:
        lines[LINES_SHOWN - 1 :] = [f"and {len(lines) - LINES_SHOWN + 1} more lines: -v shows them"]
    if entry.get("concurrent_with"):
        lines.append(f"concurrent with {', '.join(edit_text(other) for other in entry['concurrent_with'])}")
    return [head, *(f"    {line}" for line in lines)]


def _change_lines(change: Mapping[str, Any], *, verbose: bool) -> Iterator[str]:
    """One change: a line if it is short, else a line for each option; of texts the lines that differ. Of a member its keys are left out."""
    key, action = printable(str(change["key"])), str(change["action"])
    unknown = "" if change.get("before_known") else " (what was before is not known)"
    options = change.get("options") or []
    if key.startswith("member/") and not verbose:
        options = [option for option in options if option.get("option") in _OF_MEMBERS]
    texts = [option for option in options if any("\n" in str(option.get(side) or "") for side in ("before", "after"))]
    short = [_option_text(option) for option in options if option not in texts]
    if action == "removed" and not texts:
        yield f"{key} removed{unknown}"
        return
    yield f"{key} {action}{unknown}{': ' if short else ''}{', '.join(short)}"
    for option in texts:
        before, after = (str(option.get(side) or "").splitlines() for side in ("before", "after"))
        yield from (f"  {printable(line)}" for line in [*difflib.unified_diff(before, after, n=1, lineterm="")][2:])


def _option_text(option: Mapping[str, Any]) -> str:
    name, before, after = (None if option.get(part) is None else one_line(str(option[part])) for part in ("option", "before", "after"))
    if before is None:
        return f"{name} {after}"
    return f"{name} {before} -> {'(unset)' if after is None else after}"


def _records(entry: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    head = tuple(str(entry.get(name) or "") for name in ("edit", "wall", "author", "kind", "state"))
    head += ("yes" if entry.get("late") else "no", str(entry.get("reason") or ""))
    for change in entry.get("changes") or ():
        for option in change.get("options") or [{}]:
            parts = (str(option[part]) if option.get(part) is not None else "" for part in ("option", "before", "after"))
            yield (*head, str(change["key"]), str(change["action"]), *parts)


# -- rollout ----------------------------------------------------------------------------------------------------------


def _wait(session: Session, body: dict[str, Any], path: str, seconds: float, *, watch: bool) -> dict[str, Any]:
    """Ask until it is done, failed for good, or the time is up. A failed apply is tried again by its node: it ends the wait even so."""
    end = time.monotonic() + seconds
    while not body["done"] and not body["counts"].get("failed") and time.monotonic() < end:
        time.sleep(min(LOOK_SECONDS, max(0.0, end - time.monotonic())))
        before, body = body, session.get(path)
        if watch and body["counts"] != before["counts"]:
            _show_rollout(session, before)
            sys.stdout.flush()
    return body


def _show_rollout(session: Session, body: Mapping[str, Any]) -> None:
    if session.output == "json":
        session.json(body)
        return
    if session.output == "tsv":
        header = ("edit", "node", "state", "code", "message", "reporter", "age_seconds")
        session.table(header, [(str(body["edit"]), *(text_of(node.get(name)) for name in header[1:])) for node in body["nodes"]])
        return
    reason = f': "{one_line(str(body["reason"]))}"' if body.get("reason") else ""
    author = f"  {printable(str(body['author']))}, {body.get('wall')}" if body.get("author") else ""
    session.lines([f"edit {edit_text(body['edit'])}{author}{reason}"])
    session.lines(aligned(("NODE", "STATE", "HEARD", "AGE", "WHY"), [_row(node) for node in body["nodes"]], color=session.colors))


def _row(node: Mapping[str, Any]) -> Sequence[Cell]:
    state = str(node["state"])
    why = ": ".join(one_line(str(node[name])) for name in ("code", "message") if node.get(name))
    return (
        str(node["node"]),
        Painted(state, _ROLLOUT_ROLES.get(state, "")),
        str(node.get("reporter") or MISSING),
        age_text(node.get("age_seconds")),
        why or MISSING,
    )
