"""The one place that knows how the simulator takes hold of the product: making engines and frames, and its tunable numbers."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random

import msgspec

import gossip.antientropy
import gossip.upkeep
from gossip import codec
from gossip.engine import Engine, Identity
from gossip.messages import Message
from gossip.transport import Frames
from gossip.vitals import STALE_MS as STALE_MS
from scripts.simulation.forge import sign, verify
from store.base import Base, decode_base, encode_base
from store.clocks import Dot
from store.edits import SignedEdit, decode_edit
from store.health import HealthStream
from store.limits import LIMITS
from store.members import Member
from store.replica import Replica


def make_replica(cluster: str, rows: Sequence[bytes], base: bytes | None) -> Replica:
    """A replica from what a disk holds."""
    stands_on: Base | None = None if base is None else decode_base(base)
    return Replica(cluster, verify, [decode_edit(raw) for raw in rows], stands_on)


def make_engine(
    member: Member, replica: Replica, streams: Mapping[str, HealthStream], epoch: int, nonce: bytes, bootstrap: tuple[Member, ...],
    restored: bool, random: Random, now_ms: int, collect_edits: int,
) -> Engine:  # fmt: skip
    """An engine as the agent makes one, with signatures that are hashes."""
    key = member.signing_key
    identity = Identity(member.name, member.actor, epoch, nonce, lambda body: sign(key, body), verify, bootstrap, restored)
    return Engine(identity, replica, streams, random, now_ms, collect_edits=collect_edits)


def encode(engine: Engine, message: Message) -> Frames:
    """The frames of a message that this engine sends."""
    return codec.encode(message, engine.identity.session)


def owner(signed: SignedEdit) -> bytes:
    """The identity that an edit's author belongs to."""
    return signed.edit.owner


def base_clock(base: bytes) -> Mapping[bytes, int]:
    """The clock that a base says it stands at."""
    return decode_base(base).clock


def base_keys(base: bytes) -> Collection[str]:
    """The keys that a base has siblings of."""
    return decode_base(base).siblings.keys()


def without_a_deletion(base: bytes | None, rows: Sequence[bytes]) -> tuple[bytes, Dot] | None:
    """The base without one deletion that it should have beside a value, and that deletion's dot; None if there is none."""
    if base is None:
        return None
    found = decode_base(base)
    edits = {signed.dot: signed.edit for signed in map(decode_edit, rows)}
    for key, dots in sorted(found.siblings.items()):
        deletions = [dot for dot in dots if edits[dot].changes[key] is None and found.floor.get(dot.actor, 0) >= dot.counter]
        if deletions and len(dots) > len(deletions):
            siblings = {**found.siblings, key: tuple(dot for dot in dots if dot != deletions[0])}
            return encode_base(msgspec.structs.replace(found, siblings=siblings)), deletions[0]
    return None


def held_back(engine: Engine) -> tuple[int, int]:
    """How many edits wait in the hold-back, and how many bytes they have."""
    intake = engine._intake
    return len(intake._held), intake._held_bytes


def doubts_itself(engine: Engine) -> bool:
    """Whether it hears nobody, and takes that for its own fault."""
    return engine.liveness._alone


def flip(engine: Engine, bit: int) -> None:
    """Damage its memory: its state hash is another one than that of its state."""
    engine.replica.fold._hash ^= 1 << bit


@contextmanager
def tightened(bounds: Mapping[str, int], *, look_ms: int | None = None) -> Iterator[None]:
    """Limits of the product at other values, so that a small run meets them; `look_ms` is how often it looks for edits to collect."""
    before, budget, every = dict(LIMITS), gossip.antientropy._DELTA_BUDGET, gossip.upkeep.LOOK_EVERY_MS
    for name, value in bounds.items():
        old = LIMITS[name]
        LIMITS[name] = type(old)(value, old.unit, old.reason, old.effect, old.counter)
    gossip.antientropy._DELTA_BUDGET = bounds.get("delta_bytes", budget)
    gossip.upkeep.LOOK_EVERY_MS = every if look_ms is None else look_ms
    try:
        yield
    finally:
        LIMITS.update(before)
        gossip.antientropy._DELTA_BUDGET = budget
        gossip.upkeep.LOOK_EVERY_MS = every
