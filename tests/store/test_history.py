"""The SQL of one rebase against a model of it: what leaves the log is in the history, in the order of commits, as far as that reaches."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, insert, select

from store import limits
from store.clocks import Dot
from store.edits import SignedEdit
from store.history import next_position, past, replace_log, retire, write_base
from store.schema import base, edits, history, metadata


@contextmanager
def empty() -> Iterator[Connection]:
    """The tables of a new node."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        yield connection
    engine.dispose()


def append(connection: Connection, *batch: SignedEdit) -> None:
    """As a commit does."""
    position = next_position(connection)
    connection.execute(
        insert(edits),
        [{"position": position + n, "actor": s.dot.actor, "counter": s.dot.counter, "raw": s.raw} for n, s in enumerate(batch)],
    )


def log(connection: Connection) -> list[bytes]:
    return [row.raw for row in connection.execute(select(edits.c.raw).order_by(edits.c.position))]


def positions(connection: Connection) -> list[int]:
    return [row.position for table in (edits, history) for row in connection.execute(select(table.c.position))]


def chain(scribe: Any, count: int, *, author: str = "n1", text: str = "") -> list[SignedEdit]:
    return [scribe.edit(author, {"wwid/1": {"alias": f"{text}{n}"}}, {scribe.actor(author): n} if n else {}) for n in range(count)]


def test_nothing_is_at_the_first_position() -> None:
    with empty() as connection:
        assert next_position(connection) == 1 and past(connection, None, 10) == []


def test_a_base_takes_the_place_of_the_one_before(scribe: Any) -> None:
    with empty() as connection:
        for body in (b"one", b"two"):
            write_base(connection, body)
            assert [row.body for row in connection.execute(select(base.c.body))] == [body]


def test_what_is_retired_is_in_the_history_and_what_is_not_there_is_passed_over(scribe: Any) -> None:
    made = chain(scribe, 4)
    with empty() as connection:
        append(connection, *made)
        retire(connection, [made[2].dot, Dot(b"?" * 16, 1), made[0].dot, made[0].dot])
        retire(connection, [])
        assert log(connection) == [made[1].raw, made[3].raw]
        assert past(connection, None, 10) == [(3, made[2].raw), (1, made[0].raw)]
        assert past(connection, 3, 10) == [(1, made[0].raw)] and past(connection, None, 1) == [(3, made[2].raw)]
        assert next_position(connection) == 5


def test_a_place_is_not_used_again_even_if_the_newest_edit_left(scribe: Any) -> None:
    made = chain(scribe, 3)
    with empty() as connection:
        append(connection, *made[:2])
        retire(connection, [made[1].dot])
        append(connection, made[2])
        assert sorted(positions(connection)) == [1, 2, 3]


def test_an_edit_that_comes_back_leaves_the_history_and_another_of_its_number_does_not(scribe: Any) -> None:
    made, other = chain(scribe, 2), chain(scribe, 2, text="other ")
    with empty() as connection:
        append(connection, *made)
        retire(connection, [made[0].dot])
        assert replace_log(connection, [made[0].raw, other[1].raw]) == next_position(connection)
        assert log(connection) == [made[0].raw, other[1].raw]
        assert [raw for _, raw in past(connection, None, 10)] == [made[1].raw]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), most=st.integers(1, 12))
def test_whatever_is_rebased_nothing_is_lost_doubled_or_out_of_order(scribe: Any, seed: int, most: int) -> None:
    random = Random(seed)
    made = [*chain(scribe, 15), *chain(scribe, 15, author="n2")]
    random.shuffle(made)
    order: dict[bytes, int] = {}
    here: list[bytes] = []
    gone: list[bytes] = []

    def newest(raws: list[bytes]) -> list[bytes]:
        return sorted(raws, key=lambda raw: order[raw])[-most:]

    with pytest.MonkeyPatch.context() as patch, empty() as connection:
        patch.setitem(limits.LIMITS, "history_edits", limits.Limit(most, "edits", "", ""))
        dots = {signed.raw: signed.dot for signed in made}
        while made:
            used = set(positions(connection))
            match random.randrange(3):
                case 0:
                    batch = [made.pop() for _ in range(min(len(made), random.randint(1, 4)))]
                    append(connection, *batch)
                    here += [signed.raw for signed in batch]
                case 1:
                    leaving = random.sample(here, random.randint(0, len(here)))
                    retire(connection, [dots[raw] for raw in leaving])
                    here = [raw for raw in here if raw not in leaving]
                    gone += leaving
                case _:
                    known = random.sample(here, random.randint(0, len(here))) + random.sample(gone, random.randint(0, len(gone)))
                    fresh = [made.pop().raw] if made else []
                    replace_log(connection, [*known, *fresh])
                    gone = newest([*gone, *(raw for raw in here if raw not in known)])
                    gone = [raw for raw in gone if raw not in known]
                    here = [*known, *fresh]
                    assert not used & {row.position for row in connection.execute(select(edits.c.position))}
            order.update((row.raw, row.position) for t in (edits, history) for row in connection.execute(select(t.c.raw, t.c.position)))
            gone = newest(gone)
            assert log(connection) == here
            assert [raw for _, raw in past(connection, None, 100)] == gone[::-1]
            assert len(set(positions(connection))) == len(here) + len(gone)
