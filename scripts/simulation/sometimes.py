"""What must happen now and then: rare paths of the protocol, counted, so that a simulation that never takes one is noticed."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from scripts.simulation import seams
from scripts.simulation.machine import Machine

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
    "states_refolded": "state refolded",
    "repairs_failed": "comparison given up",
    "writes_refused": "write refused",
    "edits_from_behind": "news from behind the floor",
    "hellos_refused": "hello refused",
    "messages_before_hello": "message before hello",
    "messages_late": "message of a former session",
    "messages_expelled": "message of an expelled peer",
    "messages_from_strangers": "message of a stranger",
}
FROM_ALARMS = {
    "clone": "clone alarm",
    "version-mismatch": "version mismatch",
    "storage-failed": "storage failed",
    "cloned": "clone passive",
    "diverged": "divergence found",
    "frozen": "keys frozen",
    "config-behind": "config behind",
}
OBSERVED = (
    "torn commit kept", "torn commit lost", "crash amid effects", "one-way partition", "tombstone collected",
    "bulk transfer resumed", "suspect refuted", "conflict", "conflict resolved", "joined", "retired", "left", "database restored",
    "whole machine restored", "deletion forgotten", "database wiped", "machine cloned", "called offline", "garbage sent",
    "memory damaged", "bulk transfer put off", "suspicion withheld", "member flapping", "guest",
)  # fmt: skip
ALL = tuple(sorted({*FROM_COUNTERS.values(), *FROM_ALARMS.values(), *OBSERVED}))
ELSEWHERE = {
    "guest": "only in clusters beyond a full mesh",
    "keys frozen": "no fault here damages a value on a disk: tests/gossip/test_repair.py",
    "config behind": "all nodes here are of one version: tests/gossip/test_versions.py",
}
"""What random runs of a small cluster never come to, and why."""


def glance(world: "World", machine: Machine) -> None:
    """Note what can only be seen while it lasts."""
    engine, now = machine.running, machine.now(world.now)
    happened, liveness = world.happened, engine.liveness
    happened["suspicion withheld"] += seams.doubts_itself(engine)
    happened["member flapping"] += any(liveness.flapping(name, now) for name in engine.mesh.watched)
    happened["guest"] += not engine.mesh.view.full_mesh and any(peer.guest for peer in engine.peers.values())


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
    """What never happened, and could have."""
    return [name for name in ALL if name not in ELSEWHERE and not happened.get(name)]
