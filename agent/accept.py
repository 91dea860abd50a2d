"""Accepting the paths that a LUN has now as those that it is expected to have."""

import time
from typing import NamedTuple

from agent.cell_view import said, said_all
from agent.picture import Picture
from agent.writes import Writer
from store.cells import MULTIPATH_MAP, NVME_SUBSYSTEM
from store.clocks import Dot
from store.errors import UsageError
from store.matrix import Reporter

_USABLE = frozenset({"active", "standby", "marginal"})


class Accepted(NamedTuple):
    """The paths that are expected from now on, by node, and the edit that says so (None in a dry run)."""

    paths: dict[str, tuple[str, ...]]
    edit: Dot | None


async def accept(
    picture: Picture,
    writer: Writer,
    wwid: str,
    nodes: list[str] | None,
    *,
    by: str,
    reason: str,
    expires_seconds: int | None,
    dry_run: bool,
) -> Accepted:
    """Make the paths that are usable now the expected ones, on these nodes or on all that carry the LUN.

    A native NVMe subsystem is accepted by its NQN. `by` is the node that was asked.
    UsageError `not-found` or `cell-unknown` if there is nothing to accept.
    """
    kind = NVME_SUBSYSTEM if wwid in picture.rows(NVME_SUBSYSTEM) else MULTIPATH_MAP
    row = picture.rows(kind).get(wwid)
    if row is None or (kind == MULTIPATH_MAP and wwid not in picture.config.model.luns):
        raise UsageError(f"LUN {wwid}: not allow-listed, nothing is expected of it", code="not-found", hint="see `pathmesh lun ls`")
    reporters = picture.reporters()
    accepted: dict[str, tuple[str, ...]] = {}
    for name in sorted(row.nodes) if nodes is None else nodes:
        if name not in row.nodes:
            raise UsageError(f"{name} does not report LUN {wwid}", code="not-found")
        cell = picture.cell(name, kind, wwid)
        if reporters.get(name) is not Reporter.FRESH or cell is None or cell.state == "unknown":
            if nodes is None:
                continue
            raise UsageError(f"{name}: the state of LUN {wwid} is unknown now, so its paths cannot be accepted", code="cell-unknown")
        accepted[name] = tuple(
            said(path, "id", "") for path in said_all(cell.detail, "path_list", dict) if said(path, "class", "") in _USABLE
        )
    if not accepted:
        raise UsageError(f"no node's state of LUN {wwid} is known now", code="cell-unknown", hint="see `pathmesh lun show`")
    if dry_run:
        return Accepted(accepted, None)
    expires = f"{time.time() + expires_seconds:.0f}" if expires_seconds is not None else ""
    changes = {
        f"ack/{name}/{wwid}": {"paths": "\n".join(paths), "reason": reason, "by": by, "expires": expires}
        for name, paths in accepted.items()
    }
    return Accepted(accepted, await writer.record(changes, reason=reason or f"accepted the paths of {wwid}"))
