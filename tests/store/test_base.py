"""The base and its stored form. What a replica makes of it is tested with the replica and with collecting."""

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from store.base import Base, decode_base, encode_base
from store.clocks import Dot
from store.members import MemberState, Role
from store.replica import CLUSTER_KEY


def test_a_base_reads_back(scribe: Any) -> None:
    replica = scribe.replica(scribe.founding("n1"))
    for member in (scribe.member("n2", Role.EDITOR), scribe.member("n3", state=MemberState.RETIRED)):
        replica.commit(scribe.registration("n1", member, replica.fold.clock))
    replica.commit(scribe.edit("n2", {CLUSTER_KEY: None}, replica.fold.clock))
    replica.commit(scribe.edit("n2", {"defaults": {"x": "1"}, "wwid/1": None}, replica.fold.clock, life="one"))
    base = replica.present_base()
    assert base.beyond and base.endings and base.voids and base.siblings and base.authors
    assert decode_base(encode_base(base)) == base
    assert decode_base(encode_base(Base())) == Base()


@given(st.binary(max_size=100))
@example(b"\x91" * 100_000)
@example(encode_base(Base())[:-1])
@example(encode_base(Base()) + b"\x00")
def test_any_bytes_are_no_base(data: bytes) -> None:
    with pytest.raises(ValueError, match="base"):
        decode_base(data)


@pytest.mark.parametrize(
    ("base", "what"),
    [
        (Base(floor={bytes(16): 1}), "floor"),
        (Base(clock={bytes(16): 1}, siblings={"k": (Dot(bytes(16), 2),)}), "cover"),
        (Base(clock={bytes(16): 1}, voids=(Dot(bytes(16), 2),)), "cover"),
        (Base(clock={bytes(16): 1}, beyond={bytes(16): (Dot(b"", 1),)}), "cover"),
    ],
)
def test_a_base_that_contradicts_itself_is_refused(base: Base, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        decode_base(encode_base(base))
    with pytest.raises(ValueError, match="version 7"):
        decode_base(msgspec.msgpack.encode([7, Base()]))
