"""What the overrides do to this cluster: which options they go before, what the oldest node makes of them, what they hide."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from apply.filters import brought_about, hidden_maps, hidden_problem, loss_problem, losses, unchecked
from apply.hosts import Hosts
from apply.keywords import FILE, Section, since
from apply.model import Model
from apply.option_model import Scope, Version
from apply.option_tables import TABLES
from apply.overrides import Statement, bounded, check, finding, parse
from apply.problems import Problem, Severity

_DEFAULTS_OPTIONS = frozenset(option.keyword for option in TABLES[Scope.DEFAULTS].values() if option.rendered)


def remarks(model: Model, hosts: Hosts) -> list[Problem]:
    """All advice about the overrides of a model; nothing of it refuses an edit."""
    if not model.overrides:
        return []
    statements = _statements(model.overrides)
    found = [problem for problem in check(model.overrides) if problem.severity is not Severity.ERROR]
    found += [*_winners(statements, model), *unchecked(statements)]
    oldest = hosts.oldest_tools()
    if oldest is not None:
        found += _unsupported(FILE, statements, *oldest)
    return list(bounded(found))


def hiding(before: Model, after: Model, hosts: Hosts) -> list[Problem]:
    """The rules by which LUNs lose paths, as far as the way from one model to the other brings it about.

    Maps that nodes have and nobody configured are looked at when the rules change: what else is done leaves them alone.
    """
    if not after.overrides:
        return []
    enabled = {wwid for wwid, lun in after.luns.items() if lun.enabled}
    earlier = {wwid for wwid, lun in before.luns.items() if lun.enabled}
    wwids = enabled if before.overrides != after.overrides else enabled - earlier
    found = losses(_statements(after.overrides), wwids, hosts)
    if found and before.overrides:
        known = losses(_statements(before.overrides), earlier & wwids, hosts)
        found = brought_about(found, known)
    problems = [loss_problem(loss) for loss in found.values()]
    if before.overrides != after.overrides and (maps := hosts.maps_besides(enabled)):
        hidden = hidden_maps(_statements(after.overrides), maps)
        known = hidden_maps(_statements(before.overrides), maps) if hidden and before.overrides else {}
        problems += map(hidden_problem, brought_about(hidden, known).values())
    return problems


@lru_cache(maxsize=4)
def _statements(text: str) -> Sequence[Statement]:
    return parse(text)[0]


def _winners(statements: Sequence[Statement], model: Model) -> Iterator[Problem]:
    """Which of several settings of one keyword holds: a LUN's own, then `overrides`, then `devices`, then `defaults`."""
    devices = [device for section in statements if section.keyword == "devices" for device in section.children if device.value is None]
    for section in statements:
        for setting in section.children:
            keyword, value = setting.keyword, setting.value
            if value is None or section.keyword not in ("overrides", "defaults"):
                continue
            mine = model.defaults.get(keyword)
            if mine is not None and mine != value:
                message = f"{keyword} {value!r} goes before {mine!r} in the defaults section of the configuration"
                yield _winner(setting, message)
            elif section.keyword == "defaults" and mine is None and keyword in _DEFAULTS_OPTIONS:
                yield _winner(setting, f"{keyword} is an option of the configuration too", f"pathmesh defaults set {keyword}=…")
            if section.keyword == "overrides":
                yield from _over_devices(setting, devices)
                own = sorted(wwid for wwid, lun in model.luns.items() if lun.options.get(keyword, value) != value)
                if own:
                    more = f" and {len(own) - 1} more LUNs" if len(own) > 1 else ""
                    yield _winner(setting, f"{keyword} {value!r} does not hold for LUN {own[0]}{more}: their own setting goes before")


def _over_devices(setting: Statement, devices: Sequence[Statement]) -> Iterator[Problem]:
    lines = [str(d.line) for d in devices if d.values(setting.keyword).get(setting.keyword, setting.value) != setting.value]
    if lines:
        shown = ", ".join(lines[:5]) + (", …" if len(lines) > 5 else "")
        yield _winner(setting, f"{setting.keyword} {setting.value!r} goes before that of the device in line {shown}")


def _winner(setting: Statement, message: str, hint: str = "") -> Problem:
    return finding("overrides-winner", setting, message, hint, Severity.INFO)


def _unsupported(grammar: Section, statements: Sequence[Statement], tools: Version, node: str) -> Iterator[Problem]:
    """Keywords, values and sections that the oldest node's tools do not know."""
    for statement in statements:
        inner = grammar.sections.get(statement.keyword)
        known = grammar.keywords.get(statement.keyword)
        needs = (0, 0, 0)
        if statement.value is None and inner is not None:
            needs = inner.since
            if needs <= tools:
                yield from _unsupported(inner, statement.children, tools, node)
        elif statement.value is not None and known is not None:
            needs = since(statement.keyword, statement.value, known)
        if needs > tools:
            what = statement.keyword if statement.value is None else f"{statement.keyword} {statement.value}"
            message = f"multipath-tools {_release(tools)} of node {node} does not know {what} and ignores it"
            hint = f"it needs {_release(needs)}"
            yield finding("overrides-unsupported", statement, message, hint, Severity.WARNING)


def _release(version: Version) -> str:
    return ".".join(map(str, version))
