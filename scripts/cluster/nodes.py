"""Nodes as processes: an agent and its simulated host each, in one directory, on loopback ports."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from scripts.cluster.client import Answer, Client
from scripts.cluster.relay import Relays, process_of_port

PATHMESH = Path(sys.executable).with_name("pathmesh")
_Found = TypeVar("_Found")


class NotReached(AssertionError):
    """A condition did not come true within its bound."""


def wait_for(what: str, look: Callable[[], _Found], seconds: float = 20.0, every: float = 0.05) -> _Found:
    """Look until something true is found; NotReached, with what was seen last, after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = look()
            seen: object = found
        except (OSError, KeyError, IndexError) as fault:
            found, seen = None, fault  # type: ignore[assignment]
        if found:
            return found
        if time.monotonic() > end:
            raise NotReached(f"{what}: not within {seconds:g} s; last seen: {str(seen)[:500]}")
        time.sleep(every)


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free now."""
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


@dataclass
class Node:
    """One node's directory and processes."""

    name: str
    directory: Path
    ports: tuple[int, int, int]
    """Mesh listening, mesh advertised (a relay's, or the same), join."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    agent: "subprocess.Popen[bytes] | None" = None
    host: "subprocess.Popen[bytes] | None" = None
    web_port: int | None = None
    _client: Client | None = None

    @property
    def socket(self) -> Path:
        return self.directory / "run" / "pathmesh.sock"

    @property
    def etc(self) -> Path:
        return self.directory / "etc"

    @property
    def luns(self) -> Path:
        return self.directory / "luns.toml"

    @property
    def host_socket(self) -> Path:
        return self.directory / "multipathd.sock"

    @property
    def program(self) -> Path:
        return self.directory / "multipathd"

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self.socket)
        return self._client

    def prepare(self) -> None:
        """Write the settings and make the directories."""
        (self.etc / "conf.d").mkdir(parents=True, exist_ok=True)
        (self.directory / "run").mkdir(exist_ok=True)
        listen, advertised, join = self.ports
        tables: dict[str, dict[str, Any]] = {
            "node": {"name": self.name, "keys_dir": str(self.directory / "keys"), "state_dir": str(self.directory / "state")},
            "gossip": {
                "listen": f"tcp://127.0.0.1:{listen}",
                "advertise": f"tcp://127.0.0.1:{advertised}",
                "join_listen": f"tcp://127.0.0.1:{join}",
            },
            "api": {"socket": str(self.socket)},
            "multipath": {
                "etc_dir": str(self.etc),
                "socket": str(self.host_socket),
                "program": str(self.program),
                "udev": "off",
                "storage_tools": "off",
                "poll_interval_ms": 500,
                "debounce_ms": 200,
            },
            "log": {"level": "info"},
        }
        if self.web_port is not None:
            tables["web"] = {"listen": f"127.0.0.1:{self.web_port}"}
        for name, table in self.settings.items():
            tables[name] = tables.get(name, {}) | dict(table)
        lines = []
        for name, table in tables.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {_toml(value)}" for key, value in table.items()]
        (self.directory / "pathmesh.toml").write_text("\n".join(lines) + "\n")

    def run(self, *arguments: str, check: bool = True, seconds: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """A pathmesh command against this node."""
        command = [str(PATHMESH), "--config", str(self.directory / "pathmesh.toml"), "--socket", str(self.socket), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        if check and done.returncode:
            raise AssertionError(f"{self.name}: pathmesh {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()[-600:]}")
        return done

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """A request to this node's API."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            return self.client.ask(method, path, body, sent)
        except OSError:
            self._hang_up()
            raise

    def get(self, path: str) -> Any:
        """The JSON of a GET that must succeed."""
        answer = self.ask("GET", path)
        if answer.status != 200:
            raise KeyError(f"{path}: {answer.status} {answer.body[:300]!r}")
        return answer.json

    def start_host(self) -> None:
        """Start the simulated host and wait until it answers."""
        arguments = ["simulate-host", "--socket", self.host_socket, "--etc-dir", self.etc, "--luns", self.luns, "--program", self.program]
        self.host = self._start("host", arguments)
        wait_for(f"{self.name}'s simulated host", self.host_socket.exists)

    def start_agent(self, env: Mapping[str, str] | None = None, *, wait: bool = True, prefix: tuple[str, ...] = ()) -> None:
        """Start the agent and wait until it has the cluster's state. `prefix` is a command that runs it."""
        self._hang_up()
        self.agent = self._start("agent", ["--config", self.directory / "pathmesh.toml", "agent"], env, prefix)
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = 20.0) -> None:
        """Until the agent answers that it is ready."""
        wait_for(f"{self.name}'s agent is ready", lambda: self.alive() and self.ask("GET", "/readyz").status == 200, seconds)

    def alive(self) -> bool:
        """Whether the agent runs; NotReached with its last words if it ended."""
        if self.agent is not None and self.agent.poll() is not None:
            raise NotReached(f"{self.name}'s agent ended with {self.agent.returncode}: {self.log('agent')[-1500:]}")
        return True

    def log(self, what: str) -> str:
        """What a process of this node has logged."""
        return (self.directory / f"{what}.log").read_text(errors="replace")

    def stop(self, what: str = "agent", signal_number: int = signal.SIGTERM, seconds: float = 10.0) -> int | None:
        """End one process of this node and wait for it."""
        process = getattr(self, what)
        setattr(self, what, None)
        if what == "agent":
            self._hang_up()
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal_number)
        try:
            return int(process.wait(seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def ask_host(self, command: str) -> str:
        """A command to the simulated multipathd, as its own client would send it."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.host_socket))
            data = command.encode() + b"\0"
            connection.sendall(len(data).to_bytes(8, sys.byteorder) + data)
            reader = connection.makefile("rb")
            return reader.read(int.from_bytes(reader.read(8), sys.byteorder)).rstrip(b"\0").decode()

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def _start(
        self, what: str, arguments: "list[Any]", env: Mapping[str, str] | None = None, prefix: tuple[str, ...] = ()
    ) -> "subprocess.Popen[bytes]":
        command = [*prefix, str(PATHMESH), *map(str, arguments)]
        with (self.directory / f"{what}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})


class Cluster:
    """Nodes that belong together. `relayed` puts a relay before each, so that it can be partitioned; `web` lets each serve its page."""

    def __init__(
        self,
        directory: Path,
        count: int,
        *,
        relayed: bool = False,
        web: bool = False,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        ports = free_ports((4 if web else 3) * count)
        web_ports = ports[3 * count :]
        self.relays = Relays() if relayed else None
        self.nodes: list[Node] = []
        for index in range(count):
            listen, advertised, join = ports[3 * index : 3 * index + 3]
            if self.relays is not None:
                self.relays.start(advertised, listen)
            name = f"n{index + 1}"
            node = Node(name, directory / name, (listen, advertised if relayed else listen, join), settings or {})
            node.web_port = web_ports[index] if web else None
            node.directory.mkdir(parents=True, exist_ok=True)
            node.prepare()
            self.nodes.append(node)

    def start(self, *, hosts: bool = True) -> None:
        """Start every host and agent: the first node makes the cluster, the others join it by token."""
        if hosts:
            for node in self.nodes:
                node.start_host()
        first = self.nodes[0]
        first.run("init", "--cluster", "demo")
        first.start_agent()
        if len(self.nodes) > 1:
            token = first.run("token", "create", "--uses", str(len(self.nodes) - 1), "--role", "admin", "--json").stdout
            text = __import__("json").loads(token)["token"]
            for node in self.nodes[1:]:
                node.run("join", text)
                node.start_agent(wait=False)
            for node in self.nodes[1:]:
                node.wait_ready()
        self.wait_online()

    def wait_online(self, seconds: float = 30.0) -> None:
        """Until every node sees every node online."""
        for node in self.nodes:
            wait_for(
                f"{node.name} sees everybody online",
                lambda node=node: sum(n["state"] == "online" for n in node.get("/v1/nodes")["nodes"]) == len(self.nodes),
                seconds,
            )

    def partition(self, *sides: "list[Node]") -> None:
        """Let only nodes of one side talk with each other."""
        assert self.relays is not None
        side_of_pid = {n.agent.pid: i for i, side in enumerate(sides) for n in side if n.agent is not None}
        side_of_port = {n.ports[1]: i for i, side in enumerate(sides) for n in side}
        pids = list(side_of_pid)

        def admits(source: int, listen: int) -> bool:
            pid = process_of_port(source, pids)
            return pid is not None and side_of_pid[pid] == side_of_port[listen]

        self.relays.judge(admits)

    def heal(self) -> None:
        """Let everybody talk with everybody."""
        assert self.relays is not None
        self.relays.judge(lambda _source, _listen: True)

    def stop(self) -> None:
        """End all processes, agents first."""
        for what in ("agent", "host"):
            for node in self.nodes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    node.stop(what)
        if self.relays is not None:
            self.relays.stop()


@contextlib.contextmanager
def running(cluster: Cluster, *, hosts: bool = True) -> Iterator[Cluster]:
    """The cluster started, and stopped at the end whatever happens."""
    try:
        cluster.start(hosts=hosts)
        yield cluster
    finally:
        cluster.stop()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
