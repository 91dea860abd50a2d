"""`pathmesh storage`: the storages, from which the nodes that should see a LUN are derived."""

from collections.abc import Mapping
from typing import Any

import click

from agent.cli.base import Group
from agent.cli.client import quoted
from agent.cli.output import LUN_SEVERITY, MISSING, Cell, Painted, counts_text, size_text, text_of
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
from store.errors import UsageError

ACT_SECONDS = 300.0


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
      pathmesh storage add iscsi tgt target=iqn.2001-05.com.example:a portals=10.0.1.10,10.0.2.10 multipath=1 login=yes
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
@click.argument("storage_id", metavar="[ID]", required=False)
@click.pass_obj
def status(session: Session, storage_id: str | None) -> None:
    """Show how the storages fare; with ID, how one fares on each of its nodes."""
    body = session.get("/v1/storages")
    entries = [entry for entry in body["storages"] if storage_id in (None, entry["id"])]
    if storage_id is not None and not entries:
        raise UsageError(f"there is no storage {storage_id!r}", code="not-found", hint="pathmesh storage ls")
    if session.output == "json":
        session.json(body if storage_id is None else entries[0])
        return
    if storage_id is None:
        rows = [_summary(entry) for entry in entries]
        session.table(("STORAGE", "TYPE", "STATE", "NODES", "BASE", "LUNS"), rows, empty="no storage is configured")
    else:
        nodes = entries[0].get("status") or {}
        rows = [_on_node(name, nodes[name]) for name in sorted(nodes)]
        session.table(("NODE", "STATE", "SIZE", "FREE", "ACTIVE", "WHY"), rows, empty=f"{storage_id} is used on no node")
    for entry in entries:
        for problem in entry.get("problems") or ():
            session.problem(problem)
        for name, found in sorted((entry.get("status") or {}).items()) if storage_id is not None else ():
            for fault in (found.get("sessions") or {}).get("errors") or ():
                session.problem({**fault, "key": name})


def _summary(entry: Mapping[str, Any]) -> list[Cell]:
    states = [str(lun.get("state")) for lun in entry.get("luns") or ()]
    state = text_of(entry.get("state"))
    return [
        str(entry["id"]),
        str(entry["type"]),
        Painted(state, state) if entry.get("enabled", True) else Painted("disabled", "dim"),
        "all" if entry.get("nodes") is None else text_of(entry["nodes"]),
        text_of(entry.get("base")),
        counts_text({state: states.count(state) for state in states}, LUN_SEVERITY),
    ]


def _on_node(name: str, found: Mapping[str, Any]) -> list[Cell]:
    group, sessions = found.get("vg") or {}, found.get("sessions") or {}
    why = [str(reason) for reason in found.get("reasons") or ()]
    why += [f"no session at {portal}" for portal in sessions.get("missing") or ()]
    active = f"{group.get('active_volumes')} of {group.get('volumes')}" if group.get("size_bytes") else MISSING
    state = str(found.get("state"))
    return [name, Painted(state, state), size_text(group.get("size_bytes")), size_text(group.get("free_bytes")), active, text_of(why)]


@storage.command("volumes")
@click.argument("storage_id", metavar="ID")
@click.option("--node", "node", metavar="NODE", help="The node whose volumes are shown; this one without it.")
@click.pass_obj
def volumes(session: Session, storage_id: str, node: str | None) -> None:
    """List the volumes of a storage of maps, and who uses them."""
    body = session.client().get(f"/v1/storages/{quoted(storage_id)}/volumes", {"node": node})
    if session.output == "json":
        session.json(body)
        return
    rows: list[list[Cell]] = [
        [
            str(entry["volid"]),
            text_of(entry.get("alias")),
            size_text(entry.get("size_bytes")),
            Painted(str(entry["state"]), str(entry["state"])),
            text_of(entry.get("used_by")),
            text_of(
                [f"{name} {use}" for name, other in sorted(entry["nodes"].items()) if name != body["node"] for use in other["used_by"]]
            ),
        ]
        for entry in body["volumes"]
    ]
    header = ("VOLUME", "ALIAS", "SIZE", "STATE", "USED BY", "ELSEWHERE")
    session.table(header, rows, empty=f"{body['node']} has no volume of {storage_id}")


@storage.command("activate")
@click.argument("storage_id", metavar="ID")
@click.argument("volumes", nargs=-1, metavar="[VOLUME]...")
@click.option("--all", "everything", is_flag=True, help="All logical volumes of a volume group that other nodes have too.")
@click.pass_obj
def activate(session: Session, storage_id: str, volumes: tuple[str, ...], everything: bool) -> None:
    """Make a storage ready for use on this node.

    Of a storage of maps the devices are checked, of all volumes or of each VOLUME (a WWID or an alias): each must be there, and be the map
    of its LUN. Of an lvm storage the logical volumes VOLUME are activated: those that are needed on this node now. Without any, all are;
    if the storage is for other nodes too, only with --all.

    \b
    Examples:
      pathmesh storage activate san
      pathmesh storage activate san-lvm vm-100-disk-0 vm-100-disk-1
    """
    body = _act(session, storage_id, "activate", {"volumes": volumes, "all": everything})
    if session.output == "json":
        session.json(body)
        return
    if "vg" in body:
        session.say(f"{_logical(body)} active on {body['node']}")
        return
    session.table(("VOLUME", "DEVICE"), [[str(v["volid"]), str(v["path"])] for v in body["volumes"]], empty=f"{storage_id} has no volumes")


@storage.command("deactivate")
@click.argument("storage_id", metavar="ID")
@click.argument("volumes", nargs=-1, metavar="[VOLUME]...")
@click.pass_obj
def deactivate(session: Session, storage_id: str, volumes: tuple[str, ...]) -> None:
    """Deactivate the logical volumes VOLUME of an lvm storage on this node, without any all; those that are open stay active."""
    body = _act(session, storage_id, "deactivate", {"volumes": volumes})
    if session.output == "json":
        session.json(body)
    else:
        session.say(f"{_logical(body)} not active on {body['node']}")


def _logical(body: Mapping[str, Any]) -> str:
    """The logical volumes that an answer is about, with the verb."""
    group, volumes = body["vg"], [str(name) for name in body.get("volumes") or ()]
    if not volumes:
        return f"the volume group {group} is"
    return f"{group}/{volumes[0]} is" if len(volumes) == 1 else f"{len(volumes)} volumes of {group} are"


@storage.command("create-vg")
@click.argument("storage_id", metavar="ID")
@click.option("--dry-run", is_flag=True, help="Check everything, make nothing.")
@click.option(
    "--ignore-node",
    "ignored",
    multiple=True,
    metavar="NODE",
    help="Go on though it is not known whether NODE uses the LUN: you made sure that it does not. May be repeated.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; for the agent's log.")
@click.pass_obj
def create_vg(session: Session, storage_id: str, dry_run: bool, ignored: tuple[str, ...], reason: str) -> None:
    """Make the volume group of an lvm storage on the map of its base, from this node.

    It is refused if the map is missing, has no usable path, is in use on any node, or has anything written on it: nothing is wiped. It is
    also refused while another node does not tell whether it uses the LUN. Do it on one node; the others see the group then.

    \b
    Examples:
      pathmesh storage create-vg san-lvm --dry-run
      pathmesh storage create-vg san-lvm --ignore-node n3 --reason "n3 is switched off"
    """
    body = {"ignore_nodes": ignored, "reason": reason}
    answer = _act(session, storage_id, "create-vg", body, {"dry_run": "true" if dry_run else None})
    if session.output == "json":
        session.json(answer)
    else:
        done = "could be made" if dry_run else "is made"
        session.say(f"the volume group {answer['vg']} {done} on {answer['path']}")


def _act(session: Session, storage_id: str, verb: str, body: Any, query: Mapping[str, str | None] | None = None) -> Any:
    """Ask this node to do something; LVM may take its time."""
    client = session.client(timeout=ACT_SECONDS)
    return client.request("POST", f"/v1/storages/{quoted(storage_id)}/{verb}", query=query or {}, body=body).json()
