"""The agent's process: opens everything, runs it in one task group, closes it in order.

Order of a start: settings and keys, the database (locked), the boot epoch (durable before anything is sent), the local socket and the peer
sockets (so that an occupied one stops the start before the cluster hears of it), then the loops. SIGTERM and SIGINT end the loops, then the
commit in flight, then the sockets, then the database.
"""

import asyncio
import contextlib
import dataclasses
import gc
import random
import secrets
import signal
import socket
from collections.abc import AsyncIterator

import structlog
import uvloop

from agent.alarms import Alarms
from agent.api.app import make_app
from agent.api.server import LocalServer, bind_socket, make_server
from agent.birth import Birth, decode_birth
from agent.bootstrap import advertised
from agent.health_keeper import HealthKeeper
from agent.host import Host
from agent.logging import configure
from agent.members import Members
from agent.node import Node
from agent.notify import notify
from agent.picture import Picture
from agent.settings import Settings
from agent.writes import Writer
from gossip.engine import Engine, Identity
from gossip.events import Alarm, Publish
from gossip.join import JoinServer
from gossip.keys import NodeKeys, verify
from gossip.runner import Runner, boottime_ms
from gossip.sockets import check_file_limit
from gossip.tokens import TokenBook
from gossip.transport import TransportEvent
from gossip.zeromq import ZeroMQTransport
from store.database import FILE_NAME, Database, DatabaseRecords
from store.edits import EditError, decode_edit
from store.errors import PathmeshError, UnavailableError, UsageError
from store.health import HealthStream, decode_stream
from store.replica import Replica

UNANSWERED_QUESTIONS = 12
"""A poll asks a handful of questions, each twice: so many time-outs may pass before it is late."""

log = structlog.get_logger("agent")


def run(settings: Settings) -> int:
    """Run the agent until SIGTERM or SIGINT; returns the exit status. PathmeshError for what keeps it from starting."""
    configure(settings.log)
    uvloop.run(_main(settings))
    return 0


async def _main(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with opened(settings) as (node, server, local_socket, keeper):
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(node.runner.run(), name="gossip"),
                    group.create_task(node.host.run(), name="host"),
                    group.create_task(keeper.run(), name="health-keeper"),
                ]
                serving = group.create_task(server.serve(sockets=[local_socket]), name="api")
                gc.collect()
                gc.freeze()
                notify("READY=1")
                log.info("started", node=node.birth.name, cluster=node.birth.cluster_name, epoch=node.runner.engine.identity.epoch)
                await stopping.wait()
                notify("STOPPING=1")
                log.info("stopping")
                server.finish()
                for task in tasks:
                    task.cancel()
                await asyncio.wait([serving], timeout=3)
                serving.cancel()
        except* PathmeshError as faults:
            raise _first(faults) from None


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[tuple[Node, LocalServer, socket.socket, HealthKeeper]]:
    """Everything open, in order; closed in the opposite order."""
    async with contextlib.AsyncExitStack() as stack:
        if not (settings.node.state_dir / FILE_NAME).exists():
            decode_birth(None, settings)  # raises: and no empty database is left behind that looks like a node's
        database = await Database.open(settings.node.state_dir)
        stack.push_async_callback(database.close)
        loaded = await database.load()
        birth = decode_birth(loaded.meta.get("node"), settings)
        keys = _keys(settings)
        epoch = int.from_bytes(loaded.meta.get("epoch", b""), "big") + 1
        await database.put_meta({"epoch": epoch.to_bytes(8, "big")})
        replica = _replica(birth, loaded.log, settings)
        check_file_limit(len(replica.registry.active))

        engine = Engine(
            Identity(birth.name, birth.actor, epoch, secrets.token_bytes(16), keys.sign, verify, birth.bootstrap),
            replica,
            _streams(loaded.streams),
            random.Random(secrets.randbits(64)),
            boottime_ms(),
            pull_ms=settings.gossip.pull_interval_ms,
            snapshot_within_ms=2 * settings.multipath.poll_interval_ms + UNANSWERED_QUESTIONS * settings.multipath.query_timeout_ms,
        )
        picture, alarms = Picture(engine), Alarms()
        if settings.web.listen is not None:
            alarms.raise_alarm(
                "web-not-served", "web.listen is set, but this version has no web page", "remove web.listen from the settings"
            )

        local_socket = bind_socket(settings.api)
        stack.callback(_remove_socket, local_socket, settings)

        def received(event: TransportEvent) -> None:
            runner.dispatch(event)

        transport = ZeroMQTransport(keys, settings.gossip.listen, engine.allowed, received)
        stack.callback(transport.close)
        records = DatabaseRecords(database)
        host = Host(settings, birth.name, records, picture, engine)
        keeper = HealthKeeper(database, engine)

        def published(change: Publish) -> None:
            picture.news(change)
            host.news(change)
            keeper.news(change)

        def alarmed(alarm: Alarm) -> None:
            alarms.raise_alarm(alarm.code, alarm.message)

        runner = Runner(engine, transport, database, published=published, alarmed=alarmed)
        stack.push_async_callback(runner.stop)
        host.attach(runner)
        writer = Writer(engine, runner, picture)
        members = Members(engine, writer, picture, TokenBook(records), birth)
        join_server = JoinServer(settings.gossip.join_listen, keys, members.sponsor)
        stack.push_async_callback(join_server.close)
        members.join_endpoint = advertised(settings.gossip.join_listen, settings.gossip.join_advertise)
        members.join_key = keys.join_public

        def counters() -> dict[str, int]:
            return {**engine.counters, **{f"transport_{name}": value for name, value in dataclasses.asdict(transport.counters).items()}}

        node = Node(settings, birth, runner, picture, writer, host, members, alarms, counters)
        server = make_server(make_app(node))
        yield node, server, local_socket, keeper


def _first(faults: BaseExceptionGroup[PathmeshError]) -> PathmeshError:
    """One of the errors of a group, which may hold further groups."""
    found: BaseException = faults
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, PathmeshError)
    return found


def _keys(settings: Settings) -> NodeKeys:
    """The keys of a node that has its database: without them it cannot be who it is."""
    try:
        return NodeKeys.load(settings.node.keys_dir)
    except UsageError as fault:
        if fault.code != "key-missing":
            raise
        hint = f"bring them back from a backup; else move {settings.node.state_dir} away and join again"
        raise UsageError(fault.message, code=fault.code, hint=hint) from None


def _replica(birth: Birth, log_: tuple[bytes, ...], settings: Settings) -> Replica:
    try:
        return Replica(birth.cluster_id, verify, (decode_edit(raw) for raw in log_))
    except (EditError, ValueError) as fault:
        raise UnavailableError(
            f"{settings.node.state_dir}: the log of edits is damaged: {fault}",
            code="database-corrupt",
            hint="keep the directory; move it and the keys away and join this node again",
        ) from None


def _streams(rows: dict[str, bytes]) -> dict[str, HealthStream]:
    """The health of other nodes as it was when this one stopped; what cannot be read is asked for again."""
    streams = {}
    for node, blob in rows.items():
        try:
            streams[node] = decode_stream(blob, boottime_ms())
        except ValueError as fault:
            log.warning("health row dropped", node=node, why=str(fault))
    return streams


def _remove_socket(local_socket: socket.socket, settings: Settings) -> None:
    local_socket.close()
    with contextlib.suppress(OSError):
        settings.api.socket.unlink()
