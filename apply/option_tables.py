"""The option tables: what may stand in each kind of section, and what may not and why."""

import re
from collections.abc import Mapping

from apply.multipath_options import DEFAULTS_ONLY, PER_MAP, table
from apply.option_model import Group, Option, Refusal, Scope
from apply.option_types import NODE_NAME, WWID_IN_LISTS, Choice, Comment, Flag, Integer, Matching, NameList, YesNo
from apply.portals import SUBSYSTEM_NAME, TARGET_NAME, PortalList
from apply.wwid import AliasType


def _grouped(*tables: Mapping[str, Option]) -> dict[str, Option]:
    """All options, group by group; within one they stand as the tables have them."""
    options = [option for each in tables for option in each.values()]
    return {option.name: option for group in Group for option in options if option.group is group}


_NODES = NameList("node names", NODE_NAME)
_EXPECTED = Integer(1, 64, ("auto", "none"), unit="paths")
_COMMENT = Option("comment", Comment(), note="for people", rendered=False)

_DEFAULTS_META = table(
    Group.EXPECTATIONS,
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

_WWID_META = table(
    Group.EXPECTATIONS,
    Option("alias", AliasType(), note="the map's name; without it, its WWID"),
    _COMMENT,
    Option("disable", Flag(), "0", "the section is kept, the LUN is not allow-listed", rendered=False),
    Option("nodes", _NODES, note="the nodes that should have the LUN, instead of those derived", rendered=False),
    Option("min-paths", Integer(1, 64, unit="paths"), note="as in defaults, for this LUN", rendered=False),
    Option("expected-paths", _EXPECTED, "auto", "as in defaults, for this LUN; auto = that", rendered=False),
)

_STORAGE = table(
    Group.STORAGE,
    _COMMENT,
    Option("disable", Flag(), "0", "the section is kept, no node is expected to have the storage", rendered=False),
    Option("nodes", _NODES, note="the nodes that have the storage; all without it", rendered=False),
)

_YES = {"yes": "1", "on": "1", "true": "1"}
_ALWAYS_MAPS = Option("multipath", Choice(("1",), _YES), "1", "its volumes are always multipath maps", rendered=False)
_MAPS = table(
    Group.STORAGE,
    Option("content", Choice(("images", "none")), "images", "images: guests may use its LUNs as disks", rendered=False),
    Option("shared", Choice(("1",), _YES), "1", "always shared", rendered=False),
    Option("wwids", NameList("WWIDs", WWID_IN_LISTS), note="only these LUNs; all without it", rendered=False),
)

TABLES: Mapping[Scope, Mapping[str, Option]] = {
    Scope.DEFAULTS: _grouped(_DEFAULTS_META, PER_MAP, DEFAULTS_ONLY),
    Scope.WWID: _grouped(_WWID_META, PER_MAP),
    Scope.MULTIPATH: _STORAGE | _MAPS,
    Scope.ISCSI: _STORAGE
    | _MAPS
    | table(
        Group.STORAGE,
        Option("portals", PortalList(), note="each is expected to be one path of every LUN", rendered=False, required=True),
        Option(
            "target",
            Matching("an iSCSI target's name, as iqn.2001-05.com.example:san", TARGET_NAME),
            note="the target that all portals lead to",
            rendered=False,
            required=True,
        ),
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
    Scope.FC: _STORAGE | _MAPS | table(Group.STORAGE, _ALWAYS_MAPS),
    Scope.NVME: _STORAGE
    | _MAPS
    | table(
        Group.STORAGE,
        _ALWAYS_MAPS,
        Option("subnqn", NameList("NVMe subsystem names", SUBSYSTEM_NAME), note="the subsystems of the array, for people", rendered=False),
    ),
    Scope.LVM: _STORAGE
    | table(
        Group.STORAGE,
        Option(
            "vgname",
            Matching("the name of a volume group", re.compile(r"(?!\.{1,2}$)[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,126}")),
            note="the volume group as LVM calls it",
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
        Option(
            "content",
            NameList("images, rootdir, none", re.compile("images|rootdir|none")),
            note="what guests may keep on it: disks of machines (images), file systems of containers (rootdir)",
            rendered=False,
        ),
        Option("shared", Flag(), "0", "1: it is the same group on all its nodes, not one of each node's own", rendered=False),
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
