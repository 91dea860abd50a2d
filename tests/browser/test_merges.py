"""The page's three-way merges against what must hold of any: nothing of one side is lost, and nobody is overruled unasked."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Browser, Page

LINES = st.lists(st.sampled_from(["a", "b", "c", "}", ""]), max_size=7).map("\n".join)
SECTION = st.dictionaries(st.sampled_from(["alias", "comment", "nodes"]), st.sampled_from(["1", "2", "3"]), max_size=3)
DOCUMENT = st.dictionaries(st.sampled_from(["defaults", "wwid/a", "storage/s"]), SECTION, max_size=3)
BROWSER = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

MERGE_TEXT = """async ([base, mine, theirs]) => {
  const { mergeText } = await import("/static/configuration/merge.js");
  return mergeText(base, mine, theirs, { mine: "m", theirs: "t" });
}"""
MERGE = """async ([base, mine, theirs, keep]) => {
  const { threeWay, wantedOver } = await import("/static/configuration/merge.js");
  const { Draft } = await import("/static/configuration/draft.js");
  const map = (object) => new Map(Object.entries(object));
  const rows = threeWay(map(base), map(mine), map(theirs));
  const clashes = rows.filter(({ kind }) => kind === "clash").map(({ id }) => id);
  const draft = new Draft();
  draft.rebase(map(theirs), "", wantedOver(rows, map(theirs), new Set(keep ? clashes : [])));
  return { rows, clashes, result: Object.fromEntries(draft.document()), changes: draft.changes() };
}"""
WRITTEN = """async ([base, sent, later, theirs]) => {
  const { Draft } = await import("/static/configuration/draft.js");
  const map = (object) => new Map(Object.entries(object));
  const want = (draft, wanted) => {
    for (const key of new Set([...draft.keys(""), ...wanted.keys()])) draft.put(key, wanted.get(key) ?? null);
  };
  const draft = new Draft();
  draft.rebase(map(base), "0");
  want(draft, map(sent));
  const snapshot = draft.snapshot();
  want(draft, map(later));
  const isIn = draft.isIn(snapshot, map(theirs ?? sent));
  if (isIn || theirs === null) draft.written(snapshot, map(theirs ?? sent), "1");
  return { isIn, digest: draft.digest, result: Object.fromEntries(draft.document()), touched: draft.touched };
}"""
BEGIN = """async ([values, winner, ancestor]) => {
  const { begin } = await import("/static/conflicts/choice.js");
  return begin(values, winner, ancestor ?? undefined);
}"""


@pytest.fixture(scope="module")
def page(browser: Browser, sample: Any, login_link: Callable[..., str]) -> Iterator[Page]:
    """A page whose modules can be called."""
    context = browser.new_context()
    made = context.new_page()
    made.goto(login_link(sample.cluster.nodes[0]))
    made.wait_for_selector("#connection[data-state=live]")
    yield made
    context.close()


def three_way(base: Any, mine: Any, theirs: Any, keep: bool) -> Any:
    """What both want of one option or section; `keep` says whose wins where they differ."""
    if mine in (base, theirs):
        return theirs
    return mine if theirs == base or keep else theirs


@BROWSER
@given(LINES, LINES, LINES)
def test_texts(page: Page, base: str, mine: str, theirs: str) -> None:
    def merge(*texts: str) -> Any:
        return page.evaluate(MERGE_TEXT, list(texts))

    assert merge(base, mine, base) == {"text": mine, "clashes": 0}
    assert merge(base, base, theirs) == {"text": theirs, "clashes": 0}
    assert merge(base, mine, mine) == {"text": mine, "clashes": 0}
    found, mirrored = merge(base, mine, theirs), merge(base, theirs, mine)
    assert found["clashes"] == mirrored["clashes"] == found["text"].split("\n").count("<<<<<<< m")
    if not found["clashes"]:
        assert found == mirrored
    added = [set(text.split("\n")) - set(base.split("\n")) for text in (mine, theirs)]
    assert set().union(*added) <= set(found["text"].split("\n"))


@BROWSER
@given(DOCUMENT, DOCUMENT, DOCUMENT, st.booleans())
def test_documents(page: Page, base: Any, mine: Any, theirs: Any, keep: bool) -> None:
    found = page.evaluate(MERGE, [base, mine, theirs, keep])
    expected = {}
    for key in {*base, *mine, *theirs}:
        b, m, t = (document.get(key) for document in (base, mine, theirs))
        if m is not None and t is not None:
            before = b or {}
            names = {*before, *m, *t}
            values = {name: three_way(before.get(name), m.get(name), t.get(name), keep) for name in names}
            expected[key] = {name: value for name, value in values.items() if value is not None}
        else:
            value = three_way(b, m, t, keep)
            if value is not None:
                expected[key] = value
    # A section of defaults without options and none at all are the same.
    assert {k: v for k, v in found["result"].items() if k != "defaults" or v} == {k: v for k, v in expected.items() if k != "defaults" or v}
    if mine == base:
        assert found["changes"] == [] and not found["clashes"]


@BROWSER
@given(DOCUMENT, DOCUMENT)
def test_the_changes_of_a_draft_make_what_is_wanted(page: Page, base: Any, wanted: Any) -> None:
    changes = page.evaluate(MERGE, [base, wanted, base, True])["changes"]
    result = {key: dict(options) for key, options in base.items()}
    for change in changes:
        if change.get("remove"):
            del result[change["key"]]
            continue
        options = result.setdefault(change["key"], {})
        for name in change["delete"]:
            del options[name]
        options |= change["set"]
    assert {k: v for k, v in result.items() if k != "defaults" or v} == {k: v for k, v in wanted.items() if k != "defaults" or v}


def there(document: Any) -> Any:
    """A document without an empty section of defaults, which is none."""
    return {key: options for key, options in document.items() if key != "defaults" or options}


@BROWSER
@given(DOCUMENT, DOCUMENT, DOCUMENT)
def test_after_a_save_what_was_done_meanwhile_is_wanted_on_top_of_what_was_saved(page: Page, base: Any, sent: Any, later: Any) -> None:
    base, sent, later = there(base), there(sent), there(later)
    found = page.evaluate(WRITTEN, [base, sent, later, None])
    assert found["digest"] == "1" and there(found["result"]) == later
    assert set(found["touched"]) == {key for key in {*sent, *later} if sent.get(key) != later.get(key)}


@BROWSER
@given(DOCUMENT, DOCUMENT, DOCUMENT, DOCUMENT)
def test_what_others_have_is_gone_on_from_only_if_it_has_all_that_was_sent(
    page: Page, base: Any, sent: Any, later: Any, theirs: Any
) -> None:
    base, sent, later, theirs = there(base), there(sent), there(later), there(theirs)
    found = page.evaluate(WRITTEN, [base, sent, later, theirs])
    if not found["isIn"]:
        assert found["digest"] == "0" and there(found["result"]) == later
        return
    merged = page.evaluate(MERGE, [base, sent, theirs, False])
    assert there(merged["result"]) == theirs  # nothing that was sent is wanted beyond theirs
    again = page.evaluate(MERGE, [sent, later, theirs, False])
    assert not again["clashes"] and there(found["result"]) == there(again["result"])


@BROWSER
@given(st.lists(st.none() | SECTION, min_size=2, max_size=3), st.none() | SECTION, st.integers(0, 2))
def test_a_merge_of_a_conflict_begins_with_what_one_side_alone_changed(page: Page, values: Any, ancestor: Any, winner: int) -> None:
    winner %= len(values)
    found = page.evaluate(BEGIN, [values, winner, ancestor])
    there = [value for value in values if value is not None]
    for name in {name for value in there for name in value}:
        said = [value.get(name) for value in there]
        moved = set(said) if ancestor is None else {value for value in said if value != ancestor.get(name)}
        if len(moved) == 1:
            assert found.get(name) == moved.pop()
        elif moved and values[winner] is not None:
            assert found.get(name) == values[winner].get(name)
    assert set(found) <= {name for value in there for name in value}
