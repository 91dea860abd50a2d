"""One simulated machine: what survives its process, and the process itself."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gossip.engine import Engine
from gossip.events import Alarm, Commit, Event, Rebase, Rejected, SetEpoch
from scripts.simulation.disk import Copy, Disk, Guard
from scripts.simulation.network import Frame, Link
from scripts.simulation.oracle import Made, State
from store.matrix import Reporter
from store.members import Member

Writing = Commit | Rebase | SetEpoch


@dataclass(slots=True)
class Asked:
    """What a user asked for, and what the machine had durably then. `made` follows once its edit is seen."""

    request: int
    known: int
    behind: tuple[int, ...]
    """The requests before it that were not answered yet."""
    kind: str
    named: Mapping[str, frozenset[tuple[bytes, int]]]
    made: Made | None = None


@dataclass(slots=True)
class Arrived:
    """An event that waits in a stopped process's sockets."""

    event: Event
    digest: bytes = b""
    frame: Frame | None = None
    link: Link | None = None
    generation: int = 0


@dataclass(slots=True, eq=False)
class Machine:
    """A host with its disk. `index` and `label` name it; a clone has its member's name and keys, and a label of its own."""

    index: int
    label: str
    member: Member
    disk: Disk = field(default_factory=Disk)
    guard: Guard = field(default_factory=Guard)
    guard_block: int = 1
    host: dict[str, Mapping[str, str]] = field(default_factory=dict)
    bootstrap: tuple[Member, ...] = ()
    copy: Copy | None = None
    clone: bool = False
    retired: bool = False
    """The cluster was told that it is no member any more."""
    gone: bool = False
    """It never comes back: retired, left, or an ended clone."""

    booted_ms: int = 0
    wall_ms: int = 0
    """What its wall clock is off by."""
    full_until: int = -1
    slow_until: int = -1
    version_shift: int = 0
    """It speaks protocol versions that are so much greater."""
    restart_due: int = -1

    # The process.
    life: int = 0
    engine: Engine | None = None
    paused: bool = False
    suspended: bool = False
    """While paused: its kernel stands still as well."""
    since_ms: int = 0
    """When it was last started or resumed."""
    links: dict[str, Link] = field(default_factory=dict)
    inbox: list[Arrived] = field(default_factory=list)
    writing: Writing | None = None
    due_ms: int = 0
    events: int = 0
    crash_at: int = -1
    crash_after: int = 0
    asked: dict[int, Asked] = field(default_factory=dict)
    """Requests that are not answered yet."""
    accepted: dict[int, Made] = field(default_factory=dict)
    rejected: dict[int, Rejected] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    """The engines' counters of former lives."""
    state: State | None = None
    """What its engine must show."""
    head: object = None
    unasked: list[Made] = field(default_factory=list)
    """Edits that its engine made of its own accord and that are not committed yet."""
    standing: dict[str, Reporter] = field(default_factory=dict)
    positions: dict[str, tuple[bytes, tuple[int, int]]] = field(default_factory=dict)
    lag: dict[str, int] = field(default_factory=dict)
    """By how much each stream's age is under-reported here at most."""
    fetched: set[tuple[bytes, int]] = field(default_factory=set)
    """The pieces of snapshots that it has asked for."""
    next_known: int = 0
    """What its disk will hold once the new log under way is durable."""
    apply_due: int = -1
    condition: dict[str, str] = field(default_factory=dict)
    """The state of each map on the host."""

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def key(self) -> str:
        return self.member.curve_key

    @property
    def running(self) -> Engine:
        assert self.engine is not None, f"{self.label} is down"
        return self.engine

    @property
    def up(self) -> bool:
        """Whether its process runs and is not stopped."""
        return self.engine is not None and not self.paused

    def now(self, now_ms: int) -> int:
        """Its clock that runs on during suspend: the time since it was booted."""
        return now_ms - self.booted_ms
