"""Each finding of the doctor: made to be, found with what to do about it, and gone when it is over."""

import dataclasses
import shutil
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent import doctor
from agent.doctor import diagnose, problems, standing
from agent.findings import SEVERITIES, Finding
from agent.maintenance import PREFIX, maintenance_value
from agent.reach import Reach, reach_cell
from gossip.authoring import Continuity
from gossip.engine import Engine
from gossip.liveness import Liveness
from gossip.stability import Stability
from store.cells import MULTIPATH_MAP, Cell
from store.level import LEVEL, LEVEL_KEY, level_value
from store.members import MemberState, member_value

pytestmark = pytest.mark.anyio


def patient(node: Any, settings: Any) -> Any:
    """A node in memory, as the doctor sees it."""
    return SimpleNamespace(
        birth=SimpleNamespace(name=node.name, cluster_name="san"),
        settings=settings,
        runner=node.runner,
        picture=node.picture,
        members=node.members,
        alarms=node.alarms,
        host=SimpleNamespace(reach=Reach()),
        skew=SimpleNamespace(known=dict),
        web=SimpleNamespace(findings=list),
    )


@pytest.fixture
async def cluster(memory_cluster: Any, eventually: Any) -> Any:
    """Two nodes that hear each other."""
    cluster = memory_cluster("n1", "n2")

    def met() -> bool:
        for node in cluster.nodes.values():
            node.tick()
        return all(n.engine.liveness.opinion(o) == "online" for n in cluster.nodes.values() for o in cluster.nodes if o != n.name)

    await eventually("they hear each other", met)
    return cluster


@pytest.fixture
def first(cluster: Any, tmp_path: Any, settings_in: Any) -> Any:
    endpoint = cluster["n1"].engine.member.endpoint
    settings = settings_in(tmp_path, gossip={"advertise": endpoint})
    settings.node.state_dir.mkdir()
    return patient(cluster["n1"], settings)


def codes(findings: list[Finding]) -> list[str]:
    for finding in findings:
        assert finding.severity in SEVERITIES and "\n" not in finding.message + finding.hint
        assert finding.hint or finding.severity == "info", finding
    return [finding.code for finding in findings]


async def test_nothing_is_wrong_with_two_that_hear_each_other(first: Any) -> None:
    assert diagnose(first) == [] and standing(first) == [] and problems(first) == []


async def test_the_flags_of_this_nodes_maps_are_findings(first: Any) -> None:
    first.runner.observe([Cell(MULTIPATH_MAP, "361", "healthy", (), {"flags": ["merged-luns"]})])
    assert codes(diagnose(first)) == ["merged-luns"]
    assert problems(first) == [], "the status shows it at the map"


def shows(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    """The engine says this of itself."""
    monkeypatch.setattr(Engine, name, property(lambda _: value))


@pytest.mark.parametrize(
    ("attribute", "value", "code"),
    [
        ("name_taken", True, "name-taken"),
        ("member", None, "joining"),
        ("continuity", Continuity.CLONED, "cloned"),
        ("continuity", Continuity.RESTORED, "restored"),
        ("config_behind", True, "config-behind"),
        ("frozen", frozenset({"wwid/1"}), "frozen"),
        ("diverged", {"n2"}, "diverged"),
        ("catching_up", "n2", "catching-up"),
    ],
)
async def test_what_the_engine_says_of_itself(
    first: Any, monkeypatch: pytest.MonkeyPatch, attribute: str, value: object, code: str
) -> None:
    shows(monkeypatch, attribute, value)
    assert codes(standing(first)) == [code] and code in codes(diagnose(first))
    assert [p["code"] for p in problems(first)] == [code], "it stands in the status"
    first.alarms.raise_alarm(code, "the same as an alarm")
    assert [p["code"] for p in problems(first)] == [code], "and only once"
    assert codes(diagnose(first)).count(code) == 1


@pytest.mark.parametrize(("state", "code"), [(MemberState.LEFT, "left"), (MemberState.RETIRED, "retired")])
async def test_a_node_that_is_out(first: Any, monkeypatch: pytest.MonkeyPatch, state: MemberState, code: str) -> None:
    shows(monkeypatch, "member", msgspec.structs.replace(first.runner.engine.member, state=state))
    assert codes(diagnose(first)) == [code], "who else is there does not matter to it"


async def test_alarms_of_the_last_hour_are_told_too(first: Any) -> None:
    first.alarms.raise_alarm("equivocation", "twice", "stop one")
    assert codes(diagnose(first)) == ["equivocation"] == [p["code"] for p in problems(first)]


async def test_a_database_that_came_back_is_one_finding(first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, "continuity", Continuity.RESTORED)
    first.alarms.raise_alarm("restored", "its database is an older copy")
    assert codes(diagnose(first)) == ["restored"] == [p["code"] for p in problems(first)]
    first.alarms.raise_alarm("database-lost", "the database is gone: a new one was made", "it goes on by itself")
    assert codes(diagnose(first)) == ["database-lost"] == [p["code"] for p in problems(first)]
    shows(monkeypatch, "member", msgspec.structs.replace(first.runner.engine.member, state=MemberState.LEFT))
    assert codes(diagnose(first)) == ["left"] == [p["code"] for p in problems(first)]


async def test_a_member_that_nobody_knows_any_more_is_named(first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = first.runner.engine
    ghost = msgspec.structs.replace(engine.member, name="n9", actor=b"9" * 16)
    identity = dataclasses.replace(engine.identity, restored=True, bootstrap=(engine.member, ghost))
    shows(monkeypatch, "identity", identity)
    shows(monkeypatch, "caught_up", False)
    assert "member-forgotten" not in codes(diagnose(first)), "others may tell of it yet"
    shows(monkeypatch, "caught_up", True)
    [finding] = [each for each in diagnose(first) if each.code == "member-forgotten"]
    assert "n9" in finding.message and "n1" not in finding.message and "apply --now" in finding.hint
    shows(monkeypatch, "identity", dataclasses.replace(identity, bootstrap=(engine.member,)))
    assert "member-forgotten" not in codes(diagnose(first))


async def test_a_member_that_is_lost_is_named_with_since_when(first: Any, cluster: Any, eventually: Any) -> None:
    cluster.network.cut(cluster["n1"].key, cluster["n2"].key)

    def lost() -> bool:
        cluster["n1"].tick()
        return bool(cluster["n1"].engine.liveness.opinion("n2") == "offline")

    await eventually("it is lost", lost)
    [finding] = diagnose(first)
    assert finding.code == "not-connected" and finding.severity == "warning" and "n2 (offline)" in finding.message
    assert "for " in finding.message and "tcp://n2:7946" in finding.hint
    assert problems(first) == []
    await cluster["n1"].writer.record({PREFIX + "n2": maintenance_value("", 0.0, None)})
    [finding] = diagnose(first)
    assert finding.severity == "info", "it is meant to be away"


@pytest.mark.parametrize(
    ("unheard", "unreached", "what", "hint"),
    [
        (True, False, "n2 (online): a connection to it stands, but it was not heard directly for ", "reached from there"),
        (False, True, "n2 (online): it is heard, but no connection to it can be made", "tcp://n2:7946 be reached from here"),
        (True, True, "n2 (online): neither heard nor reached for ", "reached from here, and this node's mesh port"),
    ],
)
async def test_which_way_nothing_passes_is_said(first: Any, unheard: bool, unreached: bool, what: str, hint: str) -> None:
    first.host.reach = Reach(frozenset({"n2"} if unheard else ()), frozenset({"n2"} if unreached else ()))
    [finding] = diagnose(first)
    assert finding.code == "not-connected" and finding.message.startswith(what) and hint in finding.hint


async def test_one_way_partitions_and_flapping_are_named(
    first: Any, cluster: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first.host.reach = Reach(frozenset({"n2"}), frozenset())
    cluster["n2"].runner.observe([reach_cell(Reach(), 1.0)])

    def found() -> list[str]:
        for node in cluster.nodes.values():
            node.tick()
        return codes(diagnose(first))

    await eventually("both have told", lambda: "reach" in found())
    assert found() == ["not-connected", "reach"]
    assert "n2 hears n1, n1 does not hear n2" in [finding.message for finding in diagnose(first)]
    monkeypatch.setattr(Liveness, "flapping", lambda *_: True)
    assert "flapping" in found()


async def test_who_keeps_the_log_from_shrinking(first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "stability", lambda _: Stability({}, ("n2",)))
    assert standing(first) == [], "while there is room nobody has to know"
    bounds = {"unstable_edits": 10, "unstable_bytes": 10**9}
    monkeypatch.setattr(doctor, "limit", bounds.__getitem__)
    [finding] = standing(first)
    assert finding.code == "floor-blocked" and finding.severity == "warning" and "n2 " in finding.message and "20%" in finding.message
    assert "member retire n2" in finding.hint
    bounds["unstable_edits"] = 2
    assert standing(first)[0].severity == "error"
    bounds |= {"unstable_edits": 10**9, "unstable_bytes": 1}
    assert codes(standing(first)) == ["floor-blocked"], "bytes count as well"


async def test_clocks_that_are_off_are_only_mentioned(first: Any) -> None:
    first.skew.known = lambda: {"n2": -7300.0, "n1": 5.0, "n9": 1e6}
    [finding] = diagnose(first)
    assert finding.code == "clock-skew" and finding.severity == "info" and "n2 is 2 hours behind" in finding.message


async def test_the_disk_and_the_open_files(first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage._replace(free=10 * 2**20))
    assert codes(diagnose(first)) == ["disk-low"]
    monkeypatch.undo()
    monkeypatch.setattr("gossip.sockets.resource.getrlimit", lambda _: (64, 64))
    assert codes(diagnose(first)) == ["file-limit"]


async def test_open_conflicts_are_counted(first: Any, cluster: Any, eventually: Any) -> None:
    for node in cluster.nodes.values():
        await node.runner.submit({"defaults": {"polling-interval": node.name[1:]}})

    def conflict() -> bool:
        for node in cluster.nodes.values():
            node.tick()
        return bool(first.picture.config.conflicts)

    await eventually("the conflict is here", conflict)
    assert codes(diagnose(first)) == ["conflicts"]


async def test_settings_that_contradict_the_registry(first: Any, cluster: Any) -> None:
    me = first.runner.engine.member
    loopback = msgspec.structs.replace(me, endpoint="tcp://127.0.0.1:7946")
    await cluster["n1"].writer.record({"member/n1": member_value(loopback)})
    found = {finding.code: finding for finding in diagnose(first)}
    assert {"endpoint-differs", "advertises-loopback"} <= found.keys()
    assert "n2" in found["advertises-loopback"].message and "gossip.advertise" in found["advertises-loopback"].hint


async def test_a_level_that_this_version_does_not_speak(first: Any, cluster: Any) -> None:
    await cluster["n1"].writer.record({LEVEL_KEY: level_value(LEVEL)})
    assert standing(first) == []
    await cluster["n1"].writer.record({LEVEL_KEY: level_value(LEVEL + 2)})
    [finding] = standing(first)
    assert finding.code == "level-above" and f"level {LEVEL + 2}" in finding.message and finding.severity == "error"


async def test_the_worst_comes_first(first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first.skew.known = lambda: {"n2": 1e6}
    first.alarms.raise_alarm("edits-void", "void", "versions")
    shows(monkeypatch, "config_behind", True)
    assert [finding.severity for finding in diagnose(first)] == ["error", "warning", "info"]
