"""Edits on their way in: the causal hold-back, and the batches that go to the disk one at a time."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from store.clocks import Actor, Dot, dominates
from store.edits import RESOLVE, Edit, EditError, SignedEdit, decode_edit
from store.limits import limit
from store.members import MEMBER_PREFIX, registered
from store.replica import Admission, Replica

BATCH_BYTES = 4 * 1024 * 1024


class _Held(NamedTuple):
    """An edit in the hold-back and the key that signed it. None while its author is unknown here: then anybody may have made it."""

    signed: SignedEdit
    signer: bytes | None


class Offered(NamedTuple):
    """How many edits were none at all, or not made by whom they name; and those that are certainly their authors' and were new here."""

    bad: int
    news: tuple[SignedEdit, ...]


class Intake:
    """What waits between the wire and the commit.

    Invariants: at most one batch is in flight; nothing that is in flight is also held; the hold-back keeps within its two limits. When it
    is full, what waits for something that is not here makes room for what does not (the next digest asks for it again).
    """

    def __init__(self, replica: Replica, counters: Counter[str]) -> None:
        self._replica = replica
        self._counters = counters
        self._held: dict[Dot, _Held] = {}
        self._held_bytes = 0
        self._own: list[SignedEdit] = []
        self._made: set[Dot] = set()
        """What this process made of all that is not committed. Another process may write under the same identity."""
        self.in_flight: tuple[SignedEdit, ...] = ()

    def rebase(self, replica: Replica) -> None:
        """Go on with another replica; what was held back is asked for again if it is still missing."""
        self._replica = replica
        self._held.clear()
        self._held_bytes = 0

    @property
    def held(self) -> tuple[Dot, ...]:
        """The dots in the hold-back that are certainly their authors': nobody needs to send them again."""
        return tuple(dot for dot, held in self._held.items() if held.signer is not None)

    @property
    def waiting(self) -> bool:
        """Whether anything waits for a commit or for what it depends on."""
        return bool(self._held or self._own)

    @property
    def lacks(self) -> bool:
        """Whether edits of others came and are not committed yet."""
        return bool(self._held) or any(signed.dot not in self._made for signed in self.in_flight)

    @property
    def own_pending(self) -> Counter[Actor]:
        """How many edits that this process made are not committed yet, by the actor that it wrote them as."""
        return Counter(dot.actor for dot in self._made)

    @property
    def own_lamport(self) -> int:
        """The greatest Lamport number among the edits that this process made and that are not committed yet; 0 if there are none."""
        return max((s.edit.lamport for s in (*self.in_flight, *self._own) if s.dot in self._made), default=0)

    def offer(self, raws: Iterable[bytes]) -> Offered:
        """Take edits from a peer."""
        bad, news = 0, []
        purged = False
        flying = {s.dot for s in self.in_flight}
        for raw in raws:
            try:
                signed = decode_edit(raw)
            except EditError:
                bad += 1
                continue
            dot = signed.dot
            present = self._held.get(dot)
            if dot in flying or self._replica.has(dot) or (present is not None and (present.signer or present.signed.raw == raw)):
                continue
            if not self._room(raw) and not purged:
                self.purge()
                purged = True
            if not self._room(raw):
                self._counters["hold_back_dropped"] += 1
                continue
            signer = self._replica.signer(signed)
            if signer is None and self._replica.knows(signed.edit.owner):
                bad += 1
                continue
            if dot in self._held:
                self._drop(dot)
            self._held[dot] = _Held(signed, signer)
            self._held_bytes += len(raw)
            if signer is not None:
                news.append(signed)
        return Offered(bad, tuple(news))

    def add_own(self, signed: SignedEdit) -> None:
        """Queue an edit that this node just made."""
        self._own.append(signed)
        self._made.add(signed.dot)

    def next_batch(self) -> tuple[tuple[SignedEdit, ...], int]:
        """What to commit now, and how many edits were refused (see `Admission`). Empty while a batch is in flight."""
        if self.in_flight:
            return (), 0
        batch: list[SignedEdit] = list(self._own)
        self._own.clear()
        ahead = dict(self._replica.fold.clock)
        renewed: set[Actor] = set()
        for signed in batch:
            ahead[signed.edit.actor] = signed.edit.counter
            renewed.update(member.actor for member in registered(signed.edit.changes))
        size, refused, moved = 0, 0, True
        full = len(self._replica) >= 2 * limit("unstable_edits") or self._replica.log_bytes >= 2 * limit("unstable_bytes")
        while moved and self._held:
            moved = False
            for signed, signer in self._in_order():
                if full and not is_tidy(signed.edit):
                    continue
                if signed.edit.owner in renewed:
                    continue  # what it may do can only be judged once its registration is committed
                verdict = self._replica.admit(signed, ahead, signer)
                if verdict is Admission.WAIT or (verdict is Admission.READY and size > BATCH_BYTES):
                    continue
                self._drop(signed.dot)
                if verdict is Admission.READY:
                    ahead[signed.edit.actor] = signed.edit.counter
                    renewed.update(member.actor for member in registered(signed.edit.changes))
                    batch.append(signed)
                    size += len(signed.raw)
                    moved = True
                elif verdict is Admission.REFUSED:
                    refused += 1
        self.in_flight = tuple(batch)
        return self.in_flight, refused

    def landed(self) -> None:
        """The batch in flight is durable."""
        self._made.difference_update(signed.dot for signed in self.in_flight)
        self.in_flight = ()

    def failed(self) -> tuple[SignedEdit, ...]:
        """The batch in flight is lost. So are this node's own edits behind it, which build on it: these are returned."""
        self.in_flight = ()
        lost, self._own = tuple(self._own), []
        self._made.clear()
        return lost

    def _room(self, raw: bytes) -> bool:
        return len(self._held) < limit("hold_back_edits") and self._held_bytes + len(raw) <= limit("hold_back_bytes")

    def _drop(self, dot: Dot) -> None:
        self._held_bytes -= len(self._held.pop(dot).signed.raw)

    def _in_order(self) -> list[_Held]:
        """The held edits with causes before effects, so that one pass finds nearly all that can go."""
        return sorted(self._held.values(), key=lambda held: held.signed.edit.lamport)

    def purge(self) -> None:
        """Forget what waits for something that is neither committed, nor in flight, nor held. Whoever has it all sends it again."""
        ahead = dict(self._replica.fold.clock)
        for signed in self.in_flight:
            ahead[signed.edit.actor] = signed.edit.counter
        for signed, _ in self._in_order():
            if dominates(ahead, signed.edit.context):
                ahead[signed.edit.actor] = max(ahead.get(signed.edit.actor, 0), signed.edit.counter)
            else:
                self._drop(signed.dot)
                self._counters["hold_back_dropped"] += 1


def is_tidy(edit: Edit) -> bool:
    """Whether the edit may come even if the log is full: it resolves a conflict, or changes members only."""
    return edit.kind == RESOLVE or all(key.startswith(MEMBER_PREFIX) for key in edit.changes)
