"""A node's SQLite file: the only writer, durable before it returns.

All statements run on one thread of their own with SQLAlchemy Core, so a transaction costs the event loop one hop. Two connections:
edits and records commit with `synchronous=FULL` (on the disk before the call returns), health with `NORMAL` (it is shown before it is
written and may be lost with the power). WAL, and `BEGIN IMMEDIATE` by the `begin` hook: a deferred BEGIN fails at once when it turns
into a write, whatever `busy_timeout` says.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, delete, event, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from store.clocks import Dot
from store.edits import SignedEdit
from store.errors import UnavailableError
from store.failpoints import reach
from store.history import next_position, past, replace_log, retire, write_base
from store.limits import limit
from store.quarantine import set_aside
from store.schema import base, edits, events, health, meta, records
from store.upgrade import bring_up_to_date

BUSY_MS = 5_000
FILE_NAME = "pathmesh.db"
CHECKED_BYTES = 16 * 1024 * 1024
"""Up to this size a file is checked as a whole when it is opened (some 10 ms)."""
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Loaded:
    """All that a node needs from its file at start."""

    meta: dict[str, bytes]
    log: tuple[bytes, ...]
    streams: dict[str, bytes]
    base: bytes | None = None


class Database:
    """The open file. Every method may raise UnavailableError with `database-…` codes; after one, nothing of that call was kept."""

    def __init__(self, path: Path, engines: tuple[Engine, Engine], lock: IO[bytes], executor: ThreadPoolExecutor) -> None:
        self.path = path
        self._engines = engines
        self._durable, self._relaxed = (engine.connect() for engine in engines)
        self._lock = lock
        self._executor = executor
        self._insert_edits = insert(edits)
        with self._durable.begin():
            self._position = next_position(self._durable)
        row = upsert(health)
        self._save_stream = row.on_conflict_do_update(
            index_elements=[health.c.node], set_={"stream": row.excluded.stream, "saved_at": row.excluded.saved_at}
        )
        row = upsert(records)
        self._put_record = row.on_conflict_do_update(index_elements=[records.c.kind, records.c.id], set_={"value": row.excluded.value})
        row = upsert(meta)
        self._put_meta = row.on_conflict_do_update(index_elements=[meta.c.name], set_={"value": row.excluded.value})

    @classmethod
    async def open(cls, state_dir: Path, *, busy_ms: int = BUSY_MS) -> "Database":
        """Open or make the file in `state_dir` (made with mode 0700), bring it up to date and lock it against a second agent.

        A file that some other program holds locked is waited for up to `busy_ms`, now and at every later call.
        """
        executor = ThreadPoolExecutor(1, thread_name_prefix="store")
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, _open, cls, state_dir, executor, busy_ms)
        except BaseException:
            executor.shutdown(wait=False)
            raise

    async def load(self) -> Loaded:
        """Everything that was committed."""
        return await self._run(self._load)

    async def commit_edits(self, batch: Iterable[SignedEdit]) -> int:
        """Append edits to the log in one transaction; on the disk when it returns. Returns when that was (CLOCK_MONOTONIC, ns)."""
        rows = [{"actor": s.edit.actor, "counter": s.edit.counter, "raw": s.raw} for s in batch]
        return await self._run(self._commit_edits, rows)

    async def rebase(self, base: bytes, gone: Iterable[Dot], log: Iterable[bytes] | None = None) -> None:
        """Put this base below the log in one transaction; on the disk when it returns.

        Without `log` the edits of `gone` move to the history; else the log becomes exactly `log` (in its order; it must hold edits), and
        whatever else was in it moves there.
        """
        await self._run(self._rebase, base, tuple(gone), None if log is None else tuple(log))

    async def history(self, before: int | None, limit: int) -> list[tuple[int, bytes]]:
        """Collected edits, newest first, at most `limit` of them: `(position, raw)`; `before`: only those below that position."""
        return await self._run(self._history, before, limit)

    async def append_events(self, rows: Sequence[tuple[int, float, bytes]]) -> None:
        """Add events `(cursor, wall time, body)`; the oldest beyond the bound go. A crash of the host may lose the newest."""
        await self._run(self._append_events, [{"cursor": cursor, "at": at, "body": body} for cursor, at, body in rows])

    async def load_events(self, after: int, limit: int) -> list[tuple[int, float, bytes]]:
        """The first `limit` events whose cursor is greater than `after`, oldest first."""
        return await self._run(self._load_events, after, limit)

    async def last_event(self) -> int:
        """The cursor of the newest event; 0 if there is none."""
        return await self._run(self._last_event)

    @staticmethod
    def quarantine(state_dir: Path, why: str) -> Path:
        """Set a damaged file aside that nobody has open; returns where it is now. See `store.quarantine`."""
        return set_aside(state_dir / FILE_NAME, why)

    async def save_streams(self, streams: Mapping[str, bytes], gone: Iterable[str], saved_at: float) -> None:
        """Write health rows and drop those of nodes that are gone; survives a crash of the process, perhaps not of the host."""
        rows = [{"node": node, "stream": blob, "saved_at": saved_at} for node, blob in streams.items()]
        await self._run(self._save_streams, rows, tuple(gone))

    async def put_meta(self, values: Mapping[str, bytes]) -> None:
        """Write facts about the node itself; durable."""
        await self._run(self._write, self._put_meta, [{"name": n, "value": v} for n, v in values.items()])

    async def load_records(self, kind: str) -> dict[str, bytes]:
        """All records of a kind."""
        return await self._run(self._load_records, kind)

    async def change_records(self, kind: str, put: Mapping[str, bytes], gone: Iterable[str] = ()) -> None:
        """Write and remove records of one kind in one transaction; durable."""
        await self._run(self._change_records, kind, dict(put), tuple(gone))

    async def close(self) -> None:
        """Close the file; what was committed stays."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._close)
        self._executor.shutdown(wait=True)

    # -- on the store's thread ----------------------------------------------------------------------------------------

    async def _run(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._mapped, function, arguments)

    def _mapped(self, function: Callable[..., _Result], arguments: tuple[Any, ...]) -> _Result:
        try:
            return function(*arguments)
        except DatabaseError as fault:
            raise _unavailable(self.path, fault) from None

    def _load(self) -> Loaded:
        with self._durable.begin():
            return Loaded(
                {row.name: row.value for row in self._durable.execute(select(meta))},
                tuple(self._durable.execute(select(edits.c.raw).order_by(edits.c.position)).scalars()),
                {row.node: row.stream for row in self._durable.execute(select(health))},
                self._durable.execute(select(base.c.body)).scalar(),
            )

    def _commit_edits(self, rows: list[dict[str, Any]]) -> int:
        numbered = [{"position": self._position + n, **row} for n, row in enumerate(rows)]
        with self._durable.begin():
            self._durable.execute(self._insert_edits, numbered)
            reach("store.commit.before")
        self._position += len(rows)
        durable_at = time.monotonic_ns()
        reach("store.commit.after")
        return durable_at

    def _rebase(self, body: bytes, gone: tuple[Dot, ...], log: tuple[bytes, ...] | None) -> None:
        position = self._position
        with self._durable.begin():
            write_base(self._durable, body)
            if log is None:
                retire(self._durable, gone)
            else:
                position = replace_log(self._durable, log)
            reach("store.rebase.before")
        self._position = position
        reach("store.rebase.after")

    def _history(self, before: int | None, most: int) -> list[tuple[int, bytes]]:
        with self._relaxed.begin():
            return past(self._relaxed, before, most)

    def _append_events(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        with self._relaxed.begin():
            self._relaxed.execute(insert(events), rows)
            oldest = select(events.c.cursor).order_by(events.c.cursor.desc()).offset(limit("events")).limit(1).scalar_subquery()
            self._relaxed.execute(delete(events).where(events.c.cursor <= oldest))

    def _load_events(self, after: int, most: int) -> list[tuple[int, float, bytes]]:
        query = select(events).where(events.c.cursor > after).order_by(events.c.cursor).limit(most)
        with self._relaxed.begin():
            return [(row.cursor, row.at, row.body) for row in self._relaxed.execute(query)]

    def _last_event(self) -> int:
        with self._relaxed.begin():
            return self._relaxed.execute(select(func.max(events.c.cursor))).scalar() or 0

    def _save_streams(self, rows: list[dict[str, Any]], gone: tuple[str, ...]) -> None:
        with self._relaxed.begin():
            if rows:
                self._relaxed.execute(self._save_stream, rows)
            if gone:
                self._relaxed.execute(delete(health).where(health.c.node.in_(gone)))

    def _write(self, statement: Any, rows: list[dict[str, Any]]) -> None:
        with self._durable.begin():
            self._durable.execute(statement, rows)

    def _load_records(self, kind: str) -> dict[str, bytes]:
        with self._durable.begin():
            return {row.id: row.value for row in self._durable.execute(select(records.c.id, records.c.value).where(records.c.kind == kind))}

    def _change_records(self, kind: str, put: dict[str, bytes], gone: tuple[str, ...]) -> None:
        with self._durable.begin():
            if gone:
                self._durable.execute(delete(records).where(records.c.kind == kind, records.c.id.in_(gone)))
            if put:
                self._durable.execute(self._put_record, [{"kind": kind, "id": name, "value": value} for name, value in put.items()])

    def _close(self) -> None:
        for connection in (self._durable, self._relaxed):
            connection.close()
        for engine in self._engines:
            engine.dispose()
        self._lock.close()


class DatabaseRecords:
    """The `Records` port on the file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, kind: str) -> dict[str, bytes]:
        return await self._database.load_records(kind)

    async def change(self, kind: str, put: Mapping[str, bytes], delete: Iterable[str] = ()) -> None:
        await self._database.change_records(kind, put, delete)


def _open(cls: type[Database], state_dir: Path, executor: ThreadPoolExecutor, busy_ms: int) -> Database:
    path = state_dir / FILE_NAME
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (state_dir / "lock").open("ab")
    except OSError as fault:
        raise UnavailableError(
            f"{state_dir}: cannot be used as state directory: {fault.strerror}", code="state-dir", hint="check node.state_dir and its owner"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UnavailableError(
            f"{state_dir}: another pathmesh process uses this directory",
            code="already-running",
            hint="stop it first, or use another node.state_dir",
        ) from None
    engines = (_engine(path, "FULL", busy_ms), _engine(path, "NORMAL", busy_ms))
    try:
        bring_up_to_date(engines[0], path)
        path.chmod(0o600)
        _check(engines[0], path)
        return cls(path, engines, lock, executor)
    except DatabaseError as fault:
        lock.close()
        raise _unavailable(path, fault) from None
    except BaseException:
        lock.close()
        raise


def _check(engine: Engine, path: Path) -> None:
    """Look for damage in the whole file if that is quick."""
    if path.stat().st_size > CHECKED_BYTES:
        return
    with engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if found != "ok":
        raise _corrupt(path, str(found))


def _engine(path: Path, synchronous: str, busy_ms: int) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": busy_ms / 1000, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(raw: Any, _: Any) -> None:
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {busy_ms}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _unavailable(path: Path, fault: DatabaseError) -> UnavailableError:
    """The one place where the driver's errors become ours."""
    text = str(fault.orig)
    if isinstance(fault, IntegrityError):
        return UnavailableError(f"{path}: {text}", code="database-refused", hint="this is a fault of pathmesh: keep the file and report it")
    if isinstance(fault, OperationalError):
        if "locked" in text:
            return UnavailableError(f"{path}: locked by another process", code="database-locked", hint=f"find it with: fuser {path}")
        if "readonly" in text or "read-only" in text or not os.access(path.parent, os.W_OK):
            return UnavailableError(f"{path}: {text}", code="database-read-only", hint="check the file's owner and the mount")
        if "full" in text:
            return UnavailableError(f"{path}: the disk is full", code="disk-full", hint="free some space; reads and gossip go on")
        return UnavailableError(f"{path}: {text}", code="database-failed", hint="check the disk and the file's owner")
    return _corrupt(path, text)


def _corrupt(path: Path, what: str) -> UnavailableError:
    what = " ".join(what.split())
    return UnavailableError(f"{path}: {what}", code="database-corrupt", hint="keep the file; move it aside and join this node again")
