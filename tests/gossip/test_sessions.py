"""Which life of a peer's process is listened to."""

from hypothesis import given
from hypothesis import strategies as st

from gossip.sessions import LEFTOVER_MS, SILENT_MS, Heard, Sessions
from store.limits import limit

A, B, C = b"a" * 8, b"b" * 8, b"c" * 8


def test_the_first_hello_and_what_follows_it() -> None:
    sessions = Sessions()
    assert sessions.hear(A, False, 0) is Heard.UNKNOWN
    assert sessions.hear(A, True, 1) is Heard.NEW
    assert sessions.hear(A, False, 2) is Heard.TAKEN
    assert sessions.hear(A, True, 3) is Heard.TAKEN


def test_a_restart_is_taken_at_once_and_leftovers_are_dropped() -> None:
    sessions = Sessions()
    sessions.hear(A, True, 0)
    assert sessions.hear(B, False, 100) is Heard.UNKNOWN
    assert sessions.hear(B, True, 101) is Heard.NEW
    assert sessions.hear(A, False, 101 + LEFTOVER_MS - 1) is Heard.DROPPED
    assert sessions.hear(B, False, 5_000) is Heard.TAKEN
    assert not sessions.refuses(A)


def test_a_clone_is_found_and_the_older_session_stays() -> None:
    sessions = Sessions()
    sessions.hear(A, True, 0)
    sessions.hear(B, True, 1_000)
    assert sessions.hear(A, False, 1_000 + LEFTOVER_MS) is Heard.CLONE
    assert sessions.current == A
    assert sessions.refuses(B)
    assert sessions.hear(B, False, 4_000) is Heard.DROPPED
    assert sessions.hear(B, True, 4_000) is Heard.DROPPED
    assert sessions.hear(A, False, 5_000) is Heard.TAKEN


def test_the_newer_one_is_listened_to_when_the_older_is_gone() -> None:
    sessions = Sessions()
    sessions.hear(A, True, 0)
    sessions.hear(B, True, 1_000)
    sessions.hear(A, False, 10_000)
    assert sessions.hear(B, False, 10_000 + SILENT_MS) is Heard.UNKNOWN
    assert sessions.hear(B, True, 10_000 + SILENT_MS) is Heard.NEW
    assert sessions.current == B
    assert not sessions.refuses(B)


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.integers(0, 20_000)), max_size=200))
def test_whatever_comes_stays_bounded_and_one_session_is_current(steps: list[tuple[int, bool, int]]) -> None:
    sessions, now = Sessions(), 0
    for number, hello, gap in steps:
        now += gap
        session = b"%08d" % number
        heard = sessions.hear(session, hello, now)
        assert (heard in (Heard.TAKEN, Heard.NEW, Heard.CLONE)) == (sessions.current == session)
        assert not sessions.refuses(sessions.current)
        assert heard is not Heard.NEW or hello
        assert sum(sessions.refuses(b"%08d" % n) for n in range(41)) <= limit("refused_sessions")
