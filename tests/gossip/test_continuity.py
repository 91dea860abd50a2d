"""Under which actor a node writes, restored and cloned nodes, what is collected, and how a node comes back from behind the floor."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from gossip import codec
from gossip.authoring import Continuity
from gossip.mesh import MISHEARD_MS
from gossip.messages import Alive, Digest
from gossip.stability import clock_hash
from gossip.transport import MessageReceived
from store.edits import decode_edit
from store.limits import LIMITS, Limit
from store.matrix import Reporter
from store.members import MemberState, Role, member_value

Make = Callable[..., Any]


def lun(alias: str) -> dict[str, str]:
    return {"alias": alias}


def image(w: Any, name: str) -> Any:
    """All that survives the node's process, as it is now."""
    node = w.nodes[name]
    return copy.copy(node.disk), node.base, node.epoch, dict(node.streams)


def bring_back(w: Any, name: str, saved: Any) -> None:
    """Kill the node and put that back."""
    node = w.nodes[name]
    if node.running is not None:
        w.kill(name)
    node.disk, node.base, node.epoch, node.streams = copy.copy(saved[0]), saved[1], saved[2], dict(saved[3])
    node.on_disk = {decode_edit(raw).dot for raw in node.disk}


def write(w: Any, name: str, key: str, alias: str) -> Any:
    """Write and wait for the answer; returns the edit's dot."""
    request = w.edit(name, {key: lun(alias)})
    w.until(lambda: w.made(name, request), 1_000, "that the edit is made")
    return w.nodes[name].accepted[request]


# -- actors ---------------------------------------------------------------------------------------------------------------


def test_a_node_that_all_vouch_for_goes_on_as_its_identity_actor(world: Make) -> None:
    w = world(3, seed=1).settled()
    assert w.nodes["n2"].engine.continuity is Continuity.SURE
    assert write(w, "n2", "wwid/1", "a") == (w.scribe.actor("n2"), 1)
    w.kill("n2")
    w.start("n2")
    assert w.nodes["n2"].engine.continuity is Continuity.UNPROVEN
    w.until(lambda: w.nodes["n2"].engine.continuity is Continuity.SURE, 5_000)
    assert write(w, "n2", "wwid/1", "b") == (w.scribe.actor("n2"), 2)


def test_a_node_that_not_all_vouch_for_writes_under_an_actor_of_its_own_life(world: Make) -> None:
    w = world(3, seed=1).settled()
    w.kill("n3")
    w.run(500)
    first = write(w, "n2", "wwid/1", "a")
    assert first.actor != w.scribe.actor("n2")
    assert w.nodes["n2"].engine.replica.signed(first).edit.owner == w.scribe.actor("n2")
    assert write(w, "n2", "wwid/2", "a") == (first.actor, 2)
    w.start("n3")
    w.until(lambda: w.converged() and w.nodes["n2"].engine.continuity is Continuity.SURE, 10_000)
    assert write(w, "n2", "wwid/3", "a") == (first.actor, 3), "once begun, it stays"
    w.kill("n2")
    w.start("n2")
    w.until(lambda: w.nodes["n2"].engine.continuity is Continuity.SURE, 10_000)
    assert write(w, "n2", "wwid/4", "a").actor == w.scribe.actor("n2"), "a new life takes up no session actor"


def test_a_node_alone_cannot_know_and_so_takes_a_new_actor_each_life(world: Make) -> None:
    w = world(1)
    first = write(w, "n1", "wwid/1", "a")
    w.kill("n1")
    w.start("n1")
    second = write(w, "n1", "wwid/1", "b")
    assert len({first.actor, second.actor, w.scribe.actor("n1")}) == 3


def test_a_pause_ends_every_vouch(world: Make) -> None:
    w = world(3, seed=1).settled()
    w.check_ages = False
    w.pause("n2")
    w.run(20_000)
    w.resume("n2")
    assert w.nodes["n2"].engine.continuity is Continuity.UNPROVEN
    w.until(lambda: w.nodes["n2"].engine.continuity is Continuity.SURE, 30_000, "that all vouch again")


# -- restored -------------------------------------------------------------------------------------------------------------


def test_a_restored_node_uses_no_dot_twice_and_gets_its_lost_edits_back(world: Make) -> None:
    w = world(3, seed=1).settled()
    saved = image(w, "n2")
    lost = write(w, "n2", "wwid/1", "lost")
    w.run(1_000)
    bring_back(w, "n2", saved)
    w.start("n2")
    mine = write(w, "n2", "wwid/2", "mine")
    assert mine.actor != lost.actor
    w.until(lambda: w.converged() and w.nodes["n2"].engine.caught_up, 10_000)
    assert w.value("n2", "wwid/1") == lun("lost")
    assert w.value("n1", "wwid/2") == lun("mine")
    assert w.nodes["n2"].engine.continuity is Continuity.RESTORED
    assert w.nodes["n2"].codes()["restored"] == 1
    assert write(w, "n2", "wwid/3", "x").actor not in (lost.actor, w.scribe.actor("n2"))


def test_a_restored_node_is_told_though_it_wrote_nothing(world: Make) -> None:
    w = world(3, seed=1).settled()
    saved = image(w, "n2")
    write(w, "n1", "wwid/1", "a")
    w.run(10_000)
    bring_back(w, "n2", saved)
    w.start("n2")
    w.until(lambda: w.nodes["n2"].engine.continuity is Continuity.RESTORED, 5_000)
    w.until(lambda: w.converged() and w.nodes["n2"].engine.caught_up, 10_000)


def test_a_restored_node_is_not_caught_up_before_it_has_met_all(world: Make) -> None:
    w = world(3, seed=1).settled()
    saved = image(w, "n2")
    w.partition(["n2", "n3"], ["n1"])
    w.run(500)
    write(w, "n3", "wwid/1", "a")
    w.run(1_000)
    assert w.value("n2", "wwid/1") == lun("a")
    bring_back(w, "n2", saved)
    w.partition(["n2", "n1"], ["n3"])
    w.start("n2", restored=True)
    w.run(20_000)
    assert not w.nodes["n2"].engine.caught_up, "what it knew once, only one that is away knows still"
    w.heal()
    w.until(lambda: w.nodes["n2"].engine.caught_up and w.converged(), 20_000)
    assert w.value("n2", "wwid/1") == lun("a")


def test_the_health_of_a_restored_node_is_heard_again(world: Make) -> None:
    w = world(3, seed=1).settled()
    saved = image(w, "n2")
    w.kill("n2")
    w.start("n2")
    for n in range(9):
        w.report("n2", m1=f"s{n}")
        w.run(700)
    bring_back(w, "n2", saved)
    w.start("n2")
    w.report("n2", m1="after")
    w.until(lambda: w.shown("n1", "n2") == w.shown("n3", "n2") == {"m1": "after"}, 15_000)
    assert w.nodes["n2"].engine.counters["epochs_moved"] == 1
    assert w.nodes["n2"].epoch > saved[2] + 1, "durably"
    w.until(lambda: w.all_see(Reporter.FRESH), 5_000)


# -- cloned ---------------------------------------------------------------------------------------------------------------


def clone(w: Any, name: str) -> Any:
    """Start another process with the node's keys and a copy of its disk; both are reached by nobody but under the node's address."""
    node = w.nodes[name]
    twin = w.add(name, node.disk, label="twin")
    twin.base, twin.epoch = node.base, node.epoch
    w.start("twin")
    return twin


def test_of_two_clones_the_newer_is_not_listened_to(world: Make) -> None:
    w = world(3, seed=1).settled()
    twin = clone(w, "n2")
    w.until(lambda: w.nodes["n1"].codes()["clone"] and w.nodes["n3"].codes()["clone"], 20_000)
    theirs = write(w, "twin", "wwid/1", "twin")
    assert theirs.actor != w.scribe.actor("n2")
    w.until(lambda: w.nodes["n2"].engine.continuity is Continuity.SURE, 20_000)
    write(w, "n2", "wwid/2", "original")
    w.run(10_000)
    assert w.value("n1", "wwid/2") == lun("original")
    assert w.value("n1", "wwid/1") is None
    assert w.sees("n1", "n2") is w.sees("n3", "n2") is Reporter.FRESH
    w.kill("n2")
    w.until(lambda: w.value("n1", "wwid/1") == lun("twin"), 60_000, "that the one that is left is heard, with what it wrote")
    w.until(lambda: twin.engine.continuity is not Continuity.CLONED, 20_000)


def test_a_clone_that_is_told_is_passive(world: Make) -> None:
    w = world(3, seed=1).settled()
    for name in ("n1", "n3"):
        hears = w.nodes["n2"].engine.peers[w.nodes[name].member.curve_key]
        for _ in range(5):
            w.nodes["n2"].engine.mesh.heard_as(hears, b"another!", w.now)
            w.now += MISHEARD_MS // 3
    assert w.nodes["n2"].engine.continuity is Continuity.CLONED
    assert w.nodes["n2"].rejected[w.edit("n2", {"wwid/1": lun("t")})].code == "cloned"
    beat = w.nodes["n2"].engine.exchange.own.stream.head.beat
    w.run(200)
    assert w.nodes["n2"].engine.exchange.own.stream.head.beat == beat, "its heart stands still"
    w.until(lambda: w.nodes["n2"].engine.continuity is Continuity.SURE, 10_000, "that it is heard again")
    write(w, "n2", "wwid/1", "x")


def test_a_quick_restart_is_no_clone(world: Make) -> None:
    w = world(4, seed=1).settled()
    for _ in range(5):
        w.kill("n2")
        w.start("n2")
        w.run(MISHEARD_MS + 2_000)
    assert not any(node.codes()["clone"] or node.codes()["cloned"] for node in w.up)


# -- collecting -----------------------------------------------------------------------------------------------------------


def test_edits_go_once_all_have_them_and_the_state_stays(world: Make) -> None:
    w = world(3, seed=1)
    w.collect_edits = 5
    w = restarted(w)
    for n in range(40):
        write(w, f"n{n % 3 + 1}", "wwid/1", f"a{n}")
    w.until(lambda: all(len(node.engine.replica) < 12 for node in w.up), 60_000)
    assert w.converged()
    assert w.value("n3", "wwid/1") == lun("a39")
    for name in list(w.nodes):
        w.kill(name)
        w.start(name)
    w.until(lambda: w.converged() and all(node.engine.caught_up for node in w.up), 20_000)
    assert w.value("n1", "wwid/1") == lun("a39")


def restarted(w: Any) -> Any:
    """All nodes started anew, with what the world has been told since."""
    for name in list(w.nodes):
        w.kill(name)
    for name in list(w.nodes):
        w.start(name)
    return w.settled()


def test_a_member_that_is_down_keeps_the_floor_and_is_named(world: Make) -> None:
    w = world(3, seed=1)
    w.collect_edits = 5
    w = restarted(w)
    w.kill("n3")
    for n in range(30):
        write(w, "n1", "wwid/1", f"a{n}")
    w.run(60_000)
    engine = w.nodes["n1"].engine
    assert len(engine.replica) >= 30
    assert engine.stability().blocked_by == ("n3",)
    w.edit("n1", {"member/n3": member_value(w.scribe.member("n3", state=MemberState.RETIRED))})
    w.until(lambda: len(engine.replica) < 12, 60_000, "that retiring it frees the floor")
    assert engine.stability().blocked_by == ()


def test_a_deletion_is_forgotten_and_nothing_comes_back(world: Make) -> None:
    w = world(3, seed=1)
    w.collect_edits = 1
    w = restarted(w)
    write(w, "n1", "wwid/1", "a")
    request = w.edit("n2", {"wwid/1": None})
    w.until(lambda: w.made("n2", request) and all("wwid/1" not in list(node.engine.replica.fold) for node in w.up), 60_000)
    w.run(30_000)
    assert w.converged()
    assert not any(node.engine.diverged for node in w.up)


# -- from behind the floor ------------------------------------------------------------------------------------------------


def behind(world: Make, **more: Any) -> tuple[Any, Any]:
    """A cluster that has collected a lot since the image of n3 that is returned was taken."""
    w = world(3, seed=1, **more)
    w.collect_edits = 1
    w = restarted(w)
    write(w, "n1", "wwid/1", "old")
    write(w, "n1", "wwid/2", "old")
    w.until(w.converged, 5_000)
    saved = image(w, "n3")
    for n in range(10):
        write(w, "n1", "wwid/1", f"a{n}")
    request = w.edit("n1", {"wwid/2": None})
    w.until(lambda: w.made("n1", request) and "wwid/2" not in list(w.nodes["n1"].engine.replica.fold), 60_000)
    w.run(20_000)
    return w, saved


def test_a_node_from_behind_the_floor_takes_a_snapshot(world: Make) -> None:
    w, saved = behind(world)
    bring_back(w, "n3", saved)
    w.start("n3")
    w.until(lambda: w.nodes["n3"].engine.caught_up and w.converged(), 20_000)
    assert w.nodes["n3"].engine.counters["snapshots_taken"] == 1
    assert w.value("n3", "wwid/1") == lun("a9")
    assert w.value("n3", "wwid/2") is None
    w.kill("n3")
    w.start("n3")
    w.until(lambda: w.nodes["n3"].engine.caught_up and w.converged(), 20_000, "that it lasts")


def test_a_joiner_of_an_old_cluster_takes_a_snapshot(world: Make) -> None:
    w, _ = behind(world)
    w.edit("n1", {"member/n4": member_value(w.scribe.member("n4"))})
    w.run(1_000)
    w.add("n4", bootstrap=["n1", "n2"])
    w.start("n4")
    w.until(lambda: w.nodes["n4"].engine.member is not None and w.converged(), 20_000)
    assert w.nodes["n4"].engine.counters["snapshots_taken"] == 1
    w.until(lambda: w.nodes["n4"].engine.caught_up, 10_000)
    assert w.nodes["n4"].codes()["restored"] == 0


def test_its_own_edits_come_late_and_stand_as_conflicts(world: Make) -> None:
    w, saved = behind(world)
    bring_back(w, "n3", saved)
    w.partition(["n1", "n2"], ["n3"])
    w.start("n3")
    write(w, "n3", "wwid/1", "mine")
    write(w, "n3", "wwid/2", "mine")
    write(w, "n3", "wwid/3", "mine")
    w.heal()
    w.until(lambda: w.nodes["n3"].engine.caught_up and w.converged(), 30_000)
    for node in w.up:
        fold = node.engine.replica.fold
        assert fold.conflicts == ["wwid/1", "wwid/2"]
        assert {str(s.value) for s in fold.siblings("wwid/1")} == {str(lun("a9")), str(lun("mine"))}
        assert w.value(node.name, "wwid/1") == lun("a9"), "what came since stays in force"
        assert w.value(node.name, "wwid/2") is None, "what was deleted stays so until somebody decides"
        assert w.value(node.name, "wwid/3") == lun("mine")
    assert w.nodes["n3"].codes()["late-edits"] == 1


def test_late_edits_survive_a_kill_at_any_moment(world: Make) -> None:
    for moment in range(0, 400, 40):
        w, saved = behind(world)
        bring_back(w, "n3", saved)
        w.partition(["n1", "n2"], ["n3"])
        w.start("n3")
        write(w, "n3", "wwid/1", "mine")
        w.heal()
        w.until(lambda: w.nodes["n3"].engine.catching_up is not None or w.nodes["n3"].engine.counters["snapshots_taken"], 10_000)  # noqa: B023
        w.run(moment)
        w.kill("n3")
        w.start("n3")
        w.until(lambda: w.nodes["n3"].engine.caught_up and w.converged(), 30_000)  # noqa: B023
        assert w.nodes["n1"].engine.replica.fold.conflicts == ["wwid/1"], moment


def test_an_observers_node_takes_a_snapshot_too(world: Make) -> None:
    w, saved = behind(world, roles={"n3": Role.OBSERVER})
    bring_back(w, "n3", saved)
    w.start("n3")
    w.until(lambda: w.nodes["n3"].engine.caught_up and w.converged(), 20_000)


# -- many -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [70])
def test_in_a_large_cluster_few_connections_carry_an_edit_to_all_at_once(world: Make, count: int) -> None:
    w = world(count, seed=1)
    w.check_ages = False
    w.until(lambda: all(len(list(node.engine.mesh.open)) >= 5 for node in w.up), 20_000)
    assert all(len(node.engine.peers) < 40 for node in w.up)
    w.run(2_000)
    request = w.edit("n7", {"wwid/1": lun("a")})
    took = w.until(lambda: all(w.value(name, "wwid/1") == lun("a") for name in w.nodes), 2_000)
    assert took <= 100
    assert w.made("n7", request)


def test_a_member_outside_the_view_is_hosted_while_it_talks(world: Make) -> None:
    w = world(70, seed=1)
    w.check_ages = False
    w.run(3_000)
    engine = w.nodes["n1"].engine
    outside = sorted(engine.mesh.watched - engine.mesh.view.peers)[0]
    key = w.nodes[outside].member.curve_key
    w.nodes[outside].engine.mesh.host(w.nodes["n1"].member.curve_key, w.now)
    w._after(w.nodes[outside], w.nodes[outside].engine._drain())
    w.until(lambda: key in engine.peers and engine.peers[key].open, 3_000)
    assert engine.peers[key].guest


def test_beyond_the_bound_the_guest_that_is_silent_longest_goes(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    w = world(70, seed=1)
    mesh = w.nodes["n1"].engine.mesh
    monkeypatch.setitem(LIMITS, "guests", Limit(2, "connections", "few", "the longest silent one is dropped"))
    keys = [w.nodes[name].member.curve_key for name in sorted(mesh.watched - mesh.view.peers)[:3]]
    for later, key in enumerate(keys):
        assert mesh.host(key, w.now + later).guest
    assert {peer.key for peer in mesh.peers.values() if peer.guest} == set(keys[1:])
    assert w.nodes["n1"].engine.counters["guests_dropped"] == 1


# -- members in bad faith -------------------------------------------------------------------------------------------------


def test_a_floor_that_no_other_member_confirms_is_not_believed(world: Make) -> None:
    w = world(4, seed=1).settled()
    liar = w.nodes["n4"]
    claimed = {**liar.engine.replica.fold.clock, w.scribe.actor("n1"): 10**6}
    digest = Digest(clock_hash(claimed), bytes(32), full=True, clock=claimed, floor=claimed, hears=w.nodes["n1"].engine.identity.session)
    frames = codec.encode(digest, liar.engine.identity.session)
    w.dispatch(w.nodes["n1"], MessageReceived(liar.member.curve_key, *frames))
    assert w.nodes["n1"].engine.counters["snapshots_begun"] == 0
    write(w, "n1", "wwid/1", "a")
    w.until(lambda: w.value("n2", "wwid/1") == w.value("n3", "wwid/1") == lun("a"), 1_000, "that it goes on telling the others")


def test_one_that_lies_about_the_dead_does_not_make_their_cells_believed(world: Make) -> None:
    w = world(4, seed=1).settled()
    w.kill("n2")
    for _ in range(60):
        frames = codec.encode(Alive("n2", 0), w.nodes["n4"].engine.identity.session)
        w.dispatch(w.nodes["n1"], MessageReceived(w.nodes["n4"].member.curve_key, *frames))
        w.run(400)
    assert w.sees("n1", "n2") is not Reporter.FRESH, "at best it counts as up, and its cells read unknown"


def test_the_log_is_collected_again_once_the_one_that_blocked_it_is_retired(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIMITS, "unstable_edits", Limit(60, "edits", "", ""))
    w = world(4, seed=1)
    w.collect_edits = 50
    w = restarted(w)
    w.kill("n3")
    w.kill("n4")
    w.run(1_000)
    n = 0
    while True:
        n += 1
        request = w.edit("n1", {"wwid/1": lun(f"a{n}")})
        w.run(100)
        if request in w.nodes["n1"].rejected:
            break
    assert w.nodes["n1"].rejected[request].code == "log-full"
    w.start("n3")
    w.run(30_000)
    w.edit("n1", {"member/n4": member_value(w.scribe.member("n4", state=MemberState.RETIRED))})
    w.until(lambda: len(w.nodes["n1"].engine.replica) < 20, 60_000)
    write(w, "n1", "wwid/1", "again")


def test_a_name_that_is_used_again_is_another_member(world: Make) -> None:
    w = world(3, seed=1).settled()
    w.kill("n3")
    write(w, "n1", "wwid/1", "a")
    w.edit("n1", {"member/n3": member_value(w.scribe.member("n3", state=MemberState.RETIRED))})
    w.run(1_000)
    w.edit("n1", {"member/n3": member_value(w.scribe.member("n3", actor="anew"))})
    w.run(1_000)
    w.add("n3", actor="anew", bootstrap=["n1", "n2"], label="n3anew")
    w.start("n3anew")
    w.until(lambda: w.nodes["n3anew"].engine.member is not None and w.converged("n1", "n2", "n3anew"), 20_000)
    assert not any(w.nodes[name].codes()["restored"] for name in ("n1", "n2", "n3anew"))
