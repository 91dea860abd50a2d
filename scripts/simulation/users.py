"""What users do: edits on any node, resolutions of conflicts, changes of the hosts' health, and members that come and go."""

from collections.abc import Callable
from random import Random

from scripts.simulation import forge
from scripts.simulation.machine import Machine
from scripts.simulation.world import World
from store.document import Options
from store.edits import RESOLVE
from store.members import MEMBER_PREFIX, MemberState, Role, member_value

KEYS = (
    *(f"wwid/36005076801810523800000000000{n:04x}" for n in range(8)),
    "storage/san-a",
    "storage/san-b",
    "defaults",
    "overrides",
)
MAPS = ("36000", "36001", "36002", "36003")
STATES = ("healthy", "degraded", "failed", "absent", "missing")
_WORDS = ("first", "second", "third", "fourth")

Action = Callable[[World, Random], bool]


def _writers(world: World) -> list[Machine]:
    """The machines on which a user could write now."""
    return [m for m in world.up if not m.gone]


def _value(random: Random, key: str, *, large: bool = False) -> Options:
    number = random.randrange(10_000)
    padding = {"comment": "x" * random.randrange(200, 4_000)} if large else {}
    if key == "defaults":
        return {"polling-interval": str(1 + number % 30)}
    if key == "overrides":
        return {"text": f"# {number}\n"}
    if key.startswith("storage/"):
        return {"type": "multipath", "comment": f"{random.choice(_WORDS)} {number}"}
    return {"alias": f"lun-{number % 50}", **padding}


def edit(world: World, random: Random) -> bool:
    """One user changes, creates or deletes one section, or several."""
    writers = _writers(world)
    if not writers:
        return False
    machine = random.choice(writers)
    fold = machine.running.replica.fold
    keys = [key for key in random.sample(KEYS, random.choice((1, 1, 1, 2, 3))) if not fold.in_conflict(key)]
    changes: dict[str, Options | None] = {}
    for key in keys:
        there = fold.value(key) is not None
        changes[key] = None if there and random.random() < 0.35 else _value(random, key, large=random.random() < 0.1)
    if changes:
        world.edit(machine, changes)
    return bool(changes)


def burst(world: World, random: Random) -> bool:
    """One user writes many edits in a row."""
    writers = _writers(world)
    if not writers:
        return False
    machine = random.choice(writers)
    fold = machine.running.replica.fold
    for _ in range(random.randrange(5, 25)):
        if machine.engine is None:
            break
        key = random.choice(KEYS)
        if not fold.in_conflict(key):
            world.edit(machine, {key: _value(random, key, large=True)})
    return True


def contest(world: World, random: Random) -> bool:
    """Several users change the same section at about the same time."""
    writers = _writers(world)
    key = random.choice(KEYS)
    chosen = [m for m in random.sample(writers, min(3, len(writers))) if not m.running.replica.fold.in_conflict(key)]
    for machine in chosen:
        world.edit(machine, {key: None if random.random() < 0.2 else _value(random, key)})
    return bool(chosen)


def resolve(world: World, random: Random) -> bool:
    """One user decides an open conflict, by what is shown to him."""
    for machine in random.sample(writers, len(writers)) if (writers := _writers(world)) else ():
        fold = machine.running.replica.fold
        open_keys = [key for key in fold.conflicts if key in KEYS]
        if not open_keys:
            continue
        key = random.choice(open_keys)
        shown = fold.siblings(key)
        named = shown if len(shown) < 3 or random.random() < 0.8 else shown[:2]  # one that came later is not on the page yet
        value = random.choice(named).value if random.random() < 0.7 else _value(random, key)
        world.edit(machine, {key: value}, kind=RESOLVE, covers={key: tuple(s.dot for s in named)})
        return True
    return False


def health(world: World, random: Random) -> bool:
    """The maps of one host change their state."""
    machines = _writers(world)
    if not machines:
        return False
    machine = random.choice(machines)
    states = dict(machine.condition)
    for wwid in random.sample(MAPS, random.choice((1, 1, 2, 4))):
        states[wwid] = random.choice(STATES)
    world.report(machine, {wwid: state for wwid, state in states.items() if state != "absent"})
    return True


def _admins(world: World) -> list[Machine]:
    return [m for m in _writers(world) if (me := m.running.member) is not None and me.role is Role.ADMIN and me.active and not m.clone]


def join(world: World, random: Random) -> bool:
    """A sponsor lets a new node in; it starts empty, knowing only the members that the sponsor named."""
    admins = _admins(world)
    if not admins:
        return False
    sponsor = random.choice(admins)
    number = 1 + sum(1 for m in world.machines.values() if not m.clone)
    member = forge.member(f"n{number}", random.choice((Role.ADMIN, Role.ADMIN, Role.EDITOR, Role.OBSERVER)))
    active = sponsor.running.replica.registry.active
    machine = world.add(member, bootstrap=[sponsor.member, *random.sample(active, min(3, len(active)))])
    request = world.edit(sponsor, {MEMBER_PREFIX + member.name: member_value(member)})
    _when_accepted(world, sponsor, request, lambda: _begin(world, machine), lambda: _never(machine))
    return True


def _begin(world: World, machine: Machine) -> None:
    if not machine.gone:
        world.happened["joined"] += 1
        world.start(machine)


def _never(machine: Machine) -> None:
    machine.gone = True


def _when_accepted(
    world: World, machine: Machine, request: int, then: Callable[[], None], otherwise: Callable[[], None], tries: int = 400
) -> None:
    """Look again and again whether a request was answered."""
    if request in machine.accepted:
        then()
    elif request in machine.rejected or tries == 0:
        otherwise()
    else:
        world.at(world.now + 50, _when_accepted, world, machine, request, then, otherwise, tries - 1)


def retire(world: World, random: Random) -> bool:
    """An admin retires a node, which may be down, cut off, or running."""
    admins = _admins(world)
    members = [m for m in world.members if m.disk.epoch]
    if len(members) < 4 or len(admins) < 2:
        return False
    sponsor = random.choice(admins)
    found = [m for m in members if m is not sponsor and m.name in sponsor.running.replica.registry.by_name]
    if not found:
        return False
    target = random.choice(found)
    registered = sponsor.running.replica.registry.by_name[target.name]
    if registered.actor != target.member.actor or not registered.active:
        return False
    value = member_value(registered) | {"state": MemberState.RETIRED.value}
    request = world.edit(sponsor, {MEMBER_PREFIX + target.name: value})
    _when_accepted(world, sponsor, request, lambda: _shut_out(world, target), lambda: None)
    return True


def _shut_out(world: World, machine: Machine) -> None:
    """It is switched off some time after it was retired."""
    world.happened["retired"] += 1
    machine.retired = True
    world.check.shut_out(machine)
    world.at(world.now + 5_000, _switch_off, world, machine)


def _switch_off(world: World, machine: Machine) -> None:
    if not machine.gone:
        world.destroy(machine)


def leave(world: World, random: Random) -> bool:
    """A node leaves of its own accord, and stops when others know."""
    admins = _admins(world)
    if len(admins) < 3 or len(world.members) < 4:
        return False
    machine = random.choice(admins)
    me = machine.running.member
    if me is None:
        return False
    value = member_value(me) | {"state": MemberState.LEFT.value}
    request = world.edit(machine, {MEMBER_PREFIX + machine.name: value})
    _when_accepted(world, machine, request, lambda: _stop_when_known(world, machine, request), lambda: None)
    return True


def _stop_when_known(world: World, machine: Machine, request: int, tries: int = 100) -> None:
    bit = machine.accepted[request].bit
    machine.retired = True
    if tries == 0 or any(other.disk.known & bit for other in world.members if other is not machine):
        world.happened["left"] += 1
        world.check.shut_out(machine)
        world.at(world.now + 2_000, _switch_off, world, machine)
    else:
        world.at(world.now + 100, _stop_when_known, world, machine, request, tries - 1)


USERS: dict[str, tuple[Action, int]] = {
    "edit": (edit, 40),
    "burst": (burst, 2),
    "contest": (contest, 8),
    "resolve": (resolve, 10),
    "health": (health, 15),
}
MEMBERSHIP: dict[str, tuple[Action, int]] = {"join": (join, 6), "retire": (retire, 3), "leave": (leave, 2)}
