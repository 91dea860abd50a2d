"""One-time links and the sessions that they open. Pure: clock and random bytes are arguments.

A link's secret is given out once and opens one session, within minutes. A session's secret lives in a cookie of one browser. Of both only
the SHA-256 is held, so that neither can be read out of a node's memory of them. A session acts for the process that asked for the link and
ends at a fixed time after it began, or with the agent: what another process gathered on the port while no agent held it is worth nothing.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from store.errors import UsageError
from store.limits import limit

SECRET_BYTES = 32
SECRET_CHARS = 43
"""The base64url text of a secret, without padding."""
CLOCK_STEP_SECONDS = 300
"""A session that begins so much later than now was opened before the clock was put back."""
_ASK = "ask for a new one on the node: pathmesh web-login"


class Who(NamedTuple):
    """For whom a session acts: the process that asked for its link, as the kernel named it."""

    uid: int
    groups: tuple[int, ...]
    pid: int = 0


class Session(NamedTuple):
    """An open session. `id` is the hash of its secret, in hex; times are wall time in seconds."""

    id: str
    who: Who
    began: float
    expires: float

    @property
    def label(self) -> str:
        """What logs and people call it."""
        return self.id[:8]

    def lasts(self, now: float) -> bool:
        """Whether its time is not over; a clock that was put back lets no session live longer."""
        return self.began - CLOCK_STEP_SECONDS <= now < self.expires


class Opened(NamedTuple):
    """A new session: the secret for the browser, the session, and those that had to end for it."""

    secret: str
    session: Session
    ended: tuple[str, ...]


class _Link(NamedTuple):
    who: Who
    expires: float
    used: bool


class Sessions:
    """The links and sessions of one node. `random` gives so many unpredictable bytes."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._links: dict[str, _Link] = {}
        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def offer(self, who: Who, now: float) -> str:
        """The secret of a new link. Beyond the bound an old one is forgotten."""
        self._links = {key: link for key, link in self._links.items() if now < link.expires}
        while len(self._links) >= limit("web_links"):
            del self._links[_first_to_go(self._links)]
        secret = self._secret()
        self._links[hashed(secret)] = _Link(who, now + limit("web_link_seconds"), False)
        return secret

    def redeem(self, secret: str, now: float) -> Opened:
        """Open the session of a link. UsageError `link-used`, `link-expired`, or `link-unknown` for one that is long gone or never was."""
        key = hashed(secret)
        link = self._links.get(key)
        if link is None:
            raise UsageError("this link is not known here, or was given out too long ago", code="link-unknown", hint=_ASK)
        if now >= link.expires:
            raise UsageError("this link has expired", code="link-expired", hint=_ASK)
        if link.used:
            raise UsageError("this link was used already: it opens one session", code="link-used", hint=_ASK)
        self._links[key] = link._replace(used=True)
        ended = self.expire(now)
        while len(self._sessions) >= limit("web_sessions"):
            going = _first_to_go(self._sessions)
            del self._sessions[going]
            ended += (going,)
        cookie = self._secret()
        session = Session(hashed(cookie), link.who, now, now + limit("web_session_seconds"))
        self._sessions[session.id] = session
        return Opened(cookie, session, ended)

    def find(self, secret: str, now: float) -> Session | None:
        """The session of a cookie; None if there is none any more."""
        session = self._sessions.get(hashed(secret))
        return session if session is not None and session.lasts(now) else None

    def held(self, now: float) -> tuple[Session, ...]:
        """The sessions whose time is not over, in the order in which they began."""
        return tuple(session for session in self._sessions.values() if session.lasts(now))

    def end(self, session_id: str) -> bool:
        """End a session; whether there was one."""
        return self._sessions.pop(session_id, None) is not None

    def forget_links(self) -> None:
        """Let no link open a session that was given out before."""
        self._links.clear()

    def expire(self, now: float) -> tuple[str, ...]:
        """Forget the sessions whose time is over; their ids."""
        over = tuple(key for key, session in self._sessions.items() if not session.lasts(now))
        for key in over:
            del self._sessions[key]
        return over

    def _secret(self) -> str:
        return base64.urlsafe_b64encode(self._random(SECRET_BYTES)).decode().rstrip("=")


def hashed(secret: str) -> str:
    """The name under which a secret is known."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _first_to_go(held: Mapping[str, _Link] | Mapping[str, Session]) -> str:
    """The oldest of the user who holds the most: whoever asks for many takes nothing from others."""
    counts = Counter(each.who.uid for each in held.values())
    most = max(counts.values())
    return next(key for key, each in held.items() if counts[each.who.uid] == most)
