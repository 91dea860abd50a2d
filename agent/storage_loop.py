"""The loop that looks at what stands on this host's maps: volume groups, mounts, iSCSI sessions; and logs in where that is asked for.

What files and device-mapper tell is read at every look. LVM is asked when devices came or went, when the configuration names other groups,
and else now and then; it runs beside everything else, and not at all while a map lets I/O hang, or as long as it is not known whether one
does: LVM would hang with it.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import structlog

from agent.map_faults import faults, hanging
from agent.openers import Openers
from agent.picture import Picture
from agent.woken import woken
from apply.backoff import Backoff
from apply.iscsi import login
from apply.lvm import Lvm
from apply.model import Model, Storage
from apply.option_model import Scope
from apply.programs import Programs
from apply.sessions import sessions
from apply.transports import Target, is_on, target_of
from apply.usage import HostUse, look, with_groups
from apply.volume_groups import Known, group_cell, wanted_groups
from store.cells import MULTIPATH_MAP, STORAGE, STORAGE_GROUPS, Cell, content_hash, not_seen
from store.errors import PathmeshError, UnavailableError
from store.limits import limit

LOOKS_WITH_GROUPS = 6
"""After so many looks LVM is asked again where an `lvm` storage is used on this node,"""
LOOKS_WITHOUT = 30
"""and after so many where none is: then what it says is only shown."""
OPEN_SECONDS = 10.0
OLD_SECONDS = 90.0
"""What a look found counts no longer than so many seconds, and three looks, after it began: one may wait for LVM."""
NOT_LOOKED = "storages-not-looked-at"
LOGINS_AT_ONCE = 4

log = structlog.get_logger("host")

Way = tuple[str, str, str]
"""Target, portal, interface."""


@dataclass
class _Login:
    """How far the login of one way is. `due` in monotonic seconds; `asked`: somebody wants it now."""

    backoff: Backoff
    due: float = 0.0
    asked: bool = False
    fault: PathmeshError | None = None
    task: "asyncio.Task[None] | None" = None


class StorageLoop:
    """Looks in a steady rhythm, and at once when it is woken."""

    def __init__(
        self,
        name: str,
        picture: Picture,
        programs: Programs | None,
        *,
        interval: float,
        told: Callable[[], None],
        root: Path = Path("/"),
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`programs` None = this host is not looked at (`multipath.storage_tools = off`). `interval` in seconds.

        `told()` is called when the cells are others.
        """
        self.lvm = Lvm(programs, root) if programs is not None else None
        self._name = name
        self._picture = picture
        self._programs = programs
        self._interval = interval
        self._told = told
        self._root = root
        self._monotonic = monotonic
        self._wall = wall
        self._now = asyncio.Event()
        self._use = HostUse()
        self._known = Known()
        self._uses: dict[str, tuple[str, ...]] = {}
        self._openers = Openers(root)
        self._begun = monotonic()
        self._looked = -math.inf
        """When the look began of which the cells and uses tell, in monotonic seconds."""
        self._asked: object = None
        """What LVM was last asked for; something else, and it is asked again at once."""
        self._looks = 0
        self._polled = False
        self._hanging = False
        self._unsure = False
        self._cells: list[Cell] = []
        self._logins: dict[Way, _Login] = {}
        self._login_slots = asyncio.Semaphore(LOGINS_AT_ONCE)

    def wake(self, *, anew: bool = False) -> None:
        """Look at once; `anew`: ask LVM and log in again too, whatever was found a moment ago."""
        if anew:
            self._asked = None
            for entry in self._logins.values():
                entry.asked = True
        self._now.set()

    @property
    def direct(self) -> Mapping[str, frozenset[tuple[str, str]]]:
        """The disks that active logical volumes used without a map at the last look, by group uuid."""
        return self._use.direct

    @property
    def polled(self) -> bool:
        """Whether this node has looked at its maps since the start."""
        return self._polled

    @property
    def hanging(self) -> bool:
        """Whether a map here has no paths and queues, or is suspended: what reads from it never ends."""
        return self._hanging

    @property
    def unsure(self) -> bool:
        """Whether of a map here it was never known how it fares."""
        return self._unsure

    @property
    def old(self) -> bool:
        """Whether what the last look found is too old to count."""
        return self._programs is not None and self._old(max(self._looked, self._begun))

    def _old(self, looked: float) -> bool:
        return self._monotonic() - looked > max(OLD_SECONDS, 3 * self._interval)

    def cells(self, maps: Sequence[Cell]) -> list[Cell]:
        """The cells of a poll with what stands on each map (`used_by`), and after them the cells of this node's storages.

        A map without `used_by` is one of which it is not known whether anything uses it.
        """
        known = [faults(cell) for cell in maps if cell.kind == MULTIPATH_MAP]
        self._hanging = any(found is not None and hanging(found) for found in known)
        self._unsure = any(found is None for found in known)
        if not self._polled:
            self._polled = True
            self._now.set()  # LVM waits for this
        told = not self._old(self._looked)
        return [*(self._with_uses(cell, told) for cell in maps), *(self._not_looked_at() if self.old else self._cells)]

    async def run(self) -> None:
        """Look until cancelled."""
        if self._programs is None:
            return
        try:
            while True:
                self._now.clear()
                try:
                    await self._look(self._programs)
                except Exception as fault:  # the host's files are not in our hands; the loop must go on whatever they hold
                    log.error("storages not looked at", why=str(fault), exc_info=not isinstance(fault, PathmeshError))
                await woken(self._now, self._interval)
        finally:
            tasks = [entry.task for entry in self._logins.values() if entry.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- looking ------------------------------------------------------------------------------------------------------

    async def _look(self, programs: Programs) -> None:
        looked, model = self._monotonic(), self._picture.config.model
        here = self._here()
        self._use = await asyncio.to_thread(look, self._root)
        await self._openers.look(self._use, await _open_counts(self._use, programs))
        await self._ask_lvm(here)
        found = await asyncio.to_thread(sessions, self._root)
        self._log_in(here, found, programs)
        self._take(model, here, found, looked)

    def _here(self) -> list[Storage]:
        return [storage for storage in self._picture.config.model.storages.values() if is_on(storage, self._name)]

    async def _ask_lvm(self, here: Sequence[Storage]) -> None:
        assert self.lvm is not None
        self._known = replace(self._known, active=self._use.active, direct=self._use.direct)
        wanted = sorted(storage.options.get("vgname", "") for storage in here if storage.type == Scope.LVM)
        if not self.lvm.installed:
            self._known = Known(failure="program-missing")
            return
        if not self._polled or (not wanted and not self._use.devices):
            return
        self._looks += 1
        subject = (self._use.fingerprint, wanted)
        if subject == self._asked and self._looks < (LOOKS_WITH_GROUPS if wanted else LOOKS_WITHOUT):
            return
        if self._hanging or self._unsure:
            self._known = replace(self._known, failure="io-hangs" if self._hanging else "map-unknown")
            return
        self._looks, self._asked = 0, subject
        try:
            self._known = replace(self._known, report=await self.lvm.report(), failure="")
        except PathmeshError as fault:
            if self._known.failure != fault.code:
                log.warning("lvm not asked", code=fault.code, why=fault.message)
            self._known = replace(self._known, failure=fault.code)

    def _take(self, model: Model, here: Sequence[Storage], found: Mapping[Way, int], looked: float) -> None:
        """Take what a look found that began at `looked` as the present state, and tell if it is another one."""
        groups = self._known.report.by_wwid() if self._known.report is not None else {}
        numbers = self._use.numbers()
        opened = {numbers[number]: uses for number, uses in self._openers.found.items() if number in numbers}
        uses = with_groups({wwid: (*found, *opened.get(wwid, ())) for wwid, found in self._use.uses.items()}, groups)
        unsure = {wwid for number, wwid in numbers.items() if number not in self._openers.counted}
        uses = {wwid: found for wwid, found in uses.items() if found or wwid not in unsure}
        cells = []
        for storage in here:
            target = target_of(storage)
            if storage.type == Scope.LVM:
                cells.append(group_cell(storage, model, self._known, self._wall()))
            elif target is not None:
                cells.append(self._session_cell(storage, target, found))
        inferred = wanted_groups(model, groups)
        if inferred:
            most = limit("inferred_groups")
            cells.append(Cell(STORAGE_GROUPS, "groups", "healthy", (), {"groups": dict(sorted(inferred.items())[:most])}, {}, self._wall()))
        moved = uses != self._uses or [*map(content_hash, cells)] != [*map(content_hash, self._cells)]
        self._uses, self._cells, self._looked = uses, cells, looked
        if moved:
            self._told()

    def _not_looked_at(self) -> list[Cell]:
        """The cells once looks fail, or do not end: nobody knows, and what was seen last stands beside it."""
        found = {cell.id: cell for cell in self._cells if cell.kind == STORAGE}
        for storage in self._here():
            if storage.type == Scope.LVM or target_of(storage) is not None:
                found.setdefault(storage.id, Cell(STORAGE, storage.id, "unknown", (), {"type": storage.type}, {}, self._wall()))
        return [*(not_seen(cell, NOT_LOOKED) for cell in found.values()), *(cell for cell in self._cells if cell.kind != STORAGE)]

    def _with_uses(self, cell: Cell, told: bool) -> Cell:
        uses = self._uses.get(cell.id) if cell.kind == MULTIPATH_MAP else None
        if uses is None or not (uses or told):
            return cell
        return msgspec.structs.replace(cell, detail={**cell.detail, "used_by": list(uses)})

    # -- iSCSI --------------------------------------------------------------------------------------------------------

    def _log_in(self, here: Sequence[Storage], found: Mapping[Way, int], programs: Programs) -> None:
        """Begin a login for each way that has no session, where the storage asks for that; the next looks tell how it went.

        A node that is not yet, or no longer, a member of the cluster does nothing by itself.
        """
        wanted: set[Way] = set()
        for storage in here if self._name in self._picture.config.members else ():
            target = target_of(storage)
            if target is not None and storage.options.get("login") == "yes":
                wanted |= {way for way in _ways(target) if not _is_there(way, found)}
        self._logins = {way: entry for way, entry in self._logins.items() if way in wanted or (entry.task and not entry.task.done())}
        for way in sorted(wanted):
            entry = self._logins.setdefault(way, _Login(Backoff()))
            if (entry.task is None or entry.task.done()) and (entry.asked or self._monotonic() >= entry.due):
                entry.asked = False
                entry.task = asyncio.create_task(self._login(way, entry, programs), name="iscsi-login")

    async def _login(self, way: Way, entry: _Login, programs: Programs) -> None:
        target, portal, interface = way
        try:
            async with self._login_slots:
                await login(programs, target, portal, interface)
        except PathmeshError as fault:
            if entry.fault is None or entry.fault.code != fault.code:
                log.warning("not logged in", target=target, portal=portal, interface=interface, code=fault.code, why=fault.message)
            entry.fault = fault
        else:
            entry.fault = None
            log.info("logged in", target=target, portal=portal, interface=interface)
        # Also after a success: a session that does not come up, or not to stay, is not asked for in a tight loop.
        entry.backoff = entry.backoff.failed("")
        entry.due = self._monotonic() + entry.backoff.seconds
        self._now.set()

    def _session_cell(self, storage: Storage, target: Target, found: Mapping[Way, int]) -> Cell:
        """How an `iscsi` storage fares on this node: which sessions are there."""
        ways = _ways(target)
        missing = [way for way in ways if not _is_there(way, found)]
        faults = {way: entry.fault for way, entry in self._logins.items() if way in missing and entry.fault is not None}
        detail: dict[str, Any] = {
            "type": storage.type,
            "sessions": len(ways) - len(missing),
            "expected": len(ways),
            "missing": [_title(way) for way in missing],
            "errors": [{"code": fault.code, "message": fault.message, "hint": fault.hint} for _, fault in sorted(faults.items())],
        }
        state = "healthy" if not missing else "degraded" if len(missing) < len(ways) else "missing"
        reasons = ("session-missing", *sorted({fault.code for fault in faults.values()})) if missing else ()
        return Cell(STORAGE, storage.id, state, reasons, detail, {}, self._wall())


def _ways(target: Target) -> list[Way]:
    return [(target.name, portal, interface) for portal, interface in target.ways]


def _is_there(way: Way, found: Mapping[Way, int]) -> bool:
    target, portal, interface = way
    return found.get((target.lower(), portal, interface.lower()), 0) > 0


def _title(way: Way) -> str:
    _, portal, interface = way
    return portal if interface == "default" else f"{portal} by {interface}"


async def _open_counts(use: HostUse, programs: Programs) -> dict[str, int]:
    """How often each device of device-mapper is open, by number; empty if that cannot be told."""
    if not use.devices:
        return {}
    argv = ("dmsetup", "info", "--columns", "--noheadings", "--separator", " ", "-o", "major,minor,open")
    try:
        output = await programs.run(*argv, seconds=OPEN_SECONDS)
    except UnavailableError:
        return {}
    rows = (line.split() for line in output.stdout.splitlines()) if not output.status else ()
    return {f"{row[0]}:{row[1]}": int(row[2]) for row in rows if len(row) == 3 and all(word.isdecimal() for word in row)}
