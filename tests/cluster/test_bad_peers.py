"""Strangers and members that send nonsense: counted, shut out, and without effect on whoever asks the node."""

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from gossip import codec
from gossip.keys import NodeKeys
from gossip.messages import Delta, Digest, Hello, Ping
from gossip.transport import Frames, MessageReceived, PeerUp, TransportEvent
from gossip.zeromq import ZeroMQTransport
from scripts.cluster.nodes import Node, wait_for
from scripts.cluster.sample import LUN_A
from store.cells import MULTIPATH_APPLY, MULTIPATH_MAP, NODE_FACTS, Cell
from store.health import OwnStream
from store.limits import limit

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, nodes_in: Any) -> Iterator[tuple[Node, Node]]:
    """Two nodes; the first has a host with a healthy LUN, the second is one that can turn bad."""
    good, bad = nodes_in(tmp_path_factory.mktemp("peers"), 2)
    good.start_host()
    good.run("init")
    good.start_agent()
    bad.run("join", json.loads(good.run("token", "create", "--json").stdout)["token"])
    bad.start_agent()
    digest = good.ask("GET", "/v1/config").digest
    assert good.ask("POST", "/v1/config/wwids", {"wwid": LUN_A, "options": {"nodes": "n1"}}, if_match=digest).status == 200
    wait_for("the LUN is healthy", lambda: good.get(f"/v1/luns/{LUN_A}")["state"] == "healthy", 30)
    yield good, bad
    for node in (good, bad):
        assert node.stop() == 0
        assert "Traceback" not in node.log("agent")


def counters(node: Node) -> dict[str, int]:
    found: dict[str, int] = node.get("/v1/dump")["counters"]
    return found


def grown(node: Node, name: str, before: dict[str, int]) -> Callable[[], bool]:
    return lambda: counters(node).get(name, 0) > before.get(name, 0)


def well(node: Node) -> None:
    """It answers, writes and looks after its host as ever."""
    assert node.alive()
    digest = node.ask("GET", "/v1/config").digest
    answer = node.ask("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 5 + time.time_ns() % 90}}, if_match=digest)
    assert answer.status == 200, answer
    wait_for("it is in sync", lambda: node.get("/v1/apply")["apply"]["state"] == "in-sync", 30)
    wait_for("its LUN is healthy", lambda: node.get(f"/v1/luns/{LUN_A}")["nodes"]["n1"]["state"] == "healthy", 30)
    for command in ("status", "matrix"):
        done = node.run(command)
        assert "Traceback" not in done.stderr


# -- strangers ---------------------------------------------------------------------------------------------------------


def test_a_key_that_nobody_knows(pair: tuple[Node, Node]) -> None:
    good, _ = pair
    before = counters(good)
    server = NodeKeys.load(good.directory / "keys").mesh_public
    public, secret = zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.curve_serverkey, dealer.curve_publickey, dealer.curve_secretkey = server.encode(), public, secret
        dealer.connect(f"tcp://127.0.0.1:{good.ports[0]}")
        dealer.send_multipart([b"header", b"body"])
        wait_for("it is refused", grown(good, "transport_refused", before))
    assert counters(good)["messages_received"] >= before["messages_received"]
    well(good)


@pytest.mark.parametrize("port", [0, 2], ids=["mesh", "join"])
def test_strangers_that_speak_something_else(pair: tuple[Node, Node], port: int) -> None:
    good, _ = pair
    with contextlib.ExitStack() as stack:
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\0" * 5000,
            os.urandom(20_000),
            b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL",
            b"",
        ):
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", good.ports[port]), 5))
            with contextlib.suppress(OSError):
                stranger.sendall(data)
        well(good)


def test_a_client_without_any_key(pair: tuple[Node, Node]) -> None:
    good, _ = pair
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        for port in (good.ports[0], good.ports[2]):
            dealer.connect(f"tcp://127.0.0.1:{port}")
        for _ in range(100):
            dealer.send_multipart([b"x" * 100] * 5, zmq.NOBLOCK)
        well(good)


# -- a member that turned bad ------------------------------------------------------------------------------------------


class BadMember:
    """Speaks with the keys of a real member, and says what a test wants."""

    def __init__(self, good: Node, bad: Node) -> None:
        self.cluster, self.name = good.get("/v1/dump")["status"]["cluster"], bad.name
        self._target = NodeKeys.load(good.directory / "keys").mesh_public
        self._endpoint = f"tcp://127.0.0.1:{good.ports[0]}"
        self.keys = NodeKeys.load(bad.directory / "keys")
        self._listen = f"tcp://127.0.0.1:{bad.ports[0]}"
        self.heard: list[Any] = []
        self.up = asyncio.Event()
        self.transport: ZeroMQTransport

    async def __aenter__(self) -> "BadMember":
        self.transport = ZeroMQTransport(self.keys, self._listen, lambda key: key == self._target, self._received)
        self.transport.add_peer(self._target, self._endpoint)
        async with asyncio.timeout(20):
            await self.up.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.transport.close()

    def _received(self, event: TransportEvent) -> None:
        if isinstance(event, PeerUp):
            self.up.set()
        elif isinstance(event, MessageReceived):
            self.heard.append(codec.decode(event.header, event.body))

    async def send(self, frames: Frames) -> None:
        """Hand a message over, waiting while the socket is full or the other side has hung up."""
        async with asyncio.timeout(20):
            while not self.transport.send(self._target, frames):
                await asyncio.sleep(0.02)

    async def hello(self) -> Hello:
        """Introduce itself properly, as whom the other one expects; returns the other one's hello."""
        async with asyncio.timeout(20):
            while not (found := [m for m in self.heard if isinstance(m, Hello)]):
                await asyncio.sleep(0.02)
        return found[-1]


def as_bad_member(pair: tuple[Node, Node], act: Callable[[BadMember], Awaitable[None]]) -> None:
    """Run `act` in place of the second node's agent, which is stopped meanwhile."""
    good, bad = pair
    if bad.agent is not None:
        assert bad.stop() == 0

    async def run() -> None:
        async with BadMember(good, bad) as member:
            await act(member)

    asyncio.run(run())


HEADER = codec.encode(Ping(1))[0]
GARBAGE: dict[str, Frames] = {
    "noise": (b"\x8f" * codec.HEADER_BYTES, b"\x00" * 100),
    "an empty message": (b"", b""),
    "a header of nobody": (b"XXXX" + HEADER[4:], codec.encode(Ping(1))[1]),
    "a length that is wrong": (HEADER, b"\x00" * 50),
    "a body that is none": (HEADER[:7] + (4).to_bytes(4, "big") + HEADER[11:], b"\xc1\xc1\xc1\xc1"),
    "too large a message": (
        HEADER[:7] + (limit("message_bytes") + 1).to_bytes(4, "big") + HEADER[11:],
        b"\x00" * (limit("message_bytes") + 1),
    ),
    "a depth without end": (HEADER[:7] + (200_000).to_bytes(4, "big") + HEADER[11:], b"\x91" * 200_000),
    "a protocol of tomorrow": (HEADER[:4] + b"\x63" + HEADER[5:], codec.encode(Ping(1))[1]),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_member_that_sends(pair: tuple[Node, Node], kind: str) -> None:
    good, _ = pair
    before = counters(good)
    name = "messages_oversized" if kind == "too large a message" else "messages_bad"

    async def act(member: BadMember) -> None:
        await member.send(GARBAGE[kind])
        await asyncio.to_thread(wait_for, "it is counted", grown(good, name, before))

    as_bad_member(pair, act)
    well(good)
    assert any(p["code"] == "bad-peer" and "n2" in p["message"] for p in good.get("/v1/status")["config"]["problems"])


def test_a_member_that_sends_more_than_a_socket_takes_or_other_than_two_frames(pair: tuple[Node, Node]) -> None:
    good, bad = pair
    before = counters(good)
    if bad.agent is not None:
        assert bad.stop() == 0
    keys, server = NodeKeys.load(bad.directory / "keys"), NodeKeys.load(good.directory / "keys").mesh_public
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.curve_serverkey = server.encode()
        dealer.curve_publickey, dealer.curve_secretkey = keys.mesh_public.encode(), keys.mesh_secret.encode()
        dealer.connect(f"tcp://127.0.0.1:{good.ports[0]}")
        for frames in ([b"alone"], [b"one", b"two", b"three"], [b""] * 2000):
            dealer.send_multipart(frames)
        wait_for("they are dropped", lambda: counters(good)["transport_dropped_bad_frames"] >= before["transport_dropped_bad_frames"] + 3)
        dealer.send_multipart([HEADER, b"x" * (limit("frame_bytes") + 1)])
        well(good)


def test_a_member_that_signs_health_that_makes_no_sense(pair: tuple[Node, Node]) -> None:
    good, _ = pair
    actor = bytes.fromhex(next(m["actor"] for m in good.get("/v1/members")["members"] if m["name"] == "n2"))

    async def act(member: BadMember) -> None:
        theirs = await member.hello()
        nonce = os.urandom(16)
        await member.send(codec.encode(Hello(theirs.cluster, "n2", actor, codec.VERSION_MIN, codec.VERSION_MAX, nonce), nonce[:8]))
        stream = OwnStream("n2", actor, 2**40, member.keys.sign, 0)
        nonsense: dict[str, Any] = {
            "baseline": 5,
            "paths": "many",
            "path_list": [1, {"id": 3}],
            "missing_paths": {"a": 1},
            "vendor": [],
            "acked": 1,
        }
        cells = [
            Cell(MULTIPATH_MAP, LUN_A, "splendid", ("x" * 500,), nonsense, {"devs": 7}, 1e300),
            Cell(MULTIPATH_APPLY, "config", "healthy", (), {"errors": [5, {"code": []}], "applied": 3, "state": None}, {}, -1e300),
            Cell(NODE_FACTS, "node", "", (), {"notes": 5, "visible": [3, {"wwid": 5}, {"wwid": "x", "paths": []}], "daemon": {}}),
        ]
        stream.report(cells, 0)
        await member.send(codec.encode(Delta(health=(stream.stream.delta(None, 0),)), nonce[:8]))
        await asyncio.to_thread(wait_for, "it is taken", lambda: "n2" in good.get(f"/v1/luns/{LUN_A}")["nodes"])

    as_bad_member(pair, act)
    for path in ("status", "matrix", "nodes", "nodes/n2", "nodes/n2/maps", "luns/scan", f"luns/{LUN_A}", "dump", "storages", "members"):
        good.get(f"/v1/{path}")
    lun = good.get(f"/v1/luns/{LUN_A}")
    assert lun["nodes"]["n2"]["state"] == "unknown" and lun["nodes"]["n2"]["paths"]["usable"] == 0
    before = good.get("/v1/nodes/n1")["observed_at"]
    for command in (["node", "ls"], ["lun", "ls"], ["lun", "show", LUN_A], ["lun", "scan"], ["node", "maps", "n2"], ["member", "ls"]):
        done = good.run(*command, check=False)
        assert done.returncode == 0 and "Traceback" not in done.stderr, (command, done)
    well(good)
    assert good.get("/v1/nodes/n1")["observed_at"] >= before


def test_a_member_that_asks_for_the_impossible(pair: tuple[Node, Node]) -> None:
    good, _ = pair
    actor = bytes.fromhex(next(m["actor"] for m in good.get("/v1/members")["members"] if m["name"] == "n2"))

    async def act(member: BadMember) -> None:
        theirs = await member.hello()
        nonce = os.urandom(16)
        hello = Hello(theirs.cluster, "n2", actor, codec.VERSION_MIN, codec.VERSION_MAX, nonce)
        await member.send(codec.encode(hello, nonce[:8]))
        clock = {os.urandom(16): 2**53 for _ in range(5000)}
        names = tuple(f"node{n}" for n in range(2000))
        digest = Digest(os.urandom(32), bytes(32), full=True, clock=clock, floor=clock, whole=names, span=("z", "a"), yours=clock)
        before = counters(good)
        await member.send(codec.encode(digest, nonce[:8]))
        await member.send(codec.encode(Delta(edits=(b"\xc1" * 1000,) * 500), nonce[:8]))
        await asyncio.to_thread(wait_for, "it is taken for what it is", grown(good, "messages_bad", before))
        before = counters(good)
        await member.send(codec.encode(Hello("another cluster", "n2", actor, 1, 1, nonce), nonce[:8]))
        await asyncio.to_thread(wait_for, "the hello is refused", grown(good, "hellos_refused", before))

    as_bad_member(pair, act)
    well(good)


def test_whoever_sends_garbage_on_and_on_is_not_heard_for_a_while_and_may_come_back(pair: tuple[Node, Node]) -> None:
    good, bad = pair
    before = counters(good)

    async def act(member: BadMember) -> None:
        while not grown(good, "peers_expelled", before)():
            for _ in range(limit("bad_messages")):
                await member.send(GARBAGE["noise"])
            await asyncio.sleep(0.05)
        await member.send(GARBAGE["noise"])
        await asyncio.to_thread(wait_for, "it is not heard", grown(good, "messages_expelled", before))

    as_bad_member(pair, act)
    well(good)
    bad.start_agent(wait=False)

    def both_online() -> bool:
        return all(n["state"] == "online" for node in pair for n in node.get("/v1/nodes")["nodes"])

    wait_for("the real one is heard again", both_online, 40)
    want = good.get("/v1/dump")
    wait_for("it has caught up", lambda: bad.get("/v1/dump")["state_hash"] == want["state_hash"], 30)


def test_nothing_of_it_all_is_left(pair: tuple[Node, Node], tmp_path: Path) -> None:
    good, bad = pair
    if bad.agent is None:
        bad.start_agent(wait=False)
    wait_for("what the real one says counts again", lambda: good.get("/v1/nodes/n2")["state"] == "online", 40)
    assert all(len(m["actor"]) == 32 for m in good.get("/v1/members")["members"]) and good.get("/v1/conflicts")["conflicts"] == []
