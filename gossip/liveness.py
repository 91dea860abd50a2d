"""Whether members are up: a soft opinion from evidence, beside the durable registry.

Evidence is any authenticated frame from the member itself, its beats that others carried here (with their age), and the word of a third
member that a probe asked. Silence leads to a ping, then to probes through three others and suspicion, then to offline. A lost connection
(the kernel said so) goes the same way faster: only evidence newer than the loss counts.

The observer's own health comes first (as in Lifeguard, Dadgar et al. 2017). One that was itself paused, or is late with its own work, moves
its measures on by the time it lost instead of accusing others; and if all members fall silent at once, it is more likely cut off itself,
and waits twice as long. After van Renesse's gossip failure detector and SWIM (Das et al., 2002).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

PING_AFTER_MS = 2_000
PING_EVERY_MS = 1_000
QUIET_AFTER_MS = 12_000
QUIET_EVERY_MS = 4_000
"""A member that is heard through others alone is pinged too, so that one which cannot be heard directly is known as such."""
SUSPECT_AFTER_MS = 3_200
OFFLINE_AFTER_MS = 7_000
LOST_SUSPECT_AFTER_MS = 400
LOST_OFFLINE_AFTER_MS = 1_800
LOST_MARGIN_MS = 200
"""How much newer than the loss evidence must be: a carried age leaves out the time on the wire."""
PAUSE_MS = 1_500
"""A gap between two ticks beyond this means that this process was not running, or not in time."""
ALONE = 3
"""So many members, all of them silent at once, say more of this node than of themselves."""
FLAPS = 3
FLAP_WINDOW_MS = 300_000
"""A member that was lost so often within this time is flapping."""

assert PING_AFTER_MS < SUSPECT_AFTER_MS < OFFLINE_AFTER_MS
assert LOST_SUSPECT_AFTER_MS < LOST_OFFLINE_AFTER_MS


class Opinion(StrEnum):
    """What this node holds of a member."""

    ONLINE = "online"
    SUSPECT = "suspect"
    OFFLINE = "offline"


@dataclass(slots=True)
class _Watch:
    heard_ms: int
    direct_ms: int
    opinion: Opinion
    link_lost_ms: int | None = None
    pinged_ms: int = -(10**9)
    losses: deque[int] = field(default_factory=partial(deque, maxlen=FLAPS))


@dataclass(frozen=True, slots=True)
class Questions:
    """What a tick wants asked, and whose state changed."""

    ping: tuple[str, ...] = ()
    probe: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class Liveness:
    """The opinions on all other members. Times are milliseconds of one clock that runs on during suspend."""

    def __init__(self, now_ms: int) -> None:
        self.slack_ms = 0
        """How much later than in a small cluster beats come, by design."""
        self.refuted = 0
        """How many suspicions turned out wrong."""
        self._watched: dict[str, _Watch] = {}
        self._lost: set[str] = set()
        """Those whose connection was lost: `link_lost_ms` of their watches is set."""
        self._ticked_ms = now_ms
        self._alone = False

    def watch(self, names: Iterable[str], now_ms: int) -> None:
        """Follow exactly these members; a new one starts as offline until it is heard."""
        wanted = set(names)
        for name in sorted(self._watched.keys() - wanted):
            del self._watched[name]
            self._lost.discard(name)
        for name in sorted(wanted - self._watched.keys()):
            self._watched[name] = _Watch(heard_ms=now_ms - OFFLINE_AFTER_MS, direct_ms=-(10**12), opinion=Opinion.OFFLINE)

    def opinion(self, name: str) -> Opinion:
        """The present opinion; a member that is not followed is offline."""
        watch = self._watched.get(name)
        return watch.opinion if watch else Opinion.OFFLINE

    def heard(self, name: str, now_ms: int, age_ms: int = 0, *, direct: bool = False) -> bool:
        """Take evidence that the member lived `age_ms` ago; whether that made it online."""
        watch = self._watched.get(name)
        if watch is None:
            return False
        watch.heard_ms = max(watch.heard_ms, now_ms - age_ms)
        if direct:
            watch.direct_ms = now_ms
        if watch.opinion is not Opinion.ONLINE and self._due(watch, now_ms) is Opinion.ONLINE:
            self.refuted += watch.opinion is Opinion.SUSPECT
            watch.opinion = Opinion.ONLINE
            return True
        return False

    @property
    def uneasy(self) -> bool:
        """Whether a verdict is due soon: a connection was lost whose member is not offline yet."""
        return any(self._watched[name].opinion is not Opinion.OFFLINE for name in self._lost)

    def flapping(self, name: str, now_ms: int) -> bool:
        """Whether the member was lost again and again lately."""
        watch = self._watched.get(name)
        return watch is not None and len(watch.losses) == FLAPS and now_ms - watch.losses[0] < FLAP_WINDOW_MS

    def direct_age_ms(self, name: str, now_ms: int) -> int | None:
        """How long ago the member itself was heard by this node; None if never or not followed."""
        watch = self._watched.get(name)
        return None if watch is None or watch.direct_ms < 0 else now_ms - watch.direct_ms

    def link_up(self, name: str) -> None:
        """The connection to the member stands (again)."""
        if (watch := self._watched.get(name)) is not None:
            watch.link_lost_ms = None
            self._lost.discard(name)

    def link_down(self, name: str, now_ms: int) -> None:
        """The connection to the member was lost; from now on only newer evidence counts."""
        if (watch := self._watched.get(name)) is not None and watch.link_lost_ms is None:
            watch.link_lost_ms = now_ms
            self._lost.add(name)

    def tick(self, now_ms: int) -> Questions:
        """Judge every member anew."""
        gap = now_ms - self._ticked_ms
        self._ticked_ms = now_ms
        if gap > PAUSE_MS:
            self._forgive(gap, now_ms)
        ping, probe, changed = [], [], []
        present = silent_ones = 0
        for name, watch in self._watched.items():
            due = self._due(watch, now_ms)
            if due is not watch.opinion and not (watch.opinion is Opinion.OFFLINE and due is Opinion.SUSPECT):
                if watch.opinion is Opinion.ONLINE:
                    watch.losses.append(now_ms)
                watch.opinion = due
                changed.append(name)
                if due is Opinion.SUSPECT:
                    probe.append(name)
            silent = now_ms - watch.heard_ms
            if watch.opinion is not Opinion.OFFLINE:
                present += 1
                silent_ones += silent >= PING_AFTER_MS
            asked = now_ms - watch.pinged_ms
            due_ping = silent >= PING_AFTER_MS + self.slack_ms and asked >= PING_EVERY_MS
            quiet = now_ms - watch.direct_ms >= QUIET_AFTER_MS and asked >= QUIET_EVERY_MS
            if (due_ping or quiet) and watch.link_lost_ms is None:
                watch.pinged_ms = now_ms
                ping.append(name)
        self._alone = present >= ALONE and silent_ones == present
        return Questions(tuple(ping), tuple(probe), tuple(changed))

    def _forgive(self, gap: int, now_ms: int) -> None:
        """This process did not run for so long: nobody else is to blame for that silence."""
        for watch in self._watched.values():
            if watch.opinion is Opinion.OFFLINE:
                continue  # only word of it brings it back
            # What was heard between waking up and this tick is evidence already: nothing lies in the future.
            watch.heard_ms = min(now_ms, watch.heard_ms + gap)
            if watch.link_lost_ms is not None:
                watch.link_lost_ms = min(now_ms, watch.link_lost_ms + gap)

    def _due(self, watch: _Watch, now_ms: int) -> Opinion:
        silent = now_ms - watch.heard_ms
        patience = 2 if self._alone else 1
        if silent >= patience * (OFFLINE_AFTER_MS + 4 * self.slack_ms):
            return Opinion.OFFLINE
        if watch.link_lost_ms is not None and watch.heard_ms <= watch.link_lost_ms + LOST_MARGIN_MS:
            lost = now_ms - watch.link_lost_ms
            if lost >= LOST_OFFLINE_AFTER_MS:
                return Opinion.OFFLINE
            if lost >= LOST_SUSPECT_AFTER_MS:
                return Opinion.SUSPECT
        return Opinion.SUSPECT if silent >= patience * (SUSPECT_AFTER_MS + 2 * self.slack_ms) else Opinion.ONLINE
