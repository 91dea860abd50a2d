"""GET /v1/matrix with 1,000 LUNs on 16 nodes: unchanged since last asked, and with one cell changed in between."""

import contextlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator

from scripts.benchmarks.crowd import crowd
from scripts.benchmarks.rig import Reply, Wire, rss_mb, say, scratch
from scripts.benchmarks.table import Judged, Row, Target
from scripts.cluster.nodes import Cluster, Node, free_ports, running, wait_for

LUNS = 1_000
NODES = 16
PATHS = 2
NEVER_MS = 3_600_000
WARM_UP = 5
PAUSE_SECONDS = 0.3


def measure(quick: bool) -> list[Row]:
    """One real agent with a simulated host of 1,000 LUNs; 15 other members report as many each, over the wire."""
    rounds = 20 if quick else 80
    settings = {"multipath": {"poll_interval_ms": NEVER_MS, "debounce_ms": 0}}
    with scratch() as directory:
        cluster = Cluster(directory, 1, settings=settings)
        node = cluster.nodes[0]
        write_luns(node, LUNS)
        with running(cluster):
            allow(node, LUNS)
            with others(node, LUNS, NODES - 1) as change:
                wire = Wire(node.socket)
                whole = _whole(wire)
                unchanged, changed, full = [], [], []
                for number in range(WARM_UP + rounds):
                    change(number % (NODES - 1), number * 7 % LUNS)
                    fresh = _when_moved(wire, whole.etag)
                    again = wire.ask("GET", "/v1/matrix", headers={"if-none-match": fresh.etag})
                    while again.status != 304:
                        fresh, again = again, wire.ask("GET", "/v1/matrix", headers={"if-none-match": again.etag})
                    body = wire.ask("GET", "/v1/matrix")
                    if number >= WARM_UP:
                        changed.append(fresh.milliseconds)
                        unchanged.append(again.milliseconds)
                        full.append(body.milliseconds)
                    whole = fresh
                    time.sleep(PAUSE_SECONDS)
                assert node.agent is not None
                note = f"{len(whole.body) / 1e6:.1f} MB of JSON; the agent holds it all in {rss_mb(node.agent.pid):.0f} MB"
                wire.close()
    return [
        Row("matrix 1,000 x 16: unchanged since last asked (304)", "ms", tuple(unchanged), Target(Judged.MEDIAN, 0.3)),
        Row("matrix 1,000 x 16: changed, whole body", "ms", tuple(changed), Target(Judged.MEDIAN, 15), note=note),
        Row("matrix 1,000 x 16: unchanged, whole body", "ms", tuple(full)),
    ]


def _when_moved(wire: Wire, etag: str) -> Reply:
    """The first answer that is not "unchanged": it is the one that works the change out."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        reply = wire.ask("GET", "/v1/matrix", headers={"if-none-match": etag})
        if reply.status == 200:
            return reply
        time.sleep(0.02)
    raise AssertionError("a changed cell did not come to the agent")


def _whole(wire: Wire) -> Reply:
    """The matrix once every node's every cell is in it."""

    replies: list[Reply] = []

    def complete() -> bool:
        replies[:] = [wire.ask("GET", "/v1/matrix")]
        rows = [row for row in json.loads(replies[0].body)["resources"] if row["kind"] == "multipath.map"]
        cells = sum(cell["state"] == "healthy" for row in rows for cell in row["nodes"].values())
        return len(rows) == LUNS and cells == LUNS * NODES

    wait_for("the matrix is complete", complete, 120, every=1.0)
    return replies[0]


def allow(node: Node, luns: int) -> None:
    """Allow-list every LUN in one edit, and wait until the host has them all and they are reported."""
    sections = [{"type": "wwid", "id": wwid(number), "options": {"alias": f"lun-{number:04}"}} for number in range(luns)]
    sections.append({"type": "multipath", "id": "san", "options": {}})
    digest = node.ask("GET", "/v1/config").digest
    answer = node.ask("PUT", "/v1/config", {"sections": sections}, if_match=digest)
    if answer.status != 200:
        raise AssertionError(f"the LUNs were refused: {answer.status} {answer.body[:300]!r}")
    wait_for("the host is in sync", lambda: node.get("/v1/apply")["apply"]["state"] == "in-sync", 120, every=1.0)
    wait_for("all LUNs are healthy", lambda: node.get("/v1/nodes/n1")["cells"].get("healthy") == luns, 60, every=1.0)
    say(f"{luns} LUNs on the agent's own host")


@contextlib.contextmanager
def others(node: Node, luns: int, members: int) -> Iterator[Callable[[int, int], None]]:
    """So many other members, once they know each other's cells; gives what changes one cell of one of them."""
    made = node.run("token", "create", "--uses", str(members), "--json").stdout
    listens = [f"tcp://127.0.0.1:{port}" for port in free_ports(members)]
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=crowd, args=(theirs, json.loads(made)["token"], listens, node.name, luns), daemon=True)
    process.start()
    try:
        began = time.monotonic()
        while not ours.poll(1):
            if not process.is_alive() or time.monotonic() > began + 240:
                raise AssertionError("the other members did not come together")
        ours.recv()
        say(f"{members} members hold {luns * (members + 1)} cells after {time.monotonic() - began:.0f} s")
        yield lambda member, index: ours.send((member, index))
        ours.send(None)
        process.join(10)
    finally:
        if process.is_alive():
            process.terminate()
            process.join(10)


def wwid(number: int) -> str:
    """The WWID of a LUN of the agent's own host."""
    return f"3600140500000000d{number:016x}"


def write_luns(node: Node, luns: int) -> None:
    """The LUN file of the agent's own host: so many LUNs with two paths each."""
    lines = []
    for number in range(luns):
        lines += ["[[lun]]", f'wwid = "{wwid(number)}"', 'vendor = "PURE"', 'product = "FlashArray"', f"size_bytes = {2**36}"]
        for path in range(PATHS):
            lines += [
                "[[lun.path]]",
                f'dev = "{_device(number * PATHS + path)}"',
                f'hcil = "{path}:0:0:{number}"',
                f'host_wwpn = "0x2100000e1e0001{path:02x}"',
                f'target_wwpn = "0x50014380242b{path:02x}01"',
            ]
    node.luns.write_text("\n".join(lines) + "\n")


def _device(number: int) -> str:
    """The sd name of a number: sda … sdz, sdaa … as the kernel counts."""
    letters = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        letters = chr(ord("a") + digit) + letters
    return "sd" + letters
