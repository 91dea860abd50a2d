"""The connections to the page's port: those that have shown a session go before those of strangers.

Every process on the host can connect there, as often as it likes. Were all connections equal, one that opens as many as are served would
lock everybody out. So those that have shown no session are few, and a new one takes the place of the oldest: a browser shows its session at
once.
"""

from typing import Any

from agent.api.access import PatientProtocol
from store.limits import limit


class PageProtocol(PatientProtocol):
    """The protocol of the page's port. Its handler says with `meet` in the request's state whether there is a session."""

    stranger_since: float | None = None
    """When this one connected, or asked without its session; None for one that has shown a session."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "meet": self.meet}
        strangers = {c: c.stranger_since for c in self.connections if isinstance(c, PageProtocol) and c.stranger_since is not None}
        if len(strangers) >= limit("web_strangers"):
            oldest = min(strangers, key=strangers.__getitem__)
            self.connections.discard(oldest)  # now: those that come in the same turn of the loop count anew
            oldest.transport.abort()
        self.stranger_since = self.loop.time()

    def meet(self, known: bool) -> None:
        """Who is on the other end has a session, or has none (any more)."""
        if known:
            self.stranger_since = None
        elif self.stranger_since is None:
            self.stranger_since = self.loop.time()
