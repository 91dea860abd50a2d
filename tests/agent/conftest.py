"""A node within the test: in memory for its parts, or whole, with its database, its sockets and its HTTP server on a thread of its own."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, TypeVar

import pytest

from agent.alarms import Alarms
from agent.api.server import LocalServer
from agent.birth import Birth
from agent.bootstrap import init
from agent.daemon import opened
from agent.members import Members
from agent.node import Node
from agent.picture import Picture
from agent.settings import Settings, load
from agent.writes import Writer
from apply.multipathd import MultipathdClient
from apply.simulated.server import serve
from gossip.engine import Engine, Identity
from gossip.events import Connect, Publish, Tick
from gossip.memory import MemoryTransport, Network
from gossip.runner import Runner, boottime_ms
from gossip.tokens import TokenBook
from gossip.transport import TransportEvent
from scripts.cluster.client import Answer, Client
from scripts.cluster.nodes import free_ports
from scripts.cluster.planting import planting
from store.cells import Cell
from store.clocks import Dot
from store.document import Options
from store.edits import SignedEdit
from store.errors import UnavailableError
from store.members import Role
from store.records import MemoryRecords

Result = TypeVar("Result")


def make_settings(directory: Path, **tables: Mapping[str, Any]) -> Settings:
    """Settings of a node that lives in `directory`, on loopback ports that are free now, written to a file and read from it."""
    mesh, join = free_ports(2)
    values: dict[str, dict[str, Any]] = {
        "node": {"name": "n1", "keys_dir": directory / "keys", "state_dir": directory / "state"},
        "gossip": {"listen": f"tcp://127.0.0.1:{mesh}", "join_listen": f"tcp://127.0.0.1:{join}"},
        "api": {"socket": directory / "api.sock"},
        "multipath": {
            "etc_dir": directory / "etc",
            "socket": directory / "multipathd.sock",
            "program": directory / "multipathd",
            "udev": "off",
            "storage_tools": "off",
            "poll_interval_ms": 200,
            "debounce_ms": 0,
        },
        "log": {"level": "error"},
    }
    for name, table in tables.items():
        values[name] = values.get(name, {}) | dict(table)
    lines = []
    for name, content in values.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {value if isinstance(value, int) else repr(str(value))}" for key, value in content.items()]
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "pathmesh.toml"
    file.write_text("\n".join(lines) + "\n")
    return load(file)


# -- in memory --------------------------------------------------------------------------------------------------------


class MemoryLog:
    """Where edits are kept for as long as the test runs. `broken` says why nothing can be written, if so; `gate` holds commits back."""

    def __init__(self) -> None:
        self.edits: list[SignedEdit] = []
        self.broken = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit_edits(self, batch: Iterable[SignedEdit]) -> int:
        await self.gate.wait()
        if self.broken:
            raise UnavailableError(self.broken, code="disk-full")
        self.edits += batch
        return time.monotonic_ns()

    async def rebase(self, base: bytes, gone: Iterable[Dot], log: Iterable[bytes] | None = None) -> None:
        await self.gate.wait()
        if self.broken:
            raise UnavailableError(self.broken, code="disk-full")

    async def set_epoch(self, epoch: int) -> None:
        await self.gate.wait()


@dataclass
class MemoryNode:
    """The parts of one node, with nothing outside the process."""

    name: str
    engine: Engine
    runner: Runner
    log: MemoryLog
    picture: Picture
    writer: Writer
    members: Members
    alarms: Alarms
    published: list[Publish] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Its address on the network."""
        return self.engine.replica.registry.by_name[self.name].curve_key

    def tick(self) -> None:
        """Let the engine look at the clock."""
        self.runner.dispatch(Tick())


async def until(what: str, holds: Callable[[], object], seconds: float = 10.0) -> None:
    """Give way until the condition holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.005)


@dataclass
class MemoryCluster:
    """Nodes in one process, all admins unless said otherwise, connected by a network that can be cut."""

    network: Network
    nodes: dict[str, MemoryNode]

    def __getitem__(self, name: str) -> MemoryNode:
        return self.nodes[name]

    async def converged(self) -> None:
        """Until everybody has the same configuration."""

        def same() -> bool:
            for node in self.nodes.values():
                node.tick()
            return len({tuple(sorted(n.engine.replica.fold.clock.items())) for n in self.nodes.values()}) == 1

        await until("the same configuration everywhere", same)


@pytest.fixture
def memory_cluster(scribe: Any) -> Callable[..., MemoryCluster]:
    """Makes a cluster in memory of the named nodes; to be called in the event loop. `roles` names those that are no admins."""

    def make(*names: str, roles: Mapping[str, Role] | None = None) -> MemoryCluster:
        network = Network(later=asyncio.get_running_loop().call_later)
        log = [scribe.founding(names[0])]
        for name in names[1:]:
            member = scribe.member(name, (roles or {}).get(name, Role.ADMIN))
            log.append(scribe.registration(names[0], member, {scribe.actor(names[0]): len(log)}))
        return MemoryCluster(network, {name: _memory_node(scribe, network, name, log) for name in names})

    return make


def _memory_node(scribe: Any, network: Network, name: str, log: list[SignedEdit]) -> MemoryNode:
    identity = Identity(name, scribe.actor(name), 1, name.encode().ljust(16, b"."), partial(scribe.sign, name), scribe.verify)
    engine = Engine(identity, scribe.replica(*log), {}, Random(name), boottime_ms())
    memory_log, picture, alarms, published = MemoryLog(), Picture(engine), Alarms(), []

    def publish(change: Publish) -> None:
        published.append(change)
        picture.news(change)

    def received(event: TransportEvent) -> None:
        runner.dispatch(event)

    member = engine.replica.registry.by_name[name]
    transport = MemoryTransport(network, member.curve_key, member.endpoint, engine.allowed, received)
    runner = Runner(engine, transport, memory_log, published=publish, alarmed=lambda alarm: alarms.raise_alarm(alarm.code, alarm.message))
    writer = Writer(engine, runner, picture)
    birth = Birth(name, identity.actor, scribe.cluster, "test")
    members = Members(engine, writer, picture, TokenBook(MemoryRecords()), birth)
    members.join_endpoint, members.join_key = "tcp://127.0.0.1:7947", member.curve_key
    for effect in engine.start(boottime_ms()):
        if isinstance(effect, Connect):
            transport.add_peer(effect.key, effect.endpoint)
    return MemoryNode(name, engine, runner, memory_log, picture, writer, members, alarms, published)


# -- whole ------------------------------------------------------------------------------------------------------------


class LiveNode:
    """A whole node on a thread of its own. With `host` its own multipathd is looked after too (a simulated one, if `luns` describes it)."""

    def __init__(self, settings: Settings, *, host: bool = False, luns: str = "") -> None:
        self.settings = settings
        self.node: Node
        self.server: LocalServer
        self._host = host or bool(luns)
        self._luns = settings.multipath.etc_dir.with_name("luns.toml") if luns else None
        if self._luns is not None:
            self._luns.write_text(luns)
        self._loop: asyncio.AbstractEventLoop
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="live node")
        self.client = Client(settings.api.socket)

    def __enter__(self) -> "LiveNode":
        self._thread.start()
        assert self._ready.wait(20), "the node did not start"
        if self._fault is not None:
            self._thread.join()
            raise self._fault
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the node did not stop"
        if self._fault is not None and fault is None:
            raise self._fault

    def call(self, function: Callable[[], Result]) -> Result:
        """Call something on the node's own thread."""

        async def called() -> Result:
            return function()

        return self.run(called())

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Await something on the node's own thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request."""
        return self.client.ask(method, path, body, headers)

    def get(self, path: str) -> Any:
        """The JSON of a GET that succeeds."""
        answer = self.ask("GET", path)
        assert answer.status == 200, (path, answer)
        return answer.json

    def digest(self, path: str = "/v1/config") -> str:
        """The entity tag of a document now."""
        return self.ask("GET", path).digest

    def write(self, method: str, path: str, body: Any = None, *, of: str = "/v1/config") -> Answer:
        """A write from the present digest."""
        return self.ask(method, path, body, {"if-match": self.digest(of)})

    def clear(self) -> None:
        """Empty the configuration and the overrides."""
        assert self.write("PUT", "/v1/config", "").status == 200
        assert self.write("DELETE", "/v1/overrides", of="/v1/overrides").status == 200

    def ask_host(self, command: str) -> str:
        """A command to the simulated multipathd, as its own client would send it."""
        multipath = self.settings.multipath
        return self.run(MultipathdClient(multipath.socket, multipath.program).ask(command))

    def observe(self, *cells: Cell) -> None:
        """Report this as the node's own whole health."""
        self.call(lambda: self.node.runner.observe(cells))

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as fault:
            self._fault = fault
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        multipath = self.settings.multipath
        async with contextlib.AsyncExitStack() as stack:
            if self._luns is not None:
                (multipath.etc_dir / "conf.d").mkdir(parents=True, exist_ok=True)
                up = asyncio.Event()
                simulated = asyncio.create_task(
                    serve(multipath.socket, multipath.etc_dir, self._luns, multipath.program, ready=up.set, uid_of=lambda _: 0)
                )
                stack.push_async_callback(_cancelled, simulated)
                await up.wait()
            self.node, self.server, local_socket, keeper = await stack.enter_async_context(opened(self.settings))
            running = (self.node.runner.run(), keeper.run(), self.node.departure.run(), self.node.sources.run())
            loops = [asyncio.create_task(each) for each in running]
            if self._host:
                loops.append(asyncio.create_task(self.node.host.run()))
            for task in loops:
                stack.push_async_callback(_cancelled, task)
            serving = [asyncio.create_task(each) for each in (self.server.serve(sockets=[local_socket]), self.node.web.run())]
            self._ready.set()
            await self._stop.wait()
            self.server.finish()
            self.node.web.finish()
            await asyncio.gather(*serving)


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """The only node of its cluster, without a host; shared by a module's tests, which leave it with an empty configuration."""
    settings = make_settings(tmp_path_factory.mktemp("lone"))
    init(settings, "n1", "san")
    with LiveNode(settings) as node:
        yield node


def plant(settings: Settings, *rounds: Mapping[str, Mapping[str, Options | None]]) -> None:
    """Write edits into the database of a node that does not run: in each round, what the named nodes write concurrently.

    Nodes that are not members yet are made admins first.
    """

    async def write() -> None:
        async with planting(settings, 1_700_000_000.0) as planted:
            for name in dict.fromkeys(name for each in rounds for name in each if name != planted.birth.name):
                planted.join(name, Role.ADMIN)
            for each in rounds:
                planted.write(each)

    asyncio.run(write())


@pytest.fixture(scope="session")
def settings_in() -> Callable[..., Settings]:
    """See `make_settings`."""
    return make_settings


@pytest.fixture(scope="session")
def live_node() -> type[LiveNode]:
    return LiveNode


@pytest.fixture(scope="session")
def plant_edits() -> Callable[..., None]:
    """See `plant`."""
    return plant


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """See `until`; for coroutines."""
    return until


class Hanging:
    """Lookups that hang until they are let go, and who was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.go = threading.Event()

    def __call__(self, key: Any) -> Any:
        self.asked.append(key)
        assert self.go.wait(60)
        return 7


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    lookup = Hanging()
    yield lookup
    lookup.go.set()


@pytest.fixture(scope="session")
def unavailable() -> Callable[..., Any]:
    """Awaits what must be refused for want of names; the refusal."""

    async def refused(asking: Awaitable[Any]) -> UnavailableError:
        with pytest.raises(UnavailableError) as caught:
            await asking
        assert caught.value.code == "names-unavailable" and caught.value.hint and "\n" not in caught.value.message
        return caught.value

    return refused
