"""The replica: who may author, what is void, and what a peer lacks."""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.absorb import absorb
from store.base import Base
from store.clocks import Dot, covers
from store.edits import CHANGE, LATE, RESOLVE, SignedEdit, decode_edit
from store.level import FIRST, LEVEL, LEVEL_KEY, KindIs, level_value
from store.limits import limit
from store.members import MEMBER_PREFIX, Ending, MemberState, Role, member_value
from store.replica import CLUSTER_KEY, Admission, Replica
from store.snapshot import make_snapshot, read_snapshot


def feed(replica: Replica, edits: Sequence[SignedEdit]) -> None:
    """Commit all in the given order, each as soon as it is admitted."""
    left = list(edits)
    while left:
        ready = [s for s in left if replica.admit(s) is Admission.READY]
        assert ready, "nothing can be admitted"
        replica.commit(ready[0])
        left.remove(ready[0])


def cluster(scribe: Any) -> tuple[list[SignedEdit], dict[bytes, int]]:
    """A founder `n1`, an editor `n2`, an observer `n3`, an admin `n4`, all let in by `n1`; and the clock after that."""
    log, clock = [scribe.founding("n1")], {scribe.actor("n1"): 1}
    for name, role in (("n2", Role.EDITOR), ("n3", Role.OBSERVER), ("n4", Role.ADMIN)):
        log.append(scribe.registration("n1", scribe.member(name, role), clock))
        clock = {scribe.actor("n1"): len(log)}
    return log, clock


def test_the_founder_introduces_itself(scribe: Any) -> None:
    replica = scribe.replica()
    founding = scribe.founding("n1")
    assert replica.admit(founding) is Admission.READY
    assert set(replica.commit(founding)) == {CLUSTER_KEY, "member/n1"}
    assert replica.registry.by_name["n1"].role is Role.ADMIN
    assert replica.admit(founding) is Admission.DUPLICATE
    assert len(replica) == 1
    assert replica.log_bytes == len(founding.raw)


def test_who_is_believed_gone_stays_gone_however_the_state_comes_about(scribe: Any) -> None:
    log, _ = cluster(scribe)
    replica = scribe.replica(*log)
    replica.believe(scribe.actor("n2"), Ending(MemberState.RETIRED, Dot(scribe.actor("n1"), 9)))
    assert replica.registry.by_name["n2"].state is MemberState.RETIRED
    snapshot = read_snapshot(make_snapshot(replica), replica.cluster_id, replica.verify, {})
    for other in (replica.copy(), replica.anew(replica.edits(), replica.base), absorb(replica, snapshot).replica):
        assert other.registry.by_name["n2"].state is MemberState.RETIRED
        assert other.fold.state_hash == replica.fold.state_hash, "it is no edit"
    assert scribe.replica(*log).registry.by_name["n2"].active


def test_only_the_first_edit_of_the_right_cluster_founds(scribe: Any) -> None:
    own = {MEMBER_PREFIX + "n1": member_value(scribe.member("n1"))}
    other = {MEMBER_PREFIX + "n1": member_value(scribe.member("n2"))}
    right = {CLUSTER_KEY: {"id": "c1"}}
    for changes in ({CLUSTER_KEY: {"id": "another"}, **own}, {CLUSTER_KEY: None, **own}, own, right, {**right, **other}):
        assert scribe.replica().admit(scribe.edit("n1", changes)) is Admission.REFUSED
    replica = scribe.replica(scribe.founding("n1"))
    assert replica.admit(scribe.founding("n2")) is Admission.REFUSED


def test_a_founding_edit_needs_its_own_signature(scribe: Any) -> None:
    changes = {CLUSTER_KEY: {"id": "c1"}, MEMBER_PREFIX + "n1": member_value(scribe.member("n1"))}
    assert scribe.replica().admit(scribe.edit("n1", changes, signer="n2")) is Admission.REFUSED


def test_an_edit_waits_for_its_context_then_for_nothing(scribe: Any) -> None:
    log, clock = cluster(scribe)
    first = scribe.edit("n2", {"defaults": {"x": "1"}}, clock)
    second = scribe.edit("n2", {"defaults": {"x": "2"}}, clock | {scribe.actor("n2"): 1})
    replica = scribe.replica(*log)
    assert replica.admit(second) is Admission.WAIT
    assert replica.admit(second, clock | {scribe.actor("n2"): 1}) is Admission.READY  # its cause is on the way to the disk
    replica.commit(first)
    assert replica.admit(second) is Admission.READY


def test_an_author_whose_admission_is_on_its_way_waits(scribe: Any) -> None:
    log, clock = cluster(scribe)
    edit = scribe.edit("n2", {"defaults": {"x": "1"}}, clock)
    replica = scribe.replica(log[0])
    assert replica.admit(edit) is Admission.WAIT
    assert replica.admit(edit, clock) is Admission.WAIT
    feed(replica, log[1:])
    assert replica.admit(edit) is Admission.READY


def test_forged_and_unknown_authors_are_refused(scribe: Any) -> None:
    log, clock = cluster(scribe)
    replica = scribe.replica(*log)
    forged = scribe.edit("n2", {"defaults": {"x": "1"}}, clock, signer="n3")
    assert replica.admit(forged) is Admission.REFUSED
    assert replica.signer(forged) is None
    assert replica.knows(forged.dot.actor)
    stranger = scribe.edit("n9", {"defaults": {"x": "1"}}, clock)
    assert replica.admit(stranger) is Admission.REFUSED
    assert not replica.knows(stranger.dot.actor)
    assert replica.signer(scribe.edit("n2", {"defaults": {"x": "1"}}, clock)) == scribe.signing_key("n2")


def test_a_changed_body_breaks_the_signature(scribe: Any) -> None:
    log, clock = cluster(scribe)
    good = scribe.edit("n2", {"defaults": {"x": "value"}}, clock)
    bad = decode_edit(good.raw.replace(b"value", b"other"))
    assert scribe.replica(*log).admit(bad) is Admission.REFUSED


def test_void_edits_move_the_clock_alone(scribe: Any) -> None:
    log, clock = cluster(scribe)
    replica = scribe.replica(*log)
    before = replica.fold.state_hash
    edits = [
        scribe.registration("n2", scribe.member("n9"), clock),
        scribe.edit("n4", {"defaults": {"x": "1"}}, clock, kind="later"),
        scribe.edit("n2", {"defaults": {"x": "1"}, CLUSTER_KEY: None}, clock | {scribe.actor("n2"): 1}),
    ]
    for edit in edits:
        assert replica.admit(edit) is Admission.READY
        assert replica.commit(edit) == set()
    assert replica.voided == len(edits)
    assert replica.fold.state_hash == before
    assert "n9" not in replica.registry.by_name
    assert scribe.actor("n9") not in replica.authors
    assert all(replica.has(edit.dot) and replica.raw(edit.dot) == edit.raw for edit in edits)


def test_an_observers_edits_are_refused(scribe: Any) -> None:
    log, clock = cluster(scribe)
    replica = scribe.replica(*log)
    for kind in (CHANGE, "later"):
        assert replica.admit(scribe.edit("n3", {"defaults": {"x": "1"}}, clock, kind=kind)) is Admission.REFUSED
    early = scribe.replica(*log[:2])
    assert (
        early.admit(scribe.edit("n3", {"defaults": {"x": "1"}}, clock), clock) is Admission.WAIT
    )  # it may have been let in as something else


def test_an_author_that_goes_on_beyond_its_rights_is_cut_off(scribe: Any) -> None:
    log, _ = cluster(scribe)
    replica = scribe.replica(*log)
    n2 = scribe.actor("n2")

    def forbidden() -> SignedEdit:
        return scribe.edit("n2", {CLUSTER_KEY: None}, replica.fold.clock, kind=CHANGE if replica.voided % 2 else "later")

    for n in range(limit("void_edits")):
        beyond = forbidden()
        ahead = dict(replica.fold.clock)
        within = scribe.edit("n2", {"defaults": {"x": str(n)}}, ahead | {n2: beyond.dot.counter})
        assert replica.admit(beyond) is Admission.READY
        another = scribe.edit("n2", {CLUSTER_KEY: None}, ahead | {n2: beyond.dot.counter})
        assert replica.admit(another, ahead | {n2: beyond.dot.counter}) is Admission.WAIT, "how many were before it is not known yet"
        replica.commit(beyond)
        assert replica.admit(within) is Admission.READY
        replica.commit(within)
    assert replica.admit(forbidden()) is Admission.REFUSED
    assert scribe.replica(*(decode_edit(raw) for raw in replica.since({}, 10**9)[0])).admit(forbidden()) is Admission.REFUSED
    assert replica.admit(scribe.edit("n2", {"defaults": {"x": "1"}}, replica.fold.clock)) is Admission.READY, "what is within is taken"
    for _ in range(2 * limit("void_edits")):
        later = scribe.edit("n4", {"defaults": {"x": "1"}}, replica.fold.clock, kind="later")
        assert replica.admit(later) is Admission.READY, "a later version may know it"
        replica.commit(later)


def test_a_known_signer_is_not_asked_for_again(scribe: Any) -> None:
    log, clock = cluster(scribe)
    asked = []

    def verify(key: bytes, body: bytes, signature: bytes) -> bool:
        asked.append(key)
        return bool(scribe.verify(key, body, signature))

    replica = Replica("c1", verify, log)
    edit = scribe.edit("n2", {"defaults": {"x": "1"}}, clock)
    assert replica.admit(edit, None, scribe.signing_key("n2")) is Admission.READY
    assert asked == []
    forged = scribe.edit("n2", {"defaults": {"x": "1"}}, clock, signer="n4")
    assert replica.admit(forged, None, scribe.signing_key("n4")) is Admission.REFUSED


def test_a_batch_reads_only_the_names_that_it_touches_and_once(scribe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from store import members as module

    reads: list[str] = []
    original = module.fold_member
    monkeypatch.setattr(module, "fold_member", lambda name, *rest: reads.append(name) or original(name, *rest))
    log, clock = cluster(scribe)
    replica = scribe.replica(*log)
    n1 = scribe.actor("n1")
    batch = [scribe.registration("n1", scribe.member(f"x{n}"), clock | {n1: len(log) + n}) for n in range(20)]
    reads.clear()
    assert replica.commit(*batch) == {f"member/x{n}" for n in range(20)}
    assert sorted(reads) == sorted(f"x{n}" for n in range(20))
    assert len(replica.registry.by_name) == len(log) + 20
    reads.clear()
    replica.commit(scribe.edit("n1", {"defaults": {"x": "1"}}, replica.fold.clock))
    assert reads == []


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_every_order_voids_the_same_edits(scribe: Any, random: Any, swap: bool) -> None:
    """Two admins let one actor in at the same time with different roles, and a third is demoted: all nodes must still agree."""
    log, clock = cluster(scribe)
    n1, n2, n4, x = (scribe.actor(name) for name in ("n1", "n2", "n4", "x"))
    roles = (Role.ADMIN, Role.EDITOR) if swap else (Role.EDITOR, Role.ADMIN)
    by_n1 = scribe.registration("n1", scribe.member("x", roles[0]), clock)
    by_n4 = scribe.registration("n4", scribe.member("x", roles[1]), clock)
    saw_n1, saw_n4 = clock | {n1: 5}, clock | {n4: 1}
    edits = [
        by_n1,
        by_n4,
        scribe.edit("x", {CLUSTER_KEY: {"id": "c1", "from": "x"}}, saw_n4),
        scribe.edit("x", {CLUSTER_KEY: {"id": "c1", "from": "x, later"}, "defaults": {"x": "1"}}, saw_n1 | {n4: 1, x: 1}),
        scribe.registration("n1", scribe.member("n2", Role.ADMIN), saw_n1),
        scribe.edit("n2", {"defaults": {"x": "2"}}, saw_n1 | {n1: 6}),
        scribe.registration("n2", scribe.member("n8"), saw_n1 | {n1: 6, n2: 1}),
    ]
    expected = scribe.replica(*log)
    feed(expected, edits)
    shuffled = list(edits)
    random.shuffle(shuffled)
    replica = scribe.replica(*log)
    feed(replica, shuffled)
    assert replica.fold.clock == expected.fold.clock
    assert replica.fold.state_hash == expected.fold.state_hash
    assert replica.voided == expected.voided
    assert replica.registry.by_name == expected.registry.by_name
    assert "n8" not in replica.registry.by_name  # a role counts as it was when its actor was let in


def test_retired_is_final_even_for_a_later_edit(scribe: Any) -> None:
    log, clock = cluster(scribe)
    n1 = scribe.actor("n1")
    replica = scribe.replica(*log)
    replica.commit(scribe.registration("n1", scribe.member("n2", Role.EDITOR, MemberState.RETIRED), clock))
    replica.commit(scribe.registration("n1", scribe.member("n2", Role.EDITOR), clock | {n1: 5}))
    assert replica.registry.by_name["n2"].state is MemberState.RETIRED
    replica.commit(scribe.registration("n1", scribe.member("n2", actor="n2 anew"), clock | {n1: 6}))
    assert replica.registry.by_name["n2"].active


def test_edits_of_a_retired_author_are_taken_when_relayed(scribe: Any) -> None:
    log, clock = cluster(scribe)
    replica = scribe.replica(*log)
    replica.commit(scribe.registration("n1", scribe.member("n2", Role.EDITOR, MemberState.RETIRED), clock))
    late = scribe.edit("n2", {"defaults": {"x": "1"}}, clock)
    assert replica.admit(late) is Admission.READY
    assert replica.commit(late) == {"defaults"}


def test_a_name_that_two_sponsors_gave_is_contested_alike_everywhere(scribe: Any) -> None:
    log, clock = cluster(scribe)
    n1 = scribe.actor("n1")
    one = scribe.registration("n1", scribe.member("n7", actor="one"), clock)
    two = scribe.registration("n4", scribe.member("n7", actor="two"), clock)
    moved = scribe.registration("n1", scribe.member("n7", Role.OBSERVER, actor="one"), clock | {n1: 5})
    pictures = []
    for order in ([one, two, moved], [two, one, moved], [one, moved, two]):
        replica = scribe.replica(*log)
        feed(replica, order)
        pictures.append((replica.registry.by_name["n7"].actor, tuple(m.actor for m in replica.registry.contested)))
        assert replica.fold.conflicts == ["member/n7"]
    assert len(set(pictures)) == 1
    holder, losers = pictures[0]
    assert {holder, *losers} == {scribe.actor("one"), scribe.actor("two")}


def history(scribe: Any, edits: int) -> tuple[Replica, list[SignedEdit]]:
    log, clock = cluster(scribe)
    for n in range(edits):
        author = ("n1", "n2", "n4")[n % 3]
        log.append(scribe.edit(author, {f"wwid/{n}": {"alias": "x" * (n % 50)}}, clock))
        clock = clock | {scribe.actor(author): log[-1].edit.counter}
    return scribe.replica(*log), log


@pytest.mark.parametrize("budget", [0, 1, 300, 600, 5_000, 10**9])
def test_since_makes_progress_under_every_budget(scribe: Any, budget: int) -> None:
    source, log = history(scribe, 40)
    replica = scribe.replica()
    rounds = 0
    more = True
    while more:
        raws, more = source.since(replica.fold.clock, budget)
        assert raws, "more was promised"
        assert len(raws) == 1 or sum(map(len, raws)) <= budget
        for raw in raws:
            signed = decode_edit(raw)
            assert replica.admit(signed) is Admission.READY  # causal order within and between deltas
            replica.commit(signed)
        rounds += 1
    assert replica.fold.state_hash == source.fold.state_hash
    assert rounds <= len(log)
    assert source.since(replica.fold.clock, budget) == ([], False)


def test_since_leaves_out_what_the_asker_holds(scribe: Any) -> None:
    source, log = history(scribe, 9)
    held = [log[5].dot, log[9].dot]
    raws, more = source.since({}, 10**9, also=held)
    assert not more
    assert [decode_edit(raw).dot for raw in raws] == [s.dot for s in log if s.dot not in held]


def test_since_of_a_vector_that_is_ahead_is_empty(scribe: Any) -> None:
    source, _ = history(scribe, 5)
    ahead = dict.fromkeys(source.fold.clock, 2**53) | {bytes(16): 7}
    assert source.since(ahead, 1000) == ([], False)


def test_since_at_every_budget(scribe: Any) -> None:
    """From one byte up: within the budget unless one edit alone is larger, the longest such beginning, and the truth about the rest."""
    source, log = history(scribe, 12)
    for start in (0, 5, len(log) - 1):
        vector = scribe.replica(*log[:start]).fold.clock
        sizes = [len(signed.raw) for signed in log[start:]]
        for budget in range(1, sum(sizes) + 2):
            raws, more = source.since(vector, budget)
            assert raws == [signed.raw for signed in log[start : start + len(raws)]]
            taken = sum(sizes[: len(raws)])
            assert taken <= budget or len(raws) == 1
            assert more is (len(raws) < len(sizes))
            assert not more or taken + sizes[len(raws)] > budget


def test_since_costs_what_it_gives(scribe: Any) -> None:
    """A look at each actor for who is up to date, whatever the length of the log."""
    source, _ = history(scribe, 3000)
    clock = dict(source.fold.clock)
    began = time.perf_counter()
    for _ in range(1000):
        source.since(clock, 1000)
    assert time.perf_counter() - began < 0.5


def test_the_log_gives_the_bytes_back(scribe: Any) -> None:
    source, log = history(scribe, 5)
    for signed in log:
        assert source.has(signed.dot)
        assert source.raw(signed.dot) == signed.raw
        assert source.signed(signed.dot) == signed
    assert list(source.edits()) == log
    assert list(source.raws()) == [signed.raw for signed in log]
    missing = Dot(scribe.actor("n1"), 999)
    assert not source.has(missing)
    assert source.raw(missing) is None
    assert source.raw(Dot(bytes(16), 1)) is None
    assert source.signed(missing) is None


def test_a_log_with_a_hole_is_no_log(scribe: Any) -> None:
    _, log = history(scribe, 5)
    with pytest.raises(ValueError, match="before what it depends on"):
        scribe.replica(*log[:3], *log[4:])


def test_known_kinds_are_the_ones_that_fold(scribe: Any) -> None:
    log, clock = cluster(scribe)
    replica = scribe.replica(*log)
    for kind, void in ((CHANGE, False), (RESOLVE, False), (LATE, False), ("later", True)):
        assert replica.is_void(scribe.edit("n1", {"defaults": {"x": "1"}}, clock, kind=kind)) is void


# -- the base ---------------------------------------------------------------------------------------------------------------


def collected(replica: Replica) -> Replica:
    collection = replica.collect(replica.fold.clock)
    assert collection is not None
    replica.collected(collection)
    return replica


def deleting(scribe: Any) -> tuple[Replica, SignedEdit]:
    """A replica in which a section was made and deleted; and the deletion."""
    replica, _ = history(scribe, 3)
    for value in ({"alias": "a"}, {"alias": "b"}, None):
        replica.commit(scribe.edit("n1", {"wwid/x": value}, replica.fold.clock, lamport=replica.fold.lamport + 1))
    deletion = replica.signed(replica.fold.siblings("wwid/x")[0].dot)
    assert deletion is not None
    return replica, deletion


def test_a_deletion_that_everybody_has_is_forgotten(scribe: Any) -> None:
    replica, deletion = deleting(scribe)
    before, size = replica.fold.state_hash, replica.log_bytes
    collection = replica.collect(replica.fold.clock)
    assert collection is not None
    assert len(collection.gone) == 3 and deletion.dot in collection.gone
    replica.collected(collection)
    assert (len(list(replica.edits())), replica.log_bytes) == (len(replica), size - collection.bytes)
    assert replica.fold.state_hash == before
    assert replica.fold.siblings("wwid/x") == ()
    assert replica.has(deletion.dot) and replica.raw(deletion.dot) is None
    assert replica.admit(deletion) is Admission.DUPLICATE
    assert replica.collect(replica.fold.clock) is None


def test_what_somebody_lacks_stays(scribe: Any) -> None:
    replica, deletion = deleting(scribe)
    n1 = scribe.actor("n1")
    stable = replica.fold.clock | {n1: deletion.dot.counter - 1}
    collection = replica.collect(stable)
    assert collection is not None
    assert [dot.counter for dot in collection.gone] == [deletion.dot.counter - 2]  # the last value before it stays as long as it does
    replica.collected(collection)
    assert replica.floor == stable
    assert not replica.behind(stable) and replica.behind({}) and not replica.behind(replica.fold.clock)
    assert replica.since(stable, 1000) == ([deletion.raw], False)
    assert replica.since({}, 10**9) == ([], False)


def test_what_is_said_to_be_stable_beyond_what_is_here_counts_for_nothing(scribe: Any) -> None:
    replica, _ = deleting(scribe)
    collection = replica.collect({actor: counter + 100 for actor, counter in replica.fold.clock.items()} | {bytes(16): 5})
    assert collection is not None
    assert collection.base.floor == collection.base.clock == replica.fold.clock


def test_nothing_is_collected_while_an_edit_is_not_understood(scribe: Any) -> None:
    replica, _ = deleting(scribe)
    replica.commit(scribe.edit("n1", {LEVEL_KEY: level_value(LEVEL + 1)}, replica.fold.clock))
    replica.commit(scribe.edit("n1", {"defaults": {"x": "1"}}, replica.fold.clock, kind="later"))
    assert replica.unknown_kinds == 1
    assert replica.collect(replica.fold.clock) is None
    with pytest.raises(ValueError, match="unknown kind"):
        replica.readmitted({})


def strange(scribe: Any) -> tuple[list[SignedEdit], SignedEdit, SignedEdit, list[SignedEdit]]:
    """A log of members; an edit of an unknown kind by the editor; two raises of the level that have not seen it; one that has seen all."""
    log, clock = cluster(scribe)
    impossible = scribe.edit("n2", {"defaults": {"x": "?"}}, clock, kind="later")
    raises = []
    for level in (LEVEL + 1, LEVEL + 2):
        raises.append(scribe.edit("n1", {LEVEL_KEY: level_value(level)}, clock))
        clock = clock | {scribe.actor("n1"): raises[-1].edit.counter}
    later = scribe.edit("n2", {"defaults": {"x": "!"}}, clock | {scribe.actor("n2"): 1}, kind="later")
    return log, impossible, later, raises


@pytest.mark.parametrize("first", [True, False])
def test_an_unknown_kind_is_judged_by_the_level_in_its_own_past(scribe: Any, first: bool) -> None:
    log, impossible, later, raises = strange(scribe)
    replica = scribe.replica(*log)
    feed(replica, [impossible, *raises] if first else [*raises, impossible])
    assert replica.kind(impossible) is KindIs.IMPOSSIBLE and replica.is_void(impossible)
    assert (replica.unknown_kinds, replica.voided, replica.fold.value("defaults")) == (0, 1, None)
    replica.commit(later)
    assert replica.kind(later) is KindIs.LATER and replica.is_void(later)
    assert (replica.unknown_kinds, replica.voided, replica.fold.value("defaults")) == (1, 2, None)
    assert replica.copy().kind(later) is KindIs.LATER


def test_which_levels_there_were_outlives_a_collection_and_a_snapshot(scribe: Any) -> None:
    log, impossible, later, raises = strange(scribe)
    replica = scribe.replica(*log, *raises, impossible)
    replica.commit(scribe.edit("n1", {LEVEL_KEY: level_value(LEVEL + 3)}, replica.fold.clock))
    replica.commit(scribe.edit("n1", {LEVEL_KEY: level_value(FIRST)}, replica.fold.clock))
    collected(replica)
    assert replica.raw(impossible.dot) is None and replica.voided == 0
    snapshot = read_snapshot(make_snapshot(replica), "c1", scribe.verify, {})
    for again in (replica, scribe.replica(*replica.edits(), base=replica.base), Replica("c1", scribe.verify, snapshot.log, snapshot.base)):
        assert all(again.raw(raised.dot) for raised in raises)
        again.commit(scribe.edit("n2", {"defaults": {"x": "?"}}, again.fold.clock, kind="later"))
        assert again.unknown_kinds == 1
        assert again.kind(later) is KindIs.LATER and again.kind(impossible) is KindIs.IMPOSSIBLE


def test_only_who_may_raise_the_level_raises_it(scribe: Any) -> None:
    log, _ = cluster(scribe)
    replica = scribe.replica(*log)
    for kind in (CHANGE, "later"):
        replica.commit(scribe.edit("n2", {LEVEL_KEY: level_value(LEVEL + 1)}, replica.fold.clock, kind=kind))
    replica.commit(scribe.edit("n1", {LEVEL_KEY: level_value(LEVEL + 1)}, replica.fold.clock, kind="later"))
    replica.commit(scribe.edit("n2", {"defaults": {"x": "?"}}, replica.fold.clock, kind="later"))
    assert (replica.unknown_kinds, replica.voided) == (0, 4)


def test_impossible_edits_in_a_snapshot_are_void(scribe: Any) -> None:
    log, impossible, _, _ = strange(scribe)
    replica = scribe.replica(*log, impossible)
    snapshot = read_snapshot(make_snapshot(replica), "c1", scribe.verify, {})
    assert snapshot.base == replica.present_base() and snapshot.base.voids == (impossible.dot,)
    again = Replica("c1", scribe.verify, snapshot.log, snapshot.base)
    assert (again.voided, again.unknown_kinds, again.fold.value("defaults")) == (1, 0, None)


def test_a_plan_for_another_state_is_not_carried_out(scribe: Any) -> None:
    replica, _ = deleting(scribe)
    collection = replica.collect(replica.fold.clock)
    assert collection is not None
    replica.commit(scribe.edit("n1", {"defaults": {"x": "1"}}, replica.fold.clock))
    with pytest.raises(ValueError, match="another state"):
        replica.collected(collection)


def test_an_author_is_known_by_a_base_as_by_its_admission(scribe: Any) -> None:
    replica, _ = deleting(scribe)
    forbidden = scribe.edit("n2", {CLUSTER_KEY: None}, replica.fold.clock)
    replica.commit(forbidden)
    collected(replica)
    assert replica.raw(forbidden.dot) is None
    again = Replica("c1", scribe.verify, replica.edits(), replica.base)
    for one in (replica, again):
        assert one.admit(scribe.edit("n2", {"defaults": {"x": "1"}}, one.fold.clock)) is Admission.READY
        assert one.admit(scribe.edit("n2", {"defaults": {"x": "1"}}, one.fold.clock, signer="n4")) is Admission.REFUSED
        assert one.admit(scribe.edit("n3", {"defaults": {"x": "1"}}, one.fold.clock)) is Admission.REFUSED
        assert one._authors.beyond == {scribe.actor("n2"): (forbidden.dot,)}


def test_a_base_and_a_log_that_do_not_fit_are_refused(scribe: Any) -> None:
    replica, _ = deleting(scribe)
    stable = dict(replica.fold.clock)
    replica.commit(scribe.edit("n1", {"defaults": {"x": "1"}}, replica.fold.clock))
    collection = replica.collect(stable)
    assert collection is not None
    replica.collected(collection)
    log, base = list(replica.edits()), replica.base
    assert base is not None
    assert Replica("c1", scribe.verify, log, base).fold.state_hash == replica.fold.state_hash
    live = replica.fold.siblings("wwid/0")[0].dot
    for wrong, what in (
        (log[:-1], "above the floor"),
        ([s for s in log if s.dot != live], "live value"),
        ([*log, log[-1]], "follow"),
        (log[::-1], "follow"),
        ([], "above the floor"),
    ):
        with pytest.raises(ValueError, match=what):
            Replica("c1", scribe.verify, wrong, base)
    with pytest.raises(ValueError, match="before what it depends on"):
        Replica("c1", scribe.verify, log)
    assert len(Replica("c1", scribe.verify, (), Base())) == 0


def test_a_collected_deletion_can_be_taken_back(scribe: Any) -> None:
    replica, deletion = deleting(scribe)
    replica.commit(scribe.edit("n1", {"defaults": {"x": "1"}}, replica.fold.clock))
    never = replica.copy()
    past = dict(replica.fold.clock) | {deletion.dot.actor: deletion.dot.counter - 1}
    unseen = scribe.edit("n4", {"wwid/x": {"alias": "c"}}, past)
    collected(replica)
    for one in (replica, never):
        one.commit(unseen)
    assert replica.fold.state_hash != never.fold.state_hash
    assert not replica.fold.in_conflict("wwid/x")
    size = len(replica)
    back = replica.readmitted({"wwid/x": deletion})
    assert back.fold.state_hash == never.fold.state_hash
    assert back.fold.siblings("wwid/x") == never.fold.siblings("wwid/x")
    assert back.fold.clock == replica.fold.clock and back.floor == replica.floor
    assert back.raw(deletion.dot) == deletion.raw
    assert (len(replica), len(back)) == (size, size + 1)
    assert Replica("c1", scribe.verify, back.edits(), back.base).fold.state_hash == back.fold.state_hash
    assert back.readmitted({"wwid/x": deletion}).fold.state_hash == back.fold.state_hash
    order = [signed.dot for signed in back.edits()]
    later = [signed.dot for signed in back.edits() if covers(signed.edit.context, deletion.dot)]
    assert later and all(order.index(deletion.dot) < order.index(dot) for dot in later)
    assert back.collect(back.fold.clock) is None, "it does not stand alone"


def test_a_deletion_that_was_replaced_since_stays_away(scribe: Any) -> None:
    replica, deletion = deleting(scribe)
    collected(replica)
    replica.commit(scribe.edit("n1", {"wwid/x": {"alias": "anew"}}, replica.fold.clock))
    assert replica.readmitted({"wwid/x": deletion}).fold.state_hash == replica.fold.state_hash


def test_only_a_known_deletion_is_taken_back(scribe: Any) -> None:
    replica, deletion = deleting(scribe)
    past = scribe.replica(*list(replica.edits())[:-1]).fold.clock
    collected(replica)
    ahead = scribe.edit("n1", {"wwid/x": None}, replica.fold.clock)
    forged = scribe.edit("n1", {"wwid/y": None}, past, signer="n2")
    void = scribe.edit("n2", {CLUSTER_KEY: None}, past)
    for key, wrong in (("wwid/y", deletion), ("wwid/x", ahead), ("wwid/y", forged), (CLUSTER_KEY, void)):
        with pytest.raises(ValueError, match="edit"):
            replica.readmitted({key: wrong})


def test_a_copy_goes_its_own_way(scribe: Any) -> None:
    replica, _ = deleting(scribe)
    copy = replica.copy()
    before = list(replica.raws())
    collected(copy)
    copy.commit(scribe.registration("n1", scribe.member("n9"), copy.fold.clock))
    assert list(replica.raws()) == before
    assert "n9" not in replica.registry.by_name and not replica.knows(scribe.actor("n9"))
    assert (replica.base, dict(replica.floor)) == (None, {})
    assert replica.fold.siblings("wwid/x") != ()


def large(scribe: Any, edits: int, keys: int, members: int = 1) -> list[SignedEdit]:
    """A long history of one author; signed once each."""
    log = [scribe.founding("n1")]
    n1 = scribe.actor("n1")
    for n in range(1, members):
        log.append(scribe.registration("n1", scribe.member(f"m{n}"), {n1: len(log)}))
    for n in range(edits):
        log.append(scribe.edit("n1", {f"wwid/{n % keys}": {"alias": str(n)}}, {n1: len(log)}))
    return log


@pytest.mark.slow
def test_it_is_quick_at_its_limits(scribe: Any) -> None:
    """Loose bounds on purpose: they catch what grows with the square of something."""
    log = large(scribe, 100_000, 4_096)
    replica = scribe.replica(*log)
    began = time.perf_counter()
    collection = replica.collect(replica.fold.clock)
    planned = time.perf_counter() - began
    assert collection is not None
    assert len(collection.gone) == 100_000 - 4_096
    began = time.perf_counter()
    replica.collected(collection)
    assert planned < 1
    assert time.perf_counter() - began < 1
    assert len(replica) == 4_097


def test_one_of_many_members_is_changed_quickly(scribe: Any) -> None:
    log = large(scribe, 0, 1, limit("members"))
    replica = scribe.replica(*log)
    began = time.perf_counter()
    for n in range(20):
        member = scribe.member(f"m{n + 1}", state=MemberState.LEFT)
        replica.commit(scribe.registration("n1", member, replica.fold.clock))
    assert (time.perf_counter() - began) / 20 < 0.02
    assert len(replica.registry.active) == limit("members") - 20
