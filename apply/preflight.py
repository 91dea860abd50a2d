"""What is checked before the first write: that no map which is not ours would be renamed or dropped, and that every name is free.

Our files pin `user_friendly_names no` and `find_multipaths strict`. On a host that ran without them this renames maps whose names come
from the bindings file, and drops unused maps that are not in the allow-list.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from apply.confsyntax import multipaths
from apply.live import Live
from apply.outcome import ApplyError
from apply.plan import sorted_names


def foreign_maps(live: Live, managed: Collection[str], allowed_after: Collection[str]) -> list[ApplyError]:
    """The maps of others that the pins would rename or drop. `allowed_after` are the lines of the allow-list once ours are added."""
    effective = live.config.merged("defaults")
    named = {wwid for wwid, values in multipaths(live.config).items() if "alias" in values}
    others = {wwid: name for wwid, name in live.names.items() if wwid not in managed}
    renamed, dropped = {}, {}
    for wwid, name in others.items():
        if _friendly(effective) and name != wwid and wwid not in named:
            renamed[wwid] = name
        if effective.get("find_multipaths") != "strict" and wwid not in allowed_after:
            dropped[wwid] = name
    return [*_affected(renamed, "renamed to their WWIDs"), *_affected(dropped, "dropped as soon as they are unused")]


def _friendly(effective: Mapping[str, str]) -> bool:
    return effective.get("user_friendly_names") in ("yes", "1", "on")


def _affected(maps: Mapping[str, str], fate: str) -> list[ApplyError]:
    if not maps:
        return []
    names = sorted_names(f"{name} ({wwid})" if name != wwid else name for wwid, name in maps.items())
    return [
        ApplyError(
            "foreign-map-affected",
            f"maps that are not configured here would be {fate}: {names}",
            "add them with their present names as aliases (`pathmesh lun add WWID --alias NAME`), or set multipath.accept_renames = true",
        )
    ]


def taken_names(names: Mapping[str, str], live: Live, mapper: Path, sysfs: Path) -> list[ApplyError]:
    """The wanted names (by WWID) that something else on this host has and will keep."""
    holders = {name: wwid for wwid, name in live.names.items()}
    errors = []
    for wwid, name in sorted(names.items()):
        holder = holders.get(name)
        if holder is not None and holder != wwid and (holder not in names or names[holder] == name):
            errors.append(_taken(wwid, name, f"the map of {holder}"))
        elif holder is None and name != wwid and (other := _other_device(mapper / name, wwid, sysfs)):
            errors.append(_taken(wwid, name, other))
    return errors


def _other_device(node: Path, wwid: str, sysfs: Path) -> str:
    """What `/dev/mapper/<name>` is, if it is there and is not this LUN's map."""
    if not (node.is_symlink() or node.exists()):
        return ""
    device = sysfs / "block" / node.resolve().name / "dm" / "uuid"
    try:
        uuid = device.read_text().strip()
    except OSError:
        uuid = ""
    return "" if uuid == f"mpath-{wwid}" else f"{node}{f' ({uuid})' if uuid else ''}"


def _taken(wwid: str, name: str, other: str) -> ApplyError:
    return ApplyError("alias-conflict", f"alias {name!r} of {wwid} is taken on this host by {other}", "choose another alias")
