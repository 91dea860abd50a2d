"""Reading the host back: multipathd answers `ok` to anything, so only what is in effect counts.

Pure. Findings have three grades: what is broken is rolled back; what is overridden by somebody's own file, or wrong with a single LUN,
is an error that no rolling back would cure; what is merely absent here is a note.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from apply.classify import USABLE, PathClass, path_class
from apply.confsyntax import Block, multipaths, parse
from apply.keywords import SYNONYMS
from apply.live import Live
from apply.outcome import ApplyError
from apply.plan import sorted_names
from apply.render import OVERRIDES
from apply.same_value import same_value
from apply.topology import Map

ALLOW_LIST = "/etc/multipath/wwids"
"""Where multipathd looks if nothing tells it otherwise."""
_TOLD_BY_KERNEL = re.compile(r"[23](?:[0-9a-f]{16}|[0-9a-f]{32})")
"""The WWIDs of disks that the kernel itself names: those with an NAA or EUI-64 identifier."""
MAX_ERRORS = 50
"""Errors of one kind that are listed one by one; a last one counts the rest."""


@dataclass(frozen=True)
class Findings:
    """What is not as it should be."""

    broken: tuple[ApplyError, ...] = ()
    overridden: tuple[ApplyError, ...] = ()
    luns: tuple[ApplyError, ...] = ()
    notes: tuple[ApplyError, ...] = ()

    @property
    def errors(self) -> tuple[ApplyError, ...]:
        """Everything but the notes."""
        return (*self.broken, *self.overridden, *self.luns)


@dataclass(frozen=True)
class Wanted:
    """What has to be in effect.

    `main` is our main file, parsed, and `overrides` the free-form one, which goes before it. `names` are the wanted map names of all
    allow-listed LUNs by WWID; `working` are the maps (WWID to name) that worked before the change and are to stay; `attached` the WWIDs
    that the kernel has, whether or not multipathd sees them. `allow_list` is the file that we write; `local_files` are the texts of the
    drop-ins of others that are read after our main file, by path.
    """

    main: Block
    names: Mapping[str, str]
    overrides: Block = field(default_factory=Block)
    working: Mapping[str, str] = field(default_factory=dict)
    attached: Collection[str] = ()
    allow_list: str = ALLOW_LIST
    local_files: Mapping[str, str] = field(default_factory=dict)


def verify(wanted: Wanted, live: Live) -> Findings:
    """Compare what is wanted with what is in effect."""
    return Findings(
        tuple(_limited(_lost_maps(wanted, live))),
        tuple(_limited([*_overridden(wanted, live), *_overrides_beaten(wanted, live)])),
        tuple(_limited([*_wrong_names(wanted, live), *_without_map(wanted, live)])),
        tuple(_not_visible(wanted, live)),
    )


def _lost_maps(wanted: Wanted, live: Live) -> list[ApplyError]:
    """Maps that worked, whose paths are still there, and that the new configuration took away or blinded.

    multipathd does not list the paths that a blacklist hides, so the kernel's word counts too. Of a WWID that the kernel does not tell
    nobody knows whether the paths went or were hidden: it counts as hidden, for going back harms nobody.
    """
    hint = "journalctl -u multipathd and `multipathd show blacklist` say why; an unknown selector, checker or feature does this, or a rule"
    errors = []
    for wwid, name in sorted(wanted.working.items()):
        there = wwid in live.seen or wwid in wanted.attached or not _TOLD_BY_KERNEL.fullmatch(wwid)
        loss = _loss(live.maps.get(wwid)) if there else ""
        if loss:
            message = f"map {name} ({wwid}) {loss} when the configuration was loaded"
            errors.append(ApplyError("reconfigure-failed", message, hint, wwid=wwid))
    return errors


def working_maps(live: Live) -> dict[str, str]:
    """The maps with at least one usable path: WWID to name."""
    return {wwid: found.name for wwid, found in live.maps.items() if USABLE.intersection(_classes(found))}


def _loss(new: Map | None) -> str:
    """What a map lost to its configuration. Paths that failed were lost to something else."""
    if new is None:
        return "lost its device"
    classes = _classes(new)
    if not classes:
        return "lost all its paths"
    return "" if classes & {*USABLE, PathClass.FAILED} else "has no path any more that multipathd can check"


def _classes(found: Map) -> set[PathClass]:
    return {path_class(path)[0] for _, path in found.paths()}


def _overridden(wanted: Wanted, live: Live) -> list[ApplyError]:
    effective, free = live.config.merged("defaults"), wanted.overrides.merged("defaults")
    errors = [
        _not_effective(wanted, key, value, effective.get(key))
        for key, value in sorted(wanted.main.merged("defaults").items())
        if key not in free and not same_value(key, value, effective.get(key))
    ]
    if wanted.names and effective.get("wwids_file", ALLOW_LIST) not in (ALLOW_LIST, wanted.allow_list):
        errors.append(_not_effective(wanted, "wwids_file", wanted.allow_list, effective["wwids_file"]))
    if "user_friendly_names" in wanted.main.merged("defaults"):
        friendly = (section for name in ("overrides", "devices") for section in live.config.sections(name))
        for section in friendly:
            inside = [section.values, *(block.values for block in section.blocks)]
            if any(options.get("user_friendly_names") in ("yes", "1", "on") for options in inside):
                errors.append(_not_effective(wanted, "user_friendly_names", "no", f"yes in {section.name} {{}}"))
    blocks = multipaths(live.config)
    for wwid, values in sorted(multipaths(wanted.main).items()):
        if wwid not in live.maps:
            continue
        for key, value in sorted(values.items()):
            found = blocks.get(wwid, {}).get(key)
            if not same_value(key, value, found):
                errors.append(_not_effective(wanted, key, value, found, wwid))
    return errors


def _not_effective(wanted: Wanted, key: str, value: str, found: str | None, wwid: str = "") -> ApplyError:
    where = [name for name, text in sorted(wanted.local_files.items()) if re.search(rf"^\s*{re.escape(key)}\s", text, re.MULTILINE)]
    of = f" of {wwid}" if wwid else ""
    actual = "not set" if found is None else f"{found!r}"
    return ApplyError(
        "overridden-locally",
        f"{key}{of} is {actual} instead of {value!r}" + (f", set by {where[-1]}" if where else ""),
        f"remove `{key}` from {where[-1]}" if where else "look for the setting in /etc/multipath/conf.d, or run `multipathd reconfigure`",
        wwid=wwid,
    )


def _overrides_beaten(wanted: Wanted, live: Live) -> Iterator[ApplyError]:
    """What the free-form overrides set and a file of somebody else, which is read after them, sets otherwise.

    Only with such a file is it told: multipathd leaves out what its release does not know, and prints only the devices that are there.
    """
    later = {name: parse(text) for name, text in sorted(wanted.local_files.items()) if PurePath(name).name > OVERRIDES}
    if not later:
        return
    for section in ("defaults", "overrides"):
        files = {name: _spelled(root.merged(section)) for name, root in later.items()}
        yield from _beaten(f"in {section} {{}}", _spelled(wanted.overrides.merged(section)), live.config.merged(section), files)
    effective = _devices(live.config)
    others = {name: _devices(root) for name, root in later.items()}
    for device, values in _devices(wanted.overrides).items():
        if device in effective:
            files = {name: found[device] for name, found in others.items() if device in found}
            yield from _beaten(f"of device {' '.join(filter(None, device))}", values, effective[device], files)


def _beaten(where: str, ours: Mapping[str, str], found: Mapping[str, str], files: Mapping[str, Mapping[str, str]]) -> Iterator[ApplyError]:
    for key, value in sorted(ours.items()):
        by = [name for name, values in files.items() if key in values]
        if by and key in found and not same_value(key, value, found[key]):
            message = f"{key} {where} of the overrides is {found[key]!r} instead of {value!r}, set by {by[-1]}"
            yield ApplyError("overridden-locally", message, f"remove `{key}` from {by[-1]}")


def _devices(root: Block) -> dict[tuple[str, str, str], dict[str, str]]:
    """The keywords of each device by vendor, product and revision; of equal ones the later holds."""
    result: dict[tuple[str, str, str], dict[str, str]] = {}
    for section in root.sections("devices"):
        for device in section.sections("device"):
            names = (device.values.get("vendor", ""), device.values.get("product", ""), device.values.get("revision", ""))
            result.setdefault(names, {}).update(_spelled(device.values))
    return result


def _spelled(values: Mapping[str, str]) -> dict[str, str]:
    """The keywords as multipathd prints them: it takes another word for one of them."""
    return {SYNONYMS.get(key, key): value for key, value in values.items()}


def _wrong_names(wanted: Wanted, live: Live) -> list[ApplyError]:
    """Names that multipathd did not give; one that somebody's own file asks for is told by that."""
    given = multipaths(live.config)
    return [
        ApplyError(
            "alias-conflict",
            f"the map of {wwid} is named {live.names[wwid]!r} instead of {name!r}",
            "multipathd refused the name; journalctl -u multipathd says by what it is used",
            wwid=wwid,
        )
        for wwid, name in sorted(wanted.names.items())
        if live.names.get(wwid, name) not in (name, given.get(wwid, {}).get("alias"))
    ]


def _without_map(wanted: Wanted, live: Live) -> list[ApplyError]:
    errors = []
    for wwid in sorted(wanted.names.keys() - live.maps.keys()):
        if wwid in live.seen:
            hint = "journalctl -u multipathd says why; a path that is mounted or in a volume group cannot become part of a map"
            message = f"the paths of {wwid} are visible, but multipathd made no map of them"
            errors.append(ApplyError("wwid-create-failed", message, hint, wwid=wwid))
        elif wwid in wanted.attached:
            hint = "multipathd show blacklist names the rule; our exception covers the WWID criterion only"
            message = f"the disks of {wwid} are attached, but multipathd does not look at them"
            errors.append(ApplyError("wwid-blacklisted", message, hint, wwid=wwid))
    return errors


def _not_visible(wanted: Wanted, live: Live) -> list[ApplyError]:
    hidden = wanted.names.keys() - live.maps.keys() - live.seen.keys() - set(wanted.attached)
    if not hidden:
        return []
    hint = "check zoning, masking or the iSCSI sessions of this node"
    return [ApplyError("wwid-not-visible", f"no path to {sorted_names(hidden)}", hint)]


def _limited(errors: list[ApplyError]) -> list[ApplyError]:
    if len(errors) <= MAX_ERRORS:
        return errors
    return [*errors[:MAX_ERRORS], ApplyError(errors[MAX_ERRORS].code, f"and {len(errors) - MAX_ERRORS} more of the kind")]
