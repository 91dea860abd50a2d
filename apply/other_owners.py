"""Other programs that write multipath's configuration on this host, as far as they meddle with the same things.

Two owners of one setting undo each other's work. A file of another owner is told by what such programs write at its top; it counts if it
sets a keyword or a LUN that our own file sets. One without a mark is a person's: it shows when it wins (`overridden-locally`).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from apply.confsyntax import Block, multipaths, parse
from apply.hostpaths import HostPaths
from apply.managed import NAMES
from apply.render import MAIN
from store.errors import listed

HEAD_BYTES = 2000
"""Marks stand at the top of a file."""
_MARKS = (
    (re.compile(r"^#\s*VDSM (?:REVISION|PRIVATE)", re.MULTILINE), "VDSM (oVirt)"),
    (re.compile(r"^#.*\bansible[ _-]managed\b", re.MULTILINE | re.IGNORECASE), "Ansible"),
    (re.compile(r"^#.*\bmanaged by (?!hand\b)([A-Za-z][\w .-]{1,40})", re.MULTILINE | re.IGNORECASE), ""),
    (re.compile(r"^#.*\b(?:generated|created|written) by (?!hand\b|mpathconf\b)([A-Za-z][\w .-]{1,40})", re.MULTILINE | re.IGNORECASE), ""),
)


def owner_of(text: str) -> str:
    """Who writes a configuration file, by the comments at its top; empty for a person."""
    head = "\n".join(line for line in text[:HEAD_BYTES].splitlines() if line.startswith("#"))
    for mark, name in _MARKS:
        found = mark.search(head)
        if found is not None:
            return name or found[1].strip(" .")
    return ""


def other_owners(paths: HostPaths) -> tuple[str, ...]:
    """A note for each file of another owner that sets what our file sets, starting with its code. Reads files."""
    ours = parse(_text(paths.conf_dir / MAIN))
    if not ours.blocks:
        return ()
    notes = []
    for path in _others(paths):
        text = _text(path)
        owner = owner_of(text)
        shared = _shared(ours, parse(text)) if owner else []
        if shared:
            both = listed(shared, 3)
            notes.append(f"duplicate-multipath-owner: {path} is written by {owner} and sets {both} too: let one of the two do it")
    return tuple(notes)


def _others(paths: HostPaths) -> Iterator[Path]:
    yield paths.main_conf
    try:
        yield from sorted(path for path in paths.conf_dir.iterdir() if path.name.endswith(".conf") and path.name not in NAMES)
    except OSError:
        return


def _shared(ours: Block, theirs: Block) -> list[str]:
    """What both set: keywords of `defaults`, and LUNs."""
    keywords = {*theirs.merged("defaults"), *theirs.merged("overrides")}
    luns = multipaths(ours).keys() & multipaths(theirs).keys()
    return [*sorted(ours.merged("defaults").keys() & keywords), *sorted(luns)]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
