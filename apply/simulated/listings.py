"""The daemon's listings of maps and paths: JSON, columns, raw formats, topology and status, in its exact layout.

No text is escaped anywhere, as in the real daemon: a quote in a name makes the JSON invalid.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from apply.simulated.conf_model import Config
from apply.simulated.lun_file import SECTOR_BYTES, UNDEFINED
from apply.simulated.maps import Map, Path, remaining

NO_VALUE = "##"
PATH_COLUMNS = "%i %d %D %p %t %T %o %C"
MAP_COLUMNS = "%n %d %w"
MAP_STATUS = "%n %F %Q %N %t %r"
MAP_STATISTICS = "%n %0 %1 %2 %3 %4"

Item = TypeVar("Item")

_STATUS_ORDER = ("wild", "down", "up", "shaky", "ghost", "pending", "timeout", "delayed", "disconnected")
_PROGRESS_WIDTH = 10


class Listing:
    """Renders maps and paths as they are at one moment. `now` is in seconds of the daemon's clock."""

    def __init__(self, maps: Sequence[Map], paths: Sequence[Path], config: Config, now: float) -> None:
        self._maps = maps
        self._paths = paths
        self._config = config
        self._now = now

    # JSON

    def maps_json(self) -> str:
        return _TOP + '   "maps": [' + ",".join(self._map_json(m) for m in self._maps) + "]\n}\n"

    def map_json(self, m: Map) -> str:
        return _TOP + '   "map":' + self._map_json(m) + "\n}\n"

    def _map_json(self, m: Map) -> str:
        vendor, product, rev = _identity(m)
        count = m.counters
        groups = ",".join(self._group_json(m, n) for n in range(len(m.groups)))
        return (
            "{\n"
            f'      "name" : "{m.name}",\n'
            f'      "uuid" : "{m.wwid}",\n'
            f'      "sysfs" : "dm-{m.minor}",\n'
            f'      "failback" : "{self._failback(m)}",\n'
            f'      "queueing" : "{self._queueing(m)}",\n'
            f'      "paths" : {m.usable},\n'
            '      "write_prot" : "rw",\n'
            '      "dm_st" : "active",\n'
            f'      "features" : "{m.features}",\n'
            f'      "hwhandler" : "{m.hwhandler}",\n'
            f'      "action" : "{m.action}",\n'
            f'      "path_faults" : {count.path_faults},\n'
            f'      "vend" : "{vendor}",\n'
            f'      "prod" : "{product}",\n'
            f'      "rev" : "{rev}",\n'
            f'      "switch_grp" : {count.switch_group},\n'
            f'      "map_loads" : {count.map_loads},\n'
            f'      "total_q_time" : {count.queueing_seconds},\n'
            f'      "q_timeouts" : {count.queueing_timeouts},\n'
            f'      "path_groups": [{groups}]\n'
            "   }"
        )

    def _group_json(self, m: Map, index: int) -> str:
        group = m.groups[index]
        paths = ",".join(_path_json(p) for p in group.paths)
        return (
            "{\n"
            f'         "selector" : "{m.options.selector}",\n'
            f'         "pri" : {group.prio},\n'
            f'         "dm_st" : "{"active" if index == m.active else "enabled"}",\n'
            f'         "marginal_st" : "{"marginal" if group.marginal else "normal"}",\n'
            f'         "group" : {index + 1},\n'
            f'         "paths": [{paths}]\n'
            "      }"
        )

    # Columns and raw formats

    def maps_text(self, form: str, *, raw: bool) -> str:
        return _table(form, self._maps, self._map_columns, raw=raw)

    def map_text(self, m: Map, form: str, *, raw: bool) -> str:
        return _table(form, [m], self._map_columns, raw=raw)

    def paths_text(self, form: str, *, raw: bool) -> str:
        return _table(form, self._paths, self._path_columns, raw=raw)

    @property
    def _map_columns(self) -> Mapping[str, tuple[str, Callable[[Map], str]]]:
        return {
            "n": ("name", lambda m: m.name),
            "w": ("uuid", lambda m: m.wwid),
            "d": ("sysfs", lambda m: f"dm-{m.minor}"),
            "F": ("failback", self._failback),
            "Q": ("queueing", self._queueing),
            "N": ("paths", lambda m: str(m.usable)),
            "r": ("write_prot", lambda m: "rw"),
            "t": ("dm-st", lambda m: "active"),
            "S": ("size", lambda m: size_text(m.sectors)),
            "f": ("features", lambda m: m.features),
            "x": ("failures", lambda m: str(m.counters.failures)),
            "h": ("hwhandler", lambda m: m.hwhandler),
            "A": ("action", lambda m: m.action),
            "0": ("path_faults", lambda m: str(m.counters.path_faults)),
            "1": ("switch_grp", lambda m: str(m.counters.switch_group)),
            "2": ("map_loads", lambda m: str(m.counters.map_loads)),
            "3": ("total_q_time", lambda m: str(m.counters.queueing_seconds)),
            "4": ("q_timeouts", lambda m: str(m.counters.queueing_timeouts)),
            "s": ("vend/prod/rev", lambda m: ",".join(_identity(m)[:2])),
            "v": ("vend", lambda m: _identity(m)[0]),
            "p": ("prod", lambda m: _identity(m)[1]),
            "e": ("rev", lambda m: _identity(m)[2]),
            "G": ("foreign", lambda m: "--"),
            "g": ("vpd page data", lambda m: UNDEFINED),
        }

    @property
    def _path_columns(self) -> Mapping[str, tuple[str, Callable[[Path], str]]]:
        return {
            "w": ("uuid", lambda p: p.lun.wwid),
            "i": ("hcil", _hcil),
            "d": ("dev", lambda p: p.spec.dev),
            "D": ("dev_t", lambda p: p.spec.dev_t),
            "t": ("dm_st", _kernel_state),
            "o": ("dev_st", lambda p: p.state.device if p.map else "unknown"),
            "T": ("chk_st", _checker_state),
            "s": ("vend/prod/rev", lambda p: f"{p.lun.vendor},{p.lun.product}"),
            "c": ("checker", lambda p: (p.checker if p.map else None) or "(null)"),
            "C": ("next_check", self._next_check),
            "p": ("pri", lambda p: str(p.prio)),
            "S": ("size", lambda p: size_text(p.lun.size_bytes // SECTOR_BYTES)),
            "z": ("serial", lambda p: p.lun.serial),
            "M": ("marginal_st", _marginal),
            "m": ("multipath", lambda p: p.map.name if p.map else "[orphan]"),
            "N": ("host WWNN", lambda p: p.spec.host_wwnn),
            "n": ("target WWNN", lambda p: p.spec.target_wwnn),
            "R": ("host WWPN", lambda p: p.spec.host_wwpn),
            "r": ("target WWPN", lambda p: p.spec.target_wwpn),
            "a": ("host adapter", lambda p: p.spec.host_adapter),
            "G": ("foreign", lambda p: "--"),
            "g": ("vpd page data", lambda p: UNDEFINED),
            "0": ("failures", lambda p: str(p.failures) if p.map else "0"),
            "P": ("protocol", lambda p: p.spec.protocol),
            "I": ("init_st", lambda p: "ok"),
            "L": ("LUN hex", lambda p: p.spec.lun_hex),
        }

    # Topology and status

    def topology(self, maps: Iterable[Map]) -> str:
        columns = [self._path_columns[c][1] for c in "idDtTo"]
        widths = [max((len(c(p)) for p in self._paths), default=0) for c in columns]
        lines = []
        for m in maps:
            action = f"{m.action}: " if m.action else ""
            wwid = f" ({m.wwid})" if m.name != m.wwid else ""
            lines.append(f"{action}{m.name}{wwid} dm-{m.minor} {','.join(_identity(m)[:2])}")
            lines.append(f"size={size_text(m.sectors)} features='{m.features}' hwhandler='{m.hwhandler}' wp=rw")
            for n, group in enumerate(m.groups):
                last = n + 1 == len(m.groups)
                state = "active" if n == m.active else "enabled"
                lines.append(f"{'`' if last else '|'}-+- policy='{m.options.selector}' prio={group.prio} status={state}")
                for k, path in enumerate(group.paths):
                    branch = f"{' ' if last else '|'} {'`' if k + 1 == len(group.paths) else '|'}- "
                    lines.append(branch + " ".join(c(path).ljust(w) for c, w in zip(columns, widths, strict=True)))
        return "".join(f"{line}\n" for line in lines)

    def status(self) -> str:
        """Counts of checker states over all paths, also those in no map, and how many paths are in maps."""
        states = [p.state.status if p.checker or not p.map else "wild" for p in self._paths]
        counts = "".join(f"{word:<20}{states.count(word)}\n" for word in _STATUS_ORDER if word in states)
        return f"path checker states:\n{counts}\npaths: {sum(p.map is not None for p in self._paths)}\nbusy: False\n"

    # Columns that depend on the clock

    def _failback(self, m: Map) -> str:
        if m.options.failback in ("immediate", "followover"):
            return m.options.failback
        if m.failback_due is None:
            return "-"
        return _progress(remaining(m.failback_due, self._now), int(m.options.failback))

    def _queueing(self, m: Map) -> str:
        if m.retry in ("fail", "queue", "undef"):
            return {"fail": "off", "queue": "on", "undef": "-"}[m.retry]
        if m.recovery and not m.recovery.expired:
            return f"{m.recovery.ticks - m.recovery.counted} sec"
        return f"{m.retry} chk" if m.usable else "off"

    def _next_check(self, path: Path) -> str:
        """The seconds to the next check; a path that is not ready is looked at more often."""
        if path.map is None:
            return "orphan"
        interval = self._config.max_polling_interval if path.state.checker == "ready" else self._config.polling_interval
        return _progress(interval - int(self._now) % interval, interval) if interval else "0/0"


_TOP = '{\n   "major_version": 0,\n   "minor_version": 1,\n'


def _path_json(path: Path) -> str:
    spec = path.spec
    return (
        "{\n"
        f'            "dev" : "{spec.dev}",\n'
        f'            "dev_t" : "{spec.dev_t}",\n'
        f'            "dm_st" : "{_kernel_state(path)}",\n'
        f'            "dev_st" : "{path.state.device}",\n'
        f'            "chk_st" : "{_checker_state(path)}",\n'
        f'            "checker" : "{path.checker or "(null)"}",\n'
        f'            "pri" : {path.prio},\n'
        f'            "host_wwnn" : "{spec.host_wwnn}",\n'
        f'            "target_wwnn" : "{spec.target_wwnn}",\n'
        f'            "host_wwpn" : "{spec.host_wwpn}",\n'
        f'            "target_wwpn" : "{spec.target_wwpn}",\n'
        f'            "host_adapter" : "{spec.host_adapter}",\n'
        f'            "lun_hex" : "{spec.lun_hex}",\n'
        f'            "marginal_st" : "{_marginal(path)}"\n'
        "         }"
    )


def _kernel_state(path: Path) -> str:
    if path.map is None:
        return "undef"
    return "active" if path.state.alive else "failed"


def _checker_state(path: Path) -> str:
    return path.state.checker if path.map and path.checker else "undef"


def _marginal(path: Path) -> str:
    return "marginal" if path.spec.marginal else "normal"


def _hcil(path: Path) -> str:
    return ":".join(str(n) for n in path.spec.hcil)


def _identity(m: Map) -> tuple[str, str, str]:
    """Vendor, product and revision of the map's first path."""
    if not m.groups:
        return (NO_VALUE, NO_VALUE, NO_VALUE)
    lun = m.groups[0].paths[0].lun
    return (lun.vendor, lun.product, lun.rev)


def _progress(current: int, total: int) -> str:
    done = min(_PROGRESS_WIDTH, _PROGRESS_WIDTH * current // total) if total else 0
    return "X" * done + "." * (_PROGRESS_WIDTH - done) + f" {current}/{total}"


def size_text(count: int) -> str:
    """A number of sectors in the unit in which it is below 1024; one decimal below ten."""
    value = count / 2
    unit = 0
    while value >= 1024 and unit < 4:
        value /= 1024
        unit += 1
    return f"{value:.1f}{'KMGTP'[unit]}" if value < 10 else f"{value:.0f}{'KMGTP'[unit]}"


def _table(form: str, items: Sequence[Item], columns: Mapping[str, tuple[str, Callable[[Item], str]]], *, raw: bool) -> str:
    """One line an item; unless raw also a header, with every column padded. A wildcard that the daemon does not know prints nothing."""
    pieces = _pieces(form, columns)
    rows = [[piece if column is None else column(item) for piece, column in pieces] for item in items]
    if not raw and items:
        rows.insert(0, [piece for piece, _ in pieces])
        widths = [max(len(row[n]) for row in rows) if column else 0 for n, (_, column) in enumerate(pieces)]
        rows = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "".join("".join(row) + "\n" for row in rows)


def _pieces(form: str, columns: Mapping[str, tuple[str, Callable[[Item], str]]]) -> list[tuple[str, Callable[[Item], str] | None]]:
    """The format cut into plain texts and columns (header and value)."""
    pieces: list[tuple[str, Callable[[Item], str] | None]] = []
    at = 0
    while at < len(form):
        if form[at] != "%":
            pieces.append((form[at], None))
            at += 1
        else:
            if form[at + 1 : at + 2] in columns:
                pieces.append(columns[form[at + 1]])
            at += 2
    return pieces
