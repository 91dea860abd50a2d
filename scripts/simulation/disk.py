"""A machine's disk: the rows of its database, the guard file beside it, and what crashes and older copies do to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from scripts.simulation.oracle import Known
from store.clocks import Dot

UNSYNCED = 4
"""How many batches of health rows may be lost at a crash (edits and what belongs to them are always synced)."""


def has(clock: Mapping[bytes, int], other: Mapping[bytes, int]) -> bool:
    """Whether the clock has all that the other has."""
    return all(clock.get(actor, 0) >= counter for actor, counter in other.items())


def lowered(applied: Mapping[bytes, int], clock: Mapping[bytes, int]) -> dict[bytes, int]:
    """What both have."""
    return {actor: min(counter, clock[actor]) for actor, counter in applied.items() if actor in clock}


@dataclass(slots=True)
class Guard:
    """What is known of the database outside of it: its epoch, and between which bounds the counter of own edits must lie.

    `applied` is the clock that was stored with the last apply that took something away from the host.
    """

    epoch: int = 0
    least: int = 0
    ceiling: int = 0
    restored: bool = False
    applied: Mapping[bytes, int] = field(default_factory=dict)

    def copy(self) -> "Guard":
        return Guard(self.epoch, self.least, self.ceiling, self.restored, dict(self.applied))

    def fits(self, epoch: int, counter: int, clock: Mapping[bytes, int]) -> bool:
        """Whether a database with these numbers can be the newest that there was."""
        return epoch >= self.epoch and self.least <= counter <= self.ceiling and (self.restored or has(clock, self.applied))

    def lower(self, clock: Mapping[bytes, int], had: Mapping[bytes, int] | None = None) -> None:
        """What this clock has not is not waited for any more; if `had` is given, of that what the database had itself."""
        beyond = {} if had is None else {actor: n for actor, n in self.applied.items() if n > had.get(actor, 0)}
        self.applied = lowered(self.applied, clock) | beyond

    def settle(self, clock: Mapping[bytes, int], counter: int) -> None:
        """The database has all again that it lacked, or nobody has it."""
        self.restored = False
        self.least, self.ceiling = counter, max(counter, self.ceiling)
        self.lower(clock)


@dataclass(slots=True)
class Disk:
    """One database. `known` and `dots` are the oracle's and the checker's view of `rows` and `base`, kept beside them.

    `pristine`: the rows are exactly the prepared registry, so a replica of it can be copied. `applied` is as in `Guard`: it is kept twice.
    """

    rows: list[bytes] = field(default_factory=list)
    dots: dict[Dot, bytes] = field(default_factory=dict)
    base: bytes | None = None
    epoch: int = 0
    known: Known = 0
    applied: Mapping[bytes, int] = field(default_factory=dict)
    health: list[dict[str, bytes]] = field(default_factory=list)
    pristine: bool = False

    def copy(self) -> "Disk":
        return Disk(
            list(self.rows), dict(self.dots), self.base, self.epoch, self.known, dict(self.applied), list(self.health), self.pristine
        )

    def append(self, raws: Mapping[Dot, bytes], known: Known) -> None:
        """One transaction of edits."""
        self.rows.extend(raws.values())
        self.dots.update(raws)
        self.known |= known
        self.pristine = False

    def rebase(self, base: bytes, gone: tuple[Dot, ...], log: Mapping[Dot, bytes] | None) -> None:
        """One transaction: the base is written, and edits leave the log or are replaced by another log."""
        self.base = base
        if log is not None:
            self.dots = dict(log)
        else:
            for dot in gone:
                self.dots.pop(dot, None)
        self.rows = list(self.dots.values())
        self.pristine = False

    def save_health(self, rows: dict[str, bytes]) -> None:
        """An unsynced batch of health rows."""
        self.health.append(rows)
        del self.health[:-UNSYNCED]


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a machine's storage, made at some moment: the database, the guard file and the files on the host."""

    disk: Disk
    guard: Guard
    host: Mapping[str, Mapping[str, str]]
