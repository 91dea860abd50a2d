"""What the doctor says of the flags of a node's own maps."""

from types import SimpleNamespace
from typing import Any

from agent.flags import FLAGS, flag_text, worst_first
from agent.map_findings import map_findings
from apply.model import Lun, Model
from store.cells import MULTIPATH_MAP, NVME_SUBSYSTEM, Cell

NQN = "nqn.2010-06.com.purestorage:flasharray.1"


def found(*cells: Cell, luns: tuple[Lun, ...] = ()) -> list[Any]:
    picture = SimpleNamespace(
        cells_of=lambda name, kind: {cell.id: cell for cell in cells if name == "n1" and cell.kind == kind},
        config=SimpleNamespace(model=Model(luns={lun.wwid: lun for lun in luns})),
    )
    return list(map_findings(SimpleNamespace(birth=SimpleNamespace(name="n1"), picture=picture)))  # type: ignore[arg-type]


def cell(name: str, *flags: Any, kind: str = MULTIPATH_MAP) -> Cell:
    return Cell(kind, name, "healthy", (), {"flags": list(flags)})


def test_nothing_is_said_of_what_has_no_flag() -> None:
    assert found() == found(cell("361"), Cell(MULTIPATH_MAP, "362", "healthy")) == []
    assert found(cell("361", "of-a-newer-version", 5), Cell(MULTIPATH_MAP, "362", "healthy", (), {"flags": "x"})) == []


def test_each_flag_is_told_once_with_all_that_carry_it_worst_first() -> None:
    cells = [cell(f"36{n}", "single-failure-domain") for n in range(5)]
    told = found(*cells, cell("369", "merged-luns"), cell(NQN, "single-failure-domain", kind=NVME_SUBSYSTEM), luns=(Lun("360", "pool"),))
    assert [(finding.code, finding.severity) for finding in told] == [("merged-luns", "error"), ("single-failure-domain", "warning")]
    assert told[0].message.startswith("369: its paths lead to different disks")
    assert told[1].message.startswith("pool (360), 361, 362 and 3 more: ")


def test_every_flag_has_words_and_an_order() -> None:
    for name, flag in FLAGS.items():
        assert flag.severity in ("error", "warning") and flag.hint and flag_text(name) == f"{name}: {flag.meaning}"
        assert found(cell("361", name))[0].hint == flag.hint
    assert sorted(["zz", "more-than-peers", "aa", "merged-luns"], key=worst_first) == ["merged-luns", "more-than-peers", "aa", "zz"]
    assert flag_text("zz") == "zz"
