"""Looking up, checking and describing options; the tables themselves are in `apply.option_tables`."""

import difflib
from dataclasses import dataclass

from apply.option_model import Group, Option, Refusal, Scope, Version
from apply.option_tables import REFUSED, REFUSED_PER_LUN, TABLES
from store.errors import UsageError

STORAGE_TYPES: tuple[str, ...] = tuple(scope.value for scope in (Scope.FC, Scope.ISCSI, Scope.LVM, Scope.MULTIPATH, Scope.NVME))
"""The storage types that this version knows."""


def canonical_name(name: str) -> str:
    """The kebab-case form under which an option is kept; people may write `_` for `-`."""
    return name.replace("_", "-")


def storage_scope(kind: str) -> Scope | None:
    """The scope of a storage type, None if this version does not know the type."""
    return Scope(kind) if kind in STORAGE_TYPES else None


def nearest(name: str, scope: Scope) -> str | None:
    """The option of `scope` that `name` was probably meant to be."""
    found = difflib.get_close_matches(canonical_name(name).lower(), TABLES[scope], n=1, cutoff=0.7)
    return found[0] if found else None


def find(scope: Scope, name: str) -> Option:
    """The option `name` (either spelling); raises UsageError that says why there is none and what to use."""
    canonical = canonical_name(name)
    option = TABLES[scope].get(canonical)
    if option is not None:
        return option
    refusal = _refused(scope).get(canonical)
    if refusal is not None:
        raise UsageError(f"{canonical} is not set here: {refusal.why}", code=refusal.code, hint=refusal.hint)
    similar = nearest(name, scope)
    known = f"there are {', '.join(TABLES[scope])}" if len(TABLES[scope]) < 12 else "docs/options.md lists them"
    hint = f"did you mean {similar}?" if similar else known
    raise UsageError(f"{scope.value} sections have no option {_shown(name)}", code="unknown-option", hint=hint)


def check(scope: Scope, name: str, value: str) -> str:
    """The canonical value of an option; raises UsageError for an option that is not taken and for a bad value."""
    option = find(scope, name)
    try:
        return option.type.parse(value)
    except ValueError as error:
        message = f"{option.name} must be {error}, not {_shown(value)}"
        raise UsageError(message, code="bad-value", hint=option.note) from None


def tool_value(option: Option, value: str) -> str:
    """What multipath.conf of the newest release takes for a canonical value."""
    return value + option.suffix


def supported(option: Option, value: str, version: Version | None) -> str | None:
    """The spelling that multipath-tools `version` takes for a tool value; None if it knows no such option or value.

    Without a version, the newest release is assumed.
    """
    if version is None:
        return value
    if version < option.since or version < option.values_since.get(value, (0, 0, 0)):
        return None
    if option.before is not None and version < option.before[0]:
        return option.before[1].get(value, value)
    return value


@dataclass(frozen=True)
class Description:
    """One option for manuals and help texts; `since` is a release or empty, `refused` says why an option is not taken.

    `group` is what it is about, None for one that is refused.
    """

    scope: str
    group: Group | None
    name: str
    type: str
    default: str
    since: str
    note: str
    rendered: bool
    required: bool
    refused: str = ""


def describe() -> tuple[Description, ...]:
    """Every option by scope and group, and by name the refused ones of `defaults` and `wwid` sections."""
    rows = []
    for scope, table in TABLES.items():
        for option in table.values():
            since = ".".join(map(str, option.since)) if option.since > (0, 0, 0) else ""
            notes = [option.note] + [f"{word} since {'.'.join(map(str, v))}" for word, v in option.values_since.items()]
            said = (option.type.text, option.default, since, "; ".join(notes))
            rows.append(Description(scope.value, option.group, option.name, *said, option.rendered, option.required))
        for name, refusal in sorted(_refused(scope).items()):
            why = "; ".join(filter(None, [refusal.why, refusal.hint]))
            rows.append(Description(scope.value, None, name, "", "", "", "", False, False, why))
    return tuple(rows)


def _refused(scope: Scope) -> dict[str, Refusal]:
    match scope:
        case Scope.DEFAULTS:
            return dict(REFUSED)
        case Scope.WWID:
            return {**REFUSED, **REFUSED_PER_LUN}
        case _:
            return {}


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")
