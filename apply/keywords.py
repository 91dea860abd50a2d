"""What multipathd makes of the free-form parts of multipath.conf: every section, every keyword in it, and every value.

multipathd refuses nothing. It takes a value, changes it to one that it knows, ignores it, or takes it and breaks: stops checking paths,
or loses maps. Sources: multipath.conf(5), and the keyword tables of the releases 0.7.9 to 0.14.3.
"""

import difflib
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from apply.ere import read_rule
from apply.ere_tree import ExpressionError
from apply.option_model import Scope, Version
from apply.option_tables import REFUSED, TABLES
from apply.option_types import Choice, Features, Selector, ValueType

INT_MAX = 2**31 - 1
UINT_MAX = 2**32 - 1
ULONG_MAX = 2**64 - 1
MOST_FILES = 2**20
"""To how many open files Linux limits a process if nobody has changed it (fs.nr_open)."""


class Effect(enum.Enum):
    """What multipathd does with a value."""

    TAKEN = "taken"
    CHANGED = "changed"
    """It takes another value instead, with a warning that nobody reads."""
    IGNORED = "ignored"
    UNSET = "unset"
    """It takes it for no value at all, and forgets a former one."""
    BREAKS = "breaks"
    """It takes it, and then does not work."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What becomes of one value, and in words why, for a message that begins with the keyword."""

    effect: Effect
    why: str = ""


TAKEN = Reading(Effect.TAKEN)


class Reader(Protocol):
    """How multipathd reads the values of a keyword."""

    def read(self, value: str) -> Reading:
        """What becomes of a value."""


@dataclass(frozen=True)
class Words:
    """One of some words."""

    words: tuple[str, ...]

    def read(self, value: str) -> Reading:
        known = f"must be one of {', '.join(self.words)}, not {_shown(value)}; multipathd ignores it"
        return TAKEN if value in self.words else Reading(Effect.IGNORED, known)


@dataclass(frozen=True)
class Number:
    """A whole number, which is capped at its range, or one of some words. With `unset`, 0 is taken for no value at all."""

    low: int
    high: int = INT_MAX
    words: tuple[str, ...] = ()
    unset: bool = False

    def read(self, value: str) -> Reading:
        if value in self.words:
            return TAKEN
        if re.fullmatch(r"\s*[+-]?[0-9]{1,40}\s*", value) is None:
            kinds = [*self.words, f"a whole number {max(self.low, int(self.unset))} to {self.high}"]
            return Reading(Effect.IGNORED, f"must be {' or '.join(kinds)}, not {_shown(value)}; multipathd ignores it")
        number = int(value)
        capped = min(max(number, self.low), self.high)
        if self.unset and capped == 0:
            return Reading(Effect.UNSET, f"{number}: to multipathd that is no value at all")
        return TAKEN if capped == number else Reading(Effect.CHANGED, f"is capped by multipathd: it takes {capped} for {number}")


@dataclass(frozen=True)
class LossTimeout:
    """`infinity` or a number, of which multipathd reads as much as it can, and then keeps the lower 32 bits. 0 is no value at all."""

    def read(self, value: str) -> Reading:
        if value == "infinity":
            return TAKEN
        found = re.match(r"\s*([+-]?[0-9]{1,40})", value)
        if found is None:
            return Reading(Effect.IGNORED, f"must be infinity or a number of seconds, not {_shown(value)}; multipathd ignores it")
        number = int(found[1])
        taken = number & UINT_MAX if abs(number) <= ULONG_MAX else UINT_MAX
        if not taken:
            return Reading(Effect.UNSET, f"{_shown(value)}: to multipathd that is no value at all")
        if taken == number and not value[found.end() :].strip():
            return TAKEN
        shown = "infinity" if taken == UINT_MAX else taken
        return Reading(Effect.CHANGED, f"is misread by multipathd: it takes {shown} for {_shown(value)}")


@dataclass(frozen=True)
class Octal:
    """The mode of a file."""

    def read(self, value: str) -> Reading:
        good = re.fullmatch("[0-7]{1,5}", value) is not None and int(value, 8) <= 0o777
        return TAKEN if good else Reading(Effect.IGNORED, f"must be an octal mode up to 0777, not {_shown(value)}; multipathd ignores it")


@dataclass(frozen=True)
class Text:
    """Any text; with a `forbidden` character in it, it is ignored."""

    forbidden: str = ""

    def read(self, value: str) -> Reading:
        if self.forbidden and self.forbidden in value:
            return Reading(Effect.IGNORED, f"must not hold {self.forbidden!r}; multipathd ignores it")
        return TAKEN


@dataclass(frozen=True)
class Expression:
    """A regular expression. With a bad one multipathd drops the rule, and what it should have kept apart is not."""

    invertible: bool = False

    def read(self, value: str) -> Reading:
        try:
            read_rule(value, invertible=self.invertible)
        except ExpressionError as error:
            return Reading(Effect.BREAKS, f"is no regular expression: {error}")
        return TAKEN


@dataclass(frozen=True)
class Exactly:
    """A value that multipathd breaks on, or does without, unless it is one of `type`'s."""

    type: ValueType
    otherwise: Effect = Effect.BREAKS

    def read(self, value: str) -> Reading:
        try:
            self.type.parse(value)
        except ValueError as error:
            consequence = "; multipathd ignores it" if self.otherwise is Effect.IGNORED else ""
            return Reading(self.otherwise, f"must be {error}, not {_shown(value)}{consequence}")
        return TAKEN


@dataclass(frozen=True)
class _NativeSelector:
    """A path selector as multipath.conf takes it: the name, the number of its arguments, the arguments."""

    text: str = "a path selector of the kernel's with the number of its arguments, such as 'service-time 0'"

    def parse(self, value: str) -> str:
        name, count, *arguments = [*value.split(), "", ""][: max(2, len(value.split()))]
        if name not in Selector().words or count != str(len(arguments)):
            raise ValueError(self.text)
        return value


@dataclass(frozen=True)
class Keyword:
    """One keyword. `since` is the first release that knows it, `obsolete` says why it should not be used (or is empty)."""

    reader: Reader
    since: Version = (0, 0, 0)
    obsolete: str = ""


@dataclass(frozen=True)
class Section:
    """What may stand in a section: keywords, and sections. `repeats` are those of both that may be there more than once."""

    keywords: Mapping[str, Keyword]
    sections: Mapping[str, "Section"]
    repeats: frozenset[str] = frozenset()
    since: Version = (0, 0, 0)


# -- the keywords -----------------------------------------------------------------------------------------------------

_OPTIONS = {option.keyword: option for option in TABLES[Scope.DEFAULTS].values() if option.rendered}
_YES_NO = Words(("yes", "no", "1", "0"))
_NO_OR_NUMBER = Number(1, words=("no", "0"))
_OFF_OR_NUMBER = Number(1, words=("off", "0"))
_ANY_NUMBER = Number(0)
_POSITIVE = Number(0, unset=True)


def _as_option(keyword: str) -> Exactly:
    """The values of the option of that name, which are all that work."""
    return Exactly(_OPTIONS[keyword].type)


_ON_OFF = ("off", "no", "0", "on", "yes", "1")
_HANDLERS = Choice(("0", "1 alua", "1 emc", "1 rdac", "1 hp_sw"))

_PER_MAP: Mapping[str, Reader] = {
    "path_grouping_policy": Words(
        ("failover", "multibus", "group_by_serial", "group_by_prio", "group_by_node_name", "group_by_tpg"),
    ),
    "path_selector": Exactly(_NativeSelector()),
    "prio": _as_option("prio"),
    "prio_args": Text(),
    "failback": Number(0, words=("manual", "immediate", "followover"), unset=True),
    "rr_weight": Words(("priorities", "uniform")),
    "no_path_retry": Number(1, words=("fail", "queue", "0")),
    "rr_min_io": _POSITIVE,
    "rr_min_io_rq": _POSITIVE,
    "flush_on_last_del": Words(("yes", "no", "1", "0", "always", "unused", "never")),
    "features": Exactly(Features(flags=("queue_if_no_path", "retain_attached_hw_handler"))),
    "user_friendly_names": _YES_NO,
    "deferred_remove": _YES_NO,
    **dict.fromkeys(("delay_watch_checks", "delay_wait_checks", "ghost_delay"), _NO_OR_NUMBER),
    **dict.fromkeys(("san_path_err_threshold", "san_path_err_forget_rate", "san_path_err_recovery_time"), _NO_OR_NUMBER),
    **dict.fromkeys(("marginal_path_err_sample_time", "marginal_path_err_rate_threshold"), _NO_OR_NUMBER),
    **dict.fromkeys(("marginal_path_err_recheck_gap_time", "marginal_path_double_failed_time"), _NO_OR_NUMBER),
    "skip_kpartx": _YES_NO,
    "max_sectors_kb": _POSITIVE,
    "purge_disconnected": _YES_NO,
}
"""What `defaults`, `device`, `overrides` and `multipath` share."""

SYNONYMS: Mapping[str, str] = {"checker": "path_checker"}
"""Another word that multipathd takes for a keyword, and the one that it prints."""

_PER_PATH: Mapping[str, Reader] = {
    "uid_attribute": Text(),
    "getuid_callout": Text(),
    "path_checker": _as_option("path_checker"),
    **{word: _as_option(keyword) for word, keyword in SYNONYMS.items()},
    "alias_prefix": Text(forbidden="/"),
    "fast_io_fail_tmo": _OFF_OR_NUMBER,
    "dev_loss_tmo": LossTimeout(),
    "eh_deadline": _OFF_OR_NUMBER,
    **dict.fromkeys(("retain_attached_hw_handler", "detect_prio", "detect_checker", "all_tg_pt", "recheck_wwid"), _YES_NO),
    **dict.fromkeys(("detect_pgpolicy", "detect_pgpolicy_use_tpg"), _YES_NO),
}
"""What `defaults`, `device` and `overrides` share besides."""

_RESERVATION_KEY = Exactly(_OPTIONS["reservation_key"].type, Effect.IGNORED)
_ACCESS: Mapping[str, Reader] = {"mode": Octal(), "uid": Text(), "gid": Text(), "reservation_key": _RESERVATION_KEY}

_DEFAULTS: Mapping[str, Reader] = {
    "verbosity": Number(0, 4),
    "polling_interval": _as_option("polling_interval"),
    "max_polling_interval": _as_option("max_polling_interval"),
    **dict.fromkeys(("reassign_maps", "queue_without_daemon", "allow_usb_devices", "force_sync", "strict_timing"), _YES_NO),
    **dict.fromkeys(("multipath_dir", "pg_timeout", "config_dir", "disable_changed_wwids", "uid_attrs"), Text()),
    **dict.fromkeys(("bindings_file", "wwids_file", "prkeys_file"), Text()),
    "max_fds": Number(0, MOST_FILES, ("max",), unset=True),
    "checker_timeout": _POSITIVE,
    **dict.fromkeys(("retrigger_tries", "retrigger_delay"), _ANY_NUMBER),
    **dict.fromkeys(("missing_uev_wait_timeout", "remove_retries"), _ANY_NUMBER),
    "log_checker_err": Words(("once", "always")),
    "partition_delimiter": _as_option("partition_delimiter"),
    "find_multipaths": Words((*_ON_OFF, "strict", "greedy", "smart")),
    "find_multipaths_timeout": Number(-INT_MAX - 1, unset=True),
    "uxsock_timeout": Number(4000),
    "enable_foreign": Expression(),
    "marginal_pathgroups": Words((*_ON_OFF, "fpin")),
    "auto_resize": Words(("never", "grow_only", "grow_shrink")),
    "max_retries": Number(0, 5, ("off",)),
}

_SINCE: Mapping[str, Version] = {option.keyword: option.since for option in _OPTIONS.values()} | {"vpd_vendor": (0, 8, 4)}
_VALUES_SINCE: Mapping[str, Mapping[str, Version]] = {
    **{option.keyword: option.values_since for option in _OPTIONS.values() if option.values_since},
    "flush_on_last_del": dict.fromkeys(("always", "unused", "never"), (0, 9, 9)),
}
_OBSOLETE = (
    *("pg-timeout", "disable-changed-wwids", "rr-min-io", "rr-min-io-rq", "rr-weight", "delay-watch-checks", "delay-wait-checks"),
    *("retain-attached-hw-handler", "alias-prefix", "mode", "uid", "gid"),
)


def _keywords(*groups: Mapping[str, Reader]) -> dict[str, Keyword]:
    readers = {name: reader for group in groups for name, reader in group.items()}
    obsolete = {name.replace("-", "_"): REFUSED[name].why for name in _OBSOLETE}
    return {name: Keyword(reader, _SINCE.get(name, (0, 0, 0)), obsolete.get(name, "")) for name, reader in readers.items()}


_RULE, _PATTERN = Expression(invertible=True), Expression()
_FILTER = Section(
    _keywords(dict.fromkeys(("devnode", "wwid", "property", "protocol"), _RULE)),
    {"device": Section(_keywords({"vendor": _RULE, "product": _RULE}), {})},
    frozenset({"devnode", "wwid", "property", "protocol", "device"}),
)
_DEVICE = Section(
    _keywords(
        _PER_MAP,
        _PER_PATH,
        dict.fromkeys(("vendor", "product", "revision", "product_blacklist"), _PATTERN),
        {"hardware_handler": Exactly(_HANDLERS), "vpd_vendor": Words(("undef", "hp3par")), "pg_timeout": Text()},
    ),
    {},
)
_PROTOCOLS = (
    "undef", "ccw", "cciss", "scsi:fcp", "scsi:spi", "scsi:ssa", "scsi:sbp", "scsi:srp", "scsi:iscsi", "scsi:sas", "scsi:adt", "scsi:ata",
    "scsi:usb", "scsi:unspec", "nvme:pcie", "nvme:rdma", "nvme:fc", "nvme:tcp", "nvme:loop", "nvme:apple-nvme", "nvme:unspec",
)  # fmt: skip
_PROTOCOL = Section(
    _keywords({"type": Words(_PROTOCOLS), **{name: _PER_PATH[name] for name in ("fast_io_fail_tmo", "dev_loss_tmo", "eh_deadline")}}),
    {},
    since=(0, 9, 0),
)
_MULTIPATH = Section(_keywords(_PER_MAP, _ACCESS, {"wwid": Text(), "alias": Text(forbidden="/"), "pg_timeout": Text()}), {})

FILE = Section(
    {},
    {
        "defaults": Section(_keywords(_PER_MAP, _PER_PATH, _ACCESS, _DEFAULTS), {}),
        "devices": Section({}, {"device": _DEVICE}, frozenset({"device"})),
        "overrides": Section(_keywords(_PER_MAP, _PER_PATH), {"protocol": _PROTOCOL}, frozenset({"protocol"})),
        "blacklist": _FILTER,
        "blacklist_exceptions": _FILTER,
        "multipaths": Section({}, {"multipath": _MULTIPATH}, frozenset({"multipath"})),
    },
)
"""The whole file."""


def since(keyword: str, value: str, known: Keyword) -> Version:
    """The first release that knows a keyword with that value."""
    return max(known.since, _VALUES_SINCE.get(keyword, {}).get(value, (0, 0, 0)))


@lru_cache(maxsize=256)
def nearest(keyword: str, known: tuple[str, ...]) -> str | None:
    """The one of some names that `keyword` was probably meant to be."""
    found = difflib.get_close_matches(keyword.lower()[:64].replace("-", "_"), known, n=1, cutoff=0.7)
    return found[0] if found else None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")
