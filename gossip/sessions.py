"""Which life of a peer's process is listened to, and when one identity runs twice.

Every message names the session that it was sent in (the beginning of the sender's boot nonce). A hello of a new session replaces the old
one at once: that is a restart. If the old one is heard again a while later, both run: the node was cloned. Then the older one stays, and
the newer is not listened to until the older has been silent for long, or is retired.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum

from store.limits import limit

LEFTOVER_MS = 2_000
"""How long messages of a replaced session may still be on their way."""
LATELY_MS = 5_000
SILENT_MS = 15_000
"""After so long without the older of two sessions the newer one is listened to."""


class Heard(Enum):
    """What to do with a message."""

    TAKEN = "it is of the session that is listened to"
    NEW = "so it is from now on: forget what was agreed with the one before"
    UNKNOWN = "a session that has not said hello: ask for one"
    DROPPED = "a session that is not listened to (any more)"
    CLONE = "the older of two that run: it is listened to again, the newer no longer"


@dataclass(slots=True)
class Sessions:
    """The sessions of one peer. Invariant: `current` is in neither `_former` nor `_refused`."""

    current: bytes = b""
    _heard_ms: int = 0
    _replaced_ms: int = 0
    _former: bytes = b""
    _refused: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def hear(self, session: bytes, hello: bool, now_ms: int) -> Heard:
        """Judge a message of this session; `hello` says whether it is one."""
        if session == self.current:
            self._heard_ms = now_ms
            return Heard.TAKEN
        if session == self._former:
            if now_ms - self._replaced_ms < LEFTOVER_MS:
                return Heard.DROPPED
            self._refused[self.current] = None
            while len(self._refused) > limit("refused_sessions"):
                self._refused.popitem(last=False)
            self.current, self._former, self._heard_ms = session, b"", now_ms
            return Heard.CLONE
        if session in self._refused and now_ms - self._heard_ms < SILENT_MS:
            return Heard.DROPPED
        if not hello:
            return Heard.UNKNOWN
        self._refused.pop(session, None)
        self._former, self._replaced_ms = self.current, now_ms
        self.current, self._heard_ms = session, now_ms
        return Heard.NEW

    def alive(self, now_ms: int) -> bytes:
        """The session that is listened to, if it was heard lately; else nothing: what is not heard proves nothing."""
        return self.current if now_ms - self._heard_ms < LATELY_MS else b""

    def refuses(self, session: bytes) -> bool:
        """Whether this session is the newer one of two that run."""
        return session in self._refused
