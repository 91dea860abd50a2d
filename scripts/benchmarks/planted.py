"""Members that are no processes: they stand in the database of a node, with the health that they told last, as after its restart."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from agent.birth import decode_birth
from agent.guard import Guard, write_guard
from agent.settings import load
from gossip.keys import NodeKeys, verify
from gossip.runner import boottime_ms
from scripts.cluster.nodes import Node, free_ports
from store.cells import MULTIPATH_MAP, Cell
from store.database import Database
from store.edits import Edit, SignedEdit, decode_edit, encode_body, frozen_changes, seal
from store.health import OwnStream, encode_stream
from store.members import MEMBER_PREFIX, Member, MemberState, Role, member_value
from store.replica import Replica


def plant(node: Node, count: int, wwids: list[str]) -> None:
    """Register so many members, each with a healthy map of two paths for every WWID, at a node that was made and never ran."""
    with ThreadPoolExecutor(1) as thread:  # the caller's own may have an event loop
        thread.submit(lambda: asyncio.run(_plant(node, count, wwids))).result()


async def _plant(node: Node, count: int, wwids: list[str]) -> None:
    settings = load(node.directory / "pathmesh.toml")
    own = NodeKeys.load(settings.node.keys_dir)
    database = await Database.open(settings.node.state_dir)
    try:
        loaded = await database.load()
        birth = decode_birth(loaded.meta.get("node"), settings)
        replica = Replica(birth.cluster_id, verify, (decode_edit(raw) for raw in loaded.log))
        edits: list[SignedEdit] = []
        streams: dict[str, bytes] = {}
        for number, port in enumerate(free_ports(count), 1):
            name, keys = f"m{number}", NodeKeys.generate()
            actor = name.encode().ljust(16, b".")
            member = Member(
                name, actor, keys.mesh_public, keys.signing_public, f"tcp://127.0.0.1:{port}", Role.OBSERVER, MemberState.JOINED
            )
            clock = dict(replica.fold.clock)
            changes = frozen_changes({MEMBER_PREFIX + name: member_value(member)})
            made = Edit(
                birth.actor, clock.get(birth.actor, 0) + 1, clock, replica.fold.lamport + 1, birth.name, time.time(), changes, "planted"
            )
            body = encode_body(made)
            edits.append(seal(made, body, own.sign(body)))
            replica.commit(edits[-1])
            stream = OwnStream(name, actor, 1, keys.sign, boottime_ms())
            stream.report([_cell(number, wwid) for wwid in wwids], boottime_ms())
            streams[name] = encode_stream(stream.stream)
        await database.commit_edits(edits)
        await database.save_streams(streams, (), time.time())
        made_by_own = replica.fold.clock[birth.actor]
        epoch = int.from_bytes(loaded.meta.get("epoch", b""), "big")
        write_guard(settings.node.state_dir, Guard(birth, epoch, made_by_own, made_by_own, tuple(replica.registry.active)))
    finally:
        await database.close()


def _cell(member: int, wwid: str) -> Cell:
    """A healthy map of two paths."""
    paths = [f"fc:0x2100000e1e00{member:02x}{fabric:02x}>0x50014380242b{fabric:02x}01" for fabric in (1, 2)]
    detail = {
        "alias": None,
        "vendor": "PURE",
        "product": "FlashArray",
        "size_bytes": 2**36,
        "allowed": True,
        "redundancy": "full",
        "paths": {
            **{"usable": 2, "active": 2, "standby": 0, "marginal": 0, "failed": 0, "visible": 2},
            **{"expected": 2, "expected_source": "learned"},
        },
        "missing_paths": [],
        "queueing": "off",
        "flags": [],
        "path_list": [
            {"id": path, "class": "active", "group": 1, "chk": "ready", "dm": "active", "dev_state": "running"} for path in paths
        ],
        "baseline": paths,
    }
    return Cell(MULTIPATH_MAP, wwid, "healthy", (), detail, {}, time.time())
