"""What the benchmarks share: a cluster in a directory of its own, a lean HTTP client, traces, and the cost of a process."""

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.cluster.nodes import Cluster, Node, running, wait_for

TICKS = os.sysconf("SC_CLK_TCK")
Entry = tuple[str, str, int]
"""What, name, CLOCK_MONOTONIC nanoseconds: one line of a node's trace."""


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A new temporary directory, removed at the end. Its path is short: a unix socket's name has 107 bytes."""
    directory = Path(tempfile.mkdtemp(prefix="pathmesh-bench-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def hostless(count: int, *, relayed: bool = False) -> Iterator[Cluster]:
    """A started cluster of agents without multipathd, with the product's own intervals."""
    own = {"multipath": {"poll_interval_ms": 10_000, "debounce_ms": 2_000}}
    with scratch() as directory, running(Cluster(directory, count, relayed=relayed, settings=own), hosts=False) as cluster:
        yield cluster


# -- asking -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, when the request was handed over and when the answer's last byte was read (CLOCK_MONOTONIC nanoseconds)."""

    status: int
    etag: str
    body: bytes
    began_ns: int
    ended_ns: int

    @property
    def milliseconds(self) -> float:
        return (self.ended_ns - self.began_ns) / 1e6


class Wire:
    """One kept connection to a node's local socket; one `sendall` a request, so that the client adds as little as it can."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(30)
        self._socket.connect(str(path))
        self._buffer = bytearray(1 << 20)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request, made ready before the clock starts."""
        data = json.dumps(body).encode() if body is not None else b""
        lines = [f"{method} {path} HTTP/1.1", "host: localhost", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        if data:
            lines += ["content-type: application/json", f"content-length: {len(data)}"]
        request = "\r\n".join([*lines, "", ""]).encode() + data
        view = memoryview(self._buffer)
        began = time.monotonic_ns()
        self._socket.sendall(request)
        chunks: list[bytes] = []
        head, length, got = b"", 0, 0
        while not head or got < length:
            count = self._socket.recv_into(view)
            if not count:
                raise ConnectionResetError("the agent closed the connection")
            chunk = bytes(view[:count])
            if not head:
                chunk = b"".join((*chunks, chunk))
                head, found, chunk = chunk.partition(b"\r\n\r\n")
                if not found:
                    chunks, head = [head], b""
                    continue
                chunks, length = [], _length(head)
            chunks.append(chunk)
            got += len(chunk)
        ended = time.monotonic_ns()
        fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:])
        return Reply(int(head[9:12]), fields.get("etag", ""), b"".join(chunks), began, ended)

    def close(self) -> None:
        self._socket.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return int(line[15:])
    return 0


class Traces:
    """What the nodes' traces grew by since last looked at. Asked between measurements only."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes
        self._cursors = dict.fromkeys((n.name for n in nodes), 0)

    def grown(self) -> dict[str, list[Entry]]:
        """The new entries of each node, oldest first."""
        found = {}
        for node in self._nodes:
            entries = node.get(f"/v1/trace?after={self._cursors[node.name]}")["entries"]
            if entries:
                self._cursors[node.name] = entries[-1]["cursor"]
            found[node.name] = [(e["what"], e["name"], e["monotonic_ns"]) for e in entries]
        return found

    def wait_quiet(self, milliseconds: int, seconds: float = 60.0) -> None:
        """Until nothing has moved anywhere for so long."""

        def quiet() -> bool:
            self.grown()
            time.sleep(milliseconds / 1000)
            return not any(self.grown().values())

        wait_for("the cluster is quiet", quiet, seconds, every=0)


# -- cost -------------------------------------------------------------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Resident memory in MB (proc_pid_status(5), VmRSS)."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6


class CpuMeter:
    """CPU seconds a minute of the nodes' processes (`agent` or `host`) since it was made."""

    def __init__(self, nodes: list[Node], what: str = "agent") -> None:
        self._pids = {node.name: getattr(node, what).pid for node in nodes}
        self._start = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        self._began = time.monotonic()

    def per_minute(self) -> dict[str, float]:
        """By node."""
        minutes = (time.monotonic() - self._began) / 60
        return {name: (cpu_seconds(pid) - self._start[name]) / minutes for name, pid in self._pids.items()}
