"""What one poll makes of the daemon's answer, with the memory of the polls before."""

import pytest

from apply.classify import PathClass
from apply.observation import Observed, observe_maps
from apply.path_facts import IscsiPortal, NoFacts
from apply.topology import Group, Map, Path, Topology

IQN = "iqn.2001-05.com.example:a"
W = "360014050000000100004000800000000"
A, B = f"iscsi:10.0.2.5>10.0.2.10:3260,1,{IQN}", f"iscsi:10.0.3.5>10.0.3.10:3260,1,{IQN}"


class Host(NoFacts):
    """Two sessions over two networks."""

    def iscsi_portal(self, dev: str) -> IscsiPortal | None:
        return IscsiPortal({"sda": "10.0.2.10", "sdb": "10.0.3.10"}[dev], 3260, 1)


def poll(before: Observed | None, address: str, chk_st: str, known: tuple[str, ...] = ()) -> Observed:
    paths = (
        Path(dev="sda", dev_t="8:0", dm_st="active", chk_st="ready", dev_st="running", host_adapter="10.0.2.5", target_wwnn=IQN),
        Path(dev="sdb", dev_t="8:16", dm_st="active", chk_st=chk_st, dev_st="running", host_adapter=address, target_wwnn=IQN),
    )
    topology = Topology((Map(uuid=W, name="a", dm_st="active", path_groups=(Group(paths=paths),)),))
    memory = before.paths if before else {}
    return observe_maps(topology, {}, Host(), memory, {}, 0.0, {W: known})


@pytest.mark.parametrize("chk_st", ["ready", "faulty"])
def test_a_session_that_lost_its_connection_stays_the_same_path(chk_st: str) -> None:
    """The kernel tells no initiator any more before the checker finds the path faulty, and until it is connected again."""
    before = poll(None, "10.0.3.5", "ready")
    after = poll(before, "[undef]", chk_st).maps[W]
    assert [path.id for path in after.paths] == [A, B]
    assert after.count(PathClass.FAILED) == (chk_st == "faulty")


def test_it_is_known_after_a_restart_from_what_was_learned() -> None:
    found = poll(None, "[undef]", "faulty", known=(A, B)).maps[W]
    assert [path.id for path in found.paths] == [A, B]
    nothing_known = poll(None, "[undef]", "faulty").maps[W]
    assert [path.id for path in nothing_known.paths] == [f"iscsi:->10.0.3.10:3260,1,{IQN}", A]
