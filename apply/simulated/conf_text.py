"""The text of `show config` and `show config local`, line for line as the daemon prints it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from apply.simulated.conf_keywords import DEVICE, MULTIPATH, OVERRIDES, PROTOCOL, READERS, Value
from apply.simulated.conf_model import FILTER_WORDS, Config, Filter, Options, device_matches
from apply.simulated.lun_file import Lun


@dataclass(frozen=True, slots=True)
class LocalView:
    """What `show config local` leaves in: the maps (WWID, name) in listing order, and the LUNs whose devices are present."""

    maps: Sequence[tuple[str, str]]
    luns: Sequence[Lun]


def show_config(config: Config, local: LocalView | None = None) -> str:
    """The text of `show config`, or of `show config local` with a view of what is present."""
    devices = config.devices if local is None else [d for d in config.devices if any(device_matches(d, lun) for lun in local.luns)]
    lines = ["defaults {", *_options(config.defaults, READERS, 1), "}"]
    lines += _filter_lines("blacklist", config.blacklist) + _filter_lines("blacklist_exceptions", config.exceptions)
    lines += ["devices {"]
    for device in devices:
        lines += ["\tdevice {", *_options(device, DEVICE, 2), "\t}"]
    lines += ["}", "overrides {", *_options(config.overrides, OVERRIDES, 1)]
    for protocol in config.protocols:
        lines += ["\tprotocol {", *_options(protocol, PROTOCOL, 2), "\t}"]
    lines += ["}", *_multipath_lines(config, local)]
    return "\n".join(lines) + "\n"


def _options(options: Options, order: Iterable[str], depth: int) -> list[str]:
    indent = "\t" * depth
    return [f"{indent}{keyword} {options[keyword]}" for keyword in order if keyword in options]


def _filter_lines(name: str, rules: Filter) -> list[str]:
    lines = [f"{name} {{"]
    for word in FILTER_WORDS:
        lines += [f"\t{word} {Value(text)}" for text in rules.rules[word]]
    for vendor, product in rules.devices:
        pair = {"vendor": Value(vendor), "product": Value(product)}
        lines += ["\tdevice {", *_options({k: v for k, v in pair.items() if v.text}, ("vendor", "product"), 2), "\t}"]
    return [*lines, "}"]


def _multipath_lines(config: Config, local: LocalView | None) -> list[str]:
    names = dict(local.maps) if local else {}
    if not config.multipaths and not names:
        return []
    lines = ["multipaths {"]
    for wwid, options in config.multipaths.items():
        if local is None or wwid in names:
            lines += ["\tmultipath {", *_options(options, MULTIPATH, 2), *_name_comment(wwid, names), "\t}"]
    for wwid in names:
        if wwid not in config.multipaths:
            lines += ["\tmultipath {", f"\t\twwid {Value(wwid)}", *_name_comment(wwid, names), "\t}"]
    return [*lines, "}"]


def _name_comment(wwid: str, names: Mapping[str, str]) -> list[str]:
    """A map's name goes into a comment when it is not its WWID."""
    return [f'\t\t# alias "{names[wwid]}"'] if names.get(wwid, wwid) != wwid else []
