"""`pathmesh web-login`: a one-time link to the web page."""

import click

from agent.cli.base import Command
from agent.cli.session import Session


@click.command("web-login", cls=Command)
@click.pass_obj
def web_login(session: Session) -> None:
    """Print a one-time link to this node's web page.

    Whoever opens it first is logged in and acts as the user who asked for it, until the session ends or logs out. From another machine the
    page is reached through a tunnel; the link then works as it is.
    """
    body = session.client().request("POST", "/v1/web/links").json()
    if session.output == "json":
        session.json(body)
        return
    url = str(body["url"])
    if session.output == "tsv":
        session.table(("url", "expires_seconds"), [[url, str(body["expires_seconds"])]])
        return
    session.lines([url])
    address = url.removeprefix("http://").partition("/")[0]
    session.say(f"it works once, within {int(body['expires_seconds']) // 60} minutes")
    session.say(f"from another machine: ssh -L {address.rpartition(':')[2]}:{address} {session.get('/v1/whoami')['node']}")
