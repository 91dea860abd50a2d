"""What the nodes' cells tell of their tools and LUNs."""

from typing import Any

import pytest

from agent.hosts_seen import HostsSeen
from apply.hosts import Sighting
from store.cells import MULTIPATH_MAP, NODE_FACTS, Cell

A = "3624a9370e92ace0b12e941bf000cb4d5"
DEVS = {
    "fc:0x21>0x50": "sdb",
    "fc:0x22>0x50": "sda",
    "iscsi:10.0.0.1>10.0.0.2:3260,1,iqn.x": "sdc",
    "other:x": "-",
    "nvme:tcp:-": "nvme0n1",
}


class Told:
    """A picture that holds these cells."""

    def __init__(self, *cells: tuple[str, Cell]) -> None:
        self._cells = {(node, cell.kind, cell.id): cell for node, cell in cells}

    def node_names(self) -> list[str]:
        return sorted({node for node, _, _ in self._cells} | {"silent"})

    def cell(self, node: str, kind: str, name: str) -> Cell | None:
        return self._cells.get((node, kind, name))

    def cells_of(self, node: str, kind: str) -> dict[str, Cell]:
        return {name: cell for (of, found, name), cell in self._cells.items() if (of, found) == (node, kind)}

    def node_facts(self, node: str) -> Any:
        cell = self.cell(node, NODE_FACTS, "node")
        return cell.detail if cell else {}


def facts(version: object, visible: object = ()) -> Cell:
    return Cell(NODE_FACTS, "node", "healthy", (), {"tools_version": version, "visible": visible})


@pytest.mark.parametrize(
    ("versions", "oldest"),
    [
        ([], None),
        (["0.9.4", "0.10.0"], ((0, 9, 4), "n0")),
        (["0.11.1", "0.9.9", "0.9.9"], ((0, 9, 9), "n1")),
        (["0.9", None], ((0, 9, 0), "n0")),
        (["x", 7, "1.2.3.4", "-1.0.0", ""], None),
    ],
)
def test_the_oldest_tools(versions: list[object], oldest: object) -> None:
    told: Any = Told(*((f"n{n}", facts(version)) for n, version in enumerate(versions)))
    assert HostsSeen(told).oldest_tools() == oldest


def test_sightings() -> None:
    seen = Cell(MULTIPATH_MAP, A, "healthy", (), {"vendor": "PURE", "product": "FlashArray"}, {"devs": DEVS})
    strange = Cell(MULTIPATH_MAP, A, "healthy", (), {"vendor": None, "product": 7}, {"devs": ["x"]})
    told: Any = Told(("n1", seen), ("n2", strange), ("n3", facts("0.9.4")))
    assert HostsSeen(told).sightings(A) == [
        Sighting("n1", "PURE", "FlashArray", ("nvme0n1", "sda", "sdb", "sdc"), ("nvme:tcp", "scsi:fcp", "scsi:iscsi")),
        Sighting("n2"),
    ]
    assert HostsSeen(told).sightings("360") == []


def test_a_lun_without_a_map_is_seen_by_what_its_paths_say() -> None:
    rows = [{"wwid": "360", "vendor": "X"}, 7, {"wwid": A, "vendor": "PURE", "product": "FlashArray", "paths": 4}]
    told: Any = Told(("n1", facts("0.9.4", rows)), ("n2", facts("0.9.4", "strange")), ("n3", facts("0.9.4", [{"vendor": "Y"}])))
    assert HostsSeen(told).sightings(A) == [Sighting("n1", "PURE", "FlashArray")]


def test_the_maps_of_other_luns_and_their_names() -> None:
    def cell(wwid: str, state: str, alias: object = None) -> Cell:
        return Cell(MULTIPATH_MAP, wwid, state, (), {"alias": alias, "vendor": "V", "path_list": []})

    told: Any = Told(
        ("n1", cell(A, "healthy", "a")),
        ("n1", cell("360", "unexpected", "boot")),
        ("n2", cell("360", "unexpected")),
        ("n2", cell("361", "missing", "x")),
    )
    assert HostsSeen(told).maps_besides({A}) == {"360": [Sighting("n1", "V", name="boot"), Sighting("n2", "V", name="360")]}
    assert [sighting.name for sighting in HostsSeen(told).sightings(A)] == ["a"]
    assert [sighting.name for sighting in HostsSeen(told).sightings("361")] == [""], "there is no map"


def test_of_very_many_nodes_some_are_asked() -> None:
    told: Any = Told(*((f"n{n:03}", Cell(MULTIPATH_MAP, A, "healthy", (), {})) for n in range(100)))
    assert len(HostsSeen(told).sightings(A)) == 32
