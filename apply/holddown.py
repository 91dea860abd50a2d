"""When a map's state may be shown as better, and when it flaps.

Worse is shown at once. Better is shown after two polls in a row that are no longer that bad, so a path that comes and goes does not make
the state blink. Not knowing, and waiting for a first apply, are no bad states: leaving them takes no second poll.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

GOOD_POLLS = 2
FLAP_SECONDS = 600.0
FLAP_TRANSITIONS = 4

RANK = {"absent": 0, "healthy": 1, "unexpected": 1, "pending": 2, "unknown": 3, "degraded": 4, "missing": 5, "failed": 6}
_BAD = frozenset({"degraded", "missing", "failed"})


@dataclass(frozen=True)
class Shown:
    """What is shown of one map, and the memory behind it.

    `found` is the state of the last poll; `good` counts the polls in a row that were better than what is shown; `changes` are the
    monotonic seconds of the last transitions between polls; `last` is the detail of the last poll that could see the map.
    """

    state: str
    reasons: tuple[str, ...]
    found: str
    good: int = 0
    changes: tuple[float, ...] = ()
    last: Mapping[str, Any] = field(default_factory=dict)

    @property
    def flapping(self) -> bool:
        """Whether the state changed too often lately to believe any single change."""
        return len(self.changes) >= FLAP_TRANSITIONS


def show(before: Shown | None, state: str, reasons: tuple[str, ...], now: float) -> Shown:
    """What to show after a poll that found `state`."""
    if before is None:
        return Shown(state, reasons, state)
    changes = tuple(at for at in before.changes if now - at < FLAP_SECONDS)
    if state != before.found and "unknown" not in (state, before.found):
        changes = (*changes, now)[-2 * FLAP_TRANSITIONS :]
    if before.state not in _BAD or state == "unknown" or RANK[state] >= RANK[before.state]:
        return replace(before, state=state, reasons=reasons, found=state, good=0, changes=changes)
    if before.good + 1 >= GOOD_POLLS:
        return replace(before, state=state, reasons=reasons, found=state, good=0, changes=changes)
    return replace(before, found=state, good=before.good + 1, changes=changes)
