"""`pathmesh member`, `token`, `leave`, `cluster`: who belongs to the cluster, who may join it, and the way out."""

import click

from agent.cli.base import Command, Group
from agent.cli.client import quoted
from agent.cli.output import Cell, Painted, age_text, short, text_of
from agent.cli.session import Session
from agent.cli.writes import Duration, Write, check_digest, write_options
from store.errors import PathmeshError

TOKENS = "/v1/members/tokens"
LEVEL = "/v1/cluster/level"
LEAVE_SECONDS = 20
"""How long `leave` waits for another member, without --timeout."""
ANSWER_SECONDS = 10
PURGE_SECONDS = 120
"""How much longer than that the answer may take; a host's tools may be slow."""
WIDEST = 12
"""Up to so many nodes the matrix is shown whole."""


@click.group(cls=Group)
def member() -> None:
    """Show, maintain and remove the members of the cluster."""


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
        label = f"{state} (maintenance)" if entry.get("maintenance") and not plain else state
        actor, age = str(entry.get("actor") or ""), entry.get("age_seconds")
        rows.append(
            [
                str(entry["name"]),
                text_of(entry.get("role")),
                Painted(label, state),
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


@member.command("maintenance")
@click.argument("name")
@click.argument("state", type=click.Choice(["on", "off"]))
@click.option("--expires", type=Duration(), metavar="D", help="End by itself after this time, for example 2h.")
@write_options
@click.pass_obj
def maintenance(session: Session, name: str, state: str, expires: int | None, write: Write) -> None:
    """Begin or end a member's maintenance: its cells are shown as ever, and count for no LUN and not for the cluster.

    
    Example:
      pathmesh member maintenance n3 on --expires 2h --reason "new HBA"
    """
    if state == "off" and expires is not None:
        raise click.UsageError("--expires says when maintenance ends: it goes with `on`")
    client = session.client()
    check_digest(client, write)
    body = write.body(on=state == "on", expires_seconds=expires)
    answer = client.request("PUT", f"/v1/members/{quoted(name)}/maintenance", query=write.flags, body=body).json()
    if session.output == "json":
        session.json(answer)
    elif write.dry_run:
        session.say(f"dry run: maintenance of {name} would be {state}, nothing was written")
    elif answer.get("edit") is None:
        session.say(f"{name} is not in maintenance: nothing to change")
    else:
        until = (answer.get("maintenance") or {}).get("expires")
        session.say(f"maintenance of {name} is {state}{f' until {until}' if until else ''}")


_SEEN = {"ok": "healthy", "self": "dim", "unheard": "degraded", "unreached": "degraded", "cut": "failed", "offline": "offline"}


@member.command("reach")
@click.pass_obj
def reach(session: Session) -> None:
    """Show who sees whom: a row tells how a node sees each of the others.

    `unheard`: nothing comes from it. `unreached`: the connection to it does not stand. `cut`: neither. Nodes tell only what is
    wrong, after they have found it twice.
    """
    body = session.get("/v1/members/reach")
    if session.output == "json":
        session.json(body)
        return
    names = [str(entry["node"]) for entry in body["nodes"]]
    if session.output == "tsv":
        pairs = [(str(entry["node"]), other, str(seen)) for entry in body["nodes"] for other, seen in (entry.get("sees") or {}).items()]
        session.table(("node", "other", "sees"), pairs)
        return
    rows: list[list[Cell]] = []
    for entry in body["nodes"]:
        sees = {name: str((entry.get("sees") or {}).get(name, "unknown")) for name in names}
        if session.verbose or len(names) <= WIDEST or any(seen not in ("ok", "self") for seen in sees.values()):
            shown = names if len(names) <= WIDEST else []
            cells: list[Cell] = [Painted("-" if sees[name] == "self" else sees[name], _SEEN.get(sees[name], "unknown")) for name in shown]
            rows.append([str(entry["node"]), *cells, *([] if shown else [_exceptions(sees)])])
    header = ("NODE", *names) if len(names) <= WIDEST else ("NODE", "DOES NOT SEE")
    session.table(header, rows, empty="everybody sees everybody")
    for line in body.get("problems") or ():
        session.say(str(line))


def _exceptions(sees: dict[str, str]) -> str:
    return ", ".join(f"{name} ({seen})" for name, seen in sees.items() if seen not in ("ok", "self")) or "-"


@click.command(cls=Command)
@click.option("--purge", is_flag=True, help="First take off what apply wrote on this host; what is in use goes when it is free.")
@write_options
@click.pass_obj
def leave(session: Session, purge: bool, write: Write) -> None:
    """Leave the cluster with this node, and wait until another member has heard of it.

    Its cells count nowhere any more. It is final: to come back the node joins anew, with new keys and an empty state directory.
    """
    wait = max(1, int(session.timeout or LEAVE_SECONDS))
    client = session.client()
    client.timeout = wait + (PURGE_SECONDS if purge else ANSWER_SECONDS)
    check_digest(client, write)
    answer = client.request("POST", "/v1/leave", query=write.flags, body=write.body(purge=purge, wait_seconds=min(wait, 600))).json()
    if session.output == "json":
        session.json(answer)
        return
    for warning in answer.get("warnings") or ():
        session.problem({"severity": "warning", "message": warning})
    if write.dry_run:
        session.say(f"dry run: {answer['left']} would leave, nothing was written")
        return
    for error in (answer.get("purged") or {}).get("errors") or ():
        session.problem({"severity": "warning", **error})
    known = answer.get("known_by") or []
    session.say(f"{answer['left']} has left the cluster{f' (known to {text_of(known[:3])})' if known else ''}; now stop its agent")


@click.group(cls=Group)
def cluster() -> None:
    """Show and change what holds for the cluster as a whole."""


@cluster.command("level")
@click.option("--raise", "wanted", type=click.IntRange(min=1), metavar="N", help="Raise it; it is never taken back.")
@write_options
@click.pass_obj
def level(session: Session, wanted: int | None, write: Write) -> None:
    """Show the feature level, and the highest that each member speaks; raise it once all members are upgraded."""
    client = session.client()
    if wanted is None:
        body = client.get(LEVEL)
    else:
        check_digest(client, write)
        body = client.request("PUT", LEVEL, query=write.flags, body=write.body(level=wanted)).json()
    if session.output == "json":
        session.json(body)
        return
    session.table(("MEMBER", "SPEAKS"), [[str(entry["name"]), text_of(entry.get("level"))] for entry in body["members"]])
    if wanted is not None:
        session.say(f"dry run: the level would be {wanted}, nothing was written" if write.dry_run else f"the level is {wanted} now")
    else:
        session.say(f"the cluster is at level {body['level']}; all members speak {body['highest']}")


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
