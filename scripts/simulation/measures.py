"""Numbers from simulated time: how fast an edit reaches the last node, and what unchanged health costs.

Disks take 1 to 3 ms for a transaction here (a solid-state disk's flush), links 1 to 5 ms one way. An edit counts as being on a node when
that node has committed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scripts.simulation.machine import Machine
from scripts.simulation.world import World
from store.clocks import Dot
from store.matrix import Reporter


@dataclass(frozen=True, slots=True)
class Spread:
    """Milliseconds from a user's write until the last node has it, over so many edits."""

    nodes: int
    edits: int
    p50_ms: int
    p99_ms: int
    max_ms: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What each node sends on average while nothing changes, in bytes per second."""

    nodes: int
    seconds: int
    bytes_per_second: float


def settled(nodes: int, *, seed: int = 1, within_ms: int = 120_000) -> World:
    """A world in which every node sees every other one."""
    world = World(seed, nodes)
    world.commit_ms = (1, 3)
    for machine in world.machines.values():
        world.start(machine)
    world.until(lambda: _all_fresh(world), within_ms, "every node sees every other one", step_ms=1_000)
    return world


def _all_fresh(world: World) -> bool:
    machines = list(world.machines.values())
    return all(
        a.running.reporter(b.name, a.now(world.now)) is Reporter.FRESH
        for a in (machines if len(machines) <= 64 else machines[:: len(machines) // 16])
        for b in machines
        if a is not b
    )


def spread(nodes: int, *, edits: int = 100, loss: float = 0.0, seed: int = 1, world: World | None = None) -> Spread:
    """Write on random nodes, one edit after the other, and see when the last node has each."""
    world = world or settled(nodes, seed=seed)
    world.net.loss = loss
    machines = list(world.machines.values())
    missing: dict[Dot, int] = {}

    def heard(_: Machine, dot: Dot) -> None:
        missing[dot] = missing.get(dot, len(machines)) - 1

    world.heard_edit = heard
    times = []
    for number in range(edits):
        machine = world.random.choice(machines)
        began = world.now
        request = world.edit(machine, {f"wwid/36005076801810523800000000000{number % 64:04x}": {"alias": f"lun-{number}"}})
        while request not in machine.accepted or missing[machine.accepted[request].dot]:
            if world.now - began > 60_000:
                raise RuntimeError(f"after 60 s {len(machines)} nodes still lack an edit")
            world.run(1)
        times.append(world.now - began)
        world.run(world.random.randint(20, 200))
    world.heard_edit = None
    world.net.loss = 0.0
    return Spread(nodes, edits, _quantile(times, 0.5), _quantile(times, 0.99), max(times))


def _quantile(values: Sequence[int], part: float) -> int:
    """The value that this part of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered) // 1) - 1))]


def idle_traffic(nodes: int, *, seconds: int = 30, seed: int = 1, world: World | None = None) -> Traffic:
    """Let time pass in which nothing changes, and count what leaves each node, headers included."""
    world = world or settled(nodes, seed=seed)
    world.run(10_000)
    before = world.bytes_sent
    world.run(seconds * 1_000)
    return Traffic(nodes, seconds, (world.bytes_sent - before) / nodes / seconds)
