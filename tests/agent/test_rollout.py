"""How far an edit has come: told from what the members themselves show, and unknown where nothing was heard."""

import re
from typing import Any

import msgspec
import pytest

from agent.history import History
from agent.rollout import newest, rollout
from agent.writes import Expected
from apply.outcome import APPLIED_CLOCK, ApplyError, ApplyOutcome, ApplyState, apply_cell, told_clock
from store.cells import MULTIPATH_APPLY, Cell
from store.document import WWID_PREFIX
from store.errors import UsageError
from store.matrix import Reporter
from store.members import MEMBER_PREFIX, MemberState, member_value

pytestmark = pytest.mark.anyio

A = "3624a9370e92ace0b12e941bf000cb4d5"
KEY = WWID_PREFIX + A


class Nothing:
    """An archive without anything."""

    async def history(self, before: int | None, limit: int) -> list[tuple[int, bytes]]:
        return []


def history(node: Any) -> History:
    return History(node.engine, node.picture, node.writer, Nothing())


def look(node: Any, edit: str) -> dict[str, Any]:
    return rollout(node.engine, node.picture, history(node).resolve(edit))


def states(node: Any, edit: str) -> dict[str, str]:
    return {each["node"]: each["state"] for each in look(node, edit)["nodes"]}


def report(node: Any, state: ApplyState, *, applied: bool = False, clock: bool = True, desired: str | None = None, code: str = "") -> None:
    """Let a node say how its apply fares, as its host would."""
    digest = desired or node.picture.config.apply_digest
    errors = (ApplyError(code, "it is not there"),) if code else ()
    told = told_clock(node.engine.replica.fold.clock) if applied and clock else {}
    outcome = ApplyOutcome(state, digest, digest if applied else "", errors=errors, applied_clock=told)
    node.runner.observe([apply_cell(outcome, 1.0)])


async def write(node: Any, value: str) -> str:
    return str((await node.writer.change({KEY: {"alias": value}}, Expected())).edit)


async def heard(cluster: Any, eventually: Any, *viewers: str) -> None:
    def fresh() -> bool:
        for node in cluster.nodes.values():
            node.tick()
        return all(set(cluster[name].picture.reporters().values()) == {Reporter.FRESH} for name in viewers or cluster.nodes)

    await eventually("everybody is heard", fresh)


@pytest.fixture
async def pair(memory_cluster: Any, eventually: Any) -> Any:
    cluster = memory_cluster("n1", "n2")
    await cluster.converged()
    for node in cluster.nodes.values():
        report(node, ApplyState.IN_SYNC, applied=True)
    await heard(cluster, eventually)
    return cluster


async def becomes(cluster: Any, eventually: Any, viewer: str, wanted: dict[str, str], edit: str) -> None:
    def holds() -> bool:
        for node in cluster.nodes.values():
            node.tick()
        return states(cluster[viewer], edit) == wanted

    await eventually(f"{wanted}", holds)


async def test_an_edit_is_followed_from_commit_to_apply(pair: Any, eventually: Any) -> None:
    pair.network.cut(pair["n1"].key, pair["n2"].key)
    edit = await write(pair["n1"], "a")
    assert states(pair["n1"], edit)["n2"] in ("waiting", "unknown") and states(pair["n1"], edit)["n1"] == "committed"
    assert not look(pair["n1"], edit)["done"]
    pair.network.heal_all()
    await becomes(pair, eventually, "n1", {"n1": "committed", "n2": "committed"}, edit)
    report(pair["n2"], ApplyState.IN_SYNC, applied=True)
    await becomes(pair, eventually, "n1", {"n1": "committed", "n2": "applied"}, edit)
    report(pair["n1"], ApplyState.IN_SYNC, applied=True)
    for viewer in ("n1", "n2"):
        await becomes(pair, eventually, viewer, {"n1": "applied", "n2": "applied"}, edit)
    body = look(pair["n1"], edit)
    assert body["edit"] == edit and body["done"] and body["counts"]["applied"] == 2 and body["keys"] == [KEY] and body["author"] == "n1"
    assert look(pair["n2"], edit[:6] + ":" + edit.partition(":")[2]) | {"nodes": []} == body | {"nodes": []}


async def test_a_member_that_is_heard_and_lacks_it_waits(pair: Any, eventually: Any) -> None:
    pair["n1"].log.gate.clear()
    edit = await write(pair["n2"], "a")
    assert states(pair["n2"], edit) == {"n1": "waiting", "n2": "committed"}
    assert [node["message"] for node in look(pair["n2"], edit)["nodes"]] == ["lacks the edit", None]
    pair["n1"].log.gate.set()
    await becomes(pair, eventually, "n2", {"n1": "committed", "n2": "committed"}, edit)


async def test_a_failed_apply_names_its_fault_and_that_of_another_configuration_does_not_count(pair: Any, eventually: Any) -> None:
    edit = await write(pair["n1"], "a")
    await pair.converged()
    report(pair["n2"], ApplyState.FAILED, desired="0" * 64, code="not-installed")
    await becomes(pair, eventually, "n1", {"n1": "committed", "n2": "committed"}, edit)
    report(pair["n2"], ApplyState.FAILED, code="not-installed")
    await becomes(pair, eventually, "n1", {"n1": "committed", "n2": "failed"}, edit)
    told = look(pair["n1"], edit)
    assert [(n["code"], n["message"]) for n in told["nodes"]] == [(None, None), ("not-installed", "it is not there")]
    assert told["counts"]["failed"] == 1 and not told["done"]


async def test_an_older_edit_stays_applied_while_a_newer_one_fails(pair: Any, eventually: Any) -> None:
    old = await write(pair["n1"], "a")
    await pair.converged()
    clock = told_clock(pair["n2"].engine.replica.fold.clock)
    new = await write(pair["n1"], "b")
    await pair.converged()
    wanted = pair["n2"].picture.config.apply_digest
    outcome = ApplyOutcome(ApplyState.FAILED, wanted, "", errors=(ApplyError("refused", "no"),), applied_clock=clock)
    pair["n2"].runner.observe([apply_cell(outcome, 1.0)])
    await becomes(pair, eventually, "n1", {"n1": "committed", "n2": "applied"}, old)
    await becomes(pair, eventually, "n1", {"n1": "committed", "n2": "failed"}, new)


async def test_without_a_clock_what_was_applied_is_told_by_the_digest(pair: Any, eventually: Any) -> None:
    edit = await write(pair["n1"], "a")
    await pair.converged()
    report(pair["n2"], ApplyState.IN_SYNC, applied=True, clock=False)
    await becomes(pair, eventually, "n1", {"n1": "committed", "n2": "applied"}, edit)
    await write(pair["n1"], "b")
    assert states(pair["n1"], edit)["n2"] == "committed", "what this node wants is something else now: it cannot be told"


@pytest.mark.parametrize("clock", [{"00" * 16: "many"}, [], "x", {"nonsense": 3}])
async def test_a_clock_that_makes_no_sense_proves_nothing(pair: Any, eventually: Any, clock: Any) -> None:
    edit = await write(pair["n1"], "a")
    await pair.converged()
    pair["n2"].runner.observe([Cell(MULTIPATH_APPLY, "config", "healthy", (), {"state": "in-sync", APPLIED_CLOCK: clock, "applied": 7})])
    await becomes(pair, eventually, "n1", {"n1": "committed", "n2": "committed"}, edit)


async def test_a_host_that_needs_no_multipath_tools_has_nothing_to_apply(pair: Any, eventually: Any) -> None:
    edit = await write(pair["n1"], "a")
    report(pair["n1"], ApplyState.IN_SYNC, applied=True)
    await pair.converged()
    report(pair["n2"], ApplyState.NOT_APPLICABLE)
    await becomes(pair, eventually, "n1", {"n1": "applied", "n2": "not-applicable"}, edit)
    assert look(pair["n1"], edit)["done"]


async def test_what_concerns_no_host_is_done_when_committed(pair: Any, eventually: Any) -> None:
    edit = str(await pair["n1"].writer.record({f"ack/n1/{A}": {"paths": "a"}}))
    await becomes(pair, eventually, "n1", {"n1": "committed", "n2": "committed"}, edit)
    body = look(pair["n1"], edit)
    assert body["done"] and body["hosts"] is False


async def test_who_is_not_heard_is_unknown_and_keeps_what_it_had(pair: Any, eventually: Any) -> None:
    had = await write(pair["n1"], "a")
    await pair.converged()
    for node in pair.nodes.values():
        report(node, ApplyState.IN_SYNC, applied=True)
    await becomes(pair, eventually, "n1", {"n1": "applied", "n2": "applied"}, had)
    pair.network.cut(pair["n1"].key, pair["n2"].key)
    new = await write(pair["n1"], "b")

    def lost() -> bool:
        pair["n1"].tick()
        return pair["n1"].picture.reporters()["n2"] is not Reporter.FRESH

    await eventually("n2 is lost", lost)
    assert states(pair["n1"], new) == {"n1": "committed", "n2": "unknown"}
    assert re.fullmatch(r"not heard for \d+ s", look(pair["n1"], new)["nodes"][1]["message"])
    assert states(pair["n1"], had)["n2"] == "applied", "what it had it has"


async def test_only_members_that_take_part_are_waited_for(pair: Any) -> None:
    member = pair["n1"].engine.replica.registry.by_name["n2"]
    await pair["n1"].writer.record({MEMBER_PREFIX + "n2": member_value(msgspec.structs.replace(member, state=MemberState.RETIRED))})
    edit = await write(pair["n1"], "a")
    assert states(pair["n1"], edit) == {"n1": "committed"}


async def test_without_any_configuration_there_is_nothing_to_follow(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    with pytest.raises(UsageError) as caught:
        await newest(history(node))
    assert caught.value.code == "not-found" and caught.value.hint
    with pytest.raises(UsageError):
        look(node, "ff:1")


async def test_the_newest_edit_is_also_one_that_removed_something(pair: Any) -> None:
    node = pair["n1"]
    await write(node, "a")
    removal = (await node.writer.change({KEY: None}, Expected())).edit
    await node.writer.record({f"ack/n1/{A}": {"paths": "a"}})
    assert await newest(history(node)) == removal
