"""`pathmesh web-login`, `web-sessions`: one-time links to the web page, and who has it open."""

import click

from agent.cli.base import Command
from agent.cli.client import quoted
from agent.cli.output import text_of
from agent.cli.session import Session

SESSIONS = "/v1/web/sessions"
LEAST_OWN_PORT = 1024
"""Below it only root may listen, also on the other end of a tunnel."""
TUNNEL_PORT = 7980


@click.command("web-login", cls=Command)
@click.pass_obj
def web_login(session: Session) -> None:
    """Print a one-time link to this node's web page.

    Whoever opens it first is logged in and acts as the user who asked for it, until the session ends or logs out. From another machine the
    page is reached through a tunnel; the link then works as it is, unless the tunnel begins at another port.
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
    port = int(address.rpartition(":")[2])
    session.say(f"it works once, within {int(body['expires_seconds']) // 60} minutes")
    if port >= LEAST_OWN_PORT:
        session.say(f"from another machine: ssh -L {port}:{address} {session.get('/v1/whoami')['node']}")
    else:
        node = session.get("/v1/whoami")["node"]
        session.say(f"from another machine: ssh -L {TUNNEL_PORT}:{address} {node}, and in the link port {TUNNEL_PORT} instead of {port}")


@click.command("web-sessions", cls=Command)
@click.option("--end", "label", metavar="LABEL", help="End this one.")
@click.option("--end-all", is_flag=True, help="End all, and forget the links that nobody has opened yet.")
@click.pass_obj
def web_sessions(session: Session, label: str | None, end_all: bool) -> None:
    """List the open sessions of this node's web page, or end them: what their pages follow ends at once.

    \b
    Example:
      pathmesh web-sessions --end 3f9a02c1
    """
    if label is not None and end_all:
        raise click.UsageError("--end LABEL or --end-all, not both")
    client = session.client()
    if end_all:
        body = client.request("DELETE", SESSIONS).json()
    elif label is not None:
        body = client.request("DELETE", f"{SESSIONS}/{quoted(label)}").json()
    else:
        body = client.get(SESSIONS)
    if session.output == "json":
        session.json(body)
        return
    if "ended" in body:
        for entry in body["ended"]:
            session.say(f"session {entry['label']} of {entry['user']} has ended")
        if not body["ended"]:
            session.say("no session was open")
        return
    names = ("label", "user", "began", "expires")
    rows = [[text_of(entry.get(name)) for name in names] for entry in body["sessions"]]
    session.table(("LABEL", "USER", "BEGAN", "EXPIRES"), rows, empty="no web sessions")
