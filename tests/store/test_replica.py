"""The replica: who may author, what is void, and what a peer lacks."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.clocks import Dot
from store.edits import CHANGE, RESOLVE, SignedEdit, decode_edit
from store.limits import limit
from store.members import MEMBER_PREFIX, MemberState, Role, member_value
from store.replica import CLUSTER_KEY, Admission, Replica


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


def test_a_batch_reads_the_registry_once(scribe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from store import replica as module

    reads = []
    original = module.read_registry
    monkeypatch.setattr(module, "read_registry", lambda *a: reads.append(1) or original(*a))
    log, clock = cluster(scribe)
    replica = scribe.replica(*log)
    n1 = scribe.actor("n1")
    batch = [scribe.registration("n1", scribe.member(f"x{n}"), clock | {n1: len(log) + n}) for n in range(20)]
    reads.clear()
    assert replica.commit(*batch) == {f"member/x{n}" for n in range(20)}
    assert len(reads) == 1
    assert len(replica.registry.by_name) == len(log) + 20


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


def test_the_log_gives_the_bytes_back(scribe: Any) -> None:
    source, log = history(scribe, 5)
    for signed in log:
        assert source.has(signed.dot)
        assert source.raw(signed.dot) == signed.raw
    missing = Dot(scribe.actor("n1"), 999)
    assert not source.has(missing)
    assert source.raw(missing) is None
    assert source.raw(Dot(bytes(16), 1)) is None


def test_a_log_with_a_hole_is_no_log(scribe: Any) -> None:
    _, log = history(scribe, 5)
    with pytest.raises(ValueError, match="before what it depends on"):
        scribe.replica(*log[:3], *log[4:])


def test_known_kinds_are_the_ones_that_fold(scribe: Any) -> None:
    log, clock = cluster(scribe)
    replica = scribe.replica(*log)
    for kind, void in ((CHANGE, False), (RESOLVE, False), ("later", True)):
        assert replica.is_void(scribe.edit("n1", {"defaults": {"x": "1"}}, clock, kind=kind)) is void
