"""The SQLite file: real files, real crashes."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect

from store import limits
from store.clocks import Dot
from store.database import FILE_NAME, Database, DatabaseRecords
from store.edits import SignedEdit, decode_edit
from store.errors import UnavailableError
from store.failpoints import FAILPOINTS
from store.schema import REVISION, metadata
from store.upgrade import backup_file

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def opened(directory: Path, **options: Any) -> AsyncIterator[Database]:
    database = await Database.open(directory, **options)
    try:
        yield database
    finally:
        await database.close()


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


async def refusal(directory: Path, **options: Any) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        async with opened(directory, **options):
            pass
    assert "\n" not in caught.value.message
    assert str(directory) in caught.value.message
    assert caught.value.hint
    return caught.value


async def test_everything_is_there_after_reopening(tmp_path: Path, scribe: Any) -> None:
    batch = [scribe.founding("n1"), scribe.edit("n1", {"defaults": {"x": "1"}}, {scribe.actor("n1"): 1})]
    async with opened(tmp_path / "deep" / "state") as database:
        assert await database.load() == type(await database.load())({}, (), {})
        await database.commit_edits(batch[:1])
        await database.commit_edits(batch[1:])
        await database.put_meta({"node": b"\x00\xff", "epoch": b"1"})
        await database.put_meta({"epoch": b"2"})
        await database.save_streams({"n1": b"one", "n2": b"two"}, (), 1.5)
        await database.save_streams({"n1": b"three"}, ("n2", "n9"), 2.5)
        await database.save_streams({}, (), 2.5)
        records = DatabaseRecords(database)
        await records.change("journal", {"a": b"1", "b": b"2"})
        await records.change("journal", {"b": b"3"}, ["a", "zz"])
        await records.change("other", {"a": b"4"})
        assert database.path.stat().st_mode & 0o777 == 0o600
        assert database.path.parent.stat().st_mode & 0o777 == 0o700
    async with opened(tmp_path / "deep" / "state") as database:
        loaded = await database.load()
        assert [decode_edit(raw) for raw in loaded.log] == batch
        assert loaded.meta == {"node": b"\x00\xff", "epoch": b"2"}
        assert loaded.streams == {"n1": b"three"}
        assert await DatabaseRecords(database).load("journal") == {"b": b"3"}
        assert await DatabaseRecords(database).load("none") == {}


async def test_commit_order_is_kept(tmp_path: Path, scribe: Any) -> None:
    batch: list[SignedEdit] = []
    context: dict[bytes, int] = {}
    for n in range(30):
        name = f"n{n % 3}"
        batch.append(scribe.edit(name, {"defaults": {"x": str(n)}}, context))
        context[scribe.actor(name)] = batch[-1].edit.counter
    async with opened(tmp_path) as database:
        for start in range(0, 30, 7):
            await database.commit_edits(batch[start : start + 7])
        assert (await database.load()).log == tuple(s.raw for s in batch)


async def test_a_dot_is_stored_once_and_a_batch_is_all_or_nothing(tmp_path: Path, scribe: Any) -> None:
    first, second = scribe.founding("n1"), scribe.edit("n2", {"defaults": {"x": "1"}})
    async with opened(tmp_path) as database:
        await database.commit_edits([first])
        with pytest.raises(UnavailableError) as caught:
            await database.commit_edits([second, first])
        assert caught.value.code == "database-refused"
        assert (await database.load()).log == (first.raw,)
        await database.commit_edits([second])
        assert (await database.load()).log == (first.raw, second.raw)


async def test_a_second_opener_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path):
        assert (await refusal(tmp_path)).code == "already-running"
    async with opened(tmp_path):
        pass


async def test_a_failed_opening_leaves_no_lock_behind(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"x" * 4096)
    assert (await refusal(tmp_path)).code == "database-corrupt"
    (tmp_path / FILE_NAME).unlink()
    async with opened(tmp_path):
        pass


@pytest.mark.parametrize("garbage", [b"garbage" * 1000, b"SQLite format 3\x00" + b"\xff" * 4080, b"SQLite format 3\x00"])
async def test_a_garbage_file_is_corrupt_and_is_kept(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(garbage)
    assert (await refusal(tmp_path)).code == "database-corrupt"
    assert path.read_bytes() == garbage


async def test_a_file_that_is_damaged_inside_is_corrupt(tmp_path: Path, scribe: Any) -> None:
    async with opened(tmp_path) as database:
        await database.commit_edits([scribe.edit(f"n{n}", {"overrides": {"text": "x" * 3000}}) for n in range(40)])
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    content[4096 * 3 :] = os.urandom(len(content) - 4096 * 3)
    path.write_bytes(content)
    assert (await refusal(tmp_path)).code == "database-corrupt"
    assert path.read_bytes() == bytes(content)


async def test_a_table_in_the_wrong_place_is_found_when_the_file_is_opened(tmp_path: Path, scribe: Any) -> None:
    async with opened(tmp_path) as database:
        await database.commit_edits([scribe.edit(f"n{n}", {}) for n in range(3)])
    with connected(tmp_path / FILE_NAME) as raw:
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'meta') WHERE name = 'edits'")
    assert (await refusal(tmp_path)).code == "database-corrupt"


async def test_a_newer_schema_is_refused_and_nothing_is_changed(tmp_path: Path, scribe: Any) -> None:
    async with opened(tmp_path) as database:
        await database.commit_edits([scribe.founding("n1")])
    with connected(tmp_path / FILE_NAME) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    before = (tmp_path / FILE_NAME).read_bytes()
    fault = await refusal(tmp_path)
    assert fault.code == "database-newer"
    assert "9999" in fault.message
    assert REVISION in fault.message
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} <= {FILE_NAME, "lock", FILE_NAME + "-wal", FILE_NAME + "-shm"}


async def test_the_migrations_lead_to_the_schema_of_the_tables(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    wanted = create_engine("sqlite://")
    metadata.create_all(wanted)
    found = create_engine(f"sqlite:///{tmp_path / FILE_NAME}")
    try:
        left, right = inspect(wanted), inspect(found)
        assert set(right.get_table_names()) == {*left.get_table_names(), "alembic_version"}
        for table in left.get_table_names():
            assert [str(c) for c in right.get_columns(table)] == [str(c) for c in left.get_columns(table)], table
            assert right.get_pk_constraint(table)["constrained_columns"] == left.get_pk_constraint(table)["constrained_columns"], table
            assert right.get_unique_constraints(table) == left.get_unique_constraints(table), table
            assert right.get_indexes(table) == left.get_indexes(table), table
    finally:
        wanted.dispose()
        found.dispose()


def test_the_newest_migration_is_the_revision() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(ROOT / "store" / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]


async def test_durability_settings(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        for connection, level in ((database._durable, 2), (database._relaxed, 1)):
            assert await database._run(lambda c=connection: c.exec_driver_sql("PRAGMA synchronous").scalar()) == level
            assert await database._run(lambda c=connection: c.exec_driver_sql("PRAGMA journal_mode").scalar()) == "wal"
            await database._run(lambda c=connection: c.rollback())


async def test_a_transaction_owns_the_file_from_its_beginning(tmp_path: Path) -> None:
    """A deferred one would fail at once, whatever the busy time, when it turns from reading to writing."""

    def compete() -> str:
        other = sqlite3.connect(tmp_path / FILE_NAME, timeout=0)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as fault:
            return str(fault)
        finally:
            other.close()
        return "not locked"

    async with opened(tmp_path) as database:
        for connection in (database._durable, database._relaxed):

            def begin(connection: Connection = connection) -> str:
                with connection.begin():
                    return compete()

            assert await database._run(begin) == "database is locked"


async def test_a_locked_database_is_a_clear_error_within_the_time_given(tmp_path: Path, scribe: Any) -> None:
    edit = scribe.founding("n1")
    async with opened(tmp_path, busy_ms=50) as database:
        with connected(tmp_path / FILE_NAME) as other:
            other.execute("BEGIN IMMEDIATE")
            for attempt in (
                database.commit_edits([edit]), database.save_streams({"n1": b""}, (), 0.0), database.put_meta({"a": b""}),
                database.change_records("k", {"a": b""}), database.rebase(b"base", [edit.dot]), database.append_events([(1, 0.0, b"")]),
                database.load_events(0, 1), database.last_event(), database.history(None, 1),
            ):  # fmt: skip
                with pytest.raises(UnavailableError) as caught:
                    await attempt
                assert caught.value.code == "database-locked"
                assert "fuser" in caught.value.hint
            other.execute("ROLLBACK")
        await database.commit_edits([edit])
        assert (await database.load()).log == (edit.raw,)


async def test_a_database_that_is_locked_at_start_is_a_clear_error(tmp_path: Path) -> None:
    with connected(tmp_path / FILE_NAME) as other:
        other.execute("CREATE TABLE t (x)")
        other.commit()
        other.execute("BEGIN EXCLUSIVE")
        assert (await refusal(tmp_path, busy_ms=50)).code == "database-locked"
        other.execute("ROLLBACK")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions bind root only when it is not root."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def reachable(tmp_path: Path) -> Path:
    """A directory below paths that everybody may enter."""
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & stat.S_IXOTH:
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
    tmp_path.chmod(0o755)
    return tmp_path


async def test_a_directory_that_cannot_be_written_is_refused(reachable: Path) -> None:
    directory = reachable / "state"
    directory.mkdir()
    directory.chmod(0o555)
    with as_nobody():
        assert (await refusal(directory)).code == "state-dir"
        assert (await refusal(directory / "deeper")).code == "state-dir"


async def test_a_file_that_cannot_be_written_is_read_only(reachable: Path) -> None:
    directory = reachable / "state"
    async with opened(directory):
        pass
    directory.chmod(0o555)
    (directory / "lock").chmod(0o666)
    (directory / FILE_NAME).chmod(0o444)
    with as_nobody():
        assert (await refusal(directory)).code == "database-read-only"


async def test_a_state_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert (await refusal(tmp_path / "state")).code == "state-dir"


async def test_a_full_disk_is_a_clear_error_and_reading_goes_on(tmp_path: Path, scribe: Any) -> None:
    first, large = scribe.founding("n1"), scribe.edit("n2", {"overrides": {"text": "x" * 500_000}})
    async with opened(tmp_path) as database:
        await database.commit_edits([first])
        pages = await database._run(lambda: database._durable.exec_driver_sql("PRAGMA page_count").scalar())
        await database._run(lambda: database._durable.exec_driver_sql(f"PRAGMA max_page_count = {int(pages or 0) + 8}").scalar())
        await database._run(database._durable.rollback)
        with pytest.raises(UnavailableError) as caught:
            await database.commit_edits([large])
        assert caught.value.code == "disk-full"
        assert (await database.load()).log == (first.raw,)
        small = scribe.edit("n3", {"defaults": {}})
        await database.commit_edits([small])
        assert (await database.load()).log == (first.raw, small.raw)


async def test_a_backup_of_a_file_in_use_is_complete(tmp_path: Path, scribe: Any) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    async with opened(tmp_path / "state") as database:
        await database.commit_edits([scribe.founding("n1")])
        backup_file(database.path, copy / FILE_NAME)
        await database.commit_edits([scribe.edit("n2", {"defaults": {}})])
    assert (copy / FILE_NAME).stat().st_mode & 0o777 == 0o600
    async with opened(copy) as database:
        assert (await database.load()).log == (scribe.founding("n1").raw,)


CRASH = """
import asyncio, sys
from pathlib import Path
from store.database import Database
from store.edits import decode_edit

async def main() -> None:
    database = await Database.open(Path(sys.argv[1]))
    await database.commit_edits([decode_edit(bytes.fromhex(raw)) for raw in sys.argv[2:]])
    print("told")

asyncio.run(main())
"""


@pytest.mark.parametrize("failpoint", [name for name in FAILPOINTS if name.startswith("store.commit.")])
async def test_a_kill_leaves_the_batch_whole_or_absent(tmp_path: Path, scribe: Any, failpoint: str) -> None:
    first = scribe.founding("n1")
    batch = [scribe.edit(f"m{n}", {"overrides": {"text": "x" * 20_000}}) for n in range(3)]
    async with opened(tmp_path) as database:
        await database.commit_edits([first])
    run = subprocess.run(
        [sys.executable, "-c", CRASH, str(tmp_path), *(s.raw.hex() for s in batch)],
        cwd=ROOT, env=os.environ | {"PATHMESH_FAILPOINT": failpoint}, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert run.stdout == b""
    async with opened(tmp_path) as database:
        log = (await database.load()).log
        assert log in ((first.raw,), (first.raw, *(s.raw for s in batch)))
        assert (len(log) == 4) == (failpoint == "store.commit.after")
        if len(log) == 1:
            await database.commit_edits(batch)
        with pytest.raises(UnavailableError):
            await database.commit_edits(batch[:1])


def chain(scribe: Any, count: int, size: int = 0) -> list[SignedEdit]:
    """Edits of two authors in turn."""
    made: list[SignedEdit] = []
    clock: dict[bytes, int] = {}
    for n in range(count):
        edit = scribe.edit(f"n{n % 2}", {f"wwid/{n}": {"alias": "x" * size}}, clock)
        made.append(edit)
        clock = clock | {edit.edit.actor: edit.edit.counter}
    return made


def raws(edits: list[SignedEdit]) -> tuple[bytes, ...]:
    return tuple(edit.raw for edit in edits)


async def test_a_rebase_moves_what_goes_to_the_history(tmp_path: Path, scribe: Any) -> None:
    edits = chain(scribe, 9)
    async with opened(tmp_path) as database:
        assert (await database.load()).base is None
        await database.commit_edits(edits)
        await database.rebase(b"first", [edits[n].dot for n in (0, 2, 5)])
        await database.rebase(b"second", [edits[8].dot, edits[1].dot, edits[0].dot, Dot(bytes(16), 5)])
        loaded = await database.load()
        assert loaded.base == b"second"
        assert loaded.log == raws([edits[n] for n in (3, 4, 6, 7)])
        past = await database.history(None, 100)
        assert [raw for _, raw in past] == [edits[n].raw for n in (8, 5, 2, 1, 0)], "newest first, by when they were committed"
        assert await database.history(None, 2) == past[:2]
        assert await database.history(past[1][0], 2) == past[2:4]
        assert await database.history(past[-1][0], 2) == []
        await database.rebase(b"third", [])
        assert (await database.load()).base == b"third"
    async with opened(tmp_path) as database:
        assert (await database.load()).log == raws([edits[n] for n in (3, 4, 6, 7)])
        more = scribe.edit("n7", {})
        await database.commit_edits([more])
        await database.rebase(b"fourth", [more.dot])
        assert [raw for _, raw in await database.history(None, 100)] == [more.raw, *(raw for _, raw in past)], "no place is used twice"
        with pytest.raises(UnavailableError):
            await database.commit_edits([edits[3]])


async def test_a_rebase_with_a_log_leaves_exactly_that(tmp_path: Path, scribe: Any) -> None:
    edits = chain(scribe, 8)
    other = scribe.edit("n0", {"defaults": {"x": "another with the same number"}})
    async with opened(tmp_path) as database:
        await database.commit_edits(edits[:6])
        await database.rebase(b"first", [edits[1].dot])
        wanted = [edits[6], edits[3], edits[1], edits[7], other]
        await database.rebase(b"second", (), raws(wanted))
        loaded = await database.load()
        assert (loaded.base, loaded.log) == (b"second", raws(wanted))
        assert [raw for _, raw in await database.history(None, 100)] == list(raws([edits[5], edits[4], edits[2], edits[0]]))
        more = scribe.edit("n7", {})
        await database.commit_edits([more])
        assert (await database.load()).log == raws([*wanted, more])
        await database.rebase(b"third", (), [])
        assert (await database.load()).log == ()
        await database.commit_edits([edits[0]])
    async with opened(tmp_path) as database:
        assert (await database.load()).log == (edits[0].raw,)
        assert [raw for _, raw in await database.history(None, 4)] == list(raws([more, other, edits[7], edits[1]]))


@pytest.mark.parametrize(("most", "size"), [(3, 10**9), (10**9, 2500)])
async def test_the_history_is_bounded(tmp_path: Path, scribe: Any, monkeypatch: pytest.MonkeyPatch, most: int, size: int) -> None:
    monkeypatch.setitem(limits.LIMITS, "history_edits", limits.Limit(most, "edits", "", ""))
    monkeypatch.setitem(limits.LIMITS, "history_bytes", limits.Limit(size, "bytes", "", ""))
    edits = chain(scribe, 10, 500)
    fits = min(most, size // len(edits[-1].raw))
    assert 1 < fits < 6
    async with opened(tmp_path) as database:
        await database.commit_edits(edits)
        await database.rebase(b"one", [edit.dot for edit in edits[:5]])
        assert [raw for _, raw in await database.history(None, 100)] == list(raws(edits[4 : 4 - fits : -1]))
        await database.rebase(b"two", [edit.dot for edit in edits[5:]])
        assert [raw for _, raw in await database.history(None, 100)] == list(raws(edits[9 : 9 - fits : -1]))


async def test_a_rebase_that_fails_leaves_all_as_it_was(tmp_path: Path, scribe: Any) -> None:
    edits = chain(scribe, 4)
    async with opened(tmp_path) as database:
        await database.commit_edits(edits)
        await database.rebase(b"first", [edits[0].dot])
        before = await database.load()
        pages = await database._run(lambda: database._durable.exec_driver_sql("PRAGMA page_count").scalar())
        await database._run(lambda: database._durable.exec_driver_sql(f"PRAGMA max_page_count = {int(pages or 0) + 4}").scalar())
        await database._run(database._durable.rollback)
        for arguments in ((b"x" * 200_000, [edits[1].dot]), (b"x" * 200_000, (), raws(edits[2:]))):
            with pytest.raises(UnavailableError) as caught:
                await database.rebase(*arguments)
            assert caught.value.code == "disk-full"
            assert await database.load() == before
        assert len(await database.history(None, 9)) == 1
        await database.commit_edits([scribe.edit("n5", {})])


REBASE = """
import asyncio, sys
from pathlib import Path
from store.database import Database
from store.edits import decode_edit

async def main() -> None:
    database = await Database.open(Path(sys.argv[1]))
    edits = [decode_edit(bytes.fromhex(raw)) for raw in sys.argv[3:]]
    if sys.argv[2] == "gone":
        await database.rebase(b"after", [edits[0].dot, edits[2].dot])
    else:
        await database.rebase(b"after", (), [edits[1].raw, edits[3].raw])
    print("told")

asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["gone", "log"])
@pytest.mark.parametrize("failpoint", [name for name in FAILPOINTS if name.startswith("store.rebase.")])
async def test_a_kill_leaves_base_and_log_fitting_together(tmp_path: Path, scribe: Any, failpoint: str, way: str) -> None:
    edits = chain(scribe, 4)
    async with opened(tmp_path) as database:
        await database.commit_edits(edits)
        await database.rebase(b"before", [])
    run = subprocess.run(
        [sys.executable, "-c", REBASE, str(tmp_path), way, *(edit.raw.hex() for edit in edits)],
        cwd=ROOT, env=os.environ | {"PATHMESH_FAILPOINT": failpoint}, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert run.stdout == b""
    async with opened(tmp_path) as database:
        loaded, past = await database.load(), [raw for _, raw in await database.history(None, 9)]
        if failpoint == "store.rebase.after":
            assert (loaded.base, loaded.log, past) == (b"after", (edits[1].raw, edits[3].raw), [edits[2].raw, edits[0].raw])
        else:
            assert (loaded.base, loaded.log, past) == (b"before", raws(edits), [])


async def test_events_are_kept_in_order_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(limits.LIMITS, "events", limits.Limit(5, "events", "", ""))
    rows = [(cursor, cursor / 2, b"event %d" % cursor) for cursor in (1, 2, 3, 7, 8, 9, 20)]
    async with opened(tmp_path) as database:
        assert await database.last_event() == 0
        assert await database.load_events(0, 10) == []
        await database.append_events([])
        await database.append_events(rows[:3])
        assert await database.load_events(0, 10) == rows[:3]
        await database.append_events(rows[3:])
        assert await database.load_events(0, 10) == rows[2:]
    async with opened(tmp_path) as database:
        assert await database.last_event() == 20
        assert await database.load_events(7, 2) == rows[4:6]
        assert await database.load_events(20, 2) == []


async def test_a_large_collection_is_written_quickly_enough(tmp_path: Path, scribe: Any) -> None:
    edits = chain(scribe, 5000)
    async with opened(tmp_path) as database:
        await database.commit_edits(edits)
        began = time.perf_counter()
        await database.rebase(b"base", [edit.dot for edit in edits[:-1]])
        assert time.perf_counter() - began < 3
        assert (await database.load()).log == (edits[-1].raw,)


async def test_a_damaged_file_is_set_aside_and_three_are_kept(tmp_path: Path, scribe: Any) -> None:
    for number in range(1, 6):
        (tmp_path / FILE_NAME).write_bytes(b"garbage %d" % number)
        (tmp_path / f"{FILE_NAME}-wal").write_bytes(b"wal %d" % number)
        if number % 2:
            (tmp_path / f"{FILE_NAME}-shm").write_bytes(b"shm")
        aside = Database.quarantine(tmp_path, f"reason {number}")
        assert aside.name == f"{FILE_NAME}.damaged-{number}"
        assert aside.read_bytes() == b"garbage %d" % number
        assert aside.with_name(aside.name + "-wal").read_bytes() == b"wal %d" % number
        assert aside.with_name(aside.name + ".why").read_text() == f"reason {number}\n"
        assert not [path for path in tmp_path.iterdir() if path.name in (FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm")]
    kept = {path.name for path in tmp_path.iterdir()}
    assert {name.removeprefix(f"{FILE_NAME}.damaged-")[0] for name in kept} == {"3", "4", "5"}
    async with opened(tmp_path) as database:
        await database.commit_edits([scribe.founding("n1")])
    assert Database.quarantine(tmp_path, "why not").name == f"{FILE_NAME}.damaged-6"


async def test_setting_aside_nothing_is_no_error(tmp_path: Path) -> None:
    assert not Database.quarantine(tmp_path, "gone").exists()


async def test_a_file_that_cannot_be_set_aside_is_a_clear_error(reachable: Path) -> None:
    directory = reachable / "state"
    async with opened(directory):
        pass
    directory.chmod(0o555)
    with as_nobody(), pytest.raises(UnavailableError) as caught:
        Database.quarantine(directory, "why")
    assert caught.value.code == "state-dir"
    assert (directory / FILE_NAME).exists()
