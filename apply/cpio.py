"""Reading an initramfs archive as a stream: the "newc" form of cpio (cpio(5); the kernel's Documentation/driver-api/early-userspace). Pure.

Only the members that are wanted are kept; everything else is read past, so memory does not depend on the size of the archive.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

MAGIC = (b"070701", b"070702")
_HEADER = 110
_END = "TRAILER!!!"
_CHUNK = 1 << 20
_MOST_NAME = 4096


class Member(NamedTuple):
    """A file of the archive: its name without leading `/` or `./`, and its bytes."""

    name: str
    content: bytes


class Damaged(ValueError):
    """What was read is no such archive, or it ends too soon."""


def members(read: Callable[[int], bytes], wanted: Callable[[str], bool], most_bytes: int) -> Iterator[Member]:
    """The wanted members of one archive, up to its end mark. `read(n)` gives up to n bytes, none at the end.

    A wanted member larger than `most_bytes` is left out. Raises Damaged.
    """
    while True:
        header = exactly(read, _HEADER)
        if header[:6] not in MAGIC:
            raise Damaged("no cpio header where one should be")
        size, name_size = _number(header, 6), _number(header, 11)
        if not 0 < name_size <= _MOST_NAME:
            raise Damaged("a name of impossible length")
        name = exactly(read, name_size + -(_HEADER + name_size) % 4)[: name_size - 1].decode("utf-8", "replace")
        if name == _END:
            return
        name = name.removeprefix(".").lstrip("/") if name.startswith("./") else name.lstrip("/")
        padded = size + -size % 4
        if wanted(name) and size <= most_bytes:
            yield Member(name, exactly(read, padded)[:size])
        else:
            _skip(read, padded)


def exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """So many bytes. Raises Damaged if there are fewer."""
    parts, left = [], size
    while left:
        part = read(min(left, _CHUNK))
        if not part:
            raise Damaged("the archive ends in the middle")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _skip(read: Callable[[int], bytes], size: int) -> None:
    while size:
        part = read(min(size, _CHUNK))
        if not part:
            raise Damaged("the archive ends in the middle")
        size -= len(part)


def _number(header: bytes, field: int) -> int:
    """A field of eight hexadecimal digits; the sixth is the size of the file, the eleventh that of the name."""
    try:
        return int(header[6 + 8 * field : 14 + 8 * field], 16)
    except ValueError:
        raise Damaged("a number that is none") from None
