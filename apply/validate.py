"""What an edit may do: its errors refuse it, its warnings are shown.

Only what the edit itself brings in counts. A document may hold faults already (edits that met, a newer node's sections): they
never stand in the way of an unrelated change.
"""

from collections.abc import Iterator
from dataclasses import replace

from apply import overrides as overrides_text
from apply.effects import hiding, remarks
from apply.hosts import NOBODY, Hosts
from apply.lint import advise_change, lint, unsupported
from apply.model import Model, build
from apply.option_model import Scope
from apply.options import canonical_name, check, storage_scope
from apply.overrides import bounded
from apply.problems import Problem, Severity
from store.document import DEFAULTS, OVERRIDES, STORAGE_PREFIX, WWID_PREFIX, Document, Options, config_keys
from store.errors import UsageError
from store.section_config import MAX_CONFIG_BYTES, MAX_WWIDS, write

# From another node these may come from a newer version and are kept; here they are mistakes.
_UNKNOWN = frozenset({"unknown-option", "unknown-section", "unknown-storage-type"})


def canonical(document: Document) -> dict[str, dict[str, str]]:
    """A document as it is to be stored: option names in kebab-case, good values in canonical form.

    Bad values, unknown options and unknown sections stay as they are, for `check_edit` to judge. Empty values and
    `disable 0` are not there. Raises UsageError if a section has one option in both spellings.
    """
    return {key: _canonical_section(key, document[key]) for key in document}


def check_edit(before: Document, after: Document, hosts: Hosts = NOBODY) -> list[Problem]:
    """The problems that an edit brings in; with an ERROR among them it must be refused. `hosts` is what the nodes say."""
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    # Of two LUNs with one alias the one just edited is to blame.
    order = {key: (1 if key in changed else 0, b"") for key in {*before, *after}}
    old, new = build(before, order), build(after, order)
    known = {*old.problems, *_advice(old, hosts)}
    found = [*new.problems, *_limits(before, after), *_advice(new, hosts), *advise_change(old, new, hosts), *hiding(old, new, hosts)]
    return [
        replace(problem, severity=Severity.ERROR) if problem.code in _UNKNOWN else problem
        for problem in dict.fromkeys(found)
        if problem not in known
    ]


def check_overrides(document: Document, text: str, hosts: Hosts = NOBODY) -> list[Problem]:
    """All there is to say of a text as the overrides of a document, by line."""
    faults = overrides_text.check(text)
    if any(problem.severity is Severity.ERROR for problem in faults):
        return list(faults)
    order = dict.fromkeys(document, (0, b""))
    rest = {key: options for key, options in document.items() if key != OVERRIDES}
    without, model = build(rest, order), build({**rest, OVERRIDES: {"text": text}}, order)
    return list(bounded([*remarks(model, hosts), *hiding(without, model, hosts)]))


def _advice(model: Model, hosts: Hosts) -> list[Problem]:
    return [*lint(model), *unsupported(model, hosts), *remarks(model, hosts)]


def _canonical_section(key: str, options: Options) -> dict[str, str]:
    if key == OVERRIDES:
        return dict(options)
    scope = _scope(key, options)
    result: dict[str, str] = {}
    for name, value in options.items():
        kebab = canonical_name(name)
        if kebab in result or (kebab != name and kebab in options):
            raise UsageError(f"{key}: {kebab} is given twice, with - and with _", code="duplicate-option")
        result[kebab] = value
        if scope is not None and not (kebab == "type" and key.startswith(STORAGE_PREFIX)):
            try:
                result[kebab] = check(scope, kebab, value)
            except UsageError:
                continue
    return {name: value for name, value in result.items() if value and (name, value) != ("disable", "0")}


def _scope(key: str, options: Options) -> Scope | None:
    if key == DEFAULTS:
        return Scope.DEFAULTS
    if key.startswith(WWID_PREFIX):
        return Scope.WWID
    return storage_scope(options.get("type", "")) if key.startswith(STORAGE_PREFIX) else None


def _size(document: Document) -> tuple[int, int, list[Problem]]:
    """How many LUNs there are, how many bytes the canonical text has, and what no text can carry."""
    size, problems = 0, []
    for key in config_keys(document):
        try:
            size += len(write({key: document[key]}).encode())
        except UsageError as error:
            problems.append(Problem(error.code, key, error.message))
    return sum(key.startswith(WWID_PREFIX) for key in document), size, problems


def _limits(before: Document, after: Document) -> Iterator[Problem]:
    """Bounds that the edit goes beyond, or farther beyond."""
    old_luns, old_size, old_problems = _size(before)
    luns, size, problems = _size(after)
    yield from (problem for problem in problems if problem not in old_problems)
    if luns > max(MAX_WWIDS, old_luns):
        yield Problem("too-many-luns", WWID_PREFIX.rstrip("/"), f"{luns} LUNs are more than {MAX_WWIDS}")
    if size > max(MAX_CONFIG_BYTES, old_size):
        yield Problem("config-too-large", "config", f"the configuration has {size} bytes, more than {MAX_CONFIG_BYTES}")


def refused(problems: list[Problem]) -> bool:
    """Whether an edit with these problems must be refused."""
    return any(problem.severity is Severity.ERROR for problem in problems)
