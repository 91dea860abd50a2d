"""What can be checked of a node whose agent does not run: settings, keys, modes, lock, database and guard. Changes nothing."""

import contextlib
import fcntl
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from agent.birth import decode_birth
from agent.findings import Finding
from agent.guard import FILE_NAME as GUARD_NAME
from agent.guard import Guard, GuardDamaged, read_guard
from agent.settings import DEFAULT_PATH, Settings
from agent.settings import check as check_settings
from gossip.keys import NodeKeys
from store.base import decode_base
from store.clocks import Vector, join
from store.database import FILE_NAME
from store.errors import PathmeshError


def examine(config: Path | None) -> list[Finding]:
    """What is wrong with the files of the node that has this settings file (None = the default one)."""
    try:
        settings, faults = check_settings(config)
    except PathmeshError as fault:
        return [_of(fault)]
    file = config or DEFAULT_PATH
    places = [f"{file}: {fault.key}" if fault.key else f"{file}" for fault in faults]
    wrong = [Finding("settings-invalid", "error", f"{place}: {f.message}", f.hint) for place, f in zip(places, faults, strict=True)]
    return [*wrong, *_keys(settings), *_state(settings)]


def _of(fault: PathmeshError) -> Finding:
    return Finding(fault.code, "error", fault.message, fault.hint)


def _keys(settings: Settings) -> Iterator[Finding]:
    try:
        NodeKeys.load(settings.node.keys_dir)
    except PathmeshError as fault:
        yield _of(fault)


def _state(settings: Settings) -> Iterator[Finding]:
    directory = settings.node.state_dir
    try:
        mode = stat.S_IMODE(directory.stat().st_mode)
        guard = read_guard(directory)
    except FileNotFoundError:
        yield Finding("not-a-member", "error", f"{directory}: there is no such directory", "pathmesh init, or pathmesh join TOKEN")
        return
    except OSError as fault:
        yield Finding("state-dir", "error", f"{directory}: {fault.strerror}", "run it as root, or as the agent's user")
        return
    except PathmeshError as fault:
        yield _of(fault)
        return
    except GuardDamaged as fault:
        hint = "the agent writes it anew at its next start, and takes the database for one that was restored"
        yield Finding("guard-damaged", "warning", f"{directory / GUARD_NAME}: cannot be used: {fault}", hint)
        guard = None
    if mode & 0o077:
        yield Finding("state-mode", "warning", f"{directory}: mode {mode:04o} lets others look into it", f"chmod 700 {directory}")
    if _locked(directory / "lock"):
        yield Finding(
            "already-running", "warning", f"{directory}: a process uses it", "an agent that does not answer its socket, or a join"
        )
        return
    yield from _database(settings, guard)


def _locked(path: Path) -> bool:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _database(settings: Settings, guard: Guard | None) -> Iterator[Finding]:
    path = settings.node.state_dir / FILE_NAME
    if not path.exists():
        if guard is None:
            yield Finding("not-a-member", "error", f"{path}: there is none", "pathmesh init, or pathmesh join TOKEN")
        elif guard.others:
            yield Finding("database-lost", "warning", f"{path}: it is gone", "start the agent: it makes a new one and its peers fill it")
        else:
            yield Finding("database-lost", "error", f"{path}: it is gone, and no peer has a copy", "bring it back from a backup")
        return
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            [[verdict]] = database.execute("PRAGMA quick_check(1)").fetchall()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            actor, epoch, clock = _read(database, settings)
    except sqlite3.OperationalError as fault:
        yield Finding("database-failed", "error", f"{path}: {fault}", "run it as root, or as the agent's user; check the disk")
    except (sqlite3.DatabaseError, ValueError) as fault:
        hint = "start the agent: it sets the file aside and its peers fill a new one"
        if guard is None or not guard.others:
            hint = "keep the file; bring it back from a backup"
        yield Finding("database-corrupt", "error", f"{path}: {fault}", hint)
    except PathmeshError as fault:
        yield _of(fault)
    else:
        yield from _compared(path, guard, actor, epoch, clock)


def _read(database: sqlite3.Connection, settings: Settings) -> tuple[bytes, int, Vector]:
    """The node's actor, its boot epoch, and the clock of the edits that are there."""
    meta = dict(database.execute("SELECT name, value FROM meta").fetchall())
    birth = decode_birth(meta.get("node"), settings)
    clock = dict(database.execute("SELECT actor, max(counter) FROM edits GROUP BY actor").fetchall())
    base = database.execute("SELECT body FROM base").fetchall() if _has_base(database) else []
    collected = decode_base(base[0][0]).clock if base else {}
    return birth.actor, int.from_bytes(meta.get("epoch", b""), "big"), join(clock, collected)


def _has_base(database: sqlite3.Connection) -> bool:
    """Whether the file is of a version that collects edits."""
    return bool(database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'base'").fetchall())


def _compared(path: Path, guard: Guard | None, actor: bytes, epoch: int, clock: Vector) -> Iterator[Finding]:
    if guard is None:
        hint = "the agent writes it at its next start, and takes the database for one that was restored"
        yield Finding("guard-missing", "warning", f"{path.with_name(GUARD_NAME)}: there is none", hint)
    elif guard.birth.actor != actor:
        hint = "one of the two was copied from elsewhere: move the one that does not belong here away"
        yield Finding("guard-mismatch", "error", f"{path.with_name(GUARD_NAME)}: guards another node, {guard.birth.name}", hint)
    elif not guard.fits(epoch, clock):
        hint = "the agent goes on under a new actor and fetches what it lacks from its peers"
        yield Finding("database-restored", "warning", f"{path}: it is not the newest that this node had", hint)
