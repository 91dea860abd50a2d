"""Makes golden files: data as this version writes it, kept for ever, so that every later version can prove that it still reads it.

    python -m scripts.golden database [DIRECTORY]
    python -m scripts.golden frames [DIRECTORY]

The first makes `database-0001` and `database-0002` in the directory (default tests/data/golden): a node's database of each schema
revision, with everything in it that a database can hold. The second makes what nodes of this protocol version send and sign: see
`scripts.golden_frames`. What is there already is never touched. Everything follows from names, nothing from a clock or chance, so the same
version makes the same content.
"""

import asyncio
import hashlib
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from alembic import command
from alembic.config import Config
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import create_engine

import store
from agent.birth import Birth, encode_birth
from gossip.keys import verify
from store.base import encode_base
from store.cells import MULTIPATH_MAP, Cell
from store.clocks import Dot
from store.database import FILE_NAME, Database, DatabaseRecords
from store.document import Options
from store.edits import CHANGE, LATE, RESOLVE, Edit, SignedEdit, decode_edit, frozen_changes, session_actor
from store.health import OwnStream, encode_stream
from store.members import MEMBER_PREFIX, Member, MemberState, Role, member_value
from store.replica import CLUSTER_KEY, Replica

DIRECTORY = Path(__file__).parents[1] / "tests" / "data" / "golden"
CLUSTER = "golden"
EPOCH = (7).to_bytes(8, "big")
OLD_HEALTH = bytes.fromhex(
    "85a46e6f6465a26e32a46865616494c4108440e6e2bdc7916060d242d354f80575030101a86d61705f68617368c42016f4da3efb34462e1a446591d1137a8fc3cee6"
    "697880b86d9dd2d43a2d14016fa97369676e6174757265c440ced64229972494f74d6fbd5ee16048952326765b4edf39774433010ae74080543ebe7be08d52979a1a"
    "6e2a245a76fd46f1156bc4fba0b4996208d4d9930d8f0fa7656e747269657391920187a46b696e64a96d756c746970617468a26964a433363030a57374617465a864"
    "65677261646564a7726561736f6e7391a9706174682d6c6f7374a664657461696c81a5706174687302a86d6561737572657381a76c6174656e6379cb3ff800000000"
    "0000ab6f627365727665645f6174cb4014000000000000"
)
"""A health row as the first version wrote it."""


def actor(name: str) -> bytes:
    """The actor (16 bytes) of the member."""
    return hashlib.sha256(f"golden actor {name}".encode()).digest()[:16]


def key(name: str) -> Ed25519PrivateKey:
    """The member's signing key."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"golden key {name}".encode()).digest())


def member(name: str, role: Role, state: MemberState = MemberState.JOINED) -> Member:
    """The member's registration."""
    curve_key = hashlib.sha256(f"golden curve {name}".encode()).hexdigest()[:40]
    return Member(name, actor(name), curve_key, key(name).public_key().public_bytes_raw(), f"tcp://{name}.example:7946", role, state)


class Writer:
    """A replica, and all edits that were written to it in order."""

    def __init__(self) -> None:
        self.replica = Replica(CLUSTER, verify)
        self.edits: list[SignedEdit] = []

    def write(
        self,
        author: str,
        changes: Mapping[str, Options | None],
        *,
        kind: str = CHANGE,
        covers: Mapping[str, Iterable[Dot]] | None = None,
        reason: str = "",
        life: str = "",
        after: Mapping[bytes, int] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> Dot:
        """One edit; `after`: what it has seen, if that is not all; `more`: fields that this version does not know."""
        context = dict(self.replica.fold.clock if after is None else after)
        identity, nonce = (actor(author), actor(f"life {life}")) if life else (b"", b"")
        who = session_actor(identity, nonce) if life else actor(author)
        edit = Edit(
            actor=who,
            counter=context.get(who, 0) + 1,
            context=context,
            lamport=self.replica.fold.lamport + 1 if after is None else sum(context.values()) + 1,
            author=author,
            wall=1_700_000_000.0 + len(self.edits),
            changes=frozen_changes(changes),
            reason=reason,
            kind=kind,
            covers={name: [(d.actor, d.counter) for d in dots] for name, dots in (covers or {}).items()},
            identity=identity,
            nonce=nonce,
        )
        body = msgspec.msgpack.encode({**self.fields(edit), **(more or {})})
        signed = decode_edit(msgspec.msgpack.encode((body, key(author).sign(body))))
        self.replica.commit(signed)
        self.edits.append(signed)
        return signed.dot

    def fields(self, edit: Edit) -> dict[str, object]:
        """What the edit's body holds."""
        found: dict[str, object] = msgspec.msgpack.decode(msgspec.msgpack.encode(edit))
        return found


class OldWriter(Writer):
    """Writes edits as the first version did: every field it had is there."""

    def fields(self, edit: Edit) -> dict[str, object]:
        """What the edit's body holds."""
        names = ("actor", "counter", "context", "lamport", "author", "wall", "changes", "reason", "kind", "covers")
        return {name: getattr(edit, name) for name in names}


def begin(writer: Writer) -> None:
    """Members, some configuration, a conflict, another one that was resolved, a deletion, an edit beyond its author's rights."""
    found = {CLUSTER_KEY: {"id": CLUSTER, "name": "golden"}, MEMBER_PREFIX + "n1": member_value(member("n1", Role.ADMIN))}
    writer.write("n1", found, reason="init")
    for name, role in (("n2", Role.EDITOR), ("n3", Role.OBSERVER), ("n4", Role.ADMIN)):
        writer.write("n1", {MEMBER_PREFIX + name: member_value(member(name, role))}, reason=f"joined: {name}")
    for policy in ("failover", "multibus", "group_by_prio"):
        writer.write("n1", {"defaults": {"path_grouping_policy": policy, "polling_interval": "5"}}, reason=f"use {policy}")
    writer.write("n2", {"wwid/3600a": {"alias": "alpha"}, "wwid/3600b": {"alias": "beta"}, "wwid/3600c": {"alias": "gamma"}})
    writer.write("n2", {"wwid/3600c": None}, reason="not used any more")
    before = dict(writer.replica.fold.clock)
    one = writer.write("n1", {"overrides": {"text": "devices {\n}\n"}}, after=before)
    two = writer.write("n2", {"overrides": {"text": "blacklist {\n}\n"}}, after=before)
    writer.write("n4", {"overrides": {"text": "devices {\n}\n"}}, kind=RESOLVE, covers={"overrides": [one, two]}, reason="the right one")
    before = dict(writer.replica.fold.clock)
    writer.write("n1", {"wwid/3600a": {"alias": "vmpool"}}, after=before)
    writer.write("n2", {"wwid/3600a": {"alias": "backup"}}, after=before)
    writer.write("n2", {CLUSTER_KEY: {"id": "mine"}}, reason="beyond its rights")


def go_on(writer: Writer) -> None:
    """What is there of the second revision only, above the floor: edits by a process without a proven past, members that are gone."""
    writer.write("n2", {"wwid/3600b": {"alias": "late"}}, kind=LATE, covers={"wwid/3600b": []}, reason="late: n2", life="one")
    writer.write("n3", {MEMBER_PREFIX + "n3": member_value(member("n3", Role.OBSERVER, MemberState.LEFT))}, reason="leave")
    writer.write("n1", {MEMBER_PREFIX + "n4": member_value(member("n4", Role.ADMIN, MemberState.RETIRED))}, reason="retired n4")
    writer.write("n2", {"wwid/3600d": {"alias": "delta"}}, life="one")
    writer.write("n2", {"wwid/3600d": None}, life="one", reason="deleted, not yet stable")


def puzzle(writer: Writer) -> None:
    """What only a later version understands."""
    writer.write("n1", {"storage/san": {"type": "lvm"}}, more={"colour": {"of": ["a", "later", "version"]}})
    writer.write("n1", {"storage/san": {"type": "zfs"}}, kind="merge-9", reason="of a later version")


def health() -> bytes:
    """The stream of n2."""
    own = OwnStream("n2", actor("n2"), 3, key("n2").sign, 0)
    own.clock_tag = b"golden!!"
    own.report([Cell(MULTIPATH_MAP, "3600a", "degraded", ("path-lost",), {"paths": 2}, {"latency": 1.5}, 5.0)], 0)
    return encode_stream(own.stream)


def birth() -> bytes:
    """What the node n1 keeps of its own beginning."""
    return encode_birth(Birth("n1", actor("n1"), CLUSTER, "golden"))


def upgrade(path: Path, revision: str) -> None:
    """Make an empty file of that schema."""
    config = Config()
    config.set_main_option("script_location", str(Path(store.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def make_first(directory: Path) -> None:
    """A database of revision 0001."""
    writer = OldWriter()
    begin(writer)
    puzzle(writer)
    path = directory / FILE_NAME
    upgrade(path, "0001")
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [("node", birth()), ("epoch", EPOCH)])
        rows = [(s.edit.actor, s.edit.counter, s.raw) for s in writer.edits]
        connection.executemany("INSERT INTO edits (actor, counter, raw) VALUES (?, ?, ?)", rows)
        connection.execute("INSERT INTO health VALUES (?, ?, ?)", ("n2", OLD_HEALTH, 5.0))
        connection.execute("INSERT INTO records VALUES (?, ?, ?)", ("journal", "intent", b"\x00kept"))
    connection.close()


async def make_second(directory: Path) -> None:
    """A database of revision 0002."""
    writer = Writer()
    begin(writer)
    database = await Database.open(directory)
    try:
        await database.put_meta({"node": birth(), "epoch": EPOCH})
        stable = dict(writer.replica.fold.clock)
        go_on(writer)
        await database.commit_edits(writer.edits)
        collection = writer.replica.collect(stable)
        assert collection is not None
        await database.rebase(encode_base(collection.base), collection.gone)
        writer.replica.collected(collection)
        before = len(writer.edits)
        puzzle(writer)
        await database.commit_edits(writer.edits[before:])
        await database.save_streams({"n2": health()}, (), 5.0)
        await DatabaseRecords(database).change("journal", {"intent": b"\x00kept"})
        await database.append_events([(n, 1_700_000_000.0 + n, b'{"event": %d}' % n) for n in range(1, 4)])
    finally:
        await database.close()
    (directory / "lock").unlink()


def databases(directory: Path) -> None:
    """Make those of the golden databases that are not there."""
    for name in ("database-0001", "database-0002"):
        target = directory / name
        if target.exists():
            print(f"{target}: there already, left as it is")
            continue
        target.mkdir(parents=True)
        if name == "database-0001":
            make_first(target)
        else:
            asyncio.run(make_second(target))
        print(f"{target}: made")


def main(arguments: Sequence[str]) -> None:
    """Make the golden files of one sort."""
    from scripts import golden_frames  # which builds on this module

    match arguments:
        case ["database" | "frames" as what, *where] if len(where) <= 1:
            directory = Path(where[0]) if where else DIRECTORY
            databases(directory) if what == "database" else golden_frames.make(directory)
        case _:
            sys.exit("usage: python -m scripts.golden database|frames [DIRECTORY]")


if __name__ == "__main__":
    main(sys.argv[1:])
