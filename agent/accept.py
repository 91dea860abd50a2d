"""Accepting the paths that a LUN has now as those that it is expected to have."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agent.cell_view import paths_of, said, said_all
from agent.picture import Picture
from agent.writes import Writer
from store.cells import MULTIPATH_MAP, NVME_SUBSYSTEM, CellView
from store.clocks import Dot
from store.errors import ConflictError, UsageError
from store.matrix import Reporter

_USABLE = frozenset({"active", "standby", "marginal"})
_HIDES = "that would hide a failure; repair the paths or disable the LUN"


class Paths(NamedTuple):
    """A node's paths by their identities: those that stay expected, and those that nobody waits for any longer."""

    kept: tuple[str, ...]
    given_up: tuple[str, ...]


class Accepted(NamedTuple):
    """The paths by node, the nodes that were left out with the reason's code, and the edit that says so (None in a dry run)."""

    paths: dict[str, Paths]
    left_out: dict[str, str]
    edit: Dot | None


async def accept(
    picture: Picture,
    writer: Writer,
    wwid: str,
    nodes: Sequence[str] | None,
    *,
    by: str,
    reason: str,
    expires_seconds: int | None,
    dry_run: bool,
    shown: Mapping[str, Sequence[str]] | None = None,
) -> Accepted:
    """Make the paths that are usable now the expected ones, on these nodes or on all that carry the LUN.

    A native NVMe subsystem is accepted by its NQN. `by` is the node that was asked. `shown` are the paths by node that whoever accepts was
    shown: exactly these are accepted or nothing. Without `nodes`, those whose state is not known or that see no path at all are left out:
    that a LUN is gone from a node is accepted only there where somebody asked for it by the node's name.

    UsageError `not-found` or `cell-unknown` if there is nothing to accept, `nothing-usable` if a node sees paths and can use none of them;
    ConflictError `accept-changed` if it is not what was shown.
    """
    kind = NVME_SUBSYSTEM if wwid in picture.rows(NVME_SUBSYSTEM) else MULTIPATH_MAP
    row = picture.rows(kind).get(wwid)
    if row is None or (kind == MULTIPATH_MAP and wwid not in picture.config.model.luns):
        raise UsageError(f"LUN {wwid}: not allow-listed, nothing is expected of it", code="not-found", hint="see `pathmesh lun ls`")
    reporters = picture.reporters()
    accepted: dict[str, Paths] = {}
    left_out: dict[str, str] = {}
    for name in sorted(row.nodes) if nodes is None else nodes:
        if name not in row.nodes:
            raise UsageError(f"{name} does not report LUN {wwid}", code="not-found")
        cell = picture.cell(name, kind, wwid)
        if reporters.get(name) is not Reporter.FRESH or cell is None or cell.state == "unknown":
            if nodes is not None:
                raise UsageError(f"{name}: the state of LUN {wwid} is unknown now, so its paths cannot be accepted", code="cell-unknown")
            left_out[name] = "cell-unknown"
            continue
        found = _paths(name, wwid, cell)
        if found.kept or nodes is not None:
            accepted[name] = found
        else:
            left_out[name] = "no-paths"
    if not accepted:
        raise _nothing(wwid, left_out)
    _as_shown(wwid, {name: paths.kept for name, paths in accepted.items()}, shown)
    if dry_run:
        return Accepted(accepted, left_out, None)
    expires = f"{time.time() + expires_seconds:.0f}" if expires_seconds is not None else ""
    changes = {
        f"ack/{name}/{wwid}": {"paths": "\n".join(paths.kept), "reason": reason, "by": by, "expires": expires}
        for name, paths in accepted.items()
    }
    return Accepted(accepted, left_out, await writer.record(changes, reason=reason or f"accepted the paths of {wwid}"))


def _paths(node: str, wwid: str, cell: CellView) -> Paths:
    """What accepting means on one node. UsageError `nothing-usable` if there are paths and none of them can be used."""
    detail = cell.detail
    listed = said_all(detail, "path_list", dict)
    classes = {name: said(path, "class", "") for path in listed if (name := said(path, "id", ""))}
    kept = tuple(path for path, found in classes.items() if found in _USABLE)
    visible = max(len(classes), paths_of(detail)["visible"])
    if visible and not kept:
        raise UsageError(f"{node}: no path of LUN {wwid} is usable, of {visible} that are visible", code="nothing-usable", hint=_HIDES)
    return Paths(kept, tuple(sorted({*classes, *said_all(detail, "missing_paths", str)} - {*kept})))


def _nothing(wwid: str, left_out: Mapping[str, str]) -> UsageError:
    gone = [name for name, code in left_out.items() if code == "no-paths"]
    if not gone:
        return UsageError(f"no node's state of LUN {wwid} is known now", code="cell-unknown", hint="see `pathmesh lun show`")
    hint = "to accept that it is gone from a node, name the node"
    return UsageError(f"no node sees a path of LUN {wwid}", code="nothing-usable", hint=hint)


def _as_shown(wwid: str, now: Mapping[str, Sequence[str]], shown: Mapping[str, Sequence[str]] | None) -> None:
    """ConflictError `accept-changed` if the paths are not those that were shown, in whatever order."""
    if shown is None:
        return
    for name in sorted({*now, *shown}):
        if name not in now or name not in shown or {*now[name]} != {*shown[name]}:
            message = f"{name}: the paths of LUN {wwid} are others now than those that were shown"
            raise ConflictError(message, code="accept-changed", hint="look again, then accept what is there")
