"""Importing a multipath.conf: what becomes of each line."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apply.hosts import NOBODY
from apply.importing import Imported, is_multipath_conf, read_multipath_conf, settle
from apply.model import build
from apply.problems import Severity
from apply.validate import check_edit, refused
from store.section_config import write

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "3600a098038314353763f505349676e35"

RHEL = """\
# device-mapper-multipath configuration file
defaults {
	user_friendly_names yes
	find_multipaths yes
}
"""

WIKI = f"""\
blacklist {{
        wwid .*
}}
blacklist_exceptions {{
        wwid "{A}"
        wwid "^{B}$"
}}
multipaths {{
  multipath {{
        wwid "{A}"
        alias mylun
  }}
}}
defaults {{
        polling_interval        2
        path_selector           "round-robin 0"
        path_grouping_policy    multibus
        uid_attribute           ID_SERIAL
        rr_min_io               100
        failback                immediate
        no_path_retry           queue
        user_friendly_names     yes
}}
"""

VDSM = """\
# VDSM REVISION 2.2
defaults {
    polling_interval            5
    max_polling_interval        20
    no_path_retry               16
    user_friendly_names         no
    flush_on_last_del           yes
    fast_io_fail_tmo            5
    dev_loss_tmo                30
    max_fds                     4096
}
blacklist {
        protocol "(scsi:adt|scsi:sbp)"
}
overrides {
      # Bounded queueing
      no_path_retry            16
}
"""

TRUENAS = """\
# Konfiguration für TrueNAS über zwei Wege
defaults {
    user_friendly_names no   # keine Größe
    find_multipaths     no
    polling_interval    10
}
blacklist {
    devnode "^sd[a-c]$"   # lokale Platten
}
devices {
    device {
        vendor  "TrueNAS"
        product "iSCSI Disk"
        path_grouping_policy group_by_prio
        hardware_handler "1 alua"
        path_checker "tur"
    }
}
"""


def notes(found: Imported) -> list[tuple[int, str]]:
    return [(note.line, note.code) for note in found.notes]


def test_the_file_of_mpathconf_is_all_pinned() -> None:
    found = read_multipath_conf(RHEL)
    assert found.sections == {"defaults": {}} and found.overrides == ""
    assert notes(found) == [(3, "pinned-option"), (4, "pinned-option")]
    assert found.notes[0].message.startswith("line 3, column 2: user_friendly_names is not taken") and "bindings" in found.notes[0].hint
    assert settle(found, {}, NOBODY)[0] == {}


def test_a_file_in_the_style_of_the_wiki() -> None:
    found = read_multipath_conf(WIKI)
    assert found.sections == {
        f"wwid/{A}": {"alias": "mylun"},
        "defaults": {
            "polling-interval": "2",
            "path-selector": "round-robin",
            "path-grouping-policy": "multibus",
            "failback": "immediate",
            "no-path-retry": "queue",
        },
    }
    rules = f'blacklist {{\n\twwid ".*"\n}}\nblacklist_exceptions {{\n\twwid "{A}"\n\twwid "^{B}$"\n}}\n'
    assert found.overrides == rules
    assert notes(found) == [(6, "import-exception"), (18, "refused-option"), (19, "refused-option"), (22, "pinned-option")]
    assert B in found.notes[0].message and found.notes[0].hint == f"pathmesh lun add {B}" and found.notes[0].severity is Severity.INFO
    changes, _ = settle(found, {}, NOBODY)
    assert changes["overrides"] == {"text": rules}


def test_the_file_of_vdsm() -> None:
    found = read_multipath_conf(VDSM)
    assert notes(found) == []
    assert found.sections["defaults"]["flush-on-last-del"] == "always" and found.sections["defaults"]["max-fds"] == "4096"
    assert found.overrides == 'blacklist {\n\tprotocol "(scsi:adt|scsi:sbp)"\n}\noverrides {\n\tno_path_retry "16"\n}\n'


def test_comments_that_are_not_ascii_do_no_harm() -> None:
    found = read_multipath_conf(TRUENAS)
    assert notes(found) == [(4, "pinned-option")]
    assert found.sections == {"defaults": {"polling-interval": "10"}}
    assert '\tdevnode "^sd[a-c]$"\n' in found.overrides and '\t\tproduct "iSCSI Disk"\n' in found.overrides
    assert "Größe" not in found.overrides


@pytest.mark.parametrize(
    ("text", "line", "code", "words"),
    [
        ("mutipaths {\n\tmultipath {\n\t\twwid x\n\t}\n}\n", 1, "import-unknown", "did you mean multipaths?"),
        ("defaults\n{\n\tpolling_interval 7\n}\n", 1, "overrides-syntax", "must stand on one line"),
        ("defaults {\n\tpolling_interval 7 # " + "x" * 1100 + "\n}\n", 2, "overrides-syntax", "has no value"),
        ("defaults {\n\tpolling_interval 7\n}\n}\n", 4, "overrides-syntax", "closes nothing"),
        ("polling_interval 7\n", 1, "import-syntax", "outside of a section"),
        ("defaults {\n\tpolling_interval 7 8\n}\n", 2, "overrides-syntax", "after its first word"),
        ("defaults {\n\tpolling_interval abc\n}\n", 2, "bad-value", "must be"),
        ("defaults {\n\tno_path_retry -1\n}\n", 2, "bad-value", "it takes 1 for -1"),
        ("defaults {\n\tfailback 0\n}\n", 2, "bad-value", "no value at all"),
        ("defaults {\n\tselector x\n}\n", 2, "unknown-option", "did you mean path-selector?"),
        ("defaults {\n\talias x\n}\n", 2, "unknown-option", "no option 'alias'"),
        ("defaults {\n\tmin_paths 1\n}\n", 2, "import-unknown", "no such keyword"),
        ("defaults {\n\tmultipath {\n\t}\n}\n", 2, "import-unknown", "no such section"),
        ("defaults {\n\tpg_timeout 5\n}\n", 2, "refused-option", "ignores it"),
        ("defaults {\n\tbindings_file /x\n}\n", 2, "refused-option", "stay where they are"),
        ("multipaths {\n\tmultipath {\n\t\talias x\n\t}\n}\n", 2, "import-no-wwid", "multipathd drops it"),
        ("multipaths {\n\tmultipath {\n\t\twwid sda\n\t}\n}\n", 2, "bad-wwid", "name of a device"),
        ('multipaths {\n\tmultipath {\n\t\twwid "^3.*"\n\t}\n}\n', 2, "bad-wwid", "not a WWID"),
        ("multipaths {\n\tdevice {\n\t}\n}\n", 2, "import-unknown", "does not belong"),
        (f"multipaths {{\n\tmultipath {{\n\t\twwid {A}\n\t\talias mpatha\n\t}}\n}}\n", 4, "bad-value", "multipathd gives names"),
        (f"multipaths {{\n\tmultipath {{\n\t\twwid {A}\n\t\tpath_checker tur\n\t}}\n}}\n", 4, "not-per-lun", "no per-map"),
        (f"multipaths {{\n\tmultipath {{\n\t\twwid {A}\n\t\tmode 0660\n\t}}\n}}\n", 4, "refused-option", "udev"),
        ('blacklist {\n\tdevnode "[a"\n}\n', 2, "overrides-value", "no regular expression"),
        ("devices {\n\tdevice {\n\t\tvendor X\n\t}\n}\n", 2, "overrides-incomplete", "without product"),
        ("overrides {\n\tuser_friendly_names yes\n}\n", 2, "overrides-pinned", "can only be 'no'"),
        ("overrides {\n\tgetuid_callout /x\n}\n", 2, "overrides-pinned", "cannot be set"),
        ("overrides {\n\tno_such 1\n}\n", 2, "overrides-keyword", "there is no keyword"),
        ("overrides {\n\trr_weight uniform\n}\n", 2, "overrides-obsolete", "no effect"),
        ("overrides {\n\tprio alua\n\tprio rdac\n}\n", 2, "import-duplicate", "set again in line 3"),
        ('overrides {\n\tprio_args "a\x01b"\n}\n', 2, "overrides-encoding", "control character"),
    ],
)
def test_what_is_left_behind_is_told_with_its_line(text: str, line: int, code: str, words: str) -> None:
    found = read_multipath_conf(text)
    told = [note for note in found.notes if (note.line, note.code) == (line, code)]
    assert any(words in note.message + note.hint for note in told), found.notes
    assert all(note.message.startswith(f"line {note.line}, column {note.column}: ") and len(note.message) < 300 for note in found.notes)
    assert not refused(check_edit({}, {k: v for k, v in settle(found, {}, NOBODY)[0].items() if v is not None}))


def test_what_is_good_beside_a_fault_is_taken() -> None:
    text = f"""\
defaults {{
	polling_interval 7
	path_selector "queue-length 0
	nonsense 1
}}
devices {{
	device {{
		vendor "A"
		product "B"
		path_selector "no-such 0"
		no_path_retry 9
	}}
}}
multipaths {{
	multipath {{
		wwid {A}
		no_path_retry 3
	}}
	multipath {{
		wwid {A}
		alias pool
	}}
}}
"""
    found = read_multipath_conf(text)
    assert found.sections["defaults"] == {"polling-interval": "7", "path-selector": "queue-length"}
    assert found.sections[f"wwid/{A}"] == {"no-path-retry": "3", "alias": "pool"}
    assert found.overrides == 'devices {\n\tdevice {\n\t\tvendor "A"\n\t\tproduct "B"\n\t\tno_path_retry "9"\n\t}\n}\n'
    assert notes(found) == [(3, "overrides-syntax"), (4, "unknown-option"), (10, "overrides-value"), (19, "import-duplicate")]


def test_the_line_ends_and_the_mark_of_other_systems_are_tolerated() -> None:
    found = read_multipath_conf("\ufeffdefaults {\r\n\tpolling_interval 7\r\n}\r\n")
    assert found.sections == {"defaults": {"polling-interval": "7"}} and not found.notes


def test_what_cannot_stand_together_is_left_out() -> None:
    luns = "".join(f"\tmultipath {{\n\t\twwid {wwid}\n\t\talias same\n\t}}\n" for wwid in (A, B))
    found = read_multipath_conf(f"multipaths {{\n{luns}}}\ndefaults {{\n\tprio_args x\n\tmarginal_path_err_sample_time 200\n}}\n")
    changes, told = settle(found, {}, NOBODY)
    assert sorted(changes.items()) == [(f"wwid/{B}", {"alias": "same"}), (f"wwid/{A}", {})] or sorted(changes.items()) == [
        (f"wwid/{B}", {}),
        (f"wwid/{A}", {"alias": "same"}),
    ]
    assert {note.code for note in told} == {"duplicate-alias", "prio-args", "marginal-path-incomplete"}


def test_what_the_document_says_beside_stays() -> None:
    document = {
        "defaults": {"polling-interval": "5", "min-paths": "1"},
        f"wwid/{A}": {"alias": "mine", "comment": "x"},
        "storage/san": {"type": "multipath"},
        "overrides": {"text": "devices {\n}\n"},
    }
    changes, told = settle(
        read_multipath_conf(VDSM + f"multipaths {{\nmultipath {{\nwwid {A}\nno_path_retry 4\n}}\n}}\n"), document, NOBODY
    )
    assert changes.keys() == {"defaults", f"wwid/{A}"}
    assert changes[f"wwid/{A}"] == {"alias": "mine", "comment": "x", "no-path-retry": "4"}
    assert (changes["defaults"] or {})["min-paths"] == "1"
    assert [note.code for note in told] == ["import-overrides"]
    same = document | {"overrides": {"text": read_multipath_conf(VDSM).overrides}}
    assert settle(read_multipath_conf(VDSM), same, NOBODY)[1] == ()


def test_an_import_does_not_hide_the_luns_of_the_document() -> None:
    found = read_multipath_conf('blacklist {\n\tdevnode ".*"\n\tdevnode "^ram"\n}\n')
    changes, told = settle(found, {f"wwid/{A}": {}}, NOBODY)
    assert changes == {"overrides": {"text": 'blacklist {\n\tdevnode "^ram"\n}\n'}}
    assert [(note.code, note.line) for note in told] == [("overrides-blacklist", 2)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (RHEL, True),
        (WIKI, True),
        ("defaults\n{\n}\n", True),
        ("mutipaths {\n", True),
        ("! comment\n\n#\nblacklist {", True),
        ("defaults: global\n\tcomment a {\n", False),
        (f"# x\nwwid: {A}\n\talias a\n", False),
        ("", False),
        ("polling_interval 7\n", False),
    ],
)
def test_the_two_formats_are_told_apart(text: str, says: bool) -> None:
    assert is_multipath_conf(text) is says


pieces = st.sampled_from(
    [
        *("defaults {", "multipaths {", "multipath {", "blacklist {", "overrides {", "devices {", "device {", "protocol {", "}", "}", "}"),
        *(f"wwid {A}", f"wwid {B}", "alias x", "alias mpatha", "prio iet", "prio_args x", 'features "1 queue_if_no_path"', "x 1", '"'),
        *('devnode "("', 'devnode ".*"', "vendor A", "product B", "type scsi:fcp", "polling_interval 0", "fast_io_fail_tmo off"),
        *("dev_loss_tmo infinity", "marginal_pathgroups fpin", "san_path_err_threshold 5"),
    ]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.lists(pieces, max_size=25).map("\n".join), st.text(max_size=80)), st.booleans())
def test_whatever_is_imported_can_be_written(text: str, beside: bool) -> None:
    document = {f"wwid/{B}": {"alias": "x"}, "defaults": {"prio": "alua"}} if beside else {}
    changes, told = settle(read_multipath_conf(text), document, NOBODY)
    after = {**document, **{key: value for key, value in changes.items() if value is not None}}
    problems = check_edit(document, after)
    assert not refused(problems), problems
    assert not [p for p in build(after, {}).problems if p.severity is Severity.ERROR]
    write(after)
    assert all("\n" not in note.message for note in told)
