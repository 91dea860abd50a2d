"""What this node's multipath-tools are, as its own daemon says."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from apply.multipathd import DaemonGarbage, DaemonTimeout, MultipathdError, NotInstalled
from store.cells import NODE_FACTS, Cell

FACTS_ID = "node"
VERSION_COMMAND = "show maps version"
"""No daemon knows this command; each answers it with its help text, whose heading carries the version."""
_VERSION = re.compile(r"multipath-tools v([0-9]+)\.([0-9]+)(?:\.([0-9]+))?")
_PID = re.compile(r"pid ([0-9]+)\s*(.*)")

Version = tuple[int, int, int]


class Asks(Protocol):
    """Whoever answers multipathd's commands; raises MultipathdError."""

    async def ask(self, command: str) -> str: ...


@dataclass(frozen=True)
class DaemonFacts:
    """The daemon: `state` is running, down, not-installed, timeout, garbage or unknown; `doing` its own word (`idle`, `configure`).

    `pid` and `version` are what it said last: a question that fails does not change the tools. They go with the package.
    """

    state: str
    pid: int = 0
    doing: str = ""
    version: Version | None = None


_STATES: dict[type[MultipathdError], str] = {NotInstalled: "not-installed", DaemonTimeout: "timeout", DaemonGarbage: "garbage"}


def daemon_down(error: MultipathdError, known: DaemonFacts | None = None) -> DaemonFacts:
    """The facts when it cannot be asked; `known` are those before."""
    state = "down" if error.code == "daemon-down" else _STATES.get(type(error), "unknown")
    if known is None or isinstance(error, NotInstalled):
        return DaemonFacts(state)
    return DaemonFacts(state, known.pid, version=known.version)


async def read_facts(client: Asks, known: DaemonFacts | None = None) -> DaemonFacts:
    """Ask the daemon who it is; its version is asked for only when its pid changed. Never raises.

    The version of a new process is unknown until it says so: the tools may have been upgraded.
    """
    try:
        found = _PID.search(await client.ask("show daemon"))
        if found is None:
            raise DaemonGarbage("multipathd's answer to `show daemon` has no pid")
        pid, doing = int(found[1]), found[2].strip()
        if known is None or known.pid != pid:
            known = DaemonFacts("running", pid)
        return DaemonFacts("running", pid, doing, known.version or await read_version(client))
    except MultipathdError as error:
        return daemon_down(error, known)


async def read_version(client: Asks) -> Version | None:
    """The version of multipath-tools, None if the daemon does not say. Raises MultipathdError."""
    found = _VERSION.search(await client.ask(VERSION_COMMAND))
    return None if found is None else (int(found[1]), int(found[2]), int(found[3] or 0))


def host_notes(root: Path = Path("/")) -> tuple[str, ...]:
    """Why multipathd may not be able to run on this host at all; codes."""
    notes = []
    words = _read(root / "proc" / "cmdline").split()
    if "nompath" in words or "multipath=off" in words:
        notes.append("disabled-cmdline")
    if (root / "sys" / "module").is_dir() and not (root / "sys" / "module" / "dm_multipath").is_dir():
        notes.append("module-missing")
    return tuple(notes)


def facts_cell(facts: DaemonFacts, notes: tuple[str, ...], visible: list[dict[str, Any]], wall: float) -> Cell:
    """The cell with this node's facts. `visible` are the LUNs that the daemon sees and nobody configured."""
    detail = {
        "tools_version": ".".join(map(str, facts.version)) if facts.version else None,
        "daemon": facts.state,
        "notes": list(notes),
        "visible": visible,
    }
    state = "healthy" if facts.state in ("running", "not-installed") else "unknown"
    return Cell(NODE_FACTS, FACTS_ID, state, notes, detail, {"pid": facts.pid, "doing": facts.doing}, wall)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
