"""The commands that work on this node's own files: `init`, `join`, `agent`, `settings check`."""

from pathlib import Path

import click

from agent.cli.base import Command, Group, exits
from agent.cli.errors import FAILED
from agent.cli.output import text_of
from agent.cli.session import Session


@click.command(cls=Command)
@click.option("--name", metavar="N", help="The node's name; default: the setting node.name, else the host name.")
@click.option("--cluster", metavar="NAME", default="pathmesh", show_default=True, help="The name of the new cluster.")
@click.pass_obj
def init(session: Session, name: str | None, cluster: str) -> None:
    """Make this node's keys and database, and a new cluster with it as the first admin.

    \b
    Example:
      pathmesh init --name n1 --cluster san && systemctl start pathmesh
    """
    settings = session.settings()
    from agent.bootstrap import init as make_cluster

    chosen = name or settings.node.name
    make_cluster(settings, chosen, cluster)
    session.say(f"{chosen} is the first node of cluster {cluster}; now start the agent: systemctl start pathmesh")


@click.command(cls=Command)
@click.argument("token")
@click.option("--name", metavar="N", help="The node's name; default: the setting node.name, else the host name.")
@click.pass_obj
def join(session: Session, token: str, name: str | None) -> None:
    """Make this node's keys and join the cluster that the token is for; `pathmesh token create` makes tokens."""
    settings = session.settings()
    from agent.bootstrap import join as join_cluster

    chosen = name or settings.node.name
    join_cluster(settings, token, chosen)
    session.say(f"{chosen} has joined; now start the agent: systemctl start pathmesh")


@click.command(cls=Command)
@click.pass_obj
def agent(session: Session) -> None:
    """Run the agent of this node in the foreground, as the systemd unit does."""
    settings = session.settings()
    from agent.daemon import run

    exits(run(settings))


@click.group(cls=Group)
def settings() -> None:
    """Check this node's settings file."""


@settings.command("check")
@click.pass_obj
def check(session: Session) -> None:
    """Check the settings file and list everything that is wrong; --verbose shows the values that hold."""
    from agent.settings import DEFAULT_PATH
    from agent.settings import check as check_file
    from agent.settings import effective as values_of

    chosen = Path(session.config) if session.config else None
    found, faults = check_file(chosen)
    file = str(chosen or DEFAULT_PATH)
    values = values_of(found)
    if session.output == "json":
        problems = [fault._asdict() for fault in faults]
        session.json({"file": file, "problems": problems, "settings": None if faults else values})
    elif session.output == "tsv" or (session.verbose and not faults):
        rows = [(f"{table}.{name}", text_of(value)) for table, row in values.items() for name, value in row.items()]
        session.table(("SETTING", "VALUE"), rows)
    for fault in faults:
        session.problem({"key": fault.key, "message": f"{fault.message} ({file})", "hint": fault.hint})
    if faults:
        exits(FAILED)
    session.say(f"{file}: good" if found.source else f"{file}: does not exist, every setting has its default")
