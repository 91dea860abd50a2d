"""`pathmesh status`: the cluster on one screen, what is wrong first."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from agent.cli.base import Command
from agent.cli.output import (
    CELL_SEVERITY,
    LUN_SEVERITY,
    Cell,
    Painted,
    age_text,
    aligned,
    counts_text,
    one_line,
    printable,
    severity,
    short,
    size_text,
    text_of,
)
from agent.cli.session import Session, problem_text

BAD_LUNS_SHOWN = 20
GOOD_LUNS_SHOWN = 12
"""What fits one screen; --verbose shows all."""


@click.command(cls=Command)
@click.pass_obj
def status(session: Session) -> None:
    """Show the cluster on one screen: nodes, LUNs with the bad ones first, conflicts and problems.

    \b
    Examples:
      pathmesh status
      pathmesh status --json | jq -r .cluster_state
    """
    response = session.client().request("GET", "/v1/status")
    if session.output == "json":
        session.json_bytes(response)
        return
    document = response.json()
    if session.output == "tsv":
        session.table(("kind", "name", "state", "detail"), list(_records(document)))
        return
    session.lines(screen(session, document))


def screen(session: Session, document: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the status screen."""
    yield from _head(session, document)
    yield ""
    yield from _nodes(session, document)
    yield ""
    yield from _luns(session, document)
    yield from _conflicts(session, document)
    yield from _problems(session, document)


def _head(session: Session, document: Mapping[str, Any]) -> Iterator[str]:
    state = str(document.get("cluster_state", "unknown"))
    nodes = document.get("nodes") or []
    online = sum(node.get("state") == "online" for node in nodes)
    config = document.get("config") or {}
    cluster = printable(str(document.get("cluster", "")))
    yield f"cluster {session.paint(cluster, 'bold')}  {session.paint(state, state)}"
    edits = config.get("edits")
    made = "" if edits is None else f", {edits} edit{'' if edits == 1 else 's'}"
    yield (
        f"{online} of {len(nodes)} nodes online, seen from {printable(str(document.get('node', '')))};"
        f" config {short(config.get('digest'))}{made}; {document.get('generated', '')}"
    )


def _nodes(session: Session, document: Mapping[str, Any]) -> list[str]:
    rows: list[list[Cell]] = []
    for node in document.get("nodes") or []:
        state = str(node.get("state", "unknown"))
        apply = str((node.get("apply") or {}).get("state") or "-")
        label = f"{state} (maintenance)" if node.get("maintenance") else state
        rows.append(
            [
                str(node.get("node", "")),
                Painted(label, state),
                text_of(node.get("role")),
                Painted(apply, apply),
                text_of(node.get("daemon")),
                text_of(node.get("tools_version")),
                counts_text(node.get("cells") or {}, CELL_SEVERITY),
                age_text(node.get("age_seconds")),
            ]
        )
    header = ("NODE", "STATE", "ROLE", "APPLY", "MULTIPATHD", "TOOLS", "MAPS", "AGE")
    return aligned(header, rows, color=session.colors)


def _luns(session: Session, document: Mapping[str, Any]) -> Iterator[str]:
    luns = sorted(
        document.get("luns") or [],
        key=lambda lun: (severity(lun.get("state"), LUN_SEVERITY), lun.get("alias") or lun.get("wwid")),
    )
    counts = counts_text(document.get("counts") or {}, LUN_SEVERITY)
    yield f"{session.paint('LUNS', 'bold')}  {counts if luns else 'none'}"
    good = [lun for lun in luns if lun.get("state") in ("healthy", "unused")]
    bad = [lun for lun in luns if lun not in good]
    bad_shown = len(bad) if session.verbose else BAD_LUNS_SHOWN
    good_shown = len(good) if session.verbose else max(0, GOOD_LUNS_SHOWN - len(bad))
    rows: list[list[Cell]] = []
    below: list[list[str]] = []
    for lun in bad[:bad_shown] + good[:good_shown]:
        state = str(lun.get("state", "unknown"))
        array = " ".join(str(lun[name]).strip() for name in ("vendor", "product") if lun.get(name))
        rows.append(
            [
                Painted(state, state),
                str(lun.get("alias") or "-"),
                str(lun.get("wwid", "")),
                size_text(lun.get("size_bytes")),
                array or "-",
            ]
        )
        below.append(list(_bad_cells(session, lun)) if lun in bad else [])
    for line, detail in zip(aligned(("",) * 5, rows, color=session.colors, indent="  "), below, strict=True):
        yield line
        yield from detail
    left = len(bad) - len(bad[:bad_shown]), len(good) - len(good[:good_shown])
    if any(left):
        parts = [f"{n} more {what}" for n, what in zip(left, ("with trouble", "healthy or unused"), strict=True) if n]
        yield f"  and {', '.join(parts)}: pathmesh matrix, or pathmesh status -v"


def _bad_cells(session: Session, lun: Mapping[str, Any]) -> Iterator[str]:
    """A line for each node on which the LUN is not healthy: state, redundancy, paths, reasons, and the lost and failed paths by name."""
    cells = lun.get("nodes") or {}
    for name, cell in sorted(cells.items(), key=lambda item: (severity(item[1].get("state"), CELL_SEVERITY), item[0])):
        state = str(cell.get("state", "unknown"))
        if state in ("healthy", "absent", "unexpected"):
            continue
        words = [f"{printable(name)}:", session.paint(state, state), *_cell_words(session, cell)]
        yield "      " + " ".join(words)
        for path in cell.get("missing_paths") or ():
            yield f"        lost path {printable(str(path))}"
        for path in cell.get("failed_paths") or ():
            yield f"        failed path {printable(str(path))}"


def _cell_words(session: Session, cell: Mapping[str, Any]) -> Iterator[str]:
    redundancy = str(cell.get("redundancy") or "")
    paths = paths_text(cell)
    if paths and redundancy in ("single", "none"):
        yield session.paint(f"redundancy {redundancy},", redundancy)
    if paths:
        yield f"{paths} paths"
    reasons = [printable(str(reason)) for reason in cell.get("reasons") or ()]
    if reasons:
        yield f"({', '.join(reasons)})"
    if isinstance(cell.get("last"), Mapping):
        yield f"was {printable(str(cell['last'].get('state')))}"
    if cell.get("queueing") in ("on", "retry") and cell.get("state") == "failed":
        yield session.paint("I/O is queued and hangs", "failed")
    if accepted := accepted_text(cell):
        yield accepted


def accepted_text(cell: Mapping[str, Any]) -> str:
    """Who accepted the cell's paths, until when and why; empty if nobody did."""
    acked = cell.get("acked")
    if not isinstance(acked, Mapping):
        return ""
    until = f" until {acked['expires']}" if acked.get("expires") else ""
    reason = f": {acked['reason']}" if acked.get("reason") else ""
    return one_line(f"accepted by {acked.get('by') or '?'}{until}{reason}")


def paths_text(cell: Mapping[str, Any]) -> str:
    """`usable/expected`, or the usable paths alone when none are expected; empty for a cell without paths."""
    paths = cell.get("paths")
    if not isinstance(paths, Mapping) or paths.get("usable") is None or cell.get("state") == "unknown":
        return ""
    expected = paths.get("expected")
    if expected is None and not paths.get("visible"):
        return ""
    return f"{paths['usable']}/{expected}" if expected is not None else str(paths["usable"])


def _conflicts(session: Session, document: Mapping[str, Any]) -> Iterator[str]:
    count = (document.get("config") or {}).get("conflicts") or 0
    if count:
        yield ""
        noun = "conflict is" if count == 1 else "conflicts are"
        yield f"{session.paint('CONFLICTS', 'bold')}  {count} {noun} open: pathmesh conflicts"


def _problems(session: Session, document: Mapping[str, Any]) -> Iterator[str]:
    lines: list[str] = []
    for problem in (document.get("config") or {}).get("problems") or ():
        head, hint = problem_text(problem)
        level = str(problem.get("severity") or "error")
        lines.append(f"  {session.paint(level, level)}{head}")
        if hint:
            lines.append(f"    hint: {hint}")
    for node in document.get("nodes") or ():
        name = printable(str(node.get("node", "")))
        for error in (node.get("apply") or {}).get("errors") or ():
            code, message = one_line(str(error.get("code", ""))), one_line(str(error.get("message", "")))
            lines.append(f"  {session.paint('error', 'error')}: {name}: {code}: {message}")
            if error.get("hint"):
                lines.append(f"    hint: {one_line(str(error['hint']))}")
        lines.extend(f"  note: {name}: {one_line(_note(note))}" for note in node.get("notes") or ())
    if lines:
        yield ""
        yield session.paint("PROBLEMS", "bold")
        yield from lines


def _note(note: Any) -> str:
    return str(note.get("message") or note.get("code") or note) if isinstance(note, Mapping) else str(note)


def _records(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    config = document.get("config") or {}
    yield "cluster", str(document.get("cluster", "")), str(document.get("cluster_state", "")), str(config.get("digest", ""))
    for node in document.get("nodes") or ():
        yield "node", str(node.get("node")), str(node.get("state")), text_of((node.get("apply") or {}).get("state"))
        for error in (node.get("apply") or {}).get("errors") or ():
            yield "apply-error", str(node.get("node")), str(error.get("code")), str(error.get("message", ""))
    for lun in document.get("luns") or ():
        bad = sorted(f"{name}={cell.get('state')}" for name, cell in (lun.get("nodes") or {}).items() if cell.get("state") != "healthy")
        yield "lun", str(lun.get("wwid")), str(lun.get("state")), ",".join(bad)
    if config.get("conflicts"):
        yield "conflicts", "config", "open", str(config["conflicts"])
    for problem in config.get("problems") or ():
        yield "problem", str(problem.get("key", "")), str(problem.get("severity") or "error"), str(problem.get("message", ""))
