"""Nodes in maintenance: seen as before, and counted nowhere. Kept as `ack/maintenance/<name>`, which editors may write.

The end is a wall time, judged by the clock of whoever reads it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agent.cell_view import iso
from store.document import Options

PREFIX = "ack/maintenance/"


class Maintenance(NamedTuple):
    """Why a node is in maintenance, since when and until when (unix seconds; None = until somebody ends it)."""

    reason: str
    since: float
    expires: float | None

    def holds(self, now: float) -> bool:
        """Whether it has not ended yet."""
        return self.expires is None or now < self.expires

    def json(self) -> dict[str, Any]:
        """As users see it."""
        return {"reason": self.reason, "since": iso(self.since), "expires": None if self.expires is None else iso(self.expires)}


def maintenance_value(reason: str, since: float, expires: float | None) -> dict[str, str]:
    """The options of the key."""
    return {"reason": reason, "since": f"{since:.0f}", "expires": "" if expires is None else f"{expires:.0f}"}


def maintenance_reason(name: str, *, on: bool) -> str:
    """The reason of an edit that begins or ends it, if nobody gives one."""
    return f"maintenance of {name} {'begins' if on else 'ends'}"


def read_maintenance(acks: Iterable[tuple[str, Options]]) -> Mapping[str, Maintenance]:
    """All of it by node, ended or not, from the keys under `ack/`; one that makes no sense does not count."""
    found = {}
    for key, options in acks:
        if key.startswith(PREFIX):
            since, expires = _seconds(options.get("since", "")), _seconds(options.get("expires", ""))
            if since is not None and (expires is not None or not options.get("expires")):
                found[key.removeprefix(PREFIX)] = Maintenance(options.get("reason", ""), since, expires)
    return found


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None
