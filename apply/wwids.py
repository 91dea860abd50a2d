"""multipathd's allow-list file: read, append, disable; always in place and under the tools' own lock.

The tools append at any time and take an fcntl write lock, for which they wait up to 30 s; a file renamed over the old one would
lose what a waiting process appends to it. So this module never renames. Format and lock: libmultipath/wwids.c and file.c.
"""

import asyncio
import errno
import fcntl
import os
import struct
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from apply.threads import uninterrupted
from apply.wwids_file import AllowList, active_lines
from store.errors import UnavailableError

LOCK_SECONDS = 30.0
"""How long to wait for the lock, as the tools do."""
_POLL_SECONDS = 0.02
_FLOCK = struct.Struct("hhqqi0q")
"""struct flock, for a lock of the open file description: it excludes the tools' own lock like any other, and does not vanish when some
other part of this process closes the same file, as a plain fcntl lock does."""

Result = TypeVar("Result")


class WwidsError(UnavailableError):
    """The allow-list cannot be read, locked or written."""


class WwidsChanged(Exception):
    """The file is no longer what the caller had read; nothing was written."""


def read(path: Path) -> AllowList:
    """The file as it is now; an absent one allows nothing."""
    try:
        return AllowList(path.read_bytes())
    except FileNotFoundError:
        return AllowList(b"")
    except OSError as error:
        raise _typed(path, error) from error


async def append(path: Path, before: AllowList, wwids: Collection[str], *, wait: float = LOCK_SECONDS) -> bytes:
    """Append the lines that allow `wwids` to the file that `before` was read from; returns the bytes appended, durable.

    Raises WwidsChanged if somebody else wrote since: the caller reads again and decides anew whose line is whose. A file that is absent is
    created with the tools' header and mode 0600. Raises WwidsError; what got into the file before the fault is taken back if it can be.
    """
    addition = before.appendix(wwids)
    if addition:
        await _locked(path, wait, lambda fd: _append(fd, before.content, addition))
    return addition


async def cut(path: Path, before: AllowList, size: int, *, wait: float = LOCK_SECONDS) -> None:
    """Cut the file that `before` was read from to its first `size` bytes, durably. Raises WwidsChanged and WwidsError like `append`."""
    await _locked(path, wait, lambda fd: _cut(fd, before.content, size))


async def disable(path: Path, wwids: Collection[str], *, wait: float = LOCK_SECONDS) -> frozenset[str]:
    """Disable the first active line of each of `wwids` and return those that had one; durable before it returns. Raises WwidsError.

    Only the first: a second line for the same WWID was written by somebody who wants it allowed whatever we do.
    """
    if not wwids or not path.exists():
        return frozenset()
    return await _locked(path, wait, lambda fd: _disable(fd, wwids))


def _append(fd: int, before: bytes, addition: bytes) -> None:
    if _content(fd) != before:
        raise WwidsChanged
    try:
        _write(fd, addition, len(before))
        os.fsync(fd)
    except OSError:
        with suppress(OSError, WwidsChanged):
            part = _content(fd)[len(before) :]
            _cut(fd, before + addition[: len(part)], len(before))
        raise


def _cut(fd: int, before: bytes, size: int) -> None:
    if _content(fd) != before:
        raise WwidsChanged
    os.ftruncate(fd, size)
    os.fsync(fd)


def _disable(fd: int, wwids: Collection[str]) -> frozenset[str]:
    first: dict[str, int] = {}
    for offset, wwid in active_lines(_content(fd)):
        if wwid in wwids:
            first.setdefault(wwid, offset)
    for offset in first.values():
        _write(fd, b"#", offset)
    os.fsync(fd)
    return frozenset(first)


def _content(fd: int) -> bytes:
    parts = []
    offset = 0
    while part := os.pread(fd, 1 << 20, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _write(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


async def _locked(path: Path, wait: float, work: Callable[[int], Result]) -> Result:
    """Run `work` on the open file under the write lock, in a thread; the lock itself is waited for here, where a cancellation ends it."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = not path.exists()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            async with _lock(path, fd, wait):
                result = await uninterrupted(work, fd)
            if fresh:
                await uninterrupted(_sync_dir, path.parent)
            return result
        finally:
            os.close(fd)
    except OSError as error:
        raise _typed(path, error) from error


@asynccontextmanager
async def _lock(path: Path, fd: int, wait: float) -> AsyncIterator[None]:
    clock = asyncio.get_running_loop().time
    deadline = clock() + wait
    while not _try_lock(fd):
        if clock() >= deadline:
            raise WwidsError(
                f"{path}: another process holds the lock for more than {wait:g} s",
                code="write-failed",
                hint=f"fuser -v {path} names it; a stuck `multipath` is the usual cause",
            )
        await asyncio.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))


def _try_lock(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def _sync_dir(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _typed(path: Path, error: OSError) -> WwidsError:
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return WwidsError(
            f"{path}: {error.strerror}", code="wwids-readonly", hint="make the file and its directory writable for the agent (root)"
        )
    return WwidsError(f"{path}: {error.strerror}", code="write-failed", hint="check the disk and the file's type")
