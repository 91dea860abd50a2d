"""What this node remembers of its own hand on the host: the open intent, the last outcome, and whose allow-list lines are ours.

Rows of ownership are written before the lines they stand for. A row without confirmation, found after a crash, is ours only if our very
append is all that distinguishes the file from what it was before; anything else is somebody else's, for ever. An append that broke off
inside a line is ours too, for nobody else writes half a line of it: it is taken back.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from apply.outcome import ApplyOutcome
from store.records import Records

KIND = "apply"
OWNED = "apply.owned"
_JOURNAL, _OUTCOME, _COMMITTED, _PRUNING = "journal", "outcome", "committed", "pruning"
KNOWN_HASHES = 8
"""Hashes kept of one file while attempts are interrupted again and again; each attempt adds at most two."""


class Appending(msgspec.Struct, frozen=True):
    """An append to the allow-list that may or may not have happened: the file before it, and the exact bytes."""

    size: int
    sha256: str
    payload: bytes
    wwids: tuple[str, ...]


class Journal(msgspec.Struct, frozen=True):
    """An open intent.

    `hashes` are those by which each of our files is recognised meanwhile, and `saved` those of the kept copies that a roll-back puts back,
    by name: what has none was not there. `told`: multipathd was told to read the files. `working` are the maps (WWID to name) that worked
    before, which the new configuration has to leave working.
    """

    desired: str
    hashes: Mapping[str, tuple[str, ...]]
    appending: Appending | None = None
    told: bool = False
    working: Mapping[str, str] = {}
    saved: Mapping[str, str] = {}


class Committed(msgspec.Struct, frozen=True):
    """The last verified state: the hash of each file of ours, and the fingerprint of all of multipath's configuration files.

    `restart_pid`: the daemon's process that has to be replaced before all of it takes effect; 0 = none.
    """

    hashes: Mapping[str, str] = {}
    fingerprint: str = ""
    restart_pid: int = 0


class Owned(msgspec.Struct, frozen=True):
    """One allow-list line of ours. `deferred_until` (unix seconds): multipathd put it back because it is in use; not to be tried before.

    `name` is what its map was last called by our configuration: lines of fstab may name it so after that has gone.
    """

    added_at: float
    digest: str
    confirmed: bool = False
    deferred_until: float = 0.0
    name: str = ""


@dataclass(frozen=True)
class Remembered:
    """All records at one moment."""

    journal: Journal | None = None
    outcome: ApplyOutcome | None = None
    committed: Committed = field(default_factory=Committed)
    pruning: tuple[str, ...] = ()
    owned: Mapping[str, Owned] = field(default_factory=dict)
    newer: frozenset[str] = frozenset()
    """Files that were verified here after these records were written, as far as the kept copies tell."""

    def known_hashes(self, name: str) -> tuple[str, ...]:
        """The hashes that make the file `name` ours, oldest first."""
        last_good = [hashes[name] for hashes in (self.committed.hashes, self.journal.saved if self.journal else {}) if name in hashes]
        return (*dict.fromkeys(last_good), *(self.journal.hashes.get(name, ()) if self.journal else ()))


Stored = TypeVar("Stored")


class Ledger:
    """The records, typed. Every write is durable before it returns."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def load(self) -> Remembered:
        """Everything. A record that cannot be read counts as absent: then nothing on the host is ours, which is the safe side."""
        apply = await self._records.load(KIND)
        owned = await self._records.load(OWNED)
        rows = {wwid: row for wwid, data in owned.items() if (row := _decode(data, Owned)) is not None}
        return Remembered(
            _decode(apply.get(_JOURNAL), Journal),
            _decode(apply.get(_OUTCOME), ApplyOutcome),
            _decode(apply.get(_COMMITTED), Committed) or Committed(),
            _decode(apply.get(_PRUNING), tuple[str, ...]) or (),
            rows,
        )

    async def open(self, journal: Journal) -> None:
        """Write or rewrite the open intent."""
        await self._records.change(KIND, {_JOURNAL: _encode(journal)})

    async def commit(self, outcome: ApplyOutcome, committed: Committed, pruning: Iterable[str] = ()) -> None:
        """Close the intent with its outcome, and open the pruning that follows, in one transaction."""
        wwids = tuple(sorted(pruning))
        put = {_OUTCOME: _encode(outcome), _COMMITTED: _encode(committed)}
        if wwids:
            put[_PRUNING] = _encode(wwids)
        await self._records.change(KIND, put, [_JOURNAL] if wwids else [_JOURNAL, _PRUNING])

    async def record(self, outcome: ApplyOutcome, *, pruned: bool = False) -> None:
        """Remember an outcome; with `pruned`, close the pruning too."""
        await self._records.change(KIND, {_OUTCOME: _encode(outcome)}, [_PRUNING] if pruned else [])

    async def own(self, rows: Mapping[str, Owned], forget: Iterable[str] = ()) -> None:
        """Write and remove rows of ownership."""
        await self._records.change(OWNED, {wwid: _encode(row) for wwid, row in rows.items()}, list(forget))


def settle(remembered: Remembered, content: bytes) -> tuple[dict[str, Owned], frozenset[str]]:
    """Decide about unconfirmed rows from the allow-list's bytes: the rows to confirm, and those to forget."""
    open_rows = {wwid: row for wwid, row in remembered.owned.items() if not row.confirmed}
    appending = remembered.journal.appending if remembered.journal else None
    written = _written(appending, content) if appending else frozenset()
    confirmed = {wwid: msgspec.structs.replace(row, confirmed=True) for wwid, row in open_rows.items() if wwid in written}
    return confirmed, frozenset(open_rows.keys() - confirmed.keys())


def torn(remembered: Remembered, content: bytes) -> int | None:
    """The allow-list's size before our append, if that broke off inside a line; None if it did not.

    Whole lines of it are no sign of us: the tools, or a person, may have written just these while we were dead.
    """
    appending = remembered.journal.appending if remembered.journal else None
    if appending is None or any(wwid not in remembered.owned or remembered.owned[wwid].confirmed for wwid in appending.wwids):
        return None
    added = _added(appending, content)
    if not added or added.endswith(b"\n") or not appending.payload.startswith(added):
        return None
    rest = appending.payload[len(added) :]
    return appending.size if rest and not rest.startswith(b"\n") else None


def _written(appending: Appending, content: bytes) -> frozenset[str]:
    """The WWIDs that our append put there, if the file is its former self plus exactly that append."""
    return frozenset(appending.wwids) if _added(appending, content) == appending.payload else frozenset()


def _added(appending: Appending, content: bytes) -> bytes | None:
    """What follows the file's former self; None if that is not there any more."""
    before, added = content[: appending.size], content[appending.size :]
    return added if hashlib.sha256(before).hexdigest() == appending.sha256 else None


def _encode(value: object) -> bytes:
    return msgspec.msgpack.encode(value, order="deterministic")


def _decode(data: bytes | None, kind: type[Stored]) -> Stored | None:
    if data is None:
        return None
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError:
        return None
