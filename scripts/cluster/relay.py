"""A TCP relay that stands between a node's advertised and its listening address, so that connections can be cut from outside."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

Admits = Callable[[int], bool]
"""Whether a connection from this local port may pass (the port tells which process it is)."""


def process_of_port(port: int, pids: list[int]) -> int | None:
    """Which of the processes owns the loopback connection whose own port is `port` (proc(5): net/tcp and fd)."""
    inode = None
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and int(fields[2].rpartition(":")[2], 16) != 0:
            inode = fields[9]
            break
    if inode is None:
        return None
    for pid in pids:
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as found:
            for fd in found:
                with contextlib.suppress(OSError):
                    if Path(fd.path).readlink().name == f"socket:[{inode}]":
                        return pid
    return None


class Relays:
    """All relays of a cluster on one thread. `start` and `judge` may be called from any other thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._open: dict[tuple[int, asyncio.Task[None]], int] = {}
        self._admits: Callable[[int, int], bool] = lambda _source, _target: True
        self.carried = 0
        """Bytes that went through all relays, both ways."""

    def start(self, listen: int, target: int) -> None:
        """Relay from one loopback port to another."""
        asyncio.run_coroutine_threadsafe(self._listen(listen, target), self._loop).result(5)

    def judge(self, admits: Callable[[int, int], bool]) -> None:
        """From now on let pass only connections for which `admits(source port, listening port)` is true; others are cut at once."""
        asyncio.run_coroutine_threadsafe(self._judge(admits), self._loop).result(5)

    def stop(self) -> None:
        """Cut everything."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        await self._judge(lambda _source, _target: False)
        await asyncio.gather(*(task for _, task in self._open), return_exceptions=True)

    async def _judge(self, admits: Callable[[int, int], bool]) -> None:
        self._admits = admits
        for (listen, task), source in list(self._open.items()):
            if not admits(source, listen):
                task.cancel()

    async def _listen(self, listen: int, target: int) -> None:
        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            source = writer.get_extra_info("peername")[1]
            task = asyncio.current_task()
            assert task is not None
            self._open[(listen, task)] = source
            try:
                if self._admits(source, listen):
                    there, back = await asyncio.open_connection("127.0.0.1", target)
                    try:
                        async with asyncio.TaskGroup() as group:
                            group.create_task(self._pump(reader, back))
                            group.create_task(self._pump(there, writer))
                    finally:
                        back.close()
            except (OSError, asyncio.CancelledError, ExceptionGroup):
                pass
            finally:
                del self._open[(listen, task)]
                writer.close()

        self._servers.append(await asyncio.start_server(relay, "127.0.0.1", listen))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.carried += len(data)
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("one side closed")
