"""Rendering: stable bytes, sorted, quoted, and read back as what was meant."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apply.confsyntax import multipaths
from apply.confsyntax import parse as read
from apply.model import Model, build
from apply.option_model import Scope
from apply.option_tables import TABLES
from apply.overrides import parse
from apply.render import MAIN, OVERRIDES, allow_list, body, is_ours, render

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "3600a098038314353763f505349676e35"
NVME = "nvme.1af4-37-51+45-00000001"
NEW = (0, 14, 0)

MAIN_TEXT = f"""\
# Written by pathmesh. Do not edit: change the cluster's configuration instead, with 'pathmesh'.
# schema 1
# digest d1

defaults {{
	find_multipaths "strict"
	no_path_retry "12"
	path_selector "service-time 0"
	user_friendly_names "no"
}}
blacklist_exceptions {{
	wwid "^{A}$"
	wwid "^nvme\\.1af4-37-51\\+45-00000001$"
}}
multipaths {{
	multipath {{
		alias "pool-a"
		no_path_retry "fail"
		wwid "{A}"
	}}
	multipath {{
		wwid "{NVME}"
	}}
}}
"""
DOCUMENT = {
    "defaults": {"no-path-retry": "12", "path-selector": "service-time", "min-paths": "2"},
    f"wwid/{NVME}": {"comment": "x"},
    f"wwid/{A}": {"alias": "pool-a", "no-path-retry": "0", "nodes": "n1"},
    f"wwid/{B}": {"disable": "1", "reservation-key": "0xab", "alias": "b"},
}


def rendered(document, version=NEW, digest="d1"):
    return render(build(document, {}), digest=digest, tools_version=version)


def texts(document, version=NEW):
    return {name: file.content.decode() for name, file in rendered(document, version).files.items()}


def test_the_main_file():
    result = rendered(DOCUMENT)
    assert texts(DOCUMENT) == {MAIN: MAIN_TEXT} and result.skipped == ()
    assert result.files[MAIN].mode == 0o644


def test_nothing_is_rendered_for_an_empty_document():
    for document in ({}, {f"wwid/{A}": {"disable": "1"}}, {"storage/san": {"type": "multipath"}}):
        assert rendered(document).files == {}


def test_pinned_keys_are_there_whatever_is_rendered():
    pinned = 'defaults {\n\tfind_multipaths "strict"\n\tuser_friendly_names "no"\n}\n'
    for document in ({"defaults": {}}, {f"wwid/{A}": {}}, {"overrides": {"text": "defaults {\n}\n"}}):
        assert pinned in texts(document)[MAIN]


def test_the_overrides_file_carries_the_text_as_it_is():
    files = texts({"overrides": {"text": "# mine\ndefaults {\n}"}})
    assert list(files) == [MAIN, OVERRIDES]
    assert files[OVERRIDES].endswith("# digest d1\n\n# mine\ndefaults {\n}\n")


def test_overrides_with_errors_leave_no_file():
    assert list(texts({"overrides": {"text": "}"}})) == [MAIN]


@pytest.mark.parametrize(
    "document",
    [
        {"defaults": {"reservation-key": "file"}},
        {f"wwid/{A}": {"reservation-key": "0xab"}},
    ],
)
def test_a_reservation_key_is_for_root_alone(document):
    assert rendered(document).files[MAIN].mode == 0o600


def test_a_reservation_key_in_the_overrides_too():
    files = rendered({"overrides": {"text": "defaults {\n\treservation_key 0xab\n}\n"}}).files
    assert (files[MAIN].mode, files[OVERRIDES].mode) == (0o644, 0o600)


def test_options_that_the_tools_do_not_know_are_left_out_and_told():
    document = {"defaults": {"auto-resize": "grow_only", "prio": "alua"}, f"wwid/{A}": {"path-grouping-policy": "group_by_tpg"}}
    result = rendered(document, (0, 9, 4))
    assert "auto_resize" not in result.files[MAIN].content.decode() and "group_by" not in result.files[MAIN].content.decode()
    assert [(p.code, p.key, p.option, p.hint) for p in result.skipped] == [
        ("render-unsupported-option", "defaults", "auto-resize", "it needs 0.9.7"),
        ("render-unsupported-option", f"wwid/{A}", "path-grouping-policy", "it needs 0.9.6"),
    ]
    assert rendered(document, (0, 9, 7)).skipped == rendered(document, None).skipped == ()


@pytest.mark.parametrize(("version", "word"), [((0, 9, 4), '"no"'), ((0, 9, 9), '"never"'), ((0, 14, 0), '"never"'), (None, '"never"')])
def test_flush_on_last_del_is_spelled_as_the_release_wants(version, word):
    assert f"flush_on_last_del {word}\n" in texts({"defaults": {"flush-on-last-del": "never"}}, version)[MAIN]


def test_a_quote_in_a_value_is_doubled():
    document = {"defaults": {"prio": "weightedpath", "prio-args": 'a "b" c'}}
    assert 'prio_args "a ""b"" c"\n' in texts(document)[MAIN]


def test_the_allow_list_is_the_enabled_luns():
    assert allow_list(build(DOCUMENT, {})) == {A, NVME}
    assert allow_list(Model()) == frozenset()


def test_names_that_are_kept_stand_beside_the_configured_ones():
    kept = {"3600a098038314353763f505349676e35": "rootdisk", "361": "elsewhere"}
    model = build({"wwid/361": {"alias": "data", "no-path-retry": "5"}}, {})
    text = render(model, digest="d", tools_version=NEW, kept=kept).files[MAIN].content.decode()
    blocks = multipaths(read(text))
    assert blocks["3600a098038314353763f505349676e35"] == {"wwid": "3600a098038314353763f505349676e35", "alias": "rootdisk"}
    assert blocks["361"] == {"wwid": "361", "alias": "data", "no_path_retry": "5"}, "what is configured goes before"
    assert '\twwid "^3600a098038314353763f505349676e35$"\n' in text
    assert render(model, digest="d", tools_version=NEW) == render(model, digest="d", tools_version=NEW, kept={})


def test_of_an_empty_document_the_kept_names_are_all_there_is():
    result = render(build({}, {}), digest="d", tools_version=NEW, kept={"361": "rootdisk"})
    assert list(result.files) == [MAIN]
    found = read(result.files[MAIN].content.decode())
    assert multipaths(found) == {"361": {"wwid": "361", "alias": "rootdisk"}}
    assert [block.name for block in found.blocks] == ["blacklist_exceptions", "multipaths"]


def test_marker_and_body():
    one, two = (rendered(DOCUMENT, digest=digest).files[MAIN].content for digest in ("d1", "d2"))
    assert one != two and body(one) == body(two) == MAIN_TEXT.partition("\n\n")[2].encode()
    assert is_ours(one) and not is_ours(b"") and not is_ours(b"# x\n" + one)
    assert body(b"x\n\ny") == b"x\n\ny"


def test_what_only_pathmesh_reads_changes_no_body():
    noted = DOCUMENT | {f"wwid/{A}": DOCUMENT[f"wwid/{A}"] | {"comment": "y", "min-paths": "3"}, "storage/san": {"type": "multipath"}}
    assert body(rendered(noted).files[MAIN].content) == body(rendered(DOCUMENT).files[MAIN].content)


def values_of(option):
    """Values that an option may have, from its own table."""
    kind = option.type
    words = [*getattr(kind, "words", ()), option.default, "yes", "file", "1 queue_if_no_path", 'a""b"', "x"]
    words += [str(getattr(kind, "low", "")), str(getattr(kind, "high", ""))]
    good = []
    for word in words:
        try:
            good.append(kind.parse(word))
        except ValueError:
            continue
    return st.sampled_from(sorted(set(good)))


def sections(scope):
    table = {name: option for name, option in TABLES[scope].items() if option.rendered and name != "alias"}
    return st.fixed_dictionaries({}, optional={name: values_of(option) for name, option in table.items()})


wwids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:+=@,-]{1,20}", fullmatch=True)
documents = st.builds(
    lambda defaults, luns: {"defaults": defaults} | {f"wwid/{wwid}": options for wwid, options in luns.items()},
    sections(Scope.DEFAULTS),
    st.dictionaries(wwids, sections(Scope.WWID), max_size=3),
)
versions = st.sampled_from([None, (0, 8, 4), (0, 9, 4), (0, 9, 9), NEW])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(documents, versions)
def test_what_is_rendered_is_read_back_as_it_was_meant(document, version):
    model = build(document, {})
    result = render(model, digest="d", tools_version=version)
    assert result == render(build(dict(reversed(document.items())), {}), digest="d", tools_version=version)
    content = result.files[MAIN].content
    assert content.isascii() and max(map(len, content.split(b"\n"))) < 1000
    statements, problems = parse(content.decode())
    assert problems == []
    read = {section.keyword: section for section in statements}
    assert len(read) == len(statements) and read.keys() <= {"defaults", "blacklist_exceptions", "multipaths"}
    skipped = {(problem.key, problem.option.replace("-", "_")) for problem in result.skipped}
    flush = version is not None and version < (0, 9, 9)

    def wanted(key, options):
        kept = {name: value for name, value in options.items() if (key, name) not in skipped}
        if flush and "flush_on_last_del" in kept:
            kept["flush_on_last_del"] = "yes" if kept["flush_on_last_del"] == "always" else "no"
        return kept

    defaults = {s.keyword: s.value for s in read["defaults"].children}
    assert defaults == wanted("defaults", model.defaults) | {"user_friendly_names": "no", "find_multipaths": "strict"}
    assert list(defaults) == sorted(defaults)
    blocks = [{s.keyword: s.value for s in block.children} for block in (read["multipaths"].children if model.luns else [])]
    assert [block.pop("wwid") for block in blocks] == sorted(model.luns)
    for wwid, block in zip(sorted(model.luns), blocks, strict=True):
        assert block == wanted(f"wwid/{wwid}", model.luns[wwid].options)
