"""One-time links and the sessions that they open. Pure: clock and random bytes are arguments.

A link's secret is given out once and opens one session, within minutes. A session's secret lives in a cookie of one browser. Of both only
the SHA-256 is held, here and in the records, so that neither can be read out of a node's memory of them. A session acts for the process
that asked for the link, ends at a fixed time after it began, and outlives a restart of the agent.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, NamedTuple

import msgspec

from store.errors import UsageError
from store.limits import limit

SECRET_BYTES = 32
SECRET_CHARS = 43
"""The base64url text of a secret, without padding."""
CLOCK_STEP_SECONDS = 300
"""A session that begins so much later than now was opened before the clock was put back."""
_ASK = "ask for a new one on the node: pathmesh web-login"

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Id = Annotated[int, msgspec.Meta(ge=0, le=2**32)]


class Who(msgspec.Struct, frozen=True):
    """For whom a session acts: the process that asked for its link, as the kernel named it."""

    uid: Id
    groups: tuple[Id, ...]
    pid: Id = 0


class Session(msgspec.Struct, frozen=True):
    """An open session. `id` is the hash of its secret, in hex; times are wall time in seconds."""

    id: Annotated[str, msgspec.Meta(min_length=64, max_length=64)]
    who: Who
    began: Seconds
    expires: Seconds

    @property
    def label(self) -> str:
        """What a log calls it."""
        return self.id[:8]


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

    def __init__(self, random: Callable[[int], bytes], kept: Iterable[Session] = ()) -> None:
        self._random = random
        self._links: dict[str, _Link] = {}
        self._sessions = {session.id: session for session in sorted(kept, key=lambda each: each.began)}

    def __len__(self) -> int:
        return len(self._sessions)

    def offer(self, who: Who, now: float) -> str:
        """The secret of a new link. Beyond the bound the oldest link is forgotten."""
        self._links = {key: link for key, link in self._links.items() if now < link.expires}
        while len(self._links) >= limit("web_links"):
            del self._links[next(iter(self._links))]
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
            oldest = next(iter(self._sessions))
            del self._sessions[oldest]
            ended += (oldest,)
        cookie = self._secret()
        session = Session(hashed(cookie), link.who, now, now + limit("web_session_seconds"))
        self._sessions[session.id] = session
        return Opened(cookie, session, ended)

    def find(self, secret: str, now: float) -> Session | None:
        """The session of a cookie; None if there is none any more. A clock that was put back lets no session live longer."""
        session = self._sessions.get(hashed(secret))
        return session if session is not None and session.began - CLOCK_STEP_SECONDS <= now < session.expires else None

    def end(self, session_id: str) -> bool:
        """End a session; whether there was one."""
        return self._sessions.pop(session_id, None) is not None

    def expire(self, now: float) -> tuple[str, ...]:
        """Forget the sessions whose time is over; their ids."""
        over = tuple(key for key, session in self._sessions.items() if now >= session.expires)
        for key in over:
            del self._sessions[key]
        return over

    def _secret(self) -> str:
        return base64.urlsafe_b64encode(self._random(SECRET_BYTES)).decode().rstrip("=")


def hashed(secret: str) -> str:
    """The name under which a secret is known."""
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def encode_session(session: Session) -> bytes:
    """A session as it is kept."""
    return msgspec.msgpack.encode(session)


def decode_sessions(records: Mapping[str, bytes]) -> tuple[list[Session], list[str]]:
    """The kept sessions, and the ids of records that are none."""
    found, damaged = [], []
    for key, data in records.items():
        try:
            session = msgspec.msgpack.decode(data, type=Session)
        except (msgspec.MsgspecError, RecursionError):
            damaged.append(key)
        else:
            found.append(session)
    return found, damaged
