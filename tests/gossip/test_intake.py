"""The hold-back and the batches."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.intake import BATCH_BYTES, Intake
from store.edits import SignedEdit
from store.limits import limit
from store.members import Role
from store.replica import Replica


class Bench:
    """An intake over a replica of founder `n1` and editor `n2`, and a chain of edits by `n2`."""

    def __init__(self, scribe: Any) -> None:
        self.scribe = scribe
        self.counters: Counter[str] = Counter()
        self.base = [scribe.founding("n1")]
        self.base.append(scribe.registration("n1", scribe.member("n2", Role.EDITOR), {scribe.actor("n1"): 1}))
        self.clock = {scribe.actor("n1"): 2}
        self.replica: Replica = scribe.replica(*self.base)
        self.intake = Intake(self.replica, self.counters)

    def chain(self, length: int, size: int = 1) -> list[SignedEdit]:
        clock = dict(self.clock)
        made = []
        for n in range(length):
            made.append(self.scribe.edit("n2", {"overrides": {"text": "x" * size}}, clock))
            clock[self.scribe.actor("n2")] = n + 1
        return made

    def offer(self, *edits: SignedEdit) -> int:
        return self.intake.offer(s.raw for s in edits).bad

    def commit(self) -> tuple[SignedEdit, ...]:
        batch, _ = self.intake.next_batch()
        for signed in batch:
            self.replica.commit(signed)
        self.intake.landed()
        return batch

    def commit_all(self) -> list[SignedEdit]:
        done: list[SignedEdit] = []
        while batch := self.commit():
            done += batch
        return done


@pytest.fixture
def bench(scribe: Any) -> Bench:
    return Bench(scribe)


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_any_order_of_arrival_is_committed_in_causal_order(scribe: Any, random: Any, pieces: int) -> None:
    bench = Bench(scribe)
    chain = bench.chain(12)
    arriving = list(chain) + random.sample(chain, 4)
    random.shuffle(arriving)
    committed: list[SignedEdit] = []
    for start in range(0, len(arriving), pieces):
        assert bench.offer(*arriving[start : start + pieces]) == 0
        committed += bench.commit()
    committed += bench.commit_all()
    assert committed == chain
    assert not bench.intake.waiting


def test_one_batch_is_in_flight_at_a_time(bench: Bench) -> None:
    one, two, three = bench.chain(3)
    bench.offer(one)
    assert bench.intake.next_batch() == ((one,), 0)
    bench.offer(one, two, three)
    assert bench.intake.held == (two.dot, three.dot), "what is in flight is not held as well"
    assert bench.intake.next_batch() == ((), 0)
    bench.replica.commit(one)
    bench.intake.landed()
    assert bench.intake.next_batch() == ((two, three), 0)


def test_what_is_no_edit_is_counted(bench: Bench) -> None:
    assert bench.intake.offer([b"", b"\xc1", bench.chain(1)[0].raw[:-1]]).bad == 3
    assert not bench.intake.waiting


def test_what_is_committed_is_not_held_again(bench: Bench) -> None:
    assert bench.offer(*bench.base) == 0
    assert not bench.intake.waiting


def test_a_forged_edit_is_blamed_at_once_and_never_stands_in_for_the_real_one(bench: Bench) -> None:
    chain = bench.chain(3)
    forged = bench.scribe.edit("n2", {"defaults": {"evil": "1"}}, chain[1].edit.context, signer="n9")
    assert forged.dot == chain[1].dot
    assert bench.offer(forged) == 1
    assert bench.intake.held == ()
    assert bench.offer(*chain) == 0
    assert bench.commit_all() == chain


def test_a_forgery_in_the_name_of_an_actor_not_known_yet_gives_way(bench: Bench) -> None:
    """It cannot be told from the real one so far; so it is not shown as held, and the real one replaces it."""
    scribe = bench.scribe
    admission = scribe.registration("n1", scribe.member("n3", Role.EDITOR), bench.clock)
    seen = bench.clock | {scribe.actor("n1"): 3}
    real = scribe.edit("n3", {"defaults": {"x": "1"}}, seen)
    forged = scribe.edit("n3", {"defaults": {"evil": "1"}}, seen | {bytes(16): 99}, signer="n9")
    assert forged.dot == real.dot
    assert bench.offer(forged) == 0
    assert bench.intake.held == ()
    assert bench.offer(real) == 0
    assert bench.offer(admission) == 0
    assert bench.commit_all() == [admission, real]


def test_every_edit_is_verified_once_and_not_before_there_is_room(bench: Bench) -> None:
    asked: list[bytes] = []

    def verify(key: bytes, body: bytes, signature: bytes) -> bool:
        asked.append(body)
        return bool(bench.scribe.verify(key, body, signature))

    bench.replica.verify = verify
    chain = bench.chain(limit("hold_back_edits") + 10)
    bench.offer(*chain[: limit("hold_back_edits")])
    bench.offer(*chain[limit("hold_back_edits") :])
    assert bench.counters["hold_back_dropped"] == 10
    assert len(asked) == limit("hold_back_edits")
    bench.commit_all()
    assert len(asked) == limit("hold_back_edits")


def test_rights_are_judged_by_what_is_committed(bench: Bench) -> None:
    """Two admins let an actor in at the same time; the one that counts is on its way to the disk when the actor's edit comes."""
    scribe = bench.scribe
    n1, n2 = scribe.actor("n1"), scribe.actor("n2")
    bench.replica.commit(scribe.registration("n1", scribe.member("n4", Role.ADMIN), bench.clock))
    base = bench.clock | {n1: 3}
    as_observer = scribe.registration("n1", scribe.member("n3", Role.OBSERVER), base)
    bench.replica.commit(scribe.edit("n2", {"defaults": {"x": "1"}}, base))
    as_editor = scribe.registration("n4", scribe.member("n3", Role.EDITOR), base | {n2: 1})
    assert as_observer.edit.lamport < as_editor.edit.lamport
    bench.replica.commit(as_editor)
    edit = scribe.edit("n3", {"defaults": {"x": "2"}}, base | {n1: 4, n2: 1, scribe.actor("n4"): 1})
    bench.offer(as_observer, edit)
    assert bench.intake.next_batch() == ((as_observer,), 0)
    bench.replica.commit(as_observer)
    bench.intake.landed()
    assert bench.intake.next_batch() == ((), 1)


def test_what_waits_for_nothing_that_comes_can_be_forgotten(bench: Bench) -> None:
    chain = bench.chain(4)
    bench.offer(chain[0], chain[1], chain[3])
    bench.intake.purge()
    assert bench.intake.held == (chain[0].dot, chain[1].dot)
    assert bench.intake.lacks
    assert bench.commit_all() == chain[:2]
    assert not bench.intake.lacks


def test_own_edits_are_not_lacking(bench: Bench) -> None:
    own = bench.scribe.edit("n1", {"defaults": {"x": "1"}}, bench.clock)
    bench.intake.add_own(own)
    assert not bench.intake.lacks
    bench.intake.next_batch()
    assert not bench.intake.lacks
    bench.offer(*bench.chain(1))
    assert bench.intake.lacks
    bench.intake.landed()
    bench.intake.next_batch()
    assert bench.intake.lacks, "on its way to the disk is not here yet"


def test_an_unknown_author_that_depends_on_nothing_missing_is_refused(bench: Bench) -> None:
    stranger = bench.scribe.edit("n9", {"defaults": {}}, bench.clock)
    bench.offer(stranger)
    assert bench.intake.next_batch() == ((), 1)
    assert not bench.intake.waiting


def test_a_full_hold_back_lets_the_missing_one_in(bench: Bench) -> None:
    """All but the first came by push; there is no room left when the pull brings the first."""
    chain = bench.chain(limit("hold_back_edits") + 1)
    assert bench.offer(*chain[1:]) == 0
    assert len(bench.intake.held) == limit("hold_back_edits")
    assert bench.commit() == ()
    assert bench.offer(*chain) == 0
    done = bench.commit_all()
    assert done == chain[: len(done)]
    assert len(done) == limit("hold_back_edits")
    assert bench.counters["hold_back_dropped"] > 0
    bench.offer(*chain)
    assert bench.commit_all() == chain[len(done) :]


def test_junk_that_waits_for_ever_keeps_nobody_out(bench: Bench) -> None:
    scribe = bench.scribe
    junk = [scribe.edit(f"x{n}", {"defaults": {}}, {bytes(16): 10**6}) for n in range(limit("hold_back_edits"))]
    bench.offer(*junk)
    assert len(bench.intake._held) == limit("hold_back_edits")
    chain = bench.chain(20)
    bench.offer(*chain)
    assert bench.commit_all() == chain


def test_the_hold_back_is_bounded_in_bytes(bench: Bench) -> None:
    large = limit("edit_bytes") - 2_000
    chain = bench.chain(15, size=large)
    bench.offer(*chain[1:])
    assert 0 < bench.intake._held_bytes <= limit("hold_back_bytes")
    assert bench.intake._held_bytes == sum(len(h.signed.raw) for h in bench.intake._held.values())
    bench.offer(chain[0])
    done = bench.commit_all()
    assert done == chain[: len(done)]
    assert done
    assert bench.intake._held_bytes == sum(len(h.signed.raw) for h in bench.intake._held.values())


def test_a_batch_has_a_size(bench: Bench) -> None:
    chain = bench.chain(10, size=limit("edit_bytes") - 2_000)
    bench.offer(*chain)
    first = bench.commit()
    assert sum(len(s.raw) for s in first) < BATCH_BYTES + limit("edit_bytes")
    assert first + tuple(bench.commit_all()) == tuple(chain)


def test_own_edits_come_first_and_are_counted_until_they_land(bench: Bench) -> None:
    scribe = bench.scribe
    own = scribe.edit("n1", {"defaults": {"x": "1"}}, bench.clock)
    (other,) = bench.chain(1)
    bench.offer(other)
    bench.intake.add_own(own)
    assert bench.intake.own_pending.total() == 1
    assert bench.intake.next_batch()[0] == (own, other)
    assert bench.intake.own_pending.total() == 1
    bench.intake.landed()
    assert bench.intake.own_pending.total() == 0


def test_a_failed_commit_takes_the_own_edits_behind_it_along(bench: Bench) -> None:
    scribe = bench.scribe
    first = scribe.edit("n1", {"defaults": {"x": "1"}}, bench.clock)
    second = scribe.edit("n1", {"defaults": {"x": "2"}}, bench.clock | {scribe.actor("n1"): 3})
    bench.intake.add_own(first)
    assert bench.intake.next_batch()[0] == (first,)
    bench.intake.add_own(second)
    (other,) = bench.chain(1)
    bench.offer(other)
    assert bench.intake.failed() == (second,)
    assert bench.intake.own_pending.total() == 0
    assert bench.commit() == (other,), "what does not build on it goes on"
