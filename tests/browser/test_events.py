"""Events: what happens comes on top and moves nothing; filters in the address; all that is kept can be searched."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlparse

from agent.event_log import KINDS
from scripts.cluster.sample import LUN_A, LUN_B, device

HOSTILE = "<script>alert(1)</script> \u202egnp.exe " + "x" * 127
WHEN = "2026-01-02T03:04:05Z"


SILENT_STREAM = """
  const { fetch } = window;
  const silent = () => new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode(": nothing\\n\\n")) });
  window.fetch = (path, ...more) => (String(path).includes("matrix=true") ? Promise.resolve(new Response(silent())) : fetch(path, ...more));
"""


def kept(count: int, told: Callable[[int], dict[str, Any]]) -> Callable[[Any], None]:
    """Answers as an agent that keeps so many events."""
    events: list[dict[str, Any]] = [
        {"cursor": number, "at": WHEN, "kind": "alarm", "message": f"event {number}", "code": "test"} | told(number)
        for number in range(1, count + 1)
    ]

    def answer(route: Any) -> None:
        asked = parse_qs(urlparse(route.request.url).query)
        most = int(asked["limit"][0])
        found = [e for e in events if e["cursor"] > int(asked["since"][0])][:most] if "since" in asked else events[-most:]
        following = found[-1]["cursor"] if found else count
        route.fulfill(json={"events": found, "next": following, "gap": False, "newest": count})

    return answer


def opened(visit: Any, node: Any, answer: Callable[[Any], None], at: str = "#/events", **options: Any) -> Any:
    """A page that holds these events and no others: what happens in the cluster meanwhile is not told to it."""
    page = visit(node, **options).page
    page.add_init_script(SILENT_STREAM)
    page.route("**/v1/events?*", answer)
    page.goto(page.url.partition("#")[0] + at)
    page.reload()
    page.wait_for_selector(".event")
    return page


def test_what_happens_comes_on_top_and_what_is_there_stays(cluster: Any, visit: Any, accessible: Any, screenshot: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1, "#/events").page
    page.wait_for_selector(".event")
    first = page.locator(".event").first.element_handle()
    first.evaluate("(element) => { element.dataset.same = 'yes'; }")
    cursor = first.get_attribute("data-cursor")
    n2.ask_host(f"fail path {device(0, 1)}")
    try:
        newest = page.wait_for_function(
            """(cursor) => [...document.querySelectorAll('.event[data-kind=cell]')].find((event) => event.dataset.cursor > cursor
              && event.innerText.includes('LUN vmpool-a on n2 is degraded'))?.dataset.cursor""",
            arg=int(cursor),
        )
        came = page.locator(f".event[data-cursor='{newest.json_value()}']")
        cursors = page.locator(".event").evaluate_all("(all) => all.map((event) => Number(event.dataset.cursor))")
        assert cursors == sorted(cursors, reverse=True), "it is above all that was there"
        assert "LUN vmpool-a" in came.inner_text() and "on n2 is degraded" in came.inner_text()
        assert page.locator(f".event[data-cursor='{cursor}']").get_attribute("data-same") == "yes" and first.is_visible()
        assert came.locator(".state").get_attribute("data-state") == "degraded" and "LUN on a node" in came.inner_text()
        accessible(page)
        screenshot(page, "events")
    finally:
        n2.ask_host(f"reinstate path {device(0, 1)}")
    page.locator(".event:has-text('vmpool-a'):has-text('on n2 is healthy')").first.wait_for()


def test_filters_are_kept_in_the_address(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    page = visit(n1, "#/events").page
    page.wait_for_selector(".event")
    page.get_by_label("Kind", exact=True).select_option("configuration")
    page.wait_for_function("() => [...document.querySelectorAll('.event')].every((e) => ['edit', 'apply'].includes(e.dataset.kind))")
    page.get_by_label("LUN, key or edit").fill("VMPOOL-B")
    page.wait_for_function("() => location.hash.includes('object=VMPOOL-B')")
    page.wait_for_selector(".panel-head:has-text('fit')")
    page.wait_for_selector(".event-what:has-text('LUN vmpool-b')")  # the names come after the events, and what is older still later
    messages = page.locator(".event-what").all_inner_texts()
    assert messages and all("LUN vmpool-b" in message for message in messages), "a LUN's edits are found by its alias"
    page.get_by_label("Node", exact=True).select_option("n3")
    page.wait_for_selector("text=No event fits the filter.")
    page.wait_for_url(lambda url: url.endswith("#/events?kind=configuration&node=n3&object=VMPOOL-B"))
    page.reload()
    page.wait_for_selector("text=No event fits the filter.")
    assert page.get_by_label("LUN, key or edit").input_value() == "VMPOOL-B"
    page.get_by_role("button", name="Clear the filter").click()
    page.wait_for_selector(".event[data-kind=node], .event[data-kind=agent-started], .event[data-kind=lun]")
    page.wait_for_url(lambda url: url.endswith("#/events"))
    assert page.get_by_label("LUN, key or edit").input_value() == ""


def test_an_event_leads_to_what_it_is_about(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    edit = n1.get(f"/v1/history?limit=1&key=wwid/{LUN_B}")["edits"][0]["edit"]
    page = visit(n1, f"#/events?object={edit}").page
    line = page.locator(".event[data-kind=edit]")
    line.locator("a :text-is('LUN vmpool-b')").wait_for()  # the names come after the events
    assert line.locator("a").all_inner_texts() == ["n1", "LUN vmpool-b", f"{edit[:8]}:{edit.partition(':')[2]}"]
    line.locator("a").last.click()
    page.wait_for_selector(f".entry[data-edit='{edit}'] .change")
    page.go_back()
    line.locator("a").first.click()
    page.wait_for_selector(".node[data-node=n1] .opened:visible")


def test_held_the_list_stays_and_says_how_many_wait(cluster: Any, visit: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1, f"#/events?node=n2&object={LUN_A}").page
    page.wait_for_selector(".event")
    page.get_by_role("button", name="Hold").click()
    before = page.locator(".event").first.get_attribute("data-cursor")
    n2.ask_host(f"fail path {device(0, 1)}")
    try:
        page.get_by_role("button", name="Go on (1 new)").wait_for()
        assert page.locator(".event").first.get_attribute("data-cursor") == before
    finally:
        n2.ask_host(f"reinstate path {device(0, 1)}")
    page.get_by_role("button", name="Go on (2 new)").click()
    page.locator(".event:has-text('is healthy')").first.wait_for()
    assert int(page.locator(".event").first.get_attribute("data-cursor")) > int(before)


def test_older_events_come_when_asked_for(cluster: Any, visit: Any) -> None:
    page = opened(visit, cluster.nodes[0], kept(2300, lambda _: {}))
    lines = page.locator(".event")
    assert lines.count() == 100 and page.locator(".panel-head:has-text('the newest')").last.is_visible()
    for shown in (200, 300, 400, 500, 600):
        page.get_by_role("button", name="Older events").click()
        page.wait_for_function("(shown) => document.querySelectorAll('.event').length === shown", arg=shown)
    assert page.locator(".event").last.get_attribute("data-cursor") == "1701", "older than what was loaded at first"
    page.wait_for_selector(".panel-head:has-text('events are kept on this node')")


def test_all_that_is_kept_is_searched(cluster: Any, visit: Any) -> None:
    answer = kept(3500, lambda number: {"message": "a needle"} if number == 17 else {})
    page = opened(visit, cluster.nodes[0], answer)
    page.get_by_label("Text", exact=True).fill("needle")
    page.wait_for_selector(".event[data-cursor='17']")
    assert page.locator(".event").count() == 1
    assert "1 fits" in page.locator(".events .panel-head").inner_text()


def test_a_hostile_event_is_text(cluster: Any, visit: Any, accessible: Any) -> None:
    odd = {
        "message": HOSTILE,
        "node": HOSTILE,
        "kind": "<b>kind</b>",
        "keys": [HOSTILE] * 9,
        "edit": HOSTILE,
        "wwid": HOSTILE,
        "after": HOSTILE,
    }
    page = opened(visit, cluster.nodes[0], kept(3, lambda _: odd), viewport={"width": 360, "height": 800})
    line = page.locator(".event").first
    page.wait_for_selector(".event-what:has-text('<script>alert(1)</script>')")
    assert "\\u202egnp.exe" in line.inner_text() and "<b>kind</b>" in line.inner_text()
    assert page.locator("main script, main b").count() == 0
    accessible(page)


def test_in_german_and_dark(cluster: Any, visit: Any, accessible: Any) -> None:
    page = visit(cluster.nodes[0], "#/events?kind=lun", locale="de-DE", color_scheme="dark").page
    page.wait_for_selector(".event")
    assert page.get_by_label("Art", exact=True).input_value() == "lun" and "Ereignisse" in page.locator(".events h1").inner_text()
    accessible(page)
    page.get_by_label("Art", exact=True).select_option("agent-started")
    page.wait_for_selector(".event[data-kind=agent-started] .event-what:has-text('Der Agent von n1 wurde gestartet, Version')")
    page.get_by_label("Art", exact=True).select_option("edit")
    page.wait_for_selector(".event[data-kind=edit] .event-what:has-text('n1 hat geändert: LUN vmpool-')")


SAMPLES: dict[str, dict[str, Any]] = {
    "lun": {"wwid": LUN_A, "before": "healthy", "after": "degraded"},
    "cell": {
        "node": "n2",
        "id": LUN_A,
        "resource_kind": "multipath.map",
        "before": "healthy",
        "after": "degraded",
        "reasons": ["path-failed", "of-a-later-version"],
    },
    "cells": {"node": "n2", "count": 5, "states": {"unknown": 5}, "reasons": ["reporter-offline"]},
    "path-lost": {"node": "n2", "wwid": LUN_B, "paths": ["a", "b", "c", "d", "e"], "count": 7},
    "path-back": {"node": "n2", "wwid": LUN_B, "paths": ["a"], "count": 1},
    "paths-expected": {"node": "n2", "wwid": LUN_B, "before": 2, "after": 4, "expected_source": "learned"},
    "node": {"node": "n2", "before": "online", "after": "offline"},
    "node-flapping": {"node": "n2", "flapping": True},
    "apply": {"node": "n2", "before": "in-sync", "after": "in-sync", "codes": ["x"]},
    "edit": {"author": "n1", "keys": ["defaults", f"wwid/{LUN_A}", "storage/s", "overrides"], "more_keys": 3, "reason": "why"},
    "late-edit": {"author": "n1", "keys": ["defaults"], "more_keys": 0, "reason": ""},
    "conflict-opened": {"key": f"wwid/{LUN_A}"},
    "conflict-resolved": {"key": "defaults"},
    "agent-started": {"node": "n1", "version": "1"},
    "snapshot-taken": {"edits": 1},
    "log-collected": {"edits": 2},
    "more": {"of": "cell", "count": 9},
} | {kind: {"node": "n3"} for kind in ("member-joined", "member-left", "member-retired", "agent-stopped")}
SAID = {
    "cell": "LUN vmpool-a on n2 is degraded, was healthy (a path has failed, of-a-later-version)",
    "path-lost": "LUN vmpool-b on n2 lost 7 paths: a, b, c, d and 3 more",
    "apply": "Configuration on n2: still in sync (x)",
    "edit": "n1 changed Defaults, LUN vmpool-a, Storage s and 4 more: why",
}
WORDS = """async (events) => {
  const { wordsOf } = await import("/static/events/words.js");
  const names = { of: (wwid) => (wwid.startsWith("3") && wwid.includes("00a00") ? "vmpool-a" : "vmpool-b") };
  return events.map((event) => wordsOf(event, names));
}"""


def test_every_kind_is_told_in_the_language_of_the_page_and_what_lacks_something_by_its_message(cluster: Any, visit: Any) -> None:
    assert set(SAMPLES) == set(KINDS) - {"alarm"}
    page = visit(cluster.nodes[0]).page
    whole = [{"kind": kind, "message": "as told"} | sample for kind, sample in SAMPLES.items()]
    said = dict(zip(SAMPLES, page.evaluate(WORDS, whole), strict=True))
    assert all(found["ours"] and "as told" not in found["words"] and "{" not in found["words"] for found in said.values()), said
    assert {kind: said[kind]["words"] for kind in SAID} == SAID
    lacking = [{"kind": kind, "message": "as told"} | dict.fromkeys(sample) for kind, sample in SAMPLES.items()]
    odd = [{"kind": kind, "message": "as told", "node": {"x": 1}} for kind in [*KINDS, "of-a-later-version", "constructor"]]
    assert all(found == {"words": "as told", "ours": False} for found in page.evaluate(WORDS, [*lacking, *odd]))


def test_every_kind_of_event_has_a_group_and_words(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    groups = page.evaluate("() => import('/static/events/query.js').then(({ GROUPS }) => Object.values(GROUPS).flat())")
    assert sorted(groups) == sorted(KINDS)
    page.goto(page.url.partition("#")[0] + "#/events")
    page.wait_for_selector(".event")
    labels = page.locator("select[aria-label=Kind] option").evaluate_all(
        "(all) => Object.fromEntries(all.map((o) => [o.value, o.textContent]))"
    )
    assert set(KINDS) < set(labels) and all(labels.values())
