"""What must happen now and then: rare paths of the protocol, counted, so that a simulation that never takes one is noticed."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scripts.simulation.world import World

FROM_COUNTERS = {
    "hold_back_dropped": "hold-back overflow",
    "sends_refused": "send refused",
    "commits_failed": "commit failed",
    "messages_unknown": "message of unknown class",
    "messages_bad": "damaged message",
    "peers_expelled": "peer expelled",
    "deltas_truncated": "truncated delta",
    "collections": "collection",
    "snapshots_taken": "bulk transfer completed",
    "late_edits": "late edit",
    "divergences_repaired": "divergence repaired",
    "epochs_moved": "epoch moved",
    "session_actors": "session actor used",
    "restored": "restoration found out",
    "clone_messages": "clone not listened to",
    "health_gap": "health gap",
}
FROM_ALARMS = {
    "clone": "clone alarm",
    "version-mismatch": "version mismatch",
    "storage-failed": "storage failed",
    "cloned": "clone passive",
    "diverged": "divergence found",
}
OBSERVED = (
    "torn commit kept", "torn commit lost", "crash amid effects", "one-way partition", "tombstone collected",
    "bulk transfer resumed", "suspect refuted", "conflict", "conflict resolved", "joined", "retired", "left", "database restored",
    "whole machine restored", "deletion forgotten", "database wiped", "machine cloned", "called offline", "garbage sent",
)  # fmt: skip
ALL = tuple(sorted({*FROM_COUNTERS.values(), *FROM_ALARMS.values(), *OBSERVED}))


def observed(world: "World") -> Counter[str]:
    """How often each happened in this world."""
    found: Counter[str] = Counter({name: world.happened[name] for name in OBSERVED})
    for machine in world.machines.values():
        counters = Counter(machine.counters)
        if machine.engine is not None:
            counters += machine.engine.counters
            found["suspect refuted"] += machine.engine.liveness.refuted
        for counter, name in FROM_COUNTERS.items():
            found[name] += counters[counter]
    for code, name in FROM_ALARMS.items():
        found[name] += world.happened[f"alarm {code}"]
    oracle = world.check.oracle
    found["conflict resolved"] += sum(1 for made in oracle.edits if made.kind == "resolve")
    return +found


def table(happened: Mapping[str, int]) -> str:
    """All of them, with their numbers; what never happened is marked."""
    width = max(map(len, ALL))
    return "\n".join(f"{name:<{width}}  {happened.get(name, 0) or 'never'}" for name in ALL)


def missing(happened: Mapping[str, int]) -> list[str]:
    """What never happened."""
    return [name for name in ALL if not happened.get(name)]
