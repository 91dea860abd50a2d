"""`pathmesh storage`: the storages, from which the nodes that should see a LUN are derived."""

import click

from agent.cli.base import Group
from agent.cli.output import LUN_SEVERITY, MISSING, Cell, Painted, counts_text, severity, text_of
from agent.cli.session import Session
from agent.cli.writes import (
    EDITS,
    STORAGES,
    Write,
    assignments,
    digest_for,
    hint_if_exists,
    option_name,
    report,
    section_path,
    write_options,
)


@click.group(cls=Group)
def storage() -> None:
    """Manage the storages that use the LUNs."""


@storage.command("ls")
@click.pass_obj
def list_storages(session: Session) -> None:
    """List the configured storages."""
    body = session.get(STORAGES)
    if session.output == "json":
        session.json(body)
        return
    rows: list[list[Cell]] = []
    for entry in body["storages"]:
        options = dict(entry["options"])
        nodes, base = options.pop("nodes", "all"), options.pop("base", MISSING)
        options.pop("type", None)
        rows.append([entry["id"], entry["type"], nodes, base, " ".join(f"{k}={v}" for k, v in sorted(options.items()))])
    session.table(("STORAGE", "TYPE", "NODES", "BASE", "OPTIONS"), rows, empty="no storage is configured")


@storage.command("add")
@click.argument("type")
@click.argument("storage_id", metavar="ID")
@click.argument("options", nargs=-1, metavar="[OPTION=VALUE]...")
@write_options
@click.pass_obj
def add(session: Session, type: str, storage_id: str, options: tuple[str, ...], write: Write) -> None:
    """Add a storage of TYPE under the name ID.

    \b
    Examples:
      pathmesh storage add multipath san
      pathmesh storage add lvm san-lvm vgname=vmdata base=san:3624a9370e92ace0b12e941bf000cb4d5 nodes=n1,n2
    """
    client = session.client()
    body = write.body(id=storage_id, type=type, options=assignments(options))
    digest = digest_for(client, write)
    with hint_if_exists("pathmesh storage set"):
        response = client.request("POST", STORAGES, query=write.flags, body=body, if_match=digest)
    report(session, response.json())


@storage.command("set")
@click.argument("storage_id", metavar="ID")
@click.argument("options", nargs=-1, metavar="[OPTION=VALUE]...")
@click.option("--delete", "unwanted", multiple=True, metavar="OPTION", help="Remove an option; may be repeated.")
@write_options
@click.pass_obj
def set_options(session: Session, storage_id: str, options: tuple[str, ...], unwanted: tuple[str, ...], write: Write) -> None:
    """Set or remove options of a storage; those not named stay.

    \b
    Example:
      pathmesh storage set san-lvm nodes=n1,n2,n3 --delete disable
    """
    if not options and not unwanted:
        raise click.UsageError("nothing to do: give OPTION=VALUE or --delete OPTION")
    client = session.client()
    path = section_path(STORAGES, storage_id)
    body = write.body(set=assignments(options), delete=[option_name(name) for name in unwanted])
    response = client.request("PATCH", path, query=write.flags, body=body, if_match=digest_for(client, write, path))
    report(session, response.json())


@storage.command("rm")
@click.argument("storage_ids", nargs=-1, required=True, metavar="ID...")
@write_options
@click.pass_obj
def remove(session: Session, storage_ids: tuple[str, ...], write: Write) -> None:
    """Remove storages from the configuration, all of them in one edit or none; nothing is removed from disk."""
    client = session.client()
    body = write.body(changes=[{"key": f"storage/{name}", "remove": True} for name in dict.fromkeys(storage_ids)])
    response = client.request("POST", EDITS, query=write.flags, body=body, if_match=digest_for(client, write))
    report(session, response.json())


@storage.command("status")
@click.pass_obj
def status(session: Session) -> None:
    """Show the storages with the state of the LUNs below them."""
    body = session.get("/v1/storages")
    if session.output == "json":
        session.json(body)
        return
    rows: list[list[Cell]] = []
    for entry in body["storages"]:
        states = [str(lun.get("state")) for lun in entry.get("luns") or ()]
        state = min(states, key=lambda state: severity(state, LUN_SEVERITY), default=MISSING)
        rows.append(
            [
                str(entry["id"]),
                str(entry["type"]),
                Painted(state, state) if entry.get("enabled", True) else Painted("disabled", "dim"),
                "all" if entry.get("nodes") is None else text_of(entry["nodes"]),
                text_of(entry.get("base")),
                counts_text({state: states.count(state) for state in states}, LUN_SEVERITY),
            ]
        )
    session.table(("STORAGE", "TYPE", "STATE", "NODES", "BASE", "LUNS"), rows, empty="no storage is configured")
    for entry in body["storages"]:
        for problem in entry.get("problems") or ():
            session.problem(problem)
