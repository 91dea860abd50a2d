"""The options of multipath.conf that may be set for all maps, or for a single one, by group.

Options carry the names of multipath.conf(5) with `-` for `_`. Ranges are narrower than multipathd's where its own would make a
host unusable; `since` is the first multipath-tools release that knows an option.
"""

from collections.abc import Mapping
from dataclasses import replace

from apply.option_model import Group, Option
from apply.option_types import Choice, Features, Integer, Printable, ReservationKey, Selector, YesNo


def table(group: Group, *options: Option) -> dict[str, Option]:
    """Options of one group by name."""
    return {option.name: replace(option, group=group) for option in options}


_OFF = {"0": "no", "off": "no", "false": "no"}
_PATH_ERROR = Integer(1, 2147483647, ("no",), _OFF)
_QUEUEING = "with queueing, I/O waits for ever while no path is left"
_SUPERSEDED = "superseded by marginal-path-*"
_ALL_FOUR = "all four or none"

PER_MAP: Mapping[str, Option] = (
    table(
        Group.FAILOVER,
        Option(
            "path-grouping-policy",
            Choice(("failover", "multibus", "group_by_serial", "group_by_prio", "group_by_node_name", "group_by_tpg")),
            "failover",
            "which paths share a group and carry I/O together; group_by_tpg needs prio alua",
            values_since={"group_by_tpg": (0, 9, 6)},
        ),
        Option(
            "path-selector",
            Selector(),
            "service-time",
            "how I/O is spread over the paths of a group; historical-service-time needs kernel 5.8",
            suffix=" 0",
        ),
        Option(
            "prio",
            Choice(
                (
                    *("const", "sysfs", "alua", "ana", "emc", "rdac", "ontap", "hp_sw", "hds", "random", "weightedpath"),
                    *("path_latency", "datacore", "iet", "none"),
                )
            ),
            "const",
            "who ranks the paths; weightedpath, path_latency, datacore and iet need prio-args",
        ),
        Option("prio-args", Printable(255), note="what the prioritizer is given; only with prio in the same section"),
        Option(
            "failback",
            Integer(1, 86400, ("immediate", "manual", "followover"), unit="seconds"),
            "manual",
            "when I/O returns to the best group; followover keeps nodes that share an active/passive array from moving it to and fro",
        ),
    )
    | table(
        Group.QUEUEING,
        Option(
            "no-path-retry",
            Integer(1, 100000, ("fail", "queue"), {"0": "fail"}, "checks"),
            "fail",
            f"how long I/O is kept once every path has failed; {_QUEUEING}",
        ),
        Option("features", Features(), "0", f"words for the kernel's map; prefer no-path-retry to queue_if_no_path: {_QUEUEING}"),
        Option(
            "flush-on-last-del",
            Choice(("always", "unused", "never"), {"yes": "always", "no": "unused", "1": "always", "0": "unused"}),
            "unused",
            "when a map goes whose last path was deleted; rendered as yes or no for releases before 0.9.9",
            before=((0, 9, 9), {"always": "yes", "unused": "no", "never": "no"}),
        ),
        Option("deferred-remove", YesNo(), "no", "a map in use whose last path was deleted goes with its last user"),
        Option("purge-disconnected", YesNo(), "no", "paths that the array has unmapped are deleted", since=(0, 14, 0)),
    )
    | table(
        Group.MARGINAL,
        Option(
            "marginal-path-double-failed-time",
            Integer(1, 86400, ("no",), _OFF, "seconds"),
            "no",
            f"a path that fails twice within it is watched; {_ALL_FOUR}",
        ),
        Option(
            "marginal-path-err-sample-time",
            Integer(120, 86400, ("no",), _OFF, "seconds"),
            "no",
            f"how long such a path is tested with reads; {_ALL_FOUR}",
        ),
        Option(
            "marginal-path-err-rate-threshold",
            Integer(1, 1000, ("no",), _OFF, "per mille"),
            "no",
            f"with more failed reads than this the path is marginal; {_ALL_FOUR}",
        ),
        Option(
            "marginal-path-err-recheck-gap-time",
            Integer(1, 86400, ("no",), _OFF, "seconds"),
            "no",
            f"how long a marginal path waits for its next test; {_ALL_FOUR}",
        ),
        Option("san-path-err-threshold", _PATH_ERROR, "no", f"failures until a path is held back; {_SUPERSEDED}", since=(0, 8, 0)),
        Option("san-path-err-forget-rate", _PATH_ERROR, "no", f"checks within which those failures count; {_SUPERSEDED}", since=(0, 8, 0)),
        Option("san-path-err-recovery-time", _PATH_ERROR, "no", f"seconds for which the path is held back; {_SUPERSEDED}", since=(0, 8, 0)),
    )
    | table(
        Group.MAPS,
        Option("skip-kpartx", YesNo(), "no", "no partition mappings on maps"),
        Option(
            "max-sectors-kb",
            Integer(4, 65536),
            note="the largest single I/O, in KiB; takes effect only when a map is made (0.9.9 and later)",
        ),
        Option(
            "ghost-delay",
            Integer(1, 3600, ("no",), _OFF, "seconds"),
            "no",
            "how long a new map with standby paths alone waits for an active one before it counts as ready",
        ),
        Option(
            "reservation-key",
            ReservationKey(),
            note="the key for persistent reservations by mpathpersist; the file that is written is readable for root alone then",
        ),
    )
)
"""What multipathd knows for all maps and for a single one."""

DEFAULTS_ONLY: Mapping[str, Option] = (
    table(
        Group.FAILOVER,
        Option("detect-prio", YesNo(), "yes", "for arrays with ALUA the prioritizer is chosen by what the array says"),
        Option(
            "detect-pgpolicy", YesNo(), "yes", "for arrays with ALUA paths are grouped by priority, whatever the policy", since=(0, 9, 6)
        ),
        Option("detect-pgpolicy-use-tpg", YesNo(), "no", "that grouping goes by target port group instead", since=(0, 9, 6)),
    )
    | table(
        Group.QUEUEING,
        Option(
            "queue-without-daemon", YesNo(), "no", "yes: queueing goes on while multipathd is stopped, and nobody can end it until it runs"
        ),
        Option(
            "fast-io-fail-tmo",
            Integer(0, 600, ("off",), unit="seconds"),
            "5",
            "how soon I/O fails after a remote port is lost, so that another path gets it; must be below dev-loss-tmo",
        ),
        Option(
            "dev-loss-tmo",
            Integer(1, 4294967295, ("infinity",), {"4294967295": "infinity"}, "seconds"),
            note="how long a lost remote port keeps its devices (Fibre Channel and SAS); at most 600 with fast-io-fail-tmo off",
        ),
        Option(
            "eh-deadline",
            Integer(0, 3600, ("off",), unit="seconds"),
            note="how long the kernel tries to recover a device before it resets the whole adapter, with all paths over it",
            since=(0, 8, 8),
        ),
        Option(
            "max-retries",
            Integer(0, 5, ("off",)),
            note="how often the kernel repeats a failed SCSI command; less means that another path gets it sooner",
            since=(0, 9, 7),
        ),
    )
    | table(
        Group.CHECKING,
        Option(
            "path-checker",
            Choice(("tur", "directio", "readsector0", "rdac", "emc_clariion", "hp_sw", "cciss_tur", "none")),
            "tur",
            "how a path is tested; readsector0 is deprecated",
        ),
        Option("detect-checker", YesNo(), "yes", "arrays with ALUA are tested by tur, whatever the checker"),
        Option(
            "checker-timeout",
            Integer(1, 3600, unit="seconds"),
            note="how long a path may take to answer its check; without it, the timeout of its device",
        ),
        Option("polling-interval", Integer(1, 600, unit="seconds"), "5", "how often paths are checked at first, and while they fail"),
        Option(
            "max-polling-interval",
            Integer(1, 3600, unit="seconds"),
            note="how seldom good paths are checked; not below polling-interval; 4 times it without this option",
        ),
        Option("strict-timing", YesNo(), "no", "checks start each second on the dot, and multipathd warns when they take too long"),
        Option("force-sync", YesNo(), "no", "paths are checked one after the other: less load, but one slow path delays all"),
        Option(
            "recheck-wwid",
            YesNo(),
            "no",
            "a path that comes back must still have its WWID; yes guards against a LUN that was exchanged",
            since=(0, 8, 8),
        ),
        Option("log-checker-err", Choice(("once", "always")), "always", "whether each failed check of a path is logged, or the first"),
    )
    | table(
        Group.MARGINAL,
        Option(
            "marginal-pathgroups",
            Choice(("off", "on", "fpin"), {"no": "off", "yes": "on", "0": "off", "1": "on"}),
            "off",
            "on: marginal paths are used when no other is left; fpin excludes marginal-path-* and san-path-err-*; "
            "a change from or to fpin needs a restart of multipathd",
            since=(0, 8, 4),
            values_since={"fpin": (0, 9, 0)},
        ),
    )
    | table(
        Group.MAPS,
        Option(
            "auto-resize", Choice(("never", "grow_only", "grow_shrink")), "never", "maps follow when all paths change size", since=(0, 9, 7)
        ),
        Option("reassign-maps", YesNo(), "no", "device-mapper devices that stand on a single path are moved onto the map"),
        Option("partition-delimiter", Printable(8, forbidden="/"), note="what stands before the number in the names of partitions"),
        Option("all-tg-pt", YesNo(), "no", "reservation keys are registered for all target ports of the array at once"),
        Option("allow-usb-devices", YesNo(), "no", "USB disks may be paths, too", since=(0, 8, 5)),
        Option("enable-foreign", Printable(255, regex=True), note="shows foreign devices in listings only", since=(0, 8, 4)),
        Option("find-multipaths-timeout", Integer(1, 3600, unit="seconds"), note="no effect with find_multipaths strict"),
        Option(
            "missing-uev-wait-timeout",
            Integer(1, 600, unit="seconds"),
            "30",
            "how long multipathd waits for udev to know a new map before it reloads it all the same",
        ),
        Option("retrigger-tries", Integer(0, 1000), "3", "how often udev is asked again for the WWID of a device that has none"),
        Option("retrigger-delay", Integer(0, 3600, unit="seconds"), "10", "how long multipathd waits between those tries"),
        Option("remove-retries", Integer(0, 1000), "0", "how often the removal of a map in use is tried again, once a second"),
    )
    | table(
        Group.DAEMON,
        Option("uxsock-timeout", Integer(4000, 600000, unit="milliseconds"), "4000", "how long commands wait; raise it with many LUNs"),
        Option(
            "max-fds", Integer(1024, 1048576, ("max",)), "max", "how many files multipathd may have open: a few more than there are paths"
        ),
        Option("verbosity", Integer(0, 4), "2", "how much multipathd logs; more than 2 is for finding faults"),
    )
)
"""What multipathd knows for all maps only."""
