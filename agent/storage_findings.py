"""What this node's storages lack, for its doctor."""

from collections.abc import Iterator, Mapping

from agent.cell_view import said, said_all
from agent.findings import Finding
from agent.node import Node
from store.cells import STORAGE, Cell

_SINGLE = "LVM must look at maps only: multipath_component_detection = 1 in lvm.conf; is the LUN allow-listed?"

_WHAT: Mapping[str, tuple[str, str, str]] = {
    "vg-missing": (
        "warning",
        "there is no volume group {vg} here",
        "does this node see its LUN? is it made? pathmesh storage create-vg {id}",
    ),
    "duplicate-vg": ("error", "there are several volume groups {vg}", "rename one of them: vgrename UUID NAME"),
    "pv-missing": ("error", "the volume group {vg} lacks some of its devices here", "pathmesh matrix"),
    "pv-on-path": ("error", "LVM uses the volume group {vg} by a single path instead of the map", _SINGLE),
    "duplicate-pv": ("warning", "LVM sees a device of the volume group {vg} more than once", _SINGLE),
    "lv-on-path": (
        "error",
        "volumes of {vg} are active by a single path: they were activated before there was a map",
        "stop their users, then pathmesh storage deactivate {id}, and activate",
    ),
    "vg-not-on-base": (
        "warning",
        "the volume group {vg} is not on the storage's base",
        "correct the base: pathmesh storage set {id} base=…",
    ),
    "program-missing": ("error", "there is no LVM on this node", "apt install lvm2"),
    "program-failed": ("error", "LVM cannot be started", "can this node run `pvs`?"),
    "lvm-failed": ("error", "LVM failed: what is shown is what it said before", "run `pvs` on this node: what does it complain of?"),
    "lvm-garbage": ("error", "LVM's answer cannot be read: what is shown is what it said before", "run `pvs --reportformat json` here"),
    "program-timeout": ("warning", "LVM did not answer in time: what is shown is what it said before", "does `pvs` end? pathmesh matrix"),
    "program-stuck": ("error", "LVM hangs in the kernel: what is shown is what it said before", "bring the paths of the LUN it reads back"),
    "io-hangs": (
        "error",
        "a map without paths queues or a map is suspended, so LVM is not asked",
        "bring its paths back: pathmesh matrix --state failed; dmsetup resume",
    ),
    "map-unknown": (
        "warning",
        "it is not known whether a map lets I/O hang, so LVM is not asked",
        "pathmesh apply tells how multipathd fares; pathmesh matrix --state unknown",
    ),
    "storages-not-looked-at": (
        "error",
        "this node cannot look at what its storages stand on: what is shown is what it saw before",
        "the agent's log says why (journalctl -u pathmesh); does a process hang in /sys or /proc?",
    ),
}
"""By reason: severity, words, what to do."""


def storage_findings(node: Node) -> Iterator[Finding]:
    """What this node said last of the storages that it has."""
    for name, found in sorted(node.picture.cells_of(node.birth.name, STORAGE).items()):
        cell = found.whole()
        for reason in cell.reasons:
            if reason in _WHAT:
                severity, what, hint = _WHAT[reason]
                words = {"id": name, "vg": said(cell.detail, "vg", "")}
                yield Finding(reason, severity, f"storage {name}: {what.format(**words)}", hint.format(**words))
        if "session-missing" in cell.reasons:
            yield from _sessions(name, cell)


def _sessions(name: str, cell: Cell) -> Iterator[Finding]:
    portals = ", ".join(said_all(cell.detail, "missing", str))
    faults = said_all(cell.detail, "errors", dict)
    severity = "error" if cell.state == "missing" else "warning"
    if not faults:
        hint = f"log in, or let the nodes do it: pathmesh storage set {name} login=yes"
        yield Finding("session-missing", severity, f"storage {name}: no session at {portals}", hint)
    for fault in faults:
        yield Finding(
            said(fault, "code", "login-failed"), severity, f"storage {name}: {said(fault, 'message', '')}", said(fault, "hint", "")
        )
