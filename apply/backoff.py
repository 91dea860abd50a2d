"""How long to wait before a failed reconcile is tried again."""

from dataclasses import dataclass

FIRST_SECONDS = 10.0
LONGEST_SECONDS = 300.0


@dataclass(frozen=True)
class Backoff:
    """The wait doubles with each failure for one digest, from 10 s to 5 min; a new digest starts afresh and is tried at once."""

    digest: str = ""
    failures: int = 0

    @property
    def seconds(self) -> float:
        """The wait before the next try; 0 after a success or for a new digest."""
        return 0.0 if not self.failures else min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(self.failures - 1, 16))

    def failed(self, digest: str) -> "Backoff":
        """After a failure to apply `digest`."""
        return Backoff(digest, self.failures + 1 if digest == self.digest else 1)

    def wanted(self, digest: str) -> "Backoff":
        """When `digest` is what is wanted now."""
        return self if digest == self.digest else Backoff(digest)

    def succeeded(self, digest: str) -> "Backoff":
        """After `digest` was applied."""
        return Backoff(digest)
