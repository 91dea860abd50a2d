"""Golden files of what nodes send and sign: messages as frames, edits, health heads and snapshots, each with what it says as JSON.

Keys and signatures are real and follow from names (see `scripts.golden`). In the JSON bytes are hex, and structures name all their fields.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from gossip import codec
from gossip.key_ranges import KeyIndex
from gossip.messages import (
    CLASSES,
    Alive,
    Beat,
    Chunk,
    Delta,
    Digest,
    Fetch,
    Hello,
    KeyDot,
    KeyRange,
    Message,
    Ping,
    Place,
    Pong,
    Probe,
    Ranges,
)
from gossip.stability import clock_hash
from scripts.golden import CLUSTER, Writer, actor, key, member
from store.cells import MULTIPATH_MAP, Cell
from store.clocks import Dot
from store.edits import LATE, RESOLVE, SignedEdit
from store.health import OwnStream, head_body
from store.members import MEMBER_PREFIX, MemberState, Role, member_value
from store.replica import CLUSTER_KEY, Replica
from store.snapshot import VERSION, make_snapshot

SESSION = b"session!"
HEARD = b"hears-it"
EDITS = f"edits-{codec.MAJOR}.{codec.MINOR}"
FRAMES = f"frames-{codec.MAJOR}.{codec.MINOR}"
HEADS = f"heads-{codec.MAJOR}.{codec.MINOR}"
SNAPSHOTS = f"snapshots-{VERSION}"


def readable(value: object) -> object:
    """Plain JSON data: bytes as hex, structures as objects with all their fields."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, msgspec.Struct):
        return {field: readable(getattr(value, field)) for field in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(readable(name)): readable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [readable(item) for item in value]
    return value


def told(content: object) -> bytes:
    """The text of a JSON file."""
    return msgspec.json.format(msgspec.json.encode(readable(content)), indent=1) + b"\n"


# -- edits ------------------------------------------------------------------------------------------------------------------


def edits() -> dict[str, SignedEdit]:
    """Edits of every kind, by what each shows, in causal order."""
    writer = Writer()
    found: dict[str, SignedEdit] = {}

    def write(name: str, author: str, changes: Mapping[str, Mapping[str, str] | None], **how: object) -> Dot:
        dot = writer.write(author, changes, **how)  # type: ignore[arg-type]
        found[name] = writer.edits[-1]
        return dot

    write("founding", "n1", {CLUSTER_KEY: {"id": CLUSTER, "name": "golden"}, MEMBER_PREFIX + "n1": member_value(member("n1", Role.ADMIN))})
    write("admission", "n1", {MEMBER_PREFIX + "n2": member_value(member("n2", Role.EDITOR))}, reason="joined: n2")
    write("change", "n2", {"wwid/3600a": {"alias": "alpha"}, "wwid/3600b": {"alias": "bêta"}}, reason="two at once")
    write("deletion", "n2", {"wwid/3600b": None}, reason="not used any more")
    before = dict(writer.replica.fold.clock)
    one = write("concurrent-1", "n1", {"defaults": {"path-grouping-policy": "multibus"}}, after=before)
    two = write("concurrent-2", "n2", {"defaults": {"path-grouping-policy": "failover"}}, after=before)
    write("resolve", "n1", {"defaults": {"path-grouping-policy": "failover"}}, kind=RESOLVE, covers={"defaults": [one, two]})
    write("session", "n2", {"wwid/3600c": {"alias": "gamma"}}, life="one", reason="as the actor of one life")
    write("late", "n2", {"wwid/3600a": {"alias": "late"}}, kind=LATE, covers={"wwid/3600a": []}, life="two", reason="late: n2")
    write("leaving", "n2", {MEMBER_PREFIX + "n2": member_value(member("n2", Role.EDITOR, MemberState.LEFT))}, reason="leave")
    write("unknown-fields", "n1", {"storage/san": {"type": "lvm"}}, more={"colour": {"of": ["a", "later", "version"]}, "weight": 2})
    write("unknown-kind", "n1", {"storage/san": {"type": "zfs"}}, kind="merge-9", more={"merges": 9}, reason="of a later version")
    return found


def edit_files() -> Iterator[tuple[str, bytes]]:
    """Each edit as it is kept and sent, and what it says."""
    for name, signed in edits().items():
        fields = msgspec.msgpack.decode(signed.body)
        unknown = {field: fields[field] for field in fields if field not in signed.edit.__struct_fields__}
        public = key(signed.edit.author).public_key().public_bytes_raw()
        content = {"signed_by": public, "signature": signed.signature, "edit": signed.edit, "unknown": unknown}
        yield f"{name}.edit", signed.raw
        yield f"{name}.json", told(content)


# -- health -----------------------------------------------------------------------------------------------------------------


def streams() -> dict[str, OwnStream]:
    """The stream of n2 as it goes on: empty, with cells, with one gone and a beat, and without a word of its clock."""
    cells = (
        Cell(MULTIPATH_MAP, "3600a", "degraded", ("path-lost",), {"paths": 2, "deep": [{"é": None}, True, 2.5]}, {"latency": 1.5}, 5.0),
        Cell(MULTIPATH_MAP, "3600b", "healthy"),
    )
    first, told_nothing, whole, gone = (_stream() for _ in range(4))
    told_nothing.report(cells, 0)
    for stream in (whole, gone):
        stream.clock_tag = b"golden!!"
        stream.report(cells, 0)
    gone.report(cells[:1], 0)
    gone.beat(0)
    return {"empty": first, "no-clock-tag": told_nothing, "whole": whole, "one-is-gone": gone}


def _stream() -> OwnStream:
    return OwnStream("n2", actor("n2"), 3, key("n2").sign, 0)


def head_files() -> Iterator[tuple[str, bytes]]:
    """What each head's signature is over, and what it says."""
    for name, own in streams().items():
        stream = own.stream
        yield f"{name}.head", head_body(stream.node, stream.head, stream.map_hash, stream.size)
        content = {
            "signed_by": key("n2").public_key().public_bytes_raw(),
            "signature": stream.signature,
            "node": stream.node,
            "head": stream.head,
            "map_hash": stream.map_hash,
            "size": stream.size,
            "entries": tuple(held.entry() for held in stream.entries.values()),
        }
        yield f"{name}.json", told(content)


# -- snapshots --------------------------------------------------------------------------------------------------------------


def snapshot_files() -> Iterator[tuple[str, bytes]]:
    """A state of which much has been collected, and a whole log with an edit of a kind that there is not; and what they come to."""
    for name in ("collected", "unknown-kind"):
        replica = Writer().replica
        for signed in edits().values():
            if name == "unknown-kind" or signed.edit.kind != "merge-9":
                replica.commit(signed)
        if name == "collected":
            collection = replica.collect(replica.fold.clock)
            assert collection is not None
            replica.collected(collection)
            yield f"{name}.snapshot", make_snapshot(replica)
        else:
            yield f"{name}.snapshot", on_nothing(replica)
        fold = replica.fold
        values = {each: [sibling.value for sibling in fold.siblings(each)] for each in sorted(fold)}
        founder = key("n1").public_key().public_bytes_raw()
        content = {
            "trusted": {actor("n1"): founder},
            "state_hash": fold.state_hash,
            "clock": fold.clock,
            "floor": replica.floor,
            "kept": len(replica),
            "values": values,
        }
        yield f"{name}.json", told(content)


def on_nothing(replica: Replica) -> bytes:
    """The snapshot of a replica that stands on no base: its whole log is above."""
    envelope: dict[str, object] = msgspec.msgpack.decode(make_snapshot(Replica(replica.cluster_id, replica.verify)))
    return msgspec.msgpack.encode(envelope | {"log": list(replica.raws())})


# -- messages ---------------------------------------------------------------------------------------------------------------


def messages() -> dict[str, Message]:
    """Every class, in every form that means something else."""
    writer = Writer()
    kept = edits()
    for signed in kept.values():
        writer.replica.commit(signed)
    fold, raws = writer.replica.fold, tuple(signed.raw for signed in kept.values())
    clock, clock_is = dict(fold.clock), clock_hash(fold.clock)
    n1, n2 = actor("n1"), actor("n2")
    stream = streams()["one-is-gone"].stream
    head = stream.head
    delta, later = stream.delta(None, 250), stream.delta((3, 1), 250)
    half = msgspec.structs.replace(delta, cells=delta.cells[:1], part=0, parts=2)
    places = {"n2": Place(n2[:4], head.epoch, head.seq, head.beat, stream.map_hash[:4])}
    beat = Beat(n2[:4], head.epoch, head.seq, head.beat, head.clock_tag, 1_250, stream.signature)
    index = KeyIndex(writer.replica)
    other = KeyRange("", "", 17, bytes(32))
    wide = Writer()
    wide.write("n1", {CLUSTER_KEY: {"id": CLUSTER}, MEMBER_PREFIX + "n1": member_value(member("n1", Role.ADMIN))})
    wide.write("n1", {f"wwid/36{n:02}": {"alias": f"lun-{n}"} for n in range(20)})
    removed = kept["deletion"].edit
    return {
        "hello": Hello(CLUSTER, "n1", n1, 1, 1, bytes(range(16)), ("a-feature", "another"), False, HEARD),
        "hello-first": Hello(CLUSTER, "n1", n1, 1, 1, bytes(range(16)), ask=True),
        "digest-short": Digest(clock_is, fold.state_hash, health=places, hears=HEARD),
        "digest-full": Digest(
            clock_is, fold.state_hash, True, clock, {n1: 2, n2: 1}, places, ("n1", "n9"), ((n2, 5), (n2, 6)), True, ("n1",), {"n3": (1, 2)},
            HEARD, True, {n1: 5},
        ),
        "delta-edits": Delta(edits=raws, ahead={**clock, n1: clock[n1] + 1}),
        "delta-push": Delta(edits=raws[-1:], push=True),
        "delta-health": Delta(health=(delta, later)),
        "delta-health-part": Delta(health=(half,)),
        "delta-beats": Delta(beats={"n2": beat}),
        "ping": Ping(2**53),
        "pong": Pong(0),
        "probe": Probe("n3"),
        "alive": Alive("n3", 1_500),
        "fetch-new": Fetch(b"", 0),
        "fetch-more": Fetch(bytes(range(16)), 2**18),
        "chunk-data": Chunk(bytes(range(16)), 2**18, 2**18 + 5, bytes(range(32)), b"chunk"),
        "chunk-wait": Chunk(b"", 0, 0, b"", b"", 250),
        "ranges-ask": Ranges(7, clock_is, ask=(index.between("", ""), index.between("m", "wwid/3600b"))),
        "ranges-keys": Ranges(7, clock_is, True, parts=(index.part(0, other), index.part(1, index.between("x", "")))),
        "ranges-split": Ranges(8, clock_hash(wide.replica.fold.clock), True, parts=(KeyIndex(wide.replica).part(0, other),)),
        "ranges-absent": Ranges(9, clock_is, absent=(KeyDot("wwid/3600b", removed.actor, removed.counter),)),
        "ranges-want": Ranges(10, clock_is, want=((removed.actor, removed.counter),)),
        "ranges-edits": Ranges(10, clock_is, True, edits=(kept["deletion"].raw,)),
    }  # fmt: skip


def frame_files() -> Iterator[tuple[str, bytes]]:
    """Each message as its two frames, one after the other (the first has 19 bytes), and what they say."""
    for name, message in messages().items():
        yield f"{name}.frames", b"".join(codec.encode(message, SESSION))
        yield f"{name}.json", told({"class": CLASSES[type(message)].name, "session": SESSION, "message": message})


DIRECTORIES: dict[str, Callable[[], Iterator[tuple[str, bytes]]]] = {
    FRAMES: frame_files,
    EDITS: edit_files,
    HEADS: head_files,
    SNAPSHOTS: snapshot_files,
}
"""What is made in which directory."""


def make(directory: Path) -> None:
    """Make those of the golden directories of this version that are not there."""
    for name, files in DIRECTORIES.items():
        target = directory / name
        if target.exists():
            print(f"{target}: there already, left as it is")
            continue
        target.mkdir(parents=True)
        for file, content in files():
            (target / file).write_bytes(content)
        print(f"{target}: made")
