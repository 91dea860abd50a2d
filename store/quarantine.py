"""Setting a damaged database aside: kept for whoever wants to look into it, out of the way of a new one."""

import re
from contextlib import suppress
from pathlib import Path

from store.errors import UnavailableError

KEPT = 3
"""How many damaged databases are kept."""
_PARTS = ("", "-wal", "-shm")
_ASIDE = re.compile(r"\.damaged-(\d+)")


def set_aside(database: Path, why: str) -> Path:
    """Move a database file that nobody has open, with its journal, to `<name>.damaged-<n>`; returns that path. `why` goes beside it.

    At most three are kept: the oldest goes. UnavailableError `state-dir` if the directory cannot be changed.
    """
    present = {
        int(found[1]): path for path in database.parent.glob(f"{database.name}.damaged-*") if (found := _ASIDE.fullmatch(path.suffix))
    }
    target = database.with_name(f"{database.name}.damaged-{max(present, default=0) + 1}")
    try:
        for number in sorted(present, reverse=True)[KEPT - 1 :]:
            for part in (*_PARTS, ".why"):
                present[number].with_name(present[number].name + part).unlink(missing_ok=True)
        for part in _PARTS:
            with suppress(FileNotFoundError):
                database.with_name(database.name + part).replace(target.with_name(target.name + part))
        target.with_name(target.name + ".why").write_text(why + "\n", encoding="utf-8")
    except OSError as fault:
        raise UnavailableError(
            f"{database}: the damaged file cannot be set aside: {fault.strerror}",
            code="state-dir",
            hint="check the directory's owner and free space",
        ) from None
    return target
