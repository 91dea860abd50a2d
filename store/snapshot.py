"""A whole replica as bytes, for a node that is too far behind for single edits, and what is checked before such bytes are believed.

What can be proven is proven: every edit in the log is its author's, every author was admitted by an admin whose own admission is there
too, back to the edit that founded the cluster, with the keys that the receiver knows already; no value is live that another edit in the
log replaced, and none above the floor is left out. What the sender alone can know (the clock, and that of two values the older one was
replaced by an edit that is gone) is taken from it: it is a member, as the peers are from which single edits come.
"""

from collections.abc import Iterable, Mapping

import msgspec

from store.authors import Author, Authors, founder, may_change
from store.base import Base, decode_base, encode_base
from store.clocks import Actor, Dot, covers, dominates
from store.edits import SignedEdit, decode_edit
from store.errors import one_line
from store.fold import replaces
from store.level import KindIs
from store.limits import limit
from store.members import Role
from store.replica import Admission, Replica, Verify

VERSION = 1


class SnapshotError(ValueError):
    """The bytes are no snapshot of this cluster that can be believed. The text says why."""


class Snapshot(msgspec.Struct, frozen=True):
    """A base and its log, checked."""

    base: Base
    log: tuple[SignedEdit, ...]


class _Envelope(msgspec.Struct, frozen=True, tag_field="format", tag="pathmesh-snapshot"):
    version: int
    cluster: str
    base: bytes
    log: list[bytes]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Envelope)


def make_snapshot(replica: Replica) -> bytes:
    """All that another node needs to stand where this one does.

    While the log has edits of an unknown kind it is the base that the replica stands on, not the present one: the receiver may be of a
    later version and know what they mean.
    """
    base = (replica.base or Base()) if replica.unknown_kinds else replica.present_base()
    return _encoder.encode(_Envelope(VERSION, replica.cluster_id, encode_base(base), list(replica.raws())))


def read_snapshot(data: bytes, cluster_id: str, verify: Verify, trusted: Mapping[Actor, bytes]) -> Snapshot:
    """Read and check a snapshot; SnapshotError for whatever is wrong with it.

    `trusted`: the signing keys of members that are known otherwise, by actor; none of them may have another key in the snapshot, and if
    there are any, the snapshot must know one of them.
    """
    if len(data) > limit("snapshot_bytes"):
        raise SnapshotError(f"a snapshot of {len(data):,} bytes; at most {limit('snapshot_bytes'):,} are taken")
    try:
        envelope = _decoder.decode(data)
        if envelope.version != VERSION:
            raise SnapshotError(f"a snapshot of version {envelope.version}")
        if envelope.cluster != cluster_id:
            raise SnapshotError("a snapshot of another cluster")
        base = decode_base(envelope.base)
        log = tuple(map(decode_edit, envelope.log))
        folded = [signed for signed in log if covers(base.clock, signed.dot)]
        _check_folded(base, folded, cluster_id, verify)
        replica = Replica(cluster_id, verify, folded, base)
        for signed in log:
            if not covers(base.clock, signed.dot):
                _require(replica.admit(signed) is Admission.READY, "an edit that nobody would take")
                replica.commit(signed)
    except SnapshotError:
        raise
    except (msgspec.MsgspecError, RecursionError, ValueError) as fault:
        raise SnapshotError(f"not a snapshot: {one_line(fault)}") from None
    for actor, key in trusted.items():
        known = replica.authors.get(actor)
        _require(known is None or any(author.signing_key == key for author in known), "a known member has another key")
    _require(not trusted or bool(trusted.keys() & replica.authors.keys()), "it knows none of the known members")
    return Snapshot(base, log)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise SnapshotError(f"a snapshot that cannot be believed: {otherwise}")


def _check_folded(base: Base, log: Iterable[SignedEdit], cluster_id: str, verify: Verify) -> None:
    """Whether the base can be what the edits say that it has folded, with others that are gone."""
    table, voids, present = Authors(), set[Dot](), dict[str, list[Dot]]()
    lamport = 0
    for signed in log:
        edit, dot = signed.edit, signed.dot
        first = None if table.known else founder(edit, cluster_id)
        if first is not None:
            table.found(first, edit)
        author = table.of(edit)
        _require(author is not None, "an edit whose author nobody let in")
        assert author is not None
        _require(verify(author.signing_key, signed.body, signed.signature), "an edit with a wrong signature")
        kind = table.kind(edit)
        _require(kind is not KindIs.LATER, "an edit of a kind that this version does not know")
        _require(dominates(base.clock, edit.context), "an edit that has seen what its clock does not cover")
        lamport = max(lamport, edit.lamport)
        if not may_change(author, edit):
            _require(author.role is not Role.OBSERVER, "an edit of an observer")
            table.went_beyond(edit)
        if kind is KindIs.IMPOSSIBLE or not may_change(author, edit):
            voids.add(dot)
            continue
        table.learn(edit)
        for key in edit.changes:
            present[key] = [other for other in present.get(key, ()) if not replaces(edit, key, other)]
            present[key].append(dot)
    _require(_sets(table.known) == _sets(base.authors), "authors whom its edits do not show")
    _require(table.endings == base.endings, "departures that its edits do not show")
    _require(voids == set(base.voids), "an edit that is void without reason, or is not")
    for actor, dots in base.beyond.items():
        shown = set(table.beyond.pop(actor, ()))
        _require(shown <= set(dots) and all(covers(base.floor, dot) for dot in set(dots) - shown), "wrong counts of void edits")
    _require(not table.beyond, "wrong counts of void edits")
    _require(lamport <= base.lamport <= sum(base.clock.values()), "an impossible lamport number")
    for key, live in base.siblings.items():
        found = set(present.pop(key, ()))
        _require(bool(live) and list(live) == sorted(set(live)) and found.issuperset(live), f"a value of {key!r} that is not live")
        _require(all(covers(base.floor, dot) for dot in found.difference(live)), f"it leaves out a value of {key!r}")
    _require(all(covers(base.floor, dot) for dots in present.values() for dot in dots), "it leaves out a key")


def _sets(known: Mapping[Actor, Iterable[Author]]) -> dict[Actor, set[Author]]:
    return {actor: set(found) for actor, found in known.items()}
