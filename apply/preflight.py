"""What is checked before the first write: that no map in use would be renamed, dropped or hidden, and that every name is free.

Our files pin `user_friendly_names no` and `find_multipaths strict`. On a host that ran without them this renames maps whose names come
from the bindings file, and drops unused maps that are not in the allow-list. Our overrides may hide maps of others, and a LUN that is
new in our files may have a map of another name already.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from apply.attempt import Attempt
from apply.confsyntax import multipaths, parse
from apply.filters import Loss, brought_about, hidden_maps, loss_message
from apply.hostpaths import HostPaths
from apply.hosts import Sighting, protocol_of
from apply.inuse import InUse
from apply.lint import keeping_name
from apply.live import Live
from apply.outcome import ApplyError
from apply.overrides import parse as statements_of
from apply.path_facts import NoFacts
from apply.paths import identity
from apply.plan import sorted_names
from apply.render import MAIN, OVERRIDES, text_of
from apply.topology import Map, Seen
from apply.wwids import read


async def refusals(attempt: Attempt, live: Live, paths: HostPaths, in_use: InUse, *, accept_renames: bool) -> list[ApplyError]:
    """Why nothing may be written. `accept_renames` allows what takes a map's name, not what takes its paths."""
    errors = taken_names(attempt.names, live, paths.mapper, paths.sysfs)
    managed = {*attempt.desired.allow_list, *attempt.remembered.owned, *attempt.kept_names}
    if OVERRIDES in attempt.plan.install:
        before, after = (text_of(files.get(OVERRIDES)) for files in (attempt.saved, attempt.plan.install))
        errors.extend(hidden_by_overrides(live, managed, before, after, paths.files_of_others().values()))
    if attempt.main is not None and not attempt.desired.empty and not accept_renames:
        errors.extend(foreign_maps(live, managed, read(paths.wwids).active | attempt.desired.allow_list))
        known = multipaths(parse(text_of(attempt.saved.get(MAIN))))
        for wwid, name in renamed_luns(attempt.names, known, live).items():
            if use := await in_use.reason(wwid, name):
                errors.append(renamed_in_use(wwid, name, attempt.names[wwid], use))
    return errors


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


def hidden_by_overrides(live: Live, managed: Collection[str], before: str, after: str, others: Iterable[str]) -> list[ApplyError]:
    """The maps of others that the new text of the overrides would hide, and the text `before` did not.

    `others` are the texts of all files of others: their exceptions count.
    """
    maps = {wwid: (_sighting(found, live.seen.get(wwid)),) for wwid, found in live.maps.items() if wwid not in managed}
    elsewhere = [statement for text in others for statement in statements_of(text)[0]]
    hidden = hidden_maps(statements_of(after)[0], maps, elsewhere)
    known = hidden_maps(statements_of(before)[0], maps, elsewhere) if hidden and before else {}
    return list(map(_hidden, brought_about(hidden, known).values()))


def _sighting(found: Map, seen: Seen | None) -> Sighting:
    """How this host's multipathd sees a map; udev's words for the transport are not asked for."""
    paths = [path for _, path in found.paths()]
    named = (protocol_of(identity(path, NoFacts())) for path in paths)
    return Sighting(
        "",
        (seen.vendor if seen else found.vend).strip(),
        (seen.product if seen else found.prod).strip(),
        tuple(sorted({path.dev for path in paths if path.dev not in ("", "-")} | set(seen.hcil if seen else ()))),
        tuple(sorted({protocol for protocol in named if protocol.startswith("scsi:")})),
    )


def _hidden(loss: Loss) -> ApplyError:
    message = f"the overrides would hide maps that are not configured here: {loss_message(loss)}"
    return ApplyError("foreign-map-affected", message, "narrow the rule, or add an exception for them to the overrides")


def renamed_luns(names: Mapping[str, str], known: Collection[str], live: Live) -> dict[str, str]:
    """The LUNs that our files get only now and whose map gets another name with it: WWID to the present name.

    `names` are the wanted names by WWID, `known` the LUNs of our verified files. A name that somebody's own file gives stays, unless we
    give another one.
    """
    given = multipaths(live.config)
    return {
        wwid: live.names[wwid]
        for wwid, name in sorted(names.items())
        if wwid not in known and live.names.get(wwid, name) != name and not (name == wwid and "alias" in given.get(wwid, {}))
    }


def renamed_in_use(wwid: str, present: str, wanted: str, use: str) -> ApplyError:
    """The error for one of these whose map is in use."""
    message = f"the map {present!r} of {wwid} would be renamed to {wanted!r} while it is in use: {use}"
    hint = f"{keeping_name(wwid, present)}, or set multipath.accept_renames = true"
    return ApplyError("foreign-map-affected", message, hint, wwid=wwid)


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
            "add them with names that they may keep (`pathmesh lun add WWID --alias NAME`), or set multipath.accept_renames = true",
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
