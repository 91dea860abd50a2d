"""The allow-list file: appended and disabled in place, under the lock that the tools take."""

import asyncio
import fcntl
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.wwids import WwidsChanged, WwidsError, append, cut, disable, read
from apply.wwids_file import HEADER, AllowList

pytestmark = pytest.mark.anyio

HAND_MADE = HEADER + b"/3600hand/\n#3600gone/\n/has space/\n  /3600indented/\n/3600comment/  # text\n3600bare\n/3600noslash\n"


async def test_an_absent_file_is_made_as_the_tools_make_it(tmp_path: Path) -> None:
    path = tmp_path / "multipath" / "wwids"
    assert read(path).active == frozenset()
    await append(path, read(path), {"361", "360"})
    assert path.read_bytes() == HEADER + b"/360/\n/361/\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_only_lines_from_column_0_with_two_slashes_count() -> None:
    assert AllowList(HAND_MADE).active == {"3600hand", "has space", "3600comment"}


async def test_appending_changes_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "wwids"
    path.write_bytes(HAND_MADE)
    path.chmod(0o640)
    inode = path.stat().st_ino
    assert await append(path, read(path), {"3600hand", "36new"}) == b"/36new/\n"
    assert path.read_bytes() == HAND_MADE + b"/36new/\n"
    assert (path.stat().st_ino, path.stat().st_mode & 0o777) == (inode, 0o640)


async def test_a_file_without_a_final_newline(tmp_path: Path) -> None:
    path = tmp_path / "wwids"
    path.write_bytes(b"/3600hand/")
    await append(path, read(path), {"36new"})
    assert path.read_bytes() == b"/3600hand/\n/36new/\n"


async def test_nothing_missing_is_nothing_written(tmp_path: Path) -> None:
    path = tmp_path / "wwids"
    path.write_bytes(HAND_MADE)
    path.chmod(0o400)
    assert await append(path, read(path), {"3600hand"}) == b""


async def test_a_file_that_changed_meanwhile_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "wwids"
    path.write_bytes(HAND_MADE)
    before = read(path)
    path.write_bytes(HAND_MADE + b"/36other/\n")
    with pytest.raises(WwidsChanged):
        await append(path, before, {"36new"})
    assert path.read_bytes() == HAND_MADE + b"/36other/\n"


async def test_disabling_turns_one_slash(tmp_path: Path) -> None:
    path = tmp_path / "wwids"
    path.write_bytes(b"/a/\n/b/\n/a/ again\n#c/\n")
    inode = path.stat().st_ino
    assert await disable(path, {"a", "c", "z"}) == {"a"}
    assert path.read_bytes() == b"#a/\n/b/\n/a/ again\n#c/\n"
    assert path.stat().st_ino == inode
    assert await disable(path, {"a"}) == {"a"}
    assert path.read_bytes() == b"#a/\n/b/\n#a/ again\n#c/\n"
    assert await disable(tmp_path / "absent", {"a"}) == frozenset()
    assert not (tmp_path / "absent").exists()


async def test_a_disabled_line_can_be_added_again(tmp_path: Path) -> None:
    path = tmp_path / "wwids"
    path.write_bytes(b"#a/\n")
    await append(path, read(path), {"a"})
    assert path.read_bytes() == b"#a/\n/a/\n"


LOCKER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.readline()
"""


@contextmanager
def locked_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", LOCKER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(10)


async def test_another_process_with_the_lock_is_waited_for_and_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "wwids"
    path.write_bytes(HAND_MADE)
    with locked_elsewhere(path) as process:
        with pytest.raises(WwidsError, match=r"more than 0\.1 s") as caught:
            await append(path, read(path), {"36new"}, wait=0.1)
        assert "fuser" in caught.value.hint
        assert path.read_bytes() == HAND_MADE
        assert process.stdin is not None
        threading.Timer(0.1, process.stdin.close).start()
        await append(path, read(path), {"36new"}, wait=10)
    assert read(path).active >= {"36new"}


@pytest.mark.parametrize("what", ["append", "disable"])
async def test_waiting_for_the_lock_can_be_cancelled_and_nothing_is_written_afterwards(tmp_path: Path, what: str) -> None:
    path = tmp_path / "wwids"
    path.write_bytes(HAND_MADE)
    with locked_elsewhere(path):
        work = append(path, read(path), {"36new"}) if what == "append" else disable(path, {"3600hand"})
        task = asyncio.create_task(work)
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await task
    await asyncio.get_running_loop().shutdown_default_executor()  # a thread that still waited for the lock would have it by now
    assert path.read_bytes() == HAND_MADE


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A file system that is full, as far as a process can make one: writing beyond `size` bytes fails, what is below is written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_an_append_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "wwids"
    path.write_bytes(HAND_MADE)
    with files_of_at_most(len(HAND_MADE) + 9), pytest.raises(WwidsError, match="File too large") as caught:
        await append(path, read(path), {"36new", "36newer"})
    assert caught.value.code == "write-failed"
    assert path.read_bytes() == HAND_MADE
    await append(path, read(path), {"36new", "36newer"})
    assert path.read_bytes() == HAND_MADE + b"/36new/\n/36newer/\n"


async def test_cutting_back_only_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "wwids"
    path.write_bytes(HAND_MADE + b"/36ne")
    torn = read(path)
    path.write_bytes(HAND_MADE + b"/36new/\n")
    with pytest.raises(WwidsChanged):
        await cut(path, torn, len(HAND_MADE))
    assert path.read_bytes() == HAND_MADE + b"/36new/\n"
    path.write_bytes(torn.content)
    await cut(path, torn, len(HAND_MADE))
    assert path.read_bytes() == HAND_MADE


async def test_our_lock_is_one_that_the_tools_respect(tmp_path: Path) -> None:
    """A plain fcntl lock of another process is refused while ours is held, also after this process closed the file elsewhere."""
    from apply.wwids import _lock  # the lock itself has no public name

    path = tmp_path / "wwids"
    path.write_bytes(HAND_MADE)
    fd = os.open(path, os.O_RDWR)
    try:
        async with _lock(path, fd, 1.0):
            path.read_bytes()
            probe = "import fcntl,sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
            refused = subprocess.run([sys.executable, "-c", probe, str(path)], capture_output=True, text=True, check=False)
            assert "BlockingIOError" in refused.stderr
    finally:
        os.close(fd)
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    directory = tmp_path / "wwids"
    directory.mkdir()
    with pytest.raises(WwidsError) as caught:
        read(directory)
    assert str(directory) in caught.value.message
    blocked = tmp_path / "file" / "wwids"
    (tmp_path / "file").touch()
    with pytest.raises(WwidsError):
        await append(blocked, AllowList(b""), {"36new"})


@pytest.mark.parametrize(("number", "code"), [(30, "wwids-readonly"), (13, "wwids-readonly"), (1, "wwids-readonly"), (28, "write-failed")])
async def test_read_only_has_its_own_code(tmp_path: Path, number: int, code: str) -> None:
    from apply.wwids import _typed  # root may write anything here, so the mapping is asked directly

    error = _typed(tmp_path / "wwids", OSError(number, os.strerror(number)))
    assert (error.code, str(tmp_path / "wwids") in error.message) == (code, True)


LINES = st.lists(
    st.one_of(
        st.text(alphabet="abc3600 /#", max_size=8).map(lambda t: t.encode()),
        st.sampled_from([b"/360/", b"/361/", b"#360/", b"/361/ x", b"\xff/", b"/\xff\xfe/"]),
    ),
    max_size=8,
)
WWIDS = st.frozensets(st.sampled_from(["360", "361", "362", "36a.b+c"]), max_size=4)


@given(LINES, st.booleans(), WWIDS)
def test_the_appendix_allows_exactly_what_was_asked_for(lines: list[bytes], ended: bool, wwids: frozenset[str]) -> None:
    before = AllowList(b"\n".join(lines) + (b"\n" if ended and lines else b""))
    after = AllowList(before.content + before.appendix(wwids))
    assert after.content.startswith(before.content)
    assert after.active == before.active | wwids
    assert (after.content == before.content) == (wwids <= before.active)
