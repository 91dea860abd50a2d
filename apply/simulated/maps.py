"""Maps and paths as the simulated daemon and kernel hold them, and how paths form groups."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil

from apply.simulated.conf_model import QUEUE, MapOptions
from apply.simulated.lun_file import SECTOR_BYTES, Lun, LunPath, PathState

NAME_BYTES = 127
"""The longest name that device-mapper takes."""

SELECTORS = frozenset({"round-robin", "queue-length", "service-time", "historical-service-time", "io-affinity"})
CHECKERS = frozenset({"tur", "directio", "readsector0", "rdac", "emc_clariion", "hp_sw", "cciss_tur", "none"})
PRIORITIZERS = frozenset(
    {
        "const", "sysfs", "alua", "ana", "emc", "rdac", "ontap", "hp_sw", "hds", "random", "weightedpath", "path_latency", "datacore",
        "iet", "none",
    }
)  # fmt: skip
_FEATURE_RANGES = {"pg_init_retries": (1, 50), "pg_init_delay_msecs": (0, 60000)}


class Path:
    """One path device. `failures` is the kernel's count since the map's table was loaded."""

    __slots__ = ("checker", "failures", "lun", "map", "prio_known", "spec", "state")

    def __init__(self, lun: Lun, spec: LunPath, state: PathState) -> None:
        self.lun = lun
        self.spec = spec
        self.state = state
        self.map: Map | None = None
        self.failures = 0
        self.checker: str | None = None
        self.prio_known = True

    @property
    def usable(self) -> bool:
        """Whether the daemon counts the path as active; without a checker it counts none."""
        return self.state.usable and self.checker is not None

    @property
    def prio(self) -> int:
        return self.spec.prio if self.prio_known else -1


@dataclass(slots=True)
class Group:
    """A path group of a loaded table."""

    paths: list[Path]

    @property
    def prio(self) -> int:
        """The mean priority of the usable paths, 0 without any."""
        usable = [p.prio for p in self.paths if p.usable]
        return int(sum(usable) / len(usable)) if usable else 0

    @property
    def enabled(self) -> int:
        return sum(p.usable for p in self.paths)

    @property
    def alive(self) -> bool:
        return any(p.state.alive for p in self.paths)

    @property
    def marginal(self) -> bool:
        return all(p.spec.marginal for p in self.paths)


@dataclass(slots=True)
class Recovery:
    """A map without usable paths that queues for a bounded time. `counted` seconds are already in the map's statistics."""

    since: float
    ticks: int
    counted: int = 0
    expired: bool = False


@dataclass(slots=True)
class Counters:
    """The statistics that every `reconfigure` resets."""

    path_faults: int = 0
    switch_group: int = 0
    map_loads: int = 0
    queueing_seconds: int = 0
    queueing_timeouts: int = 0
    failures: int = 0


@dataclass(eq=False, slots=True)
class Map:
    """One device-mapper device with a multipath table. `queueing` is the kernel's flag; `active` is an index into `groups`."""

    wwid: str
    name: str
    minor: int
    options: MapOptions
    sectors: int
    hwhandler: str = "0"
    groups: list[Group] = field(default_factory=list)
    active: int = 0
    queueing: bool = False
    queueing_disabled: bool = False
    action: str = ""
    counters: Counters = field(default_factory=Counters)
    recovery: Recovery | None = None
    failback_due: float | None = None
    table: tuple[object, ...] = ()

    @property
    def paths(self) -> list[Path]:
        return [p for g in self.groups for p in g.paths]

    @property
    def usable(self) -> int:
        return sum(g.enabled for g in self.groups)

    @property
    def retry(self) -> str:
        """`no_path_retry` as it is in force: a person may have switched queueing off."""
        return "fail" if self.queueing_disabled else self.options.no_path_retry

    @property
    def features(self) -> str:
        """The features as the kernel reports them: counted, in its own order."""
        words = list(self.options.features)
        ordered = [QUEUE] if self.queueing else []
        for name in ("pg_init_retries", "pg_init_delay_msecs", "queue_mode"):
            if name in words:
                at = words.index(name)
                ordered += words[at : at + 2]
        return " ".join([str(len(ordered)), *ordered])

    def best(self) -> int:
        """The index of the group to use: highest priority, then most usable paths, then first."""
        ranks = [(g.prio, g.enabled, -n) for n, g in enumerate(self.groups) if g.enabled]
        return -max(ranks)[2] if ranks else 0

    def shape(self) -> tuple[object, ...]:
        """What makes the kernel's table; a change of it is a reload. Queueing is switched by message and is not in it."""
        groups = tuple(tuple(p.spec.dev_t for p in g.paths) for g in self.groups)
        return (self.options.selector, self.options.features, self.hwhandler, self.sectors, groups)


def group_paths(policy: str, paths: Sequence[Path]) -> list[Group]:
    """Form path groups in the order of the table: by falling priority, then falling number of usable paths."""
    if policy == "multibus":
        return [Group(list(paths))] if paths else []
    keys: dict[str, Callable[[Path], object]] = {
        "group_by_prio": lambda p: p.prio,
        "group_by_serial": lambda p: p.lun.serial,
        "group_by_node_name": lambda p: p.spec.target_wwnn,
    }
    key = keys.get(policy)
    groups: dict[object, Group] = {}
    for n, path in enumerate(paths):
        groups.setdefault(key(path) if key else n, Group([])).paths.append(path)
    return sorted(groups.values(), key=lambda g: (-g.prio, -g.enabled))


def table_accepted(options: MapOptions) -> bool:
    """Whether the kernel takes a table with these options: it knows the selector and every feature word."""
    selector = options.selector.split()
    if not selector or selector[0] not in SELECTORS:
        return False
    words = list(options.features)
    while words:
        word = words.pop(0)
        if word == "queue_mode":
            if not words or words.pop(0) not in ("bio", "rq", "mq"):
                return False
        elif word in _FEATURE_RANGES:
            low, high = _FEATURE_RANGES[word]
            number = words.pop(0) if words else ""
            if not (number.isascii() and number.isdigit()) or not low <= int(number) <= high:
                return False
        else:
            return False
    return True


def name_accepted(name: str) -> bool:
    """Whether device-mapper takes a name; what it would mangle is taken here too."""
    return 0 < len(name.encode("utf-8", "surrogateescape")) <= NAME_BYTES


def sectors(lun: Lun) -> int:
    return lun.size_bytes // SECTOR_BYTES


def remaining(due: float, now: float) -> int:
    """Whole seconds until `due`, rounded up, never negative."""
    return max(0, ceil(due - now))
