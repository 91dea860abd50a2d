"""A durable map for things that one module alone owns: `(kind, id) -> bytes`.

The reconcile journal, the allow-list ownership manifest and the learned paths live here. What the bytes mean is the owner's business.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol


class Records(Protocol):
    """The port. Every write is durable (fsynced) before it returns, and is all or nothing."""

    async def load(self, kind: str) -> dict[str, bytes]:
        """All records of `kind`, by id."""

    async def change(self, kind: str, put: Mapping[str, bytes], delete: Iterable[str] = ()) -> None:
        """Write and remove records of one kind in one transaction."""


class MemoryRecords:
    """Records that live as long as the object: for tests and tools."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, bytes]] = {}

    async def load(self, kind: str) -> dict[str, bytes]:
        return dict(self._records.get(kind, {}))

    async def change(self, kind: str, put: Mapping[str, bytes], delete: Iterable[str] = ()) -> None:
        records = self._records.setdefault(kind, {})
        for name in delete:
            records.pop(name, None)
        records.update(put)
