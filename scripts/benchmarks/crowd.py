"""Many members in one process: whole engines over real ZeroMQ transports that join as any node does, with neither hosts nor databases."""

import asyncio
import random
import secrets
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from agent.bootstrap import advertised
from gossip.codec import VERSION_MAX, VERSION_MIN
from gossip.engine import Engine, Identity
from gossip.join import JoinRequest, request_join
from gossip.keys import NodeKeys, verify
from gossip.runner import Runner, boottime_ms
from gossip.tokens import Token
from gossip.transport import TransportEvent
from gossip.zeromq import ZeroMQTransport
from store.cells import MULTIPATH_MAP, Cell
from store.clocks import ACTOR_BYTES
from store.edits import SignedEdit
from store.members import Member, MemberState, Role
from store.replica import Replica

JOIN_SECONDS = 30.0
SETTLE_SECONDS = 180.0


class Memory:
    """The log of a member that will never start again."""

    async def commit_edits(self, batch: Iterable[SignedEdit]) -> int:
        return time.monotonic_ns()


@dataclass
class CrowdMember:
    """One member and the cells that it reports."""

    runner: Runner
    transport: ZeroMQTransport
    moved: asyncio.Event
    cells: list[Cell] = field(default_factory=list)

    def change(self, index: int) -> None:
        """Let one map lose a path, or get it back."""
        cell = self.cells[index]
        degraded = cell.state != "degraded"
        paths = dict(cell.detail["paths"]) | {"failed": int(degraded)}
        self.cells[index] = msgspec.structs.replace(
            cell,
            state="degraded" if degraded else "healthy",
            reasons=("path-failed",) if degraded else (),
            detail=dict(cell.detail) | {"paths": paths},
            observed_at=time.time(),
        )
        self.runner.observe(self.cells)


def crowd(pipe: Connection, token: str, listens: list[str], pattern: str, maps: int) -> None:
    """The process: members named `m1` …, each reporting the maps that the node `pattern` reports, once it reports so many.

    Says "ready" when every member has every other one's cells. Then each (member, index) that comes is one change; None ends it.
    """
    try:
        asyncio.run(_crowd(pipe, Token.parse(token, now=time.time()), listens, pattern, maps))
    except (TimeoutError, KeyboardInterrupt) as fault:
        sys.exit(f"crowd: {fault!r}")


async def _crowd(pipe: Connection, token: Token, listens: list[str], pattern: str, maps: int) -> None:
    members = [await _join(token, f"m{number}", listen) for number, listen in enumerate(listens, 1)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(member.runner.run()) for member in members]
        async with asyncio.timeout(SETTLE_SECONDS):
            for member in members:
                member.cells = await _maps(member, pattern, maps)
                member.runner.observe(member.cells)
            for member in members:
                for number in range(1, len(members) + 1):
                    await _maps(member, f"m{number}", maps)
        pipe.send("ready")
        done = asyncio.Event()

        def asked() -> None:
            order: Any = pipe.recv()
            if order is None:
                done.set()
            else:
                member, index = order
                members[member].change(index)

        asyncio.get_running_loop().add_reader(pipe.fileno(), asked)
        await done.wait()
        for task in tasks:
            task.cancel()
    for member in members:
        await member.runner.stop()
        member.transport.close()


async def _maps(member: CrowdMember, node: str, least: int) -> list[Cell]:
    """The healthy maps of a node, once the member knows so many."""
    while True:
        member.moved.clear()
        stream = member.runner.engine.exchange.streams.get(node)
        if stream is not None and len(stream.entries) >= least:
            found = [cell.whole() for cell in stream.cells() if cell.kind == MULTIPATH_MAP and cell.state == "healthy"]
            if len(found) >= least:
                return found
        await member.moved.wait()


async def _join(token: Token, name: str, listen: str) -> CrowdMember:
    keys, actor = NodeKeys.generate(), secrets.token_bytes(ACTOR_BYTES)
    request = JoinRequest(
        version_min=VERSION_MIN,
        version_max=VERSION_MAX,
        token_id=token.id,
        secret=token.secret,
        name=name,
        actor=actor,
        curve_key=keys.mesh_public,
        signing_key=keys.signing_public,
        endpoint=advertised(listen, None),
    )
    reply = await request_join(token, request, JOIN_SECONDS)
    known = tuple(Member(m.name, m.actor, m.curve_key, m.signing_key, m.endpoint, Role.OBSERVER, MemberState.JOINED) for m in reply.members)
    engine = Engine(
        Identity(name, actor, 1, secrets.token_bytes(16), keys.sign, verify, known),
        Replica(reply.cluster, verify, ()),
        {},
        random.Random(secrets.randbits(64)),
        boottime_ms(),
    )

    def received(event: TransportEvent) -> None:
        runner.dispatch(event)

    transport = ZeroMQTransport(keys, listen, engine.allowed, received)
    moved = asyncio.Event()
    runner = Runner(engine, transport, Memory(), published=lambda _: moved.set(), alarmed=lambda alarm: print(alarm, file=sys.stderr))
    return CrowdMember(runner, transport, moved)
