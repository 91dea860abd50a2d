"""What all writes share: `--digest`, `--reason`, `--dry-run`, the way of a digest, and how the outcome is told.

A write names the digest it was made from. Without --digest the command reads the document, changes it and writes with the digest it
read; it never repeats a refused write, because what was refused was made from a state that is gone.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

import click

from agent.cli.client import Client, quoted
from agent.cli.errors import ApiError
from agent.cli.output import short
from agent.cli.session import Session
from store.errors import ConflictError

F = TypeVar("F", bound=Callable[..., Any])

WWIDS = "/v1/config/wwids"
STORAGES = "/v1/config/storages"
DEFAULTS = "/v1/config/defaults"
EDITS = "/v1/config/edits"
OVERRIDES = "/v1/overrides"

_TEXT_REFUSED = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)

_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_UNIT_SECONDS = (604800, 86400, 3600, 60, 1)


class Write(NamedTuple):
    """How a write is meant: from which state, why, and whether it is one at all."""

    digest: str | None
    reason: str | None
    dry_run: bool

    @property
    def query(self) -> dict[str, str | None]:
        """The query parameters of a write that carries no JSON body."""
        return {"reason": self.reason, "dry_run": "true" if self.dry_run else None}

    def body(self, **content: Any) -> dict[str, Any]:
        """A JSON body with the reason in it."""
        return {**content, "reason": self.reason} if self.reason else content

    @property
    def flags(self) -> dict[str, str | None]:
        """The query parameters of a write whose JSON body carries the reason."""
        return {"dry_run": "true" if self.dry_run else None}


class Duration(click.ParamType[int]):
    """A duration: seconds, or numbers with the units w, d, h, m, s, largest first."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).strip()
        if text.isascii() and text.isdigit():
            seconds = int(text)
        else:
            found = _DURATION.fullmatch(text)
            seconds = sum(int(n or 0) * unit for n, unit in zip(found.groups(), _UNIT_SECONDS, strict=True)) if found else 0
        if seconds <= 0:
            self.fail(f"{text!r} is no duration: write it like 90s, 15m, 1h30m, 7d", param, ctx)
        return seconds


def write_options(command: F) -> F:
    """Give a command the options of a write, handed to it as one `write` argument."""

    @click.option("--digest", metavar="D", callback=_digest, help="The digest of the state that this change was made from.")
    @click.option("--reason", metavar="TEXT", help="Why, for the history.")
    @click.option("--dry-run", is_flag=True, help="Validate and show the difference, write nothing.")
    @wraps(command)
    def with_write(*args: Any, digest: str | None, reason: str | None, dry_run: bool, **more: Any) -> Any:
        return command(*args, write=Write(digest, reason, dry_run), **more)

    return with_write  # type: ignore[return-value]


def _digest(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    text = value.strip().strip('"').lower()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise click.BadParameter(f"{value!r} is no digest: expected 64 hexadecimal digits", ctx, param)
    return text


def digest_for(client: Client, write: Write, read: str = DEFAULTS) -> str:
    """The digest to write with: the one given, else the one of the document that `read` shows now."""
    return write.digest or str(client.get(read)["digest"])


def check_digest(client: Client, write: Write, read: str = DEFAULTS) -> None:
    """Refuse a write whose --digest is not that of `read` now, for addresses that are guarded by something else.

    Raises ConflictError; without --digest nothing is read.
    """
    if write.digest is not None and client.get(read)["digest"] != write.digest:
        raise ConflictError("the configuration has changed since it was read", code="stale-digest")


def assignments(words: tuple[str, ...]) -> dict[str, str]:
    """`k=v` words as options; names may be written with `_`. Raises click.UsageError for a word that is none."""
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = option_name(name)
        if not equals or not name:
            raise click.UsageError(f"{word!r} is no assignment: expected OPTION=VALUE")
        if not value:
            raise click.UsageError(f"{word!r} has no value: an option is removed with `unset` or --delete")
        if name in options:
            raise click.UsageError(f"option {name!r} is given twice")
        options[name] = value
    return options


def option_name(name: str) -> str:
    """The canonical spelling of a configuration option."""
    return name.strip().replace("_", "-")


def section_path(base: str, name: str) -> str:
    """The address of one section."""
    return f"{base}/{quoted(name)}"


def report(session: Session, answer: Mapping[str, Any], *, what: str = "") -> None:
    """Tell the outcome of a write: the body as JSON or TSV, else the difference of a dry run and one line on standard error."""
    if session.output == "json":
        session.json(answer)
        return
    for problem in answer.get("warnings") or ():
        session.problem({"severity": "warning", **problem})
    diff = str(answer.get("diff") or "")
    changed = [str(key) for key in answer.get("changed") or ()]
    if session.output == "tsv":
        header = ("dry_run", "edit", "digest", "overrides_digest", "changed")
        dry = "true" if answer.get("dry_run") else "false"
        row = [str(answer.get(name) or "") for name in ("edit", "digest", "overrides_digest")]
        session.table(header, [(dry, *row, ",".join(changed))])
    elif answer.get("dry_run"):
        session.diff(diff)
        session.say("dry run: this would change it, nothing was written" if diff or changed else "dry run: nothing would change")
    elif answer.get("edit") is None:
        session.say("nothing to change")
    else:
        if session.verbose:
            session.diff(diff)
        named = what or ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        digest = answer.get("overrides_digest" if changed == ["overrides"] else "digest")  # the one that guards the next write
        session.say(f"changed {named} (edit {edit_text(answer['edit'])}, digest {short(digest)})")


def edit_text(edit: Any) -> str:
    """An edit's dot with its actor cut short."""
    actor, colon, counter = str(edit).partition(":")
    return f"{actor[:8]}{colon}{counter}"


def read_document(source: str, *, foreign: bool = False) -> str:
    """The text of a file, or of standard input for `-`. Raises click.UsageError when it cannot be read.

    A `foreign` one that is not UTF-8 is read as Latin-1, in which old files have their comments.
    """
    from pathlib import Path

    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return data.decode()
    except OSError as error:
        raise click.UsageError(f"{source_name(source)}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        if foreign:
            return data.decode("latin-1")
        raise click.UsageError(f"{source_name(source)}: not UTF-8 at byte {error.start}") from None


def source_name(source: str) -> str:
    """How a FILE argument is called in messages."""
    return "standard input" if source == "-" else source


def in_file(problem: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A problem of a text as one of a file: its place is `FILE:LINE:COLUMN`, as compilers write it."""
    line, column = int(problem.get("line") or 0), int(problem.get("column") or 0)
    place, message = source_name(source), str(problem.get("message") or "")
    if line:
        place += f":{line}:{column}" if column else f":{line}"
        message = message.removeprefix(f"line {line}, column {column}: ").removeprefix(f"line {line}: ")
    return {**problem, "key": place, "option": None, "message": message}


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Name the file in the message of a refusal that is about its text; a stale digest or an open conflict is not."""
    try:
        yield
    except ApiError as error:
        if error.status in _TEXT_REFUSED:
            error.message = f"{source_name(source)}: {error.message}"
        raise


@contextmanager
def hint_if_exists(command: str) -> Iterator[None]:
    """Name the command that changes what an `add` found there already, in place of the API's hint at its own method."""
    try:
        yield
    except ApiError as error:
        if error.code == "exists":
            error.hint = f"change it with `{command}`"
        raise
