"""What the doctor says of a node's storages."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from agent import storage_findings
from agent.storage_findings import storage_findings as findings
from store.cells import STORAGE, Cell


def found(*cells: Cell) -> list[Any]:
    picture = SimpleNamespace(cells_of=lambda name, kind: {cell.id: cell for cell in cells if (name, kind) == ("n1", STORAGE)})
    return list(findings(SimpleNamespace(birth=SimpleNamespace(name="n1"), picture=picture)))  # type: ignore[arg-type]


def test_nothing_is_said_of_what_is_well() -> None:
    assert found() == found(Cell(STORAGE, "vm", "healthy", (), {"type": "lvm", "vg": "vg"})) == []
    assert found(Cell(STORAGE, "vm", "degraded", ("of-a-newer-version",), {})) == []


@pytest.mark.parametrize("reason", sorted(storage_findings._WHAT))
def test_each_fault_of_a_group_is_told_with_what_to_do(reason: str) -> None:
    [finding] = found(Cell(STORAGE, "vm", "degraded", (reason,), {"vg": "data"}))
    assert (finding.code, finding.severity in ("error", "warning")) == (reason, True)
    assert finding.message.startswith("storage vm: ") and finding.hint and not re.search(r"[{}]", finding.message + finding.hint)


def test_sessions_that_are_missing() -> None:
    missing = {"missing": ["10.0.0.1:3260", "10.0.1.1:3260"], "errors": []}
    [finding] = found(Cell(STORAGE, "tgt", "missing", ("session-missing",), missing))
    assert (finding.code, finding.severity) == ("session-missing", "error") and "10.0.0.1:3260, 10.0.1.1:3260" in finding.message
    assert "login=yes" in finding.hint
    fault = {"code": "portal-unreachable", "message": "m", "hint": "h"}
    [finding] = found(Cell(STORAGE, "tgt", "degraded", ("session-missing", "portal-unreachable"), missing | {"errors": [fault]}))
    assert finding == ("portal-unreachable", "warning", "storage tgt: m", "h")


@pytest.mark.parametrize("detail", [{}, {"missing": 5, "errors": "x"}, {"errors": [5, {}], "vg": 5}])
def test_details_in_another_form_are_left_out(detail: dict[str, Any]) -> None:
    assert all(finding.severity for finding in found(Cell(STORAGE, "tgt", "odd", ("session-missing", "vg-missing"), detail)))
