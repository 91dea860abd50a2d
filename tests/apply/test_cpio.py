"""The archive of an initramfs, read as a stream."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.cpio import Damaged, Member, members


def entry(name: str, content: bytes = b"") -> bytes:
    raw = name.encode() + b"\0"
    fields = [1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0]
    head = b"070701" + b"".join(b"%08x" % field for field in fields)
    body = head + raw
    return body + b"\0" * (-len(body) % 4) + content + b"\0" * (-len(content) % 4)


def archive(**files: bytes) -> bytes:
    return b"".join(entry(name, content) for name, content in files.items()) + entry("TRAILER!!!")


def read(data: bytes, most: int = 1000) -> list[Member]:
    return list(members(io.BytesIO(data).read, lambda name: not name.startswith("no"), most))


@given(st.dictionaries(st.text("abcno/", min_size=1, max_size=20).filter(lambda n: n.strip("/")), st.binary(max_size=1100), max_size=8))
def test_what_is_wanted_is_read_and_the_rest_is_skipped(files: dict[str, bytes]) -> None:
    found = read(archive(**files))
    expected = [(n.lstrip("/"), c) for n, c in files.items() if not n.lstrip("/").startswith("no") and len(c) <= 1000]
    assert [tuple(member) for member in found] == expected


def test_names_have_no_leading_dot_or_slash() -> None:
    assert [m.name for m in read(archive(**{"./etc/a": b"1", "/etc/b": b"2", "etc/c": b"3", ".hidden": b""}))] == [
        "etc/a",
        "etc/b",
        "etc/c",
        ".hidden",
    ]


@given(st.integers(0, 200))
def test_a_cut_archive_is_damaged(kept: int) -> None:
    whole = archive(etc=b"x" * 50)
    with pytest.raises(Damaged):
        read(whole[: min(kept, len(whole) - 130)])


@given(st.binary(max_size=300))
def test_anything_else_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged):
        read(data)
    with pytest.raises(Damaged):
        read(b"070701" + data)
