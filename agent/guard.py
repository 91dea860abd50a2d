"""The guard file: what a node remembers of itself beside its database, so that an older or lost database is noticed.

Theory of operation. A dot must never be used for two edits, and a database can go back in time: restored from a backup, rolled back with
a disk, deleted, damaged. So what must never go back is written to a second file first: who this node is, its boot epoch, and bounds on the
counter of its own edits. `ceiling` is moved on in blocks, durably, before the commit that needs it; `least` is what was durable then. At
a clean stop both are exact. At the next start the database's own numbers must lie within; if not, it is not the newest one. Nor is it if it
lacks edits that this host has had in effect: their clock is here too, because a database that goes back would take its own copy along.

What both together cannot show (a whole state directory that was restored) the peers show.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import msgspec
import structlog

from agent.birth import Birth
from store.clocks import ACTOR_BYTES, Vector, dominates, join, meet
from store.errors import PathmeshError, UnavailableError
from store.members import Member

FILE_NAME = "guard"
BLOCK = 64
"""How many own edits one write of the file makes room for: lower finds older copies sooner, higher costs fewer syncs."""
_KIND = "pathmesh-guard-1"
_MAX_BYTES = 8 * 1024 * 1024
_Actor = Annotated[bytes, msgspec.Meta(min_length=ACTOR_BYTES, max_length=ACTOR_BYTES)]

log = structlog.get_logger("guard")


class Guard(msgspec.Struct, frozen=True):
    """What the file holds.

    `epoch` is that of the last start. `least` and `ceiling` bound the counter of the edits under the identity's actor: that many were
    durable, and none beyond was ever made. `members` are the active members, this node among them. `restored`: the database was found to
    be older than this node was, and it has not caught up with its peers since. `applied` is the clock of the configuration that this host
    last had in effect.
    """

    birth: Birth
    epoch: int = 0
    least: int = 0
    ceiling: int = 0
    members: tuple[Member, ...] = ()
    restored: bool = False
    applied: dict[_Actor, int] = {}

    @property
    def others(self) -> tuple[Member, ...]:
        """The active members but this node."""
        return tuple(member for member in self.members if member.name != self.birth.name)

    def fits(self, epoch: int, clock: Vector) -> bool:
        """Whether a database with this boot epoch and this clock can be the newest that this node had, or is no older than was found."""
        own = clock.get(self.birth.actor, 0)
        bounds = epoch >= self.epoch and self.least <= own <= self.ceiling
        return bounds and (self.restored or dominates(clock, self.applied))


class GuardDamaged(Exception):
    """The file is there and is no guard file of this version; the text says why."""


def encode_guard(guard: Guard) -> bytes:
    """The bytes of the file: a name with its version, the content, and its SHA-256."""
    body = msgspec.msgpack.encode(guard)
    return msgspec.msgpack.encode((_KIND, body, hashlib.sha256(body).digest()))


def decode_guard(data: bytes) -> Guard:
    """Read `encode_guard`'s bytes; GuardDamaged for anything else."""
    try:
        kind, body, checksum = msgspec.msgpack.decode(data, type=tuple[str, bytes, bytes])
        if kind != _KIND:
            raise GuardDamaged(f"a file of another kind or version: {kind[:40]!r}")
        if hashlib.sha256(body).digest() != checksum:
            raise GuardDamaged("its checksum is wrong")
        return msgspec.msgpack.decode(body, type=Guard)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as fault:
        raise GuardDamaged(str(fault)) from None


def read_guard(state_dir: Path) -> Guard | None:
    """The guard in this directory; None if there is none. GuardDamaged if it cannot be used, UnavailableError if it cannot be read."""
    path = state_dir / FILE_NAME
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise UnavailableError(f"{path}: cannot be read: {fault.strerror}", code="guard-unreadable", hint="check its owner") from None
    return decode_guard(data)


def write_guard(state_dir: Path, guard: Guard) -> None:
    """Put the guard in place whole (mode 0600); on the disk when it returns. UnavailableError if not, and then the former one stands."""
    path = state_dir / FILE_NAME
    temporary = path.with_name(f".{FILE_NAME}.tmp")
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(encode_guard(guard))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        directory = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as fault:
        raise UnavailableError(
            f"{path}: cannot be written: {fault.strerror}",
            code="guard-not-written",
            hint="check the disk's space and the directory's owner",
        ) from None


class Keeper:
    """Keeps the file of a running node ahead of its database. Its methods may raise UnavailableError; then nothing was written."""

    def __init__(self, state_dir: Path, guard: Guard) -> None:
        self.guard = guard
        self._followed = guard.members
        self._settled: Vector | None = None
        self._state_dir = state_dir
        self._lock = asyncio.Lock()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="guard")
        self._writing: asyncio.Task[None] | None = None

    async def reserve(self, last: int, durable: int = 0) -> None:
        """Before own edits up to the counter `last` are committed: make room for them. That `durable` ones are, is known."""
        if last > self.guard.ceiling:
            async with self._lock:
                if last > self.guard.ceiling:
                    await self._write(least=max(durable, self.guard.least), ceiling=last + BLOCK - 1)

    async def set_epoch(self, epoch: int) -> None:
        """After the epoch is durable in the database."""
        await self._change(epoch=epoch)

    async def applied(self, clock: Vector) -> None:
        """The configuration of this clock is in effect on this host."""
        if not dominates(self.guard.applied, clock):
            async with self._lock:
                await self._write(applied=join(self.guard.applied, clock))

    async def lower(self, clock: Vector) -> None:
        """Nobody waits any more for what was in effect and this clock has not."""
        if not dominates(clock, self.guard.applied):
            async with self._lock:
                await self._write(applied=meet(self.guard.applied, clock))

    def settled(self, clock: Vector, known: Callable[[bytes], bool]) -> None:
        """This node has this clock and has caught up with all members: what its database lacked it has now, or nobody has it.

        Unless a member that this file remembers was never admitted as far as is `known(actor)` now: then that one may have more, and
        this node goes on waiting. Written soon, in the background.
        """
        if self.guard.restored and all(known(member.actor) for member in self.guard.others):
            self._settled = dict(clock)
            self._write_soon()

    async def give_up(self, clock: Vector) -> None:
        """Somebody says that what this clock has not is lost: this node waits for nobody any more."""
        if self.guard.restored or not dominates(clock, self.guard.applied):
            async with self._lock:
                await self._write(**self._settle(clock))

    def follow(self, members: Iterable[Member]) -> None:
        """Take over the active members, soon and in the background: they are a help for a recovery, not a promise.

        An older database may know fewer than the guard does; until it has caught up the guard's word stands.
        """
        found = tuple(members)
        if found and (not self.guard.restored or self._settled is not None):
            self._followed = found
            self._write_soon()

    async def close(self, counter: int) -> None:
        """A clean stop: the counter is exact from now on."""
        if self._writing is not None:
            await self._writing
        try:
            if (self.guard.least, self.guard.ceiling) != (counter, counter):
                await self._change(least=counter, ceiling=counter)
        except PathmeshError as fault:
            log.warning("guard not written", why=fault.message)
        finally:
            self._executor.shutdown()

    def _write_soon(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._catch_up())

    async def _catch_up(self) -> None:
        try:
            while self._followed != self.guard.members or self._settled is not None:
                async with self._lock:
                    changes: dict[str, object] = {"members": self._followed}
                    settled = self._settled
                    if settled is not None:
                        changes |= self._settle(settled)
                    await self._write(**changes)
                    if self._settled is settled:  # not before it is written: else a full disk would make it forget
                        self._settled = None
        except PathmeshError as fault:
            log.warning("guard not written", why=fault.message)
        finally:
            self._writing = None

    def _settle(self, clock: Vector) -> dict[str, object]:
        least = clock.get(self.guard.birth.actor, 0)
        return {
            "restored": False,
            "least": least,
            "ceiling": max(least, self.guard.ceiling),
            "applied": meet(self.guard.applied, clock),
        }

    async def _change(self, **changes: object) -> None:
        async with self._lock:
            await self._write(**changes)

    async def _write(self, **changes: object) -> None:
        guard = msgspec.structs.replace(self.guard, **changes)
        await asyncio.get_running_loop().run_in_executor(self._executor, write_guard, self._state_dir, guard)
        self.guard = guard
