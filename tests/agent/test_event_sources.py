"""What becomes an event: everything that people follow, once, bounded, and nothing where nothing moved."""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import event_sources
from agent.event_log import KINDS, STOPPED, EventLog
from agent.event_sources import EventSources
from agent.writes import Expected
from apply.outcome import ApplyError, ApplyOutcome, ApplyState, apply_cell
from gossip.events import Alarm, Publish
from gossip.liveness import Liveness
from store.cells import MULTIPATH_MAP, STORAGE, Cell
from store.document import WWID_PREFIX
from store.limits import limit
from store.matrix import Reporter
from store.members import MEMBER_PREFIX, MemberState, member_value

pytestmark = pytest.mark.anyio

A = "3624a9370e92ace0b12e941bf000cb4d5"
KEY = WWID_PREFIX + A


class Journal:
    """Nothing is kept."""

    async def append_events(self, rows: Sequence[tuple[int, float, bytes]]) -> None:
        return

    async def load_events(self, after: int, limit: int) -> list[tuple[int, float, bytes]]:
        return []

    async def last_event(self) -> int:
        return 0


class Watched:
    """The events of one node of a cluster in memory. `take` gives what is new since the last call."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.events = EventLog(Journal())
        self.sources = EventSources(node.engine, node.picture, self.events, node.members.standing)
        self._fed = len(node.published)
        self._read = 0
        self.sources.started()
        self.take()

    def take(self, *, look: bool = True) -> list[dict[str, Any]]:
        fresh, self._fed = self.node.published[self._fed :], len(self.node.published)
        for change in fresh:
            self.sources.news(change)
        if look:
            self.sources._look()
        found = [msgspec.json.decode(event.json()) for event in self.events._recent if event.cursor > self._read]
        self._read = self.events.newest
        return found

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.take() if event["kind"] in kinds]


def cell(state: str = "healthy", wwid: str = A, *reasons: str) -> Cell:
    return Cell(MULTIPATH_MAP, wwid, state, reasons, {"alias": None})


async def write(node: Any, changes: Any, reason: str = "") -> str:
    return str((await node.writer.change(changes, Expected(), reason=reason)).edit)


async def heard(cluster: Any, eventually: Any) -> None:
    def fresh() -> bool:
        for node in cluster.nodes.values():
            node.tick()
        return all(set(node.picture.reporters().values()) == {Reporter.FRESH} for node in cluster.nodes.values())

    await eventually("everybody is heard", fresh)


async def arrived(cluster: Any, eventually: Any, reasons: tuple[str, ...]) -> None:
    """Until the first node has the second one's cell with these reasons."""

    def here() -> bool:
        for node in cluster.nodes.values():
            node.tick()
        found = cluster["n1"].picture.cell("n2", MULTIPATH_MAP, A)
        return found is not None and found.reasons == reasons

    await eventually("the cell is there", here)


async def test_a_start_and_a_stop_are_told_and_what_is_there_is_no_news(memory_cluster: Any) -> None:
    node = memory_cluster("n1", "n2")["n1"]
    await write(node, {KEY: {"alias": "a"}})
    node.runner.observe([cell()])
    events = EventLog(Journal())
    sources = EventSources(node.engine, node.picture, events, node.members.standing)
    sources.started()
    sources.news(Publish(keys=frozenset({KEY}), health=frozenset({"n1"}), standing=frozenset({"n1", "n2"})))
    sources.stopped()
    told = [msgspec.json.decode(event.json()) for event in (await events.read(None, 100)).events]
    assert [event["kind"] for event in told] == ["agent-started", STOPPED]
    assert told[0]["node"] == "n1" and told[0]["epoch"] == 1 and told[0]["version"]


async def test_an_edit_is_told_with_its_author_and_its_sections(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    watched = [Watched(cluster[name]) for name in ("n1", "n2")]
    edit = await write(cluster["n2"], {KEY: {"alias": "a"}, "defaults": {"polling-interval": "5"}}, "new array")
    await cluster.converged()
    for each in watched:
        [event] = each.of("edit")
        assert (event["edit"], event["author"], event["reason"], event["edit_kind"]) == (edit, "n2", "new array", "change")
        assert event["keys"] == ["defaults", KEY] and event["more_keys"] == 0 and KEY in event["message"]
    many = await write(cluster["n1"], {f"{WWID_PREFIX}3{n:032x}": {} for n in range(40)})
    [event] = watched[0].of("edit")
    assert event["edit"] == many and len(event["keys"]) == 16 and event["more_keys"] == 24 and "37 more" in event["message"]
    assert watched[0].take() == []


async def test_very_many_edits_at_once_are_counted(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    watched = Watched(cluster["n2"])
    for n in range(limit("events_at_once") + 40):
        await write(cluster["n1"], {"defaults": {"polling-interval": str(n % 60 + 1)}})
    cluster.network.heal_all()
    await cluster.converged()
    told = watched.of("edit", "more")
    edits, more = [e for e in told if e["kind"] == "edit"], [e for e in told if e["kind"] == "more"]
    assert len(edits) + sum(e["count"] for e in more) == limit("events_at_once") + 40
    assert all(e["of"] == "edit" and str(e["count"]) in e["message"] for e in more)


async def test_a_conflict_is_told_when_it_opens_and_when_it_is_resolved(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    watched = Watched(cluster["n1"])
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    edits = {await write(cluster[name], {KEY: {"alias": name}}) for name in ("n1", "n2")}
    cluster.network.heal_all()
    await cluster.converged()
    [opened] = watched.of("conflict-opened")
    assert opened["key"] == KEY and set(opened["edits"]) == edits and "n1, n2" in opened["message"]
    siblings = cluster["n2"].engine.replica.fold.siblings(KEY)
    written = await cluster["n2"].writer.resolve(KEY, [str(s.dot) for s in siblings], take=1, value=None, reason="")
    await cluster.converged()
    [ended] = watched.of("conflict-opened", "conflict-resolved")
    assert ended["kind"] == "conflict-resolved" and ended["key"] == KEY and ended["edit"] == str(written.edit) and "n2" in ended["message"]


async def test_maintenance_is_told_in_words(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    node = cluster["n1"]
    watched = Watched(node)
    await node.members.set_maintenance("n2", True)
    await node.members.set_maintenance("n2", True, reason="new HBA")
    await node.members.set_maintenance("n2", False)
    told = [event["message"] for event in watched.of("edit")]
    assert told == ["n1 began the maintenance of n2", "n1 began the maintenance of n2: new HBA", "n1 ended the maintenance of n2"]


async def test_a_member_that_left_neither_comes_nor_goes(memory_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = memory_cluster("n1", "n2")
    node = cluster["n1"]
    watched = Watched(node)
    flapping = {"n2"}
    monkeypatch.setattr(Liveness, "flapping", lambda _, name, now: name in flapping)
    news = Publish(standing=frozenset({"n2"}))
    watched.sources.news(news)
    assert [event["flapping"] for event in watched.of("node-flapping")] == [True]
    left = msgspec.structs.replace(node.engine.replica.registry.by_name["n2"], state=MemberState.LEFT)
    await node.writer.record({MEMBER_PREFIX + "n2": member_value(left)})
    watched.take()
    for still in (True, False):
        flapping = {"n2"} if still else set()
        watched.sources.news(news)
        assert watched.of("node-flapping") == []


async def test_members_that_come_and_go_are_told(memory_cluster: Any, scribe: Any) -> None:
    cluster = memory_cluster("n1", "n2", "n3")
    await cluster.converged()
    node = cluster["n1"]
    watched = Watched(node)
    await node.writer.record({MEMBER_PREFIX + "n4": member_value(scribe.member("n4"))})
    assert [(e["kind"], e["node"]) for e in watched.take() if e["kind"].startswith("member")] == [("member-joined", "n4")]
    for name, state in (("n2", MemberState.RETIRED), ("n3", MemberState.LEFT)):
        member = node.engine.replica.registry.by_name[name]
        await node.writer.record({MEMBER_PREFIX + name: member_value(msgspec.structs.replace(member, state=state))})
    told = [(e["kind"], e["node"]) for e in watched.take() if e["kind"].startswith("member")]
    assert told == [("member-retired", "n2"), ("member-left", "n3")]


async def test_a_node_that_is_lost_is_told_and_its_cells_in_one_event(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    luns = [f"3{n:032x}" for n in range(100)]
    for node in cluster.nodes.values():
        node.runner.observe([cell(wwid=wwid) for wwid in luns])
    await heard(cluster, eventually)
    await write(cluster["n1"], {WWID_PREFIX + wwid: {} for wwid in luns})
    await cluster.converged()
    watched = Watched(cluster["n1"])
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)
    told: list[dict[str, Any]] = []

    def gone() -> bool:
        cluster["n1"].tick()
        told.extend(watched.take())
        return cluster["n1"].picture.reporters()["n2"] is Reporter.OFFLINE

    await eventually("n2 is lost", gone, 20)
    told += watched.take()
    moves = [(e["before"], e["after"]) for e in told if e["kind"] == "node"]
    assert moves[0][0] == "online" and moves[-1][1] == "offline" and all(e["node"] == "n2" for e in told if e["kind"] == "node")
    assert [e for e in told if e["kind"] == "cell"] == [], "a hundred cells say nothing that the node's loss does not say"
    swept = [e for e in told if e["kind"] == "cells"]
    assert swept and all((e["node"], e["states"]) == ("n2", {"unknown": 100}) for e in swept)
    assert swept[-1]["reasons"] == ["reporter-offline"]
    cluster.network.heal_all()
    await heard(cluster, eventually)
    back = watched.take()
    assert [e["after"] for e in back if e["kind"] == "node"][-1] == "online"
    [swept_back] = [e for e in back if e["kind"] == "cells"]
    assert (swept_back["states"], swept_back["reasons"]) == ({"healthy": 100}, [])


async def test_a_cell_that_changes_is_told_with_its_lun(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    await write(cluster["n1"], {KEY: {"alias": "vmpool"}, "storage/san": {"type": "multipath"}})
    await cluster.converged()
    for node in cluster.nodes.values():
        node.runner.observe([cell()])
    await heard(cluster, eventually)
    await arrived(cluster, eventually, ())
    watched = Watched(cluster["n1"])
    cluster["n2"].runner.observe([cell("degraded", A, "path-lost")])
    await arrived(cluster, eventually, ("path-lost",))
    told = watched.take()
    [change] = [e for e in told if e["kind"] == "cell"]
    assert {k: change[k] for k in ("node", "resource_kind", "id", "before", "after", "reasons")} == {
        "node": "n2",
        "resource_kind": MULTIPATH_MAP,
        "id": A,
        "before": "healthy",
        "after": "degraded",
        "reasons": ["path-lost"],
    }
    [lun] = [e for e in told if e["kind"] == "lun"]
    assert (lun["wwid"], lun["before"], lun["after"]) == (A, "healthy", "degraded") and "vmpool" in lun["message"]
    cluster["n2"].runner.observe([cell("degraded", A, "path-lost", "path-failed")])
    await arrived(cluster, eventually, ("path-lost", "path-failed"))
    told = watched.take()
    assert [(e["kind"], e["reasons"]) for e in told] == [("cell", ["path-lost", "path-failed"])]
    assert watched.take() == []


async def test_a_storage_that_fares_otherwise_is_told(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    await write(node, {"storage/vm": {"type": "lvm", "vgname": "vg"}})
    node.runner.observe([Cell(STORAGE, "vm", "healthy", (), {"type": "lvm", "free_bytes": 2})])
    watched = Watched(node)
    node.runner.observe([Cell(STORAGE, "vm", "healthy", (), {"type": "lvm", "free_bytes": 1})])
    assert watched.take() == [], "how full it is, is no event"
    node.runner.observe([Cell(STORAGE, "vm", "degraded", ("pv-missing",), {"type": "lvm"})])
    [told] = watched.take()
    assert {name: told[name] for name in ("kind", "resource_kind", "id", "node", "before", "after", "reasons")} == {
        "kind": "cell",
        "resource_kind": "storage",
        "id": "vm",
        "node": "n1",
        "before": "healthy",
        "after": "degraded",
        "reasons": ["pv-missing"],
    }
    assert told["message"] == "storage vm on n1 is degraded, was healthy (pv-missing)"


async def test_a_change_that_is_undone_before_anybody_looked_is_none(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    node.runner.observe([cell()])
    watched = Watched(node)
    node.runner.observe([cell("degraded", A, "path-lost")])
    assert [e["kind"] for e in watched.take(look=False)] == []
    node.runner.observe([cell()])
    assert watched.take() == []


async def test_an_apply_is_told_when_its_state_or_its_faults_change(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    watched = Watched(node)

    def report(state: ApplyState, *codes: str, applied: str = "d") -> list[tuple[str, str, list[str]]]:
        outcome = ApplyOutcome(state, "d", applied, errors=tuple(ApplyError(code, "m") for code in codes))
        node.runner.observe([apply_cell(outcome, 1.0)])
        return [(e["before"], e["after"], e["codes"]) for e in watched.of("apply", "cell")]

    assert report(ApplyState.IN_SYNC) == [("pending", "in-sync", [])]
    assert report(ApplyState.IN_SYNC, applied="e") == []
    assert report(ApplyState.FAILED, "not-installed") == [("in-sync", "failed", ["not-installed"])]
    assert report(ApplyState.FAILED, "daemon-down") == [("failed", "failed", ["daemon-down"])]
    assert report(ApplyState.IN_SYNC) == [("failed", "in-sync", [])]


async def test_an_alarm_is_told_once_in_a_while(memory_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(memory_cluster("n1")["n1"])
    for _ in range(5):
        watched.sources.alarmed(Alarm("bad-peer", "peer n2 sent garbage"))
    watched.sources.alarmed(Alarm("bad-peer", "peer n3 sent garbage"))
    told = watched.of("alarm")
    assert [(e["code"], e["message"]) for e in told] == [("bad-peer", "peer n2 sent garbage"), ("bad-peer", "peer n3 sent garbage")]
    monkeypatch.setattr("agent.event_sources.ALARM_AGAIN_SECONDS", 0.0)
    watched.sources.alarmed(Alarm("bad-peer", "peer n2 sent garbage"))
    assert len(watched.of("alarm")) == 1
    monkeypatch.undo()
    for n in range(500):
        watched.sources.alarmed(Alarm("flood", str(n)))
    assert len(watched.take()) <= limit("events_at_once")


async def test_very_many_cells_are_counted(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    luns = [f"3{n:032x}" for n in range(500)]
    node.runner.observe([cell(wwid=wwid) for wwid in luns])
    watched = Watched(node)
    node.runner.observe([cell("degraded", wwid, "path-lost") for wwid in luns])
    told = watched.take()
    kinds = Counter(e["kind"] for e in told)
    assert kinds["cell"] == limit("events_at_once") and len(told) < 3 * limit("events_at_once")
    assert sum(e["count"] for e in told if e["kind"] == "more" and e["of"] == "cell") == 500 - limit("events_at_once")


async def test_flapping_is_told_when_it_begins_and_when_it_ends(memory_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = memory_cluster("n1", "n2")
    watched = Watched(cluster["n1"])
    flaps = {"n2"}
    monkeypatch.setattr(cluster["n1"].engine.liveness, "flapping", lambda name, now: name in flaps, raising=True)
    for _ in range(2):
        watched.sources.news(Publish(standing=frozenset({"n2"})))
    [begins] = watched.of("node-flapping")
    assert begins["node"] == "n2" and begins["flapping"] is True
    flaps.clear()
    watched.sources._note_flapping(tuple(watched.sources._flapping))
    assert [e["flapping"] for e in watched.of("node-flapping")] == [False]


async def test_a_collection_and_a_snapshot_are_told(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    watched = Watched(node)
    node.engine.counters["edits_collected"] += 300
    watched.sources.news(Publish())
    [collected] = watched.of("log-collected")
    assert collected["edits"] == 300 and collected["kept"] == len(node.engine.replica)
    node.engine.counters["snapshots_taken"] += 1
    watched.sources.news(Publish())
    [taken] = watched.of("snapshot-taken")
    assert taken["edits"] == 0
    assert watched.take() == []


async def test_the_loop_looks_after_news_and_rests_otherwise(memory_cluster: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node = memory_cluster("n1")["n1"]
    node.runner.observe([cell()])
    watched = Watched(node)
    looks = 0
    look = watched.sources._look

    def counted() -> None:
        nonlocal looks
        looks += 1
        look()

    monkeypatch.setattr(watched.sources, "_look", counted)
    monkeypatch.setattr("agent.event_sources.SETTLE_SECONDS", 0.01)
    monkeypatch.setattr("agent.event_sources.LEAST_REST_SECONDS", 0.01)
    running = asyncio.create_task(watched.sources.run())
    for state in ("degraded", "healthy", "failed"):
        node.runner.observe([cell(state, A, "x")])
        watched.take(look=False)
    await eventually("it looked", lambda: any(e.kind == "cell" for e in watched.events._recent))
    await asyncio.sleep(0.2)
    assert looks <= 2, "many news cost one look, and none costs none"
    running.cancel()
    await asyncio.wait([running])


def test_every_kind_that_is_told_is_listed_and_every_listed_one_is_told() -> None:
    source = Path(event_sources.__file__).read_text()
    told = set(re.findall(r'(?:note|_tell)\(\s*"([a-z-]+)"', source)) | set(re.findall(r'"(late-edit)" if late else "(?:edit)"', source))
    told |= {"edit", STOPPED, *(f"member-{state.value}" for state in MemberState)}
    assert told == set(KINDS)
