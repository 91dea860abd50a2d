"""The host side of a node: when nothing may be applied, when everything has to go, and what it tells of itself."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.bootstrap import init
from gossip.engine import Engine
from store.cells import GOSSIP_REACH, NODE_FACTS
from store.level import LEVEL
from store.members import Member, MemberState, Role

WWID = "360014050000000100004000800000000"
OTHER = "360014050000000100004000800000001"
_numbers = itertools.count(1)
LUNS = "".join(
    f"""
[[lun]]
wwid = "{wwid}"
vendor = "LAB"
product = "SANDISK1"
rev = "4.0"
size_bytes = 67108864
[[lun.path]]
dev = "sd{letter}"
"""
    for wwid, letter in ((WWID, "a"), (OTHER, "b"))
)


def until(what: str, holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def module_node(tmp_path_factory: pytest.TempPathFactory, settings_in: Any, live_node: Any) -> Iterator[Any]:
    settings = settings_in(tmp_path_factory.mktemp("host"))
    init(settings, "n1", "san")
    with live_node(settings, luns=LUNS) as node:
        yield node


@pytest.fixture
def node(module_node: Any) -> Any:
    """A node with a LUN that is applied."""
    for wwid in (WWID, OTHER):
        if module_node.ask("GET", f"/v1/config/wwids/{wwid}").status == 200:
            module_node.write("DELETE", f"/v1/config/wwids/{wwid}")
    alias = f"lun-{next(_numbers)}"
    assert module_node.write("POST", "/v1/config/wwids", {"wwid": WWID, "options": {"alias": alias}}).status == 200
    until("it is applied", lambda: applied(module_node) and alias in main(module_node))
    return module_node


def apply(node: Any) -> dict[str, Any]:
    found: dict[str, Any] = node.get("/v1/apply")["apply"]
    return found


def applied(node: Any) -> bool:
    """Whether what is wanted now is in sync."""
    state = apply(node)
    return bool(state["state"] == "in-sync" and state["desired"] == state["applied"] and not state["notes"])


def main(node: Any) -> str:
    path: Path = node.settings.multipath.etc_dir / "conf.d" / "90-pathmesh.conf"
    return path.read_text() if path.exists() else ""


def allowed(node: Any) -> str:
    return str((node.settings.multipath.etc_dir / "wwids").read_text())


def noted(node: Any) -> list[str]:
    return [note["code"] for note in apply(node)["notes"]]


@pytest.mark.parametrize(("attribute", "value"), [("config_behind", True), ("frozen", frozenset({f"wwid/{WWID}"}))])
def test_nothing_is_applied_while_the_configuration_cannot_be_known(
    node: Any, monkeypatch: pytest.MonkeyPatch, attribute: str, value: object
) -> None:
    before, code = main(node), attribute.replace("_", "-")
    with monkeypatch.context() as patched:
        patched.setattr(Engine, attribute, property(lambda _: value))
        assert node.write("PATCH", f"/v1/config/wwids/{WWID}", {"set": {"alias": "second"}}).status == 200
        until("it says so", lambda: code in noted(node))
        assert apply(node)["state"] == "pending" and apply(node)["desired"] != apply(node)["applied"]
        assert node.ask("POST", "/v1/apply").json["apply"]["state"] == "pending", "not even when asked to"
        assert node.write("DELETE", f"/v1/config/wwids/{WWID}").status == 200
        until("and goes on saying it", lambda: code in noted(node) and apply(node)["state"] == "pending")
        assert main(node) == before and WWID in allowed(node), "the last good files stay"
        assert code in {problem["code"] for problem in node.get("/v1/status")["config"]["problems"]}
    assert node.write("POST", "/v1/config/wwids", {"wwid": WWID, "options": {"alias": "third"}}).status == 200
    until("it goes on", lambda: applied(node) and "third" in main(node))
    assert code not in noted(node)


def test_a_host_that_was_in_sync_is_so_while_nothing_else_is_wanted(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "config_behind", property(lambda _: True))
    answer = node.ask("POST", "/v1/apply").json["apply"]
    assert answer["state"] == "in-sync" and [note["code"] for note in answer["notes"]] == ["config-behind"]
    monkeypatch.undo()
    node.ask("POST", "/v1/apply")
    until("the note is gone", lambda: applied(node))


def test_a_node_that_left_keeps_its_host_as_it_is(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before, member = main(node), node.node.runner.engine.member
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "member", property(lambda _: msgspec.structs.replace(member, state=MemberState.LEFT)))
        answer = node.ask("POST", "/v1/apply").json["apply"]
        assert [note["code"] for note in answer["notes"]] == ["left"] and main(node) == before


def test_a_purge_takes_everything_off_and_can_be_taken_back(node: Any) -> None:
    outcome = node.run(node.node.host.purge())
    assert outcome["state"] == "in-sync" and main(node) == "" and f"\n/{WWID}/" not in allowed(node)
    assert node.write("POST", "/v1/config/wwids", {"wwid": OTHER}).status == 200
    node.ask("POST", "/v1/apply")
    assert main(node) == "", "whatever the configuration says"
    node.run(node.node.host.keep())
    until("what is configured is back", lambda: applied(node) and OTHER in main(node) and f"\n/{WWID}/" in allowed(node))


def test_what_cannot_be_purged_is_told_and_stays(node: Any) -> None:
    before = main(node)
    path = node.settings.multipath.etc_dir / "conf.d" / "90-pathmesh.conf"
    path.write_text(before + "# by hand\n")
    answer = node.ask("POST", "/v1/leave", {"purge": True})
    assert answer.status == 503 and answer.json["code"] == "purge-failed" and str(path) in answer.json["detail"], answer
    assert path.read_text() == before + "# by hand\n" and node.ask("GET", "/readyz").status == 200, "it has not left"
    path.write_text(before)
    node.ask("POST", "/v1/apply")
    until("it goes on as before", lambda: applied(node))


def test_it_tells_its_level_and_whom_it_does_not_reach(node: Any) -> None:
    engine = node.node.runner.engine

    def cells() -> dict[tuple[str, str], Any]:
        found: dict[tuple[str, str], Any] = node.call(lambda: {cell.key: cell for cell in engine.exchange.streams["n1"].cells()})
        return found

    told = until("it tells", lambda: found if (GOSSIP_REACH, "reach") in (found := cells()) else None)
    assert told[(GOSSIP_REACH, "reach")].detail == {"unheard": [], "unreached": []}
    assert told[(NODE_FACTS, "node")].detail["level"] == LEVEL
    assert {row["kind"] for row in node.get("/v1/matrix")["resources"]} == {"multipath.map", "multipath.apply"}, "neither is a row"


def test_who_knows_less_than_was_in_effect_removes_nothing(node: Any) -> None:
    """A database that was put back brings an older clock; the guard has the true one. Alone it waits until somebody says so."""
    loop = node.node.host._applying
    config = node.node.picture.config

    async def may_remove(told: bool) -> bool:
        found: bool = await node.node.host._knowledge.suffices(config, told=told)
        return found

    assert node.run(may_remove(False))
    node.run(loop._in_effect._keeper.applied({**config.clock, b"lost".ljust(16): 1}))
    assert not node.run(may_remove(False)) and not node.run(may_remove(False))
    assert node.run(may_remove(True)) and node.run(may_remove(False))
    assert node.run(loop._in_effect.read()) == dict(config.clock)


def test_a_database_that_knows_nobody_any_more_removes_nothing(node: Any) -> None:
    """A founder's database from when it was alone says that it is: what the guard remembers counts then."""
    engine, host = node.node.runner.engine, node.node.host
    own = engine.member
    other = Member("n2", b"2" * 16, "k" * 40, b"s" * 32, "tcp://n2:7946", Role.ADMIN, MemberState.JOINED)

    async def may_remove() -> bool:
        found: bool = await host._knowledge.suffices(node.node.picture.config)
        return found

    identity = engine.identity
    try:
        assert node.run(may_remove()), "it is alone"
        for restored, remembered, expected in ((True, (own, other), False), (True, (own,), True), (False, (own, other), True)):
            engine._state.identity = dataclasses.replace(identity, restored=restored, bootstrap=remembered)
            assert node.run(may_remove()) is expected
        engine._state.identity = identity
        engine._upkeep.diverged.add("n2")
        assert not node.run(may_remove()), "another has the same edits and another state, and nobody says which is right"
        engine._upkeep._agreed.add("n3")
        assert node.run(may_remove()), "a third one has this state"
    finally:
        engine._upkeep.diverged.clear()
        engine._upkeep._agreed.clear()
        engine._state.identity = identity
