"""Whether the daemon's value of a keyword means what was written: it prints numbers, booleans and keys in its own spelling. Pure.

What counts as the same belongs to the keyword: `0` is `no` to a switch, `fail` to no_path_retry, and something of its own to a time-out
that can be `off`. So both values are read by the type that the keyword has as an option. (The behaviour of multipath-tools 0.9.4.)
"""

from collections.abc import Mapping

from apply.option_model import Scope
from apply.option_tables import TABLES
from apply.option_types import ValueType, YesNo

_MISPRINTED = frozenset({"force_sync", "retrigger_tries"})
"""multipath-tools 0.9.4 shows `yes` and `0` for these, whatever is in effect. And `max` for a `max_fds` that is the system's limit."""

_TYPES: Mapping[str, ValueType] = {
    **{option.keyword: option.type for option in TABLES[Scope.DEFAULTS].values() if option.rendered},
    **dict.fromkeys(("user_friendly_names", "retain_attached_hw_handler"), YesNo()),
}
_TEXTS = frozenset({"alias", "wwid", "vendor", "product", "revision", "product_blacklist", "prio_args", "enable_foreign"})
"""Keywords whose value is compared as it stands."""


def same_value(key: str, wanted: str, found: str | None) -> bool:
    """Whether `found`, None if it is not set, means the same as `wanted`."""
    if found is None:
        return False
    if key in _MISPRINTED or (key == "max_fds" and found == "max"):
        return True
    if key == "reservation_key":
        return _hexadecimal(wanted) == _hexadecimal(found)
    return wanted == found or (key not in _TEXTS and _canonical(key, wanted) == _canonical(key, found))


def _hexadecimal(value: str) -> str:
    key, colon, flag = value.strip().lower().removeprefix("0x").partition(":")
    return key.lstrip("0") + colon + flag


def _canonical(key: str, value: str) -> str:
    """The value as its option has it; what that would not take stays, but for blanks and zeros in front."""
    text = " ".join(value.split())
    text = str(int(text)) if text.isascii() and text.isdecimal() else text
    try:
        return _TYPES[key].parse(text) if key in _TYPES else text
    except ValueError:
        return text
