"""The connections to the page's port: few for strangers, few for each session, and a new one takes the place of the oldest of its kind.

Every process on the host can connect there, as often as it likes. Were all connections equal, one that opens as many as are served would
lock everybody out. So those that have shown no session are few, and a browser shows its session at once. Nor does a session take more
than its share.
"""

from collections.abc import Iterable
from typing import Any

from agent.api.patience import PatientProtocol
from store.limits import limit, web_connections


class PageProtocol(PatientProtocol):
    """The protocol of the page's port. Its handler says with `meet` in the request's state whose session was shown."""

    session: str | None = None
    """The id of the session that was shown; empty for a stranger, None before it is connected."""
    since = 0.0
    """When that was first known of this connection."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "meet": self.meet}
        self.limit_concurrency = 1 + web_connections()  # nobody is refused for what others hold
        self.meet("")

    def meet(self, session: str) -> None:
        """Who is on the other end has shown the session of this id, or has none (any more). The oldest beyond the bound are closed."""
        if session == self.session or self not in self.connections:
            return
        self.session, self.since = session, self.loop.time()
        others = [each for each in self.connections if isinstance(each, PageProtocol) and each.session == session and each is not self]
        others.sort(key=lambda each: each.since)
        while len(others) >= limit("web_session_connections" if session else "web_strangers"):
            oldest = others.pop(0)
            self.connections.discard(oldest)  # now: those that come in the same turn of the loop count anew
            oldest.transport.abort()


def estrange(connections: Iterable[Any], session: str) -> None:
    """This session has ended: whoever showed it is a stranger."""
    for each in list(connections):
        if isinstance(each, PageProtocol) and each.session == session:
            each.meet("")
