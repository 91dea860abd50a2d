"""What the real parser prints of every option, against what was rendered: it spells numbers and booleans in its own way."""

import pytest

from apply.confsyntax import multipaths, parse
from apply.model import build
from apply.option_model import Option, Scope
from apply.option_tables import TABLES
from apply.render import MAIN, render
from apply.same_value import same_value
from scripts.hostlab.dropin import check, why_not

TOOLS = (0, 9, 4)
NOT_BUILT_IN = "is not compiled in"
VALUES = """
yes no 0 1 5 10 150 600 60000 2147483647 4294967295 off on fail queue infinity max manual immediate followover always never unused once
file 0x1234 0xabc:aptpl random fpin /UNSET/ p NONE .* round-robin queue-length service-time historical-service-time failover multibus
group_by_serial group_by_prio group_by_node_name const sysfs alua ana emc rdac ontap hp_sw hds iet none tur directio readsector0
emc_clariion cciss_tur
"""
FEATURES = ["1 queue_if_no_path", "2 pg_init_retries 50", "3 queue_if_no_path queue_mode mq"]

pytestmark = pytest.mark.skipif(bool(why := why_not()), reason=why or "it can be run")


def samples(option: Option) -> list[str]:
    found = []
    for value in [*VALUES.split(), *FEATURES]:
        try:
            found.append(option.type.parse(value))
        except ValueError:
            continue
    return list(dict.fromkeys(found))


def options(scope: Scope) -> list[Option]:
    return [option for option in TABLES[scope].values() if option.rendered and option.since <= TOOLS]


def rendered(sections: dict[str, dict[str, str]]) -> bytes:
    return render(build(sections, {}), digest="d", tools_version=TOOLS).files[MAIN].content


def test_defaults() -> None:
    table = {option.name: samples(option) for option in options(Scope.DEFAULTS)}
    seen = set()
    for number in range(max(map(len, table.values()))):
        section = {name: values[number % len(values)] for name, values in table.items() if values}
        content = rendered({"defaults": section})
        verdict = check({"conf.d/90-pathmesh.conf": content})
        assert [line for line in verdict.warnings if NOT_BUILT_IN not in line] == []
        effective = parse(verdict.effective).merged("defaults")
        for key, value in parse(content.decode()).merged("defaults").items():
            if not (value == "fpin" and verdict.warnings):
                assert same_value(key, value, effective.get(key)), (key, value, effective.get(key))
                seen.add(key)
    assert {option.keyword for option in options(Scope.DEFAULTS)} - {"prio_args"} <= seen


def test_luns() -> None:
    cases = [(option, value) for option in options(Scope.WWID) for value in samples(option)]
    luns = {f"wwid/3{n:032x}": {option.name: value} for n, (option, value) in enumerate(cases)}
    content = rendered(luns)
    verdict = check({"conf.d/90-pathmesh.conf": content})
    assert verdict.warnings == ()
    ours, effective = multipaths(parse(content.decode())), multipaths(parse(verdict.effective))
    checked = 0
    for wwid, values in ours.items():
        for key, value in values.items():
            assert same_value(key, value, effective[wwid].get(key)), (key, value, effective[wwid].get(key))
            checked += key != "wwid"
    assert checked > 50
