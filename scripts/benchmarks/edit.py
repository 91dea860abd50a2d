"""A configuration edit of 10 kB: from one node's local API to its commit on the last of eight agents."""

import os
import time

from scripts.benchmarks.limit import Limit
from scripts.benchmarks.rig import Traces, Wire, hostless, say
from scripts.benchmarks.table import Judged, Row, Target

NODES = 8
BYTES = 10_000
WARM_UP = 3
QUIET_MS = 400
DEBOUNCE_SECONDS = 2.0
LUN = "3600140500000000a0000000000000001"


def measure(quick: bool) -> list[Row]:
    """Rounds of the product and of the limit in turn, each on a quiet cluster."""
    rounds = 12 if quick else 40
    with hostless(NODES) as cluster, Limit(n=NODES, size=BYTES) as limit:
        traces = Traces(cluster.nodes)
        wires = [Wire(node.socket) for node in cluster.nodes]
        digest = wires[0].ask("GET", "/v1/config").etag
        committed, answered, raw = [], [], []
        for number in range(WARM_UP + rounds):
            # An edit is followed by the debounce and a look at the host; the next round starts after all that.
            time.sleep(DEBOUNCE_SECONDS if number else 0)
            traces.wait_quiet(QUIET_MS)
            text = os.urandom(BYTES // 2).hex()
            edit = {"changes": [{"key": f"wwid/{LUN}", "set": {"comment": text}}]}
            limit_ms = limit.round() * 1e3
            reply = wires[number % NODES].ask("POST", "/v1/config/edits", edit, {"if-match": digest})
            if reply.status != 200:
                raise AssertionError(f"the edit was refused: {reply.status} {reply.body[:300]!r}")
            digest = reply.etag
            time.sleep(0.2)
            stamps = [[at for what, _, at in entries if what == "edit"] for entries in traces.grown().values()]
            if any(len(found) != 1 for found in stamps):
                raise AssertionError(f"commits by node: {[len(found) for found in stamps]}")
            if number >= WARM_UP:
                raw.append(limit_ms)
                committed.append((max(found[0] for found in stamps) - reply.began_ns) / 1e6)
                answered.append(reply.milliseconds)
            if number % 10 == 9:
                say(f"edit: {number + 1} of {WARM_UP + rounds} rounds")
        for wire in wires:
            wire.close()
    return [
        Row("edit: 10 kB -> committed on the last of 8", "ms", tuple(committed), Target(Judged.RATIO, 8), tuple(raw)),
        Row("edit: 10 kB -> answered to the client", "ms", tuple(answered)),
    ]
