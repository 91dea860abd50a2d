"""One run: a world, users and faults for a while, then calm, and everybody must agree."""

import gc
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from apply.model import build
from apply.render import render
from scripts.simulation import seams
from scripts.simulation.check_health import STEADY_MS
from scripts.simulation.faults import FAULTS
from scripts.simulation.hosts import apply_config, document
from scripts.simulation.machine import Machine
from scripts.simulation.sometimes import observed
from scripts.simulation.trace import Trace
from scripts.simulation.users import MEMBERSHIP, USERS, Action
from scripts.simulation.violation import Violation
from scripts.simulation.world import SMALL, World
from store.matrix import Reporter
from store.members import Role

AGREE_WITHIN_MS = 90_000
"""How soon after the last fault all must agree: connections are tried again every 5 s, and each second one peer is asked."""
LOOK_AGAIN_MS = 5_000
HUGE = 256
"""Above so many nodes a simulated second takes seconds, and things happen faster."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is. `seconds` is the simulated time that the steps are spread over; 0: half a second each, less in a large cluster."""

    seed: int
    nodes: int = 5
    steps: int = 60
    seconds: float = 0.0
    churn: bool = False
    thorough: bool = False
    without: tuple[str, ...] = ()
    log: Callable[[str], None] | None = None


@dataclass(slots=True)
class Outcome:
    """How a run ended. `violation` is empty if everything held."""

    seed: int
    trace: str
    violation: str = ""
    events: int = 0
    simulated_ms: int = 0
    seconds: float = 0.0
    agreed_ms: int = 0
    edits: int = 0
    happened: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Mix:
    """Which actions a run takes and how often: each seed leaves out some kinds of faults, so that others show what they do alone."""

    actions: tuple[Action, ...]
    weights: tuple[int, ...]
    bounds: dict[str, int]
    collect_edits: int
    look_ms: int | None
    roles: dict[str, Role]

    @classmethod
    def of(cls, plan: Plan, random: Random) -> "Mix":
        share = random.choice((0.2, 0.5, 0.8))
        chosen = dict(USERS)
        chosen.update({name: entry for name, entry in FAULTS.items() if random.random() < share})
        if plan.churn:
            chosen.update({name: (action, weight * 2) for name, (action, weight) in MEMBERSHIP.items()})
        elif random.random() < 0.3:
            chosen.update(MEMBERSHIP)
        for name in plan.without:
            chosen.pop(name, None)
        bounds = {}
        if random.random() < 0.4:
            bounds = {"hold_back_edits": random.choice((4, 16)), "delta_bytes": random.choice((1_500, 8_000))}
        if random.random() < 0.7:
            bounds["chunk_bytes"] = random.choice((500, 4_000))
        if random.random() < 0.3:
            bounds |= {"snapshots_served": 1, "snapshot_bytes_per_second": 20_000}
        if plan.nodes > SMALL:
            bounds = {}  # a large registry alone is beyond these
        collect_edits, look_ms = random.choice(((1, 500), (4, 1_000), (16, 2_000), (256, None)))
        roles = {}
        for n in range(4, plan.nodes + 1):
            roles[f"n{n}"] = random.choice((Role.ADMIN, Role.ADMIN, Role.ADMIN, Role.EDITOR, Role.OBSERVER))
        return cls(tuple(a for a, _ in chosen.values()), tuple(w for _, w in chosen.values()), bounds, collect_edits, look_ms, roles)


def simulate(plan: Plan) -> Outcome:
    """Run it. Never raises for what the product does wrong: that is in the outcome."""
    began = time.perf_counter()
    random = Random(f"{plan.seed}/plan")
    mix = Mix.of(plan, random)
    trace = Trace(plan.log)
    outcome = Outcome(plan.seed, "")
    with seams.tightened(mix.bounds, look_ms=mix.look_ms):
        world = World(plan.seed, plan.nodes, trace=trace, roles=mix.roles)
        world.collect_edits = mix.collect_edits
        gc.collect()
        gc.disable()  # next to nothing in a run is garbage in cycles, and looking for it takes a fifth of the time
        try:
            _faulty(world, plan, mix, random)
            outcome.agreed_ms = settle(world)
            if plan.thorough:
                world.run(STEADY_MS + 5_000)
                world.check.final()
        except Violation as fault:
            outcome.violation = str(fault)
        except Exception as fault:
            outcome.violation = f"the simulation fails at {world.now} ms: {type(fault).__name__}: {fault}"
            if plan.log is not None:
                raise
        finally:
            gc.enable()
    outcome.trace = trace.hexdigest
    outcome.events = trace.events
    outcome.simulated_ms = world.now
    outcome.edits = len(world.check.oracle.edits)
    outcome.happened = observed(world)
    outcome.seconds = time.perf_counter() - began
    return outcome


def _faulty(world: World, plan: Plan, mix: Mix, random: Random) -> None:
    spread = 500 if plan.nodes <= SMALL else 3_000
    for machine in list(world.machines.values()):
        world.at(random.randrange(spread), _begin, world, machine)
    world.run(spread + random.choice((0, 500, 3_000)))
    gap = plan.seconds * 1_000 / max(1, plan.steps) or (500 if plan.nodes <= SMALL else 200 if plan.nodes <= HUGE else 100)
    for _ in range(plan.steps):
        world.run(int(random.expovariate(1 / gap)))
        if mix.actions:
            random.choices(mix.actions, mix.weights)[0](world, random)


def _begin(world: World, machine: Machine) -> None:
    if machine.engine is None and not machine.gone:
        world.start(machine)


def calm(world: World) -> None:
    """End all faults: the network is whole, disks work, stopped processes go on, those that are down start, clones are switched off."""
    world.calm = True
    world.net.calm()
    for cut in list(world.net.cuts):
        world.wires.mend(cut)
    world.commit_failure = 0.0
    cut_off = _cut_off(world)
    for machine in list(world.machines.values()):
        machine.full_until = machine.slow_until = machine.crash_at = -1
        if machine.gone:
            continue
        if machine.clone or machine in cut_off:
            world.destroy(machine)
            continue
        if machine.paused:
            world.resume(machine)
        if machine.version_shift and machine.engine is not None:
            machine.version_shift = 0
            world.crash(machine)
        machine.version_shift = 0
        if machine.engine is None and (machine.disk.epoch or machine.disk.pristine):
            world.start(machine)


def _cut_off(world: World) -> list[Machine]:
    """The machines that no longer belong to the cluster, or that it can never reach again: an operator has to act, as users are told.

    A sponsor may be gone for ever before it could tell of whom it let in; all whom a node knows may have been retired meanwhile. Who
    accepts each other is one cluster; the largest is the one that goes on, or of several that large the one that knows most.
    """
    members = [m for m in world.members if not (m.retired or world.check.departed(m))]
    accepts = {m.label: world.check.accepted_by(m) for m in members}

    def weight(labels: set[str]) -> tuple[int, int]:
        held = 0
        for label in labels:
            held |= world.machines[label].disk.known
        return len(labels), held.bit_count()

    best: set[str] = set()
    left = {m.label: m for m in members}
    while left:
        found, queue = set(), [next(iter(left))]
        while queue:
            label = queue.pop()
            found.add(label)
            one = left.pop(label)
            both = [o.label for o in left.values() if o.member.actor in accepts[label] and one.member.actor in accepts[o.label]]
            queue += [other for other in both if other not in queue]
        best = max(best, found, key=weight)
    return [m for m in world.members if m.label not in best]


def settle(world: World, within_ms: int = AGREE_WITHIN_MS) -> int:
    """End all faults and wait until all agree; then check that nothing is missing. Returns how long it took, in simulated milliseconds."""
    calm(world)
    began = world.now
    while (reason := agreed(world)) is not None:
        if world.now - began >= within_ms:
            raise Violation(2, "", f"{within_ms / 1000:.0f} s after the last fault {reason}", world.now)
        world.run(250)
        if (world.now - began) % LOOK_AGAIN_MS == 0:
            for machine in _cut_off(world):
                world.destroy(machine)  # its membership ended, or was lost, with the last that was done
            for machine in world.participants:
                if any(other.gone and not machine.running.replica.knows(other.member.actor) for other in world.machines.values()):
                    apply_config(machine, world.check, told=True)  # it may remember one that nobody knows: somebody has to say so
    took = world.now - began
    world.check.health.steady_since = world.now
    check_equal(world)
    world.check.final()
    return took


def agreed(world: World) -> str | None:
    """What the members do not agree on yet; None if they do."""
    members = world.participants
    if len(members) < 2:
        return None  # nobody is there to agree with
    first = members[0].running.replica.fold
    gone = [m.member.actor for m in world.machines.values() if m.gone and not m.clone]
    for machine in members:
        engine = machine.running
        if engine.replica.fold.clock != first.clock:
            return f"{machine.label} has another clock"
        if engine.replica.fold.state_hash != first.state_hash:
            return f"{machine.label} has another state"
        if engine.member is None:
            return f"{machine.label} is no member"
        if any((found := engine.replica.registry.by_actor.get(actor)) is not None and found.active for actor in gone):
            continue  # it may know of edits that a member has which is switched off: then it rightly takes nothing from its host
        if not engine.caught_up:
            return f"{machine.label} is not caught up"
        if machine.host != document(machine):
            return f"{machine.label} has not applied it"
    now = world.now
    pairs = [(a, b) for a in (members if len(members) <= SMALL else members[:8]) for b in members if a is not b]
    for a, b in pairs:
        if a.running.reporter(b.name, a.now(now)) is not Reporter.FRESH:
            return f"{a.label} sees {b.label} {a.running.reporter(b.name, a.now(now)).value}"
    return None


def check_equal(world: World) -> None:
    """What all members fold and render is the same, byte for byte."""
    members = world.participants
    if not members:
        return
    rendered = None
    for machine in members:
        fold = machine.running.replica.fold
        values = document(machine)
        order = {key: won.rank for key in values if (won := fold.winner(key)) is not None}
        model = build(values, order)
        files = {name: file.content for name, file in render(model, digest="0" * 64, tools_version=(0, 9, 4)).files.items()}
        shown = (files, values, fold.conflicts)
        if rendered is None:
            rendered = shown
        elif shown != rendered:
            raise Violation(2, machine.label, "what it renders differs from what others render", world.now)
