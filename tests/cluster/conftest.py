"""Nodes as real processes, and what a command that fails must look like."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts.cluster.nodes import Cluster, Node
from scripts.cluster.sample import write_luns

QUICK: dict[str, dict[str, Any]] = {"multipath": {"poll_interval_ms": 200, "debounce_ms": 0}}


@pytest.fixture(scope="module")
def nodes_in(renders: Any) -> Iterator[Callable[..., list[Node]]]:
    """Prepares nodes in a directory, none of them started; whatever they run is ended with the module."""
    clusters = []

    def prepare(directory: Path, count: int = 1, settings: Mapping[str, Mapping[str, Any]] | None = None) -> list[Node]:
        tables = {name: QUICK.get(name, {}) | dict((settings or {}).get(name, {})) for name in {*QUICK, *(settings or {})}}
        cluster = Cluster(directory, count, settings=tables)
        for node in cluster.nodes:
            write_luns(node)
        clusters.append(cluster)
        return cluster.nodes

    yield prepare
    for cluster in clusters:
        cluster.stop()
        for node in cluster.nodes:
            renders.collect(node.etc / "conf.d")


@pytest.fixture(scope="session")
def told() -> Callable[..., str]:
    """Checks what a failed command says: its exit status, one line, perhaps one with a hint; returns the text."""

    def check(done: "subprocess.CompletedProcess[str]", *words: str, status: int = 1) -> str:
        assert done.returncode == status, done
        assert done.stdout == "", done.stdout
        lines = done.stderr.splitlines()
        assert 1 <= len(lines) <= 2 and lines[0].startswith("pathmesh: "), done.stderr
        assert all(line.startswith("  hint: ") for line in lines[1:]), done.stderr
        for word in words:
            assert word in done.stderr, f"{word!r} is not in {done.stderr!r}"
        return done.stderr

    return check


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[Path, bytes]]:
    """The files under a directory, but logs and what a database engine leaves beside its file."""

    def read(directory: Path) -> dict[Path, bytes]:
        left_out = (".log", "-wal", "-shm", "lock")
        return {p: p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file() and not p.name.endswith(left_out)}

    return read
