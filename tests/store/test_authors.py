"""Who may author what, judged from an edit's own past."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.authors import Authors
from store.clocks import Dot
from store.edits import CHANGE, SignedEdit, decode_edit
from store.limits import limit
from store.members import MEMBER_PREFIX, Member, MemberState, Role, member_value
from store.replica import CLUSTER_KEY, Admission, Replica


def cluster(scribe: Any) -> Replica:
    """An admin n1, an editor n2, an observer n3, an admin n4."""
    replica: Replica = scribe.replica(scribe.founding("n1"))
    for name, role in (("n2", Role.EDITOR), ("n3", Role.OBSERVER), ("n4", Role.ADMIN)):
        replica.commit(scribe.registration("n1", scribe.member(name, role), replica.fold.clock))
    return replica


def own(scribe: Any, replica: Replica, member: Member, *, life: str = "", author: str = "", **options: str) -> SignedEdit:
    """An edit by a member of its own registration."""
    value = {**member_value(member), **options}
    edit: SignedEdit = scribe.edit(author or member.name, {MEMBER_PREFIX + member.name: value}, replica.fold.clock, life=life)
    return edit


@pytest.mark.parametrize("role", [Role.EDITOR, Role.OBSERVER])
@pytest.mark.parametrize("life", ["", "one"])
def test_a_member_may_leave_and_say_where_it_is(scribe: Any, role: Role, life: str) -> None:
    replica = cluster(scribe)
    name = "n2" if role is Role.EDITOR else "n3"
    moved = own(scribe, replica, scribe.member(name, role), life=life, endpoint="tcp://elsewhere:1")
    assert replica.admit(moved) is Admission.READY
    replica.commit(moved)
    assert replica.registry.by_name[name].endpoint == "tcp://elsewhere:1"
    left = own(scribe, replica, scribe.member(name, role, MemberState.LEFT), life=life)
    assert replica.admit(left) is Admission.READY
    replica.commit(left)
    assert replica.registry.by_name[name].state is MemberState.LEFT
    assert replica.voided == 0


@pytest.mark.parametrize(
    "options",
    [
        {"role": "admin"},
        {"state": "retired"},
        {"actor": "00" * 16},
        {"signing-key": "00" * 32},
        {"curve-key": "0" * 40},
        {"state": "nonsense"},
    ],
)
def test_it_may_change_nothing_else_of_itself(scribe: Any, options: dict[str, str]) -> None:
    replica = cluster(scribe)
    edit = own(scribe, replica, scribe.member("n2", Role.EDITOR), **options)
    assert replica.is_void(edit)
    before = replica.registry.by_name
    replica.commit(edit)
    assert replica.registry.by_name == before
    assert replica.admit(own(scribe, replica, scribe.member("n3", Role.OBSERVER), **options)) is Admission.REFUSED


def test_it_may_change_nobody_else_and_nothing_beside(scribe: Any) -> None:
    replica = cluster(scribe)
    other = own(scribe, replica, scribe.member("n3", Role.OBSERVER, MemberState.LEFT), author="n2")
    mine = {MEMBER_PREFIX + "n2": member_value(scribe.member("n2", Role.EDITOR, MemberState.LEFT))}
    more = scribe.edit("n2", {**mine, "defaults": {"x": "1"}}, replica.fold.clock)
    gone = scribe.edit("n2", {MEMBER_PREFIX + "n2": None}, replica.fold.clock)
    assert all(replica.is_void(edit) for edit in (other, more, gone))
    assert not replica.is_void(scribe.edit("n2", mine, replica.fold.clock))


@pytest.mark.parametrize("state", [MemberState.LEFT, MemberState.RETIRED])
def test_who_left_does_not_come_back(scribe: Any, state: MemberState) -> None:
    replica = cluster(scribe)
    n1 = scribe.actor("n1")
    before = dict(replica.fold.clock)
    replica.commit(scribe.registration("n1", scribe.member("n2", Role.EDITOR, state), replica.fold.clock))
    replica.commit(own(scribe, replica, scribe.member("n2", Role.EDITOR)))  # it says that it is there, knowing that it left
    replica.commit(scribe.registration("n4", scribe.member("n2", Role.EDITOR), before))  # and another says so, not knowing
    assert replica.registry.by_name["n2"].state is state
    assert not replica.registry.by_name["n2"].active
    replica.commit(scribe.registration("n1", scribe.member("n2", actor="n2 anew"), replica.fold.clock))
    assert replica.registry.by_name["n2"].active
    assert replica.fold.clock[n1] == 6


def test_a_name_goes_from_who_is_gone_to_who_is_there(scribe: Any) -> None:
    """Also if somebody who had not heard of it wrote of the old holder at the same time."""
    replica = cluster(scribe)
    before = dict(replica.fold.clock)
    replica.commit(scribe.registration("n1", scribe.member("n2", Role.EDITOR, MemberState.RETIRED), replica.fold.clock))
    replica.commit(scribe.registration("n1", scribe.member("n2", actor="n2 anew"), replica.fold.clock))
    replica.commit(scribe.edit("n2", {MEMBER_PREFIX + "n2": member_value(scribe.member("n2", Role.EDITOR))}, before))
    assert replica.fold.conflicts == ["member/n2"]
    assert replica.registry.by_name["n2"].actor == scribe.actor("n2 anew")
    assert replica.registry.contested == ()


def test_a_session_actor_needs_no_admission_and_has_its_owners_rights(scribe: Any) -> None:
    replica = cluster(scribe)
    good = scribe.edit("n2", {"defaults": {"x": "1"}}, replica.fold.clock, life="one")
    assert good.edit.actor != good.edit.owner == scribe.actor("n2")
    assert replica.admit(good) is Admission.READY
    assert replica.signer(good) == scribe.signing_key("n2")
    assert replica.knows(good.edit.owner) and not replica.knows(good.edit.actor)
    replica.commit(good)
    assert replica.fold.siblings("defaults")[0].dot == Dot(scribe.session("n2", "one"), 1)
    forged = scribe.edit("n2", {"defaults": {"x": "2"}}, replica.fold.clock, life="two", signer="n4")
    assert replica.admit(forged) is Admission.REFUSED
    assert replica.is_void(scribe.edit("n2", {CLUSTER_KEY: None}, replica.fold.clock, life="two"))
    assert replica.admit(scribe.edit("n3", {"defaults": {}}, replica.fold.clock, life="one")) is Admission.REFUSED
    assert replica.admit(scribe.edit("n9", {"defaults": {}}, replica.fold.clock, life="one")) is Admission.REFUSED


def test_a_cluster_is_not_founded_by_a_session(scribe: Any) -> None:
    changes = {CLUSTER_KEY: {"id": "c1"}, MEMBER_PREFIX + "n1": member_value(scribe.member("n1"))}
    assert scribe.replica().admit(scribe.edit("n1", changes, life="one")) is Admission.REFUSED


def test_the_excess_of_an_owner_counts_over_all_its_sessions(scribe: Any) -> None:
    replica = cluster(scribe)
    for n in range(limit("void_edits")):
        replica.commit(scribe.edit("n2", {CLUSTER_KEY: None}, replica.fold.clock, life=f"{n % 3}"))
    assert replica.admit(scribe.edit("n2", {CLUSTER_KEY: None}, replica.fold.clock, life="another")) is Admission.REFUSED
    assert replica.admit(scribe.edit("n2", {"defaults": {}}, replica.fold.clock, life="another")) is Admission.READY


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_sessions_that_go_too_far_side_by_side_are_cut_off_alike_in_every_order(scribe: Any, random: Any) -> None:
    """What counts is an edit's own past, not what a node happens to have."""
    start = cluster(scribe)
    edits: list[SignedEdit] = []
    for life in "ab":
        side = start.copy()
        for _ in range(limit("void_edits") + 2):
            edit = scribe.edit("n2", {CLUSTER_KEY: None}, side.fold.clock, life=life)
            edits.append(edit)
            if side.admit(edit) is Admission.READY:
                side.commit(edit)
    replica = start.copy()
    left, refused = list(edits), set()
    random.shuffle(left)
    moved = True
    while moved:
        moved = False
        for edit in list(left):
            verdict = replica.admit(edit)
            if verdict is Admission.READY:
                replica.commit(edit)
                left.remove(edit)
                moved = True
            elif verdict is Admission.REFUSED:
                refused.add(edit.dot)
    assert refused == {edit.dot for edit in edits if edit.edit.counter > limit("void_edits")}
    assert replica.voided == 2 * limit("void_edits")


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_registry_is_the_same_read_bit_by_bit(scribe: Any, random: Any) -> None:
    """Names contested, given to others, ended and moved: what is read anew for some names is what all would give."""
    replicas = [cluster(scribe) for _ in range(2)]
    edits: list[SignedEdit] = []
    for _ in range(random.randint(1, 14)):
        at = random.randrange(2)
        replica, by = replicas[at], ("n1", "n4")[at]
        name = random.choice(["n2", "n3", "x1", "x2"])
        who = random.choice(["n2", "n3", "one", "two"])
        member = scribe.member(name, random.choice(list(Role)), random.choice(list(MemberState)), actor=who)
        changes = {MEMBER_PREFIX + name: member_value(member)} if random.random() < 0.9 else {MEMBER_PREFIX + name: None}
        edit = scribe.edit(by, changes, replica.fold.clock, lamport=replica.fold.lamport + 1)
        replica.commit(edit)
        edits.append(edit)
        if random.random() < 0.3:
            other = replicas[1 - at]
            for raw in replica.since(other.fold.clock, 10**9)[0]:
                other.commit(decode_edit(raw))
        for r in replicas:
            whole = scribe.replica(*r.edits())
            assert r.registry.by_name == whole.registry.by_name
            assert list(r.registry.by_name) == sorted(r.registry.by_name)
            assert r.registry.contested == whole.registry.contested
            assert r.registry.active == whole.registry.active
            assert r.registry.by_key == whole.registry.by_key
            assert r.authors == whole.authors
            assert r._authors.since == whole._authors.since


def test_a_copy_is_independent(scribe: Any) -> None:
    table = Authors()
    copy = table.copy()
    edit = scribe.founding("n1").edit
    copy.learn(edit)
    copy.went_beyond(edit)
    assert table.known == {} and table.beyond == {} and table.since == {} and not table.witnesses
    assert copy.witnesses == {edit.dot}
    assert edit.kind == CHANGE
