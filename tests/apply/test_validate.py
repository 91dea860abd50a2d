"""Edits: what is refused, what is only advised against, and whose fault it is."""

import pytest

from apply.option_model import Scope
from apply.option_tables import TABLES
from apply.problems import Severity
from apply.validate import canonical, check_edit, refused
from store.errors import UsageError
from store.section_config import MAX_WWIDS, parse, to_document, write

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "3600a098038314353763f505349676e35"
BASE = {
    "defaults": {"no-path-retry": "12"},
    f"wwid/{A}": {"alias": "a"},
    f"wwid/{B}": {"alias": "b"},
    "storage/san": {"type": "multipath"},
    "storage/data": {"type": "lvm", "vgname": "vg", "base": f"san:{A}"},
}


def edit(**sections):
    """The problems of an edit of BASE, as (severity, code, key)."""
    after = dict(BASE)
    for key, options in sections.items():
        key = key.replace("A_", f"wwid/{A}").replace("B_", f"wwid/{B}").replace("storage_", "storage/")
        after.pop(key, None)
        if options is not None:
            after[key] = options
    return [(problem.severity.value, problem.code, problem.key) for problem in check_edit(BASE, after)]


def test_a_good_edit_has_nothing():
    assert edit(defaults={"no-path-retry": "5", "path-selector": "queue-length"}) == []
    assert check_edit({}, BASE) == []


@pytest.mark.parametrize("section", [None, {"alias": "a", "disable": "1"}])
def test_a_lun_that_goes_takes_its_name_along(section):
    after = {key: options for key, options in BASE.items() if key != f"wwid/{A}"} | ({f"wwid/{A}": section} if section else {})
    found = [problem for problem in check_edit(BASE, after) if problem.code == "alias-changed"]
    assert [(problem.severity, problem.key) for problem in found] == [(Severity.WARNING, f"wwid/{A}")]
    assert "loses the name 'a'" in found[0].message and "as soon as nothing there uses it" in found[0].message


@pytest.mark.parametrize(
    ("sections", "code", "key"),
    [
        ({"defaults": {"nosuch": "1"}}, "unknown-option", "defaults"),
        ({"defaults": {"no_path_retry": "1"}}, "unknown-option", "defaults"),
        ({"defaults": {"user-friendly-names": "no"}}, "pinned-option", "defaults"),
        ({"defaults": {"rr-min-io": "1"}}, "refused-option", "defaults"),
        ({"defaults": {"polling-interval": "0"}}, "bad-value", "defaults"),
        ({"defaults": {"prio-args": "x"}}, "prio-args", "defaults"),
        ({"defaults": {"prio": "iet"}}, "prio-args", "defaults"),
        ({"defaults": {"max-polling-interval": "1"}}, "polling-interval", "defaults"),
        ({"defaults": {"fast-io-fail-tmo": "off", "dev-loss-tmo": "infinity"}}, "dev-loss-tmo", "defaults"),
        ({"A_": {"alias": "b"}}, "duplicate-alias", f"wwid/{A}"),
        ({"B_": {"alias": "a"}}, "duplicate-alias", f"wwid/{B}"),
        ({"A_": {"alias": B}}, "alias-is-wwid", f"wwid/{A}"),
        ({"A_": {"alias": "sda"}}, "bad-value", f"wwid/{A}"),
        ({"A_": {"path-checker": "tur"}}, "not-per-lun", f"wwid/{A}"),
        ({"wwid/sda": {}}, "bad-wwid", "wwid/sda"),
        ({f"wwid/{A[:-1]}D5": {}}, "bad-wwid", f"wwid/{A[:-1]}D5"),
        ({"storage_san": None}, "broken-base", "storage/data"),
        ({"storage_new": {"type": "zfs"}}, "unknown-storage-type", "storage/new"),
        ({"storage_new": {"type": "lvm"}}, "missing-option", "storage/new"),
        ({"storage_new": {"type": "lvm", "vgname": "v", "base": "gone:x"}}, "broken-base", "storage/new"),
        ({"storage_9": {"type": "multipath"}}, "bad-storage-id", "storage/9"),
        ({"storage_san": {"type": "multipath", "alias": "x"}}, "unknown-option", "storage/san"),
        ({"overrides": {"text": "}"}}, "overrides-syntax", "overrides"),
        ({"overrides": {"text": "defaults {\n\tfind_multipaths on\n}\n"}}, "overrides-pinned", "overrides"),
        ({"member/x": {}}, "unknown-section", "member/x"),
        ({"defaults": {"prio-args": "x\n", "prio": "iet"}}, "not-writable", "defaults"),
    ],
)
def test_what_is_refused(sections, code, key):
    assert ("error", code, key) in edit(**sections)


@pytest.mark.parametrize(
    ("sections", "code", "key"),
    [
        ({"defaults": {"no-path-retry": "queue"}}, "queueing", "defaults"),
        ({"A_": {"alias": "a", "features": "1 queue_if_no_path"}}, "queueing", f"wwid/{A}"),
        ({"defaults": {"fast-io-fail-tmo": "30", "dev-loss-tmo": "30"}}, "fast-io-fail-tmo", "defaults"),
        ({"defaults": {"no-path-retry": "100", "dev-loss-tmo": "499"}}, "dev-loss-tmo", "defaults"),
        ({"defaults": {"path-grouping-policy": "group_by_tpg", "prio": "rdac"}}, "group-by-tpg", "defaults"),
        ({"defaults": {"path-checker": "readsector0"}}, "deprecated", "defaults"),
        ({"defaults": {"marginal-pathgroups": "fpin"}}, "restart-required", "defaults"),
        ({"defaults": {"min-paths": "4", "expected-paths": "2"}}, "min-paths", "defaults"),
        ({"A_": {"alias": "a", "expected-paths": "1"}}, "min-paths", f"wwid/{A}"),
        ({"A_": {"alias": "c"}}, "alias-changed", f"wwid/{A}"),
        ({"A_": {}}, "alias-changed", f"wwid/{A}"),
        ({"A_": None}, "unknown-wwid", "storage/data"),
        ({"storage_san": {"type": "multipath", "nodes": "n1"}}, "base-not-on-node", "storage/data"),
        ({"storage_san": {"type": "multipath", "disable": "1"}}, "broken-base", "storage/data"),
        ({"wwid/" + "x" * 123: {}}, "wwid-too-long", "wwid/" + "x" * 123),
        ({"overrides": {"text": "defaults {\n\tverbosity 9\n}\n"}}, "overrides-value", "overrides"),
    ],
)
def test_what_is_only_advised_against(sections, code, key):
    found = edit(**sections)
    assert ("warning", code, key) in found
    assert "error" not in {severity for severity, *_ in found}


@pytest.mark.parametrize(
    ("sections", "code"),
    [
        ({"A_": {"alias": "a1"}}, "alias-digit"),
        ({"A_": {"alias": "a", "max-sectors-kb": "512"}}, "max-sectors-kb"),
        ({"A_": {"alias": "a", "san-path-err-threshold": "5"}}, "deprecated"),
        ({"defaults": {"recheck-wwid": "no"}}, "recheck-wwid"),
    ],
)
def test_good_to_know(sections, code):
    assert ("info", code) in {(severity, found) for severity, found, _ in edit(**sections)}


def test_two_aliases_can_be_swapped_in_one_edit():
    assert {code for _, code, _ in edit(A_={"alias": "b"}, B_={"alias": "a"})} == {"alias-changed"}


def test_faults_that_were_there_do_not_refuse_another_edit():
    before = BASE | {f"wwid/{B}": {"alias": "a", "future": "1"}, "storage/new": {"type": "zfs"}, "member/x": {}}
    assert check_edit(before, before | {"defaults": {"no-path-retry": "7"}}) == []
    assert check_edit(before, before | {f"wwid/{B}": before[f"wwid/{B}"] | {"comment": "x"}}) == []
    worse = check_edit(before, before | {f"wwid/{B}": before[f"wwid/{B}"] | {"verbosity": "2"}})
    assert [problem.code for problem in worse] == ["not-per-lun"] and refused(worse)


def test_a_fault_can_be_mended():
    before = BASE | {f"wwid/{B}": {"alias": "a"}}
    assert not refused(check_edit(before, BASE))


def test_limits():
    many = {f"wwid/36{n:031x}": {} for n in range(MAX_WWIDS + 1)}
    assert [(p.code, p.severity) for p in check_edit({}, many)] == [("too-many-luns", Severity.ERROR)]
    more = many | {f"wwid/{A}": {}}
    assert check_edit(more, many) == [] and refused(check_edit(many, more))
    large = {f"wwid/36{n:031x}": {"comment": "x" * 65536} for n in range(65)}
    assert [p.code for p in check_edit({}, large)] == ["config-too-large"]


def test_canonical_names_and_values():
    document = {
        "defaults": {"fast_io_fail_tmo": "5", "detect-prio": "on", "comment": "", "nosuch_thing": "ON", "verbosity": "9"},
        f"wwid/{A}": {"disable": "0", "nodes": "b a"},
        f"wwid/{B}": {"disable": "yes"},
        "storage/san": {"type": "multipath", "shared": "yes"},
        "storage/new": {"type": "zfs", "some_thing": "ON"},
        "overrides": {"text": "a_b"},
    }
    assert canonical(document) == {
        "defaults": {"fast-io-fail-tmo": "5", "detect-prio": "yes", "nosuch-thing": "ON", "verbosity": "9"},
        f"wwid/{A}": {"nodes": "a,b"},
        f"wwid/{B}": {"disable": "1"},
        "storage/san": {"type": "multipath", "shared": "1"},
        "storage/new": {"type": "zfs", "some-thing": "ON"},
        "overrides": {"text": "a_b"},
    }


def test_one_option_in_both_spellings_is_refused():
    for options in ({"no-path-retry": "1", "no_path_retry": "2"}, {"no_path_retry": "1", "no-path-retry": "2"}):
        with pytest.raises(UsageError, match="given twice"):
            canonical({"defaults": options})


def test_a_document_with_every_default_passes_and_survives_its_text():
    excluded = {"prio", "max-polling-interval"}
    document = {
        "defaults": {o.name: o.default for o in TABLES[Scope.DEFAULTS].values() if o.default and o.name not in excluded},
        f"wwid/{A}": {"comment": "x: 1\n2", "nodes": "n1,n2"},
    }
    assert not refused(check_edit({}, document))
    assert to_document(parse(write(document))) == canonical(document)
