"""The agent's process: opens everything, runs it in one task group, closes it in order.

Order of a start: what is on the disk (see `agent.recovery`: the database is locked, the boot epoch durable before anything is sent), the
local socket and the peer sockets (so that an occupied one stops the start before the cluster hears of it), then the loops. SIGTERM and
SIGINT end the loops, then the commit in flight, then the guard file gets its exact numbers, then the sockets and the database are closed.
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
from agent.applied_clock import AppliedClock
from agent.bootstrap import advertised
from agent.departure import META, Departure
from agent.event_log import EventLog
from agent.event_sources import EventSources
from agent.guarded_log import GuardedLog
from agent.health_keeper import HealthKeeper
from agent.history import History
from agent.host import Host
from agent.levels import Levels
from agent.logging import configure
from agent.members import Members
from agent.node import Node
from agent.notify import notify
from agent.picture import Picture
from agent.recovery import open_state
from agent.settings import Settings
from agent.skew import ClockSkew
from agent.web.app import WebApp
from agent.web.files import load_files
from agent.web.service import WebService, forget_kept_sessions
from agent.writes import Writer
from gossip.engine import Engine, Identity
from gossip.events import Alarm, Publish
from gossip.join import JoinServer
from gossip.keys import verify
from gossip.recording import Options, Recording, image_of, take_image
from gossip.runner import Runner, boottime_ms
from gossip.sockets import check_file_limit
from gossip.tokens import TokenBook
from gossip.transport import Knocked, TransportEvent
from gossip.zeromq import ZeroMQTransport
from store.database import DatabaseRecords
from store.errors import PathmeshError
from store.health import HealthStream, decode_stream
from store.limits import limit
from store.members import MEMBER_PREFIX

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
                    group.create_task(node.departure.run(), name="departure"),
                    group.create_task(node.sources.run(), name="events"),
                ]
                serving = [
                    group.create_task(server.serve(sockets=[local_socket]), name="api"),
                    group.create_task(node.web.run(), name="web"),
                ]
                gc.collect()
                gc.freeze()
                notify("READY=1")
                log.info("started", node=node.birth.name, cluster=node.birth.cluster_name, epoch=node.runner.engine.identity.epoch)
                await stopping.wait()
                notify("STOPPING=1")
                log.info("stopping")
                server.finish()
                node.web.finish()
                for task in tasks:
                    task.cancel()
                await asyncio.wait(serving, timeout=3)
                for task in serving:
                    task.cancel()
        except* PathmeshError as faults:
            raise _first(faults) from None


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[tuple[Node, LocalServer, socket.socket, HealthKeeper]]:
    """Everything open, in order; closed in the opposite order."""
    async with contextlib.AsyncExitStack() as stack:
        state = await open_state(settings)
        birth, keys, database, guard = state.birth, state.keys, state.database, state.keeper
        stack.push_async_callback(database.close)
        events = EventLog(database)
        await events.open()
        stack.push_async_callback(events.close)
        check_file_limit(len(guard.guard.members))

        chance, now_ms, streams = random.Random(secrets.randbits(64)), boottime_ms(), _streams(state.streams)
        options = Options(
            settings.gossip.pull_interval_ms,
            2 * settings.multipath.poll_interval_ms + UNANSWERED_QUESTIONS * settings.multipath.query_timeout_ms,
        )
        recording = Recording(limit("recording_bytes"), lambda at_ms: None if runner.rebasing else image_of(engine, chance, at_ms, options))
        sign, nonce = recording.signing(keys.sign), secrets.token_bytes(16)
        identity = Identity(birth.name, birth.actor, state.epoch, nonce, sign, verify, birth.bootstrap, state.restored)
        recording.begin(take_image(identity, state.replica, streams, chance, now_ms, options))
        engine = Engine(
            identity, state.replica, streams, chance, now_ms, pull_ms=options.pull_ms, snapshot_within_ms=options.snapshot_within_ms
        )
        # Pushed first, so done last of what follows: once nothing is written any more.
        stack.push_async_callback(lambda: guard.close(engine.replica.fold.clock.get(birth.actor, 0)))
        picture, alarms, skew = Picture(engine), Alarms(), ClockSkew(engine)
        for notice in state.notices:
            alarms.raise_alarm(*notice)

        local_socket = bind_socket(settings.api)
        stack.callback(_remove_socket, local_socket, settings)

        def received(event: TransportEvent) -> None:
            runner.dispatch(event)

        def knocked(key: str) -> None:
            if engine.concerns(key):
                runner.dispatch(Knocked(key))

        transport = ZeroMQTransport(keys, settings.gossip.listen, engine.allowed, received, knocked=knocked)
        stack.callback(transport.close)
        records = DatabaseRecords(database)
        applied_clock = AppliedClock(records, guard)
        host = Host(settings, birth.name, records, applied_clock, picture, engine, skew.known)
        keeper = HealthKeeper(database, engine)

        def published(change: Publish) -> None:
            picture.news(change)
            events.stir()
            host.news(change)
            keeper.news(change)
            skew.news(change)
            departure.news(change)
            sources.news(change)
            if change.settled:
                guard.settled(engine.replica.fold.clock, engine.replica.knows)
            if change.settled or any(key.startswith(MEMBER_PREFIX) for key in change.keys):
                guard.follow(engine.replica.registry.active)

        def alarmed(alarm: Alarm) -> None:
            alarms.raise_alarm(alarm.code, alarm.message)
            sources.alarmed(alarm)

        guarded = GuardedLog(database, guard, applied_clock)
        runner = Runner(engine, transport, guarded, published=published, alarmed=alarmed, recording=recording)
        stack.push_async_callback(runner.stop)
        host.attach(runner)
        writer = Writer(engine, runner, picture)
        departure = Departure(engine, runner, writer, host, database, done=META in state.meta)
        members = Members(engine, writer, picture, TokenBook(records), birth)
        join_server = JoinServer(settings.gossip.join_listen, keys, members.sponsor)
        stack.push_async_callback(join_server.close)
        members.join_endpoint = advertised(settings.gossip.join_listen, settings.gossip.join_advertise)
        members.join_key = keys.join_public

        def counters() -> dict[str, int]:
            return {**engine.counters, **{f"transport_{name}": value for name, value in dataclasses.asdict(transport.counters).items()}}

        web = WebService(settings.web.listen, birth.actor.hex()[:8])
        await forget_kept_sessions(records)
        levels = Levels(engine, writer, picture)
        history, sources = History(engine, picture, writer, database), EventSources(engine, picture, events, members.standing)
        acting = (runner, picture, writer, host, members, alarms, departure, levels, skew)
        node = Node(settings, birth, *acting, counters, history, events, sources, web)
        api = make_app(node)
        server = make_server(api, events.end_streams)
        if web.listen is not None:
            web.attach(WebApp(web, api, load_files()), events.end_streams)
        sources.started()
        await events.save()
        stack.callback(sources.stopped)
        for notice in state.notices:
            sources.alarmed(Alarm(notice.code, notice.message))
        yield node, server, local_socket, keeper


def _first(faults: BaseExceptionGroup[PathmeshError]) -> PathmeshError:
    """One of the errors of a group, which may hold further groups."""
    found: BaseException = faults
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, PathmeshError)
    return found


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
