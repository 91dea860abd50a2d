"""The way out of the cluster: this node says that it leaves, makes sure that somebody has heard it, and takes no part any more."""

import asyncio
import time
from typing import Any

import msgspec
import structlog

from agent.host import Host
from agent.writes import Writer
from gossip.engine import Engine
from gossip.events import Publish
from gossip.runner import Runner
from store.clocks import Dot, covers
from store.database import Database
from store.errors import PathmeshError, UnavailableError
from store.members import MEMBER_PREFIX, MemberState, Role, member_value

META = "departed"
"""The fact in the database that others know of this node's leaving, so that it need not tell anybody after a restart."""
LOOK_SECONDS = 0.1

log = structlog.get_logger("departure")


class Departure:
    """Watches for this node's own leaving, whoever asked for it."""

    def __init__(self, engine: Engine, runner: Runner, writer: Writer, host: Host, database: Database, *, done: bool) -> None:
        """`done`: others knew of it before this start."""
        self._engine = engine
        self._runner = runner
        self._writer = writer
        self._host = host
        self._database = database
        self._one_at_a_time = asyncio.Lock()
        self._begun = asyncio.Event()
        self._told = asyncio.Event()
        if done and self.left:
            self._told.set()
            self._runner.withdraw()
        elif self.left:
            self._begun.set()

    @property
    def left(self) -> bool:
        """Whether this node has left the cluster."""
        member = self._engine.member
        return member is not None and member.state is MemberState.LEFT

    def news(self, change: Publish) -> None:
        """Take note of an own registration that changed."""
        if MEMBER_PREFIX + self._engine.identity.name in change.keys and self.left:
            self._begun.set()

    async def run(self) -> None:
        """Once this node has left and another one knows, end all connections. Until cancelled."""
        await self._begun.wait()
        while not self._told.is_set():
            if self.known_by() or not self._others():
                try:
                    await self._database.put_meta({META: b"1"})
                except PathmeshError as fault:  # it tells them again after a restart: no harm
                    log.warning("departure not noted", why=fault.message)
                self._runner.withdraw()
                self._told.set()
            else:
                await asyncio.sleep(LOOK_SECONDS)

    def known_by(self) -> list[str]:
        """The members that have the edit with which this node left."""
        winner = self._engine.replica.fold.winner(MEMBER_PREFIX + self._engine.identity.name)
        return [name for name in self._others() if winner is not None and self._has(name, winner.dot)]

    def _has(self, name: str, dot: Dot) -> bool:
        clock = self._engine.clock_of(name)
        return clock is not None and covers(clock, dot)

    def _others(self) -> list[str]:
        return [member.name for member in self._engine.replica.registry.active if member.name != self._engine.identity.name]

    async def leave(self, *, purge: bool, wait_seconds: float, reason: str, dry_run: bool = False) -> dict[str, Any]:
        """Leave, and wait until another member knows. With `purge` what apply wrote goes from this host first.

        UnavailableError `leave-unheard` if nobody has heard of it in time: it has left even so, and goes on telling. To be asked again.
        """
        async with self._one_at_a_time:
            member, name = self._engine.member, self._engine.identity.name
            if member is None:
                raise UnavailableError("this node is no member yet: nothing to leave", code="joining", hint="try again shortly")
            if member.state is MemberState.RETIRED:
                raise PathmeshError("this node was retired from the cluster", code="retired", hint="stop its agent")
            warnings = self._warnings()
            if dry_run:
                return {"left": name, "known_by": [], "purged": None, "warnings": warnings, "dry_run": True}
            outcome = await self._host.purge() if purge else None
            if not self.left:
                value = member_value(msgspec.structs.replace(member, state=MemberState.LEFT))
                try:
                    await self._writer.record({MEMBER_PREFIX + name: value}, reason=reason or f"{name} left")
                except PathmeshError:
                    if purge:
                        await self._host.keep()
                    raise
            await self._until_told(wait_seconds)
            return {"left": name, "known_by": self.known_by(), "purged": outcome, "warnings": warnings, "dry_run": False}

    async def _until_told(self, seconds: float) -> None:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await self._told.wait()
        except TimeoutError:
            raise UnavailableError(
                f"this node has left, but no other member has heard of it within {time.monotonic() - begun:.0f} s",
                code="leave-unheard",
                hint="leave its agent running, it goes on telling; or on another node: "
                f"pathmesh member retire {self._engine.identity.name}",
            ) from None

    def _warnings(self) -> list[str]:
        """What the others will lack without this node."""
        registry, name = self._engine.replica.registry, self._engine.identity.name
        if not self._others():
            return ["this is the only member: the cluster ends with it"]
        if not any(m.role is Role.ADMIN and m.name != name for m in registry.active):
            return ["this is the only admin: without it nobody can ever join the cluster or be retired from it"]
        return []
