"""SectionConfig: the grammar strict and lenient, canonical text, digests."""

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from store.errors import UsageError
from store.section_config import (
    MAX_CONFIG_BYTES,
    MAX_ISSUES,
    MAX_VALUE_BYTES,
    MAX_WWIDS,
    Parsed,
    apply_digest,
    config_digest,
    parse,
    text_digest,
    to_document,
    write,
)

CANONICAL = """\
defaults: global
\tcomment production SAN
\tfast-io-fail-tmo 5
\tno-path-retry 12

wwid: 3600a098038314353763f505349676e35
\tdisable

wwid: 3624a9370e92ace0b12e941bf000cb4d5
\tcomment VM pool A
\talias pure-vmpool-a
\tnodes pve1,pve2,pve3

lvm: san-lvm
\tvgname vg0
\tbase san:3624a9370e92ace0b12e941bf000cb4d5
\tshared 1

multipath: san
\tcontent images

"""
DOCUMENT = {
    "storage/san": {"type": "multipath", "content": "images"},
    "storage/san-lvm": {
        "type": "lvm",
        "base": "san:3624a9370e92ace0b12e941bf000cb4d5",
        "shared": "1",
        "vgname": "vg0",
    },
    "wwid/3624a9370e92ace0b12e941bf000cb4d5": {
        "nodes": "pve1,pve2,pve3",
        "comment": "VM pool A",
        "alias": "pure-vmpool-a",
    },
    "defaults": {"no-path-retry": "12", "fast-io-fail-tmo": "5", "comment": "production SAN"},
    "wwid/3600a098038314353763f505349676e35": {"disable": "1"},
    "overrides": {"text": "defaults {\n}\n"},
}


def lines_of(parsed: Parsed) -> list[int]:
    return [issue.line for issue in parsed.issues]


def config_of(document: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    return {key: dict(options) for key, options in document.items() if key != "overrides"}


def test_the_canonical_text_of_a_document():
    text = write(DOCUMENT).replace("multipath: san\n\tcontent images\n\n", "")
    assert text + "multipath: san\n\tcontent images\n\n" == CANONICAL


def test_storages_are_sorted_by_id_whatever_their_type():
    headers = [line for line in write(DOCUMENT).splitlines() if line and line[0] != "\t"]
    assert headers[-2:] == ["multipath: san", "lvm: san-lvm"]


def test_reading_the_canonical_text_gives_the_document():
    parsed = parse(CANONICAL)
    assert parsed.issues == () and parsed.notes == ()
    assert to_document(parsed) == config_of(DOCUMENT)


def test_the_line_of_each_section_is_kept():
    assert [section.line for section in parse(CANONICAL).sections] == [1, 6, 9, 14, 19]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("defaults: global\n\ndefaults: global\n", 3, "second defaults section (the first is at line 1)"),
        ("defaults: other\n", 1, "id of the defaults section is 'global'"),
        ("wwid: a\n\nwwid: a\n", 3, "second section 'a'"),
        ("lvm: a\n\nmultipath: a\n", 3, "second section 'a'"),
        ("wwid: a\n\talias x\nwwid: b\n", 3, "an empty line is missing before 'wwid: b'"),
        ("wwid a\n", 1, "neither a section header"),
        ("wwid:a\n", 1, "neither a section header"),
        ("Wwid: a\n", 1, "neither a section header"),
        ("wwid: a b\n", 1, "neither a section header"),
        ("wwid: größe\n", 1, "neither a section header"),
        ("0\n", 1, "neither a section header"),
        ("\talias x\n", 1, "property outside of a section"),
        ("wwid: a\n\n\talias x\n", 3, "property outside of a section"),
        ("wwid: a\n\talias x\n\talias y\n", 3, "'alias' stands twice"),
        ("wwid: a\n\talias\n", 2, "'alias' has no value"),
        ("wwid: a\n\tgröße 1\n", 2, "not a property"),
        ("wwid: a\n\tdisable maybe\n", 2, "'disable' stands alone or with 0 or 1"),
        ("wwid: a\n \n\talias x\n", 2, "only blanks"),
        ("wwid: a\r\n", 1, "CR LF"),
        ("wwid: a\n\talias a\x01b\n", 2, "control character"),
        ("wwid: a\n\tcomment %ff\n", 2, "not UTF-8"),
        ("lvm: a\n\ttype iscsi\n", 2, "stands in its header"),
        ("\ufeffwwid: a\n", 1, "byte order mark"),
        (b"wwid: a\n\talias \xff\n", 2, "0xff is not UTF-8"),
        ("wwid: a\n\talias \ud800\n", 2, "not UTF-8"),
        ("wwid: a\n\tprio-args " + "x" * (MAX_VALUE_BYTES + 1), 2, "larger than"),
        ("x" * (MAX_CONFIG_BYTES + 1), 1, "larger than"),
    ],
)
def test_every_quirk_is_an_issue_with_its_line(text, line, words):
    parsed = parse(text)
    assert lines_of(parsed)[0] == line
    assert words in parsed.issues[0].message
    with pytest.raises(UsageError, match=f"^line {line}: "):
        to_document(parsed)


def test_comments_and_trailing_blanks_are_no_issue():
    parsed = parse("# top\ndefaults: global  \n  # inside\n\tno-path-retry\t  12  \n\n\n\n# end")
    assert to_document(parsed) == {"defaults": {"no-path-retry": "12"}}


def test_inner_blanks_of_a_value_stay():
    assert parse("wwid: a\n\tfeatures 1  queue_if_no_path\n").sections[0].options == {"features": "1  queue_if_no_path"}


@pytest.mark.parametrize(
    ("line", "options"),
    [("disable", {"disable": "1"}), ("disable 1", {"disable": "1"}), ("disable 0", {}), ("disable no", {})],
)
def test_disable_is_a_flag(line, options):
    parsed = parse(f"wwid: a\n\t{line}\n")
    assert (parsed.issues, parsed.sections[0].options) == ((), options)


@pytest.mark.parametrize(
    ("comment", "line"),
    [
        ("two\nlines", "two%0Alines"),
        ("50 %: done", "50 %25%3A done"),
        ("Größe ☃", "Gr%C3%B6%C3%9Fe %E2%98%83"),
        ("  framed ", "%20 framed%20"),
        (" ", "%20"),
    ],
)
def test_a_comment_carries_any_text(comment, line):
    text = write({"wwid/a": {"comment": comment}})
    assert text == f"wwid: a\n\tcomment {line}\n\n"
    assert to_document(parse(text)) == {"wwid/a": {"comment": comment}}


def test_a_comment_typed_by_hand_needs_no_encoding():
    assert parse("wwid: a\n\tcomment Größe: 50% voll\n").sections[0].options == {"comment": "Größe: 50% voll"}


def test_what_nobody_knows_is_kept():
    text = "quantum: q1\n\tentangled 1\n\tspin up down\n\n"
    assert write(to_document(parse(text))) == text


@pytest.mark.parametrize(
    "document",
    [
        {"storage/a": {}},
        {"storage/a": {"type": "wwid"}},
        {"storage/a": {"type": "Lvm"}},
        {"storage/a b": {"type": "lvm"}},
        {"wwid/": {}},
        {"wwid/a": {"alias": "x\ny"}},
        {"wwid/a": {"alias": " x"}},
        {"wwid/a": {"alias": "x\t"}},
        {"wwid/a": {"a b": "x"}},
        {"wwid/a": {"#a": "x"}},
        {"wwid/a": {"comment": "\ud800"}},
        {"wwid/a": {"alias": "x" * (MAX_VALUE_BYTES + 1)}},
    ],
)
def test_what_the_format_cannot_carry_is_refused_but_has_a_digest(document):
    with pytest.raises(UsageError) as caught:
        write(document)
    assert caught.value.code == "not-writable"
    assert config_digest(document) != config_digest({})
    assert config_digest(document) == config_digest(dict(document))


def test_empty_values_and_false_flags_are_left_out():
    assert write({"wwid/a": {"alias": "", "disable": "0"}}) == "wwid: a\n\n"


class TestLenient:
    def read(self, text):
        parsed = parse(text, lenient=True)
        return to_document(parsed), [note.line for note in parsed.notes]

    def test_a_header_without_an_empty_line_is_ignored(self):
        document, notes = self.read("wwid: a\n\talias x\nwwid: b\n\tprio alua\n")
        assert document == {"wwid/a": {"alias": "x", "prio": "alua"}} and notes == [3]

    def test_a_line_of_blanks_ends_no_section_but_a_zero_does(self):
        document, notes = self.read("wwid: a\n  \n\talias x\n0\nwwid: b\n")
        assert document == {"wwid/a": {"alias": "x"}, "wwid/b": {}} and notes == [2, 4]

    def test_the_last_of_two_equal_ids_wins(self):
        document, notes = self.read("wwid: a\n\talias x\n\nwwid: a\n\tprio alua\n")
        assert document == {"wwid/a": {"prio": "alua"}} and notes == [4]

    def test_the_first_of_two_equal_properties_wins(self):
        document, notes = self.read("wwid: a\n\talias x\n\talias y\n")
        assert document == {"wwid/a": {"alias": "x"}} and notes == [3]

    def test_header_without_blank_upper_case_and_another_defaults_id(self):
        document, notes = self.read("wwid:a\n\nLVM: b\n\tvgname v\n\ndefaults: cluster\n\tprio alua\n")
        assert document == {
            "wwid/a": {},
            "storage/b": {"type": "lvm", "vgname": "v"},
            "defaults": {"prio": "alua"},
        }
        assert notes == [6]

    def test_a_greedy_header_is_dropped_with_its_properties(self):
        document, notes = self.read("a:b: c\n\tx 1\n\nwwid: d\n")
        assert document == {"wwid/d": {}} and notes == [1]

    def test_crlf_and_byte_order_mark(self):
        document, notes = self.read("\ufeffwwid: a\r\n\talias x\r\n\r\nwwid: b\r\n")
        assert document == {"wwid/a": {"alias": "x"}, "wwid/b": {}} and notes == [1, 1, 2, 3, 4]

    def test_what_is_not_utf8_stays_an_issue(self):
        with pytest.raises(UsageError, match="line 2"):
            self.read(b"wwid: a\n\talias \xff\n")


def test_too_many_wwids():
    text = "".join(f"wwid: w{n}\n\n" for n in range(MAX_WWIDS + 1))
    assert lines_of(parse(text)) == [2 * MAX_WWIDS + 1]
    assert parse(text[: text.rindex("wwid")]).issues == ()


def test_a_strict_reading_gives_up_and_notes_are_bounded():
    assert len(parse("x\n" * 1000).issues) == MAX_ISSUES
    assert len(parse("x\n" * 1000, lenient=True).notes) == MAX_ISSUES


def test_digests():
    empty = hashlib.sha256(b"").hexdigest()
    assert config_digest({}) == config_digest({"overrides": {"text": "x"}}) == text_digest("") == empty
    assert config_digest(DOCUMENT) == hashlib.sha256(write(DOCUMENT).encode()).hexdigest()
    assert apply_digest("a", "b") == hashlib.sha256(b"a\nb").hexdigest()


calmly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)
types = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True).filter(lambda kind: kind not in ("defaults", "wwid"))
names = words.filter(lambda name: not name.startswith("#") and name not in ("comment", "disable", "type"))
plain = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=30).filter(lambda value: value == value.strip(" \t"))
comments = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)


@st.composite
def options(draw):
    chosen = draw(st.dictionaries(names, plain, max_size=5))
    if draw(st.booleans()):
        chosen["comment"] = draw(comments)
    if draw(st.booleans()):
        chosen["disable"] = "1"
    return chosen


@st.composite
def documents(draw):
    document = {f"wwid/{name}": draw(options()) for name in draw(st.sets(words, max_size=4))}
    for name in draw(st.sets(words, max_size=4)):
        document[f"storage/{name}"] = draw(options()) | {"type": draw(types)}
    if draw(st.booleans()):
        document["defaults"] = draw(options())
    return document


@calmly
@given(documents())
def test_a_document_survives_its_text(document):
    text = write(document)
    parsed = parse(text)
    assert parsed.issues == ()
    assert to_document(parsed) == document
    assert write(to_document(parsed)) == text
    assert to_document(parse(text, lenient=True)) == document


@calmly
@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_make_reading_fail(data, lenient):
    parsed = parse(data, lenient=lenient)
    if not parsed.issues:
        document = to_document(parsed)
        assert to_document(parse(write(document))) == document


headers = ["defaults: global", "wwid: a", "wwid: b", "lvm: a", "a:b: c", "junk", "\ufeff", "0"]
properties = ["\talias x", "\talias", "\tdisable", "\tdisable 0", "\tcomment %41", "\tcomment %0a%20", "\ttype x"]
fragments = st.sampled_from([*headers, *properties, "\tx\r", "\t%", "\tk \x85", "", "", " ", "# x"])


@calmly
@given(st.lists(fragments, max_size=14).map("\n".join), st.booleans())
def test_what_reads_without_an_issue_can_be_written_and_read_again(text, lenient):
    parsed = parse(text, lenient=lenient)
    if not parsed.issues:
        document = to_document(parsed)
        again = parse(write(document))
        assert again.issues == () and to_document(again) == document


class Edits(RuleBasedStateMachine):
    """A text that is edited section by section through its document stays the text of that document."""

    def __init__(self):
        super().__init__()
        self.model: dict[str, dict[str, str]] = {}
        self.text = ""

    def edit(self, change):
        document = to_document(parse(self.text))
        change(document)
        change(self.model)
        self.text = write(document)

    @rule(key=words.map("wwid/".__add__), value=options())
    def put_lun(self, key, value):
        self.edit(lambda document: document.update({key: dict(value)}))

    @rule(key=words.map("storage/".__add__), kind=types, value=options())
    def put_storage(self, key, kind, value):
        self.edit(lambda document: document.update({key: value | {"type": kind}}))

    @rule(value=options())
    def put_defaults(self, value):
        self.edit(lambda document: document.update({"defaults": dict(value)}))

    @rule(data=st.data(), name=names, value=plain)
    def set_option(self, data, name, value):
        if self.model:
            key = data.draw(st.sampled_from(sorted(self.model)))
            self.edit(lambda document: document[key].update({name: value}))

    @rule(data=st.data())
    def remove(self, data):
        if self.model:
            key = data.draw(st.sampled_from(sorted(self.model)))
            self.edit(lambda document: document.pop(key))

    @invariant()
    def the_text_says_what_the_model_says(self):
        parsed = parse(self.text)
        assert parsed.issues == ()
        assert to_document(parsed) == self.model
        assert write(self.model) == self.text


TestEdits = Edits.TestCase
TestEdits.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
