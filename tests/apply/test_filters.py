"""The blacklist: which LUNs lose paths to which rule, as the simulated daemon would have it too."""

from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.filters import loss_problem, losses, unchecked
from apply.hosts import Sighting
from apply.overrides import parse
from apply.problems import Severity
from apply.simulated.conf_model import build
from apply.simulated.conf_parser import parse as parse_as_daemon
from apply.simulated.lun_file import Lun, LunPath, PathState

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "3600a098038314353763f505349676e35"
SEEN = {
    A: [Sighting("n1", "PURE", "FlashArray", ("sdb", "sdc"), ("scsi:fcp",)), Sighting("n2", "PURE", "FlashArray", ("sdx",), ("scsi:fcp",))],
    B: [Sighting("n1", "NETAPP", "LUN C-Mode", ("sdaa",), ("scsi:iscsi",))],
}


class Reported:
    """Nodes that said this."""

    def __init__(self, seen: Mapping[str, Sequence[Sighting]]) -> None:
        self._seen = seen

    def oldest_tools(self) -> None:
        return None

    def sightings(self, wwid: str) -> Sequence[Sighting]:
        return self._seen.get(wwid, ())

    def maps_besides(self, wwids: Collection[str]) -> Mapping[str, Sequence[Sighting]]:
        return {}


def lost(text: str, wwids: Sequence[str] = (A, B), seen: Mapping[str, Sequence[Sighting]] = SEEN) -> dict[str, str]:
    """WWID to what of it was matched."""
    statements, _ = parse(text)
    return {wwid: what for loss in losses(statements, wwids, Reported(seen)).values() for wwid, what in loss.luns.items()}


def blacklist(*rules: str) -> str:
    return "blacklist {\n" + "\n".join(rules) + "\n}\n"


def exceptions(*rules: str) -> str:
    return "blacklist_exceptions {\n" + "\n".join(rules) + "\n}\n"


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (blacklist('devnode "^sd[bc]$"'), {A: "sdb on n1"}),
        (blacklist('devnode "sdx"'), {A: "sdx on n2"}),
        ('devices {\ndevice {\nvendor "PURE"\nproduct "x"\nproduct_blacklist "Flash"\n}\n}\n', {A: "PURE FlashArray"}),
        (blacklist('devnode "!^sda"'), {A: "sdb on n1"}),
        (blacklist('devnode ".*"'), {A: "sdb on n1", B: "sdaa on n1"}),
        (blacklist('devnode ".*"') + exceptions('devnode "^sd"'), {}),
        (blacklist('devnode ".*"') + exceptions(f'wwid "{A}"'), {A: "sdb on n1", B: "sdaa on n1"}),
        (blacklist('protocol "scsi:fcp"'), {A: "scsi:fcp on n1"}),
        (blacklist('protocol "scsi"') + exceptions('protocol "iscsi"'), {A: "scsi:fcp on n1"}),
        (blacklist("device {", 'vendor "NETAPP"', "}"), {B: "NETAPP LUN C-Mode"}),
        (blacklist("device {", 'vendor "NETAPP"', 'product "^LUN$"', "}"), {}),
        (blacklist("device {", 'product "!Flash"', "}"), {B: "NETAPP LUN C-Mode"}),
        (blacklist("device {", 'vendor ".*"', "}") + exceptions("device {", "vendor PURE", "product Flash", "}"), {B: "NETAPP LUN C-Mode"}),
        (blacklist("device {", "}"), {}),
        (blacklist('property "ID_SERIAL"'), {A: "ID_SERIAL", B: "ID_SERIAL"}),
        (blacklist('property "ID_SERIAL"') + exceptions('property "SERIAL"'), {}),
        (blacklist('wwid ".*"'), {}),
        (blacklist('devnode "("'), {}),
        (exceptions('devnode "x"'), {}),
        ("", {}),
    ],
)
def test_what_a_rule_takes(text: str, taken: dict[str, str]) -> None:
    assert lost(text) == taken


def test_of_a_lun_that_nobody_sees_only_what_takes_everything_counts() -> None:
    for rule in ('devnode "^sd"', 'protocol "scsi"', 'device {\nvendor ".*"\n}', 'property "DEVNAME"'):
        assert lost(blacklist(rule), seen={}) == {A: "", B: ""}, rule
    for rule in ('devnode "^sda$"', 'protocol "fcp"', 'device {\nvendor "PURE"\n}', 'property "ID_USB"'):
        assert lost(blacklist(rule), seen={}) == {}, rule


def test_the_problem_is_at_the_rule_and_names_some_luns() -> None:
    statements, _ = parse("#\n" + blacklist("\tdevnode sd"))
    many = [f"36{n:031x}" for n in range(9)]
    (loss,) = losses(statements, [A, *many], Reported(SEEN)).values()
    problem = loss_problem(loss)
    assert (problem.code, problem.severity, problem.line, problem.column) == ("overrides-blacklist", Severity.ERROR, 3, 2)
    assert f"{many[0]}, {many[1]}, {many[2]} and 7 more LUNs" in problem.message and "blacklist_exceptions" in problem.hint


def test_rules_about_properties_cannot_be_checked() -> None:
    statements, _ = parse(blacklist('property "ID_X"', 'devnode "x"'))
    assert [(p.code, p.severity, p.line) for p in unchecked(statements)] == [("overrides-unchecked", Severity.INFO, 2)]


words = st.sampled_from([".*", "^sd[ab]$", "!^sda", "sdb", "fcp", "!fcp", "scsi:", "PURE", "^P", "LUN", "!LUN", "(", "\\!x"])
rules = st.one_of(
    st.tuples(st.sampled_from(["devnode", "protocol"]), words).map(lambda r: f'{r[0]} "{r[1]}"'),
    st.tuples(words, words).map(lambda r: f'device {{\nvendor "{r[0]}"\nproduct "{r[1]}"\n}}'),
    words.map(lambda w: f'device {{\nproduct "{w}"\n}}'),
)


@given(st.lists(rules, max_size=3), st.lists(rules, max_size=2), st.sampled_from(["sda", "sdb", "sdab"]), st.sampled_from(["PURE", "LUN"]))
def test_the_simulated_daemon_hides_the_same(black: list[str], white: list[str], dev: str, vendor: str) -> None:
    text = blacklist(*black) + exceptions(*white)
    path = LunPath(dev, "8:0", (0, 0, 0, 0), "", "0x1", "", "0x2", "", "0x0", "scsi:fcp", PathState.READY, 1, False)
    lun = Lun(A, vendor, "LUN 1", "1", "", 512, "0", False, ())
    config = build([parse_as_daemon(text.encode(), "x.conf")])
    seen = {A: [Sighting("n1", vendor, "LUN 1", (dev,), (path.protocol,))]}
    assert (A in lost(text, [A], seen)) == config.blacklisted(lun, path)
