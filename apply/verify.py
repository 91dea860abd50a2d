"""Reading the host back: multipathd answers `ok` to anything, so only what is in effect counts.

Pure. Findings have three grades: what is broken is rolled back; what is overridden by somebody's own file, or wrong with a single LUN,
is an error that no rolling back would cure; what is merely absent here is a note.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from apply.classify import USABLE, PathClass, path_class
from apply.confsyntax import Block, multipaths
from apply.live import Live
from apply.outcome import ApplyError
from apply.plan import sorted_names
from apply.topology import Map

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

    `main` is our main file, parsed; `free` are the keywords of `defaults` that the free-form overrides set too, and so win. `names` are the
    wanted map names of all allow-listed LUNs by WWID; `working` are the maps (WWID to name) that worked before the change and are to stay;
    `attached` the WWIDs that the kernel has, whether or not multipathd sees them. `local_files` are the texts of the drop-ins of others
    that are read after ours, by path.
    """

    main: Block
    names: Mapping[str, str]
    free: Collection[str] = ()
    working: Mapping[str, str] = field(default_factory=dict)
    attached: Collection[str] = ()
    local_files: Mapping[str, str] = field(default_factory=dict)


def verify(wanted: Wanted, live: Live) -> Findings:
    """Compare what is wanted with what is in effect."""
    return Findings(
        tuple(_limited(_lost_maps(wanted, live))),
        tuple(_limited(_overridden(wanted, live))),
        tuple(_limited([*_wrong_names(wanted, live), *_without_map(wanted, live)])),
        tuple(_not_visible(wanted, live)),
    )


def _lost_maps(wanted: Wanted, live: Live) -> list[ApplyError]:
    """Maps that worked, whose paths are still seen, and that the new configuration took away or blinded."""
    hint = "journalctl -u multipathd and the kernel log say why; an unknown path selector, checker or feature does this"
    errors = []
    for wwid, name in sorted(wanted.working.items()):
        loss = _loss(live.maps.get(wwid)) if wwid in live.seen else ""
        if loss:
            errors.append(ApplyError("reconfigure-failed", f"map {name} ({wwid}) {loss} when the configuration was loaded", hint))
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
    effective = live.config.merged("defaults")
    errors = [
        _not_effective(wanted, key, value, effective.get(key))
        for key, value in sorted(wanted.main.merged("defaults").items())
        if key not in wanted.free and not same_value(key, value, effective.get(key))
    ]
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
    )


def _wrong_names(wanted: Wanted, live: Live) -> list[ApplyError]:
    return [
        ApplyError(
            "alias-conflict",
            f"the map of {wwid} is named {live.names[wwid]!r} instead of {name!r}",
            "multipathd refused the name; journalctl -u multipathd says by what it is used",
        )
        for wwid, name in sorted(wanted.names.items())
        if live.names.get(wwid, name) != name
    ]


def _without_map(wanted: Wanted, live: Live) -> list[ApplyError]:
    errors = []
    for wwid in sorted(wanted.names.keys() - live.maps.keys()):
        if wwid in live.seen:
            hint = "journalctl -u multipathd says why; a path that is mounted or in a volume group cannot become part of a map"
            errors.append(ApplyError("wwid-create-failed", f"the paths of {wwid} are visible, but multipathd made no map of them", hint))
        elif wwid in wanted.attached:
            hint = "multipathd show blacklist names the rule; our exception covers the WWID criterion only"
            errors.append(ApplyError("wwid-blacklisted", f"the disks of {wwid} are attached, but multipathd does not look at them", hint))
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


_SYNONYMS = {
    "0": "no", "1": "yes", "off": "no", "on": "yes", "always": "yes", "unused": "no", "fail": "no", "queue": "yes",
    "infinity": "4294967295",
}  # fmt: skip
_MISPRINTED = frozenset({"force_sync", "retrigger_tries"})
"""multipath-tools 0.9.4 shows `yes` and `0` for these, whatever is in effect. And `max` for a `max_fds` that is the system's limit."""


def same_value(key: str, wanted: str, found: str | None) -> bool:
    """Whether the daemon's `found` means the same as `wanted`; it prints numbers, booleans and keys in its own spelling."""
    if found is None:
        return False
    if key in _MISPRINTED or (key == "max_fds" and found == "max"):
        return True
    if key == "reservation_key":
        return _hexadecimal(wanted) == _hexadecimal(found)
    return _normal(wanted) == _normal(found)


def _hexadecimal(value: str) -> str:
    key, colon, flag = value.strip().lower().removeprefix("0x").partition(":")
    return key.lstrip("0") + colon + flag


def _normal(value: str) -> str:
    text = " ".join(value.split())
    if text.isdecimal() and text not in ("0", "1"):
        return str(int(text))
    return _SYNONYMS.get(text, text)
