"""Standing on a snapshot: nothing that only this node has is lost, overwrites anything, or brings anything back."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.absorb import Absorbed, LateChange, absorb
from store.clocks import Dot, Vector, covers
from store.document import Options
from store.edits import CHANGE, LATE, RESOLVE, SignedEdit, decode_edit
from store.fold import Fold
from store.members import MEMBER_PREFIX, Role, member_value
from store.replica import CLUSTER_KEY, Admission, Replica
from store.snapshot import Snapshot, make_snapshot, read_snapshot

KEYS = ("defaults", "wwid/1", "wwid/2", "wwid/3")


def snapshot_of(scribe: Any, replica: Replica) -> Snapshot:
    return read_snapshot(make_snapshot(replica), scribe.cluster, scribe.verify, {})


def write(scribe: Any, replica: Replica, author: str, changes: dict[str, Options | None], **more: Any) -> SignedEdit:
    edit: SignedEdit = scribe.edit(author, changes, replica.fold.clock, lamport=replica.fold.lamport + 1, **more)
    assert replica.admit(edit) is Admission.READY
    replica.commit(edit)
    return edit


def collect(replica: Replica, stable: Vector | None = None) -> None:
    collection = replica.collect(replica.fold.clock if stable is None else stable)
    if collection is not None:
        replica.collected(collection)


def write_again(scribe: Any, absorbed: Absorbed, author: str = "n2") -> list[SignedEdit]:
    """What the node does with its late changes: a deletion first where it says so, all as an actor that nobody knows."""
    made = []
    for late in absorbed.late:
        if late.removed:
            made.append(write(scribe, absorbed.replica, author, dict.fromkeys(late.removed), life="again"))
        made.append(
            write(scribe, absorbed.replica, author, dict(late.changes), kind=LATE, covers=late.covers, life="again", reason=late.reason)
        )
    return made


def beginning(scribe: Any) -> Replica:
    replica: Replica = scribe.replica(scribe.founding("n1"))
    for name, role in (("n2", Role.ADMIN), ("n3", Role.EDITOR)):
        write(scribe, replica, "n1", {MEMBER_PREFIX + name: member_value(scribe.member(name, role))})
    return replica


def values(replica: Replica, key: str) -> list[Options | None]:
    return [s.value for s in replica.fold.siblings(key)]


# -- one case each ------------------------------------------------------------------------------------------------------------


class Case:
    """A cluster that had "defaults" and "wwid/1" when `old` was copied, and has collected whatever it did since."""

    def __init__(self, scribe: Any) -> None:
        self.scribe = scribe
        self.cluster = beginning(scribe)
        write(scribe, self.cluster, "n1", {"defaults": {"x": "1"}})
        write(scribe, self.cluster, "n1", {"wwid/1": {"alias": "a"}})
        self.old = self.cluster.copy()

    def since(self, changes: dict[str, Options | None]) -> SignedEdit:
        return write(self.scribe, self.cluster, "n1", changes)

    def here(self, changes: dict[str, Options | None], **more: Any) -> SignedEdit:
        return write(self.scribe, self.old, "n2", changes, **{"life": "one"} | more)

    def absorb(self) -> Absorbed:
        self.since({"wwid/8": {"alias": "8"}})
        self.since({"wwid/8": {"alias": "9"}})
        collect(self.cluster)
        assert self.cluster.behind(self.old.fold.clock)
        return absorb(self.old, snapshot_of(self.scribe, self.cluster))


@pytest.fixture
def case(scribe: Any) -> Case:
    return Case(scribe)


def test_without_local_edits_it_is_the_snapshot(case: Case) -> None:
    absorbed = case.absorb()
    assert absorbed.late == () and absorbed.dropped == 0
    assert absorbed.replica.fold.state_hash == case.cluster.fold.state_hash
    assert absorbed.replica.floor == case.cluster.floor


def test_an_edit_that_has_seen_all_that_is_gone_is_taken_as_it_is(scribe: Any, case: Case) -> None:
    case.since({"defaults": {"x": "2"}})
    collect(case.cluster)
    old = case.cluster.copy()
    mine = write(scribe, old, "n2", {"defaults": {"x": "3"}})
    case.since({"wwid/2": {}})
    absorbed = absorb(old, snapshot_of(scribe, case.cluster))
    assert absorbed.late == () and absorbed.dropped == 0
    assert absorbed.replica.raw(mine.dot) == mine.raw
    assert absorbed.replica.fold.value("defaults") == {"x": "3"}


def test_a_change_of_what_nobody_else_changed_replaces_what_it_replaced(scribe: Any, case: Case) -> None:
    mine = case.here({"defaults": {"x": "mine"}}, reason="because")
    [late] = (absorbed := case.absorb()).late
    assert late.changes == {"defaults": {"x": "mine"}}
    assert late.covers == {"defaults": tuple(s.dot for s in case.cluster.fold.siblings("defaults"))}
    assert late.removed == ()
    assert late.reason == "late: n2: because"
    assert (late.original, late.lamport, late.wall) == (mine.dot, mine.edit.lamport, mine.edit.wall)
    write_again(scribe, absorbed)
    assert values(absorbed.replica, "defaults") == [{"x": "mine"}]


def test_a_change_of_what_was_changed_meanwhile_conflicts(scribe: Any, case: Case) -> None:
    case.here({"defaults": {"x": "mine"}})
    case.since({"defaults": {"x": "theirs"}})
    absorbed = case.absorb()
    assert [late.covers for late in absorbed.late] == [{"defaults": ()}]
    write_again(scribe, absorbed)
    assert absorbed.replica.fold.in_conflict("defaults")
    assert {"x": "theirs"} in values(absorbed.replica, "defaults")


def test_a_change_of_what_was_deleted_meanwhile_does_not_bring_it_back(scribe: Any, case: Case) -> None:
    case.here({"wwid/1": {"alias": "mine"}})
    case.since({"wwid/1": None})
    absorbed = case.absorb()
    assert case.cluster.fold.siblings("wwid/1") == (), "the deletion itself is collected"
    assert [late.removed for late in absorbed.late] == [("wwid/1",)]
    write_again(scribe, absorbed)
    assert values(absorbed.replica, "wwid/1") == [None, {"alias": "mine"}]
    assert absorbed.replica.fold.conflicts == ["wwid/1"]


def test_even_if_this_node_had_collected_what_it_changed(scribe: Any, case: Case) -> None:
    stable = dict(case.old.fold.clock)
    case.here({"wwid/1": {"alias": "mine"}})
    case.here({"wwid/1": {"alias": "mine again"}})
    case.here({"wwid/7": {"alias": "new"}})
    collect(case.old, stable)
    case.since({"wwid/1": None})
    absorbed = case.absorb()
    assert [late.removed for late in absorbed.late] == [("wwid/1",), ()]


def test_a_deletion_that_is_still_there_and_was_not_seen_conflicts_too(scribe: Any, case: Case) -> None:
    case.here({"wwid/1": {"alias": "mine"}})
    absorbed = absorb_uncollected(scribe, case)
    assert len(case.cluster.fold.siblings("wwid/1")) == 1
    write_again(scribe, absorbed)
    assert values(absorbed.replica, "wwid/1") == [None, {"alias": "mine"}]


def absorb_uncollected(scribe: Any, case: Case) -> Absorbed:
    for value in "23":
        case.since({"defaults": {"x": value}})
    stable = dict(case.cluster.fold.clock)
    case.since({"wwid/1": None})
    collect(case.cluster, stable)
    assert case.cluster.behind(case.old.fold.clock)
    return absorb(case.old, snapshot_of(scribe, case.cluster))


def test_a_new_section_is_simply_there(scribe: Any, case: Case) -> None:
    case.here({"wwid/7": {"alias": "new"}})
    absorbed = case.absorb()
    assert [(late.covers, late.removed) for late in absorbed.late] == [({}, ())]
    write_again(scribe, absorbed)
    assert values(absorbed.replica, "wwid/7") == [{"alias": "new"}]


def test_a_section_that_was_made_anew_after_a_deletion_that_was_seen_is_simply_there(scribe: Any, case: Case) -> None:
    case.since({"wwid/1": None})
    case.old = case.cluster.copy()
    case.here({"wwid/1": {"alias": "anew"}})
    absorbed = case.absorb()
    assert case.cluster.fold.siblings("wwid/1") == ()
    write_again(scribe, absorbed)
    assert values(absorbed.replica, "wwid/1") == [{"alias": "anew"}]


def test_only_what_is_left_of_several_changes_is_written_again(scribe: Any, case: Case) -> None:
    case.here({"defaults": {"x": "first"}, "wwid/7": {"alias": "7"}})
    case.here({"defaults": {"x": "second"}})
    case.here({"defaults": {"x": "third"}})
    absorbed = case.absorb()
    assert [late.changes for late in absorbed.late] == [{"wwid/7": {"alias": "7"}}, {"defaults": {"x": "third"}}]
    assert absorbed.dropped == 1
    write_again(scribe, absorbed)
    assert values(absorbed.replica, "defaults") == [{"x": "third"}]


def test_what_says_nothing_new_is_dropped(case: Case) -> None:
    case.since({"defaults": {"x": "same"}, "wwid/1": None})
    case.here({"defaults": {"x": "same"}})
    case.here({"wwid/1": None})
    absorbed = case.absorb()
    assert absorbed.late == () and absorbed.dropped == 2


def test_two_late_values_of_one_key_conflict_as_they_did(scribe: Any, case: Case) -> None:
    other = scribe.edit("n3", {"wwid/1": {"alias": "other"}, "wwid/7": {"alias": "other"}}, case.old.fold.clock)
    case.here({"wwid/1": {"alias": "mine"}, "wwid/7": {"alias": "mine"}})
    case.old.commit(other)
    case.since({"wwid/1": None})
    absorbed = case.absorb()
    assert [late.removed for late in absorbed.late] == [("wwid/1",), ()]
    write_again(scribe, absorbed)
    assert sorted(map(str, values(absorbed.replica, "wwid/1"))) == sorted(map(str, [None, {"alias": "mine"}, {"alias": "other"}]))
    assert sorted(map(str, values(absorbed.replica, "wwid/7"))) == sorted(map(str, [{"alias": "mine"}, {"alias": "other"}]))


def test_a_deletion_of_what_only_the_second_edit_had_seen_stands_beside_both(scribe: Any, case: Case) -> None:
    case.here({"wwid/7": {"alias": "mine"}})
    theirs = case.since({"wwid/7": {"alias": "theirs"}})
    case.old.commit(theirs)
    case.here({"wwid/7": {"alias": "again"}}, kind=RESOLVE, covers={"wwid/7": [theirs.dot]})
    case.since({"wwid/7": None})
    absorbed = case.absorb()
    assert [late.removed for late in absorbed.late] == [("wwid/7",), ()]
    write_again(scribe, absorbed)
    assert sorted(map(str, values(absorbed.replica, "wwid/7"))) == sorted(map(str, [None, {"alias": "mine"}, {"alias": "again"}]))


def test_what_a_resolution_left_alone_is_left_alone_again(scribe: Any, case: Case) -> None:
    one = scribe.edit("n1", {"defaults": {"x": "one"}}, case.cluster.fold.clock)
    two = scribe.edit("n3", {"defaults": {"x": "two"}}, case.cluster.fold.clock)
    case.cluster.commit(one, two)
    case.old = case.cluster.copy()
    case.here({"defaults": {"x": "both?"}}, kind=RESOLVE, covers={"defaults": [one.dot]})
    absorbed = case.absorb()
    assert [late.covers for late in absorbed.late] == [{"defaults": (one.dot,)}]
    write_again(scribe, absorbed)
    assert sorted(map(str, values(absorbed.replica, "defaults"))) == ["{'x': 'both?'}", "{'x': 'two'}"]


def test_what_was_void_stays_nothing(scribe: Any, case: Case) -> None:
    write(scribe, case.old, "n3", {CLUSTER_KEY: {"id": "mine"}})
    case.here({"defaults": {"x": "?"}}, kind="later")
    absorbed = case.absorb()
    assert absorbed.late == () and absorbed.dropped == 2


def test_a_number_that_was_used_twice_is_noticed_while_it_can_be(scribe: Any, case: Case) -> None:
    case.old = case.cluster.copy()
    case.here({"defaults": {"x": "mine"}}, life="")
    write(scribe, case.cluster, "n2", {"defaults": {"x": "theirs"}})
    absorbed = case.absorb()
    assert [late.changes for late in absorbed.late] == [{"defaults": {"x": "mine"}}]
    write_again(scribe, absorbed)
    assert absorbed.replica.fold.in_conflict("defaults")


def test_the_old_replica_is_left_alone(case: Case) -> None:
    case.here({"defaults": {"x": "mine"}})
    before, log = case.old.fold.state_hash, list(case.old.raws())
    case.absorb()
    assert (case.old.fold.state_hash, list(case.old.raws())) == (before, log)


# -- any history --------------------------------------------------------------------------------------------------------------


def scribble(scribe: Any, random: Random, replica: Replica, author: str, life: str = "") -> SignedEdit:
    contested = [key for key in replica.fold.conflicts if key in KEYS]
    value = random.choice([None, {"x": "1"}, {"x": "2"}, {"x": str(random.random())}])
    if contested and random.random() < 0.4:
        key = random.choice(contested)
        dots = [s.dot for s in replica.fold.siblings(key)]
        return write(
            scribe, replica, author, {key: value}, kind=RESOLVE, covers={key: random.sample(dots, random.randint(1, len(dots)))}, life=life
        )
    return write(scribe, replica, author, dict.fromkeys(random.sample(KEYS, random.randint(1, 2)), value), life=life)


def pass_on(random: Random, source: Replica, target: Replica) -> None:
    """Some of what the target lacks, in order."""
    raws, _ = source.since(target.fold.clock, 10**9)
    for raw in raws[: random.randint(0, len(raws))]:
        target.commit(decode_edit(raw))


def lost_deletion(plain: Replica, edit: SignedEdit, key: str) -> bool:
    """Whether the key ended deleted in the cluster by something that the edit had not seen, after it had seen it there."""
    found = plain.fold.siblings(key)
    past = Fold()
    for other in plain.edits():
        if covers(edit.edit.context, other.dot):
            past.apply(other.edit)
    was_there = any(s.value is not None for s in past.siblings(key))
    return was_there and len(found) == 1 and found[0].value is None and not covers(edit.edit.context, found[0].dot)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_nothing_vanishes_overwrites_or_returns(scribe: Any, random: Random) -> None:
    """`lean` collects what all had; `plain` never does; `old` is a backup of a member, used again."""
    plain = beginning(scribe)
    for _ in range(random.randint(0, 6)):
        scribble(scribe, random, plain, random.choice(["n1", "n2", "n3"]))
    lean, old = plain.copy(), plain.copy()
    if random.random() < 0.5:
        collect(old)
        collect(lean)
    for _ in range(random.randint(0, 8)):
        side = plain.copy()
        edit = scribble(scribe, random, side, random.choice(["n1", "n2"]))
        if random.random() < 0.3:  # a second one that has not seen it
            another = scribble(scribe, random, plain, "n3")
            lean.commit(another)
        plain.commit(edit)
        lean.commit(edit)
    stable = dict(old.fold.clock)
    mine: list[SignedEdit] = []
    for _ in range(random.randint(0, 6)):
        if random.random() < 0.3 and not plain.behind(old.fold.clock):
            pass_on(random, plain, old)
        mine.append(scribble(scribe, random, old, "n2", "mine"))
        if random.random() < 0.3:
            collect(old, stable)
    collect(lean, random.choice([lean.fold.clock, stable]))
    for _ in range(random.randint(0, 2)):
        edit = scribble(scribe, random, plain, "n1")
        lean.commit(edit)

    absorbed = absorb(old, snapshot_of(scribe, lean))
    new = absorbed.replica
    assert all(new.has(Dot(actor, counter)) for actor, counter in lean.fold.clock.items())
    arrived = new.copy()
    taken = [edit for edit in mine if new.has(edit.dot)]
    late = {change.original: change for change in absorbed.late}
    assert len(mine) == len(taken) + len(late) + absorbed.dropped
    for edit in mine:
        check_kept(old, arrived, edit, late.get(edit.dot))

    again = write_again(scribe, absorbed)
    for key in KEYS:
        here = {s.dot for s in new.fold.siblings(key)}
        by = [edit for edit in mine if edit.dot in late and key in late[edit.dot].changes]
        for s in lean.fold.siblings(key):
            seen = any(key in edit.edit.changes and covers(edit.edit.context, s.dot) for edit in mine)
            assert s.dot in here or seen or s.value is None, "a value that no local edit had seen is still there"
        for edit in by:
            value = late[edit.dot].changes[key]
            assert value in values(new, key)
            if value is not None and lost_deletion(plain, edit, key):
                assert None in values(new, key) and new.fold.in_conflict(key), "a deletion that it had not seen stands beside it"
        if len(by) == 1 and not new.fold.in_conflict(key):
            assert new.fold.value(key) == late[by[0].dot].changes[key]
    for signed in (*taken, *again):
        assert plain.admit(signed) is Admission.READY
        plain.commit(signed)
    assert plain.fold.clock == new.fold.clock
    assert plain.fold.state_hash == new.fold.state_hash, "it makes no difference who had collected what"
    assert plain.fold.conflicts == new.fold.conflicts
    assert all(plain.fold.value(key) == new.fold.value(key) for key in KEYS)
    fresh = scribe.replica(*new.edits(), base=new.base)
    assert fresh.fold.state_hash == new.fold.state_hash


def check_kept(old: Replica, arrived: Replica, edit: SignedEdit, late: LateChange | None) -> None:
    """Each live value of the edit is in the new replica, or to be written again, or there anyway."""
    if arrived.has(edit.dot):
        assert late is None
        return
    for key, value in edit.edit.changes.items():
        if all(s.dot != edit.dot for s in old.fold.siblings(key)):
            assert late is None or key not in late.changes
        elif late is None or key not in late.changes:
            assert all(found == value for found in values(arrived, key)) and (value is None or values(arrived, key))
        else:
            assert late.changes[key] == value
            for dot in late.covers.get(key, ()):
                assert covers(edit.edit.context, dot), "it replaces only what the original had seen"


@pytest.mark.parametrize("kind", [CHANGE, LATE])
def test_a_late_edit_can_itself_come_late(scribe: Any, case: Case, kind: str) -> None:
    case.here({"defaults": {"x": "mine"}}, kind=kind)
    absorbed = case.absorb()
    assert [late.changes for late in absorbed.late] == [{"defaults": {"x": "mine"}}]
