"""One-time links and sessions: used once, in time, bounded, known by their hashes alone."""

import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.web.sessions import CLOCK_STEP_SECONDS, SECRET_CHARS, Opened, Session, Sessions, Who, hashed
from store.errors import UsageError
from store.limits import limit

WHO = Who(1000, (4, 27), 77)
NOW = 1_700_000_000.0
LINK, SESSION = limit("web_link_seconds"), limit("web_session_seconds")


def source() -> Callable[[int], bytes]:
    """Bytes that are never the same twice."""
    count = 0

    def give(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.sha256(b"%d" % count).digest()[:size]

    return give


def refusal(sessions: Sessions, secret: str, now: float) -> str:
    with pytest.raises(UsageError) as caught:
        sessions.redeem(secret, now)
    assert "web-login" in caught.value.hint and "\n" not in caught.value.message
    return caught.value.code


def logged_in(sessions: Sessions, now: float = NOW, who: Who = WHO) -> Opened:
    return sessions.redeem(sessions.offer(who, now), now)


def test_a_link_opens_one_session() -> None:
    sessions = Sessions(source())
    secret = sessions.offer(WHO, NOW)
    opened = sessions.redeem(secret, NOW + 1)
    assert len(secret) == len(opened.secret) == SECRET_CHARS and secret != opened.secret
    assert opened.session == Session(hashed(opened.secret), WHO, NOW + 1, NOW + 1 + SESSION)
    assert sessions.find(opened.secret, NOW + 2) == opened.session
    assert refusal(sessions, secret, NOW + 2) == "link-used"
    assert len(sessions) == 1


def test_a_link_is_for_minutes() -> None:
    sessions = Sessions(source())
    secret, other = sessions.offer(WHO, NOW), sessions.offer(WHO, NOW)
    sessions.redeem(other, NOW + LINK - 1)
    assert refusal(sessions, secret, NOW + LINK) == "link-expired"
    sessions.offer(WHO, NOW + LINK)
    assert refusal(sessions, secret, NOW + LINK) == "link-unknown", "forgotten with the next one"


def test_what_was_never_given_out() -> None:
    sessions = Sessions(source())
    cookie = logged_in(sessions).secret
    for secret in ("", "x" * SECRET_CHARS, cookie, "\udcff"):
        assert refusal(sessions, secret, NOW) == "link-unknown"
    link = sessions.offer(WHO, NOW)
    assert sessions.find(link, NOW) is None, "a link is no session"


def test_a_session_ends_at_its_time_or_when_it_is_ended() -> None:
    sessions = Sessions(source())
    first, second = logged_in(sessions), logged_in(sessions, NOW + 10)
    assert sessions.find(first.secret, NOW + SESSION - 1) and not sessions.find(first.secret, NOW + SESSION)
    assert sessions.end(second.session.id) and not sessions.end(second.session.id)
    assert sessions.find(second.secret, NOW + 11) is None
    assert sessions.held(NOW + 11) == (first.session,) and sessions.held(NOW + SESSION) == ()
    assert sessions.expire(NOW + SESSION) == (first.session.id,) and len(sessions) == 0


def test_a_clock_that_was_put_back_lets_no_session_live_longer() -> None:
    sessions = Sessions(source())
    opened = logged_in(sessions)
    early = NOW - CLOCK_STEP_SECONDS
    assert sessions.find(opened.secret, early) and sessions.held(early) == (opened.session,) and not sessions.expire(early)
    assert sessions.find(opened.secret, early - 1) is None and sessions.held(early - 1) == ()
    assert sessions.expire(early - 1) == (opened.session.id,) and sessions.find(opened.secret, NOW) is None


def test_links_are_bounded() -> None:
    sessions = Sessions(source())
    secrets = [sessions.offer(WHO, NOW) for _ in range(limit("web_links") + 1)]
    assert refusal(sessions, secrets[0], NOW) == "link-unknown"
    for secret in (secrets[1], secrets[-1]):
        assert sessions.find(sessions.redeem(secret, NOW).secret, NOW)


def test_sessions_are_bounded() -> None:
    sessions = Sessions(source())
    opened = [logged_in(sessions, NOW + n) for n in range(limit("web_sessions"))]
    assert all(not each.ended for each in opened)
    beyond = logged_in(sessions, NOW + 100)
    assert beyond.ended == (opened[0].session.id,) and len(sessions) == limit("web_sessions")
    assert sessions.find(opened[0].secret, NOW + 100) is None and sessions.find(opened[1].secret, NOW + 100)
    late = logged_in(sessions, NOW + SESSION + 1)
    assert late.ended == tuple(each.session.id for each in opened[1:2]), "those whose time is over make room first"


@pytest.mark.parametrize("more", [1, 100])
def test_whoever_asks_for_many_takes_nothing_from_others(more: int) -> None:
    sessions, greedy = Sessions(source()), Who(2000, (), 5)
    link, session = sessions.offer(WHO, NOW), logged_in(sessions)
    for n in range(limit("web_sessions") + more):
        logged_in(sessions, NOW + 1 + n, greedy)
    assert sessions.find(session.secret, NOW + 100) and sessions.redeem(link, NOW + 100)
    assert len(sessions) == limit("web_sessions")


def test_links_that_were_given_out_are_forgotten() -> None:
    sessions = Sessions(source())
    link, session = sessions.offer(WHO, NOW), logged_in(sessions)
    sessions.forget_links()
    assert refusal(sessions, link, NOW) == "link-unknown" and sessions.find(session.secret, NOW)
    assert sessions.redeem(sessions.offer(WHO, NOW), NOW)


def test_no_secret_is_kept() -> None:
    sessions = Sessions(source())
    link = sessions.offer(WHO, NOW)
    opened = sessions.redeem(link, NOW)
    kept = repr(vars(sessions)) + repr(opened.session)
    assert link not in kept and opened.secret not in kept


@given(
    st.lists(
        st.tuples(st.sampled_from(["offer", "redeem", "end", "expire"]), st.integers(0, 5), st.integers(0, SESSION)),
        max_size=60,
    )
)
def test_whatever_happens_each_link_opens_one_session_at_most(steps: list[tuple[str, int, int]]) -> None:
    sessions, now = Sessions(source()), NOW
    links: list[str] = []
    cookies: list[Opened] = []
    redeemed: list[str] = []
    for what, index, seconds in steps:
        if what == "offer":
            links.append(sessions.offer(WHO, now))
        elif what == "redeem" and links:
            link = links[index % len(links)]
            try:
                cookies.append(sessions.redeem(link, now))
            except UsageError:
                continue
            redeemed.append(link)
        elif what == "end" and cookies:
            sessions.end(cookies[index % len(cookies)].session.id)
        elif what == "expire":
            now += seconds
            sessions.expire(now)
        assert len(sessions) <= limit("web_sessions")
    assert len(set(redeemed)) == len(redeemed)
    for each in cookies:
        found = sessions.find(each.secret, now)
        assert found is None or (found == each.session and now < found.expires)
