"""The flags of a cell: what is worth knowing of a map although it works, in words, and what to do about it."""

from typing import NamedTuple


class Flag(NamedTuple):
    """One flag: how grave it is, what it says of the paths on a node, what to do."""

    severity: str
    meaning: str
    hint: str


FLAGS = {
    "merged-luns": Flag(
        "error",
        "its paths lead to different disks (sizes or serial numbers differ): what is written to one is not on the other",
        "stop using it, then correct the array: no two LUNs may have one WWID",
    ),
    "io-hangs": Flag("error", "no path is left and it queues: all I/O to it hangs", "bring a path back; see no-path-retry"),
    "session-without-path": Flag(
        "warning",
        "an iSCSI session that should bring one of its paths is logged in and brings none",
        "the array's masking, or a rescan: iscsiadm -m session --rescan",
    ),
    "more-than-peers": Flag(
        "warning",
        "it has more paths here than on most other nodes",
        "compare the zoning and masking of this host; if it is right, pathmesh lun accept",
    ),
    "single-failure-domain": Flag(
        "warning", "all of its paths use one port of this host or one port of the array", "add paths by other ports on both sides"
    ),
}
"""Worst first."""


def flag_text(name: str) -> str:
    """A flag in words; one of another version as it is."""
    return f"{name}: {FLAGS[name].meaning}" if name in FLAGS else name


def worst_first(name: str) -> tuple[int, str]:
    """Sorts flags."""
    return (list(FLAGS).index(name) if name in FLAGS else len(FLAGS), name)
