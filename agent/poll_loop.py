"""The loop that reports this host's health."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from agent.config_view import ConfigView
from agent.host_checks import HostChecks
from agent.kernel_watch import KernelWatch
from agent.peer_sizes import PeerSizes
from agent.picture import Picture
from agent.reach import Reach, Steady, look, reach_cell
from agent.regained import RegainedPaths
from agent.remembered import ASKS, RememberedPaths, offered
from agent.woken import woken
from apply.collect import Context, HealthCollector, acceptance_of
from apply.expected import Acceptance
from apply.multipathd import MultipathdClient
from apply.nvme_sysfs import NvmeSysfs
from apply.outcome import ApplyOutcome
from apply.render import allow_list
from apply.sysfs import Sysfs
from gossip.engine import Engine
from gossip.events import Publish
from gossip.runner import Runner, boottime_ms
from store import level
from store.cells import MULTIPATH_MAP, NODE_FACTS, Cell, not_seen
from store.errors import PathmeshError
from store.matrix import Reporter
from store.records import Records

NOT_COLLECTED = "not-collected"
BOOT_SECONDS = 120.0
"""So soon after the host's boot nothing is learned: paths come up one by one. Without a learning time this is not waited for either."""

log = structlog.get_logger("host")


class PollLoop:
    """Looks at the host in a steady rhythm, and at once when it is asked to."""

    def __init__(
        self,
        name: str,
        client: MultipathdClient,
        devices: Sysfs,
        records: Records,
        picture: Picture,
        engine: Engine,
        *,
        interval: float,
        outcome: Callable[[], ApplyOutcome | None],
        daemon_moved: Callable[[], None],
        storages: Callable[[list[Cell]], list[Cell]],
        kernel_events: bool = False,
        looks: Sequence[Callable[[], Sequence[str]]] = (),
        skew: Callable[[], Mapping[str, float]] = dict,
        uptime: Callable[[], float] = lambda: boottime_ms() / 1000,
    ) -> None:
        """`interval` in seconds. `outcome()` is what apply last did; `daemon_moved()` is called when the daemon came, went or changed.

        `storages(cells)` adds to a poll's cells what stands on the maps, and the cells of this node's storages. `kernel_events`: look as
        soon as the kernel says that something moved. `looks` are looked at now and then (see HostChecks), `skew()` says how far other
        nodes' wall clocks are ahead. `uptime()` gives the seconds since the host's boot.
        """
        self.collector = HealthCollector(client, records, self._context, devices=devices, nvme=NvmeSysfs(devices.root).subsystems)
        self.polled = asyncio.Event()
        """Whether this host was looked at since the start."""
        self._name = name
        self._picture = picture
        self._engine = engine
        self._interval = interval
        self._outcome = outcome
        self._daemon_moved = daemon_moved
        self._storages = storages
        self._runner: Runner | None = None
        self._cells: list[Cell] = []
        self._now = asyncio.Event()
        self._steady = Steady()
        self._peer_sizes = PeerSizes()
        self._remembered = RememberedPaths()
        self._regained = RegainedPaths(records, self.collector.adopt, time.monotonic)
        self._allowed_since: dict[str, float] = {}
        self._uptime = uptime
        self._took = 0.0
        self._checks = HostChecks(looks, skew, self.wake)
        self._kernel = KernelWatch(self.wake, lambda: self._took) if kernel_events else None

    def attach(self, runner: Runner) -> None:
        """Give it the runner that the health goes to."""
        self._runner = runner

    def wake(self) -> None:
        """Look at once."""
        self._now.set()

    def news(self, change: Publish) -> None:
        """Take note of lives of other nodes that begin, and answer at once who asks what is remembered of it."""
        if change.health and self._remembered.look(self._engine.exchange.streams, self._name, change.health):
            self.wake()

    @property
    def reach(self) -> Reach:
        """Whom this node does not hear or reach, as it is told to others."""
        return self._steady.reach

    async def run(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll_forever(), name="polls")
            group.create_task(self._checks.run(), name="host-checks")
            if self._kernel is not None:
                group.create_task(self._kernel.run(), name="kernel-events")

    async def _poll_forever(self) -> None:
        while True:
            self._now.clear()
            before = (self.collector.facts.state, self.collector.facts.version)
            await self._poll()
            if (self.collector.facts.state, self.collector.facts.version) != before:
                self._daemon_moved()
            self.polled.set()
            await woken(self._now, self._interval)

    async def _poll(self) -> None:
        """Observe the host once. What keeps this node from looking is no reason to show what it saw before."""
        assert self._runner is not None
        begun = time.perf_counter()
        await self._regain()
        try:
            self._cells = await self.collector.poll()
        except Exception as fault:  # the host's files and answers are not in our hands; the loop must go on whatever they hold
            log.error("health not collected", why=str(fault), exc_info=not isinstance(fault, PathmeshError))
            self._cells = [not_seen(cell, NOT_COLLECTED) if cell.kind == MULTIPATH_MAP else cell for cell in self._cells]
        cells = self._storages(self._cells) if self._cells else []  # before the first whole poll nobody knows which maps there are
        told = [self._with_agent(cell) if cell.kind == NODE_FACTS else cell for cell in cells]
        self._runner.observe([*told, self._reach_cell(), *self._offers()])
        self._took = time.perf_counter() - begun

    # -- what was learned ---------------------------------------------------------------------------------------------

    async def _regain(self) -> None:
        """Ask the others for what this node had learned, if it does not know."""
        engine = self._engine
        heard = engine.member is not None and engine.member.active and engine.caught_up
        alone = engine.member is not None and len(self._picture.config.members) <= 1
        try:
            await self._regained.step(
                lost=engine.identity.restored or await self.collector.lost(),
                alone=alone,
                heard=heard,
                offers=lambda: offered(engine.exchange.streams, self._name),
            )
        except PathmeshError as fault:
            log.warning("learned paths not asked for", code=fault.code, why=fault.message)

    def _offers(self) -> list[Cell]:
        """What this node tells for others that have lost their memory."""
        streams = self._engine.exchange.streams
        self._remembered.look(streams, self._name, streams.keys())
        self._remembered.forget(self._engine.replica.registry.by_name.keys())
        if not self._remembered.pending:
            return []
        online = [name for name, reporter in self._picture.reporters().items() if reporter is Reporter.FRESH]
        return self._remembered.offers(streams, self._name, online, time.time())

    def _learning(self, config: ConfigView) -> bool:
        """Whether what is seen now may be learned."""
        settled = config.model.settings.learn_window_seconds == 0 or self._uptime() >= BOOT_SECONDS
        return settled and self._name not in self._picture.maintenance()

    # -- what the rest of the node knows ------------------------------------------------------------------------------

    def _reach_cell(self) -> Cell:
        return reach_cell(self._steady.observe(look(self._engine, boottime_ms())), time.time())

    def _context(self) -> Context:
        config = self._picture.config
        self._note_allowed(config)
        return Context(
            node=self._name,
            model=config.model,
            expected=config.expected,
            outcome=self._outcome(),
            acceptances=self._acceptances(config),
            allowed_since=self._allowed_since,
            peer_sizes=self._peer_sizes.look(self._engine.exchange.streams, self._peers(), config.expected),
            learning=self._learning(config),
        )

    def _peers(self) -> frozenset[str]:
        """The other nodes whose word is to be compared with this one's: it is fresh, and they are not at work on their paths."""
        heard = {name for name, reporter in self._picture.reporters().items() if reporter is Reporter.FRESH}
        return frozenset(heard - self._picture.maintenance().keys() - {self._name})

    def _with_agent(self, facts: Cell) -> Cell:
        """The node's facts with what the agent adds to them: its feature level, whether it asks for its paths, what it cannot hear."""
        detail = {**facts.detail, "level": level.LEVEL}
        if self._regained.asking:
            detail[ASKS] = True
        heard = [self._kernel.note] if self._kernel is not None and self._kernel.note else []
        detail["notes"] = [*detail.get("notes", ()), *self._checks.notes, *heard]
        return msgspec.structs.replace(facts, detail=detail)

    def _note_allowed(self, config: ConfigView) -> None:
        """Since when each LUN is allow-listed; what was so at the start has been for long."""
        allowed = allow_list(config.model)
        now = time.time() if self.polled.is_set() else 0.0
        self._allowed_since = {wwid: self._allowed_since.get(wwid, now) for wwid in allowed}

    def _acceptances(self, config: ConfigView) -> dict[str, Acceptance]:
        prefix = f"ack/{self._name}/"
        return {
            key.removeprefix(prefix): acceptance_of(options, dot) for key, (dot, options) in config.acks.items() if key.startswith(prefix)
        }
