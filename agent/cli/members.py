"""`pathmesh member` and `pathmesh token`: who belongs to the cluster, and who may join it."""

import click

from agent.cli.base import Group
from agent.cli.client import quoted
from agent.cli.output import Cell, Painted, age_text, short, text_of
from agent.cli.session import Session
from agent.cli.writes import Duration, Write, check_digest, write_options
from store.errors import PathmeshError

TOKENS = "/v1/members/tokens"


@click.group(cls=Group)
def member() -> None:
    """Show and remove the members of the cluster."""


@member.command("ls")
@click.pass_obj
def list_members(session: Session) -> None:
    """List the members with their role, state and liveness as this node sees it."""
    body = session.get("/v1/members")
    if session.output == "json":
        session.json(body)
        return
    plain = session.output == "tsv"
    rows: list[list[Cell]] = []
    for entry in body["members"]:
        state, liveness = str(entry.get("state", "unknown")), text_of(entry.get("liveness"))
        actor, age = str(entry.get("actor") or ""), entry.get("age_seconds")
        rows.append(
            [
                str(entry["name"]),
                text_of(entry.get("role")),
                Painted(state, state),
                Painted(liveness, liveness),
                actor if plain else short(actor, 8),
                ("" if age is None else str(age)) if plain else age_text(age),
                text_of(entry.get("endpoints")),
            ]
        )
    session.table(("MEMBER", "ROLE", "STATE", "LIVENESS", "ACTOR", "AGE", "ENDPOINTS"), rows, empty="no members")


@member.command("evict")
@click.argument("name")
@write_options
@click.pass_obj
def evict(session: Session, name: str, write: Write) -> None:
    """Remove a member now, as one that cannot be trusted any more: its frames are dropped everywhere.

    \b
    Example:
      pathmesh member evict n3 --reason "stolen"
    """
    _remove(session, name, write, evict="true")


@member.command("retire")
@click.argument("name")
@write_options
@click.pass_obj
def retire(session: Session, name: str, write: Write) -> None:
    """Remove a member that is gone for good; to come back it has to join anew."""
    _remove(session, name, write, evict=None)


def _remove(session: Session, name: str, write: Write, *, evict: str | None) -> None:
    client = session.client()
    check_digest(client, write)
    if write.dry_run:  # looked up here, so that nothing like a removal is sent
        found = next((entry for entry in client.get("/v1/members")["members"] if entry["name"] == name), None)
        if found is None:
            raise PathmeshError(f"no member named {name!r}", code="not-found", hint="see `pathmesh member ls`")
        session.say(f"dry run: {name} ({found.get('role')}, {found.get('state')}) would be removed, nothing was written")
        return
    query = {"reason": write.reason, "evict": evict}
    response = client.request("DELETE", f"/v1/members/{quoted(name)}", query=query)
    if session.output == "json":
        session.json_bytes(response)
    else:
        session.say(f"{name} is no member any more")


@click.group(cls=Group)
def token() -> None:
    """Make and revoke the one-time tokens with which nodes join."""


@token.command("create")
@click.option("--ttl", type=Duration(), default="1h", show_default=True, metavar="D", help="How long it is valid.")
@click.option("--uses", type=click.IntRange(min=1), default=1, show_default=True, help="How many nodes may join with it.")
@click.option(
    "--role",
    type=click.Choice(["observer", "editor", "admin"]),
    default="editor",
    show_default=True,
    help="What the node may do in the cluster.",
)
@click.pass_obj
def create(session: Session, ttl: int, uses: int, role: str) -> None:
    """Make a token; it is shown this once. The node that made it must be reachable while others join with it.

    \b
    Example:
      ssh root@n2 pathmesh join $(pathmesh token create)
    """
    answer = session.client().request("POST", TOKENS, body={"ttl_seconds": ttl, "uses": uses, "role": role}).json()
    if session.output == "json":
        session.json(answer)
    elif session.output == "tsv":
        names = ("id", "expires", "token")
        session.table(names, [[str(answer.get(name) or "") for name in names]])
    else:
        session.lines([str(answer["token"])])
        session.say(f"valid until {answer.get('expires')}, revoke it with: pathmesh token revoke {answer.get('id')}")


@token.command("ls")
@click.pass_obj
def list_tokens(session: Session) -> None:
    """List the tokens that this node made, without their secrets."""
    body = session.get(TOKENS)
    if session.output == "json":
        session.json(body)
        return
    names = ("id", "role", "uses_left", "expires", "state")
    rows = [[text_of(entry.get(name)) for name in names] for entry in body["tokens"]]
    session.table(("ID", "ROLE", "USES LEFT", "EXPIRES", "STATE"), rows, empty="no tokens")


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@click.pass_obj
def revoke(session: Session, token_id: str) -> None:
    """Make a token invalid."""
    response = session.client().request("DELETE", f"{TOKENS}/{quoted(token_id)}")
    if session.output == "json" and response.body:
        session.json_bytes(response)
    else:
        session.say(f"token {token_id} is revoked")
