"""What multipathd's allow-list file says. Pure.

A line is `/WWID/` from column 0; anything after the second slash is ignored, and `multipath -w` disables a line by turning its first slash
into `#`. (libmultipath/wwids.c)
"""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

HEADER = (
    b"# Multipath wwids, Version : 1.0\n"
    b"# NOTE: This file is automatically maintained by multipath and multipathd.\n"
    b"# You should not need to edit this file in normal circumstances.\n"
    b"#\n"
    b"# Valid WWIDs:\n"
)


@dataclass(frozen=True)
class AllowList:
    """One reading of the file; `content` is its bytes, empty if it is absent."""

    content: bytes

    @property
    def active(self) -> frozenset[str]:
        """The WWIDs that are allowed now."""
        return frozenset(wwid for _, wwid in active_lines(self.content))

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    def appendix(self, wwids: Collection[str]) -> bytes:
        """The exact bytes that allow `wwids`, to be appended to this content; those that are allowed already are left out."""
        missing = sorted(set(wwids) - self.active)
        if not missing:
            return b""
        start = HEADER if not self.content else b"" if self.content.endswith(b"\n") else b"\n"
        return start + b"".join(b"/%s/\n" % wwid.encode() for wwid in missing)


def active_lines(content: bytes) -> Iterator[tuple[int, str]]:
    """Offset and WWID of each active line. Bytes that are no UTF-8 stay distinguishable, so they never equal a managed WWID."""
    offset = 0
    for line in content.split(b"\n"):
        wwid, slash, _ = line[1:].partition(b"/")
        if line.startswith(b"/") and slash and wwid:
            yield offset, wwid.decode("utf-8", "surrogateescape")
        offset += len(line) + 1
