"""`pathmesh config`: the whole configuration as one SectionConfig text."""

import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from agent.cli.base import Group
from agent.cli.client import TEXT, Client
from agent.cli.errors import ApiError
from agent.cli.history import history, revert, rollout
from agent.cli.output import one_line
from agent.cli.session import Session, problem_text
from agent.cli.writes import Write, digest_for, in_file, naming, read_document, report, write_options
from store.errors import PathmeshError, UsageError

CONFIG = "/v1/config"


@click.group(cls=Group)
def config() -> None:
    """Read and write the whole configuration as SectionConfig text; see who changed what, and undo it."""


config.add_command(history)
config.add_command(revert)
config.add_command(rollout)


@config.command("show")
@click.option("--raw", is_flag=True, help="The stored text alone, without problems and conflicts as comments.")
@click.pass_obj
def show(session: Session, raw: bool) -> None:
    """Show the configuration; problems and open conflicts stand in it as comments."""
    if session.output == "json":
        session.json(session.get(CONFIG))
        return
    if session.output == "tsv":
        sections = session.get(CONFIG)["sections"]
        rows = [
            (section["type"], section["id"], name, value)
            for section in sections
            for name, value in sorted(section["options"].items()) or [("", "")]
        ]
        session.table(("type", "id", "option", "value"), rows)
        return
    text = _text(session.client())[0]
    if raw:
        session.text(text)
        return
    session.text(_remarks(session.get(CONFIG)) + text)
    if not text:
        session.say("the configuration is empty")


@config.command("export")
@click.pass_obj
def export(session: Session) -> None:
    """Write the stored text to standard output, for `config apply` and version control."""
    if session.output == "json":
        session.json(session.get(CONFIG))
        return
    session.text(_text(session.client())[0])


@config.command("apply")
@click.argument("source", metavar="FILE|-")
@write_options
@click.pass_obj
def apply(session: Session, source: str, write: Write) -> None:
    """Replace the whole configuration by the text of a file, or of standard input for `-`, in one edit.

    \b
    Examples:
      pathmesh config apply san.cfg --dry-run
      pathmesh config apply san.cfg --digest $(cat san.digest) --reason "release 12"
    """
    _replace(session, source, read_document(source), write)


@config.command("diff")
@click.argument("source", metavar="FILE|-")
@click.pass_obj
def diff(session: Session, source: str) -> None:
    """Show what `config apply` would change, and what it would refuse, without writing."""
    _replace(session, source, read_document(source), Write(None, None, True))


@config.command("import")
@click.argument("source", metavar="FILE|-")
@write_options
@click.pass_obj
def import_file(session: Session, source: str, write: Write) -> None:
    """Take over a configuration file from elsewhere; what of it is left out is listed with its line and the reason.

    A multipath.conf is brought into the configuration: its defaults and multipath sections become options, its other sections the
    overrides, and what the configuration says beside stays. A SectionConfig file, read leniently, replaces the whole configuration.

    \b
    Examples:
      pathmesh config import /etc/multipath.conf --dry-run
      pathmesh config import /mnt/old/multipath.cfg --dry-run
    """
    client = session.client()
    text = read_document(source, foreign=True)
    digest = digest_for(client, write)
    with naming(source):
        answer = client.request("POST", f"{CONFIG}/import", query=write.query, body=text, if_match=digest).json()
    if session.output != "json":
        for note in answer.get("notes") or ():
            session.problem(in_file(note, source))
    report(session, answer)


@config.command("edit")
@write_options
@click.pass_obj
def edit(session: Session, write: Write) -> None:
    """Edit the configuration in $VISUAL or $EDITOR; the difference is shown before it is written."""
    import tempfile
    from pathlib import Path

    client = session.client()
    before, digest = _text(client)
    digest = write.digest or digest
    with tempfile.NamedTemporaryFile("w", prefix="pathmesh-", suffix=".cfg", delete=False, encoding="utf-8") as stream:
        stream.write(before)
    file = Path(stream.name)
    try:
        _edit_until_good(session, client, file, before, write, digest)
    except (PathmeshError, click.ClickException, click.Abort):
        session.say(f"your text is kept in {file}")
        raise
    file.unlink()


def _edit_until_good(session: Session, client: Client, file: Any, before: str, write: Write, digest: str) -> None:
    """Let a person edit until the text is accepted or they give up; raises what the last attempt was refused with."""
    while True:
        _run_editor(str(file))
        text = file.read_text(encoding="utf-8")
        if text == before:
            session.say("nothing to change")
            return
        try:
            trial = _put(client, text, write._replace(dry_run=True), digest)
        except ApiError as error:
            if error.status not in (400, 422) or not _interactive():
                raise
            session.error(error)
            if not click.confirm("Edit again?", default=True, err=True):
                raise
            continue
        if write.dry_run:
            report(session, trial)
            return
        if session.output == "table":
            session.diff(str(trial.get("diff") or ""))
        if _interactive() and not click.confirm("Write this?", default=True, err=True):
            raise click.Abort
        report(session, _put(client, text, write, digest))
        return


def _run_editor(path: str) -> None:
    import shlex
    import subprocess

    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        status = subprocess.run([*shlex.split(command), path], check=False).returncode
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot run the editor {command!r}: {error}", hint="set EDITOR") from None
    if status != 0:
        raise UsageError(f"the editor {command!r} ended with status {status}; nothing was written")


def _interactive() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _text(client: Client) -> tuple[str, str]:
    """The stored text and its digest."""
    response = client.request("GET", CONFIG, accept=TEXT)
    return response.text(), response.digest()


def _put(client: Client, text: str, write: Write, digest: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.request("PUT", CONFIG, query=write.query, body=text, if_match=digest).json()
    return answer


def _replace(session: Session, source: str, text: str, write: Write) -> None:
    client = session.client()
    digest = digest_for(client, write)
    with naming(source):
        answer = _put(client, text, write, digest)
    report(session, answer)


def _remarks(body: Mapping[str, Any]) -> str:
    """Problems and open conflicts as comment lines, which the format ignores everywhere."""
    lines = [f"# conflict: {one_line(str(key))}: pathmesh conflicts" for key in body.get("conflicts") or ()]
    for problem in body.get("problems") or ():
        head, hint = problem_text(problem)
        lines.append(f"# {problem.get('severity') or 'error'}{head}{f' ({hint})' if hint else ''}")
    return "".join(f"{line}\n" for line in lines) + ("\n" if lines else "")
