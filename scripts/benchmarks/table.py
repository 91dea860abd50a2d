"""The table of a run: percentiles, targets, verdicts, and their text and JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import Any


class Judged(Enum):
    """What of a row is held against its target."""

    RATIO = "median / limit"
    MEDIAN = "median"
    WORST = "worst"
    SHARE = "share"
    NOTHING = "shown only"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound: the most for all but a share, of which it is the least."""

    judged: Judged = Judged.NOTHING
    bound: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing. `values` in `unit`; `limit` holds the raw limit's rounds of the same run, in the same unit, or nothing."""

    name: str
    unit: str
    values: tuple[float, ...]
    target: Target = Target()
    limit: tuple[float, ...] = ()
    note: str = ""

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        """How many times the limit's median the own median is; None without a limit."""
        return self.median / median(self.limit) if self.limit else None

    @property
    def judged(self) -> float | None:
        """The figure that the target is about; None if nothing is."""
        match self.target.judged:
            case Judged.RATIO:
                return self.ratio
            case Judged.MEDIAN:
                return self.median
            case Judged.WORST:
                return max(self.values)
            case Judged.SHARE:
                return self.median
            case Judged.NOTHING:
                return None

    @property
    def holds(self) -> bool | None:
        """Whether the target is met; None without one."""
        figure = self.judged
        if figure is None:
            return None
        return figure >= self.target.bound if self.target.judged is Judged.SHARE else figure <= self.target.bound


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of them lie, counted as the limit does: the one at position `n * share` of the sorted ones."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def target_text(row: Row) -> str:
    """The target as people read it."""
    bound = _number(row.target.bound)
    match row.target.judged:
        case Judged.RATIO:
            return f"<= {bound} x limit"
        case Judged.MEDIAN:
            return f"<= {bound} {row.unit}"
        case Judged.WORST:
            return f"<= {bound} {row.unit} (worst)"
        case Judged.SHARE:
            return f">= {bound} {row.unit}"
        case Judged.NOTHING:
            return "-"


def table(rows: Sequence[Row]) -> str:
    """Aligned plain text, one line a row, notes below."""
    head = ("what", "n", "median", "p99", "max", "limit", "ratio", "target", "")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = [
        "  ".join(
            cell.ljust(width) if column in (0, 7, 8) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    text.insert(1, "-" * len(text[0]))
    text += [f"{row.name}: {row.note}" for row in rows if row.note]
    return "".join(f"{line.rstrip()}\n" for line in text)


def rows_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "name": row.name,
            "unit": row.unit,
            "count": len(row.values),
            "median": row.median,
            "p99": percentile(row.values, 0.99),
            "max": max(row.values),
            "limit_median": median(row.limit) if row.limit else None,
            "limit_p99": percentile(row.limit, 0.99) if row.limit else None,
            "ratio": row.ratio,
            "judged": row.target.judged.value,
            "target": row.target.bound if row.holds is not None else None,
            "holds": row.holds,
            "note": row.note,
        }
        for row in rows
    ]


def _cells(row: Row) -> tuple[str, ...]:
    single = len(row.values) == 1
    return (
        row.name,
        str(len(row.values)),
        f"{_number(row.median)} {row.unit}",
        "-" if single else _number(percentile(row.values, 0.99)),
        "-" if single else _number(max(row.values)),
        _number(median(row.limit)) if row.limit else "-",
        f"{row.ratio:.1f}" if row.ratio is not None else "-",
        target_text(row),
        {True: "ok", False: "OVER", None: ""}[row.holds],
    )


def _number(value: float) -> str:
    """Three digits that count, no exponent."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
