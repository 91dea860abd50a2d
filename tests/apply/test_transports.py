"""Which portals a LUN is expected at, and which of them are missing."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.model import build
from apply.transports import Target, expected_portals, missing_portals, target_of

A = "3624a9370e92ace0b12e941bf000cb4d5"
IQN = "iqn.2001-05.com.example:a"
P1, P2 = "10.0.1.10:3260", "10.0.2.10:3260"
TGT = {"type": "iscsi", "target": IQN, "portals": f"{P1},{P2}", "multipath": "1"}


def path(portal: str, host: str = "10.0.1.5", iqn: str = IQN) -> str:
    return f"iscsi:{host}>{portal},1,{iqn}"


def expected(storages: Mapping[str, Mapping[str, str]], *known: str, node: str = "n1") -> dict[str, tuple[str, ...]]:
    model = build({f"wwid/{A}": {}} | {f"storage/{name}": options for name, options in storages.items()}, {})
    assert not [p for p in model.problems if p.severity.value == "error"], model.problems
    return dict(expected_portals(model, node, A, known))


def test_the_target_of_a_storage() -> None:
    model = build({"storage/tgt": TGT | {"ifaces": "bond0,bond1"}, "storage/san": {"type": "multipath"}}, {})
    target = target_of(model.storages["tgt"])
    assert target == Target(IQN, (P1, P2), ("bond0", "bond1"))
    assert target.ways == ((P1, "bond0"), (P1, "bond1"), (P2, "bond0"), (P2, "bond1"))
    assert target_of(model.storages["san"]) is None


@pytest.mark.parametrize(
    ("storages", "known", "portals"),
    [
        ({"tgt": TGT | {"wwids": A}}, (), (P1, P2)),
        ({"tgt": TGT}, (), None),
        ({"tgt": TGT}, (path(P1),), (P1, P2)),
        ({"tgt": TGT}, (path(P1, iqn="iqn.2001-05.com.example:other"),), None),
        ({"tgt": TGT}, ("fc:0x1>0x2",), None),
        ({"tgt": TGT, "data": {"type": "lvm", "vgname": "vg", "base": f"tgt:{A}"}}, (), (P1, P2)),
        ({"tgt": TGT, "data": {"type": "lvm", "vgname": "vg", "base": f"tgt:{A}", "disable": "1"}}, (), None),
        ({"tgt": TGT | {"wwids": "36001"}}, (path(P1),), None),
        ({"tgt": TGT | {"wwids": A, "disable": "1"}}, (), None),
        ({"tgt": TGT | {"wwids": A, "nodes": "n2"}}, (), None),
        ({"tgt": {name: value for name, value in TGT.items() if name != "multipath"} | {"wwids": A}}, (path(P1),), None),
        ({"tgt": TGT | {"wwids": A, "ifaces": "b0,b1"}}, (), (P1, P1, P2, P2)),
    ],
)
def test_what_is_expected(storages: Mapping[str, Mapping[str, str]], known: tuple[str, ...], portals: tuple[str, ...] | None) -> None:
    assert expected(storages, *known) == ({} if portals is None else {IQN: portals})


def test_two_targets_with_one_lun_are_both_expected() -> None:
    other = TGT | {"target": "iqn.2001-05.com.example:b", "portals": P1, "wwids": A}
    assert expected({"tgt": TGT | {"wwids": A}, "tgu": other}) == {IQN: (P1, P2), "iqn.2001-05.com.example:b": (P1,)}


@pytest.mark.parametrize(
    ("known", "missing"),
    [
        ((), (f"iscsi:*>{P1},*,{IQN}", f"iscsi:*>{P2},*,{IQN}")),
        ((path(P1),), (f"iscsi:*>{P2},*,{IQN}",)),
        ((path(P1), path(P2)), ()),
        ((path(P1), path(P1) + "#2", path(P2)), ()),
        ((path(P1, iqn=IQN.upper()), path(P2, iqn="iqn.2001-05.com.example:b")), (f"iscsi:*>{P2},*,{IQN}",)),
        (("fc:0x1>0x2", "other:pci/host", "iscsi:>"), (f"iscsi:*>{P1},*,{IQN}", f"iscsi:*>{P2},*,{IQN}")),
    ],
)
def test_what_is_missing(known: tuple[str, ...], missing: tuple[str, ...]) -> None:
    assert missing_portals({IQN: (P1, P2)}, known) == missing


def test_with_interfaces_the_paths_of_a_portal_are_counted() -> None:
    twice = {IQN: (P1, P1, P2, P2)}
    known = [path(P1, "10.0.1.5"), path(P1, "10.0.1.6"), path(P2, "10.0.1.5")]
    assert missing_portals(twice, known) == (f"iscsi:*>{P2},*,{IQN}",)
    assert missing_portals(twice, known[:2]) == (f"iscsi:*>{P2},*,{IQN}", f"iscsi:*>{P2},*,{IQN}#2")


def test_an_ipv6_portal_is_found_again() -> None:
    portal = "[2001:db8::1]:3260"
    assert missing_portals({IQN: (portal,)}, [path("[2001:0db8::1]:3260")]) == ()


portals = st.sampled_from([P1, P2, "[2001:db8::1]:3260"])


@given(st.dictionaries(st.sampled_from([IQN, IQN + "b"]), st.lists(portals, max_size=6)), st.lists(portals.map(path)))
def test_what_is_missing_and_what_is_there_make_what_is_expected(wanted: dict[str, list[str]], known: list[str]) -> None:
    """As many names are missing as paths are, and each of them would fill its gap."""
    missing = missing_portals(wanted, known)
    assert len(set(missing)) == len(missing)
    assert missing_portals(wanted, [*known, *missing]) == ()
    for n in range(len(missing)):
        assert len(missing_portals(wanted, [*known, *missing[:n], *missing[n + 1 :]])) >= 1
