"""The typed meaning of a document: what is to be rendered and expected, and what is wrong with it.

Every node builds the same model from the same document. Edits that met can make a document that no single edit would have
made (two LUNs with one alias, a storage whose base is gone): what cannot hold is then left out by rules that depend on the
document and the order of its edits alone, and becomes a problem; everything else applies.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from apply import overrides as overrides_text
from apply.groups import check_section
from apply.option_model import Scope
from apply.option_tables import TABLES
from apply.option_types import STORAGE_ID, split_list
from apply.options import STORAGE_TYPES, check, storage_scope, tool_value
from apply.problems import Problem as Problem
from apply.problems import Severity as Severity
from apply.wwid import check_wwid
from store.document import DEFAULTS, OVERRIDES, STORAGE_PREFIX, WWID_PREFIX, Document, Options
from store.errors import UsageError

ExpectedPaths = int | Literal["auto", "none"]
Order = Mapping[str, tuple[int, bytes]]
_FIRST = (-1, b"")
_MAP_TYPES = frozenset({Scope.MULTIPATH, Scope.FC, Scope.NVME})


@dataclass(frozen=True)
class Settings:
    """The options of `defaults` that are not rendered."""

    min_paths: int = 2
    expected_paths: ExpectedPaths = "auto"
    learn_window_seconds: int = 600
    forget_after_days: int = 0
    """0 = never."""
    comment: str = ""


@dataclass(frozen=True)
class Lun:
    """One LUN. `options` is what multipath.conf takes for it but the alias: keyword to value."""

    wwid: str
    alias: str | None = None
    enabled: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    nodes: frozenset[str] | None = None
    """Set by hand instead of being derived from storages."""
    expected_paths: ExpectedPaths = "auto"
    """auto = as `defaults` say."""
    min_paths: int | None = None
    """None = as `defaults` say."""
    comment: str = ""


@dataclass(frozen=True)
class Storage:
    """One storage, its options in canonical form; of a type that is not known here, as they are."""

    id: str
    type: str
    enabled: bool = True
    nodes: frozenset[str] | None = None
    """None = all members."""
    base: tuple[str, str] | None = None
    """Storage id and volume that it stands on."""
    wwids: frozenset[str] | None = None
    """The LUNs of a storage whose volumes are maps; None = all."""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def offers_maps(self) -> bool:
        """Whether its volumes are multipath maps."""
        return self.type in _MAP_TYPES or (self.type == Scope.ISCSI and self.options.get("multipath") == "1")

    def exposes(self, wwid: str) -> bool:
        """Whether this is a storage whose volumes are maps, and that LUN is one of them."""
        return self.offers_maps and (self.wwids is None or wwid in self.wwids)


@dataclass(frozen=True)
class Model:
    """What a document means. `defaults` is keyword to value as multipath.conf takes them."""

    defaults: Mapping[str, str] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    luns: Mapping[str, Lun] = field(default_factory=dict)
    storages: Mapping[str, Storage] = field(default_factory=dict)
    overrides: str = ""
    """The overrides' text; "" if there is none or it has errors."""
    problems: tuple[Problem, ...] = ()
    empty: bool = True
    """The document asks nothing of a host: no defaults, no enabled LUN, no overrides (storages do not count)."""


def build(document: Document, order: Order) -> Model:
    """The model of a document; never raises.

    `order` is (lamport, actor) of each key's value and decides which of two equal aliases stays: the one with the smaller
    order. A key that is not in it comes first.
    """
    problems: list[Problem] = []
    sections: dict[str, dict[str, str]] = {}
    for key in sorted(document):
        scope = _scope(key, document[key], problems)
        if scope is not None:
            sections[key] = _checked(key, scope, document[key], problems)
        elif _is_opaque_storage(key, document[key]):
            sections[key] = dict(document[key])
    luns = _luns(sections, order, problems)
    storages = {
        key.removeprefix(STORAGE_PREFIX): _storage(key, options) for key, options in sections.items() if key.startswith(STORAGE_PREFIX)
    }
    storages = _without_broken_bases(storages, problems)
    problems += _references(storages, luns)
    text = document.get(OVERRIDES, {}).get("text", "")
    faults = [problem for problem in overrides_text.check(text) if problem.severity is Severity.ERROR] if text else []
    problems += faults
    return Model(
        defaults=_rendered(Scope.DEFAULTS, sections.get(DEFAULTS, {})),
        settings=_settings(sections.get(DEFAULTS, {})),
        luns=luns,
        storages=storages,
        overrides="" if faults else text,
        problems=tuple(problems),
        empty=DEFAULTS not in document and not text and not any(lun.enabled for lun in luns.values()),
    )


def _scope(key: str, options: Options, problems: list[Problem]) -> Scope | None:
    """The scope of a section; None, with a problem, for one that has no meaning here."""
    if key == DEFAULTS:
        return Scope.DEFAULTS
    if key.startswith(WWID_PREFIX):
        try:
            check_wwid(key.removeprefix(WWID_PREFIX))
        except UsageError as error:
            problems.append(Problem(error.code, key, error.message, hint=error.hint))
            return None
        return Scope.WWID
    if key.startswith(STORAGE_PREFIX):
        return _storage_scope(key, options, problems)
    if key != OVERRIDES:
        problems.append(Problem("unknown-section", key, f"this version knows no section {key!r}", severity=Severity.WARNING))
    return None


def _storage_scope(key: str, options: Options, problems: list[Problem]) -> Scope | None:
    name, kind = key.removeprefix(STORAGE_PREFIX), options.get("type", "")
    if not STORAGE_ID.fullmatch(name):
        message = f"{name!r} is no storage id: 2 or more letters, digits and . _ -, beginning with a letter, ending with none of . _ -"
        problems.append(Problem("bad-storage-id", key, message))
        return None
    scope = storage_scope(kind)
    if scope is None:
        known = f"types are {', '.join(STORAGE_TYPES)}; a stored section that a newer version wrote is kept as it is"
        message = f"this version knows no storage type {kind!r}"
        problems.append(Problem("unknown-storage-type", key, message, "type", known, Severity.WARNING))
    return scope


def _is_opaque_storage(key: str, options: Options) -> bool:
    """A storage of a newer version's type: it still counts as a user of what it stands on."""
    known = storage_scope(options.get("type", "")) is not None
    return key.startswith(STORAGE_PREFIX) and not known and bool(STORAGE_ID.fullmatch(key.removeprefix(STORAGE_PREFIX)))


def _checked(key: str, scope: Scope, options: Options, problems: list[Problem]) -> dict[str, str]:
    """The options of a section that are good, in canonical form."""
    good: dict[str, str] = {}
    for name in sorted(options):
        if name == "type" and key.startswith(STORAGE_PREFIX):
            good[name] = options[name]
            continue
        try:
            good[name] = check(scope, name, options[name])
            if name not in TABLES[scope]:
                raise UsageError(f"{name!r} is written {name.replace('_', '-')!r}", code="unknown-option")
        except UsageError as error:
            good.pop(name, None)
            severity = Severity.WARNING if error.code == "unknown-option" else Severity.ERROR
            problems.append(Problem(error.code, key, f"{_title(key)}: {error.message}", name, error.hint, severity))
    for option in TABLES[scope].values():
        if option.required and option.name not in options:
            problems.append(Problem("missing-option", key, f"{_title(key)}: {option.name} is missing", option.name))
    return good


def _luns(sections: Mapping[str, dict[str, str]], order: Order, problems: list[Problem]) -> dict[str, Lun]:
    """The LUNs by WWID. Of those that cannot be together an enabled one stays before a disabled one, then the earlier one."""
    keys = [key for key in sections if key.startswith(WWID_PREFIX)]
    keys.sort(key=lambda key: ("disable" in sections[key], order.get(key, _FIRST), key))
    kept = _distinct_wwids(keys, problems)
    _drop_bad_aliases(kept, sections, problems)
    defaults = sections.get(DEFAULTS, {})
    dropped = check_section(DEFAULTS, defaults, {})
    problems += dropped
    for problem in dropped:
        defaults.pop(problem.option, None)
    luns: dict[str, Lun] = {}
    for key in sorted(kept):
        options = sections[key]
        dropped = check_section(key, options, defaults)
        problems += dropped
        for problem in dropped:
            options.pop(problem.option, None)
        luns[key.removeprefix(WWID_PREFIX)] = _lun(key, options)
    return luns


def _distinct_wwids(keys: list[str], problems: list[Problem]) -> list[str]:
    """Without those that differ from an earlier one by case only: one of the two is a mistake, and nobody can tell which."""
    seen: dict[str, str] = {}
    kept = []
    for key in keys:
        other = seen.setdefault(key.lower(), key)
        if other == key:
            kept.append(key)
            continue
        message = f"{_title(key)} differs from {_title(other)} by upper and lower case only"
        problems.append(Problem("wwid-case", key, message, hint="remove the one that no node sees"))
    return kept


def _drop_bad_aliases(keys: list[str], sections: Mapping[str, dict[str, str]], problems: list[Problem]) -> None:
    wwids = {key.removeprefix(WWID_PREFIX) for key in keys}
    taken: dict[str, str] = {}
    for key in keys:
        alias = sections[key].get("alias")
        if alias is None:
            continue
        if alias in wwids and alias != key.removeprefix(WWID_PREFIX):
            message = f"{_title(key)}: alias {alias!r} is the WWID of another LUN"
            problems.append(Problem("alias-is-wwid", key, message, "alias", "choose another name"))
            del sections[key]["alias"]
        elif taken.setdefault(alias, key) != key:
            message = f"{_title(key)}: alias {alias!r} belongs to {_title(taken[alias])} already"
            problems.append(Problem("duplicate-alias", key, message, "alias", "choose another name"))
            del sections[key]["alias"]


def _lun(key: str, options: Mapping[str, str]) -> Lun:
    rendered = _rendered(Scope.WWID, options)
    alias = rendered.pop("alias", None)
    return Lun(
        wwid=key.removeprefix(WWID_PREFIX),
        alias=alias,
        enabled=options.get("disable", "0") == "0",
        options=rendered,
        nodes=_names(options.get("nodes")),
        expected_paths=_expected_paths(options.get("expected-paths", "auto")),
        min_paths=int(options["min-paths"]) if "min-paths" in options else None,
        comment=options.get("comment", ""),
    )


def _settings(options: Mapping[str, str]) -> Settings:
    plain = Settings()
    return Settings(
        min_paths=int(options.get("min-paths", plain.min_paths)),
        expected_paths=_expected_paths(options.get("expected-paths", "auto")),
        learn_window_seconds=int(options.get("learn-window", plain.learn_window_seconds)),
        forget_after_days=int(options.get("forget-after", plain.forget_after_days)),
        comment=options.get("comment", ""),
    )


def _expected_paths(value: str) -> ExpectedPaths:
    words: dict[str, ExpectedPaths] = {"auto": "auto", "none": "none"}
    return words[value] if value in words else int(value)


def _rendered(scope: Scope, options: Mapping[str, str]) -> dict[str, str]:
    """What goes into multipath.conf: keyword to the value it takes."""
    table = TABLES[scope]
    chosen = [(table[name], value) for name, value in sorted(options.items()) if name in table]
    return {option.keyword: tool_value(option, value) for option, value in chosen if option.rendered}


def _names(value: str | None) -> frozenset[str] | None:
    return None if value is None else frozenset(split_list(value))


def _storage(key: str, options: Mapping[str, str]) -> Storage:
    storage, _, volume = options.get("base", "").partition(":")
    return Storage(
        id=key.removeprefix(STORAGE_PREFIX),
        type=options.get("type", ""),
        enabled=options.get("disable", "0") == "0",
        nodes=_names(options.get("nodes")),
        base=(storage, volume) if storage and volume else None,
        wwids=_names(options.get("wwids")),
        options={name: value for name, value in options.items() if name != "type"},
    )


def _without_broken_bases(storages: Mapping[str, Storage], problems: list[Problem]) -> dict[str, Storage]:
    """The storages; whose base is not there or goes in a circle, has none."""
    result: dict[str, Storage] = {}
    for storage in storages.values():
        why = "" if storage.base is None else _base_fault(storage, storages)
        if why:
            key = STORAGE_PREFIX + storage.id
            problems.append(Problem("broken-base", key, f"storage {storage.id}: {why}", "base"))
            storage = Storage(storage.id, storage.type, storage.enabled, storage.nodes, None, storage.wwids, storage.options)
        result[storage.id] = storage
    return result


def _base_fault(storage: Storage, storages: Mapping[str, Storage]) -> str:
    seen = {storage.id}
    current = storage
    while current.base is not None:
        base = storages.get(current.base[0])
        if base is None:
            # Whoever stands right on the gap has the fault; those above it are told by it.
            return f"its base {current.base[0]!r} does not exist" if current is storage else ""
        if base.id == storage.id:
            return "it stands on itself through its base"
        if base.id in seen:
            return ""
        seen.add(base.id)
        current = base
    return ""


def _references(storages: Mapping[str, Storage], luns: Mapping[str, Lun]) -> Iterator[Problem]:
    """Warnings about what storages name."""
    for storage in storages.values():
        if not storage.enabled:
            continue
        warn = _warning(STORAGE_PREFIX + storage.id, f"storage {storage.id}")
        for wwid in sorted(storage.wwids or ()):
            if wwid not in luns:
                yield warn("unknown-wwid", f"the LUN {wwid} is not configured", "wwids")
        if storage.base is None:
            continue
        base, volume = storages[storage.base[0]], storage.base[1]
        if not base.enabled:
            yield warn("broken-base", f"its base {base.id!r} is disabled", "base")
        if base.type == Scope.ISCSI and not base.offers_maps:
            yield warn("broken-base", f"its base {base.id!r} offers no multipath maps: it lacks `multipath 1`", "base")
        elif base.offers_maps and not base.exposes(volume):
            yield warn("broken-base", f"its base {base.id!r} does not offer the LUN {volume}", "base")
        elif base.offers_maps and (volume not in luns or not luns[volume].enabled):
            state = "disabled" if volume in luns else "not configured"
            yield warn("unknown-wwid", f"the LUN {volume} under it is {state}", "base")
        if base.nodes is not None and (storage.nodes is None or not storage.nodes <= base.nodes):
            beyond = "all nodes" if storage.nodes is None else ", ".join(sorted(storage.nodes - base.nodes))
            yield warn("base-not-on-node", f"it is on {beyond}, its base {base.id!r} is not", "nodes")


def _warning(key: str, title: str) -> Callable[[str, str, str], Problem]:
    return lambda code, message, option: Problem(code, key, f"{title}: {message}", option, severity=Severity.WARNING)


def _title(key: str) -> str:
    """How a section is called in messages."""
    if key.startswith(WWID_PREFIX):
        return f"LUN {key.removeprefix(WWID_PREFIX)}"
    if key.startswith(STORAGE_PREFIX):
        return f"storage {key.removeprefix(STORAGE_PREFIX)}"
    return key
