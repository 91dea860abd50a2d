"""Opening a node whose disk has lost something: what is found, what is kept, and as whom it goes on."""

import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio.to_thread import run_sync

from agent import guard as guard_module
from agent.bootstrap import init
from agent.guard import Guard, read_guard, write_guard
from agent.recovery import Opened, open_state
from store.database import FILE_NAME
from store.errors import PathmeshError

pytestmark = pytest.mark.anyio
Open = Callable[..., Any]


@pytest.fixture
async def settings(tmp_path: Path, settings_in: Any, plant_edits: Any) -> Any:
    """A node that was started before, in a cluster of two."""
    settings = settings_in(tmp_path)
    await run_sync(init, settings, "n1", "san")
    await run_sync(plant_edits, settings, {"n1": {"ack/x": {"n": "1"}}, "n2": {"ack/y": {"n": "2"}}})
    async with opened(settings):
        pass
    return settings


@contextlib.asynccontextmanager
async def opened(settings: Any, *, clean: bool = True) -> AsyncIterator[Opened]:
    """The node's state, open; afterwards closed, or left as a killed process leaves it."""
    state = await open_state(settings)
    try:
        yield state
    finally:
        if clean:
            await state.keeper.close(state.replica.fold.clock.get(state.birth.actor, 0))
        await state.database.close()


def path(settings: Any) -> Path:
    return settings.node.state_dir / FILE_NAME


def guard_of(settings: Any) -> Guard:
    found = read_guard(settings.node.state_dir)
    assert found is not None
    return found


def codes(state: Opened) -> list[str]:
    return [notice.code for notice in state.notices]


def copy(settings: Any, target: Path) -> None:
    """The database of a node that does not run, as a backup tool takes it."""
    with contextlib.closing(sqlite3.connect(path(settings))) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(path(settings), target)


def put_back(settings: Any, source: Path) -> None:
    for part in ("-wal", "-shm"):
        path(settings).with_name(FILE_NAME + part).unlink(missing_ok=True)
    shutil.copy(source, path(settings))


async def refused(settings: Any) -> PathmeshError:
    before = {p: p.read_bytes() for p in settings.node.state_dir.iterdir()} if settings.node.state_dir.exists() else {}
    with pytest.raises(PathmeshError) as caught:
        await open_state(settings)
    after = {p: p.read_bytes() for p in settings.node.state_dir.iterdir()} if settings.node.state_dir.exists() else {}
    ignored = {"lock", f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"}
    assert {p for p in after if p.name not in ignored} == {p for p in before if p.name not in ignored}, "nothing moved"
    assert "\n" not in caught.value.message
    return caught.value


async def test_an_ordinary_start_tells_nothing_and_moves_the_epoch_on(settings: Any) -> None:
    for clean in (True, False, True):
        before = guard_of(settings)
        async with opened(settings, clean=clean) as state:
            assert (state.restored, state.notices, state.epoch) == (False, (), before.epoch + 1)
            assert guard_of(settings).epoch == state.epoch, "durable before anything is sent"
            assert state.birth.bootstrap == ()
    assert [m.name for m in guard_of(settings).members] == ["n1", "n2"]


async def test_a_database_from_a_backup_is_noticed_and_told_once(settings: Any, tmp_path: Path) -> None:
    copy(settings, tmp_path / "backup")
    async with opened(settings):
        pass
    newest = guard_of(settings)
    put_back(settings, tmp_path / "backup")
    async with opened(settings) as state:
        assert state.restored and codes(state) == ["database-restored"] and "actor" in state.notices[0].hint
        assert state.epoch == newest.epoch + 1, "an epoch that it never had"
        assert [m.name for m in state.birth.bootstrap] == ["n1", "n2"]
    async with opened(settings) as state:
        assert state.restored and state.notices == (), "still so until it has caught up, but no news"
        state.keeper.settled(state.replica.fold.clock, state.replica.knows)
    async with opened(settings) as state:
        assert not state.restored and state.notices == ()


async def test_a_database_that_lacks_own_edits_is_noticed(settings: Any, tmp_path: Path) -> None:
    copy(settings, tmp_path / "backup")
    guard = guard_of(settings)
    # The agent wrote three more edits in one life, and the copy was put back without a start in between.
    write_guard(settings.node.state_dir, Guard(guard.birth, guard.epoch, guard.least + 3, guard.ceiling + 3, guard.members))
    async with opened(settings) as state:
        assert codes(state) == ["database-restored"] and f"{guard.least + 3} at least" in state.notices[0].message
        assert state.keeper.guard.ceiling == guard.ceiling + 3, "what was promised stays promised"


async def test_a_database_that_lacks_what_was_in_effect_is_noticed(settings: Any, tmp_path: Path) -> None:
    """Within one boot and the room for own edits nothing else tells: it was copied while the node ran, and put back over it."""
    async with opened(settings) as state:
        seen = dict(state.replica.fold.clock)
        other = next(actor for actor in seen if actor != state.birth.actor)
        await state.keeper.applied(seen | {other: seen[other] + 1})
    for notices in (["database-restored"], []):
        async with opened(settings) as state:
            assert state.restored and codes(state) == notices
            assert not notices or "in effect" in state.notices[0].message
            assert guard_of(settings).applied == {**seen, other: seen[other] + 1}, "until nobody can have it any more"
            if not notices:
                state.keeper.settled(seen, state.replica.knows)
    async with opened(settings) as state:
        assert not state.restored and guard_of(settings).applied == seen


async def test_a_guard_that_is_older_than_the_database_is_noticed(settings: Any) -> None:
    guard = guard_of(settings)
    write_guard(settings.node.state_dir, msgspec.structs.replace(guard, least=1, ceiling=guard.ceiling - 1))
    async with opened(settings) as state:
        assert state.restored and codes(state) == ["database-restored"] and "at most" in state.notices[0].message


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"\xc1"], ids=["gone", "empty", "text", "bytes"])
async def test_without_a_guard_nobody_can_tell(settings: Any, content: bytes | None) -> None:
    file = settings.node.state_dir / guard_module.FILE_NAME
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    async with opened(settings) as state:
        assert state.restored and codes(state) == ["guard-missing"] and str(file) in state.notices[0].message
    async with opened(settings) as state:
        assert state.restored and codes(state) == []


def wipe(settings: Any) -> None:
    for file in settings.node.state_dir.glob(f"{FILE_NAME}*"):
        file.unlink()


def leave_journal(settings: Any) -> None:
    wipe(settings)
    path(settings).with_name(FILE_NAME + "-wal").write_bytes(b"an old journal")


def garbage(settings: Any) -> None:
    path(settings).write_bytes(b"this is no database at all" * 400)


def torn_log(settings: Any) -> None:
    with contextlib.closing(sqlite3.connect(path(settings))) as file:
        file.execute("UPDATE edits SET raw = x'00' WHERE position = (SELECT max(position) FROM edits)")
        file.commit()


def gap(settings: Any) -> None:
    with contextlib.closing(sqlite3.connect(path(settings))) as file:
        file.execute("DELETE FROM edits WHERE position = (SELECT min(position) FROM edits)")
        file.commit()


def empty(settings: Any) -> None:
    wipe(settings)
    path(settings).touch()


def bad_record(settings: Any) -> None:
    with contextlib.closing(sqlite3.connect(path(settings))) as file:
        file.execute("UPDATE meta SET value = x'c1' WHERE name = 'node'")
        file.commit()


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (wipe, "database-lost"),
        (leave_journal, "database-lost"),
        (garbage, "database-damaged"),
        (torn_log, "database-damaged"),
        (gap, "database-damaged"),
        (empty, "database-damaged"),
        (bad_record, "database-damaged"),
    ],
)
async def test_a_database_that_is_lost_is_made_anew_for_the_peers_to_fill(settings: Any, harm: Callable[[Any], None], code: str) -> None:
    before = guard_of(settings)
    harm(settings)
    content = path(settings).read_bytes() if path(settings).exists() else None
    async with opened(settings) as state:
        assert state.restored and codes(state) == [code] and len(state.replica) == 0
        assert (state.birth.name, state.birth.actor, state.birth.cluster_id) == (
            before.birth.name,
            before.birth.actor,
            before.birth.cluster_id,
        )
        assert state.birth.bootstrap == before.members and state.epoch == before.epoch + 1
        if code == "database-damaged":
            aside = path(settings).with_name(f"{FILE_NAME}.damaged-1")
            assert str(aside) in state.notices[0].message
            assert content is not None and aside.stat().st_size >= len(content)
    async with opened(settings) as state:
        assert state.restored and state.notices == () and state.birth.bootstrap == before.members, "until it has been filled"
        assert guard_of(settings).members == before.members


async def test_a_start_that_breaks_off_anywhere_is_made_good_by_the_next(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = guard_of(settings)
    garbage(settings)
    with monkeypatch.context() as broken:

        def full(*_: Any) -> None:
            raise PathmeshError("no space", code="guard-not-written")

        broken.setattr("agent.recovery.write_guard", full)
        with pytest.raises(PathmeshError, match="no space"):
            await open_state(settings)
    async with opened(settings) as state:
        assert state.restored and state.birth.bootstrap == before.members and state.epoch == before.epoch + 2


async def test_a_node_that_is_alone_does_not_start_without_its_database(tmp_path: Path, settings_in: Any) -> None:
    settings = settings_in(tmp_path)
    await run_sync(init, settings, "n1", "san")
    kept = path(settings).read_bytes()
    path(settings).write_bytes(b"this is no database at all" * 400)
    fault = await refused(settings)
    assert fault.code == "database-corrupt" and "alone" in fault.message and "backup" in fault.hint and "pathmesh init" in fault.hint
    wipe(settings)
    fault = await refused(settings)
    assert fault.code == "database-lost" and "alone" in fault.message
    path(settings).write_bytes(kept)


async def test_a_lone_node_with_an_older_database_is_told_and_goes_on(tmp_path: Path, settings_in: Any) -> None:
    settings = settings_in(tmp_path)
    await run_sync(init, settings, "n1", "san")
    copy(settings, tmp_path / "backup")
    async with opened(settings):
        pass
    put_back(settings, tmp_path / "backup")
    async with opened(settings) as state:
        assert state.restored and codes(state) == ["database-restored"] and "lost" in state.notices[0].hint
    async with opened(settings) as state:
        assert not state.restored, "there is nobody to catch up with"
        seen = dict(state.replica.fold.clock)
        await state.keeper.applied({state.birth.actor: seen[state.birth.actor] + 1})
    for _ in range(2):
        async with opened(settings) as state:
            assert state.restored and "apply --now" in state.notices[0].hint, "until somebody says so"
    async with opened(settings) as state:
        await state.keeper.lower(seen)
    async with opened(settings) as state:
        assert not state.restored


async def test_the_guard_of_another_node_is_refused(settings: Any, tmp_path: Path, settings_in: Any) -> None:
    other = settings_in(tmp_path / "other")
    await run_sync(init, other, "n9", "elsewhere")
    shutil.copy(other.node.state_dir / "guard", settings.node.state_dir / "guard")
    fault = await refused(settings)
    assert fault.code == "guard-mismatch" and "n9" in fault.message and "n1" in fault.message and "copied" in fault.hint


async def test_the_keys_of_another_node_fill_no_lost_database(settings: Any, tmp_path: Path, settings_in: Any) -> None:
    other = settings_in(tmp_path / "other")
    await run_sync(init, other, "n9", "elsewhere")
    shutil.rmtree(settings.node.keys_dir)
    shutil.copytree(other.node.keys_dir, settings.node.keys_dir)
    wipe(settings)
    assert (await refused(settings)).code == "guard-mismatch"


async def test_without_keys_nothing_is_made_anew(settings: Any) -> None:
    (settings.node.keys_dir / "signing.key").unlink()
    wipe(settings)
    fault = await refused(settings)
    assert fault.code == "key-missing" and "backup" in fault.hint
    assert not path(settings).exists()


async def test_neither_database_nor_guard_is_a_node_that_was_never_made(settings: Any) -> None:
    wipe(settings)
    (settings.node.state_dir / "guard").unlink()
    assert (await refused(settings)).code == "not-a-member"
