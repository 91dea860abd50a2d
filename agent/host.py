"""This node's own host: the loop that applies the converged configuration, and the loop that reports the host's health.

They meet in two places: apply waits for the first poll (it renders for the tools that are there), and a poll follows every apply at
once. A daemon that comes or goes wakes apply.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from agent.applied_clock import applied_clock, set_applied_clock
from agent.cell_view import said, said_all
from agent.config_view import ConfigView
from agent.picture import Picture
from agent.reach import Reach, Steady, look, reach_cell
from agent.settings import Settings
from agent.writes import Writer, problem_json
from apply.backoff import Backoff
from apply.collect import Context, HealthCollector, acceptance_of
from apply.daemon import Timing
from apply.diff import render_diff
from apply.dropins import DropIns
from apply.expected import Acceptance
from apply.hostpaths import HostPaths
from apply.inuse import HostInUse
from apply.model import build
from apply.multipathd import MultipathdClient, MultipathdError
from apply.outcome import APPLIED_CLOCK, ApplyError, ApplyOutcome, ApplyState, apply_cell, awaiting, carry_on, told_clock
from apply.plan import Desired
from apply.reconcile import Reconciler
from apply.render import allow_list, render
from apply.sysfs import Sysfs
from apply.udev import NoUdev, Udev
from gossip.engine import Engine
from gossip.events import Publish
from gossip.runner import Runner, boottime_ms
from store import level
from store.cells import MULTIPATH_MAP, NODE_FACTS, Cell
from store.clocks import Dot, dominates
from store.document import OVERRIDES, WWID_PREFIX, is_config_key
from store.errors import PathmeshError, UnavailableError, UsageError
from store.matrix import Reporter
from store.members import MemberState
from store.records import Records
from store.section_config import apply_digest, config_digest, text_digest

CHECK_SECONDS = 60.0
"""How often a host that is in sync is read back, so that a change by hand is seen."""
QUIET_SECONDS = 0.15
HELD_SECONDS = 10.0
"""How often a host that may not be changed now looks whether it may."""
NOT_COLLECTED = "not-collected"
_HOST = "host"
_PURGE = "purge"
_USABLE = frozenset({"active", "standby", "marginal"})

log = structlog.get_logger("host")


class Host:
    """The host side of one node."""

    def __init__(self, settings: Settings, name: str, records: Records, picture: Picture, engine: Engine) -> None:
        multipath = settings.multipath
        self._settings = multipath
        self._name = name
        self._records = records
        self._picture = picture
        self._engine = engine
        self._runner: Runner | None = None
        client = MultipathdClient(multipath.socket, multipath.program, multipath.query_timeout_ms / 1000)
        self._paths = HostPaths(multipath.etc_dir, settings.node.state_dir)
        devices = Sysfs()
        self._reconciler = Reconciler(
            self._paths,
            client,
            records,
            in_use=HostInUse(),
            attached=devices.attached_wwids,
            udev=Udev() if multipath.udev == "auto" else NoUdev(),
            accept_renames=multipath.accept_renames,
            timing=Timing(reconfigure=float(multipath.reconfigure_timeout_seconds)),
        )
        self._collector = HealthCollector(client, records, self._context, devices=devices)
        self._outcome: ApplyOutcome | None = None
        self._cells: list[Cell] = []
        self._backoff = Backoff()
        self._allowed_since: dict[str, float] = {}
        self._polled = asyncio.Event()
        self._poll_now = asyncio.Event()
        self._apply_now = asyncio.Event()
        self._applied: asyncio.Future[None] | None = None
        self._force = False
        self._purging = False
        """Everything of ours is to go from this host, whatever the configuration says."""
        self._steady = Steady()
        self._applied_clock: Mapping[str, int] = {}
        self._moved = True
        """Whether the configuration moved since the clock that was last applied."""

    def attach(self, runner: Runner) -> None:
        """Give it the runner that its health goes to."""
        self._runner = runner

    def news(self, change: Publish) -> None:
        """Wake apply when the configuration moved, and a poll when somebody accepted paths."""
        if change.settled or any(is_config_key(key) or key == OVERRIDES for key in change.keys):
            self._apply_now.set()
            self._moved = True
        if any(key.startswith((f"ack/{self._name}/", "storage/", "member/")) for key in change.keys):
            self._poll_now.set()

    async def run(self) -> None:
        """Poll and apply until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._poll_forever(), name="health")
                group.create_task(self._apply_forever(), name="apply")
        finally:
            if self._applied is not None and not self._applied.done():
                self._applied.set_exception(UnavailableError("the agent is stopping", code="stopping"))

    async def apply_now(self) -> dict[str, Any]:
        """Apply again at once, whatever the last outcome was; returns the new one, as the apply cell will tell it."""
        if self._applied is None or self._applied.done():
            self._applied = asyncio.get_running_loop().create_future()
        self._force = True
        self._apply_now.set()
        await asyncio.shield(self._applied)
        assert self._outcome is not None
        detail = apply_cell(self._outcome, time.time()).detail
        return {name: value for name, value in detail.items() if name != APPLIED_CLOCK}

    async def purge(self) -> dict[str, Any]:
        """Take everything of ours from this host, for good; returns the outcome, as the apply cell will tell it.

        What is in use stays until it is free. UnavailableError `purge-failed` if the host refuses: then it is as it was.
        """
        await self._records.change(_HOST, {_PURGE: b"1"})
        self._purging = True
        outcome = await self.apply_now()
        if outcome["state"] == ApplyState.FAILED.value:
            await self.keep()
            first = outcome["errors"][0]
            raise UnavailableError(f"not everything could be removed: {first['message']}", code="purge-failed", hint=first["hint"])
        return outcome

    async def keep(self) -> None:
        """Take a purge back: the host gets what the configuration says."""
        await self._records.change(_HOST, {}, (_PURGE,))
        self._purging = False
        self._apply_now.set()

    def render(self) -> dict[str, Any]:
        """What this node would write now, and the difference to what is there."""
        config = self._picture.config
        rendered = render(config.model, digest=config.apply_digest, tools_version=self._collector.facts.version)
        current = DropIns(self._paths.conf_dir, self._paths.kept_dir).current()
        return {
            "files": {name: file.content.decode() for name, file in sorted(rendered.files.items())},
            "diff": render_diff(self._paths.conf_dir, current, rendered),
            "skipped": [problem_json(p) for p in rendered.skipped],
        }

    async def accept(
        self, wwid: str, nodes: list[str] | None, *, reason: str, expires_seconds: int | None, dry_run: bool, writer: Writer
    ) -> tuple[dict[str, tuple[str, ...]], Dot | None]:
        """Make the paths that are usable now the expected ones, on these nodes or on all that carry the LUN; no edit in a dry run."""
        picture = self._picture
        row = picture.rows(MULTIPATH_MAP).get(wwid)
        if row is None or wwid not in picture.config.model.luns:
            raise UsageError(f"LUN {wwid}: not allow-listed, nothing is expected of it", code="not-found", hint="see `pathmesh lun ls`")
        reporters = picture.reporters()
        chosen = sorted(row.nodes) if nodes is None else nodes
        accepted: dict[str, tuple[str, ...]] = {}
        for name in chosen:
            if name not in row.nodes:
                raise UsageError(f"{name} does not report LUN {wwid}", code="not-found")
            cell = picture.cell(name, MULTIPATH_MAP, wwid)
            if reporters.get(name) is not Reporter.FRESH or cell is None or cell.state == "unknown":
                if nodes is None:
                    continue
                raise UsageError(f"{name}: the state of LUN {wwid} is unknown now, so its paths cannot be accepted", code="cell-unknown")
            accepted[name] = tuple(
                said(path, "id", "") for path in said_all(cell.detail, "path_list", dict) if said(path, "class", "") in _USABLE
            )
        if not accepted:
            raise UsageError(f"no node's state of LUN {wwid} is known now", code="cell-unknown", hint="see `pathmesh lun show`")
        if dry_run:
            return accepted, None
        expires = f"{time.time() + expires_seconds:.0f}" if expires_seconds is not None else ""
        changes = {
            f"ack/{name}/{wwid}": {"paths": "\n".join(paths), "reason": reason, "by": self._name, "expires": expires}
            for name, paths in accepted.items()
        }
        return accepted, await writer.record(changes, reason=reason or f"accepted the paths of {wwid}")

    # -- health -------------------------------------------------------------------------------------------------------

    async def _poll_forever(self) -> None:
        interval = self._settings.poll_interval_ms / 1000
        while True:
            self._poll_now.clear()
            before = (self._collector.facts.state, self._collector.facts.version)
            await self._poll()
            if (self._collector.facts.state, self._collector.facts.version) != before:
                self._apply_now.set()
            self._polled.set()
            await _woken(self._poll_now, interval)

    async def _poll(self) -> None:
        """Observe the host once. What keeps this node from looking is no reason to show what it saw before."""
        assert self._runner is not None
        try:
            self._cells = await self._collector.poll()
        except Exception as fault:  # the host's files and answers are not in our hands; the loop must go on whatever they hold
            log.error("health not collected", why=str(fault), exc_info=not isinstance(fault, PathmeshError))
            self._cells = [_not_collected(cell) for cell in self._cells]
        self._runner.observe([*map(_with_level, self._cells), self._reach_cell()])

    def _reach_cell(self) -> Cell:
        return reach_cell(self._steady.observe(look(self._engine, boottime_ms())), time.time())

    @property
    def reach(self) -> Reach:
        """Whom this node does not hear or reach, as it is told to others."""
        return self._steady.reach

    def _context(self) -> Context:
        config = self._picture.config
        self._note_allowed(config)
        return Context(
            node=self._name,
            model=config.model,
            expected=config.expected,
            outcome=self._outcome,
            acceptances=self._acceptances(config),
            allowed_since=self._allowed_since,
            peer_sizes=self._peer_sizes(),
        )

    def _note_allowed(self, config: ConfigView) -> None:
        """Since when each LUN is allow-listed; what was so at the start has been for long."""
        allowed = allow_list(config.model)
        now = time.time() if self._polled.is_set() else 0.0
        self._allowed_since = {wwid: self._allowed_since.get(wwid, now) for wwid in allowed}

    def _acceptances(self, config: ConfigView) -> dict[str, Acceptance]:
        prefix = f"ack/{self._name}/"
        return {
            key.removeprefix(prefix): acceptance_of(options, dot) for key, (dot, options) in config.acks.items() if key.startswith(prefix)
        }

    def _peer_sizes(self) -> Mapping[str, tuple[int, ...]]:
        """How many paths the other nodes expect of each LUN."""
        sizes: dict[str, list[int]] = {}
        for name in self._engine.exchange.streams:
            if name != self._name:
                for wwid, cell in self._picture.cells_of(name, MULTIPATH_MAP).items():
                    if baseline := said_all(cell.detail, "baseline", str):
                        sizes.setdefault(wwid, []).append(len(baseline))
        return {wwid: tuple(found) for wwid, found in sizes.items()}

    # -- apply --------------------------------------------------------------------------------------------------------

    async def _apply_forever(self) -> None:
        await self._polled.wait()
        await self._recover()
        wait = 0.0
        while True:
            if await _woken(self._apply_now, wait) and not self._force:
                await self._debounce()
            self._apply_now.clear()
            wait = await self._apply_once()

    async def _debounce(self) -> None:
        """Let further edits come in; meanwhile everybody sees that there is something to do.

        Nothing is said in the first moment: then the edit itself is still on its way to others, and it goes first.
        """
        whole = self._settings.debounce_ms / 1000
        quiet = min(whole, QUIET_SECONDS)
        await asyncio.sleep(quiet)
        config = self._picture.config
        if self._outcome is not None and self._outcome.desired != config.apply_digest:
            self._outcome = awaiting(self._outcome, config.apply_digest, time.time())
            self._poll_now.set()
        await asyncio.sleep(whole - quiet)

    async def _recover(self) -> None:
        try:
            self._purging = _PURGE in await self._records.load(_HOST)
            self._outcome = await self._reconciler.recover(forgot=self._engine.identity.restored)
            self._applied_clock = told_clock(await applied_clock(self._records))
            if self._outcome is not None:
                self._outcome = msgspec.structs.replace(self._outcome, applied_clock=self._applied_clock)
        except PathmeshError as fault:
            log.error("an interrupted apply could not be settled", code=fault.code, why=fault.message)

    async def _apply_once(self) -> float:
        """One reconcile; returns the seconds until the next one is due by itself."""
        config = self._picture.config
        force, self._force = self._force, False
        moved, self._moved = self._moved, False
        waiting = self._applied if force else None
        digest = config.apply_digest
        self._backoff = self._backoff.wanted(digest)
        held = self._held()
        try:
            outcome = (
                self._unchanged(digest, held)
                if held is not None
                else await self._reconciler.converge(await self._desired(config), force=force)
            )
            if outcome.state is ApplyState.IN_SYNC and held is None and not self._purging:
                await set_applied_clock(self._records, config.clock)
        except Exception as fault:  # as in `_poll`: the last good state of the host stays, and the next try comes
            log.error("apply failed", why=str(fault), exc_info=not isinstance(fault, PathmeshError))
            outcome = self._failed(digest, fault)
        if held is not None or self._purging or outcome.state not in (ApplyState.IN_SYNC, ApplyState.NOT_APPLICABLE):
            self._moved |= moved
        elif moved:  # else other edits alone moved the clock, which is no news of this host
            self._applied_clock = told_clock(config.clock)
        outcome = msgspec.structs.replace(outcome, applied_clock=self._applied_clock)
        self._tell(outcome)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        if held is not None or outcome.state in (ApplyState.IN_SYNC, ApplyState.NOT_APPLICABLE):
            self._backoff = self._backoff.succeeded(digest)
            return CHECK_SECONDS if held is None else HELD_SECONDS
        self._backoff = self._backoff.failed(digest)
        return self._backoff.seconds

    def _held(self) -> ApplyError | None:
        """Why this host keeps what it has, whatever the configuration seems to be; None if it does not."""
        engine = self._engine
        if self._purging:
            return None
        if engine.member is not None and engine.member.state is MemberState.LEFT:
            return ApplyError("left", "this node has left the cluster: its host stays as it is", "pathmesh leave --purge takes it off")
        if engine.config_behind:
            message = "the configuration holds edits of a newer version, which this one cannot apply: the host stays as it is"
            return ApplyError("config-behind", message, "upgrade pathmesh on this node")
        if engine.frozen:
            keys = ", ".join(sorted(engine.frozen)[:5])
            message = f"this node and a peer differ beyond repair in {len(engine.frozen)} keys ({keys}): the host stays as it is"
            return ApplyError("frozen", message, "keep both state directories and report it; see pathmesh doctor")
        return None

    def _unchanged(self, digest: str, why: ApplyError) -> ApplyOutcome:
        """The outcome when nothing is applied."""
        before = self._outcome or ApplyOutcome(ApplyState.PENDING, digest)
        notes = carry_on([why], before.notes, time.time(), counted=False)
        if before.state is ApplyState.IN_SYNC and before.desired != digest:
            before = awaiting(before, digest, time.time())
        return msgspec.structs.replace(before, desired=digest, notes=notes, changed=False)

    def _failed(self, digest: str, fault: Exception) -> ApplyOutcome:
        code, message, hint = (
            (fault.code, fault.message, fault.hint)
            if isinstance(fault, PathmeshError)
            else ("internal", f"a fault of pathmesh: {type(fault).__name__}", "the agent's log has the details")
        )
        before = self._outcome or ApplyOutcome(ApplyState.FAILED, digest)
        errors = carry_on([ApplyError(code, message, hint)], before.errors, time.time(), counted=True)
        return msgspec.structs.replace(before, state=ApplyState.FAILED, desired=digest, errors=errors, changed=False)

    def _tell(self, outcome: ApplyOutcome) -> None:
        before = self._outcome
        self._outcome = outcome
        if before is None or (before.state, before.desired) != (outcome.state, outcome.desired):
            log.info("apply", state=outcome.state.value, errors=[e.code for e in outcome.errors], desired=outcome.desired[:12])
        self._poll_now.set()

    async def _desired(self, config: ConfigView) -> Desired:
        if self._purging:
            nothing = build({}, {})
            digest = apply_digest(config_digest({}), text_digest(""))
            rendered = render(nothing, digest=digest, tools_version=None)
            return Desired(digest, rendered, frozenset(), may_remove=True, empty=True, needed=False)
        model = config.model
        version, fault = None, None
        if not model.empty:
            try:
                version = await self._collector.tools_version()
            except MultipathdError as error:
                fault = error
        return Desired(
            digest=config.apply_digest,
            rendered=render(model, digest=config.apply_digest, tools_version=version),
            allow_list=allow_list(model),
            may_remove=await self._may_remove(config),
            kept=_kept(config),
            empty=model.empty,
            needed=any(self._name in expected.nodes for expected in config.expected.values()),
            fault=fault,
        )

    async def _may_remove(self, config: ConfigView) -> bool:
        """Whether this node knows enough to take something away from its host.

        It must be a member, must have met a peer since it started that knew nothing more (or be alone in the cluster), and must know all
        that it knew when it last applied. Absence of knowledge never removes anything: a database that was restored may know no other
        member, where this node did.
        """
        engine = self._engine
        remembered = engine.identity.bootstrap if engine.identity.restored else ()
        alone = len(config.members) <= 1 and all(member.name == self._name for member in remembered)
        if engine.member is None or not (alone or engine.caught_up):
            return False
        return dominates(config.clock, await applied_clock(self._records))


async def _woken(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, at most so long; whether it came.

    Not `asyncio.wait_for`: up to Python 3.11 it swallows a cancellation that arrives together with the event, and the loop would never end.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _with_level(cell: Cell) -> Cell:
    """The node's facts with the feature level that this version speaks."""
    return cell if cell.kind != NODE_FACTS else msgspec.structs.replace(cell, detail={**cell.detail, "level": level.LEVEL})


def _not_collected(cell: Cell) -> Cell:
    """What is left of a cell when this node cannot look: nobody knows, and what it said last stands beside it."""
    if cell.kind != MULTIPATH_MAP or cell.reasons == (NOT_COLLECTED,):
        return cell
    last = {"state": cell.state, "reasons": list(cell.reasons)}
    return msgspec.structs.replace(cell, state="unknown", reasons=(NOT_COLLECTED,), detail=cell.detail | {"last": last})


def _kept(config: ConfigView) -> dict[str, str]:
    """WWIDs that stay in the allow-list even if they are not configured any more, and why."""
    kept: dict[str, str] = {}
    for storage in config.model.storages.values():
        if storage.enabled:
            used = set(storage.wwids or ()) | ({storage.base[1]} if storage.base else set())
            kept.update(dict.fromkeys(used, f"the storage {storage.id} uses it"))
    kept.update(
        (key.removeprefix(WWID_PREFIX), "its configuration is in conflict") for key in config.conflicts if key.startswith(WWID_PREFIX)
    )
    return kept
