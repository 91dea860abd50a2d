"""Which rows of the matrix have changed since a version of it, so that whoever holds an older one asks for no more. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from store.limits import limit

Key = tuple[str, str]
"""Kind and id of a row."""


class Changes(NamedTuple):
    """What has changed: rows that came or changed, and rows that are no more."""

    changed: frozenset[Key]
    gone: frozenset[Key]


class RowVersions:
    """The version at which each row was changed last. Versions only grow."""

    def __init__(self) -> None:
        self._changed: dict[Key, int] = {}
        self._gone: dict[Key, int] = {}
        self._floor = 0
        """Up to here it is not known any more which rows are gone."""

    def change(self, keys: Iterable[Key], version: int) -> None:
        """These rows came or changed."""
        for key in keys:
            self._gone.pop(key, None)
            self._changed[key] = version

    def remove(self, key: Key, version: int) -> None:
        """This row is no more. Beyond the bound the oldest are forgotten."""
        self._changed.pop(key, None)
        self._gone.pop(key, None)
        self._gone[key] = version
        if len(self._gone) > limit("matrix_rows_gone"):
            oldest = next(iter(self._gone))
            self._floor = self._gone.pop(oldest)

    def since(self, version: int) -> Changes | None:
        """What has changed after this version; None if that is not known, so that the whole must be read."""
        if version < self._floor:
            return None
        changed = frozenset(key for key, at in self._changed.items() if at > version)
        return Changes(changed, frozenset(key for key, at in self._gone.items() if at > version))
