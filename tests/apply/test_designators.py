"""The target's port in the identification page of a disk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.designators import target_port

DISK, PORT, TARGET = 0, 1, 2


def designator(association: int, kind: int, body: bytes, code: int = 1) -> bytes:
    return bytes([0x60 | code, 0x80 | association << 4 | kind, 0, len(body)]) + body


def page(*designators: bytes) -> bytes:
    body = b"".join(designators)
    return b"\0\x83" + len(body).to_bytes(2, "big") + body


LUN = designator(DISK, 3, bytes.fromhex("600140500000000100004000800000000"[:32]))
NAME = designator(PORT, 3, bytes.fromhex("524a937a1b2c3d00"))
RELATIVE = designator(PORT, 4, b"\0\0\0\x02")
GROUP = designator(PORT, 5, b"\0\0\0\x10")
ISCSI = designator(PORT, 8, b"iqn.2001-05.com.example:a,t,0x0001\0\0", 3)
NODE = designator(TARGET, 3, bytes.fromhex("5000000000000001"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (page(LUN, NODE, NAME, GROUP, RELATIVE), "naa.524a937a1b2c3d00"),
        (page(LUN, NAME), "naa.524a937a1b2c3d00"),
        (page(LUN, GROUP, RELATIVE), "2"),
        (page(LUN, GROUP), "group16"),
        (page(RELATIVE, ISCSI), "iqn.2001-05.com.example:a,t,0x0001"),
        (page(LUN, NODE), ""),
        (page(), ""),
        (b"", ""),
        (b"\0\x80\0\x04ABCD", ""),
        (page(LUN, RELATIVE)[:-1], ""),
        (page(RELATIVE) + b"beyond the page", "2"),
    ],
)
def test_the_port(data: bytes, expected: str) -> None:
    assert target_port(data) == expected


@given(st.binary(max_size=300))
def test_anything_else_tells_nothing_and_never_fails(data: bytes) -> None:
    assert isinstance(target_port(data), str)
    assert isinstance(target_port(b"\0\x83\x01\x00" + data), str)


@given(st.permutations([LUN, NAME, RELATIVE, GROUP, NODE]))
def test_the_order_does_not_matter(order: list[bytes]) -> None:
    assert target_port(page(*order)) == "naa.524a937a1b2c3d00"
