"""`pathmesh defaults`: the defaults section."""

import click

from agent.cli.base import Group
from agent.cli.session import Session
from agent.cli.writes import DEFAULTS, Write, assignments, digest_for, option_name, report, write_options


@click.group(cls=Group)
def defaults() -> None:
    """Show and change the defaults section, which holds for every LUN."""


@defaults.command("show")
@click.pass_obj
def show(session: Session) -> None:
    """Show the options of the defaults section."""
    body = session.get(DEFAULTS)
    if session.output == "json":
        session.json(body)
        return
    session.table(("OPTION", "VALUE"), sorted(body["options"].items()), empty="the defaults section is empty")


@defaults.command("set")
@click.argument("options", nargs=-1, required=True, metavar="OPTION=VALUE...")
@write_options
@click.pass_obj
def set_options(session: Session, options: tuple[str, ...], write: Write) -> None:
    """Set default options; those not named stay.

    \b
    Example:
      pathmesh defaults set polling-interval=5 no_path_retry=12 --reason "as the array's vendor says"
    """
    _change(session, write, assignments(options), [])


@defaults.command("unset")
@click.argument("options", nargs=-1, required=True, metavar="OPTION...")
@write_options
@click.pass_obj
def unset_options(session: Session, options: tuple[str, ...], write: Write) -> None:
    """Remove default options; a section without options goes as a whole."""
    _change(session, write, {}, [option_name(name) for name in options])


def _change(session: Session, write: Write, wanted: dict[str, str], unwanted: list[str]) -> None:
    client = session.client()
    body = write.body(set=wanted, delete=unwanted)
    response = client.request("PATCH", DEFAULTS, query=write.flags, body=body, if_match=digest_for(client, write))
    report(session, response.json())
