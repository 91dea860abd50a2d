"""What is written into the database of a node that does not run, as if the node had made or heard it."""

import contextlib
from collections.abc import AsyncIterator, Mapping

from agent.birth import Birth, decode_birth
from agent.guard import Guard, write_guard
from agent.settings import Settings
from gossip.keys import NodeKeys, verify
from scripts.cluster.nodes import free_ports
from store.database import Database
from store.document import Options
from store.edits import Edit, SignedEdit, decode_edit, encode_body, frozen_changes, seal
from store.members import MEMBER_PREFIX, Member, MemberState, Role, member_value
from store.replica import Replica


class Planting:
    """A node that was made and does not run. Edits are signed with real keys, so the node takes them for what they say."""

    def __init__(self, database: Database, birth: Birth, own: NodeKeys, replica: Replica, wall: float) -> None:
        self.database = database
        self.birth = birth
        self.replica = replica
        self._wall = wall
        self._authors = {birth.name: (birth.actor, own)}
        self.edits: list[SignedEdit] = []

    def actor(self, name: str) -> bytes:
        """The actor of a member that joined here; the node's own too."""
        return self._authors[name][0]

    def join(self, name: str, role: Role) -> NodeKeys:
        """Make somebody a member; its keys."""
        keys, actor = NodeKeys.generate(), name.encode().ljust(16, b".")
        self._authors[name] = (actor, keys)
        endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
        member = Member(name, actor, keys.mesh_public, keys.signing_public, endpoint, role, MemberState.JOINED)
        self.write({self.birth.name: {MEMBER_PREFIX + name: member_value(member)}})
        return keys

    def write(self, edits: Mapping[str, Mapping[str, Options | None]]) -> None:
        """What the named members change, none of them knowing of the others' edits."""
        clock, lamport = dict(self.replica.fold.clock), self.replica.fold.lamport
        for signed in [self._edit(name, changes, clock, lamport) for name, changes in edits.items()]:
            self.replica.commit(signed)
            self.edits.append(signed)

    def _edit(self, name: str, changes: Mapping[str, Options | None], clock: Mapping[bytes, int], lamport: int) -> SignedEdit:
        actor, keys = self._authors[name]
        made = Edit(actor, clock.get(actor, 0) + 1, clock, lamport + 1, name, self._wall, frozen_changes(changes), f"by {name}")
        body = encode_body(made)
        return seal(made, body, keys.sign(body))


@contextlib.asynccontextmanager
async def planting(settings: Settings, wall: float) -> AsyncIterator[Planting]:
    """Opens a node's database; what was planted, at this wall time, is in it and in its guard afterwards."""
    database = await Database.open(settings.node.state_dir)
    try:
        loaded = await database.load()
        birth = decode_birth(loaded.meta.get("node"), settings)
        replica = Replica(birth.cluster_id, verify, (decode_edit(raw) for raw in loaded.log))
        planted = Planting(database, birth, NodeKeys.load(settings.node.keys_dir), replica, wall)
        yield planted
        await database.commit_edits(planted.edits)
        made, epoch = replica.fold.clock[birth.actor], int.from_bytes(loaded.meta.get("epoch", b""), "big")
        write_guard(settings.node.state_dir, Guard(birth, epoch, made, made, tuple(replica.registry.active)))
    finally:
        await database.close()
