"""A node that comes late: an empty agent that gets 1,000 keys, and a document of 4 MiB that arrives byte by byte as it was."""

import time

from scripts.benchmarks.rig import hostless, say
from scripts.benchmarks.table import Judged, Row, Target
from scripts.cluster.nodes import Cluster, Node, wait_for

KEYS = 1_000
LARGE_KEYS = 4_050
"""So many sections are nearly all that a document of 4 MiB takes."""
SECTION_BYTES = 980
IN_ONE_EDIT = 500
PATIENCE_SECONDS = 60.0


def measure(quick: bool) -> list[Row]:
    """From the first answer of the joiner's agent to the same digest as the others'."""
    rounds = 2 if quick else 5
    small, large = [], []
    with hostless(2) as cluster:
        first = cluster.nodes[0]
        _write(first, range(KEYS))
        for number in range(rounds):
            small.append(_join(cluster, number))
        say(f"catchup: {KEYS:,} keys in {max(small):.3f} s at most")
        _write(first, range(KEYS, LARGE_KEYS))
        for number in range(rounds):
            large.append(_join(cluster, rounds + number))
        say(f"catchup: 4 MiB in {max(large):.3f} s at most")
    return [
        Row(f"join: agent up -> {KEYS:,} keys of 1 kB", "s", tuple(small), Target(Judged.WORST, 0.5)),
        Row(f"join: agent up -> {LARGE_KEYS:,} keys, 4 MB of document, byte-equal", "s", tuple(large), note="shown only"),
    ]


def _write(node: Node, sections: range) -> None:
    """LUN sections of about 1 kB each, several hundred in one edit: an edit has its limit."""
    digest = node.ask("GET", "/v1/config").digest
    for start in range(sections.start, sections.stop, IN_ONE_EDIT):
        numbers = range(start, min(start + IN_ONE_EDIT, sections.stop))
        changes = [{"key": f"wwid/36{number:030x}", "set": {"comment": "c" * SECTION_BYTES}} for number in numbers]
        answer = node.ask("POST", "/v1/config/edits", {"changes": changes, "reason": "bench"}, if_match=digest)
        if answer.status != 200:
            raise AssertionError(f"{node.name}: {answer.status}: {answer.body[:300]!r}")
        digest = answer.digest


def _join(cluster: Cluster, number: int) -> float:
    """Seconds that a new node's agent takes; the node is retired and forgotten afterwards."""
    first = cluster.nodes[0]
    extra = Cluster(first.directory.parent / f"late{number}", 1, settings=first.settings).nodes[0]
    token = first.ask("POST", "/v1/members/tokens", {"role": "admin"}).json["token"]
    extra.run("join", token, "--name", f"late{number}")
    want = first.get("/v1/status")["config"]["digest"]
    extra.start_agent(wait=False)
    wait_for(
        "the agent's socket answers", lambda: extra.alive() and extra.ask("GET", "/healthz").status == 200, PATIENCE_SECONDS, every=0.002
    )
    began = time.monotonic()
    try:
        # Not the status: a document of thousands of LUNs, every few milliseconds, would be most of what is measured.
        wait_for("the digest is there", lambda: extra.ask("GET", "/readyz").digest.strip('"') == want, PATIENCE_SECONDS, every=0.01)
        took = time.monotonic() - began
        if extra.run("config", "export").stdout != first.run("config", "export").stdout:
            raise AssertionError("the document is not what was written")
    finally:
        extra.stop()
    first.ask("DELETE", f"/v1/members/late{number}")
    return took
