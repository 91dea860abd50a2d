"""Making a node: `init` starts a cluster, `join` enters one; without an agent, once per node, and undone as a whole if it fails."""

import asyncio
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.birth import Birth, encode_birth
from agent.settings import Settings
from gossip.codec import VERSION_MAX, VERSION_MIN
from gossip.join import request_join
from gossip.join_messages import JoinReply, JoinRequest
from gossip.keys import NodeKeys, verify
from gossip.tokens import Token
from store.clocks import ACTOR_BYTES
from store.database import FILE_NAME, Database
from store.edits import Edit, encode_body, seal
from store.errors import UsageError
from store.members import MEMBER_PREFIX, Member, MemberState, Role, is_node_name, member_value
from store.replica import CLUSTER_KEY, Replica

JOIN_TIMEOUT_SECONDS = 15.0


def init(settings: Settings, name: str, cluster: str) -> None:
    """Make keys, database and a new cluster with this node as its first admin; refuses if one exists."""
    check_names(name, cluster)
    _refuse_if_made(settings)
    asyncio.run(_undoing(settings, lambda keys: _init(settings, keys, name, cluster)))


def join(settings: Settings, token_text: str, name: str) -> None:
    """Make keys, enter the cluster that the token names, and keep what its sponsor said."""
    check_names(name, "x")
    token = Token.parse(token_text, now=time.time())
    _refuse_if_made(settings)
    asyncio.run(_undoing(settings, lambda keys: _join(settings, keys, token, name)))


def check_names(name: str, cluster: str) -> None:
    """UsageError for a name that no node or cluster may have."""
    if not is_node_name(name):
        raise UsageError(f"{name!r} is no node name: letters, digits and '-', at most 63", code="bad-name", hint="name it with --name")
    if not cluster or len(cluster) > 63 or not cluster.isprintable():
        raise UsageError(f"{cluster!r} is no cluster name: 1 to 63 printable characters", code="bad-name")


def advertised(listen: str, advertise: str | None) -> str:
    """The endpoint that others are told: the configured one, or the listening one with this host's address in place of a wildcard."""
    if advertise is not None:
        return advertise
    host, _, port = listen.removeprefix("tcp://").rpartition(":")
    if host not in ("0.0.0.0", "*", "[::]"):
        return listen
    return f"tcp://{_own_address()}:{port}"


def _own_address() -> str:
    """The address of the interface with the default route; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _refuse_if_made(settings: Settings) -> None:
    for path in (settings.node.state_dir / FILE_NAME, settings.node.keys_dir / "mesh.key"):
        if path.exists():
            raise UsageError(
                f"{path}: this node was set up before; nothing was changed",
                code="already-member",
                hint=f"to start over, stop the agent and move {settings.node.state_dir} and {settings.node.keys_dir} away",
            )


async def _undoing(settings: Settings, make: Callable[[NodeKeys], Awaitable[None]]) -> None:
    """Make the node with fresh keys; if that fails, leave the directories as they were."""
    keys = NodeKeys.generate()
    keys.save(settings.node.keys_dir)
    try:
        await make(keys)
    except BaseException:
        _forget(settings.node.keys_dir, ("mesh.key", "join.key", "signing.key"))
        _forget(settings.node.state_dir, [f"{FILE_NAME}{suffix}" for suffix in ("", "-wal", "-shm")] + ["lock"])
        raise


def _forget(directory: Path, names: "list[str] | tuple[str, ...]") -> None:
    for name in names:
        (directory / name).unlink(missing_ok=True)


async def _init(settings: Settings, keys: NodeKeys, name: str, cluster: str) -> None:
    actor, cluster_id = secrets.token_bytes(ACTOR_BYTES), secrets.token_hex(16)
    member = Member(
        name,
        actor,
        keys.mesh_public,
        keys.signing_public,
        advertised(settings.gossip.listen, settings.gossip.advertise),
        Role.ADMIN,
        MemberState.JOINED,
    )
    edit = Edit(
        actor=actor,
        counter=1,
        context={},
        lamport=1,
        author=name,
        wall=time.time(),
        changes={CLUSTER_KEY: {"id": cluster_id, "name": cluster}, MEMBER_PREFIX + name: member_value(member)},
        reason="init",
    )
    body = encode_body(edit)
    signed = seal(edit, body, keys.sign(body))
    Replica(cluster_id, verify).commit(signed)
    database = await Database.open(settings.node.state_dir)
    try:
        await database.commit_edits([signed])
        await database.put_meta({"node": encode_birth(Birth(name, actor, cluster_id, cluster))})
    finally:
        await database.close()


async def _join(settings: Settings, keys: NodeKeys, token: Token, name: str) -> None:
    actor = secrets.token_bytes(ACTOR_BYTES)
    request = JoinRequest(
        version_min=VERSION_MIN,
        version_max=VERSION_MAX,
        token_id=token.id,
        secret=token.secret,
        name=name,
        actor=actor,
        curve_key=keys.mesh_public,
        signing_key=keys.signing_public,
        endpoint=advertised(settings.gossip.listen, settings.gossip.advertise),
    )
    database = await Database.open(settings.node.state_dir)
    try:
        reply = await request_join(token, request, JOIN_TIMEOUT_SECONDS)
        await database.put_meta({"node": encode_birth(Birth(name, actor, reply.cluster, reply.cluster_name, _bootstrap(reply)))})
    finally:
        await database.close()


def _bootstrap(reply: JoinReply) -> tuple[Member, ...]:
    """Those whom the sponsor named, trusted until the registry itself is here."""
    return tuple(Member(m.name, m.actor, m.curve_key, m.signing_key, m.endpoint, Role.OBSERVER, MemberState.JOINED) for m in reply.members)
