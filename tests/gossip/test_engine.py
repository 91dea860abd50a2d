"""The protocol, on a simulated cluster: what must come about, and how fast."""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

from gossip import codec
from gossip.codec import encode
from gossip.engine import Engine, Identity
from gossip.events import Alarm, Commit, CommitFailed, Committed, Effect, LocalEdit, LocalSnapshot, Publish, Rejected, Send, Tick
from gossip.liveness import Opinion
from gossip.mesh import FAREWELL_MS
from gossip.messages import Alive, Beat, Chunk, Delta, Digest, Fetch, Hello, Ping, Place, Pong, Probe
from gossip.stability import clock_hash
from gossip.transport import MessageReceived
from store.cells import Cell
from store.edits import RESOLVE, decode_edit
from store.health import OwnStream
from store.limits import limit
from store.matrix import Reporter
from store.members import MEMBER_PREFIX, MemberState, Role, member_value
from store.replica import CLUSTER_KEY, Replica

Make = Callable[..., Any]


def lun(alias: str) -> dict[str, str]:
    return {"alias": alias}


def say(w: Any, source: str, target: str, message: Any, *, raw: tuple[bytes, bytes] | None = None) -> None:
    """Put a message straight into a node, as its transport would."""
    running = w.nodes[source].running
    frames = raw or encode(message, running.identity.session if running else bytes(8))
    w.dispatch(w.nodes[target], MessageReceived(w.nodes[source].member.curve_key, *frames))


def digest(clock: Any = None, health: Any = None, **more: Any) -> Digest:
    """A full digest of a peer with this clock."""
    return Digest(clock_hash(clock or {}), bytes(32), full=True, clock=clock or {}, health=health or {}, **more)


def beat(stream: Any, **changed: Any) -> Beat:
    """The beat of a stream, with some of it otherwise."""
    head = stream.head
    found = Beat(head.actor[:4], head.epoch, head.seq, head.beat, head.clock_tag, 0, stream.signature)
    return msgspec.structs.replace(found, **changed)


# -- a quiet cluster ------------------------------------------------------------------------------------------------------


def test_a_quiet_cluster_sees_itself_and_says_little(world: Make) -> None:
    w = world(4).settled()
    w.sent.clear()
    for node in w.up:
        node.standings.clear()
    w.run(30_000)
    assert w.all_see(Reporter.FRESH)
    assert not any(node.alarms or node.standings for node in w.up)
    assert w.sent["Delta"] < 4 * 30 * 5
    assert w.sent["Digest"] < 4 * 30 * 3
    assert w.sent["Hello"] == 0


def test_starting_flaps_nothing(world: Make) -> None:
    w = world(5, seed=3).settled()
    w.run(15_000)
    for node in w.up:
        for other in w.up:
            seen = [standing for _, name, standing in node.standings if name == other.name]
            assert seen[-1] is Reporter.FRESH
            assert seen.count(Reporter.FRESH) == 1, "once believed, always believed"
            assert Reporter.SUSPECT not in seen


def test_the_liveness_of_many_nodes_does_not_flap(world: Make) -> None:
    w = world(20, seed=5)
    w.check_ages = False
    w.settled()
    for node in w.up:
        node.standings.clear()
    w.run(15_000)
    assert not any(node.standings for node in w.up)


# -- edits ----------------------------------------------------------------------------------------------------------------


def test_an_edit_is_acknowledged_when_it_is_durable_and_reaches_all_at_once(world: Make) -> None:
    w = world(4).settled()
    w.commit_ms = (30, 30)
    request = w.edit("n2", {"wwid/1": lun("a")})
    w.run(29)
    assert request not in w.nodes["n2"].accepted
    assert w.value("n2", "wwid/1") is None
    w.run(1)
    assert request in w.nodes["n2"].accepted
    assert w.value("n2", "wwid/1") == lun("a")
    w.run(40)
    assert all(w.value(n, "wwid/1") == lun("a") for n in w.nodes)
    assert w.converged()


def test_concurrent_edits_conflict_everywhere_and_a_resolve_ends_it(world: Make) -> None:
    w = world(4, seed=2).settled()
    w.edit("n1", {"wwid/1": lun("a"), "wwid/2": lun("x")})
    w.edit("n3", {"wwid/1": lun("b")})
    w.run(1_000)
    assert w.converged()
    winners = {tuple(w.value(n, "wwid/1").items()) for n in w.nodes}
    assert len(winners) == 1
    for node in w.up:
        assert node.engine.replica.fold.conflicts == ["wwid/1"]
    dots = tuple(s.dot for s in w.nodes["n4"].engine.replica.fold.siblings("wwid/1"))
    w.edit("n4", {"wwid/1": lun("b")}, kind=RESOLVE, covers={"wwid/1": dots})
    w.run(1_000)
    for node in w.up:
        assert node.engine.replica.fold.conflicts == []
        assert w.value(node.name, "wwid/1") == lun("b")
    assert w.converged()


def test_edits_that_follow_each_other_never_conflict(world: Make) -> None:
    w = world(3, seed=4).settled()
    for n in range(12):
        w.edit(f"n{n % 3 + 1}", {"defaults": {"x": str(n)}})
        w.run(100)
        assert all(node.engine.replica.fold.conflicts == [] for node in w.up)
    assert all(w.value(n, "defaults") == {"x": "11"} for n in w.nodes)


def test_what_was_deleted_stays_deleted(world: Make) -> None:
    w = world(3).settled()
    w.edit("n1", {"wwid/1": lun("a")})
    w.run(500)
    w.kill("n3")
    w.edit("n2", {"wwid/1": None})
    w.run(500)
    w.start("n3")
    w.run(5_000)
    assert all(w.value(n, "wwid/1") is None for n in w.nodes)
    assert w.converged()


@pytest.mark.parametrize("seed", range(25))
def test_after_any_faults_all_nodes_agree_and_nothing_is_lost(world: Make, seed: int) -> None:
    """Loss, repetition, reordering, refusals, failing disks, kills, partitions; edits and reports all the while."""
    w = world(5, seed=seed).settled()
    w.loss, w.repeat, w.refuse, w.commit_failure, w.jitter_ms = 0.15, 0.1, 0.1, 0.2, 80
    names = list(w.nodes)
    for step in range(50):
        name = w.random.choice(names)
        if w.nodes[name].running is None:
            w.start(name)
        elif step % 10 == 5:
            w.kill(name)
        elif step % 10 == 8:
            w.random.shuffle(names)
            w.partition(names[:2], names[2:])
        elif step % 10 == 0:
            w.heal()
        else:
            for _ in range(3):
                changes = {f"wwid/{w.random.randrange(6)}": w.random.choice([None, lun("a"), lun("b"), lun(str(step))])}
                w.edit(name, changes)
            w.report(name, **{f"m{n}": w.random.choice(["healthy", "degraded"]) for n in range(3)})
        w.run(w.random.randrange(50, 600))
    w.calm()
    w.heal()
    for name in names:
        if w.nodes[name].running is None:
            w.start(name)
    w.until(w.converged, 20_000, "that all agree")
    w.until(lambda: w.all_see(Reporter.FRESH), 20_000, "that all see all")
    w.check_accepted()
    for of in names:
        w.until(lambda of=of: all(w.shown(at, of) == w.shown(of, of) for at in names), 10_000, "that health is everywhere")
    assert all(not node.engine.diverged for node in w.up)
    requests = {r for node in w.nodes.values() for r in (*node.accepted, *node.rejected)}
    assert len(requests) > 20


def test_both_sides_of_a_partition_work_and_merge_when_it_heals(world: Make) -> None:
    w = world(5, seed=1).settled()
    w.partition(["n1", "n2"], ["n3", "n4", "n5"])
    w.until(lambda: w.sees("n1", "n3") is Reporter.OFFLINE and w.sees("n4", "n2") is Reporter.OFFLINE, 3_500)
    w.edit("n1", {"wwid/1": lun("left"), "wwid/2": lun("only-left")})
    w.edit("n4", {"wwid/1": lun("right"), "wwid/3": lun("only-right")})
    w.run(60_000)
    assert w.converged("n1", "n2")
    assert w.converged("n3", "n4", "n5")
    assert not w.converged()
    w.heal()
    took = w.until(w.converged, 5_000)
    assert took < 5_000
    for node in w.up:
        assert node.engine.replica.fold.conflicts == ["wwid/1"]
        assert w.value(node.name, "wwid/2") == lun("only-left")
        assert w.value(node.name, "wwid/3") == lun("only-right")
    w.until(lambda: w.all_see(Reporter.FRESH), 5_000)


def test_a_one_way_partition_stops_nobody(world: Make) -> None:
    """`n1` cannot reach `n2`, but is reached by it; both reach `n3`."""
    w = world(3, seed=1).settled()
    w.mute.add(("n1", "n2"))
    w.edit("n1", {"wwid/1": lun("a")})
    w.until(lambda: w.value("n2", "wwid/1") == lun("a"), 5_000)
    w.run(20_000)
    assert w.all_see(Reporter.FRESH), "the third vouches for the first"


def test_a_node_that_was_down_catches_up_from_a_thousand_edits(world: Make) -> None:
    w = world(3, seed=1).settled()
    w.check_ages = False
    w.kill("n3")
    w.commit_ms = (1, 1)
    for n in range(1_000):
        w.edit("n1" if n % 3 else "n2", {f"wwid/{n % 300}": lun(f"a{n}")})
        w.run(4)
    w.until(lambda: w.converged("n1", "n2"), 5_000)
    assert sum(len(w.nodes[n].accepted) for n in ("n1", "n2")) == 1_000
    w.start("n3")
    took = w.until(w.converged, 10_000)
    assert took <= 5_000
    w.check_accepted()


def test_four_mebibytes_of_documents_arrive(world: Make) -> None:
    w = world(3, seed=1).settled()
    w.kill("n3")
    requests = [w.edit("n1", {f"wwid/{n}": {"comment": str(n) * (limit("config_bytes") // 8)}}) for n in range(8)]
    w.until(lambda: w.made("n1", *requests) and w.converged("n1", "n2"), 5_000)
    w.start("n3")
    w.until(w.converged, 1_500, "that each delta is followed by the next at once")
    assert sum(len(w.value("n3", f"wwid/{n}")["comment"]) for n in range(8)) == limit("config_bytes")


def test_edits_that_wait_together_are_pushed_in_messages_that_fit(world: Make) -> None:
    w = world(2, seed=1).settled()
    w.commit_ms = (50, 50)
    requests = [w.edit("n1", {f"wwid/{n}": {"comment": str(n) * 400_000}}) for n in range(6)]
    w.until(lambda: w.made("n1", *requests), 1_000)
    w.mute.add(("n2", "n1"))  # nothing is pulled: the push has to do
    w.until(w.converged, 1_000)
    assert w.value("n2", "wwid/5") is not None


# -- the disk -------------------------------------------------------------------------------------------------------------


def test_a_failed_commit_rejects_and_a_second_try_works(world: Make) -> None:
    w = world(2).settled()
    w.commit_failure = 1.0
    first = w.edit("n1", {"wwid/1": lun("a")})
    w.run(100)
    assert w.nodes["n1"].rejected[first].code == "storage-failed"
    assert w.nodes["n1"].codes()["storage-failed"] == 1
    assert w.value("n1", "wwid/1") is None
    w.commit_failure = 0.0
    again = w.edit("n1", {"wwid/1": lun("a")})
    w.run(500)
    assert again in w.nodes["n1"].accepted
    assert w.value("n2", "wwid/1") == lun("a")


def test_edits_queued_behind_a_failed_one_are_rejected_with_it(world: Make) -> None:
    """They build on it: were they committed, the log would have a hole for ever."""
    w = world(2).settled()
    w.commit_ms = (50, 50)
    w.commit_failure = 1.0
    requests = [w.edit("n1", {f"wwid/{n}": lun("a")}) for n in range(4)]
    w.run(60)
    assert set(w.nodes["n1"].rejected) == set(requests)
    w.commit_failure = 0.0
    requests = [w.edit("n1", {f"wwid/{n}": lun("b")}) for n in range(4)]
    w.run(1_000)
    assert set(w.nodes["n1"].accepted) == set(requests)
    assert w.converged()
    w.kill("n1")
    w.start("n1")
    w.run(3_000)
    assert w.converged()


def test_others_edits_come_through_once_the_disk_works_again(world: Make) -> None:
    w = world(3, seed=1).settled()
    failing = {"n3"}
    original = w._commit_done

    def commit_done(commit: Any) -> None:
        w.commit_failure = 1.0 if commit[0].name in failing else 0.0
        original(commit)

    w._commit_done = commit_done
    for n in range(5):
        w.edit("n1", {f"wwid/{n}": lun("a")})
        w.run(200)
    w.run(5_000)
    assert w.value("n3", "wwid/0") is None
    failures = w.nodes["n3"].engine.counters["commits_failed"]
    assert 3 <= failures <= 50, "it is tried again, but not in a tight loop"
    assert w.nodes["n3"].codes()["storage-failed"] == 1
    failing.clear()
    w.until(w.converged, 5_000)
    failing.add("n3")
    w.edit("n1", {"wwid/9": lun("a")})
    w.run(3_000)
    assert w.nodes["n3"].codes()["storage-failed"] == 2, "once more, since it worked in between"


def test_what_is_held_back_is_tried_again_without_any_news(world: Make) -> None:
    """A commit fails while another edit waits: nobody sends that one again, because it is shown as held."""
    w = world(2, seed=1).settled()
    n1, n2 = w.nodes["n1"], w.nodes["n2"]
    w.commit_ms = (200, 200)
    w.commit_failure = 1.0
    mine = w.edit("n2", {"wwid/1": lun("mine")})
    other = w.scribe.edit("n1", {"wwid/2": lun("other")}, n1.engine.replica.fold.clock)
    say(w, "n1", "n2", Delta(edits=(other.raw,)))
    w.run(210)
    assert mine in n2.rejected
    w.commit_failure = 0.0
    w.mute.update({("n1", "n2"), ("n2", "n1")})
    w.run(3_000)
    assert n2.engine.replica.has(other.dot)


def test_many_local_edits_at_a_time_are_refused(world: Make) -> None:
    w = world(1)
    w.commit_ms = (1_000, 1_000)
    requests = [w.edit("n1", {f"wwid/{n}": lun("a")}) for n in range(limit("pending_local_edits") + 3)]
    codes = [w.nodes["n1"].rejected[r].code for r in requests if r in w.nodes["n1"].rejected]
    assert codes == ["busy"] * 3
    assert w.nodes["n1"].engine.counters["writes_refused"] == 3
    w.run(3_000)
    assert len(w.nodes["n1"].accepted) == limit("pending_local_edits")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"wwid/1": {"comment": "x" * limit("edit_bytes")}}, "edit-too-large"),
        ({"k" * 301: {}}, "edit-too-large"),
        ({f"wwid/{n}": None for n in range(limit("edit_keys") + 1)}, "edit-too-large"),
    ],
)
def test_what_peers_would_not_take_is_not_committed_here(world: Make, changes: Any, code: str) -> None:
    w = world(2).settled()
    request = w.edit("n1", changes)
    assert w.nodes["n1"].rejected[request].code == code
    assert w.edit("n1", {"wwid/1": lun("a")}) not in w.nodes["n1"].rejected


def test_a_full_log_takes_resolves_and_member_changes_only(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from store import limits

    w = world(2).settled()
    monkeypatch.setitem(limits.LIMITS, "unstable_edits", limits.Limit(2, "edits", "", ""))
    assert w.nodes["n1"].rejected[w.edit("n1", {"wwid/1": lun("a")})].code == "log-full"
    retire = w.edit("n1", {"member/n2": member_value(w.scribe.member("n2", state=MemberState.RETIRED))})
    resolve = w.edit("n1", {"wwid/1": lun("a")}, kind=RESOLVE, covers={"wwid/1": ()})
    w.run(100)
    assert {retire, resolve} <= set(w.nodes["n1"].accepted)


@pytest.mark.parametrize(("role", "key"), [(Role.OBSERVER, "wwid/1"), (Role.EDITOR, "member/n9"), (Role.EDITOR, CLUSTER_KEY)])
def test_what_this_nodes_role_forbids_is_refused_here(world: Make, role: Role, key: str) -> None:
    w = world(2, roles={"n2": role}).settled()
    request = w.edit("n2", {key: {"id": "c1"}})
    assert w.nodes["n2"].rejected[request].code == "forbidden"
    w.run(500)
    assert w.nodes["n2"].member.actor not in w.nodes["n2"].engine.replica.fold.clock


# -- caught up ------------------------------------------------------------------------------------------------------------


def settlings(w: Any, name: str) -> int:
    return sum(p.settled for p in w.nodes[name].published)


def test_a_node_that_learns_that_it_is_behind_is_not_caught_up_until_it_has_all(world: Make) -> None:
    """A deletion comes long before the edit that takes it back: between the two nothing may be pruned."""
    w = world(4).settled()
    n3 = w.nodes["n3"]
    assert n3.engine.caught_up
    w.partition(["n1", "n2"], ["n3", "n4"])
    w.run(5_000)
    for n in range(30):
        w.edit("n1", {f"wwid/{n}": {"comment": "x" * 60_000}})
        w.run(40)
    w.edit("n1", {"wwid/A": None})
    for n in range(30, 60):
        w.edit("n1", {f"wwid/{n}": {"comment": "x" * 60_000}})
        w.run(40)
    w.edit("n1", {"wwid/A": lun("again")})
    w.run(500)
    w.heal()
    n3.published.clear()
    seen = []
    for _ in range(4_000):
        w.run(1)
        deleted = "wwid/A" in n3.engine.replica.fold and w.value("n3", "wwid/A") is None
        state = (deleted, n3.engine.replica.fold.clock == w.nodes["n1"].engine.replica.fold.clock, n3.engine.caught_up)
        if not seen or seen[-1] != state:
            seen.append(state)
    assert any(deleted for deleted, _, _ in seen), "there was such a moment"
    assert not any(deleted and caught_up for deleted, _, caught_up in seen)
    assert seen[-1] == (False, True, True)
    assert [caught_up for _, _, caught_up in seen].index(False) < [everything for _, everything, _ in seen].index(True)
    assert settlings(w, "n3") == 1


def test_a_new_node_is_not_caught_up_by_one_that_has_nothing(world: Make) -> None:
    w = world(2, start=False)
    w.start("n1")
    n1 = w.nodes["n1"]
    say(w, "n2", "n1", Hello("c1", "n2", w.nodes["n2"].member.actor, 1, 1, bytes(16)))
    say(w, "n2", "n1", digest())
    assert not n1.engine.caught_up
    say(w, "n2", "n1", digest({w.scribe.actor("n1"): 1}))
    assert n1.engine.caught_up
    assert settlings(w, "n1") == 1


def test_what_is_held_back_or_on_its_way_to_the_disk_is_lacking(world: Make) -> None:
    w = world(2).settled()
    n2, clock = w.nodes["n2"], dict(w.nodes["n1"].engine.replica.fold.clock)
    w.mute.update({("n1", "n2"), ("n2", "n1")})
    first = w.scribe.edit("n1", {"wwid/1": lun("a")}, clock)
    second = w.scribe.edit("n1", {"wwid/1": lun("b")}, clock | {w.scribe.actor("n1"): first.dot.counter})
    say(w, "n1", "n2", Delta(edits=(second.raw,)))
    w.run(100)
    assert not n2.engine.caught_up
    say(w, "n1", "n2", Delta(edits=(first.raw,)))
    assert not n2.engine.caught_up
    w.until(lambda: n2.engine.replica.has(second.dot), 100)
    assert n2.engine.caught_up
    say(w, "n1", "n2", Delta(edits=(first.raw,), ahead={w.scribe.actor("n1"): second.dot.counter + 1}))
    assert not n2.engine.caught_up


def test_one_edit_that_waits_for_nothing_real_is_not_lacking_for_ever(world: Make) -> None:
    w = world(3, seed=1).settled()
    junk = w.scribe.edit("n2", {"defaults": {}}, dict(w.nodes["n1"].engine.replica.fold.clock) | {bytes(16): 9})
    say(w, "n2", "n1", Delta(edits=(junk.raw,)))
    assert not w.nodes["n1"].engine.caught_up
    w.run(31_000)
    assert w.nodes["n1"].engine.caught_up


def test_a_member_that_claims_too_much_is_believed_until_it_goes(world: Make) -> None:
    w = world(3, seed=1).settled()
    engine = w.nodes["n1"].engine
    say(w, "n3", "n1", digest({bytes(16): 2**50}))
    assert not engine.caught_up
    w.pause("n3")
    w.run(60_000)
    assert not engine.caught_up, "that it is gone does not make its edits go"
    w.edit("n2", {"member/n3": member_value(w.scribe.member("n3", state=MemberState.RETIRED))})
    w.run(500)
    assert engine.caught_up


def test_an_edit_that_could_not_be_written_is_lacking(world: Make) -> None:
    w = world(2, seed=1).settled()
    n2 = w.nodes["n2"]
    edit = w.scribe.edit("n1", {"wwid/1": lun("a")}, w.nodes["n1"].engine.replica.fold.clock)
    w.mute.update({("n1", "n2"), ("n2", "n1")})
    w.commit_failure = 1.0
    say(w, "n1", "n2", Delta(edits=(edit.raw,)))
    w.run(500)
    assert not n2.engine.replica.has(edit.dot)
    assert not n2.engine.caught_up
    w.commit_failure = 0.0
    say(w, "n1", "n2", Delta(edits=(edit.raw,)))
    w.run(500)
    assert n2.engine.replica.has(edit.dot)
    w.mute.clear()
    w.until(lambda: n2.engine.caught_up, 3_000, "that whoever may have had more says that it has not")


# -- health ---------------------------------------------------------------------------------------------------------------


def test_health_reaches_everyone_at_once_then_at_most_every_half_second(world: Make) -> None:
    w = world(4, seed=1).settled()
    w.run(1_000)
    w.report("n1", m1="healthy")
    w.run(20)
    assert all(w.shown(n, "n1") == {"m1": "healthy"} for n in w.nodes)
    for n in range(8):
        w.report("n1", m1=f"state{n}")
        w.run(50)
    assert w.shown("n1", "n1") == {"m1": "state7"}
    assert w.shown("n2", "n1") == {"m1": "healthy"}
    w.until(lambda: all(w.shown(n, "n1") == {"m1": "state7"} for n in w.nodes), 600)


def test_a_report_that_was_not_pushed_is_pulled(world: Make) -> None:
    w = world(3, seed=1).settled()
    w.mute.add(("n1", "n2"))
    w.report("n1", m1="healthy")
    w.until(lambda: w.shown("n2", "n1") == {"m1": "healthy"}, 4_000)


def test_a_report_larger_than_one_answer_reaches_a_newcomer(world: Make) -> None:
    w = world(2, seed=1).settled()
    cells = tuple(Cell("multipath.map", f"m{n}", "healthy", detail={"path_list": ["x" * 90] * 60}) for n in range(2_600))
    assert 12 * limit("delta_bytes") < len(msgspec.msgpack.encode(cells)) < limit("stream_bytes"), "more than one answer carries"
    w.dispatch(w.nodes["n1"], LocalSnapshot(cells))
    w.until(lambda: len(w.shown("n2", "n1")) == len(cells), 10_000)
    w.kill("n2")
    w.nodes["n2"].streams.clear()
    w.start("n2")
    assert w.until(lambda: len(w.shown("n2", "n1")) == len(cells), 10_000) <= 3_000


def test_a_cell_that_no_peer_would_take_is_cut_down_here(world: Make) -> None:
    w = world(2).settled()
    bad = (
        Cell("multipath.map", "large", "degraded", ("path-lost",), detail={"x": "y" * limit("cell_bytes")}),
        Cell("multipath.map", "odd", "failed", detail={"x": float("nan")}),
        Cell("multipath.map", "good", "healthy", detail={"x": 1}),
    )
    w.dispatch(w.nodes["n1"], LocalSnapshot(bad))
    w.run(500)
    found = {c.id: c for c in w.nodes["n2"].engine.exchange.streams["n1"].cells()}
    assert found["large"].state == "degraded"
    assert found["large"].reasons == ("path-lost", "truncated")
    assert found["odd"].reasons == ("truncated",)
    assert found["good"].detail == {"x": 1}
    assert w.nodes["n1"].engine.counters["cells_oversized"] == 2


def test_ages_count_from_the_reporters_beat(world: Make) -> None:
    w = world(4, seed=2).settled()
    w.report("n1", m1="healthy")
    w.run(5_000)
    for at in ("n2", "n3", "n4"):
        assert w.nodes[at].engine.exchange.streams["n1"].age_ms(w.now) < 5_000
    died = w.now
    w.kill("n1")
    w.run(20_000)
    for at in ("n2", "n3", "n4"):
        assert w.now - died <= w.nodes[at].engine.exchange.streams["n1"].age_ms(w.now) <= w.now - died + 5_000


def test_a_restarted_node_believes_nothing_from_its_disk(world: Make) -> None:
    w = world(3, seed=2).settled()
    w.report("n1", m1="healthy")
    w.run(3_000)
    w.kill("n1")
    w.run(3_000)
    w.kill("n2")
    w.kill("n3")
    w.start("n2")
    w.run(100)
    assert w.shown("n2", "n1") == {"m1": "healthy"}, "what it said last stays visible"
    assert w.sees("n2", "n1") in (Reporter.OFFLINE, Reporter.UNHEARD)
    w.start("n3")
    w.run(20_000)
    assert w.sees("n2", "n1") is w.sees("n3", "n1") is Reporter.OFFLINE
    w.sent.clear()
    w.bytes_sent = 0
    w.run(10_000)
    assert w.bytes_sent < 60_000, "two nodes that know the same of a dead one have nothing to tell each other"
    w.start("n1")
    w.until(lambda: w.all_see(Reporter.FRESH), 5_000)
    assert w.shown("n2", "n1") == {}


def test_a_restarting_node_makes_nobody_look_unheard(world: Make) -> None:
    w = world(4, seed=6).settled()
    for _ in range(3):
        w.kill("n4")
        w.run(700)
        for node in w.up:
            node.standings.clear()
        w.start("n4")
        w.run(6_000)
        for node in w.up:
            if node.name != "n4":
                assert {name for _, name, _ in node.standings} <= {"n4"}


# -- liveness -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_killed_node_is_offline_everywhere_within_three_seconds(world: Make, seed: int, count: int) -> None:
    w = world(count, seed=seed).settled()
    w.report("n2", m1="healthy")
    w.run(2_000 + 333 * seed)
    w.kill("n2")
    others = [n for n in w.nodes if n != "n2"]
    took = w.until(lambda: all(w.sees(n, "n2") is Reporter.OFFLINE for n in others), 3_000)
    assert took <= 3_000
    w.run(20_000)
    for name in others:
        seen = [standing for _, of, standing in w.nodes[name].standings if of == "n2"]
        assert seen[-1] is Reporter.OFFLINE
        assert seen.count(Reporter.OFFLINE) <= 2, "once offline at the start, once now"
        assert all(w.sees(name, other) is Reporter.FRESH for other in others if other != name)


@pytest.mark.parametrize("seed", range(3))
def test_a_silent_node_is_suspect_then_offline_then_back(world: Make, seed: int) -> None:
    w = world(4, seed=seed).settled()
    w.run(2_000)
    start = w.now
    for node in w.up:
        node.standings.clear()
    w.pause("n2")
    others = [n for n in w.nodes if n != "n2"]
    w.until(lambda: all(w.sees(n, "n2") is Reporter.OFFLINE for n in others), 10_000)
    for name in others:
        steps = [(t - start, s) for t, of, s in w.nodes[name].standings if of == "n2"]
        assert [s for _, s in steps] == [Reporter.SUSPECT, Reporter.OFFLINE]
        assert steps[0][0] >= 1_000
    w.run(30_000)
    w.check_ages = False  # what waited in the paused node's sockets is older than it says
    w.resume("n2")
    w.until(lambda: w.all_see(Reporter.FRESH), 5_000)


def test_a_paused_observer_accuses_nobody(world: Make) -> None:
    w = world(4, seed=1).settled()
    w.check_ages = False
    w.run(3_000)
    w.nodes["n1"].standings.clear()
    w.pause("n1")
    w.run(60_000)
    w.resume("n1")
    w.run(10_000)
    accused = [s for _, _, s in w.nodes["n1"].standings if s in (Reporter.SUSPECT, Reporter.OFFLINE)]
    assert accused == []
    w.until(lambda: w.all_see(Reporter.FRESH), 5_000)
    w.kill("n3")
    w.until(lambda: w.sees("n1", "n3") is Reporter.OFFLINE, 3_000, "that it sees a death right after")


def test_a_short_loss_of_a_link_accuses_nobody(world: Make) -> None:
    w = world(3, seed=1).settled()
    w.run(2_000)
    for node in w.up:
        node.standings.clear()
    w._break(w.nodes["n1"], w.nodes["n2"])
    w.run(10_000)
    assert not any(node.standings for node in w.up)


# -- who may speak --------------------------------------------------------------------------------------------------------


def test_strangers_are_dropped_message_by_message(world: Make) -> None:
    w = world(2).settled()
    stranger = w.add("n9")
    before = dict(w.nodes["n1"].engine.counters)
    say(w, "n9", "n1", Hello("c1", "n9", stranger.member.actor, 1, 1, bytes(16)))
    say(w, "n9", "n1", Delta(edits=(w.scribe.edit("n9", {"defaults": {}}).raw,)))
    say(w, "n9", "n1", None, raw=(b"garbage", b""))
    assert w.nodes["n1"].engine.counters["messages_from_strangers"] == before.get("messages_from_strangers", 0) + 2
    assert "n9" not in w.nodes["n1"].engine.exchange.streams
    assert not w.nodes["n1"].engine.allowed(stranger.member.curve_key)


def test_nothing_is_taken_before_the_hello(world: Make) -> None:
    w = world(2, start=False)
    w.start("n1")
    edit = w.scribe.edit("n2", {"defaults": {}}, w.nodes["n1"].engine.replica.fold.clock)
    say(w, "n2", "n1", Delta(edits=(edit.raw,)))
    w.run(100)
    assert w.nodes["n1"].engine.counters["messages_before_hello"] == 1
    assert not w.nodes["n1"].engine.replica.has(edit.dot)


@pytest.mark.parametrize("state", [MemberState.RETIRED, MemberState.LEFT])
def test_a_member_that_is_out_is_dropped_everywhere(world: Make, state: MemberState) -> None:
    w = world(4, seed=1).settled()
    w.edit("n1", {"member/n3": member_value(w.scribe.member("n3", state=state))})
    w.run(500 if state is MemberState.RETIRED else FAREWELL_MS + 1_000)
    for name in ("n1", "n2", "n4"):
        engine = w.nodes[name].engine
        assert not engine.allowed(w.nodes["n3"].member.curve_key)
        assert w.nodes["n3"].member.curve_key not in w.nodes[name].links
        assert w.sees(name, "n3") is Reporter.LEFT
        before = engine.counters["messages_from_strangers"]
        say(w, "n3", name, Ping(1))
        assert engine.counters["messages_from_strangers"] == before + 1
    late = w.scribe.edit("n3", {"wwid/1": lun("late")}, w.nodes["n3"].engine.replica.fold.clock)
    say(w, "n1", "n2", Delta(edits=(late.raw,)))
    relayed = "its edits are taken when a member relays them"
    w.until(lambda: all(w.nodes[n].engine.replica.has(late.dot) for n in ("n1", "n2", "n4")), 5_000, relayed)
    assert w.converged("n1", "n2", "n4")
    w.run(20_000)
    assert w.sees("n1", "n3") is Reporter.LEFT


def test_a_retired_node_that_knows_it_is_read_only(world: Make) -> None:
    w = world(2).settled()
    clock = dict(w.nodes["n1"].engine.replica.fold.clock)
    edit = w.scribe.registration("n1", w.scribe.member("n2", state=MemberState.RETIRED), clock)
    say(w, "n1", "n2", Delta(edits=(edit.raw,)))
    w.run(100)
    assert w.nodes["n2"].rejected[w.edit("n2", {"wwid/1": lun("a")})].code == "retired"


def test_garbage_from_a_member_is_counted_and_ends_in_expulsion_for_a_while(world: Make) -> None:
    w = world(3, seed=1).settled()
    n1 = w.nodes["n1"]
    for n in range(limit("bad_messages") + 30):
        say(w, "n2", "n1", None, raw=(b"PMSH\x01\x00\x03\x00\x00\x00\x01", bytes([n])))
    assert n1.engine.counters["messages_bad"] == limit("bad_messages")
    assert n1.engine.counters["peers_expelled"] == 1
    assert n1.engine.counters["messages_expelled"] == 30
    assert n1.codes()["bad-peer"] == 2
    w.run(100)
    assert w.sees("n1", "n3") is Reporter.FRESH
    peer = n1.engine.peers[w.nodes["n2"].member.curve_key]
    w.until(lambda: w.all_see(Reporter.FRESH) and peer.open, 25_000, "that it is heard again")


def test_oversized_messages_are_counted_apart(world: Make) -> None:
    w = world(2).settled()
    big = bytes(limit("message_bytes") + 1)
    header = codec._HEADER.pack(b"PMSH", 1, 0, 4, len(big), bytes(8))
    say(w, "n2", "n1", None, raw=(header, big))
    assert w.nodes["n1"].engine.counters["messages_oversized"] == 1
    say(w, "n2", "n1", None, raw=(codec._HEADER.pack(b"PMSH", 1, 0, 99, 0, bytes(8)), b""))
    assert w.nodes["n1"].engine.counters["messages_unknown"] == 1
    assert w.nodes["n1"].engine.counters["messages_bad"] == 0


def test_a_hello_of_another_cluster_or_name_is_refused(world: Make) -> None:
    w = world(2, start=False)
    w.start("n1")
    actor = w.nodes["n2"].member.actor
    for hello in (Hello("another", "n2", actor, 1, 1, bytes(16)), Hello("c1", "n7", actor, 1, 1, bytes(16))):
        say(w, "n2", "n1", hello)
    peer = w.nodes["n1"].engine.peers[w.nodes["n2"].member.curve_key]
    assert peer.hello is None
    assert w.nodes["n1"].engine.counters["hellos_refused"] == 2


def test_a_hello_of_no_common_version_is_refused_and_reported_once(world: Make) -> None:
    w = world(2, start=False)
    w.start("n1")
    later = Hello("c1", "n2", w.nodes["n2"].member.actor, codec.VERSION_MAX + 1, codec.VERSION_MAX + 3, bytes(16))
    for _ in range(5):
        say(w, "n2", "n1", later)
        w.run(5_000)
    peer = w.nodes["n1"].engine.peers[w.nodes["n2"].member.curve_key]
    assert not peer.open
    assert w.nodes["n1"].engine.counters["hellos_refused"] == 5
    assert w.nodes["n1"].codes() == {"version-mismatch": 1}
    say(w, "n2", "n1", msgspec.structs.replace(later, version_min=1))
    assert peer.hello is not None


def test_lost_hellos_are_made_up_for(world: Make) -> None:
    w = world(3, seed=1, start=False)
    w.loss = 1.0
    for name in w.nodes:
        w.start(name)
    w.run(2_000)
    assert not any(peer.open for node in w.up for peer in node.engine.peers.values())
    w.loss = 0.0
    w.until(lambda: w.all_see(Reporter.FRESH), 10_000)


def test_a_forged_edit_is_blamed_on_who_sent_it_and_hides_nothing(world: Make) -> None:
    w = world(3, seed=1).settled()
    clock = dict(w.nodes["n1"].engine.replica.fold.clock)
    forged = w.scribe.edit("n3", {"wwid/1": lun("evil")}, clock, signer="n2")
    say(w, "n2", "n1", Delta(edits=(forged.raw,)))
    assert w.nodes["n1"].engine.counters["messages_bad"] == 1
    assert w.nodes["n1"].codes()["bad-peer"] == 1
    w.edit("n3", {"wwid/1": lun("good")})
    w.run(2_000)
    assert w.value("n1", "wwid/1") == lun("good")
    assert w.converged()


def test_an_observer_fills_nobodys_log(world: Make) -> None:
    w = world(3, seed=1, roles={"n3": Role.OBSERVER}).settled()
    clock, actor, raws = dict(w.nodes["n3"].engine.replica.fold.clock), w.scribe.actor("n3"), []
    for n in range(300):
        raws.append(w.scribe.edit("n3", {f"wwid/{n}": lun("a")}, clock).raw)
        clock[actor] = n + 1
    before = len(w.nodes["n1"].engine.replica)
    for at in ("n1", "n2"):
        say(w, "n3", at, Delta(edits=tuple(raws)))
    w.run(40_000)
    for at in ("n1", "n2"):
        engine = w.nodes[at].engine
        assert len(engine.replica) == before
        assert engine.replica.voided == 0
        assert engine.counters["edits_refused"] >= 1
        assert not engine._intake.waiting, "what builds on it is forgotten"
        assert engine.caught_up
    request = w.edit("n2", {"wwid/1": lun("b")})
    w.run(500)
    assert request in w.nodes["n2"].accepted
    assert w.value("n1", "wwid/1") == lun("b")


@pytest.mark.parametrize("pieces", [1, 7, 300])
def test_an_editor_fills_nobodys_log_with_what_is_beyond_its_rights(world: Make, pieces: int) -> None:
    w = world(3, seed=1, roles={"n3": Role.EDITOR}).settled()
    clock, actor, raws = dict(w.nodes["n3"].engine.replica.fold.clock), w.scribe.actor("n3"), []
    for n in range(300):
        raws.append(w.scribe.edit("n3", {CLUSTER_KEY: {"id": str(n)}}, clock).raw)
        clock[actor] = n + 1
    for start in range(0, 300, pieces):
        say(w, "n3", "n1", Delta(edits=tuple(raws[start : start + pieces])))
    w.until(lambda: all(n.engine.replica.voided == limit("void_edits") for n in w.up), 10_000)
    w.run(10_000)
    assert {n.engine.replica.fold.clock[actor] for n in w.up} == {limit("void_edits")}
    assert w.converged()
    assert w.nodes["n1"].engine.counters["edits_void"] == limit("void_edits")


def test_edits_beyond_a_role_are_void_on_every_node_alike(world: Make) -> None:
    w = world(3, seed=1, roles={"n3": Role.EDITOR}).settled()
    clock = dict(w.nodes["n3"].engine.replica.fold.clock)
    edit = w.scribe.edit("n3", {"wwid/1": lun("a"), CLUSTER_KEY: {"id": "mine"}}, clock)
    say(w, "n3", "n1", Delta(edits=(edit.raw,)))
    w.until(lambda: all(n.engine.replica.has(edit.dot) for n in w.up), 5_000)
    assert all(w.value(n, "wwid/1") is None for n in w.nodes)
    assert w.converged()
    assert w.nodes["n2"].codes()["edits-void"] == 1


# -- joining --------------------------------------------------------------------------------------------------------------


def join(w: Any, sponsor: str, name: str, *, actor: str = "", label: str = "", role: Role = Role.EDITOR) -> Any:
    """What the join socket does: the sponsor registers the node, the node learns of the members there are."""
    request = w.edit(sponsor, {MEMBER_PREFIX + name: member_value(w.scribe.member(name, role, actor=actor))})
    w.until(lambda: request in w.nodes[sponsor].accepted, 1_000)
    members = [m.name for m in w.nodes[sponsor].engine.replica.registry.active if m.name != name]
    node = w.add(name, actor=actor, bootstrap=members, label=label)
    w.start(label or name)
    return node


def test_a_joiner_gets_everything(world: Make) -> None:
    w = world(3, seed=1).settled()
    w.edit("n2", {"defaults": {"x": "1"}})
    w.report("n1", m1="degraded")
    w.run(500)
    node = join(w, "n1", "n4")
    w.until(w.converged, 5_000)
    w.until(lambda: w.all_see(Reporter.FRESH), 10_000)
    assert w.value("n4", "defaults") == {"x": "1"}
    assert w.shown("n4", "n1") == {"m1": "degraded"}
    assert node.engine.member is not None
    assert not node.alarms
    w.edit("n4", {"wwid/1": lun("from-the-new-one")})
    w.run(500)
    assert w.value("n3", "wwid/1") == lun("from-the-new-one")


def test_a_joiner_writes_nothing_before_it_is_a_member(world: Make) -> None:
    w = world(2).settled()
    w.partition(["n1", "n2"], ["n4"])
    w.add("n4", bootstrap=["n1", "n2"])
    w.partition(["n1", "n2"], ["n4"])
    w.start("n4")
    for _ in range(2):
        assert w.nodes["n4"].rejected[w.edit("n4", {"wwid/1": lun("a")})].code == "joining"
        w.run(500)
    w.heal()
    w.edit("n1", {"member/n4": member_value(w.scribe.member("n4"))})
    w.until(w.converged, 5_000)
    request = w.edit("n4", {"wwid/1": lun("a")})
    w.run(500)
    assert request in w.nodes["n4"].accepted
    assert w.converged()


def test_a_founder_can_write_its_first_edit_itself(world: Make) -> None:
    w = world(1, start=False)
    node = w.add("f1")
    w.start("f1")
    assert node.rejected[w.edit("f1", {"defaults": {}})].code == "joining"
    request = w.edit("f1", {CLUSTER_KEY: {"id": "c1"}, "member/f1": member_value(w.scribe.member("f1"))})
    w.run(100)
    assert request in node.accepted
    assert node.engine.member is not None


def test_two_nodes_under_one_name_the_later_one_is_told_and_reads_only(world: Make) -> None:
    w = world(4, seed=3).settled()
    w.partition(["n1", "n2"], ["n3", "n4"])
    w.run(3_000)
    w.edit("n1", {"defaults": {"x": "1"}})  # makes this side's next number the greater one
    w.run(500)
    later = join(w, "n1", "n9", actor="later", label="later")
    earlier = join(w, "n3", "n9", actor="earlier", label="earlier")
    w.partition(["n1", "n2", "later"], ["n3", "n4", "earlier"])
    w.until(lambda: later.engine.member is not None and earlier.engine.member is not None, 5_000)
    kept = w.edit("later", {"wwid/7": lun("before-it-knew")})
    w.run(500)
    assert kept in later.accepted
    w.heal()
    w.until(lambda: later.engine.name_taken, 10_000, "that the later one learns of it")
    assert later.rejected[w.edit("later", {"wwid/1": lun("x")})].code == "name-taken"
    w.until(w.converged, 10_000)
    w.check_accepted()
    w.run(10_000)
    for node in w.up:
        assert node.engine.replica.registry.by_name["n9"].actor == earlier.member.actor
        assert node.engine.replica.fold.conflicts == ["member/n9"]
        if node not in (later, earlier):
            assert w.sees(node.name, "n9") is Reporter.FRESH
            assert w.nodes[node.name].engine.exchange.streams["n9"].head.actor == earlier.member.actor
    dots = tuple(s.dot for s in w.nodes["n1"].engine.replica.fold.siblings("member/n9"))
    w.edit("n1", {"member/n9": member_value(earlier.member)}, kind=RESOLVE, covers={"member/n9": dots})
    w.run(1_000)
    assert all(not n.engine.allowed(later.member.curve_key) for n in w.up)


def test_a_death_is_seen_while_a_namesake_lives(world: Make) -> None:
    """The loser of a contest must not keep the holder's name alive."""
    w = world(3, seed=3).settled()
    w.partition(["n1"], ["n2", "n3"])
    holder = join(w, "n1", "n9", actor="a", label="a")
    other = join(w, "n2", "n9", actor="b", label="b")
    w.heal()
    w.until(lambda: other.engine.name_taken or holder.engine.name_taken, 10_000)
    w.until(w.converged, 10_000)
    label = "b" if holder.engine.name_taken else "a"
    w.until(lambda: all(w.sees(n, "n9") is Reporter.FRESH for n in ("n1", "n2", "n3")), 10_000)
    w.kill(label)
    w.until(lambda: all(w.sees(n, "n9") is Reporter.OFFLINE for n in ("n1", "n2", "n3")), 3_000)
    w.run(10_000)
    assert all(w.sees(n, "n9") is Reporter.OFFLINE for n in ("n1", "n2", "n3"))


def test_a_change_of_endpoint_and_of_key_is_followed(world: Make) -> None:
    w = world(3, seed=1).settled()
    moved = msgspec.structs.replace(w.scribe.member("n2"), endpoint="tcp://elsewhere:1")
    w.edit("n1", {"member/n2": member_value(moved)})
    w.run(1_000)
    assert w.nodes["n3"].engine.peers[moved.curve_key].endpoint == "tcp://elsewhere:1"
    w.until(lambda: w.all_see(Reporter.FRESH), 5_000)
    rekeyed = msgspec.structs.replace(moved, curve_key="k" * 40)
    w.edit("n1", {"member/n2": member_value(rekeyed)})
    w.run(50)
    assert set(w.nodes["n3"].engine.peers) == {w.nodes["n1"].member.curve_key, "k" * 40}


# -- hostile or overloaded --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refuse", [0.5, 0.9])
def test_refused_sends_queue_nothing_and_the_cluster_still_converges(world: Make, refuse: float) -> None:
    w = world(3, seed=1).settled()
    w.refuse = refuse
    for n in range(60):
        w.edit(f"n{n % 3 + 1}", {f"wwid/{n}": lun(f"a{n}")})
        w.report("n1", **{f"m{m}": f"s{n}" for m in range(20)})
        w.run(100)
    w.until(w.converged, 120_000)
    w.until(lambda: w.shown("n3", "n1") == w.shown("n1", "n1"), 120_000)
    for node in w.up:
        assert len(node.engine._state.effects) == 0
        assert len(node.engine._requests) == 0
        assert not node.engine._intake.waiting
        assert node.engine.counters["sends_refused"] > 10


def test_a_peer_that_takes_nothing_costs_one_digest_a_tick(world: Make) -> None:
    w = world(2, seed=1).settled()
    w.refuse = 1.0
    handed: list[Effect] = []
    original = w.nodes["n1"].engine.handle

    def handle(event: Any, now: int) -> list[Effect]:
        effects: list[Effect] = original(event, now)
        handed.extend(e for e in effects if isinstance(e, Send))
        return effects

    w.nodes["n1"].engine.handle = handle
    w.run(10_000)
    assert len(handed) < 10 * (4 + 4)


def test_a_forged_beat_neither_silences_the_living_nor_keeps_the_dead_alive(world: Make) -> None:
    w = world(3).settled()
    w.report("n2", m1="healthy")
    w.run(2_000)

    def forge(number: int) -> None:
        head = w.nodes["n1"].engine.exchange.streams["n2"].head
        forged = beat(w.nodes["n1"].engine.exchange.streams["n2"], beat=max(number, head.beat + 1))
        say(w, "n3", "n1", Delta(beats={"n2": forged}))
        say(w, "n3", "n1", digest(health={"n2": Place(forged.actor_tag, forged.epoch, forged.seq, forged.beat, bytes(4))}))

    forge(2**53)
    w.run(20_000)
    assert w.sees("n1", "n2") is Reporter.FRESH
    assert w.nodes["n1"].engine.counters["beats_forged"] == 1
    w.kill("n2")
    for _ in range(20):
        w.run(1_000)
        forge(0)
        say(w, "n3", "n1", Alive("n2", 0))
    assert w.nodes["n1"].engine.exchange.streams["n2"].age_ms(w.now) >= 20_000
    assert w.sees("n1", "n2") in (Reporter.OFFLINE, Reporter.STALE)


def test_many_forged_beats_in_a_message_are_their_senders_fault(world: Make) -> None:
    w = world(12, seed=1).settled()
    engine = w.nodes["n1"].engine
    beats = {name: beat(stream, beat=2**53, signature=bytes(64)) for name, stream in engine.exchange.streams.items() if name != "n1"}
    say(w, "n2", "n1", Delta(beats=beats))
    assert engine.counters["beats_forged"] == limit("forged_beats") < len(beats)
    assert w.nodes["n1"].codes()["bad-peer"] == 1


def test_ages_and_traffic_of_an_idle_cluster(world: Make) -> None:
    w = world(8, seed=2).settled()
    for name in w.nodes:
        w.report(name, **{f"m{n}": "healthy" for n in range(20)})
    w.run(10_000)
    w.bytes_sent = 0
    ages = []
    for _ in range(60):
        w.run(500)
        ages += [a.engine.exchange.streams[b.name].age_ms(w.now) for a in w.up for b in w.up if a is not b]
    ages.sort()
    assert ages[len(ages) // 2] < 2_500
    assert ages[len(ages) * 98 // 100] < 4_000
    assert w.bytes_sent / 30 / 8 < 1_500


def digests(w: Any, source: str, target: str, count: int, every_ms: int, digest: Any) -> tuple[int, int]:
    """How many deltas and bytes answer a flood of digests."""
    sent: list[int] = []
    key = w.nodes[source].member.curve_key
    original = w._transmit

    def transmit(node: Any, to: str, message: Any, frames: Any) -> bool:
        if node is w.nodes[target] and to == key and isinstance(message, Delta) and (message.health or message.edits):
            sent.append(len(frames[1]))
        return bool(original(node, to, message, frames))

    w._transmit = transmit
    for _ in range(count):
        say(w, source, target, digest)
        w.run(every_ms)
    w._transmit = original
    return len(sent), sum(sent)


def test_a_flood_of_digests_is_answered_ten_times_a_second(world: Make) -> None:
    w = world(2, seed=1).settled()
    w.check_ages = False
    w.dispatch(w.nodes["n1"], LocalSnapshot(tuple(Cell("multipath.map", f"m{n}", "healthy", detail={"x": "y" * 500}) for n in range(200))))
    w.run(3_000)
    answers, _ = digests(w, "n2", "n1", 1_000, 1, digest())
    assert 2 * 5 <= answers <= 2 * 11 + 4
    assert len(w.nodes["n1"].engine._pull.unanswered) <= 1
    w.run(500)
    assert not w.nodes["n1"].engine._pull.unanswered


def test_the_newest_digest_of_many_is_the_one_that_is_answered(world: Make) -> None:
    w = world(2, seed=1).settled()
    w.run(3_000)
    n1 = w.nodes["n1"]
    own = dict(n1.engine.replica.fold.clock)
    w.mute.add(("n1", "n2"))
    say(w, "n2", "n1", digest())
    say(w, "n2", "n1", digest())
    say(w, "n2", "n1", digest(own, n1.engine.exchange.places()))
    assert digests(w, "n2", "n1", 1, 300, Ping(1)) == (0, 0), "it lacks nothing any more"
    say(w, "n2", "n1", digest(own))
    say(w, "n2", "n1", digest(own))
    assert digests(w, "n2", "n1", 1, 300, Ping(1))[0] == 1


def test_health_too_large_is_cut_and_reported_once(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from store import limits

    monkeypatch.setitem(limits.LIMITS, "stream_bytes", limits.Limit(50_000, "bytes", "", ""))
    w = world(2).settled()
    for n in range(3):
        cells = tuple(Cell("multipath.map", f"m{m}", f"s{n}", detail={"path_list": ["x" * 90] * 10}) for m in range(100))
        w.dispatch(w.nodes["n1"], LocalSnapshot(cells))
        w.run(600)
    assert w.nodes["n1"].codes() == {"health-cut": 1}
    found = w.nodes["n2"].engine.exchange.streams["n1"].entries["multipath.map", "m7"].cell
    assert (found.state, found.reasons, found.detail) == ("s2", ("truncated",), {})


def test_health_that_is_refused_for_its_size_is_not_sent_again_and_again(world: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from store import limits

    w = world(2, seed=1).settled()
    w.mute.add(("n1", "n2"))
    cells = tuple(Cell("multipath.map", f"m{m}", "healthy", detail={"x": "y" * 9_000}) for m in range(200))
    w.dispatch(w.nodes["n1"], LocalSnapshot(cells))
    w.run(100)
    monkeypatch.setitem(limits.LIMITS, "stream_bytes", limits.Limit(1_000_000, "bytes", "", ""))
    w.mute.clear()
    w.run(3_000)
    assert w.nodes["n2"].codes()["health-oversized"] == 1
    w.bytes_sent = 0
    w.run(20_000)
    assert w.bytes_sent < 40_000
    assert w.nodes["n2"].codes() == {"health-oversized": 1}
    assert w.sees("n2", "n1") is Reporter.STALE


def test_equivocation_is_reported_once(world: Make) -> None:
    w = world(3, seed=1).settled()
    w.report("n1", m1="healthy")
    w.run(1_000)
    n1 = w.nodes["n1"]
    head = n1.engine.exchange.own.stream.head
    twin = OwnStream("n1", head.actor, head.epoch, lambda body: w.scribe.sign("n1", body), w.now)
    for n in range(head.seq):
        twin.report([Cell("multipath.map", "m1", f"other{n}")], w.now)
    for _ in range(5):
        say(w, "n3", "n2", Delta(health=(twin.stream.delta(None, w.now),)))
    assert w.nodes["n2"].codes()["equivocation"] == 1
    assert w.shown("n2", "n1") == {"m1": "healthy"}


def test_a_state_that_was_damaged_in_memory_is_worked_out_anew(world: Make) -> None:
    w = world(2, seed=1).settled()
    w.nodes["n2"].engine.replica.fold._hash += 1
    w.until(lambda: w.nodes["n2"].engine.counters["states_refolded"] == 1, 10_000)
    w.run(5_000)
    assert w.converged()
    assert not any(node.engine.diverged or node.engine.frozen for node in w.up)


def test_a_divergence_that_nobody_can_judge_freezes_the_key_on_the_odd_one_out(world: Make) -> None:
    w = world(3, seed=1).settled()
    request = w.edit("n1", {"wwid/1": lun("a")})
    w.run(1_000)
    dot = w.nodes["n1"].accepted[request]
    original = w.nodes["n2"].engine.replica.signed(dot).edit
    twin = msgspec.structs.replace(original, changes={"wwid/1": lun("b")})
    body = msgspec.msgpack.encode(twin)
    raw = msgspec.msgpack.encode((body, w.scribe.sign("n1", body)))
    w.kill("n2")
    w.nodes["n2"].disk = [raw if decode_edit(kept).dot == dot else kept for kept in w.nodes["n2"].disk]
    w.start("n2")
    w.until(lambda: w.nodes["n2"].engine.frozen == {"wwid/1"}, 60_000)
    w.run(30_000)
    assert w.nodes["n1"].codes()["diverged"] == 1
    assert w.nodes["n2"].codes()["frozen"] == 1
    assert not w.nodes["n1"].engine.frozen | w.nodes["n3"].engine.frozen, "two agree: the third is the odd one out"
    assert w.value("n1", "wwid/1") == lun("a")
    assert w.value("n2", "wwid/1") == lun("b")
    w.edit("n3", {"wwid/1": lun("c")})
    w.until(lambda: not any(node.engine.frozen or node.engine.diverged for node in w.up), 60_000, "that an operator's edit heals it")
    assert w.converged()


@pytest.mark.parametrize("seed", range(4))
def test_a_hostile_member_neither_stops_nor_bloats_a_node(world: Make, seed: int) -> None:
    """Well-formed nonsense from an authenticated key: huge clocks, junk edits, wrong heads, parts, pongs nobody asked for."""
    w = world(3, seed=seed).settled()
    w.check_ages = False
    random = Random(seed)
    n1, n2 = w.nodes["n1"], w.nodes["n2"]
    engine = n1.engine
    for n in range(400):
        tag, position = random.choice([n2.member.actor[:4], random.randbytes(4)]), [random.randrange(9) for _ in range(3)]
        place, junk_beat = Place(tag, *position, tag), Beat(tag, *position, b"", 0, bytes(64))
        junk = w.scribe.edit(f"x{n}", {"defaults": {}}, {random.randbytes(16): 2**50})
        signed = OwnStream("n2", n2.member.actor, 7, lambda body: w.scribe.sign("n2", body), 0)
        signed.report([Cell(str(n), str(m), "s") for m in range(4)], 0)
        part = msgspec.structs.replace(signed.stream.delta(None, 0), part=random.randrange(80), parts=random.randrange(2, 64))
        message = random.choice(
            [
                digest({random.randbytes(16): 2**50 for _ in range(50)}, {"n2": place, "n1": place, "zz": place}, whole=("n1", "zz")),
                digest(),
                Digest(random.randbytes(32), bytes(32), health={"n1": place}, hears=random.randbytes(8)),
                Fetch(random.randbytes(16), 2**40),
                Fetch(b"", 0),
                Chunk(random.randbytes(16), 0, 2**40, bytes(32), b"x"),
                Delta(edits=(junk.raw,), ahead={random.randbytes(16): 2**50}),
                Delta(health=(part,)),
                Delta(beats={"n2": junk_beat, "n1": junk_beat, "n3": junk_beat}),
                Ping(n), Pong(n), Probe("n3"), Probe("n1"), Probe("zz"), Alive("zz", 0), Alive("n1", 2**53),
            ]
        )  # fmt: skip
        say(w, "n2", "n1", message)
        w.run(5)
    assert len(engine._intake._held) <= limit("hold_back_edits")
    assert len(engine._vitals._probing) <= 256
    assert sum(a.size for a in engine.exchange._assemblies.values()) <= limit("stream_bytes")
    assert set(engine.exchange.streams) <= {"n1", "n2", "n3"}
    w.edit("n3", {"wwid/1": lun("works")})
    w.run(2_000)
    assert w.value("n1", "wwid/1") == lun("works")
    w.edit("n1", {"wwid/2": lun("works")})
    w.run(2_000)
    assert w.value("n3", "wwid/2") == lun("works")


def test_one_edit_cannot_use_up_all_lamport_numbers(world: Make) -> None:
    w = world(2).settled()
    clock = dict(w.nodes["n1"].engine.replica.fold.clock)
    edit = w.scribe.edit("n2", {"defaults": {"x": "1"}}, clock)
    body = msgspec.msgpack.encode(msgspec.structs.replace(edit.edit, lamport=2**53))
    raw = msgspec.msgpack.encode((body, w.scribe.sign("n2", body)))
    say(w, "n2", "n1", Delta(edits=(raw,)))
    w.run(500)
    assert w.nodes["n1"].engine.counters["messages_bad"] == 1
    assert not w.nodes["n1"].engine.replica.has(edit.dot)


# -- small things, one engine alone ---------------------------------------------------------------------------------------


def lone(scribe: Any, *log: Any, name: str = "n1") -> Engine:
    identity = Identity(name, scribe.actor(name), 1, bytes(16), lambda body: scribe.sign(name, body), scribe.verify)
    return Engine(identity, Replica("c1", scribe.verify, log), {}, Random(1), 0)


def test_a_lone_engine_needs_nobody(scribe: Any) -> None:
    engine = lone(scribe, scribe.founding("n1"))
    assert engine.start(0) == [Publish(standing=frozenset({"n1"}))]
    (commit,) = engine.handle(LocalEdit(1, {"defaults": {"x": "1"}}, 0.0), 0)
    assert isinstance(commit, Commit)
    effects = engine.handle(Committed(commit.batch), 5)
    assert engine.replica.fold.value("defaults") == {"x": "1"}
    assert not any(isinstance(e, Send) for e in effects)
    for now in range(0, 20_000, 250):
        assert not any(isinstance(e, Send | Alarm) for e in engine.handle(Tick(), now))


def test_a_failed_commit_leaves_the_engine_as_it_was(scribe: Any) -> None:
    engine = lone(scribe, scribe.founding("n1"))
    (commit,) = engine.handle(LocalEdit(1, {"defaults": {"x": "1"}}, 0.0), 0)
    assert isinstance(commit, Commit)
    dot = commit.batch[0].dot
    assert engine.handle(LocalEdit(2, {"defaults": {"x": "2"}}, 0.0), 0) == []
    effects = engine.handle(CommitFailed(commit.batch, "disk full"), 5)
    assert [e.request for e in effects if isinstance(e, Rejected)] == [1, 2]
    assert engine.replica.fold.value("defaults") is None
    (again,) = engine.handle(LocalEdit(3, {"defaults": {"x": "3"}}, 0.0), 10)
    assert isinstance(again, Commit)
    assert again.batch[0].dot == dot, "it was never shown to anybody, so the position is free"


def test_the_standing_of_who_is_no_member(scribe: Any) -> None:
    engine = lone(scribe, scribe.founding("n1"))
    assert engine.reporter("n1", 0) is Reporter.FRESH
    assert engine.reporter("zz", 0) is Reporter.LEFT
    assert engine.liveness.opinion("zz") is Opinion.OFFLINE


def test_a_node_that_observes_nothing_any_more_stops_its_heart(scribe: Any) -> None:
    engine = lone(scribe, scribe.founding("n1"))
    engine = Engine(engine.identity, engine.replica, {}, Random(1), 0, snapshot_within_ms=5_000)
    beats = []
    for now in range(0, 40_000, 500):
        if now == 3_000:
            engine.handle(LocalSnapshot((Cell("k", "i", "healthy"),)), now)
        engine.handle(Tick(), now)
        beats.append((now, engine.exchange.own.stream.head.beat))
    last = max(now for (now, beat), (_, before) in zip(beats[1:], beats, strict=False) if beat > before)
    assert 7_000 <= last <= 8_500
    assert engine.reporter("n1", 20_000) is Reporter.FRESH
    assert engine.reporter("n1", 40_000) is Reporter.STALE


def test_real_signatures_work_end_to_end(scribe: Any) -> None:
    """One edit and one report between two engines, with the keys that nodes really have."""
    keys = pytest.importorskip("gossip.keys")
    from store.edits import Edit, encode_body, seal
    from store.members import Member

    pairs = {name: keys.NodeKeys.generate() for name in ("n1", "n2")}
    members = {
        name: Member(name, scribe.actor(name), pair.mesh_public, pair.signing_public, "tcp://127.0.0.1:1", Role.ADMIN, MemberState.JOINED)
        for name, pair in pairs.items()
    }
    changes: dict[str, dict[str, str] | None] = {CLUSTER_KEY: {"id": "c1"}}
    changes |= {MEMBER_PREFIX + name: member_value(member) for name, member in members.items()}
    founding = Edit(actor=members["n1"].actor, counter=1, context={}, lamport=1, author="n1", wall=0.0, changes=changes)
    body = encode_body(founding)
    signed = seal(founding, body, pairs["n1"].sign(body))
    engines = {}
    for name, pair in pairs.items():
        replica = Replica("c1", keys.verify)
        assert replica.admit(signed).name == "READY"
        replica.commit(signed)
        engines[name] = Engine(Identity(name, members[name].actor, 1, bytes(16), pair.sign, keys.verify), replica, {}, Random(1), 0)
        engines[name].start(0)
    (commit,) = engines["n1"].handle(LocalEdit(1, {"defaults": {"x": "1"}}, 0.0), 0)
    assert isinstance(commit, Commit)
    engines["n1"].handle(Committed(commit.batch), 0)
    engines["n1"].exchange.own.report([Cell("k", "i", "healthy")], 0)
    hello = Hello("c1", "n1", members["n1"].actor, 1, 1, bytes(16))
    delta = Delta(edits=(commit.batch[0].raw,), health=tuple(engines["n1"].exchange.deltas("n1", None, 0)))
    n2 = engines["n2"]
    effects: list[Effect] = []
    for message in (hello, delta):
        effects = n2.handle(MessageReceived(pairs["n1"].mesh_public, *encode(message)), 1)
    (taken,) = [e for e in effects if isinstance(e, Commit)]
    n2.handle(Committed(taken.batch), 2)
    assert n2.replica.fold.value("defaults") == {"x": "1"}
    assert [c.state for c in n2.exchange.streams["n1"].cells()] == ["healthy"]
    forged = decode_edit(commit.batch[0].raw.replace(b"\xa1x\xa11", b"\xa1x\xa19"))
    assert n2.replica.signer(forged) is None
