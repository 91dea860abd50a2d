"""A path fails on a real host: kernel, multipathd and agent in guests; from the kernel's event to every matrix.

Detection is from the kernel's event (PATH_FAILED of the map, or a disk that is gone) to the cell of the node itself; spreading from
there to the last of the others. The steady rhythm is set too slow to have a part in it.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

from scripts.benchmarks.rig import say
from scripts.benchmarks.table import Judged, Row, Target
from scripts.hostlab.errors import LabError
from scripts.hostlab.lab import running
from scripts.hostlab.node import Node, begin, each, wait_cells
from scripts.hostlab.san import lun
from scripts.hostlab.timing import Spread, Stopwatch

NODES = 3
LUN = lun(1)
NEVER_MS = 3_000_000
READER = "while :; do dd if=/dev/mapper/measured of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null; sleep 0.02; done"


def measure(quick: bool) -> list[Row]:
    """The nodes in turn. OSError with what is missing if the lab is not built."""
    rounds = 6 if quick else 15
    names = [f"n{number}" for number in range(1, NODES + 1)]
    try:
        with tempfile.TemporaryDirectory(prefix="pathmesh-lab-") as directory, running(Path(directory) / "lab", names) as lab:
            return _measure([Node(guest) for guest in lab.guests], rounds)
    except LabError as fault:
        raise OSError(str(fault)) from fault


def _measure(nodes: list[Node], rounds: int) -> list[Row]:
    each(nodes, lambda node: node.san.up(1))
    both_paths = ("--set", "path-grouping-policy=multibus", "--set", "path-selector=round-robin 0")  # I/O goes over each in turn
    begin(nodes, ("lun", "add", LUN, "--alias", "measured", *both_paths), poll_interval_ms=NEVER_MS)
    wait_cells(nodes, LUN, "healthy", {node.name: "healthy" for node in nodes})
    watches = {node.name: Stopwatch(nodes, node, LUN) for node in nodes}

    def fail(node: Node) -> tuple[Callable[[], None], Callable[[], None]]:
        device = node.san.paths(LUN)[0].device
        return lambda: node.san.offline(device), lambda: node.san.online(device)

    def remove(node: Node) -> tuple[Callable[[], None], Callable[[], None]]:
        device = node.san.paths(LUN)[1].device
        return lambda: node.san.delete(device), node.san.rescan

    def turns(what: str, faults: Callable[[Node], tuple[Callable[[], None], Callable[[], None]]]) -> list[Spread]:
        found = []
        for number in range(rounds):
            node = nodes[number % len(nodes)]
            make, mend = faults(node)
            found.append(watches[node.name].measure(make))
            say(f"lab: {what} on {node.name}: {found[-1].detected_ms:.0f} + {found[-1].spread_ms:.0f} ms")
            mend()
            wait_cells(nodes, LUN, "healthy")
        return found

    idle = turns("offline, found by multipathd's checker", fail)
    gone = turns("removed", remove)
    for node in nodes:
        node.guest.start(["sh", "-c", READER], "/var/log/reader.log")
    busy = turns("offline under I/O", fail)
    return [
        *_rows("path offline, idle map", idle, announced="multipathd's checker, every 1 s to 2 s"),
        *_rows("path offline, map in use", busy, announced="the next I/O"),
        *_rows("disk removed", gone),
    ]


def _rows(what: str, found: list[Spread], announced: str = "") -> list[Row]:
    uncertain = max(each.uncertain for each in found) / 1e6
    note = f"clocks of the guests agree to {uncertain:.2f} ms"
    shown = tuple(each.shown_ms for each in found)
    rows = [
        Row(f"lab: {what}: kernel's event -> own cell", "ms", tuple(each.detected_ms for each in found)),
        Row(f"lab: {what}: own cell -> the last of {NODES}", "ms", tuple(each.spread_ms for each in found)),
        Row(f"lab: {what}: kernel's event -> all matrices", "ms", shown, Target(Judged.WORST, 1000), note=note),
    ]
    if announced:
        rows.insert(0, Row(f"lab: {what}: fault -> kernel's event", "ms", tuple(each.announced_ms for each in found), note=announced))
    return rows
