"""Whom a node keeps connections to: when a member leaves, and when its own registry is older than it once was."""

from collections.abc import Callable
from typing import Any

import pytest

from gossip.mesh import FAREWELL_MS
from store.clocks import covers
from store.edits import decode_edit
from store.matrix import Reporter
from store.members import MemberState, member_value

Make = Callable[..., Any]


def leave(w: Any, name: str) -> Any:
    """Leave, and wait for the answer; returns the edit's dot."""
    request = w.edit(name, {f"member/{name}": member_value(w.scribe.member(name, state=MemberState.LEFT))})
    w.until(lambda: w.made(name, request), 1_000, "that the edit is made")
    return w.nodes[name].accepted[request]


def known(w: Any, name: str, dot: Any) -> list[str]:
    """Of which others the node knows that they have the edit."""
    engine = w.nodes[name].engine
    return [other for other in w.nodes if other != name and (clock := engine.clock_of(other)) is not None and covers(clock, dot)]


@pytest.mark.parametrize(("count", "loss"), [(2, 0.0), (5, 0.0), (5, 0.2)])
def test_who_leaves_hears_that_it_is_known(world: Make, count: int, loss: float) -> None:
    w = world(count, seed=3).settled()
    w.loss = loss
    dot = leave(w, "n2")
    w.until(lambda: bool(known(w, "n2", dot)), FAREWELL_MS, "that it hears of one that knows")
    assert w.sees("n1", "n2") is Reporter.LEFT


def test_after_a_moment_nobody_talks_with_it(world: Make) -> None:
    w = world(3, seed=3).settled()
    leave(w, "n2")
    w.run(FAREWELL_MS + 2_000)
    for name in ("n1", "n3"):
        assert not w.nodes[name].engine.allowed(w.nodes["n2"].member.curve_key)
        assert {peer.name for peer in w.nodes[name].engine.peers.values()} == {"n1", "n3"} - {name}
    request = w.edit("n1", {"defaults": {"x": "1"}})
    w.until(lambda: w.made("n1", request), 1_000)
    w.run(3_000)
    assert w.value("n3", "defaults") == {"x": "1"} and w.value("n2", "defaults") is None


def as_founded(w: Any, node: Any) -> None:
    """Put the disk back that the first node had when it was alone; its guard remembers the others."""
    node.disk, node.base = node.disk[:1], None
    node.on_disk = {decode_edit(raw).dot for raw in node.disk}
    node.bootstrap = (w.nodes["n2"].member, w.nodes["n3"].member)


def test_a_registry_from_when_it_was_alone_does_not_keep_a_restored_node_alone(world: Make) -> None:
    w = world(3, seed=5).settled()
    node = w.nodes["n1"]
    w.kill("n1")
    for name in ("n2", "n3"):
        w.kill(name)
    as_founded(w, node)
    w.start("n1", restored=True)
    assert {peer.name for peer in node.engine.peers.values()} == {"n2", "n3"}, "those whom the guard remembers"
    w.start("n2")
    w.start("n3")
    w.until(w.converged, 20_000, "that it has all again")
    w.until(lambda: w.all_see(Reporter.FRESH), 20_000)


def test_a_restored_node_does_not_stick_to_who_was_retired_meanwhile(world: Make) -> None:
    w = world(3, seed=5).settled()
    node = w.nodes["n1"]
    request = w.edit("n2", {"member/n3": member_value(w.scribe.member("n3", state=MemberState.RETIRED))})
    w.until(lambda: w.made("n2", request), 1_000)
    w.run(1_000)
    w.kill("n1")
    as_founded(w, node)
    w.start("n1", restored=True)
    w.until(lambda: w.converged("n1", "n2"), 20_000, "that it has all again")
    assert {peer.name for peer in node.engine.peers.values()} == {"n2"}
