"""The simulated daemon's own access to the `wwids` file: which LUNs may become maps, and the lines it writes back."""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

HEADER = (
    b"# Multipath wwids, Version : 1.0\n"
    b"# NOTE: This file is automatically maintained by multipath and multipathd.\n"
    b"# You should not need to edit this file in normal circumstances.\n"
    b"#\n"
    b"# Valid WWIDs:\n"
)


def parse(content: bytes) -> frozenset[str]:
    """The WWIDs of all lines that start with a slash in column 0, up to the second slash; every other line is inert."""
    found = set()
    for line in content.split(b"\n"):
        parts = line.split(b"/", 2)
        if len(parts) == 3 and not parts[0]:
            found.add(parts[1].decode("utf-8", "surrogateescape"))
    return frozenset(found)


def read(file: Path) -> frozenset[str]:
    """The allowed WWIDs; a file that is absent or unreadable allows nothing."""
    try:
        return parse(file.read_bytes())
    except OSError:
        return frozenset()


def append(file: Path, wwids: Iterable[str]) -> bool:
    """Make sure that each WWID has a line, under the file's fcntl write lock; the header goes into a new or empty file.

    False if another process holds the lock or the file cannot be written: nothing was changed and the caller tries again later. The real
    daemon waits here for up to 30 seconds; an event loop cannot.
    """
    try:
        with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as stream:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = stream.read()
            present = parse(content)
            new = b"" if content else HEADER
            new += b"".join(f"/{w}/\n".encode("utf-8", "surrogateescape") for w in dict.fromkeys(wwids) if w not in present)
            if new:
                stream.write(b"\n" + new if content and not content.endswith(b"\n") else new)
                stream.flush()
                os.fsync(stream.fileno())
    except OSError:
        return False
    return True
