"""The socket client, against well-behaved and hostile servers."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from apply.multipathd import (
    MAX_COMMAND_BYTES,
    MAX_REPLY_BYTES,
    QUEUE_FULL_SECONDS,
    CommandFailed,
    DaemonDown,
    DaemonGarbage,
    DaemonTimeout,
    MultipathdClient,
    MultipathdError,
    NotInstalled,
    PermissionDenied,
    socket_address,
)
from store.errors import UsageError

pytestmark = pytest.mark.anyio

Behaviour = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(body: bytes) -> bytes:
    return struct.pack("@N", len(body)) + body


@asynccontextmanager
async def server(path: Path, behave: Behaviour) -> AsyncIterator[list[bytes]]:
    """A server that reads whole requests, keeps them, and then behaves."""
    requests: list[bytes] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (length,) = struct.unpack("@N", await reader.readexactly(8))
            requests.append(await reader.readexactly(length))
            await behave(requests[-1], reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listener = await asyncio.start_unix_server(accept, path)
    try:
        yield requests
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def sends(data: bytes) -> Behaviour:
    async def behave(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return behave


async def hangs(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def drips(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in frame(b"pid 1 idle\n\0"):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


def client(tmp_path: Path, *, installed: bool = True, timeout: float = 2.0) -> MultipathdClient:
    program = tmp_path / "multipathd"
    if installed:
        program.touch()
    return MultipathdClient(str(tmp_path / "sock"), program, timeout)


async def test_asks_in_the_daemons_frames(tmp_path: Path) -> None:
    async with server(tmp_path / "sock", sends(frame(b"pid 7 idle\n\0"))) as requests:
        assert await client(tmp_path).ask("show daemon") == "pid 7 idle\n"
    assert requests == [b"show daemon\0"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"no NUL at the end", "no NUL at the end"),
        (b"before\0after\0", "before"),
        (b"caf\xe9 \xff\0", "caf\ufffd \ufffd"),
        ("Ärray™\0".encode(), "Ärray™"),
        (b"\0", ""),
    ],
)
async def test_odd_bodies_are_read(tmp_path: Path, body: bytes, text: str) -> None:
    async with server(tmp_path / "sock", sends(frame(body))):
        assert await client(tmp_path).ask("show maps json") == text


async def test_a_long_answer_is_read_whole(tmp_path: Path) -> None:
    body = b"x" * (3 * 1024 * 1024) + b"\0"
    async with server(tmp_path / "sock", sends(frame(body))):
        assert len(await client(tmp_path, timeout=10).ask("show maps json")) == len(body) - 1


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("@N", 0),
        struct.pack("@N", MAX_REPLY_BYTES + 1) + b"x",
        struct.pack("@N", 2**63) + b"x",
        b"\xff" * 8,
        b"multipathd> list maps json\n",
        struct.pack("@N", 100) + b"too short",
        b"abc",
        b"",
    ],
)
async def test_broken_answers_are_garbage(tmp_path: Path, data: bytes) -> None:
    async with server(tmp_path / "sock", sends(data)):
        with pytest.raises(DaemonGarbage) as caught:
            await client(tmp_path).ask("show daemon")
    assert caught.value.code == "daemon-garbage"


@pytest.mark.parametrize("behave", [hangs, drips])
async def test_no_answer_in_time_is_asked_twice(tmp_path: Path, behave: Behaviour) -> None:
    async with server(tmp_path / "sock", behave) as requests:
        with pytest.raises(DaemonTimeout, match="show daemon"):
            await client(tmp_path, timeout=0.15).ask("show daemon")
    assert len(requests) == 2


async def test_the_second_try_may_succeed(tmp_path: Path) -> None:
    calls = 0

    async def behave(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await sends(frame(b"timeout\n\0" if calls == 1 else b"ok\n\0"))(b"", reader, writer)

    async with server(tmp_path / "sock", behave):
        assert await client(tmp_path).ask("reconfigure") == "ok\n"
    assert calls == 2


@pytest.mark.parametrize(
    ("word", "error", "tries"),
    [
        (b"timeout\n\0", DaemonTimeout, 2),
        (b"fail\ntimeout\n\0", DaemonTimeout, 2),
        (b"fail\n\0", CommandFailed, 1),
        (b"permission deny: need to be root\n\0", PermissionDenied, 1),
    ],
)
async def test_the_daemons_words_become_errors(tmp_path: Path, word: bytes, error: type[MultipathdError], tries: int) -> None:
    async with server(tmp_path / "sock", sends(frame(word))) as requests:
        with pytest.raises(error):
            await client(tmp_path).ask("reconfigure")
    assert len(requests) == tries


async def test_absent_program_and_socket_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(NotInstalled) as caught:
        await client(tmp_path, installed=False).ask("show daemon")
    assert (caught.value.code, caught.value.hint) == ("not-installed", "apt install multipath-tools")


async def test_a_program_without_a_listening_socket_is_down(tmp_path: Path) -> None:
    with pytest.raises(DaemonDown):
        await client(tmp_path).ask("show daemon")
    (tmp_path / "sock").touch()
    with pytest.raises(DaemonDown):
        await client(tmp_path).ask("show daemon")


async def test_commands_that_the_daemon_would_drop_are_not_sent(tmp_path: Path) -> None:
    async with server(tmp_path / "sock", sends(frame(b"ok\n\0"))) as requests:
        for command in ("x" * (MAX_COMMAND_BYTES + 1), "show\0daemon"):
            with pytest.raises(UsageError):
                await client(tmp_path).ask(command)
        assert await client(tmp_path).ask("x" * MAX_COMMAND_BYTES) == "ok\n"
    assert len(requests) == 1


async def test_abstract_sockets(tmp_path: Path) -> None:
    name = f"@pathmesh-test-{tmp_path.name}"
    assert socket_address("/run/x") == "/run/x"
    with pytest.raises(DaemonDown):
        program = tmp_path / "multipathd"
        program.touch()
        await MultipathdClient(name, program).ask("show daemon")


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_abstract_socket_is_asked_on_every_loop_even_when_its_queue_is_full(tmp_path: Path, loop: Callable[[], Any]) -> None:
    name = f"pathmesh-test-{tmp_path.name}-{loop.__module__}"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as refused:
        listener.bind(f"\0{name}")
        listener.listen(0)
        first.connect(f"\0{name}")
        refused.setblocking(False)
        with pytest.raises(BlockingIOError):
            refused.connect(f"\0{name}")

        async def ask() -> str:
            return await MultipathdClient(f"@{name}", tmp_path / "multipathd").ask("show daemon")

        def serve() -> None:
            time.sleep(3 * QUEUE_FULL_SECONDS)
            listener.accept()[0].close()
            with listener.accept()[0] as connection:
                connection.recv(64)
                connection.sendall(frame(b"pid 1 idle\n\0"))

        thread = threading.Thread(target=serve)
        thread.start()
        with asyncio.Runner(loop_factory=loop) as runner:
            assert runner.run(ask()) == "pid 1 idle\n"
        thread.join()


async def test_no_connection_is_left_open(tmp_path: Path) -> None:
    open_now: set[int] = set()

    async def behave(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = id(writer)
        open_now.add(key)
        writer.write(frame(b"ok\n\0"))
        await writer.drain()
        await reader.read()
        open_now.discard(key)

    async with server(tmp_path / "sock", behave):
        for _ in range(50):
            assert await client(tmp_path).ask("show daemon") == "ok\n"
        async with asyncio.timeout(5):
            while open_now:
                await asyncio.sleep(0.01)
