"""Which paths a map should have here: learned from what was seen, grown by itself, shrunk only by a person.

A baseline belongs to one WWID on one node and outlives reboots. An identity enters it once it was usable for the learning time without
a break; nothing leaves it but by an acceptance, which names the paths that are right from now on, or after the time that a person has set
for paths that do not come back. An acceptance may expire: then all that was known before it is expected again.
"""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite

import msgspec

from apply.topology import clean


class Acceptance(msgspec.Struct, frozen=True):
    """A person's word that exactly these paths are expected. `id` is the edit's dot; `expires` is in unix seconds, 0 = never."""

    id: str
    identities: tuple[str, ...]
    expires: float = 0.0
    reason: str = ""
    by: str = ""


class Baseline(msgspec.Struct, frozen=True):
    """The paths expected on one map.

    `identities` is sorted and free of duplicates. `candidates` maps an identity to the unix second since which it has been usable.
    `accepted` is the acceptance in force while nothing was learned beyond it; `before` what was known when an expiring acceptance came;
    `applied` is the last acceptance's id, so that each is applied once. `absent` maps an identity to the number of hours in which it was
    looked for and not found, and to the last of these (hours since 1970).
    """

    identities: tuple[str, ...] = ()
    candidates: Mapping[str, float] = {}
    accepted: Acceptance | None = None
    before: tuple[str, ...] = ()
    applied: str = ""
    absent: Mapping[str, tuple[int, int]] = {}

    @property
    def source(self) -> str:
        """`accepted` while the baseline is exactly what a person accepted, `learned` otherwise, `none` when it is empty."""
        if self.accepted is not None and set(self.accepted.identities) == set(self.identities):
            return "accepted"
        return "learned" if self.identities else "none"

    def told_acceptance(self) -> dict[str, str | float] | None:
        """The acceptance in force as a cell tells it, `expires` in unix seconds (0 = never); None if there is none.

        It stays in force when more was learned since: what it let go of is not expected again.
        """
        found = self.accepted
        if found is None:
            return None
        expires = found.expires if isfinite(found.expires) else 0.0  # no cell may hold an infinite number
        return {"id": clean(found.id), "by": clean(found.by), "reason": clean(found.reason), "expires": expires}


def observe(baseline: Baseline, usable: Collection[str], now: float, window: float) -> Baseline:
    """Take note that `usable` are usable at `now` (unix seconds); what was so for `window` seconds enters the baseline (0 = at once).

    A clock that was set back starts the wait anew instead of stretching it.
    """
    since = {name: min(baseline.candidates.get(name, now), now) for name in usable if name not in baseline.identities}
    ready = {name for name, start in since.items() if now - start >= window}
    candidates = {name: start for name, start in sorted(since.items()) if name not in ready}
    if not ready and candidates == baseline.candidates:
        return baseline
    return msgspec.structs.replace(baseline, identities=_union(baseline.identities, ready), candidates=candidates)


def forget(baseline: Baseline, present: Collection[str], now: float, days: int) -> Baseline:
    """Let go of what was not `present` for so many days (0 = never), while at least one of the expected paths is.

    Only hours in which this node looked are counted, each of them once: neither a node that was down nor a wall clock that was set to
    another year makes a path forgotten.
    """
    lost = [name for name in baseline.identities if name not in present]
    if not days or not lost:
        return msgspec.structs.replace(baseline, absent={}) if baseline.absent else baseline
    if len(lost) == len(baseline.identities):
        return baseline
    hour = int(now // 3600)
    counted = {name: baseline.absent.get(name, (0, hour)) for name in lost}
    absent = {name: (hours + (last != hour), hour) for name, (hours, last) in counted.items()}
    gone = {name for name, (hours, _) in absent.items() if hours >= days * 24}
    if not gone and absent == baseline.absent:
        return baseline
    identities = tuple(name for name in baseline.identities if name not in gone)
    return msgspec.structs.replace(
        baseline, identities=identities, absent={name: known for name, known in absent.items() if name not in gone}
    )


def rest(baseline: Baseline) -> Baseline:
    """Wait anew for what was about to be learned: who does not look must not count the time as seen."""
    return msgspec.structs.replace(baseline, candidates={}) if baseline.candidates else baseline


def adopt(baseline: Baseline, known: Collection[str]) -> Baseline:
    """Take over what peers remember of this node's paths, after it lost its own memory. An acceptance in force wins over memories."""
    if baseline.accepted is not None or set(known) <= set(baseline.identities):
        return baseline
    return msgspec.structs.replace(baseline, identities=_union(baseline.identities, known))


def accept(baseline: Baseline, acceptance: Acceptance, now: float) -> Baseline:
    """Apply an acceptance once. One that has expired already changes nothing but is remembered."""
    if baseline.applied == acceptance.id:
        return baseline
    if acceptance.expires and acceptance.expires <= now:
        return msgspec.structs.replace(baseline, applied=acceptance.id)
    before = _union(baseline.identities, baseline.before) if acceptance.expires else ()
    return Baseline(_union((), acceptance.identities), {}, acceptance, before, acceptance.id)


def expire(baseline: Baseline, now: float) -> Baseline:
    """Expect again all that was known, once an acceptance has run out."""
    if baseline.accepted is None or not baseline.accepted.expires or baseline.accepted.expires > now:
        return baseline
    return msgspec.structs.replace(baseline, identities=_union(baseline.identities, baseline.before), accepted=None, before=())


def fewer_than_peers(size: int, peers: Sequence[int]) -> bool:
    """Whether most peers know more paths of this map: a node cannot have learned a path that was missing from the start."""
    return bool(peers) and size < _usual(peers)


def more_than_peers(size: int, peers: Sequence[int]) -> bool:
    """Whether most peers know fewer paths of this map: here it may have paths of another LUN with the same WWID, or be zoned too widely.

    Of two nodes alone nobody knows which one is wrong; then only the one with fewer says so.
    """
    return len(peers) > 1 and size > _usual(peers)


def _usual(sizes: Sequence[int]) -> int:
    """The number that most have; of several the smallest."""
    return max(sorted(set(sizes)), key=list(sizes).count)


def encode(baseline: Baseline) -> bytes:
    """The baseline as it is stored."""
    return msgspec.msgpack.encode(baseline, order="deterministic")


def decode(data: bytes) -> Baseline | None:
    """The baseline of `encode`; None for anything else: what it said is lost."""
    try:
        return msgspec.msgpack.decode(data, type=Baseline)
    except msgspec.MsgspecError:
        return None


def _union(known: Collection[str], more: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted({*known, *more}))
