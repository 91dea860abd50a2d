"""The option tables: what may stand in each kind of section, and what may not and why.

Options carry the names of multipath.conf(5) with `-` for `_`. Ranges are narrower than multipathd's where its own would make a
host unusable; `since` is the first multipath-tools release that knows an option.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from apply.option_types import (
    NODE_NAME,
    WWID_IN_LISTS,
    Choice,
    Comment,
    Features,
    Flag,
    Integer,
    Matching,
    NameList,
    Printable,
    ReservationKey,
    Selector,
    ValueType,
    YesNo,
)
from apply.portals import SUBSYSTEM_NAME, TARGET_NAME, PortalList
from apply.wwid import AliasType

Version = tuple[int, int, int]


class Scope(StrEnum):
    """The kind of section that an option stands in."""

    DEFAULTS = "defaults"
    WWID = "wwid"
    MULTIPATH = "multipath"
    """A storage whose volumes are multipath maps."""
    LVM = "lvm"
    """A storage that is a volume group, on a map if it has a `base`."""
    ISCSI = "iscsi"
    """An iSCSI target; with `multipath 1` its volumes are multipath maps."""
    FC = "fc"
    """LUNs that come over Fibre Channel; its volumes are multipath maps."""
    NVME = "nvme"
    """Namespaces that come over NVMe and are gathered by multipathd; its volumes are multipath maps."""


@dataclass(frozen=True)
class Option:
    """One option of one scope. `default` is what holds without it, "" where that depends or is nothing."""

    name: str
    type: ValueType
    default: str = ""
    note: str = ""
    since: Version = (0, 0, 0)
    rendered: bool = True
    """It goes into multipath.conf; the others mean something to Pathmesh only."""
    required: bool = False
    suffix: str = ""
    """What multipath.conf wants behind the value."""
    values_since: Mapping[str, Version] = field(default_factory=dict)
    """Values that older releases do not know."""
    before: tuple[Version, Mapping[str, str]] | None = None
    """Releases before this one spell the values otherwise."""

    @property
    def keyword(self) -> str:
        """The name in multipath.conf."""
        return self.name.replace("-", "_")


@dataclass(frozen=True)
class Refusal:
    """Why an option of multipath.conf is not offered here, and what to do instead."""

    code: str
    why: str
    hint: str = ""


def _table(*options: Option) -> dict[str, Option]:
    return {option.name: option for option in options}


_OFF = {"0": "no", "off": "no", "false": "no"}
_PATH_ERROR = Integer(1, 2147483647, ("no",), _OFF)
_QUEUEING = "with queueing, I/O waits for ever while no path is left"

# What multipathd knows for all maps and for a single one.
_PER_MAP = _table(
    Option(
        "path-grouping-policy",
        Choice(("failover", "multibus", "group_by_serial", "group_by_prio", "group_by_node_name", "group_by_tpg")),
        "failover",
        "group_by_tpg needs prio alua",
        values_since={"group_by_tpg": (0, 9, 6)},
    ),
    Option("path-selector", Selector(), "service-time", "historical-service-time needs kernel 5.8", suffix=" 0"),
    Option(
        "prio",
        Choice(
            (
                *("const", "sysfs", "alua", "ana", "emc", "rdac", "ontap", "hp_sw", "hds", "random", "weightedpath"),
                *("path_latency", "datacore", "iet", "none"),
            )
        ),
        "const",
        "weightedpath, path_latency, datacore and iet need prio-args",
    ),
    Option("prio-args", Printable(255), note="only with prio in the same section"),
    Option(
        "failback",
        Integer(1, 86400, ("immediate", "manual", "followover"), unit="seconds"),
        "manual",
    ),
    Option("no-path-retry", Integer(1, 100000, ("fail", "queue"), {"0": "fail"}, "checks"), "fail", _QUEUEING),
    Option(
        "flush-on-last-del",
        Choice(("always", "unused", "never"), {"yes": "always", "no": "unused", "1": "always", "0": "unused"}),
        "unused",
        "rendered as yes or no for releases before 0.9.9",
        before=((0, 9, 9), {"always": "yes", "unused": "no", "never": "no"}),
    ),
    Option("features", Features(), "0", f"prefer no-path-retry to queue_if_no_path: {_QUEUEING}"),
    Option("reservation-key", ReservationKey(), note="the file that is written is readable for root alone then"),
    Option("deferred-remove", YesNo(), "no"),
    Option("skip-kpartx", YesNo(), "no", "no partition mappings on maps"),
    Option("purge-disconnected", YesNo(), "no", since=(0, 14, 0)),
    Option("max-sectors-kb", Integer(4, 65536), note="takes effect only when a map is made (0.9.9 and later)"),
    Option("ghost-delay", Integer(1, 3600, ("no",), _OFF, "seconds"), "no"),
    Option("san-path-err-threshold", _PATH_ERROR, "no", "superseded by marginal-path-*", since=(0, 8, 0)),
    Option("san-path-err-forget-rate", _PATH_ERROR, "no", "superseded by marginal-path-*", since=(0, 8, 0)),
    Option("san-path-err-recovery-time", _PATH_ERROR, "no", "superseded by marginal-path-*", since=(0, 8, 0)),
    Option("marginal-path-double-failed-time", Integer(1, 86400, ("no",), _OFF, "seconds"), "no", "all four or none"),
    Option("marginal-path-err-sample-time", Integer(120, 86400, ("no",), _OFF, "seconds"), "no", "all four or none"),
    Option("marginal-path-err-rate-threshold", Integer(1, 1000, ("no",), _OFF, "per mille"), "no", "all four or none"),
    Option("marginal-path-err-recheck-gap-time", Integer(1, 86400, ("no",), _OFF, "seconds"), "no", "all four or none"),
)

_DEFAULTS_ONLY = _table(
    Option("polling-interval", Integer(1, 600, unit="seconds"), "5"),
    Option("max-polling-interval", Integer(1, 3600, unit="seconds"), note="not below polling-interval; 4 times it"),
    Option("detect-pgpolicy", YesNo(), "yes", since=(0, 9, 6)),
    Option("detect-pgpolicy-use-tpg", YesNo(), "no", since=(0, 9, 6)),
    Option(
        "path-checker",
        Choice(("tur", "directio", "readsector0", "rdac", "emc_clariion", "hp_sw", "cciss_tur", "none")),
        "tur",
        "readsector0 is deprecated",
    ),
    Option("checker-timeout", Integer(1, 3600, unit="seconds")),
    Option("detect-checker", YesNo(), "yes"),
    Option("detect-prio", YesNo(), "yes"),
    Option("fast-io-fail-tmo", Integer(0, 600, ("off",), unit="seconds"), "5", "must be below dev-loss-tmo"),
    Option(
        "dev-loss-tmo",
        Integer(1, 4294967295, ("infinity",), {"4294967295": "infinity"}, "seconds"),
        note="at most 600 with fast-io-fail-tmo off",
    ),
    Option("eh-deadline", Integer(0, 3600, ("off",), unit="seconds"), since=(0, 8, 8)),
    Option("max-retries", Integer(0, 5, ("off",)), since=(0, 9, 7)),
    Option("queue-without-daemon", YesNo(), "no"),
    Option("force-sync", YesNo(), "no"),
    Option("strict-timing", YesNo(), "no"),
    Option("recheck-wwid", YesNo(), "no", "yes guards against a LUN that was exchanged", since=(0, 8, 8)),
    Option("reassign-maps", YesNo(), "no"),
    Option("allow-usb-devices", YesNo(), "no", since=(0, 8, 5)),
    Option("all-tg-pt", YesNo(), "no"),
    Option("auto-resize", Choice(("never", "grow_only", "grow_shrink")), "never", since=(0, 9, 7)),
    Option(
        "marginal-pathgroups",
        Choice(("off", "on", "fpin"), {"no": "off", "yes": "on", "0": "off", "1": "on"}),
        "off",
        "fpin excludes marginal-path-* and san-path-err-*; a change needs a restart of multipathd",
        since=(0, 8, 4),
        values_since={"fpin": (0, 9, 0)},
    ),
    Option("log-checker-err", Choice(("once", "always")), "always"),
    Option("uxsock-timeout", Integer(4000, 600000, unit="milliseconds"), "4000", "raise it with many LUNs"),
    Option("max-fds", Integer(1024, 1048576, ("max",)), "max"),
    Option("find-multipaths-timeout", Integer(1, 3600, unit="seconds"), note="no effect with find_multipaths strict"),
    Option("missing-uev-wait-timeout", Integer(1, 600, unit="seconds"), "30"),
    Option("retrigger-tries", Integer(0, 1000), "3"),
    Option("retrigger-delay", Integer(0, 3600, unit="seconds"), "10"),
    Option("remove-retries", Integer(0, 1000), "0"),
    Option("verbosity", Integer(0, 4), "2"),
    Option("partition-delimiter", Printable(8, forbidden="/")),
    Option("enable-foreign", Printable(255, regex=True), note="shows foreign devices in listings only", since=(0, 8, 4)),
)

_NODES = NameList("node names", NODE_NAME)
_EXPECTED = Integer(1, 64, ("auto", "none"), unit="paths")
_COMMENT = Option("comment", Comment(), rendered=False)
_DISABLE = Option("disable", Flag(), "0", rendered=False)

_DEFAULTS_META = _table(
    _COMMENT,
    Option("min-paths", Integer(1, 64, unit="paths"), "2", "fewer usable paths are degraded", rendered=False),
    Option("expected-paths", _EXPECTED, "auto", "paths a node should see; auto = as learned", rendered=False),
    Option(
        "learn-window",
        Integer(0, 604800, unit="seconds"),
        "600",
        "how long a path is usable until it is expected; 0 = at once",
        rendered=False,
    ),
    Option(
        "forget-after",
        Integer(0, 3650, unit="days"),
        "0",
        "how long a path is lost until it is expected no more, while others are there; 0 = never",
        rendered=False,
    ),
)

_WWID_META = _table(
    _COMMENT,
    Option("disable", Flag(), "0", "the section is kept, the LUN is not allow-listed", rendered=False),
    Option("nodes", _NODES, note="the nodes that should have the LUN, instead of those derived", rendered=False),
    Option("min-paths", Integer(1, 64, unit="paths"), note="as in defaults, for this LUN", rendered=False),
    Option("expected-paths", _EXPECTED, "auto", "as in defaults, for this LUN; auto = that", rendered=False),
)

_STORAGE = _table(
    _COMMENT,
    _DISABLE,
    Option("nodes", _NODES, note="the nodes that have the storage; all without it", rendered=False),
)

_YES = {"yes": "1", "on": "1", "true": "1"}
_ALWAYS_MAPS = Option("multipath", Choice(("1",), _YES), "1", "its volumes are always multipath maps", rendered=False)
_MAPS = _table(
    Option("content", Choice(("images", "none")), "images", rendered=False),
    Option("shared", Choice(("1",), _YES), "1", "always shared", rendered=False),
    Option("wwids", NameList("WWIDs", WWID_IN_LISTS), note="only these LUNs; all without it", rendered=False),
)

TABLES: Mapping[Scope, Mapping[str, Option]] = {
    Scope.DEFAULTS: _PER_MAP | _DEFAULTS_ONLY | _DEFAULTS_META,
    Scope.WWID: _table(Option("alias", AliasType(), note="the map's name; without it, its WWID")) | _PER_MAP | _WWID_META,
    Scope.MULTIPATH: _STORAGE | _MAPS,
    Scope.ISCSI: _STORAGE
    | _MAPS
    | _table(
        Option("portals", PortalList(), note="each is expected to be one path of every LUN", rendered=False, required=True),
        Option("target", Matching("an iSCSI target's name, as iqn.2001-05.com.example:san", TARGET_NAME), rendered=False, required=True),
        Option("login", YesNo(), "no", "yes: the nodes of the storage log in to all portals by themselves", rendered=False),
        Option(
            "ifaces",
            NameList("interface records of open-iscsi", re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")),
            "default",
            "each portal is logged in to, and expected, by each of them",
            rendered=False,
        ),
        Option("multipath", Flag(), "0", "its volumes are multipath maps, on which other storages may stand", rendered=False),
    ),
    Scope.FC: _STORAGE | _MAPS | _table(_ALWAYS_MAPS),
    Scope.NVME: _STORAGE
    | _MAPS
    | _table(
        _ALWAYS_MAPS,
        Option("subnqn", NameList("NVMe subsystem names", SUBSYSTEM_NAME), note="the subsystems of the array, for people", rendered=False),
    ),
    Scope.LVM: _STORAGE
    | _table(
        Option(
            "vgname",
            Matching("the name of a volume group", re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,126}")),
            rendered=False,
            required=True,
        ),
        Option(
            "base",
            Matching(
                "a volume of another storage, '<storage>:<volume>'",
                re.compile(r"[a-zA-Z][a-zA-Z0-9._-]*[a-zA-Z0-9]:[!-~]+"),
            ),
            note="the volume under the group, for a LUN '<multipath storage>:<WWID>'",
            rendered=False,
        ),
        Option("content", NameList("images, rootdir, none", re.compile("images|rootdir|none")), rendered=False),
        Option("shared", Flag(), "0", rendered=False),
    ),
}

PINNED: Mapping[str, str] = {"find-multipaths": "strict", "user-friendly-names": "no"}
"""Always rendered with these values: all nodes must agree on the names of maps, and on which devices become one."""

_IDENTITY = Refusal("refused-option", "all nodes must derive the WWID of a device in the same way")
_FILES = Refusal("refused-option", "the files of multipath-tools stay where they are")
_GONE = Refusal("refused-option", "multipath-tools ignores it")
_NO_EFFECT = Refusal("refused-option", "it has no effect on kernels since 4.6, and newer multipath-tools warn of it")
_ACCESS = Refusal("refused-option", "access to maps belongs to udev rules")
_MARGINAL = Refusal("refused-option", "it is superseded", "use the marginal-path-* options")
_DEVICE = Refusal("refused-option", "it belongs to one kind of device", "put it into a devices { device { } } of the overrides")

REFUSED: Mapping[str, Refusal] = {
    **{
        name: Refusal("pinned-option", f"it is always '{value}', so that all nodes name and choose the same devices")
        for name, value in PINNED.items()
    },
    **dict.fromkeys(("uid-attribute", "uid-attrs", "getuid-callout"), _IDENTITY),
    **dict.fromkeys(("bindings-file", "wwids-file", "prkeys-file", "config-dir", "multipath-dir"), _FILES),
    **dict.fromkeys(("pg-timeout", "disable-changed-wwids"), _GONE),
    **dict.fromkeys(("rr-min-io", "rr-min-io-rq", "rr-weight"), _NO_EFFECT),
    **dict.fromkeys(("delay-watch-checks", "delay-wait-checks"), _MARGINAL),
    **dict.fromkeys(("mode", "uid", "gid"), _ACCESS),
    **dict.fromkeys(("hardware-handler", "vpd-vendor", "vendor", "product", "revision", "product-blacklist"), _DEVICE),
    "alias-prefix": Refusal("refused-option", "maps are named by WWID or alias, never by a prefix and a letter"),
    "retain-attached-hw-handler": Refusal("refused-option", "it has no effect on kernels since 4.3"),
    "wwid": Refusal("refused-option", "it is the name of a LUN's section", "pathmesh lun add WWID"),
    "checker": Refusal("refused-option", "it is another word for path-checker", "write path-checker"),
}
"""Options of multipath.conf that no section takes."""

_PER_DEVICE = frozenset(
    {"path-checker", "fast-io-fail-tmo", "dev-loss-tmo", "eh-deadline", "detect-prio", "detect-checker"}
    | {"detect-pgpolicy", "detect-pgpolicy-use-tpg", "recheck-wwid", "all-tg-pt"}
)


def _per_lun_refusal(option: Option) -> Refusal:
    if not option.rendered:
        return Refusal("not-per-lun", "it holds for all LUNs", "set it in defaults")
    hint = "set it in defaults for all LUNs"
    if option.name in _PER_DEVICE:
        hint += ", or put it into devices { } or overrides { } of the overrides"
    return Refusal("not-per-lun", f"multipathd has no per-map {option.name}", hint)


REFUSED_PER_LUN: Mapping[str, Refusal] = {
    name: _per_lun_refusal(option) for name, option in TABLES[Scope.DEFAULTS].items() if name not in TABLES[Scope.WWID]
}
"""Options of `defaults` that a single LUN cannot have."""
