"""Who made which edit, what its author had seen, who holds it, and who was told that it is made: what every check of edits stands on."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from gossip.events import Accepted, LocalEdit
from scripts.simulation import seams
from scripts.simulation.disk import Disk
from scripts.simulation.machine import Asked, Machine
from scripts.simulation.oracle import Known, Made, Oracle
from scripts.simulation.violation import Violation
from store.clocks import Dot
from store.edits import LATE, SignedEdit
from store.members import MEMBER_PREFIX, MemberState

if TYPE_CHECKING:
    from scripts.simulation.world import World

_REQUEST = re.compile(r"u(\d+)")


class Books:
    """The bookkeeping. It draws no random number and changes nothing in the world."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.oracle = Oracle()
        self.founding: Known = 0
        self.ever: dict[bytes, Known] = {}
        """What each identity has ever held durably, in whatever life."""
        self.durable: Known = 0
        """What anybody has ever held durably."""
        self.acknowledged: dict[int, Made] = {}
        self.excused: Known = 0
        """Edits that only disks had which do not exist any more."""
        self.orphaned: Known = 0
        """Edits that came too late to be merged: what they had to say was written again, and checked then."""
        self.endings: dict[bytes, Known] = {}
        """The edits that retired an actor, or with which it left."""

    def fail(self, invariant: int, machine: Machine | None, text: str) -> NoReturn:
        """Raise the violation."""
        raise Violation(invariant, machine.label if machine else "", text, self.world.now)

    def founded(self, log: Sequence[SignedEdit]) -> None:
        """The prepared registry, which every machine starts with."""
        for signed in log:
            self._make(signed, self.founding, "founder")
            self.founding |= self.oracle.by_dot[signed.dot].bit

    def _make(self, signed: SignedEdit, past: Known, author: str, asked: Asked | None = None) -> Made:
        named = None if asked is None else {key: frozenset(Dot(*dot) for dot in dots) for key, dots in asked.named.items()}
        made = self.oracle.make(signed, past, author, asked.request if asked else 0, named)
        for key, value in made.changes.items():
            if key.startswith(MEMBER_PREFIX) and value is not None and value["state"] != MemberState.JOINED.value:
                actor = bytes.fromhex(value["actor"])
                self.endings[actor] = self.endings.get(actor, 0) | made.bit
        return made

    def asking(self, machine: Machine, event: LocalEdit) -> None:
        """A user's write is about to be given to the engine: this is what its author can have seen."""
        state = machine.state
        named = {key: frozenset((d.actor, d.counter) for d in dots) for key, dots in event.covers.items()}
        machine.asked[event.request] = Asked(event.request, state.known if state else 0, tuple(machine.asked), event.kind, named)

    def committing(self, machine: Machine, batch: Sequence[SignedEdit]) -> None:
        """An engine wants these edits durable: those that nobody has seen yet are its own."""
        for signed in batch:
            made = self.oracle.by_raw.get(signed.raw)
            if made is None:
                made = self._authored(machine, signed)
            if machine.disk.known & made.bit:
                self.fail(4, machine, f"{edit_name(signed)} is committed a second time")

    def _authored(self, machine: Machine, signed: SignedEdit, known: Known | None = None) -> Made:
        """Take an edit that only this machine's engine can have made: for a user, or (on top of `known`) of its own accord."""
        edit = signed.edit
        other = self.oracle.by_dot.get(signed.dot)
        if other is not None:
            if any(m.disk.known & other.bit for m in self.world.machines.values() if not (m.gone and m is not machine)):
                self.fail(4, machine, f"{edit_name(signed)} names two edits")
            self.oracle.withdraw(other)  # the former one is nowhere any more
        if seams.owner(signed) != machine.member.actor:
            self.fail(4, machine, f"{edit_name(signed)} was made by nobody")
        found = _REQUEST.fullmatch(edit.reason)
        asked = machine.asked.get(int(found[1])) if found else None
        if asked is not None and asked.made is None:
            past = asked.known
            for request in asked.behind:
                before = machine.asked[request].made if request in machine.asked else machine.accepted.get(request)
                if before is not None:
                    past |= before.past | before.bit
        else:
            if known is None:
                self.fail(4, machine, f"{edit_name(signed)} was asked for by nobody")
            asked, past = None, known or 0
        made = self._make(signed, past, machine.label, asked)
        if asked is not None:
            asked.made = made
        else:
            machine.unasked.append(made)
        clock = self.oracle.clock(past)
        if dict(edit.context) != clock:
            self.fail(3, machine, f"{edit_name(signed)} does not say what its author had seen: {vector(edit.context)}, not {vector(clock)}")
        # A late edit keeps the number that it had, so that it wins over nothing that came in between.
        least = 1 if made.kind == LATE else 1 + max((before.lamport for before in self.oracle.members(past)), default=0)
        if not least <= made.lamport <= past.bit_count() + 1:
            self.fail(3, machine, f"{edit_name(signed)} has the number {made.lamport}, and what it had seen leads to {least} or more")
        return made

    def lost(self, machine: Machine, batch: Sequence[SignedEdit]) -> None:
        """A transaction did not happen: what was new in it never existed."""
        self._never_made(machine, [made for signed in batch if (made := self.oracle.by_raw.get(signed.raw)) is not None])

    def abandoned(self, machine: Machine) -> None:
        """A new log did not become durable: what the engine wrote again in it never existed."""
        self._never_made(machine, machine.unasked)
        machine.unasked = []

    def _never_made(self, machine: Machine, edits: Iterable[Made]) -> None:
        for made in list(edits):
            if made.author == machine.label and not any(m.disk.known & made.bit for m in self.world.machines.values()):
                self.oracle.withdraw(made)

    def persisting(self, machine: Machine, batch: Sequence[SignedEdit]) -> Known:
        """The edits of the batch are durable now."""
        known = 0
        for signed in batch:
            if signed.dot in machine.disk.dots:
                self.fail(4, machine, f"{edit_name(signed)} is written twice")
            known |= self.oracle.by_raw[signed.raw].bit
        self._holds(machine, machine.disk.known | known)
        return known

    def _holds(self, machine: Machine, known: Known) -> None:
        actor = machine.member.actor
        self.ever[actor] = self.ever.get(actor, 0) | known
        self.durable |= known

    def accepted(self, machine: Machine, effect: Accepted) -> None:
        """A user was told that the edit is made."""
        asked = machine.asked.pop(effect.request)
        made = asked.made
        if made is None or made.dot != effect.dot:
            self.fail(1, machine, f"request {effect.request} is acknowledged as another edit")
        if not machine.disk.known & made.bit:
            self.fail(1, machine, f"request {effect.request} is acknowledged and not on the disk")
        machine.accepted[effect.request] = made
        self.acknowledged[made.number] = made

    def crashed(self, machine: Machine) -> None:
        """The process is gone, and with it what nobody was told of."""
        machine.asked = {}
        machine.state = None

    def replaced(self, machine: Machine, before: Disk) -> None:
        """A disk is gone: what only it held is lost to the cluster, and nobody can be blamed."""
        self._excuse(machine, before.known & ~(0 if machine.gone else machine.disk.known))

    def shut_out(self, machine: Machine) -> None:
        """A machine was retired: nobody listens to it any more, and what only it holds may never be heard of."""
        self._excuse(machine, machine.disk.known)

    def _excuse(self, machine: Machine, known: Known) -> None:
        """What of these edits no other machine holds may be lost."""
        for other in self.world.machines.values():
            if other is not machine and not other.gone:
                known &= ~other.disk.known
        self.excused |= known


def edit_name(signed: SignedEdit) -> str:
    """An edit as people can find it in a log."""
    return f"edit {signed.edit.actor.hex()[:6]}:{signed.edit.counter} of {signed.edit.author}"


def vector(clock: Mapping[bytes, int]) -> str:
    """A clock in short."""
    return "{" + " ".join(f"{actor.hex()[:6]}:{counter}" for actor, counter in sorted(clock.items())) + "}"
