"""A LUN of an iSCSI storage is expected to have a path by each portal, learned or not."""

from dataclasses import replace

import pytest

from apply.expected import Acceptance, Baseline, accept
from apply.health import Memory, View, derive
from apply.model import Model, build
from apply.path_facts import IscsiPortal, NoFacts
from apply.storages import ExpectedNodes
from apply.topology import Group, Map, Path, Topology
from store.cells import Cell

W = "3624a9370e92ace0b12e941bf000cb4d5"
IQN = "iqn.2001-05.com.example:a"
P1, P2 = "10.0.1.10", "10.0.2.10"
FIRST, SECOND = (f"iscsi:10.0.0.5>{portal}:3260,1,{IQN}" for portal in (P1, P2))
NO_SECOND = f"iscsi:*>{P2}:3260,*,{IQN}"


class Sessions(NoFacts):
    """`sda` came by the first portal, `sdb` by the second."""

    def iscsi_portal(self, dev: str) -> IscsiPortal | None:
        return IscsiPortal({"sda": P1, "sdb": P2}[dev], 3260, 1)


def model(**lun: str) -> Model:
    tgt = {"type": "iscsi", "target": IQN, "portals": f"{P1},{P2}", "multipath": "1", "wwids": W}
    return build({"defaults": {"learn-window": "600", "min-paths": "1"}, f"wwid/{W}": lun, "storage/tgt": tgt}, {})


def cell(*devs: str, baseline: Baseline | None = None, made: Model | None = None) -> Cell:
    usual = {"dm_st": "active", "chk_st": "ready", "dev_st": "running", "dev_t": "8:0", "host_adapter": "10.0.0.5"}
    paths = tuple(Path(dev=dev, target_wwnn=IQN, **usual) for dev in devs)  # type: ignore[arg-type]
    found = Map(uuid=W, name=W, dm_st="active", sysfs="dm-0", path_groups=(Group(group=1, paths=paths),))
    topology = Topology((found,) if devs else ())
    expected = {W: ExpectedNodes(frozenset({"n1"}), "storage-chain")}
    view = View("n1", 0.0, 1e9, made or model(), expected, topology, facts=Sessions())
    [only] = derive(view, Memory(), {W: baseline or Baseline()}).cells
    return only


def expectation(found: Cell) -> tuple[object, object, object]:
    return found.detail["paths"]["expected"], found.detail["paths"]["expected_source"], found.detail["missing_paths"]


@pytest.mark.parametrize("baseline", [Baseline(), Baseline((FIRST,))], ids=["nothing learned", "one path learned"])
def test_a_portal_that_never_had_a_path_is_named(baseline: Baseline) -> None:
    found = cell("sda", baseline=baseline)
    assert (found.state, expectation(found)) == ("degraded", (2, "portals", [NO_SECOND]))
    assert "path-lost" in found.reasons


def test_with_a_path_by_each_portal_nothing_is_missing() -> None:
    found = cell("sda", "sdb")
    assert (found.state, expectation(found)) == ("healthy", (2, "portals", []))
    found = cell("sda", "sdb", baseline=Baseline((FIRST, SECOND)))
    assert (found.state, expectation(found)) == ("healthy", (2, "learned", []))


def test_a_learned_path_that_is_lost_keeps_its_own_name() -> None:
    found = cell("sda", baseline=Baseline((FIRST, SECOND)))
    assert (found.state, expectation(found)) == ("degraded", (2, "learned", [SECOND]))


def test_a_map_that_is_not_there_misses_every_portal() -> None:
    found = cell()
    assert (found.state, expectation(found)) == ("missing", (2, "portals", [f"iscsi:*>{P1}:3260,*,{IQN}", NO_SECOND]))


def test_what_a_person_says_goes_before_portals() -> None:
    accepted = accept(Baseline(), Acceptance("a:1", (FIRST,)), 0.0)
    assert (cell("sda", baseline=accepted).state, expectation(cell("sda", baseline=accepted))) == ("healthy", (1, "accepted", []))
    for value, wanted in (("1", (1, "configured", [])), ("none", (None, "none", []))):
        found = cell("sda", made=model(**{"expected-paths": value}))
        assert (found.state, expectation(found)) == ("healthy", wanted)


def test_a_storage_for_other_nodes_expects_nothing_here() -> None:
    made = model()
    tgt = replace(made.storages["tgt"], nodes=frozenset({"n2"}))
    assert expectation(cell("sda", made=replace(made, storages={"tgt": tgt}))) == (None, "none", [])
