"""Leaving: who has to know, what stays possible, and what it does to a node that nobody hears."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.departure import META, Departure
from store.errors import PathmeshError, UnavailableError
from store.members import MEMBER_PREFIX, MemberState, Role

pytestmark = pytest.mark.anyio


class Leaver:
    """One node of a cluster in memory, with what its departure needs."""

    def __init__(self, node: Any, *, done: bool = False) -> None:
        self.node = node
        self.meta: dict[str, bytes] = {}
        self.purges: list[str] = []
        host = SimpleNamespace(purge=self._purge, keep=self._keep)
        database = SimpleNamespace(put_meta=self._put_meta)
        self.departure = Departure(node.engine, node.runner, node.writer, host, database, done=done)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.departure.run())

    async def _purge(self) -> dict[str, Any]:
        self.purges.append("purge")
        return {"state": "in-sync"}

    async def _keep(self) -> None:
        self.purges.append("keep")

    async def _put_meta(self, values: dict[str, bytes]) -> None:
        self.meta |= values

    async def leave(self, **more: Any) -> dict[str, Any]:
        """Ask to leave; the news of it come as the daemon passes them on."""
        asked = asyncio.create_task(self.departure.leave(**{"purge": False, "wait_seconds": 5, "reason": ""} | more))
        seen = 0
        while not asked.done():
            for change in self.node.published[seen:]:
                seen += 1
                self.departure.news(change)
            await asyncio.sleep(0.01)
        return await asked

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture
async def leaver(memory_cluster: Any) -> Any:
    made: list[Leaver] = []

    def make(node: Any, **more: Any) -> Leaver:
        made.append(Leaver(node, **more))
        return made[-1]

    yield make
    for each in made:
        await each.end()


async def ticking(cluster: Any) -> None:
    while True:
        for node in cluster.nodes.values():
            node.tick()
        await asyncio.sleep(0.02)


@pytest.fixture
async def three(memory_cluster: Any, eventually: Any) -> Any:
    cluster = memory_cluster("n1", "n2", "n3", roles={"n2": Role.EDITOR, "n3": Role.OBSERVER})
    task = asyncio.create_task(ticking(cluster))
    nodes = cluster.nodes.values()
    await eventually("all talk", lambda: all(p.open and p.floor is not None for n in nodes for p in n.engine.peers.values()))
    yield cluster
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("name", ["n1", "n2", "n3"])
async def test_any_role_may_leave_and_waits_until_it_is_known(three: Any, leaver: Any, eventually: Any, name: str) -> None:
    leaving = leaver(three[name])
    answer = await leaving.leave(reason="sold")
    others = {"n1", "n2", "n3"} - {name}
    assert answer["left"] == name and set(answer["known_by"]) <= others and answer["known_by"]
    assert bool(answer["warnings"]) is (name == "n1"), "it was the only admin"
    for other in others:
        await eventually("the others know", lambda other=other: three[other].members.standing(name, 0) == "left")
    assert leaving.meta == {META: b"1"} and leaving.node.log.edits[-1].edit.reason == "sold"
    with pytest.raises(PathmeshError) as caught:
        await three[name].runner.submit({"ack/x": {"n": "1"}})
    assert caught.value.code == "left"


async def test_leaving_keeps_what_a_later_version_registered(three: Any, leaver: Any, eventually: Any) -> None:
    before = dict(three["n2"].engine.replica.fold.value(MEMBER_PREFIX + "n2"))
    await three["n1"].writer.record({MEMBER_PREFIX + "n2": before | {"rack": "b2"}})
    await eventually("n2 knows", lambda: three["n2"].engine.member.more == (("rack", "b2"),))
    await leaver(three["n2"]).leave()
    assert three["n2"].engine.replica.fold.value(MEMBER_PREFIX + "n2") == before | {"rack": "b2", "state": "left"}


async def test_a_dry_run_writes_nothing(three: Any, leaver: Any) -> None:
    answer = await leaver(three["n1"]).leave(dry_run=True, purge=True)
    assert answer["dry_run"] and "only admin" in answer["warnings"][0] and not three["n1"].log.edits


async def test_what_was_purged_comes_back_if_it_cannot_leave(three: Any, leaver: Any) -> None:
    node = three["n2"]
    node.log.broken = "the disk is full"
    leaving = leaver(node)
    with pytest.raises(PathmeshError) as caught:
        await leaving.leave(purge=True)
    assert caught.value.code == "storage-failed" and leaving.purges == ["purge", "keep"]
    node.log.broken = ""
    assert (await leaving.leave(purge=True))["purged"] == {"state": "in-sync"}


async def test_nobody_hears_of_it(three: Any, leaver: Any) -> None:
    for other in ("n1", "n3"):
        three.network.cut(three["n2"].key, three[other].key)
    leaving = leaver(three["n2"])
    with pytest.raises(UnavailableError) as caught:
        await leaving.leave(wait_seconds=0.2)
    assert caught.value.code == "leave-unheard" and "member retire n2" in caught.value.hint
    assert leaving.departure.left and leaving.meta == {}, "it has left, and tells them as soon as it can"


async def test_one_that_others_know_has_left_is_passive_from_the_start(three: Any, leaver: Any, eventually: Any) -> None:
    await leaver(three["n3"]).leave()
    again = leaver(three["n3"], done=True)
    assert (await again.leave())["left"] == "n3", "asked again it says so at once"


@pytest.mark.parametrize(("state", "code"), [(MemberState.RETIRED, "retired"), (None, "joining")])
async def test_a_node_that_is_no_member_cannot_leave(
    three: Any, leaver: Any, monkeypatch: pytest.MonkeyPatch, state: MemberState | None, code: str
) -> None:
    member = three["n2"].engine.member
    found = msgspec.structs.replace(member, state=state) if state is not None else None
    monkeypatch.setattr(type(three["n2"].engine), "member", property(lambda _: found))
    with pytest.raises(PathmeshError) as caught:
        await leaver(three["n2"]).leave()
    assert caught.value.code == code
