"""Ten agents with 5 kB of changed health each second: whether all of it arrives, how fast, and what it costs.

Each agent polls a simulated host of its own once a second; a path of every LUN fails in turn, so that every poll finds every map changed.
"""

import sqlite3
import time
from bisect import bisect_left
from statistics import median

import msgspec

from scripts.benchmarks.limit import Limit
from scripts.benchmarks.rig import CpuMeter, Entry, Traces, say, scratch
from scripts.benchmarks.table import Judged, Row, Target
from scripts.cluster.nodes import Cluster, Node, running, wait_for
from store.database import FILE_NAME
from store.health import decode_stream

NODES = 10
LUNS = tuple(f"3600140500000000c00000000000000{number:02x}" for number in range(3))
PATHS = 5
BYTES = 5_000
POLL_MS = 1_000
TICK_SECONDS = 0.9
"""Shorter than a poll, so that no poll finds what the one before it found."""

Position = tuple[int, int]
"""Epoch and seq of a stream."""


def measure(quick: bool) -> list[Row]:
    """Spreading is from the node's own taking of a change to the last other's; a position that a newer one overtook counts as that one."""
    ticks = 20 if quick else 60
    with scratch() as directory, Limit(n=NODES, size=BYTES, durable="none") as limit:
        cluster = Cluster(directory, NODES, settings={"multipath": {"poll_interval_ms": POLL_MS}})
        for node in cluster.nodes:
            _write_luns(node, 0)
        with running(cluster):
            for wwid in LUNS:
                cluster.nodes[0].run("lun", "add", wwid)
            wait_for("all nodes are in sync", lambda: _in_sync(cluster), 60)
            time.sleep(3)
            steady = CpuMeter(cluster.nodes)
            time.sleep(ticks * TICK_SECONDS / 2)
            polling = steady.per_minute()
            say(f"health: polling alone takes {median(polling.values()):.2f} CPU s/min of an agent")
            traces = Traces(cluster.nodes)
            traces.grown()
            agents, hosts = CpuMeter(cluster.nodes), CpuMeter(cluster.nodes, "host")
            raw = _change(cluster, limit, ticks)
            cpu, simulated = agents.per_minute(), hosts.per_minute()
            time.sleep(3)
            grown = traces.grown()
            size = _changed_bytes(cluster)
    times, overtaken, delivered = _spreading(grown)
    say(f"health: {len(times)} changes, {size} bytes each, the hosts took {median(simulated.values()):.2f} CPU s/min")
    arrivals = len(times) * (NODES - 1)
    note = f"{len(times)} changes of {size} bytes in {ticks * TICK_SECONDS:.0f} s; {overtaken} of {arrivals} arrivals as a newer one"
    extra = tuple(cpu[name] - polling[name] for name in cpu)
    return [
        Row("health: 5 kB/s -> the last of 9 others", "ms", tuple(times), Target(Judged.RATIO, 8), tuple(raw)),
        Row("health: delivered", "%", (delivered,), Target(Judged.SHARE, 100), note=note),
        Row(
            "health: CPU of an agent",
            "s/min",
            tuple(cpu.values()),
            Target(Judged.MEDIAN, 0.8),
            note="the simulated hosts' own CPU is left out",
        ),
        Row("health:   of it polling an unchanged host each second", "s/min", tuple(polling.values())),
        Row("health:   of it the changes", "s/min", extra),
    ]


def _change(cluster: Cluster, limit: Limit, ticks: int) -> list[float]:
    """Change every host once a tick, one after another, with a round of the limit in between; the limit's milliseconds."""
    raw = []
    step = TICK_SECONDS / (NODES + 1)
    began = time.monotonic()
    for tick in range(1, ticks + 1):
        for index, node in enumerate(cluster.nodes):
            _write_luns(node, tick)
            if index == tick % NODES:
                raw.append(limit.round() * 1e3)
            time.sleep(max(0.0, began + (tick - 1) * TICK_SECONDS + (index + 1) * step - time.monotonic()))
        time.sleep(max(0.0, began + tick * TICK_SECONDS - time.monotonic()))
    return raw


def _spreading(grown: dict[str, list[Entry]]) -> tuple[list[float], int, float]:
    """Milliseconds of each change until the last other has it; arrivals as a newer position; percent that arrived."""
    arrivals = {node: _positions(entries) for node, entries in grown.items()}
    times, overtaken, arrived, due = [], 0, 0, 0
    for name in grown:
        for position, own_ns in arrivals[name].get(name, []):
            last, everywhere = 0, True
            for other in grown:
                if other == name:
                    continue
                due += 1
                there = arrivals[other].get(name, [])
                index = bisect_left(there, (position, 0))
                if index == len(there):
                    everywhere = False
                    continue
                arrived += 1
                overtaken += there[index][0] != position
                last = max(last, there[index][1])
            if everywhere:
                times.append((last - own_ns) / 1e6)
    return times, overtaken, 100 * arrived / due


def _positions(entries: list[Entry]) -> dict[str, list[tuple[Position, int]]]:
    """By reporting node: the positions that came, in order, and when."""
    found: dict[str, list[tuple[Position, int]]] = {}
    for what, name, at in entries:
        if what == "health":
            node, _, position = name.rpartition(":")
            epoch, _, seq = position.partition(".")
            found.setdefault(node, []).append(((int(epoch), int(seq)), at))
    return found


def _changed_bytes(cluster: Cluster) -> int:
    """The size of the cells that changed last in the first node's stream, as the second one keeps it."""
    time.sleep(1.5)
    path = cluster.nodes[1].directory / "state" / FILE_NAME
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        (blob,) = database.execute("SELECT stream FROM health WHERE node = ?", (cluster.nodes[0].name,)).fetchone()
    database.close()
    stream = decode_stream(blob, 0)
    return sum(len(msgspec.msgpack.encode(entry.entry())) for entry in stream.entries.values() if entry.seq == stream.head.seq)


def _in_sync(cluster: Cluster) -> bool:
    return all(node["apply"]["state"] == "in-sync" for viewer in cluster.nodes for node in viewer.get("/v1/nodes")["nodes"])


def _write_luns(node: Node, tick: int) -> None:
    """The host's LUN file: of each LUN's paths, the one whose turn it is has failed."""
    number = int(node.name.removeprefix("n"))
    lines = []
    for index, wwid in enumerate(LUNS):
        lines += ["[[lun]]", f'wwid = "{wwid}"', 'vendor = "PURE"', 'product = "FlashArray"', f"size_bytes = {(index + 1) * 2**36}"]
        for path in range(PATHS):
            lines += [
                "[[lun.path]]",
                f'dev = "sd{chr(ord("a") + index * PATHS + path)}"',
                f'host_wwpn = "0x2100000e1e00{number:02x}{path:02x}"',
                f'target_wwpn = "0x50014380242b{path:02x}01"',
                f'state = "{"failed" if tick and path == tick % PATHS else "ready"}"',
            ]
    written = node.luns.with_suffix(".new")
    written.write_text("\n".join(lines) + "\n")
    written.replace(node.luns)
