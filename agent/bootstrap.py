"""Making a node: `init` starts a cluster, `join` enters one; without an agent, once per node, and undone as a whole if it fails."""

import asyncio
import contextlib
import secrets
import socket
import time
from enum import Enum
from pathlib import Path

from agent.birth import Birth, encode_birth
from agent.guard import FILE_NAME as GUARD_NAME
from agent.guard import Guard, write_guard
from agent.settings import Settings
from gossip.codec import VERSION_MAX, VERSION_MIN
from gossip.join import request_join
from gossip.join_messages import JoinReply, JoinRequest
from gossip.keys import MESH_FILE, NodeKeys, verify
from gossip.tokens import Token
from store.clocks import ACTOR_BYTES
from store.database import FILE_NAME, Database
from store.edits import Edit, encode_body, seal
from store.errors import PathmeshError, UnavailableError, UsageError
from store.level import LEVEL
from store.members import MEMBER_PREFIX, Member, MemberState, Role, is_node_name, member_value
from store.replica import CLUSTER_KEY, Replica

JOIN_TIMEOUT_SECONDS = 15.0
_JOINING = "joining"
_UNANSWERED = frozenset({"join-timeout", "join-failed"})
"""With these it is open whether the sponsor registered the node."""


class _Stage(Enum):
    """How far a node has come."""

    NOTHING = "never made"
    JOINING = "asked to join, without an answer"
    MADE = "a member"


def init(settings: Settings, name: str, cluster: str) -> None:
    """Make keys, database and a new cluster with this node as its first admin; refuses if one exists."""
    check_names(name, cluster)
    _refuse_if_made(settings, asyncio.run(_stage(settings)))
    asyncio.run(_init(settings, name, cluster))


def join(settings: Settings, token_text: str, name: str) -> None:
    """Make keys, enter the cluster that the token names, and keep what its sponsor said.

    If the sponsor's answer is lost, the node may be registered already: keys and actor are kept, and the next `join` goes on with them.
    """
    check_names(name, "x")
    token = Token.parse(token_text, now=time.time())
    stage = asyncio.run(_stage(settings))
    if stage is not _Stage.JOINING:
        _refuse_if_made(settings, stage)
        NodeKeys.generate().save(settings.node.keys_dir)
    asyncio.run(_join(settings, token, name))


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


def _refuse_if_made(settings: Settings, stage: _Stage) -> None:
    directory = settings.node.state_dir
    traces = (directory / GUARD_NAME, settings.node.keys_dir / MESH_FILE)
    made = directory / FILE_NAME if stage is not _Stage.NOTHING else next((path for path in traces if path.exists()), None)
    if made is not None:
        raise UsageError(
            f"{made}: this node was set up before; nothing was changed",
            code="already-member",
            hint=f"to start over, stop the agent and move {settings.node.state_dir} and {settings.node.keys_dir} away",
        )


def _undo(settings: Settings, fault: BaseException) -> None:
    """Leave the directories as they were."""
    _forget(settings.node.keys_dir, ("mesh.key", "join.key", "signing.key"))
    if getattr(fault, "code", "") != "already-running":  # else what is there is another process's, which was faster
        _forget(settings.node.state_dir, [f"{FILE_NAME}{suffix}" for suffix in ("", "-wal", "-shm")] + ["lock", GUARD_NAME])


def _forget(directory: Path, names: "list[str] | tuple[str, ...]") -> None:
    for name in names:
        with contextlib.suppress(OSError):
            (directory / name).unlink(missing_ok=True)


async def _init(settings: Settings, name: str, cluster: str) -> None:
    keys = NodeKeys.generate()
    keys.save(settings.node.keys_dir)
    try:
        await _found(settings, keys, name, cluster)
    except BaseException as fault:
        _undo(settings, fault)
        raise


async def _found(settings: Settings, keys: NodeKeys, name: str, cluster: str) -> None:
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
        birth = Birth(name, actor, cluster_id, cluster)
        await database.put_meta({"node": encode_birth(birth)})
        write_guard(settings.node.state_dir, Guard(birth, least=1, ceiling=1, members=(member,)))
    finally:
        await database.close()


async def _stage(settings: Settings) -> _Stage:
    """How far this node's database says it has come; one that says nothing is as good as none."""
    if not (settings.node.state_dir / FILE_NAME).exists():
        return _Stage.NOTHING
    try:
        database = await Database.open(settings.node.state_dir)
    except UnavailableError as fault:
        if fault.code == "already-running":
            return _Stage.MADE
        raise
    try:
        loaded = await database.load()
    finally:
        await database.close()
    if "node" in loaded.meta or loaded.log:
        return _Stage.MADE
    return _Stage.JOINING if _JOINING in loaded.meta else _Stage.NOTHING


async def _join(settings: Settings, token: Token, name: str) -> None:
    """Ask the sponsor. Undone if it is certain that nobody registered this node, now or in an earlier try."""
    certain = True
    try:
        keys = NodeKeys.load(settings.node.keys_dir)
        database = await Database.open(settings.node.state_dir)
        try:
            earlier = (await database.load()).meta.get(_JOINING)
            actor = earlier or secrets.token_bytes(ACTOR_BYTES)
            await database.put_meta({_JOINING: actor})
            certain = False
            try:
                reply = await request_join(token, _request(settings, keys, token, name, actor), JOIN_TIMEOUT_SECONDS)
            except PathmeshError as fault:
                certain = earlier is None and fault.code not in _UNANSWERED
                raise
            birth = Birth(name, actor, reply.cluster, reply.cluster_name, _bootstrap(reply))
            await database.put_meta({"node": encode_birth(birth)})
            write_guard(settings.node.state_dir, Guard(birth, members=birth.bootstrap))
        finally:
            await database.close()
    except BaseException as fault:
        if certain:
            _undo(settings, fault)
        raise


def _request(settings: Settings, keys: NodeKeys, token: Token, name: str, actor: bytes) -> JoinRequest:
    return JoinRequest(
        version_min=VERSION_MIN,
        version_max=VERSION_MAX,
        token_id=token.id,
        secret=token.secret,
        name=name,
        actor=actor,
        curve_key=keys.mesh_public,
        signing_key=keys.signing_public,
        endpoint=advertised(settings.gossip.listen, settings.gossip.advertise),
        level=LEVEL,
    )


def _bootstrap(reply: JoinReply) -> tuple[Member, ...]:
    """Those whom the sponsor named, trusted until the registry itself is here."""
    return tuple(Member(m.name, m.actor, m.curve_key, m.signing_key, m.endpoint, Role.OBSERVER, MemberState.JOINED) for m in reply.members)
