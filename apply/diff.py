"""What a reconcile would change in the files of this host, as people read it."""

import difflib
from collections.abc import Mapping
from pathlib import PurePath

from apply.managed import NAMES
from apply.render import Rendered


def render_diff(conf_dir: PurePath, current: Mapping[str, bytes], rendered: Rendered) -> str:
    """The unified diff from the files as they are to the files as they would be; empty if nothing would change."""
    parts: list[str] = []
    for name in NAMES:
        wanted = rendered.files.get(name)
        before = _lines(current.get(name))
        after = _lines(wanted.content if wanted else None)
        old = str(conf_dir / name) if name in current else "/dev/null"
        new = str(conf_dir / name) if wanted else "/dev/null"
        parts.extend(difflib.unified_diff(before, after, old, new))
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in parts)


def _lines(content: bytes | None) -> list[str]:
    return [] if content is None else content.decode("utf-8", "replace").splitlines(keepends=True)
