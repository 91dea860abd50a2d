"""A small vocabulary for stories about a cluster: what happens to which node, what users do, and what they must see."""

from collections.abc import Callable, Iterable, Mapping

from scripts.simulation import run
from scripts.simulation.machine import Machine
from scripts.simulation.network import Cut, Shape
from scripts.simulation.trace import Trace
from scripts.simulation.violation import Violation
from scripts.simulation.world import World
from store.document import Options
from store.edits import RESOLVE
from store.matrix import Reporter
from store.members import Role

LUN = "wwid/36005076801810523800000000000000"


class Scenario:
    """A cluster in which everybody sees everybody. All invariants are checked all the time; a wait that is in vain is a Violation."""

    def __init__(self, nodes: int, *, seed: int | str = 1, roles: Mapping[str, Role] | None = None, collect_edits: int = 0) -> None:
        self.world = World(seed, nodes, trace=Trace(), roles=roles)
        self.world.collect_edits = collect_edits
        for machine in list(self.world.machines.values()):
            self.world.start(machine)
        self.until(lambda: self.all_see(Reporter.FRESH), 10, "everybody sees everybody")

    def __getitem__(self, name: str) -> Machine:
        return self.world.machines[name]

    # -- time ---------------------------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.world.run(int(seconds * 1_000))

    def until(self, condition: Callable[[], object], seconds: float, what: str) -> float:
        """Let time pass until the condition holds; how many seconds that took."""
        return self.world.until(condition, int(seconds * 1_000), what, step_ms=50) / 1_000

    def agree(self, seconds: float = 30) -> float:
        """End all faults, wait until all agree, check that nothing was lost; how many seconds it took."""
        return run.settle(self.world, int(seconds * 1_000)) / 1_000

    # -- the network --------------------------------------------------------------------------------------------------

    def split(self, *sides: Iterable[str], loud: bool = False) -> None:
        """Only nodes of one side reach each other."""
        for side in sides:
            self.world.wires.cut(Cut(Shape.BOTH, frozenset(side)), loud=loud)

    def one_way(self, side: Iterable[str], other: Iterable[str], shape: Shape = Shape.PORT) -> None:
        """What goes from one side to the other is lost, or connections can only be made the other way."""
        self.world.wires.cut(Cut(shape, frozenset(side), frozenset(other)), loud=True)

    def mend(self) -> None:
        """The network is whole again."""
        for cut in list(self.world.net.cuts):
            self.world.wires.mend(cut)

    def lose(self, share: float) -> None:
        """From now on this share of all messages is lost."""
        self.world.net.loss = share

    # -- nodes --------------------------------------------------------------------------------------------------------

    def kill(self, *names: str) -> None:
        for name in names:
            self.world.crash(self[name])

    def start(self, *names: str) -> None:
        for name in names:
            self.world.start(self[name])

    def stop(self, *names: str) -> None:
        """As SIGSTOP."""
        for name in names:
            self.world.pause(self[name])

    def suspend(self, *names: str) -> None:
        """As a virtual machine that is stopped."""
        for name in names:
            self.world.pause(self[name], suspended=True)

    def go_on(self, *names: str) -> None:
        """End either."""
        for name in names:
            self.world.resume(self[name])

    def backup(self, name: str) -> None:
        self.world.save_copy(self[name])

    def restore(self, name: str, *, whole: bool) -> None:
        """Kill it, put its backup back (the database alone, or the whole machine), start it."""
        self.kill(name)
        self.world.check.health.double(self[name])
        self.world.restore(self[name], whole=whole)
        self.start(name)

    def wipe(self, name: str) -> None:
        """Kill it, take its database away, start it: the guard file is still there."""
        self.kill(name)
        self.world.check.health.double(self[name])
        self.world.wipe(self[name])
        self.start(name)

    def clone(self, name: str) -> str:
        """Start a second machine from an image of this one; returns what it is called here."""
        self.world.check.health.double(self[name])
        twin = self.world.clone(self[name])
        self.world.start(twin)
        return twin.label

    def end(self, name: str) -> None:
        """Switch a machine off for ever."""
        self.world.destroy(self[name])

    # -- users --------------------------------------------------------------------------------------------------------

    def write(self, name: str, key: str, value: Options | None) -> None:
        """Write one section (None: delete it) and wait until it is acknowledged."""
        self._made(name, self.world.edit(self[name], {key: value}))

    def resolve(self, name: str, key: str, value: Options | None) -> None:
        """Decide a conflict, naming all that is shown."""
        shown = self[name].running.replica.fold.siblings(key)
        self._made(name, self.world.edit(self[name], {key: value}, kind=RESOLVE, covers={key: tuple(s.dot for s in shown)}))

    def refused(self, name: str, key: str, value: Options | None) -> str:
        """Write, and return the code with which it is refused."""
        request = self.world.edit(self[name], {key: value})
        self.until(lambda: request in self[name].rejected, 2, f"{name} refuses to write {key}")
        return self[name].rejected[request].code

    def _made(self, name: str, request: int) -> None:
        machine = self[name]
        self.until(lambda: request in machine.accepted or request in machine.rejected, 5, f"{name} answers a write")
        if request in machine.rejected:
            raise Violation(1, name, f"a write is refused: {machine.rejected[request]}", self.world.now)

    # -- what is seen -------------------------------------------------------------------------------------------------

    def value(self, name: str, key: str) -> Options | None:
        return self[name].running.replica.fold.value(key)

    def conflicts(self, name: str) -> list[str]:
        return self[name].running.replica.fold.conflicts

    def sees(self, at: str, of: str) -> Reporter:
        return self[at].running.reporter(of, self[at].now(self.world.now))

    def all_see(self, standing: Reporter, *names: str) -> bool:
        """Whether every running node sees these (all others) so."""
        up = self.world.up
        targets = names or tuple(machine.name for machine in self.world.members if not machine.retired)
        return all(self.sees(a.label, name) is standing for a in up for name in targets if name != a.name)

    def alarms(self, name: str) -> set[str]:
        return {alarm.code for alarm in self[name].alarms}
