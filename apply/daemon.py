"""multipathd as a reconcile deals with it: read what is in effect, have it read its files again, wait until that is done."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from apply.confsyntax import parse
from apply.facts import Asks
from apply.live import Live
from apply.multipathd import CommandFailed, DaemonGarbage, DaemonTimeout
from apply.topology import PATHS_COMMAND, parse_paths
from apply.topology import parse as parse_maps
from store.errors import UnavailableError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing:
    """How long to wait for multipathd, in seconds."""

    reconfigure: float = 60.0
    """For being idle again: rediscovering thousands of paths takes long. After it the apply is pending, not failed."""
    settle: float = 10.0
    """For maps to appear and to be renamed once the daemon is idle, before what is wrong counts as wrong."""
    poll: float = 0.05
    """Before the second question; each wait doubles, up to 1 s."""


class ReconfigurePending(UnavailableError):
    """multipathd is still reading its files, or was too busy to be told."""

    def __init__(self, message: str) -> None:
        hint = "LUNs that do not answer hold it up: look for paths in `i/o pending`; it goes on by itself"
        super().__init__(message, code="reconfigure-pending", hint=hint)


class ReconfigureFailed(UnavailableError):
    """multipathd refused to read its files again, or did not do what they say."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="reconfigure-failed", hint="journalctl -u multipathd says why")


class Daemon:
    """One multipathd."""

    def __init__(self, client: Asks, timing: Timing, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._client = client
        self._timing = timing
        self._sleep = sleep

    async def read(self) -> Live:
        """Everything that a reconcile needs to know. Raises MultipathdError; a list of maps that was cut is garbage."""
        pid = re.match(r"pid ([0-9]+)", await self._client.ask("show daemon"))
        config = parse(await self._client.ask("show config local"))
        if pid is None or not config.blocks:
            raise DaemonGarbage("multipathd's answer to `show daemon` or `show config local` makes no sense")
        topology = parse_maps(await self._client.ask("show maps json"))
        if not topology.complete or topology.unreadable:
            raise DaemonGarbage(f"multipathd's list of maps cannot be read whole: {'; '.join(topology.issues[:3])}")
        return Live(int(pid[1]), config, topology, parse_paths(await self._client.ask(PATHS_COMMAND)))

    async def tell(self) -> None:
        """Have it read its files again; it does so after its answer. Raises MultipathdError, ReconfigurePending or ReconfigureFailed."""
        try:
            await self._client.ask("reconfigure")
        except DaemonTimeout as error:
            raise ReconfigurePending(f"multipathd could not be told to read its files: {error.message}") from error
        except CommandFailed as error:
            raise ReconfigureFailed(error.message) from error

    async def idle(self) -> None:
        """Wait until it is idle. That may be the idleness before it began, so what counts is what is read back afterwards."""
        for pause in self._pauses(self._timing.reconfigure):
            try:
                answer = await self._client.ask("show daemon")
                if "idle" in answer and "pending" not in answer:
                    return
            except DaemonTimeout:
                pass
            await self._sleep(pause)
        raise ReconfigurePending(f"multipathd has been reading its files for more than {self._timing.reconfigure:g} s")

    async def settled(self, look: Callable[[Live], Result], right: Callable[[Result], bool], *, patience: float = 1.0) -> Result:
        """Read until `look` finds what is `right`, or the time to settle (times `patience`) is over; returns the last finding."""
        result = look(await self.read())
        for pause in self._pauses(self._timing.settle * patience):
            if right(result):
                break
            await self._sleep(pause)
            result = look(await self.read())
        return result

    def _pauses(self, seconds: float) -> Iterator[float]:
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        pause = self._timing.poll
        while (left := deadline - clock()) > 0:
            yield min(pause, left)
            pause = min(1.0, pause * 2)
