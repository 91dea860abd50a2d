"""The simulated daemon: its maps and paths, and what configuration, LUN file and commands do to them.

The daemon is driven from outside and never waits. `refresh` takes up what happened since the last call: a rewritten LUN file, and time
that ran out (queueing, failback). `configure` is one pass of `reconfigure`; the caller runs it some time after `reconfiguring` was set.
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path as FilePath

from apply.simulated import allow_list, bindings, conf_parser, transitions
from apply.simulated.conf_model import Config, build, without_duplicate_aliases
from apply.simulated.lun_file import Lun, LunFile, LunPath, PathState
from apply.simulated.maps import (
    CHECKERS,
    PRIORITIZERS,
    Counters,
    Group,
    Map,
    Path,
    group_paths,
    name_accepted,
    sectors,
    table_accepted,
)
from store.errors import UnavailableError, UsageError

log = logging.getLogger(__name__)

Visible = Mapping[str, tuple[Lun, LunPath]]


class Daemon:
    """One simulated multipathd.

    `maps` is in the order of the listings, by WWID; `paths` in the order of discovery, by device name. `clock` counts seconds and never
    goes back. Raises `UsageError` for a bad LUN file and `UnavailableError` for an unusable configuration directory, at construction only.
    """

    def __init__(self, etc_dir: FilePath, luns: FilePath, clock: Callable[[], float]) -> None:
        self._etc = etc_dir
        self._lun_file = LunFile(luns)
        self._clock = clock
        self._faulted: set[str] = set()
        self._deleted: set[str] = set()
        self._held: set[str] = set()
        self._unwritten: dict[str, None] = {}
        self._minors: set[int] = set()
        self._names: dict[str, str] = {}  # the kernel's: WWID by name
        self._missing_checkers: set[str] = set()
        self.config = build(())
        self.paths: dict[str, Path] = {}
        self.maps: dict[str, Map] = {}
        self.reconfiguring = False
        try:
            next(etc_dir.iterdir(), None)
            bindings.create(etc_dir / "bindings")
        except OSError as error:
            hint = "give a directory that this user may read and write"
            raise UnavailableError(f"{error.filename or etc_dir}: {error.strerror}", code="etc-dir", hint=hint) from None
        self.configure()

    @property
    def now(self) -> float:
        return self._clock()

    @property
    def luns(self) -> tuple[Lun, ...]:
        """The LUNs of the paths that the daemon monitors."""
        return tuple({id(p.lun): p.lun for p in self.paths.values()}.values())

    def find_map(self, name: str) -> Map | None:
        """A map by its name or its dm device, not by its WWID."""
        return next((m for m in self.maps.values() if name in (m.name, f"dm-{m.minor}")), None)

    def find_path(self, name: str) -> Path | None:
        """A path by its device name or number."""
        return self.paths.get(name) or next((p for p in self.paths.values() if p.spec.dev_t == name), None)

    # Time and the LUN file

    def refresh(self) -> None:
        """Take up a rewritten LUN file and expired timers; called before every command."""
        for m in self.maps.values():
            transitions.advance(m, self.now)
        if self._unwritten:
            self._remember(())
        try:
            if self._lun_file.reread():
                self._rescan()
        except UsageError as error:
            log.warning("%s; the last good content stays in force", error.message)

    def _rescan(self) -> None:
        """Play the hot-plug events and checker results that lie between the paths as they were and the file as it is."""
        self._note_open_maps()
        visible = self._visible()
        for dev, path in list(self.paths.items()):
            if dev not in visible or visible[dev][0].wwid != path.lun.wwid:
                self._unplug(path)
        regrouped: dict[str, Map] = {}
        for dev, path in self.paths.items():
            prio = path.prio
            path.lun, path.spec = visible[dev]
            m = path.map
            if m and path.prio != prio and (m.options.policy, m.options.failback) == ("group_by_prio", "immediate"):
                regrouped[m.wwid] = m
        self._notice(self.paths.values())
        for m in regrouped.values():
            transitions.load(m, self._members(m))
        self._plug({dev: pair for dev, pair in visible.items() if dev not in self.paths})

    def _visible(self) -> Visible:
        """The paths that discovery would find now, in its order: present, not deleted by hand, not blacklisted."""
        found = [
            (path.hcil, path.dev, lun, path)
            for lun in self._lun_file.luns
            for path in lun.paths
            if path.dev not in self._deleted and not self.config.blacklisted(lun, path)
        ]
        return {dev: (lun, path) for _, dev, lun, path in sorted(found, key=lambda f: f[:2])}

    def _members(self, m: Map) -> list[Path]:
        return [p for p in self.paths.values() if p.map is m]

    def _note_open_maps(self) -> None:
        """Remember which WWIDs are in use; one that left the file keeps what was last said of it."""
        self._held.difference_update(lun.wwid for lun in self._lun_file.luns)
        self._held.update(lun.wwid for lun in self._lun_file.luns if lun.open)

    # Paths that change, come and go

    def _notice(self, paths: Iterable[Path]) -> None:
        """Let the checker see the present state of some paths, and kernel and daemon react map by map."""
        if not self.config.checks_paths:
            return
        touched: dict[str, tuple[Map, list[Path]]] = {}
        for path in paths:
            before, was_usable = path.state, path.usable
            path.state = self._state(path.spec)
            m = path.map
            if path.state is before or m is None:
                continue
            _, recovered = touched.setdefault(m.wwid, (m, []))
            if before.alive and not path.state.alive:
                path.failures += 1
                m.counters.path_faults += 1
            if was_usable and not path.usable:
                transitions.lost_path(m, self.now, self.config.polling_interval)
            elif path.usable and not was_usable:
                recovered.append(path)
        for m, recovered in touched.values():
            if recovered:
                transitions.regained_path(m, self.now)
            transitions.settle(m, recovered, self.now)

    def _state(self, spec: LunPath) -> PathState:
        return PathState.FAULTY if spec.dev in self._faulted else spec.state

    def _unplug(self, path: Path) -> None:
        """A path device is gone. The last one takes an unused map with it; a map in use stays without groups."""
        del self.paths[path.spec.dev]
        m = path.map
        if m is None:
            return
        path.map = None
        left = self._members(m)
        if not left and m.wwid not in self._held:
            self._remove(m)
            return
        transitions.load(m, left)
        if left and path.usable:
            transitions.lost_path(m, self.now, self.config.polling_interval)

    def _plug(self, new: Visible) -> None:
        """Path devices appeared: they join their maps, and LUNs that may become maps do."""
        arrivals: dict[str, list[Path]] = {}
        for dev, (lun, spec) in new.items():
            path = self.paths[dev] = Path(lun, spec, self._state(spec))
            self._choose_path_options(path)
            arrivals.setdefault(lun.wwid, []).append(path)
        allowed = self._allowed() if arrivals else frozenset()
        for wwid, paths in arrivals.items():
            self._join(wwid, paths, allowed)

    def _join(self, wwid: str, paths: list[Path], allowed: frozenset[str]) -> None:
        m = self.maps.get(wwid)
        if m is not None:
            for path in paths:
                path.map = m
            transitions.load(m, self._members(m))
            if m.usable:
                transitions.regained_path(m, self.now)
            return
        members = [p for p in self.paths.values() if p.lun.wwid == wwid]
        if self._wanted(wwid, members, allowed):
            m = self._create(wwid, members, dict(self._names))
            if m is not None:
                self.maps[wwid] = m
                self._remember([wwid])

    # Configuration

    def request_reconfigure(self) -> None:
        """Note that a pass is due. Requests that come before it runs are served by the same pass."""
        self.reconfiguring = True

    def configure(self) -> None:
        """One pass: read all files, discover all paths, then create, change and remove maps; statistics start again."""
        self.refresh()
        self.reconfiguring = False
        self.config = self._read_config()
        self._missing_checkers.clear()
        self._note_open_maps()
        self._rediscover()
        allowed = self._allowed()
        names = dict(self._names)
        members: dict[str, list[Path]] = {}
        for path in self.paths.values():
            members.setdefault(path.lun.wwid, []).append(path)
        leftover, self.maps = self.maps, {}
        for wwid, paths in members.items():
            if self._wanted(wwid, paths, allowed):
                current = leftover.get(wwid)
                m = self._change(current, paths, names) if current else self._create(wwid, paths, names)
                if m is not None:
                    self.maps[wwid] = m
                    leftover.pop(wwid, None)
        for wwid, m in leftover.items():
            if wwid in self._held:
                log.warning("%s: map in use, unable to flush devmap", m.name)
                self.maps[wwid] = m
            else:
                self._remove(m)
        self._remember(self.maps)

    def _read_config(self) -> Config:
        files = []
        for file in config_files(self._etc):
            try:
                files.append(conf_parser.parse(file.read_bytes(), str(file)))
            except OSError as error:
                log.warning("%s: %s", file, error.strerror)
        config, complaints = without_duplicate_aliases(build(files))
        for line in (*config.warnings, *complaints):
            log.warning("%s", line)
        return config

    def _rediscover(self) -> None:
        """Make the list of paths anew in the order of discovery; the kernel's tables keep the paths that are still there."""
        old, self.paths = self.paths, {}
        for dev, (lun, spec) in self._visible().items():
            path = old.get(dev) or Path(lun, spec, self._state(spec))
            self._choose_path_options(path)
            if self.config.checks_paths:
                path.state = self._state(spec)
            self.paths[dev] = path
        for m in self.maps.values():
            m.groups = [Group(kept) for g in m.groups if (kept := [p for p in g.paths if p.spec.dev in self.paths])]
            m.active = min(m.active, max(0, len(m.groups) - 1))
            m.counters = Counters()
            m.action = ""
            m.queueing_disabled = False
            m.failback_due = None

    def _choose_path_options(self, path: Path) -> None:
        options = self.config.for_path(path.lun)
        path.checker = options.checker if options.checker in CHECKERS else None
        path.prio_known = options.prio in PRIORITIZERS
        if path.checker is None and options.checker not in self._missing_checkers:
            self._missing_checkers.add(options.checker)
            log.warning("Checker '%s' not found", options.checker)

    def _create(self, wwid: str, paths: list[Path], names: Mapping[str, str]) -> Map | None:
        """Make a new map; nothing if device-mapper would refuse its name or its table. `names` were in use before this pass."""
        lun = paths[0].lun
        options = self.config.for_map(lun)
        name = self._wanted_name(lun)
        if name in names:
            log.warning('%s: can\'t use alias "%s" used by %s, falling back to WWID', wwid, name, names[name])
            name = wwid
        if name in self._names or not name_accepted(name) or not table_accepted(options):
            log.warning("%s: failed to create the map %r", wwid, name)
            return None
        minor = next(n for n in range(len(self._minors) + 1) if n not in self._minors)
        self._minors.add(minor)
        self._names[name] = wwid
        m = Map(wwid, name, minor, options, sectors(lun), action="create")
        m.queueing = m.retry == "queue" or m.retry.isdigit()
        transitions.load(m, paths)
        transitions.apply_retry(m, self.now, self.config.polling_interval)
        return m

    def _change(self, m: Map, paths: list[Path], names: Mapping[str, str]) -> Map | None:
        """Bring an existing map in line: rename and reload as needed; nothing if that was refused, so that the map is to go."""
        lun = paths[0].lun
        options = self.config.for_map(lun)
        name = self._wanted_name(lun)
        renamed = name != m.name and name not in names
        if name != m.name and not renamed:
            log.warning("%s: unable to rename %s to %s (%s is used by %s)", m.wwid, m.name, name, name, names[name])
        if (renamed and (name in self._names or not name_accepted(name))) or not table_accepted(options):
            log.warning("%s: rename to %r or reload refused, removing map", m.wwid, name)
            return None
        if renamed:
            log.info("%s: rename %s to %s", m.wwid, m.name, name)
            self._names[name] = self._names.pop(m.name)
            m.name = name
        m.options = options
        m.sectors = sectors(lun)
        transitions.adopt(m, group_paths(options.policy, paths))
        queue = m.queueing if m.retry == "undef" else m.retry == "queue" or m.retry.isdigit()
        if m.shape() != m.table or queue != m.queueing:
            m.queueing = queue
            transitions.load(m, paths)
        else:
            transitions.use_best_group(m)
            m.counters.map_loads += renamed
        transitions.apply_retry(m, self.now, self.config.polling_interval)
        return m

    def _remove(self, m: Map) -> None:
        for path in m.paths:
            path.map = None
        self._minors.discard(m.minor)
        self._names.pop(m.name, None)
        self.maps.pop(m.wwid, None)
        log.info("%s devmap removed", m.name)

    def _wanted_name(self, lun: Lun) -> str:
        options = self.config.for_map(lun)
        if options.alias is not None:
            return options.alias
        if options.friendly_prefix is not None:
            try:
                return bindings.friendly_name(self._etc / "bindings", lun.wwid, options.friendly_prefix)
            except OSError as error:
                log.warning("%s: no user friendly name: %s", lun.wwid, error)
        return lun.wwid

    def _wanted(self, wwid: str, paths: list[Path], allowed: frozenset[str]) -> bool:
        """Whether a LUN becomes a map: by the allow-list alone under `strict`, else also by itself."""
        mode = self.config.find_multipaths
        return mode in ("off", "greedy") or wwid in allowed or (mode in ("on", "smart") and len(paths) > 1)

    def _allowed(self) -> frozenset[str]:
        return allow_list.read(self._etc / "wwids") | self._unwritten.keys()

    def _remember(self, wwids: Iterable[str]) -> None:
        """Write the WWIDs of maps to the allow-list; while another process holds its lock they wait for the next command."""
        self._unwritten.update(dict.fromkeys(wwids))
        if self._unwritten and allow_list.append(self._etc / "wwids", self._unwritten):
            self._unwritten.clear()

    # Commands; a False is the daemon's `fail`

    def fail_path(self, name: str) -> bool:
        path = self.find_path(name)
        if path is None or path.map is None:
            return False
        self._faulted.add(path.spec.dev)
        self._notice([path])
        return True

    def reinstate_path(self, name: str) -> bool:
        path = self.find_path(name)
        if path is None or path.map is None:
            return False
        self._faulted.discard(path.spec.dev)
        self._notice([path])
        return True

    def remove_path(self, name: str) -> None:
        path = self.find_path(name)
        if path is not None:
            self._deleted.add(path.spec.dev)
            self._unplug(path)

    def add_path(self, dev: str) -> str:
        """Find a path device again; the reply is the daemon's own word."""
        known = next(((lun, p) for lun in self._lun_file.luns for p in lun.paths if p.dev == dev), None)
        if known is None:
            return "fail"
        if self.config.blacklisted(*known):
            return "blacklisted"
        self._deleted.discard(dev)
        path = self.paths.get(dev)
        if path is None:
            self._plug({dev: known})
        elif path.map is None:
            self._join(path.lun.wwid, [path], self._allowed())
        return "ok"

    def remove_map(self, name: str) -> bool:
        m = self.find_map(name)
        if m is None or m.wwid in self._held:
            return False
        self._remove(m)
        return True

    def resize_map(self, name: str) -> bool:
        m = self.find_map(name)
        if m is None or not m.groups:
            return False
        size = sectors(m.paths[0].lun)
        if size != m.sectors:
            m.sectors = size
            transitions.load(m, self._members(m))
        return True

    def set_queueing(self, name: str | None, *, enabled: bool) -> bool:
        """Switch queueing of one map or of all: off by hand, or back to what the configuration says."""
        chosen = list(self.maps.values()) if name is None else [m for m in (self.find_map(name),) if m]
        for m in chosen:
            if enabled:
                m.queueing_disabled = False
                m.queueing = m.retry == "queue" or m.retry.isdigit()
                transitions.apply_retry(m, self.now, self.config.polling_interval)
            else:
                transitions.disable_queueing(m, self.now)
        return bool(chosen) or name is None


def config_files(etc_dir: FilePath) -> list[FilePath]:
    """The files that are configuration, in reading order: `multipath.conf`, then `conf.d` by name in byte order, hidden ones too."""
    main = etc_dir / "multipath.conf"
    try:
        dropins = sorted((f for f in (etc_dir / "conf.d").iterdir() if f.name.endswith(".conf")), key=os.fsencode)
    except OSError:
        dropins = []
    return [main, *dropins] if main.exists() else dropins
