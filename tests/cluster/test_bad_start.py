"""What keeps an agent from starting: one line that names the place, a hint, the right status, and nothing changed."""

import contextlib
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.cluster.nodes import Node, wait_for
from scripts.cluster.sample import LUN_A

Change = Callable[[Node], Any]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, nodes_in: Any) -> Node:
    """A node that was made, with a file of which the loss would be noticed."""
    [node] = nodes_in(tmp_path_factory.mktemp("bad"))
    node.run("init")
    (node.etc / "wwids").write_text(f"/{LUN_A}/\n")
    return node


@contextlib.contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """The file with other content, and as before afterwards."""
    before, mode = path.read_bytes(), path.stat().st_mode
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)
        path.chmod(mode)


def refused(node: Node, told: Any, tree: Any, *words: str) -> str:
    """Starting the agent fails as it should, and changes nothing."""
    before = tree(node.directory)
    text: str = told(node.run("agent", check=False, seconds=30), *words)
    after = tree(node.directory)
    changed = {path.name for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed <= {"pathmesh.db", "guard"}, "the boot counter may have moved, nothing else"
    assert not node.socket.exists()
    return text


@pytest.mark.parametrize(("which", "setting"), [(0, "gossip.listen"), (2, "gossip.join_listen")])
def test_a_port_in_use(node: Node, told: Any, tree: Any, which: int, setting: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", node.ports[which]))
        other.listen()
        refused(node, told, tree, f"{setting} = tcp://127.0.0.1:{node.ports[which]}", "in use", f"another port in {setting}")


def test_a_socket_on_which_somebody_answers(node: Node, told: Any, tree: Any) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(node.socket))
        other.listen()
        try:
            told(node.run("agent", check=False), str(node.socket), "another agent answers")
        finally:
            node.socket.unlink()


def test_a_file_where_the_socket_should_be(node: Node, told: Any, tree: Any) -> None:
    node.socket.write_text("mine")
    try:
        told(node.run("agent", check=False), str(node.socket), "not a socket")
        assert node.socket.read_text() == "mine"
    finally:
        node.socket.unlink()


def test_a_second_agent(node: Node, told: Any) -> None:
    node.start_agent()
    try:
        told(node.run("agent", check=False), str(node.directory / "state"), "another pathmesh process")
        told(node.run("init", check=False), "set up before", "nothing was changed")
        assert node.ask("GET", "/readyz").status == 200
    finally:
        assert node.stop() == 0


def test_a_database_of_a_newer_version(node: Node, told: Any, tree: Any) -> None:
    path = node.directory / "state" / "pathmesh.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        [[revision]] = database.execute("SELECT version_num FROM alembic_version").fetchall()
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    try:
        refused(node, told, tree, str(path), "9999", "install the version of pathmesh that wrote it")
    finally:
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
            database.commit()


@pytest.mark.parametrize(
    "garbage", [b"this is no database at all" * 400, b"SQLite format 3\0" + b"\xff" * 8000], ids=["another file", "a damaged database"]
)
def test_a_file_that_is_no_database(node: Node, told: Any, tree: Any, garbage: bytes) -> None:
    path = node.directory / "state" / "pathmesh.db"
    with replaced(path, garbage):
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        refused(node, told, tree, str(path), "keep the file")
        assert path.read_bytes() == garbage


@pytest.mark.slow
def test_a_database_that_another_program_holds(node: Node, told: Any, tree: Any) -> None:
    path = node.directory / "state" / "pathmesh.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        refused(node, told, tree, str(path), "locked by another process", "fuser")
        database.execute("ROLLBACK")


@pytest.mark.parametrize("name", ["mesh.key", "join.key", "signing.key"])
def test_key_files_that_are_open_to_others_missing_or_damaged(node: Node, told: Any, tree: Any, name: str) -> None:
    path = node.directory / "keys" / name
    with replaced(path, path.read_bytes()):
        path.chmod(0o640)
        refused(node, told, tree, str(path), "mode 0640", f"chmod 600 {path}")
    with replaced(path, b"public = x\nwhat is this\n"):
        refused(node, told, tree, str(path), "line 2")
    content = path.read_bytes()
    path.unlink()
    try:
        refused(node, told, tree, str(path), "missing")
    finally:
        path.write_bytes(content)
        path.chmod(0o600)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[node\n", ("not valid TOML", "line 1")),
        (b"[node]\nname = \xff\n", ("not UTF-8 at byte 14",)),
        (b"[gosip]\nlisten = 1\n", ("gosip", "did you mean 'gossip'")),
        (b"[gossip]\nlissen = 'tcp://127.0.0.1:1'\n", ("gossip.lissen", "did you mean 'listen'")),
        (b"[gossip]\nlisten = 'tcp://127.0.0.1'\n", ("gossip.listen", "tcp://HOST:PORT")),
        (b"[multipath]\npoll_interval_ms = 5\n", ("multipath.poll_interval_ms", "from 100")),
        (b"[node]\nstate_dir = 'var'\n[log]\nlevel = 'loud'\n", ("node.state_dir", "1 more")),
    ],
)
def test_settings_that_are_wrong(node: Node, told: Any, tree: Any, text: bytes, words: tuple[str, ...]) -> None:
    path = node.directory / "pathmesh.toml"
    with replaced(path, text):
        refused(node, told, tree, str(path), *words)


def test_settings_that_are_not_there(node: Node, told: Any) -> None:
    path = node.directory / "pathmesh.toml"
    path.rename(path.with_suffix(".aside"))
    try:
        told(node.run("agent", check=False), str(path), "no such settings file")
    finally:
        path.with_suffix(".aside").rename(path)


def test_a_node_that_was_never_made(tmp_path: Path, nodes_in: Any, told: Any) -> None:
    [node] = nodes_in(tmp_path)
    told(node.run("agent", check=False), str(node.directory / "state"), "belongs to no cluster", "pathmesh init")
    told(node.run("status", check=False), str(node.socket), status=3)


def test_after_all_that_it_starts(node: Node) -> None:
    node.start_agent()
    assert node.get("/v1/config")["sections"] == []
    assert node.stop() == 0
    assert "Traceback" not in node.log("agent")


# -- a host that cannot be written -------------------------------------------------------------------------------------


def write_lun(node: Node) -> None:
    digest = node.ask("GET", "/v1/config").digest
    assert node.ask("POST", "/v1/config/wwids", {"wwid": LUN_A, "options": {"alias": "a"}}, if_match=digest).status == 200


def failed_with(node: Node, *codes: str) -> Any:
    """The error of the node's apply, once it has one of these codes."""

    def look() -> Any:
        apply = node.get("/v1/apply")["apply"]
        return next((e for e in apply["errors"] if apply["state"] == "failed" and e["code"] in codes), None)

    return wait_for(f"apply fails with {' or '.join(codes)}", look, 30)


def test_a_multipath_directory_that_can_be_none(tmp_path: Path, nodes_in: Any) -> None:
    (tmp_path / "file").write_text("mine")
    [node] = nodes_in(tmp_path / "nodes", settings={"multipath": {"etc_dir": str(tmp_path / "file" / "multipath")}})
    node.start_host()
    node.run("init")
    node.start_agent()
    write_lun(node)
    error = failed_with(node, "write-failed", "wwids-readonly", "etc-dir")
    assert str(tmp_path / "file") in error["message"] and error["message"].count("\n") == 0
    assert (tmp_path / "file").read_text() == "mine"
    assert node.get("/v1/config/wwids")["wwids"], "the configuration is the cluster's: it is kept"
    assert node.stop() == 0
    assert "Traceback" not in node.log("agent")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_multipath_directory_on_a_read_only_mount(tmp_path: Path, nodes_in: Any, tree: Any) -> None:
    [node] = nodes_in(tmp_path)
    (node.etc / "wwids").write_text("# by hand\n")
    node.start_host()
    node.run("init")
    before = tree(node.etc)
    mount = f"mount --bind {node.etc} {node.etc} && mount -o remount,ro,bind {node.etc}"
    node.start_agent(prefix=("unshare", "-m", "sh", "-c", f'{mount} && exec "$0" "$@"'))
    write_lun(node)
    error = failed_with(node, "write-failed", "wwids-readonly")
    assert str(node.etc) in error["message"] and "read-only" in (error["message"] + error["hint"]).lower()
    [shown] = [n for n in node.get("/v1/status")["nodes"] if n["node"] == "n1"]
    assert shown["apply"]["state"] == "failed" and shown["daemon"] == "running"
    assert tree(node.etc) == before
    assert node.stop() == 0
    assert "Traceback" not in node.log("agent")
    node.start_agent()
    wait_for("it is in sync where it may write", lambda: node.get("/v1/apply")["apply"]["state"] == "in-sync", 30)
    assert (node.etc / "wwids").read_text() == f"# by hand\n/{LUN_A}/\n"
    assert node.stop() == 0
