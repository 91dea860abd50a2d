"""The feature level: raised only when everybody speaks it, by an admin, and never taken back."""

from typing import Any

import pytest

from agent.levels import Levels
from store import level
from store.cells import NODE_FACTS, Cell
from store.errors import PathmeshError, UsageError
from store.members import Role

pytestmark = pytest.mark.anyio


def levels(node: Any) -> Levels:
    return Levels(node.engine, node.writer, node.picture)


def reports(node: Any, highest: object) -> None:
    """The node tells what it speaks."""
    node.runner.observe([Cell(NODE_FACTS, "node", "healthy", (), {"level": highest})])


async def test_a_level_is_raised_when_all_speak_it(memory_cluster: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = memory_cluster("n1", "n2", "n3")
    first = levels(cluster["n1"])
    assert first.describe()["level"] == 1
    monkeypatch.setattr(level, "LEVEL", 3)

    def known(**expected: object) -> bool:
        for node in cluster.nodes.values():
            node.tick()
        return first.spoken() == expected

    await eventually("nothing is known", lambda: known(n1=3, n2=None, n3=None))
    with pytest.raises(UsageError) as unknown:
        await first.raise_to(2)
    assert unknown.value.code == "level-not-spoken" and "n2, n3" in unknown.value.message
    reports(cluster["n2"], 2)
    reports(cluster["n3"], 1)
    await eventually("they tell", lambda: known(n1=3, n2=2, n3=1))
    assert first.describe() == {
        "level": 1,
        "highest": 1,
        "members": [{"name": "n1", "level": 3}, {"name": "n2", "level": 2}, {"name": "n3", "level": 1}],
    }
    with pytest.raises(UsageError, match="n3"):
        await first.raise_to(2)
    await cluster["n1"].members.retire("n3")
    assert await first.raise_to(2, dry_run=True) is None and first.present() == 1
    assert await first.raise_to(2, reason="all new") is not None and first.present() == 2
    await eventually("the other has it", lambda: known(n1=3, n2=2) and levels(cluster["n2"]).present() == 2)
    for wanted, code in ((2, "exists"), (1, "bad-level")):
        with pytest.raises(UsageError) as caught:
            await first.raise_to(wanted)
        assert caught.value.code == code


async def test_what_is_no_level_counts_as_none(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    reports(cluster["n2"], "many")

    def heard() -> bool:
        for node in cluster.nodes.values():
            node.tick()
        return bool(cluster["n1"].picture.node_facts("n2"))

    await eventually("it is heard", heard)
    assert levels(cluster["n1"]).spoken() == {"n1": level.LEVEL, "n2": None}


async def test_only_admins_raise_it(memory_cluster: Any) -> None:
    cluster = memory_cluster("n1", "n2", roles={"n2": Role.EDITOR})
    with pytest.raises(PathmeshError) as caught:
        await levels(cluster["n2"]).raise_to(2)
    assert caught.value.code == "forbidden"
