"""Opening a node: in order, each fault told, and closed as far as it was opened. The running process is tested with the clusters."""

import contextlib
import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import run_sync

from agent.bootstrap import init
from agent.daemon import opened
from store.database import FILE_NAME, Database
from store.errors import PathmeshError

pytestmark = pytest.mark.anyio
Made = Callable[..., Any]


@pytest.fixture
def made(settings_in: Any) -> Made:
    """Makes a node in a directory and returns its settings."""

    async def make(directory: Path, **tables: Any) -> Any:
        settings = settings_in(directory, **tables)
        await run_sync(init, settings, "n1", "san")  # it has an event loop of its own
        return settings

    return make


async def refused(settings: Any) -> PathmeshError:
    """Why it does not open; afterwards the socket and the lock are free."""
    with pytest.raises(PathmeshError) as caught:
        async with opened(settings):
            pass
    assert not settings.api.socket.is_socket()
    assert "\n" not in caught.value.message
    return caught.value


async def test_every_start_is_a_new_epoch(tmp_path: Path, made: Made) -> None:
    settings = await made(tmp_path)
    epochs = []
    for _ in range(3):
        async with opened(settings) as (node, _, local_socket, _):
            epochs.append(node.runner.engine.identity.epoch)
            assert settings.api.socket.is_socket() and local_socket.fileno() >= 0
            assert node.runner.engine.member is not None and node.birth.name == "n1"
            assert node.counters()["transport_received"] == 0
        assert not settings.api.socket.exists()
    assert epochs == [1, 2, 3]


async def test_a_node_that_was_never_made(tmp_path: Path, settings_in: Any) -> None:
    fault = await refused(settings_in(tmp_path))
    assert fault.code == "not-a-member" and "pathmesh init" in fault.hint and "pathmesh join" in fault.hint


async def test_a_port_in_use_is_told_by_its_setting(tmp_path: Path, made: Made) -> None:
    settings = await made(tmp_path)
    for endpoint, setting in ((settings.gossip.listen, "gossip.listen"), (settings.gossip.join_listen, "gossip.join_listen")):
        with socket.socket() as other:
            other.bind(("127.0.0.1", int(endpoint.rpartition(":")[2])))
            other.listen()
            fault = await refused(settings)
        assert fault.code == "address-in-use" and setting in fault.message and endpoint in fault.message
    async with opened(settings):
        pass


async def test_a_second_agent_on_the_same_state(tmp_path: Path, made: Made) -> None:
    settings = await made(tmp_path)
    async with opened(settings):
        with pytest.raises(PathmeshError) as caught:
            async with opened(settings):
                pass
        assert caught.value.code == "already-running" and settings.api.socket.is_socket()


async def test_a_socket_that_another_agent_answers_on(tmp_path: Path, made: Made) -> None:
    first = await made(tmp_path / "a")
    second = await made(tmp_path / "b", api={"socket": first.api.socket})
    async with opened(first):
        with pytest.raises(PathmeshError) as caught:
            async with opened(second):
                pass
        assert caught.value.code == "socket-in-use" and first.api.socket.is_socket()
    async with opened(second):
        pass


async def test_a_damaged_record_of_the_node(tmp_path: Path, made: Made) -> None:
    settings = await made(tmp_path)
    database = await Database.open(settings.node.state_dir)
    await database.put_meta({"node": b"\xc1 nonsense"})
    await database.close()
    fault = await refused(settings)
    assert fault.code == "database-corrupt" and FILE_NAME in fault.message


async def test_a_damaged_log_of_edits(tmp_path: Path, made: Made) -> None:
    settings = await made(tmp_path)
    with contextlib.closing(sqlite3.connect(settings.node.state_dir / FILE_NAME)) as file:
        file.execute("UPDATE edits SET raw = x'00'")
        file.commit()
    fault = await refused(settings)
    assert fault.code == "database-corrupt" and "log of edits" in fault.message and "backup" in fault.hint


async def test_a_damaged_row_of_health_is_dropped(tmp_path: Path, made: Made) -> None:
    settings = await made(tmp_path)
    with contextlib.closing(sqlite3.connect(settings.node.state_dir / FILE_NAME)) as file:
        file.execute("INSERT INTO health VALUES ('n2', x'ffff', 1.0)")
        file.commit()
    async with opened(settings) as (node, *_):
        assert list(node.runner.engine.exchange.streams) == ["n1"]


@pytest.mark.parametrize("name", ["mesh.key", "join.key", "signing.key"])
async def test_keys_that_are_missing_open_to_others_or_damaged(tmp_path: Path, made: Made, name: str) -> None:
    settings = await made(tmp_path)
    path = settings.node.keys_dir / name
    content = path.read_text()
    path.chmod(0o644)
    fault = await refused(settings)
    assert fault.code == "key-mode" and str(path) in fault.message and "chmod 600" in fault.hint
    path.chmod(0o600)
    path.write_text(content.replace("secret = ", "secret = x"))
    assert (await refused(settings)).code in ("key-malformed", "key-mismatch")
    path.unlink()
    fault = await refused(settings)
    assert fault.code == "key-missing" and str(path) in fault.message


async def test_an_older_copy_of_the_state_still_opens(tmp_path: Path, made: Made) -> None:
    settings = await made(tmp_path)
    shutil.copytree(settings.node.state_dir, tmp_path / "copy")
    async with opened(settings) as (node, *_):
        await node.writer.record({"ack/n1/x": {"paths": "a"}})
    shutil.rmtree(settings.node.state_dir)
    shutil.move(tmp_path / "copy", settings.node.state_dir)
    async with opened(settings) as (node, *_):
        assert len(node.runner.engine.replica) == 1
