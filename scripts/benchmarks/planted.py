"""Members that are no processes: they stand in the database of a node, with the health that they told last, as after its restart."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from agent.settings import load
from gossip.runner import boottime_ms
from scripts.cluster.nodes import Node
from scripts.cluster.planting import planting
from store.cells import MULTIPATH_MAP, Cell
from store.health import OwnStream, encode_stream
from store.members import Role


def plant(node: Node, count: int, wwids: list[str]) -> None:
    """Register so many members, each with a healthy map of two paths for every WWID, at a node that was made and never ran."""
    with ThreadPoolExecutor(1) as thread:  # the caller's own may have an event loop
        thread.submit(lambda: asyncio.run(_plant(node, count, wwids))).result()


async def _plant(node: Node, count: int, wwids: list[str]) -> None:
    async with planting(load(node.directory / "pathmesh.toml"), time.time()) as planted:
        streams: dict[str, bytes] = {}
        for number in range(1, count + 1):
            name = f"m{number}"
            keys = planted.join(name, Role.OBSERVER)
            stream = OwnStream(name, planted.actor(name), 1, keys.sign, boottime_ms())
            stream.report([_cell(number, wwid) for wwid in wwids], boottime_ms())
            streams[name] = encode_stream(stream.stream)
        await planted.database.save_streams(streams, (), time.time())


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
