"""How fast an edit reaches the last of many nodes, and what unchanged health costs: the real engines in virtual time."""

from scripts.benchmarks.rig import say
from scripts.benchmarks.table import Judged, Row, Target
from scripts.simulation.measures import idle_traffic, settled, spread

P99_MS = {100: 50.0, 1_000: 150.0}
LOSSY_MS = 1_000.0
KILOBYTES = {100: 10.0, 1_000: 60.0}


def measure(quick: bool) -> list[Row]:
    """100 nodes; 1,000 as well if there is time. Links take 1 to 5 ms, disks 1 to 3 ms."""
    rows = []
    for nodes in (100,) if quick else (100, 1_000):
        say(f"spread: {nodes} nodes")
        edits = 100 if nodes == 100 else 30
        world = settled(nodes)
        clean, lossy = spread(nodes, edits=edits, world=world), spread(nodes, edits=edits, loss=0.2, world=world)
        traffic = idle_traffic(nodes, seconds=20 if nodes == 100 else 10, world=world)
        links = "1 to 5 ms links, simulated"
        rows += [
            Row(
                f"spread: edit -> the last of {nodes:,}, p99", "ms", (float(clean.p99_ms),), Target(Judged.WORST, P99_MS[nodes]), note=links
            ),
            Row(
                f"spread: the same with 20 % loss, worst of {edits}",
                "ms",
                (float(lossy.max_ms),),
                Target(Judged.WORST, LOSSY_MS),
                note=links,
            ),
            Row(
                f"spread: sent by each of {nodes:,} while nothing changes",
                "kB/s",
                (traffic.bytes_per_second / 1_000,),
                Target(Judged.WORST, KILOBYTES[nodes]),
                note="messages, simulated",
            ),
        ]
    return rows
