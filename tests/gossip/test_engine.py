"""The protocol, on a simulated cluster."""

from collections.abc import Callable
from typing import Any

import pytest

from store.matrix import Reporter

Make = Callable[..., Any]


def test_a_quiet_cluster_sees_itself_and_says_little(world: Make) -> None:
    w = world(4).settled()
    w.sent.clear()
    w.run(30_000)
    assert w.all_see(Reporter.FRESH)
    assert not any(node.alarms for node in w.up)
    assert w.sent["Delta"] < 4 * 30 * 5
    assert w.sent["Digest"] < 4 * 30 * 3
    assert w.sent["Hello"] == 0
