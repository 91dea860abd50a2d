"""Which paths a map should have here: learned from what was seen, grown by itself, shrunk only by a person.

A baseline belongs to one WWID on one node and outlives reboots. An identity enters it once it was usable for the learning time without
a break; nothing leaves it but by an acceptance, which names the paths that are right from now on. An acceptance may expire: then all that
was known before it is expected again.
"""

from collections.abc import Collection, Mapping, Sequence

import msgspec


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
    `applied` is the last acceptance's id, so that each is applied once.
    """

    identities: tuple[str, ...] = ()
    candidates: Mapping[str, float] = {}
    accepted: Acceptance | None = None
    before: tuple[str, ...] = ()
    applied: str = ""

    @property
    def source(self) -> str:
        """`accepted` while the baseline is exactly what a person accepted, `learned` otherwise, `none` when it is empty."""
        if self.accepted is not None and set(self.accepted.identities) == set(self.identities):
            return "accepted"
        return "learned" if self.identities else "none"


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
    if not peers:
        return False
    usual = max(sorted(set(peers)), key=list(peers).count)
    return size < usual


def encode(baseline: Baseline) -> bytes:
    """The baseline as it is stored."""
    return msgspec.msgpack.encode(baseline, order="deterministic")


def decode(data: bytes) -> Baseline:
    """The baseline of `encode`; anything else is an empty one, which is learned anew."""
    try:
        return msgspec.msgpack.decode(data, type=Baseline)
    except msgspec.MsgspecError:
        return Baseline()


def _union(known: Collection[str], more: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted({*known, *more}))
