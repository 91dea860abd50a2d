"""`pathmesh conflicts` and `pathmesh resolve`: concurrent edits of one section, and how a person settles them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

from agent.cli.base import Command, exits
from agent.cli.client import quoted
from agent.cli.errors import CONFLICT
from agent.cli.output import one_line, printable
from agent.cli.session import Session
from agent.cli.writes import DEFAULTS, Write, check_digest, edit_text, option_name, read_document, report, write_options
from agent.cli.writes import OVERRIDES as OVERRIDES_PATH
from store.document import OVERRIDES, STORAGE_PREFIX
from store.errors import PathmeshError

_HEADER = re.compile(r"[a-z][a-z0-9-]*:\s+\S+")


@click.command(cls=Command)
@click.pass_obj
def conflicts(session: Session) -> None:
    """List the sections with concurrent edits; exit status 4 while there is any.

    The version marked `applied` is what every node uses until the conflict is resolved.
    """
    body = session.get("/v1/conflicts")
    found = body["conflicts"]
    if session.output == "json":
        session.json(body)
    elif session.output == "tsv":
        header = ("key", "number", "dot", "applied", "author", "wall", "reason", "value")
        session.table(header, [row for conflict in found for row in _records(conflict)])
    else:
        for conflict in found:
            session.lines(_lines(session, conflict))
        if not found:
            session.say("no conflicts")
    if found:
        exits(CONFLICT)


@click.command(cls=Command)
@click.argument("key")
@click.option("--take", metavar="N", help="Keep this version: its number in `conflicts`, or its edit.")
@click.option("--value", "source", metavar="FILE|-", help="Use this value instead: `option value` lines, or JSON.")
@write_options
@click.pass_obj
def resolve(session: Session, key: str, take: str | None, source: str | None, write: Write) -> None:
    """Settle the conflict of a section: keep one version, or give a new value.

    A value is a file with lines `option value` as `config show` prints them, or a JSON object; JSON `null` removes the
    section. For the key `overrides` it is the text itself. Only the versions that exist when the command runs are
    settled; one that arrives later stays a conflict. Where versions may still arrive, name the edit, not the number.

    \b
    Examples:
      pathmesh resolve wwid/3624a9370e92ace0b12e941bf000cb4d5 --take 2
      pathmesh resolve defaults --take 9f3a21c0:17
      pathmesh resolve defaults --value merged.txt --reason "both changes"
    """
    if (take is None) == (source is None):
        raise click.UsageError("give either --take or --value")
    client = session.client()
    check_digest(client, write, OVERRIDES_PATH if key == OVERRIDES else DEFAULTS)
    found = next((entry for entry in client.get("/v1/conflicts")["conflicts"] if entry["key"] == key), None)
    if found is None:
        raise PathmeshError(f"{key} has no conflict", code="no-conflict", hint="see `pathmesh conflicts`")
    siblings = found["siblings"]
    body: dict[str, Any] = {"dots": [sibling["dot"] for sibling in siblings]}
    if take is not None:
        body["take"] = _chosen(siblings, take)
    else:
        body["value"] = _value(key, siblings, read_document(str(source)))
    path = f"/v1/conflicts/{quoted(key)}/resolve"
    response = client.request("POST", path, query=write.flags, body=write.body(**body))
    report(session, response.json(), what=key)


def _chosen(siblings: Sequence[Mapping[str, Any]], take: str) -> int:
    """The 1-based number of the version that `take` names, by number or by the beginning of its actor with its counter."""
    if take.isascii() and take.isdigit() and 1 <= int(take) <= len(siblings):
        return int(take)
    actor, colon, counter = take.lower().partition(":")
    dots = [str(sibling["dot"]).partition(":") for sibling in siblings]
    named = [n for n, (a, _, c) in enumerate(dots, start=1) if colon and actor and a.startswith(actor) and c == counter]
    if len(named) != 1:
        numbers = f"1 to {len(siblings)}"
        known = ", ".join(edit_text(sibling["dot"]) for sibling in siblings)
        raise click.UsageError(f"no version {take!r}: expected {numbers}, or one of {known}")
    return named[0]


def _value(key: str, siblings: Sequence[Mapping[str, Any]], text: str) -> dict[str, str] | None:
    """The options that a file gives for the section `key`; None removes it."""
    if key == OVERRIDES:
        return {"text": text}
    if text.strip() == "null" or text.lstrip().startswith("{"):
        return _json_value(text)
    from store import section_config

    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines or not _HEADER.fullmatch(lines[0]):
        lines.insert(0, _header(key, siblings))
    document = section_config.to_document(section_config.parse("\n\t".join(lines) + "\n"))
    if list(document) != [key]:
        raise click.UsageError(f"the value is of {', '.join(document)}, not of {key}")
    return {option_name(name): value for name, value in document[key].items()}


def _header(key: str, siblings: Sequence[Mapping[str, Any]]) -> str:
    kind, _, name = key.partition("/")
    if key.startswith(STORAGE_PREFIX):
        kind = next((str(s["value"]["type"]) for s in siblings if s.get("value") and "type" in s["value"]), "")
        if not kind:
            raise click.UsageError(f"begin the value with a line `TYPE: {name}`, every version of {key} is a removal")
    return f"{kind}: {name or 'global'}"


def _json_value(text: str) -> dict[str, str] | None:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"the value is not valid JSON: {error}") from None
    if value is not None and not all(isinstance(item, str) for item in value.values()):
        raise click.UsageError("the value must map options to strings")
    return None if value is None else {option_name(name): item for name, item in value.items()}


def _lines(session: Session, conflict: Mapping[str, Any]) -> list[str]:
    key = printable(str(conflict["key"]))
    lines = [session.paint(key, "bold")]
    for number, sibling in enumerate(conflict["siblings"], start=1):
        applied = session.paint("  applied", "healthy") if sibling.get("winner") else ""
        reason = f': "{one_line(str(sibling["reason"]))}"' if sibling.get("reason") else ""
        author = printable(str(sibling.get("author") or "?"))
        lines.append(f"  {number}  {edit_text(sibling['dot'])}  by {author}, {sibling.get('wall') or '?'}{reason}{applied}")
        lines.extend(f"       {line}" for line in _value_lines(sibling.get("value")))
    lines.append(f"  settle it: pathmesh resolve {key} --take N")
    return lines


def _value_lines(value: Mapping[str, Any] | None) -> list[str]:
    if value is None:
        return ["(removed)"]
    return [f"{printable(name)} {printable(line)}" for name in sorted(value) for line in str(value[name]).splitlines()]


def _records(conflict: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            str(conflict["key"]),
            str(number),
            str(sibling["dot"]),
            "yes" if sibling.get("winner") else "no",
            str(sibling.get("author") or ""),
            str(sibling.get("wall") or ""),
            str(sibling.get("reason") or ""),
            json.dumps(sibling.get("value"), sort_keys=True, ensure_ascii=False),
        )
        for number, sibling in enumerate(conflict["siblings"], start=1)
    ]
