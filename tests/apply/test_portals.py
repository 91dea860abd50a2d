"""Portals: what people may write, and the one form in which they are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.portals import MOST, SUBSYSTEM_NAME, TARGET_NAME, PortalList, canonical_portal, portal


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("10.0.0.1", "10.0.0.1:3260"),
        ("10.0.0.1:3261", "10.0.0.1:3261"),
        ("10.0.0.1:03261", "10.0.0.1:3261"),
        ("[2001:DB8:0::1]", "[2001:db8::1]:3260"),
        ("[2001:db8::1]:860", "[2001:db8::1]:860"),
        ("2001:db8::1", "[2001:db8::1]:3260"),
        *((word, "") for word in ("", ":", "san.example", "san.example:3260", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:x")),
        *((word, "") for word in ("[fe80::1%eth0]:3260", "[10.0.0.1", "[::1]x", "10.0.0.256", "10.0.0.1:3260,1", "10.0.0.1:٣")),
    ],
)
def test_one_portal(written: str, kept: str) -> None:
    assert canonical_portal(written) == kept


def test_a_list_is_sorted_and_has_each_once() -> None:
    assert PortalList().parse("10.0.1.1, 10.0.0.1:3260;10.0.0.1") == "10.0.0.1:3260,10.0.1.1:3260"
    for bad in ("", " ", "10.0.0.1 nonsense", ",".join(f"10.0.0.{n}" for n in range(MOST + 1))):
        with pytest.raises(ValueError, match="list of at most"):
            PortalList().parse(bad)


@given(st.lists(st.tuples(st.ip_addresses(), st.integers(1, 65535)), min_size=1, max_size=MOST))
def test_what_is_kept_stays_as_it_is(places: list[tuple[object, int]]) -> None:
    kept = PortalList().parse(" ".join(portal(str(address), port) for address, port in places if "%" not in str(address)))
    assert PortalList().parse(kept) == kept
    assert all(canonical_portal(word) == word for word in kept.split(","))


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    assert canonical_portal(canonical_portal(text)) == canonical_portal(text)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("iqn.2001-05.com.example:storage.disk2", True),
        ("iqn.2003-01.org.linux-iscsi.host.x8664:sn.1234", True),
        ("eui.0123456789ABCDEF", True),
        ("naa.60014055ad8d5f6ff4a487bad6980c24", True),
        ("naa.60014055ad8d5f6ff4a487bad6980c2", False),
        ("iqn.2001-5.com.example:a", False),
        ("iqn.2001-05.com.example:a b", False),
        ("iqn.2001-05.com.example:a,b", False),
        ("target", False),
    ],
)
def test_target_names(name: str, good: bool) -> None:
    assert (TARGET_NAME.fullmatch(name) is not None) == good


def test_subsystem_names() -> None:
    assert SUBSYSTEM_NAME.fullmatch("nqn.2014-08.org.nvmexpress:uuid:4340ffa5-c763-4d03-9cc9-90df8d5f9d11")
    assert not SUBSYSTEM_NAME.fullmatch("nqn.a,b") and not SUBSYSTEM_NAME.fullmatch("nqn." + "a" * 220)
