"""What must stay true, checked while a simulation runs. The numbers are those of the invariants in docs/protocol.md.

1 an acknowledged edit is never lost; 2 who can talk converges; 3 conflicts are exactly the concurrent edits; 4 no dot names two edits;
5 what was deleted or retired stays so; 6 health is never shown newer, healthier or younger than it is; 7 nothing makes an engine fail or
grow; 8, 9 nothing is taken from a host for lack of knowledge.

The checker knows what really happened (which edits each disk holds, when each beat was made) and compares it with what engines show and
say. It changes nothing and draws no random number.
"""

from typing import TYPE_CHECKING

from gossip.events import Alarm, Committed, Event, Rebased, RebaseFailed
from gossip.messages import Chunk, Delta, Digest, Fetch, Message
from scripts.simulation import seams
from scripts.simulation.check_base import BaseChecks
from scripts.simulation.check_health import HealthChecks, Life
from scripts.simulation.machine import Machine
from store.limits import limit

if TYPE_CHECKING:
    from scripts.simulation.world import World


class Checker(BaseChecks):
    """All checks of one world. With `everything`, after each event; without, each simulated second and by samples."""

    def __init__(self, world: "World", *, everything: bool) -> None:
        super().__init__(world)
        self.everything = everything
        self.health = HealthChecks(world, everything=everything)
        self._dirty: dict[str, set[str]] = {}

    def started(self, machine: Machine) -> None:
        """A process began with what its disk holds."""
        machine.unasked = []
        machine.head = None
        self._holds(machine, machine.disk.known)
        if self.everything:
            self.whole_state(machine)
        else:
            machine.state = self.oracle.state(machine.disk.known)

    def handled(self, machine: Machine, event: Event) -> None:
        """The engine took the event: after a commit, what it shows must be what the edits that are durable now say."""
        if isinstance(event, Committed):
            keys = self.committed(machine, event.batch)
            if self.everything:
                for key in sorted(keys):
                    self.compare(machine, key)
                self._bounded(machine)
            else:
                self._dirty.setdefault(machine.label, set()).update(keys)
        elif isinstance(event, Rebased):
            machine.unasked = []
            self.whole_state(machine)
        elif isinstance(event, RebaseFailed):
            self.abandoned(machine)

    def sending(self, machine: Machine, message: Message) -> tuple[tuple[str, Life, int], ...]:
        """A message leaves: nothing in it may be news that is not durable. Returns what it says of ages, for `arrived`."""
        if isinstance(message, Delta):
            for raw in message.edits if self.everything else message.edits[:1]:
                made = self.oracle.by_raw.get(raw)
                # In a large cluster news is handed on while it goes to the disk: then it is durable at its author.
                handed_on = made is not None and not self.everything and message.push and made.author != machine.label
                where = self.durable if handed_on else machine.disk.known
                if made is None or not where & made.bit:
                    self.fail(1, machine, "an edit is sent before it is durable")
            if message.health or message.beats:
                return self.health.claims(machine, message)
        elif isinstance(message, Digest) and self.everything and message.clock:
            if machine.state is None or dict(message.clock) != self.oracle.clock_of(machine.state):
                self.fail(1, machine, "a digest tells of more or less than is durable")
        elif isinstance(message, Fetch) and message.id:
            asked = (message.id, message.offset)
            if asked in machine.fetched:
                self.world.happened["bulk transfer resumed"] += 1
            machine.fetched.add(asked)
        elif isinstance(message, Chunk) and message.wait_ms:
            self.world.happened["bulk transfer put off"] += 1
        return ()

    def alarmed(self, machine: Machine, alarm: Alarm) -> None:
        """An operator is called: not for a clone where there is none (but who sends garbage for a hello is not known for what it is)."""
        doubtful = self.world.happened["garbage sent"] or any(m.clone for m in self.world.machines.values())
        if alarm.code in ("clone", "cloned") and not doubtful:
            self.fail(4, machine, f"a false alarm: {alarm.message}")

    def second(self) -> None:
        """Every simulated second."""
        for label, keys in self._dirty.items():
            machine = self.world.machines[label]
            if machine.engine is not None:
                for key in sorted(keys):
                    self.compare(machine, key)
                self._bounded(machine)
        self._dirty.clear()
        self.health.second()

    def _bounded(self, machine: Machine) -> None:
        edits, size = seams.held_back(machine.running)
        if edits > limit("hold_back_edits") or size > limit("hold_back_bytes"):
            self.fail(7, machine, f"{edits} edits of {size} bytes in the hold-back")
