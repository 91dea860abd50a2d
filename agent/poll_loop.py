"""The loop that reports this host's health."""

import asyncio
import time
from collections.abc import Callable

import msgspec
import structlog

from agent.config_view import ConfigView
from agent.peer_sizes import PeerSizes
from agent.picture import Picture
from agent.reach import Reach, Steady, look, reach_cell
from agent.woken import woken
from apply.collect import Context, HealthCollector, acceptance_of
from apply.expected import Acceptance
from apply.multipathd import MultipathdClient
from apply.outcome import ApplyOutcome
from apply.render import allow_list
from apply.sysfs import Sysfs
from gossip.engine import Engine
from gossip.runner import Runner, boottime_ms
from store import level
from store.cells import MULTIPATH_MAP, NODE_FACTS, Cell
from store.errors import PathmeshError
from store.records import Records

NOT_COLLECTED = "not-collected"

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
    ) -> None:
        """`interval` in seconds. `outcome()` is what apply last did; `daemon_moved()` is called when the daemon came, went or changed."""
        self.collector = HealthCollector(client, records, self._context, devices=devices)
        self.polled = asyncio.Event()
        """Whether this host was looked at since the start."""
        self._name = name
        self._picture = picture
        self._engine = engine
        self._interval = interval
        self._outcome = outcome
        self._daemon_moved = daemon_moved
        self._runner: Runner | None = None
        self._cells: list[Cell] = []
        self._now = asyncio.Event()
        self._steady = Steady()
        self._peer_sizes = PeerSizes()
        self._allowed_since: dict[str, float] = {}

    def attach(self, runner: Runner) -> None:
        """Give it the runner that the health goes to."""
        self._runner = runner

    def wake(self) -> None:
        """Look at once."""
        self._now.set()

    @property
    def reach(self) -> Reach:
        """Whom this node does not hear or reach, as it is told to others."""
        return self._steady.reach

    async def run(self) -> None:
        """Poll until cancelled."""
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
        try:
            self._cells = await self.collector.poll()
        except Exception as fault:  # the host's files and answers are not in our hands; the loop must go on whatever they hold
            log.error("health not collected", why=str(fault), exc_info=not isinstance(fault, PathmeshError))
            self._cells = [_not_collected(cell) for cell in self._cells]
        self._runner.observe([*map(_with_level, self._cells), self._reach_cell()])

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
            peer_sizes=self._peer_sizes.look(self._engine.exchange.streams, self._name),
        )

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


def _with_level(cell: Cell) -> Cell:
    """The node's facts with the feature level that this version speaks."""
    return cell if cell.kind != NODE_FACTS else msgspec.structs.replace(cell, detail={**cell.detail, "level": level.LEVEL})


def _not_collected(cell: Cell) -> Cell:
    """What is left of a cell when this node cannot look: nobody knows, and what it said last stands beside it."""
    if cell.kind != MULTIPATH_MAP or cell.reasons == (NOT_COLLECTED,):
        return cell
    last = {"state": cell.state, "reasons": list(cell.reasons)}
    return msgspec.structs.replace(cell, state="unknown", reasons=(NOT_COLLECTED,), detail=cell.detail | {"last": last})
