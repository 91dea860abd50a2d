"""What is rendered goes through the real parser of multipath-tools: it objects to nothing, and what it makes of it is what was meant."""

from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apply.confsyntax import multipaths, parse
from apply.model import Model, build
from apply.option_model import Option, Scope
from apply.option_tables import TABLES
from apply.option_types import Choice, Features, Integer, Printable, ReservationKey, Selector, ValueType, YesNo
from apply.render import MAIN, OVERRIDES, render
from apply.tokens import quote
from apply.verify import same_value
from apply.wwid import AliasType
from scripts.hostlab import dropin
from scripts.hostlab.rendered import BUILT_OUT

pytestmark = pytest.mark.usefixtures("real_parser")

OFFERED = {scope: {name: option for name, option in TABLES[scope].items() if option.rendered} for scope in (Scope.DEFAULTS, Scope.WWID)}
WITH_ARGUMENTS = ("weightedpath", "path_latency", "datacore", "iet")
NEEDS: Mapping[str, Mapping[str, str]] = {
    "prio-args": {"prio": "weightedpath"},
    **{
        name: {
            "marginal-path-double-failed-time": "60",
            "marginal-path-err-sample-time": "120",
            "marginal-path-err-rate-threshold": "10",
            "marginal-path-err-recheck-gap-time": "300",
        }
        for name in TABLES[Scope.WWID]
        if name.startswith("marginal-path-")
    },
}
"""What has to stand beside an option for it to be taken at all."""


def wwid(number: int) -> str:
    return f"36001405{number:025x}"


def edges(kind: ValueType) -> list[str]:
    """The values of a type that are most likely to be taken otherwise: its words, its ends, and what needs quoting."""
    match kind:
        case Integer():
            return [str(kind.low), str(kind.high), *kind.words]
        case Choice() | Selector():
            return [word for word in kind.words if word not in BUILT_OUT]
        case YesNo():
            return ["yes", "no"]
        case Features():
            pairs = [f"2 {word} {end}" for word, ends in kind.ranges.items() for end in ends]
            return ["0", *(f"1 {flag}" for flag in kind.flags), *pairs, *(f"2 queue_mode {mode}" for mode in kind.modes)]
        case ReservationKey():
            return ["file", "0x1", "0xffffffffffffffff", "0xab:aptpl"]
        case Printable():
            return ["a"] if kind.regex else ["p", 'say"so', "a b"[: kind.longest], "x" * kind.longest]
        case AliasType():
            return ["a", "vm_pool-A.1:b@c+d=e", "x" * 127]
    raise AssertionError(f"no values of a {type(kind).__name__} are known here")


def values(kind: ValueType) -> st.SearchStrategy[str]:
    """Any value that the type takes."""
    if isinstance(kind, Integer):
        numbers = st.integers(kind.low, kind.high).map(str)
        return numbers | st.sampled_from(kind.words) if kind.words else numbers
    if isinstance(kind, ReservationKey):
        return st.integers(1, 2**64 - 1).map(lambda key: f"0x{key:x}")
    if isinstance(kind, Printable) and not kind.regex:
        printable = st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=kind.forbidden)
        return st.text(printable, min_size=1, max_size=kind.longest).filter(lambda text: _taken(kind, text))
    return st.sampled_from(edges(kind))


def _taken(kind: ValueType, text: str) -> bool:
    try:
        return kind.parse(text) == text
    except ValueError:
        return False


def judged(model: Model) -> None:
    """The parser has no objection, and all that was rendered is in effect."""
    rendered = render(model, digest="d", tools_version=dropin.version())
    verdict = dropin.check({f"conf.d/{name}": file.content for name, file in rendered.files.items()})
    assert verdict.warnings == ()
    wanted, found = parse(rendered.files[MAIN].content.decode()), parse(verdict.effective)
    effective = found.merged("defaults")
    wrong = {
        key: (value, effective.get(key))
        for key, value in wanted.merged("defaults").items()
        if not same_value(key, value, effective.get(key))
    }
    blocks = multipaths(found)
    for lun, options in multipaths(wanted).items():
        for key, value in options.items():
            if not same_value(key, value, blocks.get(lun, {}).get(key)):
                wrong[f"{lun} {key}"] = (value, blocks.get(lun, {}).get(key))
    assert not wrong, wrong


def test_every_option_of_a_lun_with_every_edge_of_its_values() -> None:
    document = {}
    for name, option in OFFERED[Scope.WWID].items():
        for value in edges(option.type):
            needed = {"prio-args": "a"} if value in WITH_ARGUMENTS else NEEDS.get(name, {})
            document[f"wwid/{wwid(len(document))}"] = {**needed, name: value}
    model = build(document, {})
    assert model.problems == () or all(problem.severity.value != "error" for problem in model.problems), model.problems
    for key, options in document.items():
        kept = model.luns[key.removeprefix("wwid/")]
        assert len(kept.options) + (kept.alias is not None) == len(options), (options, kept)
    judged(model)


@pytest.mark.parametrize("column", range(max(len(edges(option.type)) for option in OFFERED[Scope.DEFAULTS].values())))
def test_every_option_of_defaults_with_every_edge_of_its_values(column: int) -> None:
    """One parse for the first value of all options, one for the second, and so on: each option has its turn with each of its values."""
    options = {name: edges(option.type)[column % len(edges(option.type))] for name, option in OFFERED[Scope.DEFAULTS].items()}
    judged(build({"defaults": options}, {}))


def sections(options: Mapping[str, Option]) -> st.SearchStrategy[dict[str, str]]:
    drawn = {name: values(option.type) for name, option in options.items() if name != "alias"}
    return st.fixed_dictionaries({}, optional=drawn)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(sections(OFFERED[Scope.DEFAULTS]), st.lists(sections(OFFERED[Scope.WWID]), max_size=6))
def test_any_configuration(defaults: dict[str, str], luns: list[dict[str, str]]) -> None:
    document = {f"wwid/{wwid(number)}": {"alias": f"lun{number}", **options} for number, options in enumerate(luns)}
    judged(build({**document, "defaults": {**defaults, "verbosity": "1"}}, {}))


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60))
def test_a_quoted_value_is_read_as_it_was_meant(value: str) -> None:
    """The quoting itself, in a keyword that takes any text."""
    text = f'devices {{\n\tdevice {{\n\t\tvendor {quote("V" + value)}\n\t\tproduct "P"\n\t}}\n}}\n'
    verdict = dropin.check({f"conf.d/{OVERRIDES}": text.encode()})
    vendors = [block.values["vendor"] for section in parse(verdict.effective).sections("devices") for block in section.blocks]
    regex = [line for line in verdict.warnings if "regular expression" in line or "parsing failed" in line]
    assert "V" + value in vendors or regex, (value, verdict.warnings)


def test_the_parser_would_object() -> None:
    """The other way round: a check that never objects would prove nothing."""
    verdict = dropin.check({f"conf.d/{MAIN}": b'defaults {\n\tpolling_interval "often"\n}\n'}, shown="here")
    assert verdict.warnings == (f'here/conf.d/{MAIN} line 2, invalid value for polling_interval: "often"',)
