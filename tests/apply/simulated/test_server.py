"""The simulated daemon over a real socket: frames, limits, permissions, and what its start and stop leave behind."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from apply.simulated import server
from apply.simulated.server import MAX_COMMAND_BYTES, PROGRAM, peer_uid, serve
from store.errors import UnavailableError, UsageError

pytestmark = pytest.mark.anyio

W1 = "35000c500a0b00001"


class Client:
    """The wire protocol in a few lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def reply(self) -> str:
        size = struct.unpack("@N", await asyncio.wait_for(self.reader.readexactly(8), 10))[0]
        body = await asyncio.wait_for(self.reader.readexactly(size), 10)
        assert body.endswith(b"\0")
        return body[:-1].decode()

    async def ask(self, command: str) -> str:
        await self.send(frame(command.encode() + b"\0"))
        return await self.reply()

    async def closed(self) -> bool:
        """Whether the server hangs up without a word."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10) == b""
        except ConnectionResetError:
            return True


def frame(body: bytes) -> bytes:
    return struct.pack("@N", len(body)) + body


@asynccontextmanager
async def connection(address: str) -> AsyncIterator[Client]:
    name = f"\0{address[1:]}" if address.startswith("@") else address
    reader, writer = await asyncio.open_unix_connection(name)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def running(host: Any, address: str, program: Path | None = None, uid: int = 0) -> AsyncIterator[str]:
    ready = asyncio.Event()
    work = serve(address, host.etc, host.lun_file, program, ready=ready.set, uid_of=lambda _: uid)
    task = asyncio.create_task(work)
    waiter = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    waiter.cancel()
    try:
        if task.done():
            task.result()
        assert ready.is_set()
        yield address
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
def address(host: Any, lun: Callable[..., dict[str, Any]], tmp_path: Path) -> str:
    """Where the server of a host with one allowed LUN is to listen."""
    host.write_luns(lun(W1, "sda", "sdb"))
    host.allow([W1])
    return str(tmp_path / "multipathd.socket")


async def test_several_commands_on_one_connection(host: Any, address: str) -> None:
    async with running(host, address), connection(address) as client:
        assert await client.ask("show daemon") == f"pid {os.getpid()} idle\n"
        assert await client.ask("show maps raw format %w") == f"{W1}\n"
        assert (await client.ask("bogus")).startswith("bogus: not found\n")
        assert await client.ask("show daemon") == f"pid {os.getpid()} idle\n"


async def test_an_abstract_socket(host: Any, address: str) -> None:
    name = f"@pathmesh-test-{os.getpid()}-{id(host)}"
    async with running(host, name), connection(name) as client:
        assert (await client.ask("show daemon")).endswith("idle\n")


async def test_bytes_may_come_one_by_one_and_commands_in_one_piece(host: Any, address: str) -> None:
    async with running(host, address), connection(address) as client:
        await client.send(*(bytes([b]) for b in frame(b"show daemon\0")))
        assert (await client.reply()).endswith("idle\n")
        await client.send(frame(b"show daemon\0") + frame(b"show status\0") + frame(b"show maps raw format %N\0"))
        assert [(await client.reply()).split()[0] for _ in range(3)] == ["pid", "path", "2"]


async def test_the_closing_nul_may_be_left_out_and_ends_the_command(host: Any, address: str) -> None:
    async with running(host, address), connection(address) as client:
        await client.send(frame(b"show daemon"))
        assert (await client.reply()).endswith("idle\n")
        await client.send(frame(b"show daemon\0 and more"))
        assert (await client.reply()).endswith("idle\n")


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("@N", 0),
        struct.pack("@N", 1 << 20),
        struct.pack("@N", MAX_COMMAND_BYTES + 1),
        struct.pack(">Q", 12) + b"show daemon\0",
        struct.pack("<I", 12) + b"show daemon\0",
        b"show daemon\n",
        frame(b"show maps raw format " + b"%n" * 1500),
    ],
)
async def test_a_bad_length_closes_the_connection_in_silence(host: Any, address: str, sent: bytes) -> None:
    async with running(host, address):
        async with connection(address) as client:
            await client.send(sent)
            assert await client.closed()
        async with connection(address) as client:
            assert (await client.ask("show daemon")).endswith("idle\n")


async def test_the_longest_command_is_taken(host: Any, address: str) -> None:
    command = "show maps raw format " + "%N" * 245
    async with running(host, address), connection(address) as client:
        assert len(command) + 1 == MAX_COMMAND_BYTES
        assert await client.ask(command) == "2" * 245 + "\n"


@pytest.mark.parametrize("sent", [frame(b"show daemon\0")[:3], frame(b"show daemon\0")[:8], frame(b"show daemon\0")[:12]])
async def test_an_unfinished_request_times_out(host: Any, address: str, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.REQUEST_SECONDS == 4.0
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.05)
    async with running(host, address), connection(address) as client:
        await client.send(sent)
        assert await client.reply() == "timeout\n"
        assert await client.closed()


async def test_an_idle_connection_does_not_time_out(host: Any, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.02)
    async with running(host, address), connection(address) as idle:
        async with connection(address) as busy:
            await busy.send(frame(b"show daemon\0")[:8])
            assert await busy.reply() == "timeout\n"
        assert (await idle.ask("show daemon")).endswith("idle\n")


async def test_a_client_that_takes_no_reply_is_dropped_and_others_are_served(
    host: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)
    async with running(host, address):
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(address)
        deaf.setblocking(False)
        dropped = False
        for _ in range(2000):
            try:
                deaf.send(frame(b"show config\0"))
            except BlockingIOError:
                await asyncio.sleep(0.01)  # its buffers are full: wait for the server's patience to end
            except OSError:
                dropped = True
                break
            async with connection(address) as client:
                assert (await client.ask("show daemon")).endswith("idle\n")
        deaf.close()
    assert dropped


async def test_reconfigure_is_asynchronous_and_shared(host: Any, address: str) -> None:
    async with running(host, address), connection(address) as client:
        host.conf(f"multipaths {{\nmultipath {{\nwwid {W1}\nalias data01\n}}\n}}\n")
        await client.send(frame(b"reconfigure\0") * 5 + frame(b"show daemon\0") + frame(b"show maps raw format %n\0"))
        assert [await client.reply() for _ in range(5)] == ["ok\n"] * 5
        assert (await client.reply()).endswith(" configure\n")
        assert await client.reply() == f"{W1}\n"
        async with asyncio.timeout(10):
            while not (await client.ask("show daemon")).endswith(" idle\n"):
                pass
        assert await client.ask("show maps raw format %n|%2") == "data01|1\n"


async def test_permission_is_by_the_peer(host: Any, address: str) -> None:
    async with running(host, address, uid=65534), connection(address) as client:
        assert (await client.ask("show maps json")).startswith('{\n   "major_version": 0,\n')
        assert await client.ask("reconfigure") == "permission deny: need to be root\n"


def test_the_peers_uid_comes_from_the_kernel() -> None:
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        assert peer_uid(left) == os.getuid()


async def test_anybody_may_connect(host: Any, address: str) -> None:
    async with running(host, address):
        assert Path(address).stat().st_mode & 0o777 == 0o666


async def test_countdowns_run_on_the_clock_that_is_given(host: Any, address: str) -> None:
    host.conf("defaults {\n no_path_retry 3\n polling_interval 5\n}\n")
    ready = asyncio.Event()
    task = asyncio.create_task(serve(address, host.etc, host.lun_file, None, ready=ready.set, clock=lambda: host.now))
    await asyncio.wait_for(ready.wait(), 10)
    async with connection(address) as client:
        await client.ask("fail path sda")
        await client.ask("fail path sdb")
        assert await client.ask("show maps raw format %Q") == "16 sec\n"
        host.now += 16
        assert await client.ask("show maps raw format %Q") == "off\n"
    task.cancel()
    await asyncio.wait({task})


async def test_the_program_and_the_socket_are_there_while_it_runs(host: Any, address: str, tmp_path: Path) -> None:
    program = tmp_path / "multipathd"
    async with running(host, address, program), connection(address) as client:
        assert os.access(program, os.X_OK)
        assert Path(address).is_socket()
        await client.ask("show daemon")
    assert not program.exists()
    assert not Path(address).exists()


async def test_what_a_kill_left_behind_is_taken_over(host: Any, address: str, tmp_path: Path) -> None:
    program = tmp_path / "multipathd"
    program.write_text(PROGRAM)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(address)
    async with running(host, address, program), connection(address) as client:
        assert (await client.ask("show daemon")).endswith("idle\n")
    assert not program.exists()


async def test_a_second_daemon_is_refused_and_the_first_goes_on(host: Any, address: str) -> None:
    for name in (address, f"@pathmesh-test-{os.getpid()}-{id(host)}"):
        async with running(host, name):
            with pytest.raises(UnavailableError) as caught:
                async with running(host, name):
                    pass
            assert caught.value.message == f"{name}: another daemon listens there"
            async with connection(name) as client:
                assert (await client.ask("show daemon")).endswith("idle\n")


async def test_files_of_others_are_left_alone(host: Any, address: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("#!/bin/sh\n")
    for arguments in ({"address": address, "program": theirs}, {"address": str(theirs)}):
        with pytest.raises(UnavailableError, match="theirs: exists and is n"):
            async with running(host, **arguments):
                pass
    assert theirs.read_text() == "#!/bin/sh\n"
    assert not Path(address).exists()


async def test_a_bad_start_is_named(host: Any, address: str, tmp_path: Path) -> None:
    host.lun_file.write_text("[[lun]]\n")
    with pytest.raises(UsageError, match=r"luns\.toml: lun\[0\]\.wwid: is missing"):
        await serve(address, host.etc, host.lun_file, None)
    with pytest.raises(UnavailableError, match="nowhere: No such file or directory"):
        host.write_luns()
        await serve(address, tmp_path / "nowhere", host.lun_file, None)
    with pytest.raises(UnavailableError, match="nowhere/s: No such file or directory"):
        await serve(str(tmp_path / "nowhere" / "s"), host.etc, host.lun_file, None)
    with pytest.raises(UnavailableError, match=r"AF_UNIX path too long"):
        await serve(str(tmp_path / ("x" * 200)), host.etc, host.lun_file, None)
    with pytest.raises(UnavailableError, match="nowhere/p: No such file or directory"):
        await serve(address, host.etc, host.lun_file, tmp_path / "nowhere" / "p")
    assert not Path(address).exists()
