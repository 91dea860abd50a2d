"""Which lines of the allow-list stay although their LUN is no longer configured: what an enabled storage uses, and what is in conflict."""

from typing import Any

import pytest

from agent.apply_loop import _kept
from agent.config_view import ConfigView

pytestmark = pytest.mark.anyio

A, B = "3624a9370e92ace0b12e941bf000cb4d5", "360014050000000100004000800000000"


async def kept(memory_cluster: Any, sections: dict[str, dict[str, str]], groups: dict[str, frozenset[str]] | None = None) -> dict[str, str]:
    node = memory_cluster("n1")["n1"]
    await node.writer.record(sections)
    return _kept(ConfigView(node.engine.replica.fold, ["n1"], groups or {}))


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"storage/san": {"type": "multipath", "wwids": A}}, {A}),
        ({"storage/san": {"type": "multipath", "wwids": A, "disable": "1"}}, set()),
        ({"storage/san": {"type": "multipath"}, "storage/vg": {"type": "lvm", "vgname": "vg1", "base": f"san:{A}"}}, {A}),
        ({"storage/san": {"type": "multipath"}, "storage/vg": {"type": "lvm", "vgname": "vg1", "base": f"san:{A}", "disable": "1"}}, set()),
        ({"storage/san": {"type": "multipath"}}, set()),
        ({"storage/vg": {"type": "lvm", "vgname": "vg1"}}, {B}),
        ({"storage/vg": {"type": "lvm", "vgname": "other"}}, set()),
    ],
)
async def test_a_storage_that_is_used_keeps_its_lun(memory_cluster: Any, sections: dict[str, dict[str, str]], expected: set[str]) -> None:
    found = await kept(memory_cluster, sections, {B: frozenset({"vg1"})})
    assert found.keys() == expected
    assert all("the storage" in why for why in found.values())
