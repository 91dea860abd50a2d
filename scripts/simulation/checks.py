"""What must stay true, checked while a simulation runs. The numbers are those of the invariants in docs/protocol.md.

1 an acknowledged edit is never lost; 2 who can talk converges; 3 conflicts are exactly the concurrent edits; 4 no dot names two edits; 5 what
was deleted or retired stays so; 6 health is never shown newer, healthier or younger than it is; 7 nothing makes an engine fail or grow;
8, 9 nothing is taken from a host for lack of knowledge.

The checker knows what really happened (which edits each disk holds, when each beat was made) and compares it with what engines show and
say. It changes nothing and draws no random number.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gossip.events import Accepted, Alarm, Committed, Event, LocalEdit, Publish, Rebase, Rebased, RebaseFailed
from gossip.messages import Delta, Digest, Fetch, Message
from scripts.simulation import seams
from scripts.simulation.disk import Disk
from scripts.simulation.machine import Asked, Machine
from scripts.simulation.network import Frame
from scripts.simulation.oracle import Known, Made, Oracle, State
from store.clocks import Dot
from store.edits import CHANGE, LATE, RESOLVE, SignedEdit, decode_edit
from store.limits import limit
from store.matrix import Reporter
from store.members import MEMBER_PREFIX, Member, MemberState, Role

if TYPE_CHECKING:
    from scripts.simulation.world import World

Life = tuple[bytes, int, int]
Position = tuple[bytes, int, int]
Content = Mapping[tuple[str, str], str]
SAMPLE = 16
"""In a large simulation one in so many messages and publications is looked into."""
STEADY_MS = 20_000
"""So long after the last fault nobody has a reason to call a running node offline."""
_REQUEST = re.compile(r"u(\d+)")


class Violation(AssertionError):
    """Something happened that must never happen. `invariant` is its number."""

    def __init__(self, invariant: int, label: str, text: str, now_ms: int) -> None:
        super().__init__(f"invariant {invariant} broken{f' on {label}' if label else ''} at {now_ms} ms: {text}")
        self.invariant = invariant


class Checker:
    """All checks of one world. With `everything`, after each event; without, each simulated second and by samples."""

    def __init__(self, world: "World", *, everything: bool) -> None:
        self.world = world
        self.everything = everything
        self.oracle = Oracle()
        self.founding: Known = 0
        self.ever: dict[bytes, Known] = {}
        """What each identity has ever held durably, in whatever life."""
        self.durable: Known = 0
        """What anybody has ever held durably."""
        self.acknowledged: dict[int, Made] = {}
        self.excused: Known = 0
        """Edits that only disks had which do not exist any more."""
        self.collected: Known = 0
        """Deletions that somebody has forgotten because all members had them."""
        self.orphaned: Known = 0
        """Edits that came too late to be merged: what they had to say was written again, and checked then."""
        self.endings: dict[bytes, Known] = {}
        """The edits that retired an actor, or with which it left."""
        self.steady_since: int | None = None
        self.strict_liveness = False
        self._beats: dict[Life, int] = {}
        self._contents: dict[Position, list[Content]] = {}
        self._dirty: dict[str, set[str]] = {}
        self._sampled = 0

    def fail(self, invariant: int, machine: Machine | None, text: str) -> None:
        """Raise the violation."""
        raise Violation(invariant, machine.label if machine else "", text, self.world.now)

    # -- edits --------------------------------------------------------------------------------------------------------

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
                self.fail(4, machine, f"{_name(signed)} is committed a second time")

    def _authored(self, machine: Machine, signed: SignedEdit, known: Known | None = None) -> Made:
        """Take an edit that only this machine's engine can have made: for a user, or (on top of `known`) of its own accord."""
        edit = signed.edit
        other = self.oracle.by_dot.get(signed.dot)
        if other is not None:
            if any(m.disk.known & other.bit for m in self.world.machines.values() if not (m.gone and m is not machine)):
                self.fail(4, machine, f"{_name(signed)} names two edits")
            self.oracle.withdraw(other)  # the former one is nowhere any more
        if seams.owner(signed) != machine.member.actor:
            self.fail(4, machine, f"{_name(signed)} was made by nobody")
        state = machine.state
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
                self.fail(4, machine, f"{_name(signed)} was asked for by nobody")
            asked, past = None, known or 0
        made = self._make(signed, past, machine.label, asked)
        if asked is not None:
            asked.made = made
        else:
            machine.unasked.append(made)
        clock = self.oracle.clock(past)
        if dict(edit.context) != clock:
            self.fail(3, machine, f"{_name(signed)} does not say what its author had seen: {_vector(edit.context)}, not {_vector(clock)}")
        # A late edit keeps the number that it had, so that it wins over nothing that came in between.
        least = 1 if made.kind == LATE else 1 + max((before.lamport for before in self.oracle.members(past)), default=0)
        if not least <= made.lamport <= past.bit_count() + 1:
            self.fail(3, machine, f"{_name(signed)} has the number {made.lamport}, and what it had seen leads to {least} or more")
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
                self.fail(4, machine, f"{_name(signed)} is written twice")
            known |= self.oracle.by_raw[signed.raw].bit
        self._holds(machine, machine.disk.known | known)
        return known

    def _holds(self, machine: Machine, known: Known) -> None:
        actor = machine.member.actor
        self.ever[actor] = self.ever.get(actor, 0) | known
        self.durable |= known

    def handled(self, machine: Machine, event: Event) -> None:
        """The engine took the event: after a commit, what it shows must be what the edits that are durable now say."""
        if isinstance(event, Committed):
            self._committed(machine, event.batch)
        elif isinstance(event, Rebased):
            machine.unasked = []
            self._whole_state(machine)
        elif isinstance(event, RebaseFailed):
            self.abandoned(machine)

    def _committed(self, machine: Machine, batch: Sequence[SignedEdit]) -> None:
        state = machine.state
        assert state is not None
        keys: set[str] = set()
        for signed in batch:
            made = self.oracle.by_raw[signed.raw]
            if made.past & ~state.known:
                self.fail(3, machine, f"{_name(signed)} is folded before what it depends on")
            state = self.oracle.after(state, made)
            keys.update(made.changes)
        machine.state = state
        if self.everything:
            for key in sorted(keys):
                self.compare(machine, key)
            self._bounded(machine)
        else:
            self._dirty.setdefault(machine.label, set()).update(keys)

    def accepted(self, machine: Machine, effect: Accepted) -> None:
        """A user was told that the edit is made."""
        asked = machine.asked.pop(effect.request)
        made = asked.made
        if made is None or made.dot != effect.dot:
            self.fail(1, machine, f"request {effect.request} is acknowledged as another edit")
            return
        if not machine.disk.known & made.bit:
            self.fail(1, machine, f"request {effect.request} is acknowledged and not on the disk")
        machine.accepted[effect.request] = made
        self.acknowledged[made.number] = made

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
                self.fail(5 if any(made.changes[key] is None for made in absent) else 1, machine, f"{key} shows what was replaced: {extra}")
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

    def _member(self, machine: Machine, name: str) -> None:
        member = machine.running.replica.registry.by_name.get(name)
        state = machine.state
        if member is not None and state is not None and member.state is MemberState.JOINED:
            if self.endings.get(member.actor, 0) & state.known:
                self.fail(5, machine, f"{name} was retired, or left, and is a member")

    def _whole_state(self, machine: Machine) -> None:
        """Everything that the engine shows, against the definition."""
        engine = machine.running
        machine.state = state = self.oracle.state(machine.disk.known)
        clock = self.oracle.clock(state.known)
        if dict(engine.replica.fold.clock) != clock:
            self.fail(2, machine, f"its clock is {_vector(engine.replica.fold.clock)}, not {_vector(clock)}")
        for key in sorted({*state.siblings, *engine.replica.fold}):
            self.compare(machine, key)

    # -- collections and transfers ------------------------------------------------------------------------------------

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
                same = all(made.changes[key] == value for made in present) if value is not None or present else True
                if again or same or self._void(orphan):
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

    # -- crashes and copies -------------------------------------------------------------------------------------------

    def started(self, machine: Machine) -> None:
        """A process began with what its disk holds."""
        machine.unasked = []
        machine.head = None
        self._holds(machine, machine.disk.known)
        if self.everything:
            self._whole_state(machine)
        else:
            machine.state = self.oracle.state(machine.disk.known)

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

    # -- messages -----------------------------------------------------------------------------------------------------

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
                self._sampled += 1
                if self.everything or self._sampled % SAMPLE == 0:
                    return self._claims(machine, message)
        elif isinstance(message, Digest) and self.everything and message.clock:
            if machine.state is None or dict(message.clock) != self.oracle.clock_of(machine.state):
                self.fail(1, machine, "a digest tells of more or less than is durable")
        elif isinstance(message, Fetch) and message.id:
            asked = (message.id, message.offset)
            if asked in machine.fetched:
                self.world.happened["bulk transfer resumed"] += 1
            machine.fetched.add(asked)
        return ()

    def _claims(self, machine: Machine, message: Delta) -> tuple[tuple[str, Life, int], ...]:
        """For each stream that the message tells an age of: by how much that age is too young."""
        streams = machine.running.exchange.streams
        claims = []
        ages = {delta.node: delta.age_ms for delta in message.health}
        ages.update({name: beat.age_ms for name, beat in message.beats.items()})
        for name, age in ages.items():
            stream = streams.get(name)
            if stream is None:
                continue
            life = (stream.head.actor, stream.head.epoch, stream.head.beat)
            made = self._beats.get(life)
            if made is not None:
                claims.append((name, life, self.world.now - made - age))
        return tuple(claims)

    def arriving(self, machine: Machine, frame: Frame) -> dict[str, object]:
        """The heads of the streams that a frame tells of, before the engine hears it."""
        if not frame.ages or machine.engine is None:
            return {}
        streams = machine.engine.exchange.streams
        return {name: streams[name].head for name, _, _ in frame.ages if name in streams}

    def arrived(self, machine: Machine, frame: Frame, before: Mapping[str, object]) -> None:
        """A stream that became younger by this frame may be too young by its way on the wire, and by what it was too young before."""
        if not frame.ages or machine.engine is None:
            return
        streams, now = machine.engine.exchange.streams, self.world.now
        for name, life, missing in frame.ages:
            stream = streams.get(name)
            if stream is None or stream.head is before.get(name) or not stream.fresh:
                continue
            if (stream.head.actor, stream.head.epoch, stream.head.beat) != life:
                continue
            lag = now - self._beats[life] - stream.age_ms(machine.now(now))
            allowed = max(0, missing) + now - frame.sent_ms
            if lag > allowed + 1:
                self.fail(6, machine, f"the health of {name} is taken for {lag - allowed} ms younger than it can be")
            machine.lag[name] = max(lag, 0)

    def alarmed(self, machine: Machine, alarm: Alarm) -> None:
        """An operator is called: not for a clone where there is none."""
        if alarm.code in ("clone", "cloned") and not any(m.clone for m in self.world.machines.values()):
            self.fail(4, machine, f"a false alarm: {alarm.message}")

    # -- health -------------------------------------------------------------------------------------------------------

    def stepped(self, machine: Machine) -> None:
        """After each event: the machine's own stream may have moved."""
        stream = machine.running.exchange.own.stream
        head = stream.head
        if head is machine.head:
            return
        machine.head = head
        life = (head.actor, head.epoch, head.beat)
        self._beats[life] = self.world.now
        position = (head.actor, head.epoch, head.seq)
        if position not in self._contents or machine.member.actor in self.doubled:
            content = {key: entry.cell.state for key, entry in stream.entries.items()}
            versions = self._contents.setdefault(position, [])
            if content not in versions:
                versions.append(content)

    @property
    def doubled(self) -> frozenset[bytes]:
        """The identities whose streams may have been written twice: restored or cloned."""
        return self._doubled

    _doubled: frozenset[bytes] = frozenset()

    def double(self, machine: Machine) -> None:
        """From now on this identity may say two things under one number."""
        self._doubled |= {machine.member.actor}

    def published(self, machine: Machine, effect: Publish) -> None:
        """What readers see has changed."""
        if effect.health:
            self._sampled += 1
            if self.everything or self._sampled % SAMPLE == 0:
                for name in sorted(effect.health):
                    self._health(machine, name)
        if effect.standing:
            for name in sorted(effect.standing):
                self._standing(machine, name)

    def _health(self, machine: Machine, name: str) -> None:
        stream = machine.running.exchange.streams.get(name)
        if stream is None or name == machine.name:
            return
        head = stream.head
        versions = self._contents.get((head.actor, head.epoch, head.seq), ())
        shown = {key: entry.cell.state for key, entry in stream.entries.items()}
        if not any(shown == content for content in versions):
            self.fail(6, machine, f"the cells of {name} at {head.epoch}.{head.seq} are none that it ever reported there")
        before = machine.positions.get(name)
        if before is not None and before[0] == head.actor and head.content < before[1] and head.actor not in self._doubled:
            self.fail(6, machine, f"the cells of {name} go back from {before[1]} to {head.content}")
        machine.positions[name] = (head.actor, head.content)

    def _standing(self, machine: Machine, name: str) -> None:
        engine, now = machine.running, self.world.now
        standing = engine.reporter(name, machine.now(now))
        before = machine.standing.get(name)
        machine.standing[name] = standing
        if standing is not Reporter.OFFLINE or before in (None, Reporter.OFFLINE, Reporter.UNHEARD, Reporter.LEFT):
            return
        self.world.happened["called offline"] += 1
        target = self.world.machines.get(name)
        if target is None or not target.up:
            return
        steady = self.steady_since is not None and now - self.steady_since > STEADY_MS
        if steady or (self.strict_liveness and now - target.since_ms > 1_000):
            self.fail(6, machine, f"it calls {name} offline, which runs")

    def second(self) -> None:
        """Every simulated second."""
        for label, keys in self._dirty.items():
            machine = self.world.machines[label]
            if machine.engine is not None:
                for key in sorted(keys):
                    self.compare(machine, key)
                self._bounded(machine)
        self._dirty.clear()
        now = self.world.now
        observers = [m for m in self.world.machines.values() if m.up]
        if not self.everything and observers:
            observers = [observers[now // 1_000 % len(observers)]]
        for machine in observers:
            engine, mine = machine.running, machine.now(now)
            for name, stream in engine.exchange.streams.items():
                if name == machine.name or engine.reporter(name, mine) is not Reporter.FRESH:
                    continue
                made = self._beats.get((stream.head.actor, stream.head.epoch, stream.head.beat))
                if made is not None and now - made > seams.STALE_MS + machine.lag.get(name, 0) + 5 and self.everything:
                    self.fail(6, machine, f"{name} reads fresh, {now - made} ms after its last beat")

    def _bounded(self, machine: Machine) -> None:
        edits, size = seams.held_back(machine.running)
        if edits > limit("hold_back_edits") or size > limit("hold_back_bytes"):
            self.fail(7, machine, f"{edits} edits of {size} bytes in the hold-back")

    # -- the host -----------------------------------------------------------------------------------------------------

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

    # -- the end ------------------------------------------------------------------------------------------------------

    def final(self) -> None:
        """After all faults ended and everybody agrees: nothing is missing."""
        running = self.world.participants
        for machine in running:
            self._whole_state(machine)
        if not running:
            return
        known = running[0].disk.known
        for machine in self.world.machines.values():
            if machine.retired and not machine.gone:
                known |= machine.disk.known  # it still has the time to hand over
        for made in self.acknowledged.values():
            if not (known | self.excused | self.orphaned) & made.bit:
                self.fail(1, None, f"request {made.request} was acknowledged by {made.author}, and its edit {made.dot} is gone")


def _frozen(value: Mapping[str, str] | None) -> tuple[tuple[str, str], ...] | None:
    return None if value is None else tuple(sorted(value.items()))


def _name(signed: SignedEdit) -> str:
    return f"edit {signed.edit.actor.hex()[:6]}:{signed.edit.counter} of {signed.edit.author}"


def _vector(vector: Mapping[bytes, int]) -> str:
    return "{" + " ".join(f"{actor.hex()[:6]}:{counter}" for actor, counter in sorted(vector.items())) + "}"
