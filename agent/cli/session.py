"""One run of the command line: the global options, where output and messages go, and the client to the agent."""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from agent.cli.client import Client, Response
from agent.cli.errors import ApiError, default_hint
from agent.cli.output import Cell, aligned, one_line, paint, printable, tsv
from store.errors import PathmeshError

if TYPE_CHECKING:
    from agent.settings import Settings

DEFAULT_CONFIG = "/etc/pathmesh/pathmesh.toml"
DEFAULT_SOCKET = "/run/pathmesh/pathmesh.sock"
"""Both repeat a default of the settings, so that a node without a settings file need not load that module."""

DEFAULT_TIMEOUT_SECONDS = 30.0


class Session:
    """What every command gets. `output` is `table`, `json` or `tsv`; `color` None means as the terminal and NO_COLOR say."""

    def __init__(self) -> None:
        self.output = "table"
        self.color: bool | None = None
        self.timeout: float | None = None
        self.quiet = False
        self.verbose = False
        self.socket: str | None = None
        self.config: str | None = None

    # -- the agent -----------------------------------------------------------------------------------------------

    def client(self, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> Client:
        """A client to the agent; `timeout` in seconds holds unless --timeout was given."""
        return Client(self._socket_path(), self.timeout or timeout)

    def get(self, path: str, query: Mapping[str, str | None] | None = None) -> Any:
        """The JSON body of one GET."""
        return self.client().get(path, query)

    def settings(self) -> "Settings":
        """This node's settings; raises PathmeshError for a file that is wrong."""
        from pathlib import Path

        from agent.settings import load

        return load(Path(self.config) if self.config else None)

    def _socket_path(self) -> str:
        if self.socket:
            return self.socket
        if self.config is None and not os.access(DEFAULT_CONFIG, os.F_OK):
            return DEFAULT_SOCKET
        return str(self.settings().api.socket)

    # -- standard output: results --------------------------------------------------------------------------------

    @property
    def colors(self) -> bool:
        """Whether results on standard output are coloured."""
        return _colors(self.color, sys.stdout.isatty())

    def paint(self, text: str, role: str) -> str:
        """`text` in the colour of a state or role, if results are coloured."""
        return paint(text, role) if self.colors else text

    def lines(self, lines: Iterable[str]) -> None:
        """Print result lines."""
        for line in lines:
            click.echo(line, color=True)

    def text(self, text: str) -> None:
        """Print a document as it is; on a terminal its control characters are made visible."""
        if sys.stdout.isatty():
            text = "\n".join(printable(line) for line in text.expandtabs().split("\n"))
        click.echo(text, nl=bool(text) and not text.endswith("\n"), color=True)

    def diff(self, text: str) -> None:
        """Print a unified diff, coloured on a terminal."""
        for line in text.splitlines():
            role = {"+": "healthy", "-": "failed", "@": "dim"}.get(line[:1], "")
            click.echo(self.paint(printable(line.expandtabs()), role) if self.colors else line, color=True)

    def json(self, body: Any) -> None:
        """Print a JSON body: indented on a terminal, on one line elsewhere."""
        click.echo(json.dumps(body, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))

    def json_bytes(self, response: Response) -> None:
        """Print the body of a response as JSON, without decoding it when nobody looks at it."""
        if sys.stdout.isatty():
            self.json(response.json())
        else:
            click.echo(response.text().rstrip("\n"))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Cell]], *, empty: str = "") -> None:
        """Print rows as an aligned table or as TSV; `empty` is the message for no rows at all."""
        if self.output == "tsv":
            self.lines(tsv(header, rows))
        elif rows:
            self.lines(aligned(header, rows, color=self.colors))
        elif empty:
            self.say(empty)

    # -- standard error: messages --------------------------------------------------------------------------------

    def say(self, message: str) -> None:
        """A message for people, unless --quiet."""
        if not self.quiet:
            click.echo(one_line(message), err=True)

    def problem(self, problem: Mapping[str, Any]) -> None:
        """One problem as the API gives it: severity, key, option, message, and its hint on a line of its own."""
        head, hint = problem_text(problem)
        severity = str(problem.get("severity") or "error")
        color = _colors(self.color, sys.stderr.isatty())
        click.echo((paint(severity, severity) if color else severity) + head, err=True, color=True)
        if hint:
            click.echo(f"  hint: {hint}", err=True)

    def error(self, error: PathmeshError) -> None:
        """The error that ends the command: one line, the single problems if there are any, and a hint."""
        click.echo(f"pathmesh: {one_line(error.message)}", err=True)
        hint = default_hint(error)
        if hint:
            click.echo(f"  hint: {one_line(hint)}", err=True)
        for problem in error.problems if isinstance(error, ApiError) else ():
            if str(problem.get("message")) not in error.message:
                self.problem(problem)


def problem_text(problem: Mapping[str, Any]) -> tuple[str, str]:
    """`: place: message` and the hint of a problem, each on one line; a message that names its place needs no other."""
    message = str(problem.get("message") or problem.get("code") or "")
    named = _names_place(message, str(problem.get("key") or ""))
    place = "" if named else " ".join(str(problem[part]) for part in ("key", "option") if problem.get(part))
    return one_line(f": {place}: {message}" if place else f": {message}"), one_line(str(problem.get("hint") or ""))


def _names_place(message: str, key: str) -> bool:
    """Whether a message says itself which section it is about: a LUN or a storage anywhere, another key where it begins."""
    kind, slash, name = key.partition("/")
    if slash and kind in ("wwid", "storage"):
        title = rf"(?:storage |storage/){re.escape(name)}" if kind == "storage" else re.escape(name)
        return re.search(rf"(?<![\w.-]){title}(?![\w-])", message) is not None
    return bool(key) and message.startswith(f"{key}:")


def _colors(wanted: bool | None, terminal: bool) -> bool:
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" if wanted is None else wanted
