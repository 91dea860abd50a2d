"""The keywords of `multipath.conf` by section, in the daemon's own order, and how each one's value is read and printed.

Source: multipath.conf(5) of multipath-tools 0.9.4.
"""

import pwd
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from apply.ere import compile_rule

INT_MAX = 2**31 - 1
UINT_MAX = 2**32 - 1
DEAD_INTERVAL = UINT_MAX - 1
"""What a refused `polling_interval` becomes, in seconds: path checks stop."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value as the daemon took it. Words and texts are printed in quotes, numbers bare."""

    text: str
    quoted: bool = True

    def __str__(self) -> str:
        return '"' + self.text.replace('"', '""') + '"' if self.quoted else self.text


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of a raw value: taken (perhaps capped, with a `warning`), or left out with a `warning`."""

    value: Value | None
    warning: str = ""


Reader = Callable[[str, str], Reading]
"""Called with the keyword and the raw value."""


def _refused(keyword: str, raw: str) -> Reading:
    return Reading(None, f'invalid value for {keyword}: "{raw}"')


def text(keyword: str, raw: str) -> Reading:
    return Reading(Value(raw))


def text_without_slash(keyword: str, raw: str) -> Reading:
    return Reading(None, f"{keyword} cannot contain a slash. Ignoring") if "/" in raw else Reading(Value(raw))


def deprecated(keyword: str, raw: str) -> Reading:
    return Reading(None, f'ignoring deprecated option "{keyword}"')


def without_effect(keyword: str, raw: str) -> Reading:
    return Reading(Value("ignored"))


def state_file(keyword: str, raw: str) -> Reading:
    if not raw.startswith("/"):
        return Reading(None, f"{keyword}: {raw} is not an absolute path. Ignoring")
    return Reading(Value(raw), f'"{keyword}" is deprecated and will be disabled in a future release')


def regex(keyword: str, raw: str) -> Reading:
    return Reading(Value(raw)) if compile_rule(raw) else Reading(None, "parsing failed")


def counted(position: int) -> Reader:
    """A text whose word number `position` must be the count of the words after it."""

    def read(keyword: str, raw: str) -> Reading:
        words = raw.split()
        if len(words) <= position or not re.fullmatch(r"\d{1,9}", words[position]):
            return Reading(None, f"missing argument count for {keyword}")
        got, expected = int(words[position]), len(words) - position - 1
        if got != expected:
            return Reading(None, f"invalid argument count for {keyword}:, got '{got}' expected '{expected}'")
        return Reading(Value(raw))

    return read


def one_of(words: Mapping[str, str]) -> Reader:
    """An enumeration: what may be written, and what it means."""

    def read(keyword: str, raw: str) -> Reading:
        return Reading(Value(words[raw])) if raw in words else _refused(keyword, raw)

    return read


def number(low: int, high: int = INT_MAX, words: Mapping[str, Value] | None = None) -> Reader:
    """An integer that is capped at its range, or one of some words."""

    def read(keyword: str, raw: str) -> Reading:
        if words and raw in words:
            return Reading(words[raw])
        match = re.fullmatch(r"\s*([+-]?\d{1,40})", raw)
        if match is None:
            return _refused(keyword, raw)
        value = int(match[1])
        capped = min(max(value, low), high)
        size = "small" if capped > value else "large"
        return Reading(Value(str(capped), quoted=False), f"value for {keyword} too {size}, capping at {capped}" if capped != value else "")

    return read


def unsigned(high: int) -> Reader:
    """A number that is refused, not capped, outside its range."""

    def read(keyword: str, raw: str) -> Reading:
        if re.fullmatch(r"\d{1,40}", raw) is None or int(raw) > high:
            return _refused(keyword, raw)
        return Reading(Value(str(int(raw)), quoted=False))

    return read


def loss_timeout(keyword: str, raw: str) -> Reading:
    if raw == "infinity":
        return Reading(Value(raw))
    match = re.match(r"\s*(\d{1,40})", raw)
    return Reading(Value(str(min(int(match[1]), UINT_MAX)), quoted=False)) if match else _refused(keyword, raw)


def octal_mode(keyword: str, raw: str) -> Reading:
    if re.fullmatch(r"[0-7]{1,5}", raw) is None or int(raw, 8) > 0o777:
        return _refused(keyword, raw)
    return Reading(Value(f"0{int(raw, 8):o}", quoted=False))


def user(keyword: str, raw: str) -> Reading:
    """A user's name or number; the daemon looks up `gid` among the users too."""
    if re.fullmatch(r"\d{1,9}", raw):
        return Reading(Value(f"0{int(raw):o}", quoted=False))
    try:
        entry = pwd.getpwnam(raw)
    except (KeyError, ValueError):
        return _refused(keyword, raw)
    return Reading(Value(f"0{entry.pw_uid if keyword == 'uid' else entry.pw_gid:o}", quoted=False))


def reservation_key(keyword: str, raw: str) -> Reading:
    if raw == "file":
        return Reading(Value(raw))
    match = re.fullmatch(r"(?:0[xX])?([0-9a-fA-F]{1,16})(:aptpl)?", raw)
    return Reading(Value(f"0x{int(match[1], 16):x}{match[2] or ''}", quoted=False)) if match else Reading(None, "parsing failed")


def _words(*names: str, **also: str) -> Mapping[str, str]:
    return {name: name for name in names} | also


_YES_NO: Mapping[str, str] = {"yes": "yes", "1": "yes", "no": "no", "0": "no"}
_ON_OFF: Mapping[str, str] = {"off": "off", "no": "off", "0": "off", "on": "on", "yes": "on", "1": "on"}
yes_no = one_of(_YES_NO)
no_or_number = number(1, words={"no": Value("no"), "0": Value("no")})
off_or_number = number(0, words={"off": Value("off")})

READERS: Mapping[str, Reader] = {
    "verbosity": number(0, 4),
    "polling_interval": unsigned(DEAD_INTERVAL),
    "max_polling_interval": unsigned(UINT_MAX),
    "reassign_maps": yes_no,
    "multipath_dir": deprecated,
    "path_selector": counted(1),
    "path_grouping_policy": one_of(_words("failover", "multibus", "group_by_serial", "group_by_prio", "group_by_node_name")),
    "uid_attrs": text,
    "uid_attribute": text,
    "getuid_callout": deprecated,
    "prio": text,
    "prio_args": text,
    "features": counted(0),
    "path_checker": text,
    "checker": text,
    "alias_prefix": text_without_slash,
    "failback": number(0, words={w: Value(w) for w in ("manual", "immediate", "followover")}),
    "rr_min_io": number(0),
    "rr_min_io_rq": number(0),
    "max_fds": number(0, words={"max": Value("max")}),
    "rr_weight": one_of(_words("priorities", "uniform")),
    "no_path_retry": number(1, words={"fail": Value("fail"), "0": Value("fail"), "queue": Value("queue")}),
    "queue_without_daemon": yes_no,
    "checker_timeout": number(0),
    "allow_usb_devices": yes_no,
    "pg_timeout": deprecated,
    "flush_on_last_del": yes_no,
    "user_friendly_names": yes_no,
    "mode": octal_mode,
    "uid": user,
    "gid": user,
    "fast_io_fail_tmo": off_or_number,
    "dev_loss_tmo": loss_timeout,
    "eh_deadline": off_or_number,
    "bindings_file": state_file,
    "wwids_file": state_file,
    "prkeys_file": state_file,
    "log_checker_err": one_of(_words("once", "always")),
    "reservation_key": reservation_key,
    "all_tg_pt": yes_no,
    "retain_attached_hw_handler": yes_no,
    "detect_prio": yes_no,
    "detect_checker": yes_no,
    "force_sync": yes_no,
    "strict_timing": yes_no,
    "deferred_remove": yes_no,
    "partition_delimiter": text_without_slash,
    "config_dir": deprecated,
    "delay_watch_checks": no_or_number,
    "delay_wait_checks": no_or_number,
    "san_path_err_threshold": no_or_number,
    "san_path_err_forget_rate": no_or_number,
    "san_path_err_recovery_time": no_or_number,
    "marginal_path_err_sample_time": no_or_number,
    "marginal_path_err_rate_threshold": no_or_number,
    "marginal_path_err_recheck_gap_time": no_or_number,
    "marginal_path_double_failed_time": no_or_number,
    "find_multipaths": one_of({**_ON_OFF, "strict": "strict", "greedy": "greedy", "smart": "smart"}),
    "uxsock_timeout": number(4000),
    "retrigger_tries": number(0),
    "retrigger_delay": number(0),
    "missing_uev_wait_timeout": number(0),
    "skip_kpartx": yes_no,
    "disable_changed_wwids": without_effect,
    "remove_retries": number(0),
    "max_sectors_kb": number(0),
    "ghost_delay": no_or_number,
    "find_multipaths_timeout": number(-INT_MAX - 1),
    "enable_foreign": text,
    "marginal_pathgroups": one_of({**_ON_OFF, "fpin": "fpin"}),
    "recheck_wwid": yes_no,
}
"""The keywords of `defaults`, which most sections share, in printing order."""

_SHARED_TAIL = (
    "delay_watch_checks delay_wait_checks san_path_err_threshold san_path_err_forget_rate san_path_err_recovery_time"
    " marginal_path_err_sample_time marginal_path_err_rate_threshold marginal_path_err_recheck_gap_time"
    " marginal_path_double_failed_time skip_kpartx max_sectors_kb ghost_delay"
)


def _readers(names: str, **special: Reader) -> Mapping[str, Reader]:
    return {name: special.get(name) or READERS[name] for name in names.split()}


DEVICE = _readers(
    "vendor product revision product_blacklist path_grouping_policy uid_attribute getuid_callout path_selector path_checker checker"
    " alias_prefix features hardware_handler prio prio_args failback rr_weight no_path_retry rr_min_io rr_min_io_rq pg_timeout"
    " flush_on_last_del fast_io_fail_tmo dev_loss_tmo eh_deadline user_friendly_names retain_attached_hw_handler detect_prio"
    " detect_checker deferred_remove " + _SHARED_TAIL + " all_tg_pt vpd_vendor recheck_wwid",
    vendor=regex,
    product=regex,
    revision=regex,
    product_blacklist=regex,
    hardware_handler=counted(0),
    vpd_vendor=one_of(_words("hp3par")),
)
OVERRIDES = _readers(
    "path_grouping_policy uid_attribute getuid_callout path_selector path_checker checker alias_prefix features prio prio_args failback"
    " rr_weight no_path_retry rr_min_io rr_min_io_rq flush_on_last_del fast_io_fail_tmo dev_loss_tmo eh_deadline user_friendly_names"
    " retain_attached_hw_handler detect_prio detect_checker deferred_remove " + _SHARED_TAIL + " all_tg_pt recheck_wwid"
)
PROTOCOLS = (
    "undef", "ccw", "cciss", "scsi:fcp", "scsi:spi", "scsi:ssa", "scsi:sbp", "scsi:srp", "scsi:iscsi", "scsi:sas", "scsi:adt", "scsi:ata",
    "scsi:usb", "scsi:unspec", "nvme:pcie", "nvme:rdma", "nvme:fc", "nvme:tcp", "nvme:loop", "nvme:apple-nvme", "nvme:unspec",
)  # fmt: skip
PROTOCOL = _readers("type fast_io_fail_tmo dev_loss_tmo eh_deadline", type=one_of(_words(*PROTOCOLS)))
MULTIPATH = _readers(
    "wwid alias path_grouping_policy path_selector prio prio_args failback rr_weight no_path_retry rr_min_io rr_min_io_rq pg_timeout"
    " flush_on_last_del features mode uid gid reservation_key user_friendly_names deferred_remove " + _SHARED_TAIL,
    wwid=text,
    alias=text_without_slash,
)
FILTER_DEVICE: Mapping[str, Reader] = {"vendor": regex, "product": regex}
FILTER: Mapping[str, Reader] = {"devnode": regex, "wwid": regex, "property": regex, "protocol": regex}

INITIAL: Mapping[str, Value] = {
    "verbosity": Value("2", quoted=False),
    "reassign_maps": Value("no"),
    "path_selector": Value("service-time 0"),
    "path_grouping_policy": Value("failover"),
    "uid_attribute": Value("ID_SERIAL"),
    "prio": Value("const"),
    "prio_args": Value(""),
    "features": Value("0"),
    "path_checker": Value("tur"),
    "alias_prefix": Value("mpath"),
    "failback": Value("manual"),
    "rr_min_io": Value("1000", quoted=False),
    "rr_min_io_rq": Value("1", quoted=False),
    "max_fds": Value("max"),
    "rr_weight": Value("uniform"),
    "queue_without_daemon": Value("no"),
    "allow_usb_devices": Value("no"),
    "flush_on_last_del": Value("no"),
    "user_friendly_names": Value("no"),
    "fast_io_fail_tmo": Value("5", quoted=False),
    "bindings_file": Value("/etc/multipath/bindings"),
    "wwids_file": Value("/etc/multipath/wwids"),
    "prkeys_file": Value("/etc/multipath/prkeys"),
    "log_checker_err": Value("always"),
    "all_tg_pt": Value("no"),
    "retain_attached_hw_handler": Value("yes"),
    "detect_prio": Value("yes"),
    "detect_checker": Value("yes"),
    "force_sync": Value("no"),
    "strict_timing": Value("no"),
    "deferred_remove": Value("no"),
    **{name: Value("no") for name in _SHARED_TAIL.split()[:9]},
    "find_multipaths": Value("strict"),
    "uxsock_timeout": Value("4000", quoted=False),
    "retrigger_tries": Value("3", quoted=False),
    "retrigger_delay": Value("10", quoted=False),
    "missing_uev_wait_timeout": Value("30", quoted=False),
    "skip_kpartx": Value("no"),
    "disable_changed_wwids": Value("ignored"),
    "remove_retries": Value("0", quoted=False),
    "ghost_delay": Value("no"),
    "find_multipaths_timeout": Value("-10", quoted=False),
    "enable_foreign": Value("NONE"),
    "marginal_pathgroups": Value("off"),
    "recheck_wwid": Value("no"),
}
"""`defaults` before any file is read. Keywords that are absent here have no value until a file gives one."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section's grammar: its keywords, its own sections, and which of both may repeat without a warning."""

    keywords: Mapping[str, Reader]
    sections: Mapping[str, "Section"] = field(default_factory=dict)
    repeatable: frozenset[str] = frozenset()


_FILTER = Section(FILTER, {"device": Section(FILTER_DEVICE)}, frozenset({*FILTER, "device"}))
GRAMMAR = Section(
    {},
    {
        "defaults": Section(READERS),
        "blacklist": _FILTER,
        "blacklist_exceptions": _FILTER,
        "devices": Section({}, {"device": Section(DEVICE)}, frozenset({"device"})),
        "overrides": Section(OVERRIDES, {"protocol": Section(PROTOCOL)}, frozenset({"protocol"})),
        "multipaths": Section({}, {"multipath": Section(MULTIPATH)}, frozenset({"multipath"})),
    },
)
