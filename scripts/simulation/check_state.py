"""What engines show of the configuration and the members, against what the oracle says it must be (invariants 1, 2, 3, 5, 8, 9)."""

from collections.abc import Mapping, Sequence

from scripts.simulation.books import Books, edit_name, vector
from scripts.simulation.machine import Machine
from scripts.simulation.oracle import Known
from store.edits import SignedEdit
from store.members import MEMBER_PREFIX, MemberState


class StateChecks(Books):
    """Every key after each change of it, and everything at starts, transfers and the end."""

    collected: Known = 0
    """Deletions that somebody has forgotten because all members had them."""

    def committed(self, machine: Machine, batch: Sequence[SignedEdit]) -> set[str]:
        """A machine holds these edits too now; returns the keys that they change."""
        state = machine.state
        assert state is not None
        keys: set[str] = set()
        for signed in batch:
            made = self.oracle.by_raw[signed.raw]
            if made.past & ~state.known:
                self.fail(3, machine, f"{edit_name(signed)} is folded before what it depends on")
            state = self.oracle.after(state, made)
            keys.update(made.changes)
        machine.state = state
        return keys

    def compare(self, machine: Machine, key: str) -> None:
        """What the engine shows of a key against what follows from the edits it holds."""
        fold, state, oracle = machine.running.replica.fold, machine.state, self.oracle
        assert state is not None
        numbers = state.siblings.get(key, ())
        shown = fold.siblings(key)
        expected = {oracle.edits[n].dot: oracle.edits[n] for n in numbers}
        present = {s.dot for s in shown}
        if expected.keys() != present:
            absent = [made for dot, made in expected.items() if dot not in present]
            if present - expected.keys():
                extra = ", ".join(str(d)[-12:] for d in sorted(present - expected.keys()))
                ended = any(_ends(key, made.changes[key]) for made in absent)
                self.fail(5 if ended else 1, machine, f"{key} shows what was replaced: {extra}")
            for made in absent:
                if made.changes[key] is not None or not made.bit & self.collected:
                    self.fail(1, machine, f"{key} lacks the value of {made.dot}")
                del expected[made.dot]
        winner = max(expected.values(), key=lambda made: made.rank, default=None)
        found = fold.winner(key)
        if (winner.dot if winner else None) != (found.dot if found else None):
            self.fail(2, machine, f"{key}: another sibling wins than the greatest")
        if winner is not None and found is not None and found.value != winner.changes[key]:
            self.fail(2, machine, f"{key}: the winner's value is not what was written")
        distinct = {_frozen(made.changes[key]) for made in expected.values()}
        self.world.happened["conflict"] += len(distinct) > 1
        if (len(distinct) > 1) is not fold.in_conflict(key):
            self.fail(3, machine, f"{key}: {len(distinct)} values, and the engine says conflict: {fold.in_conflict(key)}")
        if key.startswith(MEMBER_PREFIX):
            self._member(machine, key.removeprefix(MEMBER_PREFIX))

    def _member(self, machine: Machine, name: str) -> None:
        member = machine.running.replica.registry.by_name.get(name)
        state = machine.state
        joined = member is not None and member.state is MemberState.JOINED
        if member is not None and state is not None and joined and self.endings.get(member.actor, 0) & state.known:
            self.fail(5, machine, f"{name} was retired, or left, and is a member")

    def whole_state(self, machine: Machine) -> None:
        """Everything that the engine shows, against the definition."""
        engine = machine.running
        machine.state = state = self.oracle.state(machine.disk.known)
        clock = self.oracle.clock(state.known)
        if dict(engine.replica.fold.clock) != clock:
            self.fail(2, machine, f"its clock is {vector(engine.replica.fold.clock)}, not {vector(clock)}")
        for key in sorted({*state.siblings, *engine.replica.fold}):
            self.compare(machine, key)

    def accepted_by(self, machine: Machine) -> set[bytes]:
        """The actors that a machine accepts as members, by what its disk holds (and whom it was told to trust, before that)."""
        accepted = set()
        siblings = self.oracle.state(machine.disk.known).siblings
        for key, numbers in siblings.items():
            if key.startswith(MEMBER_PREFIX) and (winner := self.oracle.winner(numbers)) is not None:
                value = winner.changes[key]
                if value is not None and value["state"] == MemberState.JOINED.value:
                    accepted.add(bytes.fromhex(value["actor"]))
        if MEMBER_PREFIX + machine.name not in siblings:
            accepted.update(member.actor for member in machine.bootstrap)
        return accepted

    def departed(self, machine: Machine) -> bool:
        """Whether any disk holds the edit with which it was retired, or left."""
        endings = self.endings.get(machine.member.actor, 0)
        return any(other.disk.known & endings for other in self.world.machines.values() if not other.gone)

    def removing(self, machine: Machine, key: str) -> None:
        """Something is about to be taken away from a host: a deletion in the committed past must say so."""
        state = machine.state
        assert state is not None
        if not self.oracle.deleted_by(state.known, key) and self._written_somewhere(key):
            self.fail(9, machine, f"{key} is taken from the host, and nobody deleted it")
        winner = self.oracle.winner(state.siblings.get(key, ()))
        if winner is not None and winner.changes[key] is not None:
            self.fail(8, machine, f"{key} is taken from the host, and it has a value")

    def _written_somewhere(self, key: str) -> bool:
        """Whether any disk still holds an edit of the key: else its section was lost with a disk, and there is nothing left to know."""
        held = 0
        for machine in self.world.machines.values():
            if not machine.gone:
                held |= machine.disk.known
        return any(held >> number & 1 for number in self.oracle.writers.get(key, ()))

    def final(self) -> None:
        """After all faults ended and everybody agrees: nothing is missing."""
        running = self.world.participants
        for machine in running:
            self.whole_state(machine)
        if not running:
            return
        known = running[0].disk.known
        for machine in self.world.machines.values():
            if machine.retired and not machine.gone:
                known |= machine.disk.known  # it still has the time to hand over
        for made in self.acknowledged.values():
            if not (known | self.excused | self.orphaned) & made.bit:
                self.fail(1, None, f"request {made.request} was acknowledged by {made.author}, and its edit {made.dot} is gone")


def _ends(key: str, value: Mapping[str, str] | None) -> bool:
    """Whether this value says that what the key names is no more: it was deleted, or is no member."""
    return value is None or (key.startswith(MEMBER_PREFIX) and value["state"] != MemberState.JOINED.value)


def _frozen(value: Mapping[str, str] | None) -> tuple[tuple[str, str], ...] | None:
    return None if value is None else tuple(sorted(value.items()))
