"""Expected nodes: who should see a LUN, and for whom."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apply.model import build
from apply.storages import Consumer, ExpectedNodes, expected_nodes

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "3600a098038314353763f505349676e35"
ALL = frozenset({"n1", "n2", "n3"})
SAN = {"storage/san": {"type": "multipath"}}
TGT = {"type": "iscsi", "target": "iqn.2001-05.com.example:a", "portals": "10.0.0.1,10.0.1.1"}


def lvm(base=None, **options):
    return {"type": "lvm", "vgname": "vg"} | ({"base": base} if base else {}) | options


def expect(document, inferred=None, wwid=A):
    model = build({f"wwid/{A}": {}, f"wwid/{B}": {}} | document, {})
    found, problems = expected_nodes(model, ALL, inferred or {})
    assert found.keys() == model.luns.keys()
    return found[wwid], [(problem.code, problem.key) for problem in problems]


@pytest.mark.parametrize(
    ("document", "nodes", "source", "consumers"),
    [
        ({}, set(), "none", []),
        (SAN, ALL, "fallback", []),
        ({"storage/san": {"type": "multipath", "disable": "1"}}, set(), "none", []),
        ({"storage/san": {"type": "multipath", "nodes": "n1,n2"}}, {"n1", "n2"}, "fallback", []),
        (SAN | {"storage/san2": {"type": "multipath", "nodes": "n1"}}, ALL, "fallback", []),
        ({"storage/san": {"type": "multipath", "wwids": B}}, set(), "none", []),
        (
            {"storage/san": {"type": "multipath", "wwids": A, "nodes": "n2"}},
            {"n2"},
            "storage-chain",
            [("san", "multipath", "")],
        ),
        (SAN | {"storage/data": lvm(f"san:{A}")}, ALL, "storage-chain", [("data", "lvm", "san")]),
        (SAN | {"storage/data": lvm(f"san:{A}", nodes="n1,n3")}, {"n1", "n3"}, "storage-chain", [("data", "lvm", "san")]),
        (
            {"storage/san": {"type": "multipath", "nodes": "n1,n2"}, "storage/data": lvm(f"san:{A}", nodes="n2,n3")},
            {"n2"},
            "storage-chain",
            [("data", "lvm", "san")],
        ),
        (
            SAN | {"storage/d1": lvm(f"san:{A}", nodes="n1"), "storage/d2": lvm(f"san:{A}", nodes="n2")},
            {"n1", "n2"},
            "storage-chain",
            [("d1", "lvm", "san"), ("d2", "lvm", "san")],
        ),
        (SAN | {"storage/data": lvm(f"san:{A}", nodes="n1", disable="1")}, ALL, "fallback", []),
        (SAN | {"storage/data": lvm(f"san:{B}", nodes="n1")}, ALL, "fallback", []),
        ({"storage/san": {"type": "multipath", "disable": "1"}, "storage/data": lvm(f"san:{A}")}, set(), "none", []),
        ({"storage/data": lvm(f"gone:{A}")}, set(), "none", []),
        (
            SAN | {"storage/data": lvm(f"san:{A}", nodes="n1,n2"), "storage/upper": lvm("data:lv", nodes="n2,n3")},
            {"n1", "n2"},
            "storage-chain",
            [("data", "lvm", "san"), ("upper", "lvm", "data")],
        ),
        (SAN | {"storage/new": {"type": "zfs", "base": f"san:{A}", "nodes": "n3"}}, {"n3"}, "storage-chain", [("new", "zfs", "san")]),
        (
            SAN | {"storage/data": lvm(f"san:{A}"), f"wwid/{A}": {"nodes": "n2"}},
            {"n2"},
            "explicit",
            [("data", "lvm", "san")],
        ),
        ({"storage/tgt": TGT}, set(), "none", []),
        ({"storage/tgt": TGT | {"multipath": "1"}}, ALL, "fallback", []),
        ({"storage/tgt": TGT | {"multipath": "1", "wwids": A, "nodes": "n1"}}, {"n1"}, "storage-chain", [("tgt", "iscsi", "")]),
        (
            {"storage/tgt": TGT | {"multipath": "1", "nodes": "n1,n2"}, "storage/data": lvm(f"tgt:{A}", nodes="n2,n3")},
            {"n2"},
            "storage-chain",
            [("data", "lvm", "tgt")],
        ),
        ({"storage/fab": {"type": "fc", "wwids": A, "nodes": "n3"}}, {"n3"}, "storage-chain", [("fab", "fc", "")]),
        ({"storage/fab": {"type": "nvme"}, "storage/data": lvm(f"fab:{A}", nodes="n1")}, {"n1"}, "storage-chain", [("data", "lvm", "fab")]),
    ],
)
def test_rules(document, nodes, source, consumers):
    found, problems = expect(document)
    assert found == ExpectedNodes(frozenset(nodes), source, tuple(Consumer(*consumer) for consumer in consumers))
    assert problems == []


def test_a_volume_group_that_nodes_found_on_the_map():
    document = {"storage/data": lvm(nodes="n1,n2"), "storage/off": lvm(disable="1"), "storage/other": lvm(vgname="vg2")}
    inferred = {A: frozenset({"vg"})}
    assert expect(document, inferred)[0] == ExpectedNodes(frozenset({"n1", "n2"}), "inferred", (Consumer("data", "lvm", ""),))
    assert expect(document, inferred, B)[0].source == "none"
    assert expect(document | SAN, inferred)[0].source == "inferred", "who is known to need it goes before all who might"
    assert expect(document | SAN, inferred, B)[0].source == "fallback"
    chain = SAN | {"storage/upper": lvm(f"san:{A}", nodes="n3")}
    assert expect(document | chain, inferred)[0].source == "storage-chain"
    assert expect(document | {f"wwid/{A}": {"nodes": "n3"}}, inferred)[0].source == "explicit"


def test_a_disabled_lun_is_expected_nowhere():
    found, _ = expect(SAN | {f"wwid/{A}": {"disable": "1", "nodes": "n1"}, "storage/data": lvm(f"san:{A}")})
    assert found == ExpectedNodes(frozenset(), "none", (Consumer("data", "lvm", "san"),))


def test_names_of_nodes_that_are_no_members():
    found, problems = expect({f"wwid/{A}": {"nodes": "n1,n9"}, "storage/san": {"type": "multipath", "nodes": "n8"}})
    assert found.nodes == {"n1"}
    assert problems == [("unknown-node", f"wwid/{A}"), ("unknown-node", "storage/san")]


def test_an_iscsi_storage_whose_volumes_are_no_maps_is_no_base():
    document = {f"wwid/{A}": {}, "storage/tgt": TGT, "storage/data": lvm(f"tgt:{A}")}
    model = build(document, {})
    assert [(p.code, p.key) for p in model.problems] == [("broken-base", "storage/data")]
    assert "multipath 1" in model.problems[0].message
    assert expect(document)[0].source == "none"


names = st.sampled_from(["san", "sbn", "data", "dbta"])
nodes = st.sampled_from(["n1", "n1,n2", "n3,n9", None])
storages = st.dictionaries(
    names,
    st.builds(
        lambda kind, base, volume, on, wwids, off: {
            "type": kind,
            "vgname": "vg",
            "base": f"{base}:{volume}",
            **({"nodes": on} if on else {}),
            **({"wwids": wwids} if wwids and kind not in ("lvm", "zfs") else {}),
            **(TGT | {"multipath": "1" if wwids else "0"} if kind == "iscsi" else {}),
            **({"disable": "1"} if off else {}),
        },
        st.sampled_from(["multipath", "lvm", "zfs", "fc", "nvme", "iscsi"]),
        names,
        st.sampled_from([A, B, "lv"]),
        nodes,
        st.sampled_from([A, None]),
        st.booleans(),
    ),
)


@settings(deadline=None)
@given(storages, st.sets(st.sampled_from(sorted(ALL))), st.dictionaries(st.sampled_from([A, B]), st.just(frozenset({"vg"}))))
def test_any_storages_give_members_only_and_a_source_that_fits(sections, members, inferred):
    document = {f"wwid/{A}": {}, f"wwid/{B}": {}} | {f"storage/{name}": section for name, section in sections.items()}
    model = build(document, {})
    found, _ = expected_nodes(model, members, inferred)
    for expected in found.values():
        assert expected.nodes <= members
        assert (expected.source in ("storage-chain", "inferred")) == bool(expected.consumers)
        assert expected.source != "none" or not expected.nodes
        for consumer in expected.consumers:
            assert model.storages[consumer.storage].enabled
