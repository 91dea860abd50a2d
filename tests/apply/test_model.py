"""The model: what is left out when edits met, and that building never fails."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apply.model import Lun, Settings, Severity, Storage, build
from apply.option_model import Scope
from apply.option_tables import TABLES

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "3600a098038314353763f505349676e35"
C = "35000cca0bb7ca048"


def codes(model):
    return [(problem.code, problem.key, problem.option) for problem in model.problems]


def test_an_empty_document_asks_for_nothing():
    model = build({}, {})
    assert model.empty and model.settings == Settings() and (model.luns, model.storages, model.problems) == ({}, {}, ())


@pytest.mark.parametrize(
    ("document", "empty"),
    [
        ({"storage/san": {"type": "multipath"}}, True),
        ({f"wwid/{A}": {"disable": "1"}}, True),
        ({f"wwid/{A}": {}}, False),
        ({"defaults": {}}, False),
        ({"overrides": {"text": ""}}, True),
        ({"overrides": {"text": "}"}}, False),
    ],
)
def test_what_is_empty(document, empty):
    assert build(document, {}).empty is empty


def test_a_full_document():
    model = build(
        {
            "defaults": {"no-path-retry": "0", "path-selector": "queue-length", "min-paths": "4", "expected-paths": "8"}
            | {"learn-window": "0", "forget-after": "30", "comment": "SAN"},
            f"wwid/{A}": {"alias": "a", "detect-prio": "yes", "features": "1  queue_if_no_path", "comment": "pool\nA"}
            | {"nodes": "n2,n1", "expected-paths": "none", "min-paths": "1"},
            f"wwid/{B}": {"disable": "1"},
            "storage/san": {"type": "multipath", "wwids": f"{A},{B}"},
            "storage/data": {"type": "lvm", "base": f"san:{A}", "vgname": "vg", "nodes": "n1", "disable": "1"},
            "overrides": {"text": "defaults {\n}\n"},
        },
        {},
    )
    assert model.defaults == {"no_path_retry": "fail", "path_selector": "queue-length 0"}
    assert model.settings == Settings(4, 8, 0, 30, "SAN")
    assert model.luns == {
        A: Lun(A, "a", True, {"features": "1 queue_if_no_path"}, frozenset({"n1", "n2"}), "none", 1, "pool\nA"),
        B: Lun(B, enabled=False),
    }
    assert model.storages["san"] == Storage("san", "multipath", wwids=frozenset({A, B}), options={"wwids": f"{B},{A}"})
    data = model.storages["data"]
    assert (data.enabled, data.nodes, data.base, data.options["vgname"]) == (False, frozenset({"n1"}), ("san", A), "vg")
    assert model.overrides == "defaults {\n}\n" and not model.empty
    assert codes(model) == [("not-per-lun", f"wwid/{A}", "detect-prio")]


def test_each_bad_option_is_left_out_alone():
    model = build({"defaults": {"prio": "alua", "verbosity": "9", "nosuch": "1", "rr-weight": "uniform"}}, {})
    assert model.defaults == {"prio": "alua"}
    assert codes(model) == [
        ("unknown-option", "defaults", "nosuch"),
        ("refused-option", "defaults", "rr-weight"),
        ("bad-value", "defaults", "verbosity"),
    ]
    assert [p.severity for p in model.problems] == [Severity.WARNING, Severity.ERROR, Severity.ERROR]


def test_a_snake_case_name_in_a_document_is_unknown():
    model = build({"defaults": {"no_path_retry": "5"}}, {})
    assert model.defaults == {} and codes(model) == [("unknown-option", "defaults", "no_path_retry")]


TWINS = {f"wwid/{A}": {"alias": "x"}, f"wwid/{B}": {"alias": "x"}}


class TestAliases:
    @pytest.mark.parametrize(
        ("order", "keeps"),
        [
            ({f"wwid/{A}": (5, b"a"), f"wwid/{B}": (4, b"z")}, B),
            ({f"wwid/{A}": (5, b"a"), f"wwid/{B}": (5, b"b")}, A),
            ({f"wwid/{A}": (0, b"")}, B),
            ({}, B),
        ],
    )
    def test_the_earlier_one_keeps_it(self, order, keeps):
        model = build(TWINS, order)
        assert {wwid: lun.alias for wwid, lun in model.luns.items()} == {A: None, B: None} | {keeps: "x"}
        loser = A if keeps == B else B
        assert codes(model) == [("duplicate-alias", f"wwid/{loser}", "alias")]
        assert keeps in model.problems[0].message

    def test_a_disabled_lun_never_takes_it_from_an_enabled_one(self):
        document = {f"wwid/{A}": {"alias": "x"}, f"wwid/{B}": {"alias": "x", "disable": "1"}}
        model = build(document, {f"wwid/{A}": (9, b""), f"wwid/{B}": (1, b"")})
        assert model.luns[A].alias == "x" and model.luns[B].alias is None

    def test_an_alias_that_is_another_lun_s_wwid_is_left_out(self):
        model = build({f"wwid/{A}": {"alias": B}, f"wwid/{B}": {"alias": B}}, {})
        assert model.luns[A].alias is None and model.luns[B].alias == B
        assert codes(model) == [("alias-is-wwid", f"wwid/{A}", "alias")]

    def test_case_makes_two_aliases(self):
        assert not build({f"wwid/{A}": {"alias": "x"}, f"wwid/{B}": {"alias": "X"}}, {}).problems


def test_wwids_that_differ_by_case_only_are_not_both_used():
    keys = ["wwid/1VENDOR_x", "wwid/1VENDOR_X"]
    model = build({key: {} for key in keys}, {keys[0]: (2, b""), keys[1]: (1, b"")})
    assert list(model.luns) == ["1VENDOR_X"] and codes(model) == [("wwid-case", keys[0], "")]


def test_a_key_that_is_no_wwid_is_left_out():
    model = build({"wwid/sda": {}, "wwid/": {}, "nosuch/x": {}, "nosuch": {}}, {})
    assert model.luns == {} and model.empty
    assert [code for code, *_ in codes(model)] == ["unknown-section", "unknown-section", "bad-wwid", "bad-wwid"]


MARGINAL = {
    "marginal-path-double-failed-time": "60",
    "marginal-path-err-sample-time": "120",
    "marginal-path-err-rate-threshold": "10",
    "marginal-path-err-recheck-gap-time": "300",
}


class TestGroups:
    @pytest.mark.parametrize(
        ("options", "left", "code"),
        [
            ({"prio-args": "x"}, set(), "prio-args"),
            ({"prio": "weightedpath"}, set(), "prio-args"),
            ({"prio": "weightedpath", "prio-args": "hbtl 1:.:.:. 2"}, {"prio", "prio_args"}, None),
            ({"max-polling-interval": "4"}, set(), "polling-interval"),
            ({"max-polling-interval": "4", "polling-interval": "4"}, {"max_polling_interval", "polling_interval"}, None),
            ({"max-polling-interval": "4", "polling-interval": "5"}, {"polling_interval"}, "polling-interval"),
            ({"fast-io-fail-tmo": "off", "dev-loss-tmo": "601"}, {"fast_io_fail_tmo"}, "dev-loss-tmo"),
            ({"fast-io-fail-tmo": "off", "dev-loss-tmo": "infinity"}, {"fast_io_fail_tmo"}, "dev-loss-tmo"),
            ({"fast-io-fail-tmo": "off", "dev-loss-tmo": "600"}, {"fast_io_fail_tmo", "dev_loss_tmo"}, None),
            ({"marginal-path-err-sample-time": "120"}, set(), "marginal-path-incomplete"),
            (MARGINAL, {name.replace("-", "_") for name in MARGINAL}, None),
            (MARGINAL | {"san-path-err-threshold": "5"}, {n.replace("-", "_") for n in MARGINAL}, "marginal-path-excludes"),
            (MARGINAL | {"marginal-pathgroups": "fpin"}, {"marginal_pathgroups"}, "marginal-path-excludes"),
        ],
    )
    def test_what_cannot_stand_together_in_defaults(self, options, left, code):
        model = build({"defaults": dict(options)}, {})
        assert model.defaults.keys() == left
        assert {problem.code for problem in model.problems} == ({code} if code else set())

    def test_a_lun_completes_or_switches_off_what_defaults_have(self):
        off = {"marginal-path-err-sample-time": "no"}
        longer = {"marginal-path-err-sample-time": "240"}
        model = build({"defaults": MARGINAL, f"wwid/{A}": off, f"wwid/{B}": longer}, {})
        assert not model.problems
        assert model.luns[A].options == {"marginal_path_err_sample_time": "no"}
        assert model.luns[B].options == {"marginal_path_err_sample_time": "240"}

    def test_a_part_of_a_group_in_a_lun_is_left_out(self):
        model = build({f"wwid/{A}": {"marginal-path-err-sample-time": "240", "prio-args": "x", "skip-kpartx": "yes"}}, {})
        assert model.luns[A].options == {"skip_kpartx": "yes"}
        assert {code for code, *_ in codes(model)} == {"marginal-path-incomplete", "prio-args"}

    def test_fpin_in_defaults_takes_a_lun_s_thresholds_away(self):
        model = build({"defaults": {"marginal-pathgroups": "fpin"}, f"wwid/{A}": MARGINAL}, {})
        assert model.luns[A].options == {}


class TestStorages:
    def bases(self, document):
        model = build(document, {})
        return {name: storage.base for name, storage in model.storages.items()}, codes(model)

    def test_a_base_that_is_gone(self):
        bases, found = self.bases({"storage/data": {"type": "lvm", "vgname": "v", "base": f"san:{A}"}})
        assert bases == {"data": None} and found == [("broken-base", "storage/data", "base")]

    def test_bases_in_a_circle(self):
        document = {
            f"storage/{name}": {"type": "lvm", "vgname": name, "base": f"{base}:x"}
            for name, base in [("aa", "bb"), ("bb", "aa"), ("cc", "cc"), ("dd", "aa")]
        }
        bases, found = self.bases(document)
        assert bases == {"aa": None, "bb": None, "cc": None, "dd": ("aa", "x")}
        assert found == [("broken-base", f"storage/{name}", "base") for name in ("aa", "bb", "cc")]

    @pytest.mark.parametrize(
        ("san", "data", "code"),
        [
            ({}, {}, None),
            ({"disable": "1"}, {}, "broken-base"),
            ({"disable": "1"}, {"disable": "1"}, None),
            ({"wwids": B}, {}, "broken-base"),
            ({"nodes": "n1"}, {}, "base-not-on-node"),
            ({"nodes": "n1"}, {"nodes": "n1,n2"}, "base-not-on-node"),
            ({"nodes": "n1,n2"}, {"nodes": "n1"}, None),
            ({}, {"base": f"san:{C}"}, "unknown-wwid"),
        ],
    )
    def test_warnings_about_bases(self, san, data, code):
        document = {
            f"wwid/{A}": {},
            f"wwid/{B}": {},
            "storage/san": {"type": "multipath"} | san,
            "storage/data": {"type": "lvm", "vgname": "v", "base": f"san:{A}"} | data,
        }
        model = build(document, {})
        assert [(p.code, p.severity) for p in model.problems] == ([(code, Severity.WARNING)] if code else [])
        assert model.storages["data"].base is not None

    def test_a_type_of_a_newer_version_is_kept_as_a_user(self):
        document = {f"wwid/{A}": {}, "storage/san": {"type": "multipath"}, "storage/new": {"type": "zfs", "x": "y", "base": f"san:{A}"}}
        model = build(document, {})
        assert model.storages["new"] == Storage("new", "zfs", base=("san", A), options={"x": "y", "base": f"san:{A}"})
        assert [(p.code, p.severity) for p in model.problems] == [("unknown-storage-type", Severity.WARNING)]

    def test_a_bad_id_and_what_a_type_requires(self):
        assert codes(build({"storage/1x": {"type": "lvm", "vgname": "v"}, "storage/data": {"type": "lvm"}}, {})) == [
            ("bad-storage-id", "storage/1x", ""),
            ("missing-option", "storage/data", "vgname"),
        ]


def test_settings_without_a_word_about_them():
    settings = build({}, {}).settings
    assert (settings.min_paths, settings.expected_paths, settings.learn_window_seconds, settings.forget_after_days) == (2, "auto", 600, 0)
    assert build({"defaults": {}}, {}).settings == settings


def test_advice_about_the_overrides_is_no_problem_of_the_document():
    model = build({"overrides": {"text": "overrides {\n\tno_path_retry queue\n}\n"}}, {})
    assert model.overrides and model.problems == ()


def test_overrides_with_an_error_are_left_out_whole():
    model = build({"overrides": {"text": "multipaths {\n}\n"}}, {})
    assert model.overrides == "" and [p.code for p in model.problems] == ["overrides-multipaths"]


option_names = st.sampled_from(sorted({name for table in TABLES.values() for name in table} | {"type", "nosuch", "rr-weight", ""}))
option_values = st.one_of(
    st.sampled_from(["1", "0", "5", "120", "yes", "x", A, B, "fpin", "off", "infinity", "lvm", "multipath", "zfs", "auto"]),
    st.sampled_from([f"san:{A}", "data:x", "n1,n2", "weightedpath", ""]),
    st.text(max_size=8),
)
luns = ["", "sda", A, B, "1VENDOR_x", "1VENDOR_X"]
storages = ["", "9", "san", "data"]
keys = st.sampled_from(["", "defaults", "overrides", "member/n1", *(f"wwid/{x}" for x in luns), *(f"storage/{x}" for x in storages)])
section = st.one_of(
    st.dictionaries(option_names, option_values, max_size=6),
    st.sampled_from([{"alias": "x"}, {"type": "lvm", "vgname": "v", "base": f"san:{A}"}, {"type": "multipath"}, {"text": "}"}]),
)
documents = st.dictionaries(keys, section, max_size=8)
orders = st.dictionaries(keys, st.tuples(st.integers(0, 3), st.binary(max_size=2)), max_size=8)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents, orders, st.randoms(use_true_random=False))
def test_any_document_has_one_model(document, order, random):
    model = build(document, order)
    shuffled = list(document.items())
    random.shuffle(shuffled)
    again = build({key: dict(reversed(options.items())) for key, options in shuffled}, order)
    assert again == model
    aliases = [lun.alias for lun in model.luns.values() if lun.alias is not None]
    assert len(set(aliases)) == len(aliases)
    assert not {lun.alias for lun in model.luns.values() if lun.alias != lun.wwid} & model.luns.keys()
    assert all("\n" not in problem.message for problem in model.problems)
    for storage in model.storages.values():
        seen = set()
        while storage.base is not None:
            assert storage.id not in seen
            seen.add(storage.id)
            storage = model.storages[storage.base[0]]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(documents, orders)
def test_what_the_model_left_out_is_all_that_was_wrong(document, order):
    """A document of only what a model renders has no problem, and renders the same."""
    model = build(document, order)
    kept = {"defaults": model.defaults}
    for lun in model.luns.values():
        alias = {} if lun.alias is None else {"alias": lun.alias}
        kept[f"wwid/{lun.wwid}"] = {**lun.options, **alias, **({} if lun.enabled else {"disable": "1"})}
    kept = {key: {name.replace("_", "-"): value for name, value in options.items()} for key, options in kept.items()}
    again = build(kept, order)
    assert again.problems == () and again.defaults == model.defaults
    assert again.luns == {lun.wwid: Lun(lun.wwid, alias=lun.alias, enabled=lun.enabled, options=lun.options) for lun in model.luns.values()}


def test_the_largest_document_is_built_quickly_enough_to_be_tested():
    document = {f"wwid/36{n:031x}": {"alias": f"lun-{n}"} for n in range(4096)}
    model = build(document, {})
    assert len(model.luns) == 4096 and not model.problems


def test_scopes_of_the_tables_are_the_section_kinds():
    assert set(TABLES) == set(Scope)
