"""Databases that earlier versions and this one have written: every later version reads them, and they say what they always said.

The files in tests/data/golden are never made anew; scripts/golden.py made them.
"""

import shutil
from pathlib import Path

import pytest

from agent.birth import Birth, decode_birth
from agent.settings import Settings
from gossip.keys import verify
from scripts import golden
from store.base import Base, decode_base
from store.clocks import Dot
from store.database import FILE_NAME, Database, DatabaseRecords, Loaded
from store.edits import decode_edit
from store.health import decode_stream
from store.level import KindIs
from store.members import MemberState, Role
from store.replica import Admission, Replica
from store.schema import REVISION
from store.snapshot import make_snapshot, read_snapshot

pytestmark = pytest.mark.anyio
DIRECTORY = Path(__file__).parents[1] / "data" / "golden"

STATE_HASHES = {
    "database-0001": "1900226e0f76c67aecf7f41b4585b719c9766fa82a9a509fc7e0ed6413483b99",
    "database-0002": "9ba5219c645209e46769e017cf77fe60535e7a75b235e0eabefc541f8aacee7a",
}


@pytest.fixture
def state(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of the golden directory that the test names."""
    return shutil.copytree(DIRECTORY / request.param, tmp_path / request.param)


def replica_of(loaded: Loaded) -> Replica:
    base = decode_base(loaded.base) if loaded.base is not None else None
    return Replica("golden", verify, map(decode_edit, loaded.log), base)


def dot(name: str, counter: int) -> Dot:
    return Dot(golden.actor(name), counter)


def check_common(replica: Replica, loaded: Loaded) -> None:
    """What both files say."""
    fold = replica.fold
    assert fold.value("cluster/identity") == {"id": "golden", "name": "golden"}
    assert fold.value("defaults") == {"path_grouping_policy": "group_by_prio", "polling_interval": "5"}
    assert fold.value("overrides") == {"text": "devices {\n}\n"}
    assert fold.value("wwid/3600c") is None
    assert fold.value("storage/san") == {"type": "lvm"}
    assert {s.value["alias"]: s.dot for s in fold.siblings("wwid/3600a") if s.value} == {"vmpool": dot("n1", 9), "backup": dot("n2", 4)}
    winner = max((dot("n1", 9), "vmpool"), (dot("n2", 4), "backup"))[1]
    assert fold.value("wwid/3600a") == {"alias": winner}
    assert "wwid/3600a" in fold.conflicts
    assert {name: m.role for name, m in replica.registry.by_name.items()} == {
        "n1": Role.ADMIN, "n2": Role.EDITOR, "n3": Role.OBSERVER, "n4": Role.ADMIN,
    }  # fmt: skip
    assert all(member == golden.member(name, member.role, member.state) for name, member in replica.registry.by_name.items())
    assert all(replica.authors[golden.actor(name)][0].name == name for name in ("n1", "n2", "n3", "n4"))
    *_, coloured, unknown = replica.edits()
    assert b"colour" in coloured.raw and unknown.edit.kind == "merge-9"
    assert replica.kind(unknown) is KindIs.IMPOSSIBLE, "nobody had raised the level"
    assert replica.unknown_kinds == 0
    assert replica.collect(fold.clock) is not None
    assert replica._authors.beyond == {golden.actor("n2"): (dot("n2", 5),)}
    assert all(replica.signer(signed) for signed in replica.edits())
    assert loaded.meta["epoch"] == (7).to_bytes(8, "big")
    birth = decode_birth(loaded.meta["node"], Settings())
    assert birth == Birth("n1", golden.actor("n1"), "golden", "golden")
    stream = decode_stream(loaded.streams["n2"], 0)
    [entry] = stream.entries.values()
    assert (entry.cell.state, entry.cell.reasons, entry.cell.detail) == ("degraded", ("path-lost",), {"paths": 2})
    assert stream.head.content == (3, 1)
    snapshot = read_snapshot(make_snapshot(replica), "golden", verify, {golden.actor("n1"): golden.member("n1", Role.ADMIN).signing_key})
    assert Replica("golden", verify, snapshot.log, snapshot.base).fold.state_hash == fold.state_hash


@pytest.mark.parametrize("state", ["database-0001"], indirect=True)
async def test_the_first_revision_is_upgraded_with_everything_kept(state: Path) -> None:
    for _ in range(2):
        database = await Database.open(state)
        loaded = await database.load()
        assert loaded.base is None
        assert len(loaded.log) == 17
        assert await database.history(None, 10) == []
        assert await database.last_event() == 0
        assert await DatabaseRecords(database).load("journal") == {"intent": b"\x00kept"}
        await database.close()
    replica = replica_of(loaded)
    check_common(replica, loaded)
    assert replica.fold.state_hash.hex() == STATE_HASHES["database-0001"]
    assert replica.fold.conflicts == ["wwid/3600a"]
    assert replica.fold.value("wwid/3600b") == {"alias": "beta"}
    assert len(replica.registry.active) == 4
    assert replica.raw(dot("n1", 1)) == loaded.log[0]
    backup = state / f"{FILE_NAME}.before-{REVISION}"
    assert backup.exists()
    older = shutil.copytree(state, state.parent / "again", ignore=lambda *_: {FILE_NAME})
    backup_again = older / backup.name
    backup_again.replace(older / FILE_NAME)
    database = await Database.open(older)
    assert (await database.load()).log == loaded.log
    await database.close()


@pytest.mark.parametrize("state", ["database-0002"], indirect=True)
async def test_the_second_revision_says_what_it_always_said(state: Path) -> None:
    database = await Database.open(state)
    loaded = await database.load()
    past = [decode_edit(raw) for _, raw in await database.history(None, 100)]
    assert await DatabaseRecords(database).load("journal") == {"intent": b"\x00kept"}
    assert await database.load_events(1, 10) == [(n, 1_700_000_000.0 + n, b'{"event": %d}' % n) for n in (2, 3)]
    assert await database.last_event() == 3
    replica = replica_of(loaded)
    check_common(replica, loaded)
    fold, base = replica.fold, replica.base
    assert fold.state_hash.hex() == STATE_HASHES["database-0002"]
    assert isinstance(base, Base)
    assert base.floor == {golden.actor("n1"): 9, golden.actor("n2"): 5, golden.actor("n4"): 1}
    assert [signed.dot for signed in past] == [dot("n2", 5), dot("n2", 3), dot("n1", 8), dot("n2", 2), dot("n1", 6), dot("n1", 5)]
    assert not any(replica.raw(signed.dot) for signed in past)
    assert all(replica.admit(signed) is Admission.DUPLICATE for signed in past)
    assert "wwid/3600c" not in fold, "its deletion was collected"
    assert fold.siblings("wwid/3600d")[0].value is None, "this deletion was not"
    assert fold.conflicts == ["wwid/3600a", "wwid/3600b"]
    session = fold.siblings("wwid/3600d")[0].dot
    assert session.counter == 3 and session.actor != golden.actor("n2")
    late = replica.signed(Dot(session.actor, 1))
    assert late is not None
    assert (late.edit.kind, late.edit.owner, late.edit.reason) == ("late", golden.actor("n2"), "late: n2")
    assert {name: m.state for name, m in replica.registry.by_name.items() if not m.active} == {
        "n3": MemberState.LEFT, "n4": MemberState.RETIRED,
    }  # fmt: skip
    assert decode_stream(loaded.streams["n2"], 0).head.clock_tag == b"golden!!"
    assert replica.behind({}) and not replica.behind(base.floor)
    raws, more = replica.since(base.floor, 10**9)
    assert not more and len(raws) == 7
    await database.close()
    assert not list(state.glob("*.before-*")), "nothing was upgraded"


async def test_the_script_makes_the_same_again(tmp_path: Path) -> None:
    """As long as nothing of the format has changed: then a further golden file is due."""
    await golden.make_second(tmp_path)
    contents = []
    for directory in (tmp_path, shutil.copytree(DIRECTORY / "database-0002", tmp_path / "copy")):
        database = await Database.open(directory)
        contents.append((await database.load(), await database.history(None, 100), await database.load_events(0, 100)))
        await database.close()
    assert contents[0] == contents[1]


def test_a_golden_file_is_never_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("database-0001", "database-0002"):
        (tmp_path / name).mkdir()
    golden.databases(tmp_path)
    assert not list(tmp_path.glob("*/*"))
    assert capsys.readouterr().out.count("left as it is") == 2
