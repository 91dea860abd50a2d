"""The registry of members."""

from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.clocks import Dot
from store.fold import Fold, Sibling
from store.members import Ending, Member, MemberState, Registry, Role, fold_member, may_author, member_value, read_member, read_registry

OPTIONS = frozenset({"actor", "curve-key", "signing-key", "endpoint", "role", "state"})
STATES, ROLES = st.sampled_from(MemberState), st.sampled_from(Role)


def sibling(dot: Dot, lamport: int, member: Member | None) -> Sibling:
    return Sibling(dot, lamport, "n", 0.0, "", member_value(member) if member else None)


@given(STATES, ROLES)
def test_a_member_reads_back(scribe: Any, state: MemberState, role: Role) -> None:
    member = scribe.member("n1", role, state)
    assert read_member("n1", member_value(member)) == member


@given(
    STATES, st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda option: option not in OPTIONS), st.text(max_size=8), max_size=4)
)
def test_options_of_a_later_version_stay_when_the_state_changes(scribe: Any, state: MemberState, more: dict[str, str]) -> None:
    member = read_member("n1", member_value(scribe.member("n1")) | more)
    assert member is not None
    after = member_value(msgspec.structs.replace(member, state=state))
    assert after == member_value(scribe.member("n1", state=state)) | more
    assert read_member("n1", after) == msgspec.structs.replace(member, state=state)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(member), type=Member) == member


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("actor", "zz"), ("actor", "00"), ("actor", None), ("curve-key", "short"), ("curve-key", None), ("signing-key", "00"),
        ("signing-key", "x"), ("role", "root"), ("role", None), ("state", "gone"), ("state", None), ("endpoint", None),
    ],
)  # fmt: skip
def test_what_is_no_member_reads_as_none(scribe: Any, option: str, value: str | None) -> None:
    options = dict(member_value(scribe.member("n1")))
    if value is None:
        del options[option]
    else:
        options[option] = value
    assert read_member("n1", options) is None


@pytest.mark.parametrize("name", ["", "n" * 65])
def test_a_name_has_bounds(scribe: Any, name: str) -> None:
    assert read_member(name, member_value(scribe.member("n1"))) is None


@given(st.dictionaries(st.sampled_from(sorted(OPTIONS)), st.text(max_size=70)))
def test_reading_a_member_never_raises(options: dict[str, str]) -> None:
    read_member("n1", options)


def test_of_two_nodes_with_one_name_the_one_let_in_first_keeps_it(scribe: Any) -> None:
    first, second = scribe.member("n4", actor="one"), scribe.member("n4", actor="two")
    siblings = [sibling(Dot(scribe.actor("s1"), 1), 5, first), sibling(Dot(scribe.actor("s2"), 1), 6, second)]
    for order in permutations(siblings):
        assert fold_member("n4", order) == first


def test_equal_numbers_are_decided_by_the_joining_actor(scribe: Any) -> None:
    one, two = scribe.member("n4", actor="one"), scribe.member("n4", actor="two")
    smaller = min(one, two, key=lambda m: m.actor)
    siblings = [sibling(Dot(scribe.actor("s1"), 1), 5, one), sibling(Dot(scribe.actor("s2"), 1), 5, two)]
    for order in permutations(siblings):
        assert fold_member("n4", order) == smaller


def test_a_later_change_does_not_cost_the_name(scribe: Any) -> None:
    """The holder's registration was changed (its number is greater now) while another was let in elsewhere."""
    holder, other = scribe.member("n4", Role.EDITOR, actor="one"), scribe.member("n4", actor="two")
    siblings = [sibling(Dot(scribe.actor("s1"), 7), 9, holder), sibling(Dot(scribe.actor("s2"), 1), 6, other)]
    assert fold_member("n4", siblings, {holder.actor: 5, other.actor: 6}) == holder


def test_of_one_actors_siblings_the_most_final_wins(scribe: Any) -> None:
    by = [scribe.member("n4", state=state) for state in (MemberState.JOINED, MemberState.LEFT, MemberState.RETIRED)]
    siblings = [sibling(Dot(scribe.actor(f"s{n}"), 1), 9 - n, m) for n, m in enumerate(by)]
    for order in permutations(siblings):
        assert fold_member("n4", order) == by[2]
    for order in permutations(siblings[:2]):
        assert fold_member("n4", order) == by[1]


def test_a_deletion_or_damage_removes_no_member(scribe: Any) -> None:
    member = scribe.member("n4")
    damaged = Sibling(Dot(scribe.actor("s3"), 1), 1, "n", 0.0, "", {"actor": "?"})
    deleted = sibling(Dot(scribe.actor("s2"), 1), 9, None)
    assert fold_member("n4", [deleted, damaged, sibling(Dot(scribe.actor("s1"), 1), 5, member)]) == member
    assert fold_member("n4", [damaged]) is None


def test_the_registry_is_sorted_and_knows_the_contested(scribe: Any) -> None:
    one, two, n1 = scribe.member("n4", actor="one"), scribe.member("n4", actor="two"), scribe.member("n1")
    left = scribe.member("n2", state=MemberState.LEFT)
    fold = Fold(
        {},
        {
            "member/n4": (sibling(Dot(scribe.actor("s1"), 1), 5, one), sibling(Dot(scribe.actor("s2"), 1), 6, two)),
            "member/n2": (sibling(Dot(scribe.actor("s1"), 3), 7, left),),
            "member/n1": (sibling(Dot(scribe.actor("s1"), 2), 7, n1),),
            "defaults": (sibling(Dot(scribe.actor("s1"), 2), 7, None),),
        },
    )
    registry = read_registry(fold)
    assert list(registry.by_name) == ["n1", "n2", "n4"]
    assert registry.active == [n1, one]
    assert registry.contested == (two,)
    assert registry.by_key[n1.curve_key] == n1
    assert registry.by_actor[one.actor] == one
    ending = Ending(MemberState.RETIRED, Dot(scribe.actor("s3"), 1))
    retired = read_registry(fold, {one.actor: ending, two.actor: ending})
    assert retired.by_name["n4"].state is MemberState.RETIRED
    assert retired.contested == ()


def test_an_empty_registry() -> None:
    assert Registry({}).active == []


@pytest.mark.parametrize(
    ("role", "key", "may"),
    [
        (Role.ADMIN, "member/n1", True), (Role.ADMIN, "cluster/identity", True), (Role.ADMIN, "defaults", True),
        (Role.EDITOR, "defaults", True), (Role.EDITOR, "wwid/1", True), (Role.EDITOR, "ack/1", True), (Role.EDITOR, "overrides", True),
        (Role.EDITOR, "member/n1", False), (Role.EDITOR, "cluster/identity", False),
        (Role.OBSERVER, "defaults", False), (Role.OBSERVER, "ack/1", False), (Role.OBSERVER, "member/n1", False),
    ],
)  # fmt: skip
def test_roles(role: Role, key: str, may: bool) -> None:
    assert may_author(role, [key]) is may
    assert may_author(role, ["defaults", key]) is (may and role is not Role.OBSERVER)
