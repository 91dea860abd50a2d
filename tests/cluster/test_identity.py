"""Nodes whose disk has forgotten something: each kind is told from the others, and heals by itself; no edit's number is used twice."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from scripts.cluster.nodes import Node, free_ports, wait_for
from scripts.cluster.sample import LUN_A, LUN_B

pytestmark = pytest.mark.slow
_numbers = count(1)


def write(node: Node, key: str = "") -> str:
    """One edit at this node; returns its comment."""
    comment = key or f"edit {next(_numbers)}"
    digest = node.ask("GET", "/v1/config").digest
    answer = node.ask("PATCH", f"/v1/config/wwids/{LUN_A}", {"set": {"comment": comment}}, if_match=digest)
    assert answer.status == 200, answer
    return comment


def comment(node: Node) -> str:
    return str(node.get(f"/v1/config/wwids/{LUN_A}")["options"]["comment"])


def codes(node: Node) -> set[str]:
    """What the status says is wrong."""
    return {problem["code"] for problem in node.get("/v1/status")["config"]["problems"]}


def doctor(node: Node) -> set[str]:
    done = node.run("doctor", "--json", check=False)
    findings = json.loads(done.stdout)["findings"]
    assert done.returncode == (1 if findings else 0)
    return {finding["code"] for finding in findings}


def same(nodes: list[Node]) -> bool:
    """Whether all have the same edits and the same state of them."""
    dumps = [node.get("/v1/dump") for node in nodes]
    return len({dump["state_hash"] for dump in dumps}) == 1 and len({str(dump["clock"]) for dump in dumps}) == 1


def written(node: Node) -> dict[str, str]:
    """What apply has put on the host: our drop-ins as multipathd reads them, and the allow-list; not a file that is still being written."""
    files = {path.name: path.read_text() for path in (node.etc / "conf.d").glob("*pathmesh*.conf")}
    return files | {"wwids": (node.etc / "wwids").read_text()}


def in_sync(nodes: list[Node]) -> bool:
    """Whether each host is as the configuration, which has to be the same everywhere, wants it."""
    applied = [node.get("/v1/apply")["apply"] for node in nodes]
    digests = {each[key] for each in applied for key in ("desired", "applied")}
    return {each["state"] for each in applied} == {"in-sync"} and len(digests) == 1


def healed(nodes: list[Node]) -> None:
    """Everybody is there, with the same state, no conflict, and an edit made anywhere arrives everywhere."""
    for node in nodes:
        node.wait_ready()
    for node in nodes:
        wait_for(f"{node.name} sees all", lambda node=node: {n["state"] for n in node.get("/v1/nodes")["nodes"]} == {"online"}, 30)
    wait_for("the same state everywhere", lambda: same(nodes), 30)
    for author in nodes:
        said = write(author)
        for node in nodes:
            wait_for(f"{author.name}'s edit is at {node.name}", lambda node=node, said=said: comment(node) == said)
    wait_for("the same state everywhere", lambda: same(nodes))
    wait_for("applied everywhere", lambda: in_sync(nodes), 30)
    for node in nodes:
        assert node.get("/v1/conflicts")["conflicts"] == []
        assert not {"diverged", "frozen", "equivocation", "edits-refused", "cloned"} & codes(node), codes(node)
        assert "Traceback" not in node.log("agent")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, nodes_in: Callable[..., list[Node]]) -> Iterator[list[Node]]:
    """Three nodes that run, with hosts, and a configured LUN. Each test leaves all three running and in step."""
    nodes = nodes_in(tmp_path_factory.mktemp("identity"), 3)
    first = nodes[0]
    for node in nodes:
        node.start_host()
    first.run("init", "--cluster", "san")
    first.start_agent()
    shutil.copytree(first.directory / "state", first.directory / "alone")  # as it was when it was alone
    token = json.loads(first.run("token", "create", "--uses", "2", "--role", "admin", "--json").stdout)["token"]
    for node in nodes[1:]:
        node.run("join", token)
        node.start_agent()
    digest = first.ask("GET", "/v1/config").digest
    for lun in (LUN_A, LUN_B):
        answer = first.ask("POST", "/v1/config/wwids", {"wwid": lun, "options": {"alias": f"vm-{lun[-1]}"}}, if_match=digest)
        assert answer.status == 200, answer
        digest = answer.digest
    healed(nodes)
    yield nodes
    for node in nodes:
        assert node.stop() in (0, None)
        assert "Traceback" not in node.log("agent")


def database(node: Node) -> Path:
    return node.directory / "state" / "pathmesh.db"


def forget(node: Node) -> None:
    for suffix in ("", "-wal", "-shm"):
        database(node).with_name(f"pathmesh.db{suffix}").unlink(missing_ok=True)


def stop(node: Node) -> None:
    assert node.stop() == 0, node.log("agent")[-2000:]


def image(node: Node, target: Path) -> None:
    """What an image of the whole machine holds of it: the state directory and multipath's configuration."""
    for name in ("state", "etc"):
        shutil.copytree(node.directory / name, target / name)


def put_back(node: Node, source: Path) -> None:
    """The machine as it was when the image was made."""
    for name in ("state", "etc"):
        shutil.rmtree(node.directory / name)
        shutil.copytree(source / name, node.directory / name)


def backup(node: Node, target: Path) -> None:
    """A copy of the database of a running node, as a backup tool takes it."""
    with closing(sqlite3.connect(database(node))) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)


def test_nothing_is_wrong_with_an_ordinary_restart(cluster: list[Node]) -> None:
    third = cluster[2]
    stop(third)
    assert {finding for finding in doctor(third) if finding != "agent-unreachable"} == set()
    third.start_agent()
    healed(cluster)
    for node in cluster:
        assert not {"restored", "database-restored", "guard-missing"} & (codes(node) | doctor(node))


def test_a_restored_database(cluster: list[Node], tmp_path: Path) -> None:
    third = cluster[2]
    backup(third, tmp_path / "backup.db")
    lost = [write(third) for _ in range(3)][-1]
    wait_for("the first has them", lambda: comment(cluster[0]) == lost)
    wait_for("applied everywhere", lambda: in_sync(cluster), 30)
    stop(third)
    third.start_agent()
    stop(third)
    forget(third)
    shutil.copy(tmp_path / "backup.db", database(third))
    assert "database-restored" in doctor(third), "also without an agent"
    third.start_agent()
    assert "database-restored" in codes(third) and "database-restored" in doctor(third)
    wait_for("what it had forgotten is back", lambda: comment(third) == lost)
    healed(cluster)
    stop(third)
    third.start_agent()
    healed(cluster)
    assert not {"database-restored", "restored"} & codes(third), "that is over with the next start"


def test_a_whole_machine_that_was_restored(cluster: list[Node], tmp_path: Path) -> None:
    third = cluster[2]
    stop(third)
    image(third, tmp_path / "image")
    third.start_agent()
    healed(cluster)
    lost = write(third)
    wait_for("the first has it", lambda: comment(cluster[0]) == lost)
    stop(third)
    put_back(third, tmp_path / "image")
    assert doctor(third) == {"agent-unreachable"}, "guard and database fit: nothing here can show it"
    third.start_agent()
    wait_for("its peers show it", lambda: "restored" in codes(third))
    assert "database-restored" not in codes(third)
    wait_for("what it had forgotten is back", lambda: comment(third) == lost)
    healed(cluster)


def test_an_edit_made_before_the_peers_could_warn_collides_with_none(cluster: list[Node], tmp_path: Path) -> None:
    first, second, third = cluster
    stop(third)
    image(third, tmp_path / "image")
    third.start_agent()
    healed(cluster)
    lost = write(third)
    wait_for("the first has it", lambda: comment(first) == lost)
    for node in cluster:
        stop(node)
    put_back(third, tmp_path / "image")
    third.start_agent()
    blind = write(third)
    for node in (first, second):
        node.start_agent()
    conflicts = wait_for("both edits are there, side by side", lambda: first.get("/v1/conflicts")["conflicts"])
    assert {lost, blind} == {s["value"]["comment"] for s in conflicts[0]["siblings"]}
    wait_for("everywhere", lambda: all(len(node.get("/v1/conflicts")["conflicts"]) == 1 for node in cluster))
    first.run("resolve", f"wwid/{LUN_A}", "--take", "1")
    wait_for("resolved everywhere", lambda: not any(node.get("/v1/conflicts")["conflicts"] for node in cluster))
    healed(cluster)


def test_a_damaged_database(cluster: list[Node]) -> None:
    third = cluster[2]
    stop(third)
    forget(third)
    garbage = b"this is no database at all" * 400
    database(third).write_bytes(garbage)
    assert "database-corrupt" in doctor(third)
    third.start_agent()
    assert "database-damaged" in codes(third) and "database-lost" not in codes(third)
    assert "database-damaged" in doctor(third)
    kept = database(third).with_name("pathmesh.db.damaged-1")
    assert kept.read_bytes() == garbage
    [said] = [p["message"] for p in third.get("/v1/status")["config"]["problems"] if p["code"] == "database-damaged"]
    assert str(kept) in said
    healed(cluster)


def test_a_wiped_database_takes_nothing_from_the_host(cluster: list[Node]) -> None:
    first, second, third = cluster
    before = written(third)
    assert LUN_A in before["wwids"] and LUN_B in before["wwids"] and len(before) == 2
    for node in cluster:
        stop(node)
    forget(third)
    third.start_agent(wait=False)
    wait_for("it has looked at its host", lambda: third.get("/v1/apply")["apply"]["desired"], 30)
    assert "database-lost" in codes(third) and third.ask("GET", "/readyz").json["code"] == "joining"
    third.run("apply", "--now", check=False)
    assert written(third) == before, "it knows nobody and nothing, and takes nothing away"
    # Meanwhile the configuration changes: it has to be applied there too, over a file that only the lost database knew.
    first.start_agent()
    digest = first.ask("GET", "/v1/config").digest
    assert first.ask("PATCH", f"/v1/config/wwids/{LUN_B}", {"set": {"alias": "renamed"}}, if_match=digest).status == 200
    second.start_agent()
    healed(cluster)
    after = written(third)
    assert after["wwids"] == before["wwids"] and "renamed" in after["90-pathmesh.conf"]


def test_the_founder_with_a_database_from_when_it_was_alone(cluster: list[Node]) -> None:
    first = cluster[0]
    stop(first)
    forget(first)
    shutil.copy(first.directory / "alone" / "pathmesh.db", database(first))
    for suffix in ("-wal", "-shm"):
        if (journal := first.directory / "alone" / f"pathmesh.db{suffix}").exists():
            shutil.copy(journal, database(first).with_name(journal.name))
    before = written(first)
    first.start_agent()
    assert "database-restored" in codes(first)
    healed(cluster)
    assert written(first)["wwids"] == before["wwids"]


def test_without_its_guard_a_node_goes_on_carefully(cluster: list[Node]) -> None:
    third = cluster[2]
    stop(third)
    (third.directory / "state" / "guard").unlink()
    assert "guard-missing" in doctor(third)
    third.start_agent()
    assert "guard-missing" in codes(third) and (third.directory / "state" / "guard").exists()
    healed(cluster)


def test_the_guard_of_another_node_is_refused(cluster: list[Node], told: Any) -> None:
    second, third = cluster[1:]
    stop(third)
    guard = third.directory / "state" / "guard"
    own = guard.read_bytes()
    shutil.copy(second.directory / "state" / "guard", guard)
    told(third.run("agent", check=False), "guard", "n2", "copied")
    assert "guard-mismatch" in doctor(third)
    guard.write_bytes(own)
    third.start_agent()
    healed(cluster)


def test_a_killed_node_is_no_restored_one(cluster: list[Node]) -> None:
    third = cluster[2]
    for _ in range(3):
        write(third)
        third.stop("agent", 9)
        third.start_agent()
    assert not {"database-restored", "guard-missing"} & codes(third)
    healed(cluster)


def test_a_cloned_node(cluster: list[Node], tmp_path: Path) -> None:
    """A copy of the whole machine, started beside the original with its own address."""
    first, second, third = cluster
    stop(third)
    shutil.copytree(third.directory / "state", tmp_path / "n3" / "state")
    shutil.copytree(third.directory / "keys", tmp_path / "n3" / "keys")
    third.start_agent()
    healed(cluster)
    mesh, join = free_ports(2)
    clone = Node("n3", tmp_path / "n3", (mesh, mesh, join), {"multipath": {"poll_interval_ms": 200, "debounce_ms": 0}})
    clone.prepare()
    try:
        clone.start_agent(wait=False)
        wait_for("a peer raises the alarm", lambda: any("clone" in codes(node) for node in (first, second)), 40)
        [said] = {p["message"] for node in (first, second) for p in node.get("/v1/status")["config"]["problems"] if p["code"] == "clone"}
        assert "n3" in said
        # Nobody speaks to the clone, for the cluster knows n3 at the original's address.
        assert {"not-connected", "endpoint-differs"} <= doctor(clone)
        write(clone)
        assert not {"cloned", "restored"} & codes(third), "the original goes on"
        said = write(third)
        wait_for("its edits arrive", lambda: comment(first) == said)
        assert comment(second) == said or wait_for("everywhere", lambda: comment(second) == said)
        assert not first.get("/v1/conflicts")["conflicts"], "the clone's do not"
    finally:
        clone.stop()
    healed(cluster)
