"""What goes wrong: network, disks, processes, clocks, copies of machines. Each fault ends by itself, or at the end of the run."""

from collections.abc import Callable
from random import Random

from scripts.simulation import seams
from scripts.simulation.machine import Machine
from scripts.simulation.network import Cut, Shape
from scripts.simulation.world import World

Action = Callable[[World, Random], bool]
YEAR_MS = 365 * 86_400_000


def _some_up(world: World, random: Random) -> Machine | None:
    found = [m for m in world.up if not m.gone]
    return random.choice(found) if len(found) > 1 else None


# -- the network ------------------------------------------------------------------------------------------------------


def _cut(world: World, random: Random, cut: Cut, ms: int) -> None:
    world.wires.cut(cut, loud=random.random() < 0.5)
    world.at(world.now + ms, world.wires.mend, cut)


def partition(world: World, random: Random) -> bool:
    """Two sides, or one node and the rest."""
    labels = list(world.machines)
    side = random.sample(labels, random.choice((1, max(1, len(labels) // 2))))
    _cut(world, random, Cut(Shape.BOTH, frozenset(side)), random.randint(300, 15_000))
    return True


def one_way(world: World, random: Random) -> bool:
    """Packets pass one way only, or connections can only be made one way."""
    labels = list(world.machines)
    side = frozenset(random.sample(labels, max(1, len(labels) // 2)))
    other = None if random.random() < 0.5 else frozenset(random.sample(labels, 1))
    world.happened["one-way partition"] += 1
    _cut(world, random, Cut(random.choice((Shape.ONE_WAY, Shape.PORT)), side, other), random.randint(300, 15_000))
    return True


def flapping(world: World, random: Random) -> bool:
    """The link between two nodes comes and goes."""
    if len(world.machines) < 2:
        return False
    a, b = random.sample(list(world.machines), 2)
    start = 0
    for _ in range(random.randint(2, 8)):
        cut = Cut(Shape.BOTH, frozenset((a,)), frozenset((b,)))
        world.at(world.now + start, _flap, world, cut)
        start += random.randint(100, 1_500)
        world.at(world.now + start, world.wires.mend, cut)
        start += random.randint(50, 1_500)
    return True


def _flap(world: World, cut: Cut) -> None:
    if not world.calm:
        world.wires.cut(cut, loud=True)


def weather(world: World, random: Random) -> bool:
    """For a while messages are lost, repeated, late, out of order, refused."""
    net = world.net
    match random.randrange(6):
        case 0:
            net.loss = random.choice((0.01, 0.1, 0.3))
        case 1:
            net.repeat = random.choice((0.05, 0.3))
        case 2:
            net.reorder_ms = random.choice((5, 50, 500))
        case 3:
            net.delay_ms = random.choice(((1, 50), (20, 200), (100, 900)))
        case 4:
            net.refuse = random.choice((0.05, 0.3))
        case _:
            net.capacity = random.choice((1, 2, 4))
    world.at(world.now + random.randint(500, 10_000), net.calm)
    return True


def garbage(world: World, random: Random) -> bool:
    """For a while peers send some messages that no version would, or one of them sends nothing else."""
    if random.random() < 0.5:
        world.net.babbler = random.choice(list(world.machines))
    else:
        world.net.garbage = random.choice((0.01, 0.1, 0.5))
    world.at(world.now + random.randint(500, 20_000), world.net.calm)
    return True


# -- disks ------------------------------------------------------------------------------------------------------------


def disk_full(world: World, random: Random) -> bool:
    """One disk takes nothing for a while."""
    machine = _some_up(world, random)
    if machine is None:
        return False
    machine.full_until = world.now + random.randint(200, 8_000)
    return True


def disk_slow(world: World, random: Random) -> bool:
    """One disk takes seconds for each transaction for a while."""
    machine = _some_up(world, random)
    if machine is None:
        return False
    machine.slow_until = world.now + random.randint(1_000, 8_000)
    return True


# -- processes --------------------------------------------------------------------------------------------------------


def _restart(world: World, machine: Machine) -> None:
    if machine.engine is None and not machine.gone:
        world.start(machine)


def crash(world: World, random: Random) -> bool:
    """One process dies now, or amid one of its next events, and comes back later."""
    machine = _some_up(world, random)
    if machine is None:
        return False
    if random.random() < 0.4:
        world.crash(machine)
    else:
        machine.crash_at = machine.events + random.randint(1, 40)
        machine.crash_after = random.randrange(5)
    world.at(world.now + random.choice((50, 1_000, random.randint(2_000, 20_000))), _revive, world, machine)
    return True


def _revive(world: World, machine: Machine) -> None:
    if machine.engine is not None and machine.crash_at >= machine.events:
        world.at(world.now + 1_000, _revive, world, machine)  # it has not died yet
    else:
        _restart(world, machine)


def crash_all(world: World, random: Random) -> bool:
    """The power fails everywhere."""
    machines = [m for m in world.machines.values() if m.engine is not None]
    for machine in machines:
        world.crash(machine)
        world.at(world.now + random.randint(100, 5_000), _restart, world, machine)
    return True


def pause(world: World, random: Random) -> bool:
    """One process, or several, are stopped for a while, or their whole machines."""
    found = [m for m in world.up if not m.gone]
    if len(found) < 2:
        return False
    for machine in random.sample(found, random.choice((1, 1, 1, len(found) // 2))):
        world.pause(machine, suspended=random.random() < 0.5)
        world.at(
            world.now + random.choice((random.randint(50, 3_000), random.randint(3_000, 20_000))), _go_on, world, machine, machine.life
        )
    return True


def _go_on(world: World, machine: Machine, life: int) -> None:
    if machine.life == life:
        world.resume(machine)


def memory(world: World, random: Random) -> bool:
    """One bit flips in one node's memory, in the hash of its state."""
    machine = _some_up(world, random)
    if machine is None:
        return False
    seams.flip(machine.running, random.randrange(256))
    world.happened["memory damaged"] += 1
    return True


def wall_clock(world: World, random: Random) -> bool:
    """One wall clock steps, by seconds to years."""
    machine = random.choice(list(world.machines.values()))
    machine.wall_ms += random.choice((-1, 1)) * random.choice((1_000, 60_000, 86_400_000, YEAR_MS, 20 * YEAR_MS))
    return True


def other_version(world: World, random: Random) -> bool:
    """One node comes back with a version that speaks another protocol, and is put right later."""
    machine = _some_up(world, random)
    if machine is None:
        return False
    world.crash(machine)
    machine.version_shift = 1
    world.start(machine)
    world.at(world.now + random.randint(1_000, 8_000), _put_right, world, machine)
    return True


def _put_right(world: World, machine: Machine) -> None:
    if not machine.version_shift:
        return
    machine.version_shift = 0
    if machine.engine is not None:
        world.crash(machine)
    _restart(world, machine)


# -- copies -----------------------------------------------------------------------------------------------------------


def save_copy(world: World, random: Random) -> bool:
    """A backup of one machine is made."""
    found = [m for m in world.machines.values() if not m.gone and m.disk.epoch]
    if not found:
        return False
    world.save_copy(random.choice(found))
    return True


def restore(world: World, random: Random) -> bool:
    """One machine is put back to its backup: the database alone, or the whole machine. It may be alone for a while then."""
    found = [m for m in world.machines.values() if m.copy is not None and not m.gone]
    if not found:
        return False
    machine = random.choice(found)
    if machine.engine is not None:
        world.crash(machine)
    world.check.health.double(machine)
    world.restore(machine, whole=random.random() < 0.5)
    if random.random() < 0.4:
        _cut(world, random, Cut(Shape.BOTH, frozenset((machine.label,))), random.randint(3_000, 12_000))
        world.start(machine)
    else:
        world.at(world.now + random.randint(10, 5_000), _restart, world, machine)
    return True


def forget_early(world: World, random: Random) -> bool:
    """One disk forgets a deletion that conflicts with a value, as an old fault of the program could have made it do."""
    for machine in random.sample(found, len(found)) if (found := [m for m in world.members if m.disk.base is not None]) else ():
        if machine.engine is not None and seams.without_a_deletion(machine.disk.base, machine.disk.rows) is not None:
            world.crash(machine)  # which may finish a transaction: so look again
        forgotten = None if machine.engine is not None else seams.without_a_deletion(machine.disk.base, machine.disk.rows)
        if forgotten is not None:
            machine.disk.base, dot = forgotten
            world.check.forgets(dot)
            world.at(world.now + random.randint(10, 1_000), _restart, world, machine)
            return True
    return False


def wipe(world: World, random: Random) -> bool:
    """One database is lost; its node is still a member."""
    found = [m for m in world.machines.values() if not m.gone and not m.clone and m.disk.epoch]
    if len(found) < 3:
        return False
    machine = random.choice(found)
    if machine.engine is not None:
        world.crash(machine)
    world.check.health.double(machine)
    world.wipe(machine)
    world.at(world.now + random.randint(10, 5_000), _restart, world, machine)
    return True


def clone(world: World, random: Random) -> bool:
    """An image of one machine is started beside it, and switched off again later."""
    found = [m for m in world.members if not m.retired and m.disk.epoch]
    if not found or any(m.clone and not m.gone for m in world.machines.values()):
        return False
    machine = random.choice(found)
    world.check.health.double(machine)
    twin = world.clone(machine)
    world.start(twin)
    world.at(world.now + random.randint(3_000, 15_000), _end_clone, world, twin)
    return True


def _end_clone(world: World, twin: Machine) -> None:
    if not twin.gone:
        world.destroy(twin)


FAULTS: dict[str, tuple[Action, int]] = {
    "partition": (partition, 4),
    "one-way": (one_way, 3),
    "flapping": (flapping, 2),
    "weather": (weather, 6),
    "garbage": (garbage, 1),
    "disk-full": (disk_full, 2),
    "disk-slow": (disk_slow, 2),
    "crash": (crash, 6),
    "crash-all": (crash_all, 1),
    "pause": (pause, 3),
    "memory": (memory, 1),
    "wall-clock": (wall_clock, 2),
    "other-version": (other_version, 1),
    "copy": (save_copy, 3),
    "restore": (restore, 2),
    "wipe": (wipe, 1),
    "forget-early": (forget_early, 1),
    "clone": (clone, 1),
}
