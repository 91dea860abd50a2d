"""The target's port in a disk's identification page: how a path is told from the others where no transport names its ends.

The page (SPC-4, section 7.8.6, "Device Identification VPD page") is a list of designators, each of the disk itself, of the target's port
or of the target. Of the port there may be a name (NAA or a SCSI name string), a relative number, and the number of its group.
"""

from collections.abc import Iterator
from typing import NamedTuple

PAGE = 0x83
_HEADER = 4
_OF_PORT = 1
_NAA, _RELATIVE_PORT, _PORT_GROUP, _NAME = 3, 4, 5, 8
_MOST = 64
"""Designators that are looked at; real pages have fewer than ten."""


class _Designator(NamedTuple):
    association: int
    type: int
    body: bytes


def target_port(page: bytes) -> str:
    """The target's port in words that stay the same: its name; without one its relative number, and else its group. Empty if unknown.

    A name is unique in the world. The relative number beside it is left out: Linux targets count it up each time a LUN is exported again.
    `page` are the bytes of `vpd_pg83`; anything that is no such page tells nothing.
    """
    name = number = group = ""
    for found in _designators(page):
        if found.association != _OF_PORT:
            continue
        if found.type == _NAA and len(found.body) in (8, 16):
            name = name or f"naa.{found.body.hex()}"
        elif found.type == _NAME:
            name = name or found.body.rstrip(b"\0").decode("ascii", "replace")
        elif found.type == _RELATIVE_PORT and len(found.body) == 4:
            number = number or str(int.from_bytes(found.body[2:], "big"))
        elif found.type == _PORT_GROUP and len(found.body) == 4:
            group = group or f"group{int.from_bytes(found.body[2:], 'big')}"
    return name or number or group


def _designators(page: bytes) -> Iterator[_Designator]:
    if len(page) < _HEADER or page[1] != PAGE:
        return
    rest = page[_HEADER : _HEADER + int.from_bytes(page[2:4], "big")]
    for _ in range(_MOST):
        if len(rest) < _HEADER or len(rest) < _HEADER + rest[3]:
            return
        yield _Designator(rest[1] >> 4 & 3, rest[1] & 15, rest[_HEADER : _HEADER + rest[3]])
        rest = rest[_HEADER + rest[3] :]
