"""What is taken of other nodes' word before something is written on a LUN: what is not known is not free."""

from types import SimpleNamespace
from typing import Any

import pytest

from agent.elsewhere import group_elsewhere, users_elsewhere
from store.cells import MULTIPATH_MAP, STORAGE, Cell, pack
from store.matrix import Reporter

A = "3624a9370e92ace0b12e941bf000cb4d5"


def picture(reporter: Reporter, cell: Cell | None, kind: str = MULTIPATH_MAP) -> Any:
    """n1 is this node; n2 says this."""
    packed = pack(cell) if cell is not None else None
    mine = Cell(kind, A, "healthy", (), {"used_by": ["mount:/own"], "size_bytes": 5})
    told = {"n1": mine, "n2": packed}
    return SimpleNamespace(
        reporters=lambda: {"n1": Reporter.FRESH, "n2": reporter}, cell=lambda node, of, _: told[node] if of == kind else None
    )


def a_map(state: str = "healthy", *reasons: str, **detail: Any) -> Cell:
    return Cell(MULTIPATH_MAP, A, state, reasons, {"alias": None, **detail})


FREE, USED = a_map(used_by=[]), a_map(used_by=["mount:/srv", "dm:x"])


@pytest.mark.parametrize("cell", [FREE, a_map("unknown", "daemon-down", used_by=[]), a_map("missing", "not-visible")])
def test_a_node_that_says_now_that_nothing_uses_it(cell: Cell) -> None:
    assert users_elsewhere(picture(Reporter.FRESH, cell), "n1", A) == ({}, {})


@pytest.mark.parametrize(
    ("cell", "wwid"),
    [
        (a_map("missing", "not-visible", "recovering"), A),
        (a_map("missing", "not-visible", "flapping"), A),
        (a_map("unknown", "not-visible"), A),
        *((a_map("missing", "not-visible"), wwid) for wwid in ("1IET_00010001", "eui.0025385b71b00001", "nvme.8086-46", "SATA_x")),
    ],
)
def test_only_a_disk_that_the_kernel_would_name_is_known_to_be_out_of_sight(cell: Cell, wwid: str) -> None:
    assert users_elsewhere(picture(Reporter.FRESH, cell), "n1", wwid).unknown.keys() == {"n2"}


@pytest.mark.parametrize("wwid", [A, "2001b4d0a3f1c2e55"])
def test_a_disk_out_of_sight_is_not_used_there(wwid: str) -> None:
    assert users_elsewhere(picture(Reporter.FRESH, a_map("missing", "not-visible")), "n1", wwid) == ({}, {})


@pytest.mark.parametrize("reporter", list(Reporter))
@pytest.mark.parametrize("state", ["healthy", "unknown", "failed"])
def test_what_is_in_use_is_so_also_if_that_is_old(reporter: Reporter, state: str) -> None:
    found = users_elsewhere(picture(reporter, a_map(state, used_by=["mount:/srv"])), "n1", A)
    assert found.used == {"n2": ("mount:/srv",)}


@pytest.mark.parametrize("reporter", sorted(set(Reporter) - {Reporter.FRESH}))
@pytest.mark.parametrize("cell", [None, FREE, a_map("missing", "not-visible")])
def test_a_node_that_is_not_heard_may_use_it(reporter: Reporter, cell: Cell | None) -> None:
    found = users_elsewhere(picture(reporter, cell), "n1", A)
    assert found.used == {} and found.unknown.keys() == {"n2"} and found.unknown["n2"]


@pytest.mark.parametrize(
    "cell",
    [
        None,
        a_map(),
        a_map("missing", "not-assembled"),
        a_map("missing", "blacklisted"),
        a_map("pending", "apply-in-progress"),
        a_map("unexpected"),
        *(a_map(used_by=garbage) for garbage in (None, 5, "x", {}, [5], ["x", None])),
    ],
)
def test_a_node_that_does_not_tell_who_uses_it_may_use_it(cell: Cell | None) -> None:
    assert users_elsewhere(picture(Reporter.FRESH, cell), "n1", A).unknown.keys() == {"n2"}


def test_of_an_ignored_node_counts_only_that_it_uses_it_now() -> None:
    for reporter in Reporter:
        for cell in (None, a_map(), FREE):
            assert users_elsewhere(picture(reporter, cell), "n1", A, ["n2"]) == ({}, {})
    assert users_elsewhere(picture(Reporter.OFFLINE, USED), "n1", A, ["n2"]) == ({}, {})
    assert users_elsewhere(picture(Reporter.FRESH, USED), "n1", A, ["n2"]).used.keys() == {"n2"}


@pytest.mark.parametrize(
    ("reporter", "detail", "ignored", "found"),
    [
        (Reporter.FRESH, {"size_bytes": 5}, (), "n2"),
        (Reporter.OFFLINE, {"size_bytes": 5}, (), "n2"),
        (Reporter.FRESH, {"size_bytes": 5}, ("n2",), "n2"),
        (Reporter.OFFLINE, {"size_bytes": 5}, ("n2",), ""),
        (Reporter.FRESH, {}, (), ""),
        (Reporter.FRESH, {"size_bytes": "x"}, (), ""),
    ],
)
def test_a_group_that_is_there_already(reporter: Reporter, detail: dict[str, Any], ignored: tuple[str, ...], found: str) -> None:
    assert group_elsewhere(picture(reporter, Cell(STORAGE, A, "healthy", (), detail), STORAGE), "n1", A, ignored) == found
