"""The feature level: what all members of the cluster are known to understand, raised by an operator and by nothing else.

Edits of a new kind, or with new keys, may be written only once the level that brought them is persisted: a member of an older version
would keep and relay them, but not apply them. Each node reports the highest level that it speaks. Pure.

Whether an edit may be of its kind is judged by the level in the edit's own past, so that every node of every version judges alike: a kind
that came with a later level than that one cannot be there. Else one editor could make all nodes believe that they are out of date.
"""

from collections.abc import Mapping
from enum import Enum

from store.document import Options
from store.edits import CHANGE, LATE, RESOLVE

LEVEL = 1
"""The highest level that this version speaks."""
LEVEL_KEY = "cluster/level"
FIRST = 1
"""The level of a cluster in which nobody has raised it."""
KIND_LEVELS: Mapping[str, int] = {CHANGE: FIRST, RESOLVE: FIRST, LATE: FIRST}
"""The kinds of edits that this version knows, each with the level that brought it."""


class KindIs(Enum):
    """What an edit's kind is to this version."""

    KNOWN = "it does what its kind says"
    LATER = "a later version's: what it does is not known here"
    IMPOSSIBLE = "of no version that may have written it: it does nothing, in any version"


def judge_kind(kind: str, level: int) -> KindIs:
    """What a kind is to this version, in an edit that was written at this level."""
    brought = KIND_LEVELS.get(kind)
    if brought is None:
        return KindIs.LATER if level > LEVEL else KindIs.IMPOSSIBLE
    return KindIs.KNOWN if brought <= level else KindIs.IMPOSSIBLE


def level_value(level: int) -> dict[str, str]:
    """The options of the key."""
    return {"level": str(level)}


def read_level(value: Options | None) -> int:
    """The persisted level; the first if there is none, or none that makes sense."""
    text = (value or {}).get("level", "")
    return max(FIRST, int(text)) if text.isascii() and text.isdigit() and len(text) <= 6 else FIRST


def not_speaking(level: int, spoken: Mapping[str, int | None]) -> tuple[str, ...]:
    """The members, by name, that are not known to speak a level; `spoken` is what each reports (None = nothing)."""
    return tuple(sorted(name for name, highest in spoken.items() if highest is None or highest < level))
