"""One finding, as the doctor and as the status tell it."""

from agent.findings import SEVERITIES, Finding


def test_a_finding_says_the_same_in_both_forms() -> None:
    finding = Finding("frozen", "error", "two keys differ", "write them anew")
    assert finding.json() == {"code": "frozen", "severity": "error", "message": "two keys differ", "hint": "write them anew"}
    problem = finding.problem()
    assert problem.items() >= finding.json().items()
    assert (problem["key"], problem["option"]) == ("", ""), "it is about no section of the configuration"


def test_findings_are_put_worst_first() -> None:
    found = [Finding("c", "info", ""), Finding("a", "error", ""), Finding("b", "warning", "")]
    assert [f.code for f in sorted(found, key=lambda f: SEVERITIES.index(f.severity))] == ["a", "b", "c"]
