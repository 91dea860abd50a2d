"""What engines forget, and what they take over from others (invariants 1 and 5)."""

from collections.abc import Iterable

from gossip.events import Rebase
from scripts.simulation import seams
from scripts.simulation.check_state import StateChecks
from scripts.simulation.machine import Machine
from scripts.simulation.oracle import Known, Made, State
from store.clocks import Dot
from store.edits import CHANGE, LATE, RESOLVE, decode_edit
from store.members import MEMBER_PREFIX, Member, MemberState, Role


class BaseChecks(StateChecks):
    """Collections, snapshots and repairs."""

    def rebasing(self, machine: Machine, effect: Rebase) -> None:
        """The engine forgets edits: only what all members have, and no value that lives. Or it stands on another log."""
        if effect.log is not None:
            self._transfer(machine, effect)
            return
        state, engine = machine.state, machine.running
        assert state is not None
        members = [m for m in engine.replica.registry.by_name.values() if m.state is MemberState.JOINED and m.actor != machine.member.actor]
        kept = seams.base_keys(effect.base)
        forgotten = {key: numbers for key, numbers in state.siblings.items() if key not in kept}
        alive = {n for key, numbers in state.siblings.items() if key not in forgotten for n in numbers}
        for key, numbers in forgotten.items():
            for number in numbers:
                made = self.oracle.edits[number]
                if made.bit & self.collected:
                    continue
                if made.changes[key] is not None or len(numbers) > 1:
                    self.fail(1, machine, f"it forgets {key}, which has a value")
                self._stable(machine, made, members)
                self.collected |= made.bit
                self.world.happened["tombstone collected"] += 1
        for dot in effect.gone:
            found = self.oracle.by_dot.get(dot)
            if found is None or not state.known & found.bit:
                self.fail(5, machine, f"it collects {dot}, which it does not have")
            elif found.number in alive and not found.bit & self.collected:
                self.fail(1, machine, f"it collects {dot}, whose value lives")
            else:
                self._stable(machine, found, members)

    def _stable(self, machine: Machine, made: Made, members: Iterable[Member]) -> None:
        """Every member must have had the edit durably at some time."""
        for member in members:
            if not self.ever.get(member.actor, 0) & made.bit:
                self.fail(5, machine, f"it collects {made.dot}, which {member.name} never had")

    def _transfer(self, machine: Machine, effect: Rebase) -> None:
        """What this node alone has must be in the new log, or written again in it, or have nothing left to say."""
        before = machine.state
        assert before is not None and effect.log is not None
        known = self.oracle.claimed(seams.base_clock(effect.base))
        arrived = known
        fresh: list[Made] = []
        for raw in effect.log:
            made = self.oracle.by_raw.get(raw)
            if made is None:
                made = self._authored(machine, decode_edit(raw), known)
                fresh.append(made)
            known |= made.bit
            if made not in fresh:
                arrived = known
        machine.next_known = known
        there = self.oracle.state(arrived)
        elsewhere = 0
        for other in self.world.machines.values():
            if other is not machine and not other.gone and not other.retired:
                elsewhere |= other.disk.known
        for orphan in self.oracle.members(before.known & ~known):
            for key, value in orphan.changes.items():
                if orphan.number not in before.siblings.get(key, ()):
                    continue  # replaced by a later edit that shares its fate
                again = [made for made in fresh if made.kind == LATE and made.changes.get(key, orphan) == value]
                present = [self.oracle.edits[n] for n in there.siblings.get(key, ())]
                for made in again:
                    self._late(machine, orphan, made, key, present)
                said = any(made.changes[key] == value for made in present) or (value is None and not present)
                if again or said or self._void(orphan):
                    continue
                if not self._may_write(machine, there, key):
                    self.excused |= orphan.bit  # an operator was told: this node may not write it again
                elif not elsewhere & orphan.bit:
                    self.fail(1, machine, f"{key}: the edit {orphan.dot} is neither taken nor written again")
            self.orphaned |= orphan.bit

    def _late(self, machine: Machine, orphan: Made, made: Made, key: str, present: list[Made]) -> None:
        """A late edit replaces no more than the original had seen."""
        for sibling in present:
            if made.replaces(sibling, key) and not orphan.past >> sibling.number & 1:
                self.fail(1, machine, f"{key}: the late edit for {orphan.dot} replaces {sibling.dot}, which that had not seen")

    def _may_write(self, machine: Machine, state: State, key: str) -> bool:
        """Whether the machine is a member there that may write the key: else what only it holds cannot be written again by anybody."""
        winner = self.oracle.winner(state.siblings.get(MEMBER_PREFIX + machine.name, ()))
        value = winner.changes[MEMBER_PREFIX + machine.name] if winner else None
        if value is None or value["state"] != MemberState.JOINED.value or value["actor"] != machine.member.actor.hex():
            return False
        roles = {Role.ADMIN.value} if key.startswith((MEMBER_PREFIX, "cluster/")) else {Role.ADMIN.value, Role.EDITOR.value}
        return value["role"] in roles

    def _void(self, made: Made) -> bool:
        return made.kind not in (CHANGE, RESOLVE, LATE)

    def rebased_to(self, machine: Machine, effect: Rebase) -> Known:
        """What the disk holds with the new base."""
        if effect.log is None:
            return machine.disk.known
        for made in machine.unasked:
            self.acknowledged[made.number] = made
        self._holds(machine, machine.next_known)
        return machine.next_known

    def forgets(self, dot: Dot) -> None:
        """A disk was made to forget a deletion."""
        self.collected |= self.oracle.by_dot[dot].bit
        self.world.happened["deletion forgotten"] += 1
