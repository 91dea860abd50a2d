"""How results look: aligned tables, TSV, colours, sizes and ages. All pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Painted(NamedTuple):
    """A table cell with the state or role that gives its colour."""

    text: str
    role: str


Cell = str | Painted


class _Missing(str):
    """A value that is not there: a dash for people and nothing in TSV, where a dash may be a value."""

    __slots__ = ()


MISSING = _Missing("-")
"""The cell of a value that is not known or not set."""

_GREEN, _YELLOW, _RED, _DIM, _BOLD = "32", "33", "31", "2", "1"
_COLORS: Mapping[str, str] = {
    **dict.fromkeys(("healthy", "online", "in-sync", "full", "info"), _GREEN),
    **dict.fromkeys(("degraded", "pending", "unknown", "suspect", "reduced", "teardown", "warning"), _YELLOW),
    **dict.fromkeys(("failed", "missing", "partial", "offline", "single", "none", "error"), _RED),
    **dict.fromkeys(("absent", "unused", "unexpected", "left", "retired", "not-applicable", "dim"), _DIM),
    "bold": _BOLD,
}

LUN_SEVERITY = ("failed", "partial", "degraded", "unknown", "pending", "healthy", "unused")
"""LUN and cluster states, worst first."""

CELL_SEVERITY = ("failed", "missing", "degraded", "unknown", "pending", "unexpected", "healthy", "absent")
"""Cell states, worst first."""


def paint(text: str, role: str) -> str:
    """`text` in the colour of `role`, as it is when the role has none."""
    code = _COLORS.get(role)
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


def printable(text: str) -> str:
    """`text` with everything that could move a cursor or hide text (controls, bidi marks) written out as an escape.

    Vendor names, aliases and reasons come from other nodes and from arrays; none of them may speak to the terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def one_line(text: str) -> str:
    """`text` on one printable line."""
    return printable(" ".join(text.split()))


def aligned(header: Sequence[str], rows: Iterable[Sequence[Cell]], *, color: bool, indent: str = "") -> list[str]:
    """The lines of a table: columns as wide as their widest cell, two blanks between, nothing at the end of a line."""
    plain = [[printable(_text(cell)) for cell in row] for row in rows_list(rows)]
    roles = [[cell.role if isinstance(cell, Painted) else "" for cell in row] for row in rows_list(rows)]
    widths = [len(title) for title in header]
    for row in plain:
        widths = [max(width, len(text)) for width, text in zip(widths, row, strict=True)]
    lines = [paint_if(indent + _joined(header, widths), "bold", color)] if any(header) else []
    for row, marks in zip(plain, roles, strict=True):
        padded = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        last = max((i for i, text in enumerate(row) if text), default=0)
        cells = [
            paint(text.rstrip(), mark) + " " * (len(text) - len(text.rstrip())) if color else text
            for text, mark in zip(padded[: last + 1], marks, strict=False)
        ]
        lines.append(indent + "  ".join(cells).rstrip())
    return lines


def tsv(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """The lines of a TSV document with its header; tabs and newlines inside a value are escaped, a missing value is empty."""
    yield "\t".join(title.lower().replace(" ", "_") for title in header)
    for row in rows:
        yield "\t".join("" if isinstance(_text(cell), _Missing) else printable(_text(cell)) for cell in row)


def size_text(size: Any) -> str:
    """A size in bytes with a binary unit and at most one decimal; `-` when it is not known."""
    if not isinstance(size, int) or size <= 0:
        return MISSING
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            return f"{value:.1f}".removesuffix(".0") + f" {unit}"
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + " PiB"


def age_text(seconds: Any) -> str:
    """An age in seconds as people say it; `-` when it is not known."""
    if not isinstance(seconds, int | float):
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def severity(state: Any, order: Sequence[str]) -> int:
    """The rank of a state in `order`; a state that a newer agent invented comes first, because nobody can tell."""
    return order.index(state) if state in order else -1


def counts_text(counts: Mapping[str, Any], order: Sequence[str]) -> str:
    """`1 degraded, 3 healthy`: worst first, without zeros."""
    named = sorted(((state, n) for state, n in counts.items() if n), key=lambda item: severity(item[0], order))
    return ", ".join(f"{n} {state}" for state, n in named) or MISSING


def short(digest: Any, length: int = 12) -> str:
    """The beginning of a digest or key, `-` for none."""
    return str(digest)[:length] if digest else MISSING


def text_of(value: Any) -> str:
    """A JSON value in a table cell: `-` for none, lists joined by commas."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value) or MISSING
    return str(value)


def paint_if(text: str, role: str, color: bool) -> str:
    """`text`, coloured if `color`."""
    return paint(text, role) if color else text


def rows_list(rows: Iterable[Sequence[Cell]]) -> Sequence[Sequence[Cell]]:
    """Rows that can be read more than once."""
    return rows if isinstance(rows, list | tuple) else list(rows)


def _text(cell: Cell) -> str:
    return cell.text if isinstance(cell, Painted) else cell


def _joined(header: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(title.ljust(width) for title, width in zip(header, widths, strict=True)).rstrip()
