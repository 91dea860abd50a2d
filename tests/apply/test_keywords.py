"""Keywords of multipath.conf: all that the tools know, and how they read the values of each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.keywords import FILE, Effect, Number, Section, nearest, since
from apply.option_model import Scope
from apply.option_tables import PINNED, REFUSED, REFUSED_PER_LUN, TABLES
from apply.options import canonical_name, find
from store.errors import UsageError

FACTS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "multipath_keywords.json").read_text())
FACTS.pop("about")
UNSET_BY_0 = {"failback", "rr_min_io", "rr_min_io_rq", "max_sectors_kb", "max_fds", "checker_timeout", "dev_loss_tmo"}
"""With these 0 says as much as nothing, and the file is as if they were not in it."""
KEYWORDS = [(place, keyword) for place, keywords in FACTS.items() for keyword in keywords]


def sections() -> Iterator[tuple[str, Section]]:
    for name, section in FILE.sections.items():
        yield name, section
        yield from ((f"{name}.{inner}", found) for inner, found in section.sections.items())


SECTIONS = dict(sections())


def effect(place: str, keyword: str, value: str) -> Effect:
    return SECTIONS[place].keywords[keyword].reader.read(value).effect


def test_the_sections_are_those_of_the_tools() -> None:
    assert SECTIONS.keys() == FACTS.keys()
    for place, section in SECTIONS.items():
        named = {keyword for keyword, fact in FACTS[place].items() if fact["kind"] == "section"}
        assert named == section.sections.keys() - {"multipath"} or place == "multipaths"
        assert section.keywords.keys() == FACTS[place].keys() - named, place


@pytest.mark.parametrize(("place", "keyword"), [k for k in KEYWORDS if FACTS[k[0]][k[1]]["kind"] != "section"])
def test_a_keyword_is_read_as_the_tools_read_it(place: str, keyword: str) -> None:
    fact, known = FACTS[place][keyword], SECTIONS[place].keywords[keyword]
    release = tuple(int(n) for n in fact.get("since", "0.0.0").split("."))
    assert known.since == release or (place == "overrides.protocol" and SECTIONS[place].since == release)
    for word in fact.get("words", ()):
        assert effect(place, keyword, word) is Effect.TAKEN, word
    match fact["kind"]:
        case "switch":
            assert {effect(place, keyword, word) for word in ("yes", "no", "1", "0")} == {Effect.TAKEN}
            assert effect(place, keyword, "maybe") is Effect.IGNORED
        case "words" | "octal" | "key":
            assert effect(place, keyword, "maybe") is Effect.IGNORED
        case "rule" | "pattern":
            assert effect(place, keyword, "(") is Effect.BREAKS and effect(place, keyword, "^a.*") is Effect.TAKEN
        case "number" if "low" in fact and not fact.get("hazard") and keyword != "max_polling_interval":
            low, high = fact["low"], fact["high"]
            low += low == 0 and keyword in UNSET_BY_0
            assert {effect(place, keyword, str(n)) for n in (low, high)} == {Effect.TAKEN}
            assert effect(place, keyword, str(high + 1)) is (Effect.UNSET if keyword == "dev_loss_tmo" else Effect.CHANGED)
            assert effect(place, keyword, "soon") is Effect.IGNORED
            assert effect(place, keyword, str(low - 1)) in (Effect.CHANGED, Effect.TAKEN if str(low - 1) in fact.get("words", ()) else None,
                                                            Effect.UNSET if keyword in UNSET_BY_0 else None)  # fmt: skip
    if fact.get("forbidden"):
        assert effect(place, keyword, "a/b") is not Effect.TAKEN
    if fact.get("hazard") and keyword != "uid_attribute":
        assert effect(place, keyword, "no-such-thing") is Effect.BREAKS


@pytest.mark.parametrize(("place", "scope"), [("defaults", Scope.DEFAULTS), ("multipaths.multipath", Scope.WWID)])
def test_every_keyword_is_an_option_or_refused_with_a_reason(place: str, scope: Scope) -> None:
    for keyword, fact in FACTS[place].items():
        name = canonical_name(keyword)
        try:
            option = find(scope, keyword)
        except UsageError as error:
            assert error.code == ("pinned-option" if name in PINNED else "refused-option"), keyword
            assert len(error.message) > len(keyword) + 20 and name in REFUSED, keyword
            continue
        assert option.rendered and option.keyword == keyword
        assert option.since == tuple(int(n) for n in fact.get("since", "0.0.0").split(".")), keyword


def test_options_that_are_rendered_are_keywords_of_the_tools() -> None:
    for place, scope in (("defaults", Scope.DEFAULTS), ("multipaths.multipath", Scope.WWID)):
        assert {option.keyword for option in TABLES[scope].values() if option.rendered} <= FACTS[place].keys()


def test_what_holds_for_all_maps_only_is_refused_for_one_with_the_place_where_it_goes() -> None:
    for keyword in FACTS["defaults"].keys() - FACTS["multipaths.multipath"].keys():
        name = canonical_name(keyword)
        with pytest.raises(UsageError) as caught:
            find(Scope.WWID, keyword)
        if name not in REFUSED:
            assert name in REFUSED_PER_LUN and caught.value.code == "not-per-lun" and "defaults" in caught.value.hint, keyword
        if name in REFUSED_PER_LUN and keyword in FACTS["overrides"]:
            assert "overrides" in caught.value.hint, keyword


def test_values_can_be_younger_than_their_keyword() -> None:
    policies = SECTIONS["defaults"].keywords["path_grouping_policy"]
    assert since("path_grouping_policy", "group_by_tpg", policies) == (0, 9, 6)
    assert since("path_grouping_policy", "failover", policies) == (0, 0, 0)
    flush = SECTIONS["overrides"].keywords["flush_on_last_del"]
    assert (since("flush_on_last_del", "never", flush), since("flush_on_last_del", "yes", flush)) == ((0, 9, 9), (0, 0, 0))


@pytest.mark.parametrize(("word", "meant"), [("no_path_rety", "no_path_retry"), ("No-Path-Retry", "no_path_retry"), ("xyzzy", None)])
def test_the_nearest_keyword(word: str, meant: str | None) -> None:
    assert nearest(word, tuple(SECTIONS["overrides"].keywords)) == meant


@given(st.sampled_from([k for k in KEYWORDS if FACTS[k[0]][k[1]]["kind"] != "section"]), st.text(max_size=20))
def test_any_value_is_judged_in_one_line(where: tuple[str, str], value: str) -> None:
    reading = SECTIONS[where[0]].keywords[where[1]].reader.read(value)
    assert (reading.effect is Effect.TAKEN) == (reading.why == "") and "\n" not in reading.why


@pytest.mark.parametrize(
    ("value", "effect", "words"),
    [
        ("infinity", Effect.TAKEN, ""),
        ("+7", Effect.TAKEN, ""),
        (" 7 ", Effect.TAKEN, ""),
        ("4294967295", Effect.TAKEN, ""),
        ("5x", Effect.CHANGED, "takes 5 for '5x'"),
        ("-1", Effect.CHANGED, "takes infinity for '-1'"),
        ("-5", Effect.CHANGED, "takes 4294967291 for"),
        ("4294967297", Effect.CHANGED, "takes 1 for"),
        ("99999999999999999999999", Effect.CHANGED, "takes infinity for"),
        ("4294967296", Effect.UNSET, "no value at all"),
        ("0x10", Effect.UNSET, "no value at all"),
        ("inf", Effect.IGNORED, "multipathd ignores it"),
    ],
)
def test_how_long_a_lost_path_is_kept_is_read_as_the_tools_read_it(value: str, effect: Effect, words: str) -> None:
    reading = SECTIONS["overrides"].keywords["dev_loss_tmo"].reader.read(value)
    assert reading.effect is effect and words in reading.why


@pytest.mark.parametrize("value", ["0", "-3", "+0", " 00 "])
def test_a_number_that_counts_as_none_is_told(value: str) -> None:
    reading = SECTIONS["defaults"].keywords["failback"].reader.read(value)
    assert reading.effect is Effect.UNSET and "no value at all" in reading.why
    assert SECTIONS["defaults"].keywords["failback"].reader.read("5 ").effect is Effect.TAKEN


@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(-300, 300))
def test_numbers_are_capped_at_their_range(low: int, high: int, value: int) -> None:
    reading = Number(min(low, high), max(low, high)).read(str(value))
    capped = min(max(value, min(low, high)), max(low, high))
    assert reading.effect is (Effect.TAKEN if capped == value else Effect.CHANGED)
    assert reading.effect is Effect.TAKEN or f"it takes {capped} for {value}" in reading.why
