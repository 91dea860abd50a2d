"""Options: what each takes, how it is kept, and what is refused with which advice."""

from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apply.option_model import Group, Scope
from apply.option_tables import PINNED, REFUSED, REFUSED_PER_LUN, TABLES
from apply.options import canonical_name, check, describe, find, nearest, storage_scope, supported, tool_value
from store.errors import UsageError

calmly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
EVERY_OPTION = [(scope, name) for scope, table in TABLES.items() for name in table]


@pytest.mark.parametrize(
    ("scope", "name", "value", "kept"),
    [
        ("defaults", "polling-interval", "5", "5"),
        ("defaults", "polling_interval", "007", "7"),
        ("defaults", "path-selector", "round-robin 0", "round-robin"),
        ("defaults", "path-selector", "historical-service-time", "historical-service-time"),
        ("defaults", "path-grouping-policy", "group_by_tpg", "group_by_tpg"),
        ("defaults", "detect-prio", "on", "yes"),
        ("defaults", "detect_prio", "0", "no"),
        ("defaults", "detect-prio", "False", "no"),
        ("defaults", "failback", "1", "1"),
        ("defaults", "failback", "followover", "followover"),
        ("defaults", "no-path-retry", "0", "fail"),
        ("defaults", "no-path-retry", "queue", "queue"),
        ("defaults", "fast-io-fail-tmo", "0", "0"),
        ("defaults", "fast-io-fail-tmo", "off", "off"),
        ("defaults", "dev-loss-tmo", "4294967295", "infinity"),
        ("defaults", "max-fds", "max", "max"),
        ("defaults", "ghost-delay", "0", "no"),
        ("defaults", "marginal-pathgroups", "yes", "on"),
        ("defaults", "learn-window", "0", "0"),
        ("defaults", "forget_after", "30", "30"),
        ("defaults", "enable-foreign", "^nvme$", "^nvme$"),
        ("wwid", "flush-on-last-del", "yes", "always"),
        ("wwid", "flush-on-last-del", "no", "unused"),
        ("wwid", "features", "  3  queue_if_no_path pg_init_retries 50 ", "3 queue_if_no_path pg_init_retries 50"),
        ("wwid", "features", "0", "0"),
        ("wwid", "features", "2 queue_mode bio", "2 queue_mode bio"),
        ("wwid", "reservation-key", "0X0012AB", "0x12ab"),
        ("wwid", "reservation-key", "ff:aptpl", "0xff:aptpl"),
        ("wwid", "reservation-key", "file", "file"),
        ("wwid", "expected-paths", "auto", "auto"),
        ("wwid", "nodes", "b; a\tb,c", "a,b,c"),
        ("wwid", "disable", "yes", "1"),
        ("wwid", "alias", "vm_pool-A.1", "vm_pool-A.1"),
        ("wwid", "comment", "two\nlines: ☃", "two\nlines: ☃"),
        ("wwid", "marginal-path-err-sample-time", "120", "120"),
        ("multipath", "wwids", "3600b 3600a", "3600a,3600b"),
        ("multipath", "content", "none", "none"),
        ("lvm", "vgname", "vg_0.a-b", "vg_0.a-b"),
        ("lvm", "base", "san:nvme.1af4:x", "san:nvme.1af4:x"),
        ("lvm", "content", "rootdir images", "images,rootdir"),
    ],
)
def test_what_is_taken_and_how_it_is_kept(scope, name, value, kept):
    assert check(Scope(scope), name, value) == kept


@pytest.mark.parametrize(
    ("scope", "name", "value"),
    [
        ("defaults", "polling-interval", "0"),
        ("defaults", "polling-interval", "601"),
        ("defaults", "polling-interval", "5s"),
        ("defaults", "polling-interval", "-1"),
        ("defaults", "polling-interval", "+5"),
        ("defaults", "polling-interval", "٥"),
        ("defaults", "polling-interval", ""),
        ("defaults", "max-polling-interval", "3601"),
        ("defaults", "path-selector", "fastest"),
        ("defaults", "path-selector", "round-robin 1"),
        ("defaults", "path-selector", "round-robin 0 0"),
        ("defaults", "path-selector", ""),
        ("defaults", "path-checker", "turr"),
        ("defaults", "prio", "ALUA"),
        ("defaults", "detect-prio", "maybe"),
        ("defaults", "failback", "86401"),
        ("defaults", "failback", "0"),
        ("defaults", "uxsock-timeout", "3999"),
        ("defaults", "verbosity", "5"),
        ("defaults", "partition-delimiter", "/UNSET/"),
        ("defaults", "partition-delimiter", "123456789"),
        ("defaults", "partition-delimiter", "#"),
        ("defaults", "enable-foreign", "(nvme"),
        ("wwid", "features", "1"),
        ("wwid", "features", "2 queue_if_no_path"),
        ("wwid", "features", "1 no_such_word"),
        ("wwid", "features", "1 pg_init_retries"),
        ("wwid", "features", "2 pg_init_retries 51"),
        ("wwid", "features", "2 queue_mode disk"),
        ("wwid", "features", "2 queue_if_no_path queue_if_no_path"),
        ("wwid", "features", ""),
        ("wwid", "reservation-key", "zz"),
        ("wwid", "reservation-key", "0"),
        ("wwid", "reservation-key", "0x12345678901234567"),
        ("wwid", "prio-args", "größe"),
        ("wwid", "prio-args", "a\nb"),
        ("wwid", "prio-args", " a"),
        ("wwid", "prio-args", "x" * 256),
        ("wwid", "nodes", "a,-b"),
        ("wwid", "nodes", ","),
        ("wwid", "expected-paths", "65"),
        ("wwid", "min-paths", "auto"),
        ("wwid", "alias", "mpatha"),
        ("wwid", "marginal-path-err-sample-time", "119"),
        ("wwid", "comment", ""),
        ("wwid", "comment", "x" * 65537),
        ("wwid", "comment", "\ud800"),
        ("multipath", "shared", "0"),
        ("multipath", "content", "backup"),
        ("multipath", "wwids", "a b/c"),
        ("lvm", "vgname", ".."),
        ("lvm", "vgname", "vg 0"),
        ("lvm", "vgname", "-vg"),
        ("lvm", "base", "san"),
        ("lvm", "base", "san:"),
        ("lvm", "shared", "maybe"),
    ],
)
def test_bad_values_are_refused_in_one_line(scope, name, value):
    with pytest.raises(UsageError) as caught:
        check(Scope(scope), name, value)
    assert caught.value.code == "bad-value"
    assert caught.value.message.startswith(f"{name} must be ")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("scope", "name", "code", "words"),
    [
        ("defaults", "user-friendly-names", "pinned-option", "always 'no'"),
        ("wwid", "find_multipaths", "pinned-option", "always 'strict'"),
        ("defaults", "rr_min_io", "refused-option", "no effect"),
        ("wwid", "uid-attribute", "refused-option", "same way"),
        ("wwid", "path-checker", "not-per-lun", "no per-map path-checker"),
        ("wwid", "polling_interval", "not-per-lun", "no per-map polling-interval"),
        ("wwid", "learn-window", "not-per-lun", "all LUNs"),
        ("wwid", "forget-after", "not-per-lun", "all LUNs"),
        ("defaults", "alias", "unknown-option", "no option 'alias'"),
        ("lvm", "rr-min-io", "unknown-option", "no option"),
    ],
)
def test_options_that_are_not_taken(scope, name, code, words):
    with pytest.raises(UsageError) as caught:
        find(Scope(scope), name)
    assert (caught.value.code, words in caught.value.message) == (code, True)


def test_a_lun_s_refusal_says_where_the_option_can_go():
    for name in ("fast-io-fail-tmo", "dev-loss-tmo", "eh-deadline", "detect-prio", "recheck-wwid", "path-checker"):
        assert "overrides" in REFUSED_PER_LUN[name].hint
    assert "overrides" not in REFUSED_PER_LUN["checker-timeout"].hint


@pytest.mark.parametrize(
    ("name", "meant"), [("no_path_rety", "no-path-retry"), ("Alias", "alias"), ("xyzzy", None), ("path-selectr", "path-selector")]
)
def test_the_nearest_name(name, meant):
    assert nearest(name, Scope.WWID) == meant
    with pytest.raises(UsageError) as caught:
        find(Scope.WWID, name)
    assert (f"did you mean {meant}?" == caught.value.hint) == (meant is not None)


def test_an_unknown_option_of_a_long_table_names_the_page_that_lists_them():
    with pytest.raises(UsageError) as caught:
        find(Scope.DEFAULTS, "xyzzy")
    assert caught.value.hint == "docs/options.md lists them"
    assert (Path(__file__).parents[2] / "docs" / "options.md").is_file()


def test_every_rendered_option_of_a_lun_but_its_alias_is_one_of_defaults_too():
    rendered = {name for name, option in TABLES[Scope.WWID].items() if option.rendered}
    assert rendered - TABLES[Scope.DEFAULTS].keys() == {"alias"}


def test_nothing_is_both_offered_and_refused():
    for scope in (Scope.DEFAULTS, Scope.WWID):
        assert not REFUSED.keys() & TABLES[scope].keys()
    assert not REFUSED_PER_LUN.keys() & TABLES[Scope.WWID].keys()
    assert PINNED.keys() <= REFUSED.keys()


def test_defaults_in_the_tables_are_values_that_the_options_take():
    for scope, name in EVERY_OPTION:
        option = TABLES[scope][name]
        if option.default:
            assert option.type.parse(option.default) == option.default, name


def test_names_are_kebab_case_and_keywords_are_not():
    for scope, name in EVERY_OPTION:
        assert canonical_name(name) == name == TABLES[scope][name].name
        assert TABLES[scope][name].keyword == name.replace("-", "_")


def test_versions_decide_what_is_rendered_and_how():
    table = TABLES[Scope.DEFAULTS]
    assert tool_value(table["path-selector"], "queue-length") == "queue-length 0"
    flush = table["flush-on-last-del"]
    assert [supported(flush, word, (0, 9, 8)) for word in ("always", "unused", "never")] == ["yes", "no", "no"]
    assert supported(flush, "never", (0, 9, 9)) == supported(flush, "never", None) == "never"
    assert supported(table["auto-resize"], "never", (0, 9, 6)) is None
    assert supported(table["auto-resize"], "never", (0, 9, 7)) == "never"
    assert supported(table["path-grouping-policy"], "group_by_tpg", (0, 9, 5)) is None
    assert supported(table["path-grouping-policy"], "failover", (0, 9, 5)) == "failover"


def test_descriptions_cover_all_options_and_refusals():
    rows = {(row.scope, row.name): row for row in describe()}
    assert {(scope.value, name) for scope, name in EVERY_OPTION} <= rows.keys()
    assert rows["wwid", "path-checker"].refused and rows["defaults", "rr-min-io"].refused
    assert rows["defaults", "auto-resize"].since == "0.9.7"
    assert "group_by_tpg since 0.9.6" in rows["defaults", "path-grouping-policy"].note
    assert rows["lvm", "vgname"].required and not rows["lvm", "base"].required
    assert all(row.type or row.refused for row in rows.values())


def test_every_option_says_in_a_short_sentence_what_it_is_for():
    for scope, name in EVERY_OPTION:
        note = TABLES[scope][name].note
        assert 8 <= len(note) <= 180, (scope, name)
        assert not note.endswith(".") and "\n" not in note, (scope, name)


def test_every_option_stands_with_those_of_its_group():
    for scope, table in TABLES.items():
        groups = [group for group, _ in groupby(option.group for option in table.values())]
        assert groups == [group for group in Group if group in groups], scope
        assert (groups == [Group.STORAGE]) == (scope not in (Scope.DEFAULTS, Scope.WWID))
    groups = {name: option.group for name, option in TABLES[Scope.DEFAULTS].items()}
    assert len(set(groups.values())) == 7
    assert all(option.group is groups.get(name, Group.EXPECTATIONS) for name, option in TABLES[Scope.WWID].items())
    assert [row.name for row in describe() if row.scope == "defaults" and row.group] == list(TABLES[Scope.DEFAULTS])


def test_storage_types():
    assert storage_scope("lvm") is Scope.LVM and storage_scope("multipath") is Scope.MULTIPATH
    assert storage_scope("wwid") is storage_scope("zfs") is None


likely = st.one_of(
    st.text(max_size=12),
    st.integers(-5, 5000000000).map(str),
    st.sampled_from(["yes", "no", "off", "queue", "file", "auto", "max", "0", "1 queue_if_no_path", "a,b", "san:x", "1"]),
    st.sampled_from([o.default for table in TABLES.values() for o in table.values() if o.default]),
)


@calmly
@given(st.sampled_from(EVERY_OPTION), likely)
def test_a_kept_value_is_kept_as_it_is_and_can_stand_in_both_formats(where, value):
    scope, name = where
    try:
        kept = check(scope, name, value)
    except UsageError:
        return
    assert check(scope, name, kept) == kept
    if name != "comment":
        assert kept.isascii() and kept.isprintable() and kept == kept.strip() and kept
