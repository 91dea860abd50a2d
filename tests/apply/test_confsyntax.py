"""Reading multipath.conf: the daemon's own output, our files, and anything else without an error."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from apply.confsyntax import multipaths, parse, without_aliases
from apply.model import Lun, Model
from apply.render import MAIN, render

CAPTURES = Path(__file__).parents[1] / "data" / "captures"


def test_the_daemons_configuration() -> None:
    root = parse((CAPTURES / "36_alias_data01" / "config_local.out").read_text())
    defaults = root.merged("defaults")
    assert (defaults["user_friendly_names"], defaults["polling_interval"], defaults["prio_args"]) == ("no", "2", "")
    assert (defaults["find_multipaths_timeout"], defaults["path_selector"]) == ("-10", "service-time 0")
    assert [block.name for block in root.blocks] == ["defaults", "blacklist", "blacklist_exceptions", "devices", "overrides", "multipaths"]
    wwid = "360014050000000100004000800000000"
    assert multipaths(root) == {wwid: {"wwid": wwid, "alias": "data01", "no_path_retry": "3"}}
    assert root.merged("blacklist") == {"devnode": "!^(sd[a-z]|dasd[a-z]|nvme[0-9])"}


def test_quotes_comments_and_repetition() -> None:
    root = parse('defaults {\n\tfeatures "a ""b"" # no comment" # a comment\n\tx 1\n\tx 2 ! rest\n}\ndefaults {\n\ty "open\n}\n')
    assert root.merged("defaults") == {"features": 'a "b" # no comment', "x": "2", "y": "open"}


def test_unbalanced_braces() -> None:
    assert parse("}\n}\ndefaults {\n x 1\n").merged("defaults") == {"x": "1"}


@given(st.text())
def test_anything_can_be_read(text: str) -> None:
    parse(text)


def test_aliases_are_taken_out_of_the_named_luns_only() -> None:
    luns = {w: Lun(w, alias=a, options={"no_path_retry": "5"}) for w, a in [("361", "a"), ("362", "b"), ("363", None)]}
    content = render(Model(luns=luns, empty=False), digest="d", tools_version=None).files[MAIN].content
    neutral = without_aliases(content, frozenset({"362", "363"}))
    before, after = multipaths(parse(content.decode())), multipaths(parse(neutral.decode()))
    assert before["362"].pop("alias") == "b"
    assert after == before
    assert len(content.splitlines()) - len(neutral.splitlines()) == 1
    assert without_aliases(content, frozenset()) == content


WORDS = st.text(alphabet='ab"# {}!é', min_size=1, max_size=6).filter(lambda t: t.strip() == t and t)


@given(st.dictionaries(st.sampled_from(["361", "362", "363"]), WORDS, min_size=1))
def test_rendered_files_are_read_back(aliases: dict[str, str]) -> None:
    model = Model(luns={w: Lun(w, alias=a) for w, a in aliases.items()}, empty=False)
    content = render(model, digest="d", tools_version=None).files[MAIN].content
    assert {w: v["alias"] for w, v in multipaths(parse(content.decode())).items()} == aliases
    gone = multipaths(parse(without_aliases(content, frozenset(aliases)).decode()))
    assert gone == {w: {"wwid": w} for w in aliases}


def test_a_text_that_was_read_is_not_read_again() -> None:
    text = 'defaults {\n\tpolling_interval "5"\n}\n'
    assert parse(text) is parse("".join(text))
    assert parse(text + "#") is not parse(text)
    assert parse(text + "#") == parse(text)
