"""`pathmesh overrides`: the free-form part of multipath.conf, a document with a digest of its own."""

import click

from agent.cli.base import Group, exits
from agent.cli.client import TEXT
from agent.cli.errors import FAILED
from agent.cli.session import Session
from agent.cli.writes import OVERRIDES, Write, digest_for, in_file, naming, read_document, report, write_options


@click.group(cls=Group)
def overrides() -> None:
    """Show and replace the free-form overrides, for what the structured configuration does not offer."""


@overrides.command("show")
@click.pass_obj
def show(session: Session) -> None:
    """Show the overrides."""
    if session.output == "json":
        session.json(session.get(OVERRIDES))
        return
    text = session.client().request("GET", OVERRIDES, accept=TEXT).text()
    if session.output == "tsv":
        session.table(("line", "text"), [(str(n), line) for n, line in enumerate(text.splitlines(), start=1)])
        return
    session.text(text)
    if not text:
        session.say("there are no overrides")


@overrides.command("set")
@click.argument("source", metavar="FILE|-")
@write_options
@click.pass_obj
def replace(session: Session, source: str, write: Write) -> None:
    """Replace the overrides by the text of a file, or of standard input for `-`.

    \b
    Example:
      pathmesh overrides set netapp.conf --reason "vendor's device section"
    """
    text = read_document(source)
    client = session.client()
    digest = digest_for(client, write, OVERRIDES)
    with naming(source):
        response = client.request("PUT", OVERRIDES, query=write.query, body=text, if_match=digest)
    report(session, response.json())


@overrides.command("check")
@click.argument("source", metavar="FILE|-")
@click.pass_obj
def check(session: Session, source: str) -> None:
    """Check a text as overrides of this cluster without storing it; exit status 1 if it would be refused.

    Errors are what multipathd would break on, and rules that hide allow-listed LUNs. Warnings are what it would ignore or change, what is
    obsolete, and what the oldest multipath-tools of a node do not know. Remarks tell which of several settings of one keyword holds.
    """
    text = read_document(source)
    with naming(source):
        body = session.client().request("POST", f"{OVERRIDES}/check", body=text).json()
    problems = body.get("problems") or []
    if session.output == "json":
        session.json(body)
    elif session.output == "tsv":
        names = ("severity", "line", "column", "code", "message", "hint")
        session.table(names, [[str(problem.get(name) or "") for name in names] for problem in problems])
    else:
        for problem in problems:
            session.problem(in_file(problem, source))
    refused = any((problem.get("severity") or "error") == "error" for problem in problems)
    if refused:
        exits(FAILED)
    session.say("good, with remarks" if problems else "good")


@overrides.command("clear")
@write_options
@click.pass_obj
def clear(session: Session, write: Write) -> None:
    """Remove the overrides."""
    client = session.client()
    digest = digest_for(client, write, OVERRIDES)
    response = client.request("DELETE", OVERRIDES, query=write.query, if_match=digest)
    report(session, response.json())
