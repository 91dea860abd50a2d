"""The feature level: what all members of the cluster are known to understand, raised by an operator and by nothing else.

Edits of a new kind, or with new keys, may be written only once the level that brought them is persisted: a member of an older version
would keep and relay them, but not apply them. Each node reports the highest level that it speaks. Pure.
"""

from collections.abc import Mapping

from store.document import Options

LEVEL = 1
"""The highest level that this version speaks."""
LEVEL_KEY = "cluster/level"
FIRST = 1
"""The level of a cluster in which nobody has raised it."""


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
