"""The matrix: Resource(kind, id) x Node -> Cell, a lattice of states, an expectation, and a roll-up policy per kind.

Multipath maps are one kind of it and the outcome of apply another; nothing here knows what a path is. States order from mild to severe. A
cell that is not known never hides a worse one and never reads as healthy.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum

import msgspec

from store.cells import CellView


class CellState(StrEnum):
    """What one node says of one resource, mild to severe (the order of definition)."""

    ABSENT = "absent"
    HEALTHY = "healthy"
    UNEXPECTED = "unexpected"
    PENDING = "pending"
    UNKNOWN = "unknown"
    DEGRADED = "degraded"
    MISSING = "missing"
    FAILED = "failed"


class RollUp(StrEnum):
    """What all nodes together say of one resource, mild to severe (the order of definition)."""

    UNUSED = "unused"
    HEALTHY = "healthy"
    PENDING = "pending"
    UNKNOWN = "unknown"
    DEGRADED = "degraded"
    PARTIAL = "partial"
    FAILED = "failed"


SEVERITY: dict[str, int] = {state: rank for rank, state in enumerate(CellState)}
ROLL_UP_SEVERITY: dict[str, int] = {state: rank for rank, state in enumerate(RollUp)}

_OK = frozenset({CellState.HEALTHY, CellState.DEGRADED})
_DOWN = frozenset({CellState.MISSING, CellState.FAILED})
_CARRIES = frozenset({CellState.HEALTHY, CellState.DEGRADED, CellState.FAILED, CellState.PENDING, CellState.UNKNOWN})


def read_state(text: str) -> CellState:
    """The state that a peer's text names; a name from another version reads as unknown."""
    return CellState(text) if text in SEVERITY else CellState.UNKNOWN


class Reporter(StrEnum):
    """How far a node's word can be taken now."""

    FRESH = "fresh"
    STALE = "stale"
    SUSPECT = "suspect"
    OFFLINE = "offline"
    LEFT = "left"
    UNHEARD = "unheard"


class ShownCell(msgspec.Struct, frozen=True):
    """A cell as readers see it: what it reads now, why, and what its node said last."""

    state: CellState
    reasons: tuple[str, ...]
    cell: CellView | None

    def whole(self) -> "ShownCell":
        """The same with the cell decoded: for who reads more than once what is in it, and drops it soon."""
        return ShownCell(self.state, self.reasons, self.cell.whole()) if self.cell is not None else self


class Expectation(msgspec.Struct, frozen=True):
    """Which nodes should carry a resource, and whether anybody uses it at all.

    `stray`: nobody should carry it, so losing sight of it worsens nothing.
    """

    nodes: frozenset[str] = frozenset()
    wanted: bool = False
    stray: bool = False


def show_cell(cell: CellView | None, reporter: Reporter, *, expected: bool, settled: bool) -> ShownCell | None:
    """What the matrix shows for one node.

    None where there is nothing to show: no cell and none expected. `settled` is false while the reporter is still applying the present
    configuration: an expected cell that it does not have yet is pending, not missing.
    """
    if cell is None and not expected:
        return None
    if reporter is not Reporter.FRESH:
        return ShownCell(CellState.UNKNOWN, (f"reporter-{reporter.value}",), cell)
    if cell is None:
        return ShownCell(CellState.MISSING if settled else CellState.PENDING, ("not-reported",), None)
    return ShownCell(read_state(cell.state), cell.reasons, cell)


def roll_up(cells: Mapping[str, CellState], expectation: Expectation) -> RollUp:
    """Many nodes' states as one.

    `cells` holds the shown states of every node that counts: nodes in maintenance are left out by the caller, and so is a node that is
    not expected, not known, and was no carrier. Nodes that are expected, and nodes that carry the resource without being expected, are
    considered; `unexpected` and `absent` cells worsen nothing.
    """
    considered = {node: state for node, state in cells.items() if node in expectation.nodes or state in _CARRIES}
    states = set(considered.values())
    if not states & (_OK | _DOWN | {CellState.PENDING, CellState.UNKNOWN}):
        return RollUp.HEALTHY if states else RollUp.UNUSED
    if not expectation.wanted and not states & _CARRIES:
        return RollUp.UNUSED
    if states & _DOWN:
        return RollUp.PARTIAL if states & _OK else RollUp.FAILED
    for state, result in (
        (CellState.DEGRADED, RollUp.DEGRADED),
        (CellState.UNKNOWN, RollUp.UNKNOWN),
        (CellState.PENDING, RollUp.PENDING),
    ):
        if state in states:
            return result
    return RollUp.HEALTHY


def worst(states: Iterable[RollUp]) -> RollUp:
    """The most severe of the roll-ups; unused if there are none."""
    return max(states, key=lambda s: ROLL_UP_SEVERITY[s], default=RollUp.UNUSED)


class Row(msgspec.Struct, frozen=True):
    """One resource: its roll-up and what each node shows."""

    kind: str
    id: str
    state: RollUp
    nodes: dict[str, ShownCell]


class Sources(msgspec.Struct, frozen=True):
    """What a kind's rows are made from: each node's cells of the kind by id, how far each node's word goes, and what is expected."""

    cells: Mapping[str, Mapping[str, CellView]]
    reporters: Mapping[str, Reporter]
    unsettled: Collection[str] = ()
    maintenance: Collection[str] = ()


Policy = Callable[[Mapping[str, CellState], Expectation], RollUp]
_NOTHING = Expectation()


def build_rows(
    kind: str,
    sources: Sources,
    expectations: Mapping[str, Expectation],
    *,
    ids: Iterable[str] | None = None,
    policy: Policy = roll_up,
    nothing: Expectation = _NOTHING,
) -> list[Row]:
    """The rows of one kind, by id: of all ids that are expected or reported, or of `ids` alone.

    `nothing` is what is expected of an id that is not in `expectations`.
    """
    wanted = set(expectations).union(*(by_id.keys() for by_id in sources.cells.values())) if ids is None else set(ids)
    rows = []
    for name in sorted(wanted):
        expectation = expectations.get(name, nothing)
        shown: dict[str, ShownCell] = {}
        for node, reporter in sources.reporters.items():
            cell = sources.cells.get(node, {}).get(name)
            if cell is None and node not in expectation.nodes:
                continue
            found = show_cell(cell, reporter, expected=node in expectation.nodes, settled=node not in sources.unsettled)
            if found is not None:
                shown[node] = found
        counted = {
            node: found.state
            for node, found in shown.items()
            if node not in sources.maintenance and (node in expectation.nodes or _counts(found, expectation))
        }
        if shown or expectation.wanted or name in expectations:
            rows.append(Row(kind, name, policy(counted, expectation), shown))
    return rows


def _counts(found: ShownCell, expectation: Expectation) -> bool:
    """Whether a cell of a node that is not expected to have one counts.

    One that is not known does if the node was a carrier when that was known last: by its cell, or by what stands beside an unknown one.
    """
    if found.state is not CellState.UNKNOWN or found.cell is None:
        return True
    return not expectation.stray and _last_known(found.cell) in _CARRIES


def _last_known(cell: CellView) -> CellState:
    """The last state of a cell that was not unknown, as its node told it; unknown if it told none."""
    if cell.state != CellState.UNKNOWN:
        return read_state(cell.state)
    last = cell.detail.get("last")
    state = last.get("state") if isinstance(last, Mapping) else None
    return read_state(state) if isinstance(state, str) else CellState.UNKNOWN


def count_states(rows: Iterable[Row]) -> dict[str, int]:
    """How many rows roll up to each state, every state named."""
    counts = {state.value: 0 for state in RollUp}
    for row in rows:
        counts[row.state.value] += 1
    return counts
