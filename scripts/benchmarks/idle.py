"""What an agent costs while nothing happens, among eight: CPU, memory, traffic."""

import time

from scripts.benchmarks.rig import CpuMeter, hostless, rss_mb, say
from scripts.benchmarks.table import Judged, Row, Target

NODES = 8
SETTLE_SECONDS = 6.0


def measure(quick: bool) -> list[Row]:
    """One figure an agent; traffic is what went through relays before every mesh socket (TCP payload: CURVE included)."""
    seconds = 20.0 if quick else 60.0
    with hostless(NODES, relayed=True) as cluster:
        assert cluster.relays is not None
        time.sleep(SETTLE_SECONDS)
        say(f"idle: {seconds:.0f} s of silence")
        meter, carried, began = CpuMeter(cluster.nodes), cluster.relays.carried, time.monotonic()
        time.sleep(seconds)
        cpu = meter.per_minute()
        sent = (cluster.relays.carried - carried) / (time.monotonic() - began) / NODES / 1000
        memory = [rss_mb(node.agent.pid) for node in cluster.nodes if node.agent is not None]
    return [
        Row("idle: CPU of an agent among 8", "s/min", tuple(cpu.values()), Target(Judged.MEDIAN, 0.4)),
        Row("idle: resident memory of an agent", "MB", tuple(memory), Target(Judged.WORST, 85)),
        Row("idle: bytes sent by an agent", "kB/s", (sent,), Target(Judged.MEDIAN, 3), note="mean of the agents, on the wire"),
    ]
