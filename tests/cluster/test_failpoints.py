"""An agent that is killed at each place that has to survive it: after the restart the host is right, and whose line is whose is known."""

import ast
import contextlib
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import agent
from scripts.cluster.nodes import Node, NotReached, wait_for
from scripts.cluster.sample import HAND_MADE, LUN_A, LUN_B
from store.database import FILE_NAME
from store.failpoints import FAILPOINTS, reach
from store.limits import limit
from store.section_config import apply_digest

pytestmark = pytest.mark.slow
MAIN = "90-pathmesh.conf"
OVERRIDES = "95-pathmesh-overrides.conf"
HEAD = "# Multipath wwids, Version : 1.0\n# of an administrator\n"
COMMENT = "x" * 60_000
Drive = Callable[[Node], object]


def add(node: Node) -> None:
    """Ask for LUN B; the agent may die before it answers."""
    write(node, "POST", "/v1/config/wwids", {"wwid": LUN_B, "options": {"alias": "second"}})


def remove(node: Node) -> None:
    write(node, "DELETE", f"/v1/config/wwids/{LUN_B}")


def fail(node: Node) -> None:
    """Ask for LUN B and for overrides, of which the file cannot be written: the first file, already in place, has to go back."""
    (node.etc / "conf.d" / f"{OVERRIDES}.tmp").mkdir()
    add_with_overrides = [
        ("PUT", "/v1/overrides", "devices {\n}\n", "/v1/overrides"),
        ("POST", "/v1/config/wwids", {"wwid": LUN_B, "options": {"alias": "second"}}, "/v1/config"),
    ]
    for method, path, body, of in add_with_overrides:
        write(node, method, path, body, of)


def write(node: Node, method: str, path: str, body: Any = None, of: str = "/v1/config") -> bool:
    """Whether it was acknowledged; else the agent is dead."""
    try:
        digest = node.ask("GET", of).digest
        answer = node.ask(method, path, body, if_match=digest)
    except OSError:
        return False
    assert answer.status == 200, answer
    return True


def collect(node: Node) -> int:
    """Write more than is kept uncollected, all of it for one LUN: at its next look the agent lets go of nearly all.

    Returns the number of the last edit that was acknowledged.
    """
    for n in range(1 + limit("collect_bytes") // len(COMMENT)):
        if not write(node, "PATCH", f"/v1/config/wwids/{LUN_A}", {"set": {"comment": f"{n} {COMMENT}"}}):
            return n - 1
    return n


def commented(node: Node) -> int:
    """The number in the comment."""
    comment: str = node.get(f"/v1/config/wwids/{LUN_A}")["options"]["comment"]
    return int(comment.partition(" ")[0])


def past(node: Node) -> set[str]:
    """Every edit that the node can tell of."""
    found: set[str] = set()
    page = node.get("/v1/history?limit=100")
    while True:
        found.update(edit["edit"] for edit in page["edits"])
        if page["next"] is None:
            return found
        page = node.get(f"/v1/history?limit=100&cursor={page['next']}")


DRIVES: dict[str, Drive] = {
    "store.commit.before": add,
    "store.commit.after": add,
    "store.rebase.before": collect,
    "store.rebase.after": collect,
    "apply.journal.written": add,
    "apply.wwids.owned": add,
    "apply.wwids.appended": add,
    "apply.install.temporary": add,
    "apply.install.renamed": add,
    "apply.installed": add,
    "apply.reconfigured": add,
    "apply.verified": add,
    "apply.done": add,
    "apply.pruned": remove,
    "apply.rollback.restored": fail,
}


def test_every_failpoint_is_driven() -> None:
    assert DRIVES.keys() == FAILPOINTS.keys()


def test_every_failpoint_of_the_code_is_in_the_table_and_every_one_of_the_table_in_the_code() -> None:
    found = set()
    root = Path(agent.__file__).parents[1]
    for package in ("agent", "apply", "gossip", "store"):
        for path in (root / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                reaches = isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("reach", "_reach")
                if reaches and node.args and isinstance(node.args[0], ast.Constant):
                    found.add(node.args[0].value)
    assert found == FAILPOINTS.keys()


def test_a_name_that_is_not_in_the_table_is_a_fault() -> None:
    with pytest.raises(LookupError, match=r"apply\.nowhere"):
        reach("apply.nowhere")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, nodes_in: Any) -> Iterator[Node]:
    """One node with LUN A applied, and a line in the allow-list that somebody else wrote."""
    [node] = nodes_in(tmp_path_factory.mktemp("failpoints"))
    (node.etc / "wwids").write_text(f"{HEAD}/{HAND_MADE}/\n")
    node.start_host()
    node.run("init")
    node.start_agent()
    node.run("lun", "add", LUN_A, "--alias", "first")
    in_sync(node, {LUN_A: "first"})
    yield node


def configured(node: Node) -> dict[str, str]:
    return {lun["wwid"]: lun["options"]["alias"] for lun in node.get("/v1/config/wwids")["wwids"]}


def allowed(node: Node) -> set[str]:
    lines = (node.etc / "wwids").read_text().splitlines()
    return {line[1:].partition("/")[0] for line in lines if line.startswith("/")}


def in_sync(node: Node, luns: dict[str, str]) -> None:
    """Until the host has exactly these LUNs: files, lines, maps; and the node says so."""

    def settled() -> bool:
        status = node.get("/v1/status")
        wanted = apply_digest(status["config"]["digest"], status["config"]["overrides_digest"])
        apply = status["nodes"][0]["apply"]
        return bool(apply["state"] == "in-sync" and apply["applied"] == apply["desired"] == wanted)

    wait_for("the node is in sync", settled, 30)
    assert configured(node) == luns
    assert allowed(node) == {HAND_MADE, *luns}, "exactly ours, and the one that is not"
    text = (node.etc / "wwids").read_text()
    assert text.startswith(f"{HEAD}/{HAND_MADE}/\n"), "somebody else's lines are untouched"
    assert all(text.count(f"\n/{wwid}/") == 1 for wwid in luns), text
    rendered = node.get("/v1/render")
    files = {path.name: path.read_text() for path in (node.etc / "conf.d").iterdir() if path.is_file()}
    assert files == rendered["files"] and rendered["diff"] == ""
    lines = [line.split() for line in node.ask_host('show maps raw format "%w %n"').splitlines()]
    assert dict(line for line in lines if len(line) == 2) == luns


class Stored(NamedTuple):
    """What is in the database of an agent that does not run: its base, and the edits that are kept and that were, by dot."""

    base: bytes | None
    kept: frozenset[tuple[bytes, int]]
    gone: frozenset[tuple[bytes, int]]


def stored(node: Node, scratch: Path) -> Stored:
    """Read from a copy: looking changes nothing."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in (node.directory / "state").glob(f"{FILE_NAME}*"):
        shutil.copy(path, scratch)
    with contextlib.closing(sqlite3.connect(scratch / FILE_NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        base = connection.execute("SELECT body FROM base").fetchone()
        kept, gone = (frozenset(connection.execute(f"SELECT actor, counter FROM {table}")) for table in ("edits", "history"))
    return Stored(base[0] if base else None, kept, gone)


@pytest.mark.parametrize("name", [name for name, drive in DRIVES.items() if drive is collect])
def test_a_collection_was_or_was_not(node: Node, name: str, tmp_path: Path) -> None:
    """One transaction: no edit is ever in neither place, none in both, and the configuration is the same throughout."""
    in_sync(node, {LUN_A: "first"})
    assert node.stop() == 0
    before = stored(node, tmp_path / "db")
    node.start_agent({"PATHMESH_FAILPOINT": name})
    process = node.agent
    assert process is not None
    number = collect(node)
    try:
        assert process.wait(30) == -signal.SIGKILL, "the agent passed the failpoint by"
    finally:
        node.stop("agent")
    crashed = stored(node, tmp_path / "db")
    assert not crashed.kept & crashed.gone and crashed.kept | crashed.gone > before.kept | before.gone
    if name == "store.rebase.before":
        assert (crashed.base, crashed.gone) == (before.base, before.gone)
    else:
        assert crashed.base not in (None, before.base) and len(crashed.gone) > len(before.gone)
        assert len(crashed.kept) < 20

    node.start_agent()
    assert commented(node) in (number, number + 1), "the last one may have been written and not acknowledged"
    number = commented(node)
    in_sync(node, {LUN_A: "first"})
    assert past(node) == {f"{actor.hex()}:{counter}" for actor, counter in crashed.kept | crashed.gone}
    if name == "store.rebase.before":
        wait_for("what was begun is done anew", lambda: node.get("/v1/status")["config"]["edits"] < 20, 30)
    assert commented(node) == number
    assert node.stop() == 0
    after = stored(node, tmp_path / "db")
    assert not after.kept & after.gone and after.kept | after.gone == crashed.kept | crashed.gone
    assert after.base is not None and len(after.kept) < 20
    node.start_agent()
    in_sync(node, {LUN_A: "first"})
    assert "Traceback" not in node.log("agent")


@pytest.mark.parametrize("name", sorted(name for name, drive in DRIVES.items() if drive is not collect))
def test_the_host_converges_after_a_crash(node: Node, name: str) -> None:
    drive = DRIVES[name]
    before = {LUN_A: "first"}
    if drive is remove:
        add(node)
        before[LUN_B] = "second"
    in_sync(node, before)
    assert node.stop() == 0
    node.start_agent({"PATHMESH_FAILPOINT": name})
    process = node.agent
    assert process is not None
    drive(node)
    try:
        assert process.wait(30) == -signal.SIGKILL, "the agent passed the failpoint by"
    finally:
        node.stop("agent")
    scratch = node.etc / "conf.d" / f"{OVERRIDES}.tmp"
    if scratch.is_dir():
        scratch.rmdir()

    node.start_agent()
    if name == "store.commit.before":
        after = before  # it was never acknowledged, and never durable
    elif drive is remove:
        after = {LUN_A: "first"}
    else:
        after = {LUN_A: "first", LUN_B: "second"}
        if name == "apply.rollback.restored" and LUN_B not in configured(node):
            add(node)  # the agent was faster than the second write
    in_sync(node, after)
    edits = node.get("/v1/status")["config"]["edits"]

    if LUN_B in after:
        remove(node)
        assert node.get("/v1/status")["config"]["edits"] == edits + 1
        in_sync(node, {LUN_A: "first"})
    if node.get("/v1/overrides")["text"]:
        write(node, "DELETE", "/v1/overrides", None, "/v1/overrides")
        in_sync(node, {LUN_A: "first"})
    assert "Traceback" not in node.log("agent")


def test_in_the_end_nothing_of_ours_is_left(node: Node) -> None:
    in_sync(node, {LUN_A: "first"})
    write(node, "DELETE", f"/v1/config/wwids/{LUN_A}")
    in_sync(node, {})
    assert not (node.etc / "conf.d" / MAIN).exists()


def test_the_wait_tells_what_it_saw() -> None:
    with pytest.raises(NotReached, match="never: not within 0 s; last seen: 0"):
        wait_for("never", lambda: 0, 0)
