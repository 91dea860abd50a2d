"""The grid of Cluster → Multipath: what it tells of LUNs that work, how it shows long names, no rows, little room."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from scripts.cluster.sample import LUN_A, LUN_B, device

NARROW = {"viewport": {"width": 360, "height": 740}}
Alter = Callable[[dict[str, Any]], None]


def row(page: Page, wwid: str) -> Any:
    return page.locator(f".grid-row[data-key='multipath.map {wwid}']")


def cell(page: Page, wwid: str, column: int) -> Any:
    """The cell of a LUN in the column of a node, counted from 1."""
    return row(page, wwid).locator(".cell").nth(column - 1)


def brief(wwid: str, cells: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A row of the matrix in brief."""
    about = {"vendor": "PURE", "product": "FlashArray", "size_bytes": 2**36, "configured": True, "storages": [], "expected_nodes": []}
    return {"kind": "multipath.map", "id": wwid, "state": "healthy", "since": "2026-01-01T00:00:00Z", **about, "cells": cells, **more}


@pytest.fixture
def told(cluster: Any, visit: Any) -> Callable[..., Page]:
    """A page of the first node whose matrix is another one than the agent told."""

    def open_page(alter: Alter, **options: Any) -> Page:
        page = visit(cluster.nodes[0], **options).page

        def altered(route: Any) -> None:
            answer = route.fetch(url=route.request.url.partition("&changed_since")[0])
            body = answer.json() | {"whole": True}
            alter(body)
            route.fulfill(response=answer, json=body)

        page.route("**/v1/matrix?*", altered)
        page.reload()
        page.wait_for_selector("#connection[data-state=live]")
        return page  # type: ignore[no-any-return]

    return open_page


# -- flags ------------------------------------------------------------------------------------------------------------


def _flagged(body: dict[str, Any]) -> None:
    rows = {row["id"]: row for row in body["resources"]}
    rows[LUN_A]["cells"]["n1"] = ["healthy", 2, 2, [], None, ["single-failure-domain", "more-than-peers"]]
    rows[LUN_B]["cells"]["n2"] = ["healthy", 2, 2, [], None, ["merged-luns"]]
    rows[LUN_B]["cells"]["n3"] = ["unknown", 2, 2, ["reporter-offline"], "healthy", ["from-another-version"]]


def _last_known(body: dict[str, Any]) -> None:
    rows = {row["id"]: row for row in body["resources"]}
    rows[LUN_B]["cells"]["n3"] = ["unknown", 2, 2, ["reporter-offline"], "healthy", ["merged-luns"]]


def test_flags_of_healthy_cells_are_marked_and_said(told: Any, accessible: Any) -> None:
    page = told(_flagged)
    expect(cell(page, LUN_B, 2)).to_have_attribute("data-flag", "grave")
    expect(cell(page, LUN_B, 2)).to_have_attribute("aria-label", "n2: healthy, 2 of 2 paths usable; data at risk: two LUNs under one WWID")
    said = "n1: healthy, 2 of 2 paths usable; all paths share one port; more paths than on other nodes"
    expect(cell(page, LUN_A, 1)).to_have_attribute("aria-label", said)
    assert cell(page, LUN_A, 1).get_attribute("data-flag") == "noted"
    assert str(cell(page, LUN_B, 3).get_attribute("aria-label")).endswith("last known: healthy; last known: from-another-version")
    assert cell(page, LUN_A, 2).get_attribute("data-flag") is None
    mark = "(element) => getComputedStyle(element, '::after').content"
    assert cell(page, LUN_B, 2).evaluate(mark) == '"!"' and cell(page, LUN_A, 2).evaluate(mark) == "none", "not by colour alone"
    expect(row(page, LUN_B).locator(".flag")).to_have_text("!")
    assert "data at risk" in str(row(page, LUN_B).locator("button.lun").get_attribute("aria-label"))
    assert page.locator(".grid-row .lun-name").all_inner_texts() == ["vmpool-b", "vmpool-a"], "what puts data at risk goes before all"
    assert "2 with remarks (!)" in page.inner_text(".panel-head")
    accessible(page)


def test_what_was_remarkable_of_a_node_that_is_not_heard_is_only_last_known(told: Any) -> None:
    page = told(_last_known)
    expect(cell(page, LUN_B, 3)).to_have_attribute("data-flag", "grave")
    assert "last known: data at risk" in str(cell(page, LUN_B, 3).get_attribute("aria-label"))
    expect(row(page, LUN_B).locator(".flag")).to_be_hidden()
    assert page.locator(".grid-row .lun-name").all_inner_texts() == ["vmpool-a", "vmpool-b"]


def test_a_flag_that_comes_and_goes_is_seen_in_place(told: Any, cluster: Any) -> None:
    flags: list[str] = []

    def alter(body: dict[str, Any]) -> None:
        next(row for row in body["resources"] if row["id"] == LUN_A)["cells"]["n1"] = ["healthy", 2, 2, [], None, flags]

    page = told(alter)
    flag = row(page, LUN_A).locator(".flag")
    expect(row(page, LUN_A)).to_be_visible()
    expect(flag).to_be_hidden()
    for now, ask in ((["io-hangs"], "fail"), ([], "reinstate")):
        flags[:] = now
        cluster.nodes[1].ask_host(f"{ask} path {device(0, 1)}")
        expect(flag).to_be_visible(visible=bool(now))
        assert ("I/O hangs" in str(row(page, LUN_A).locator("button.lun").get_attribute("aria-label"))) is bool(now)
        expect(cell(page, LUN_A, 1)).to_have_attribute("data-flag", "grave") if now else expect(cell(page, LUN_A, 1)).not_to_have_attribute(
            "data-flag", "grave"
        )


# -- names ------------------------------------------------------------------------------------------------------------

ARRAY = "36001405aaaaaaaa00000000000000"


def _visible_end(page: Page, wwid: str) -> bool:
    """Whether the last character of a LUN's name is within what is seen of it."""
    return bool(
        row(page, wwid)
        .locator(".lun-name")
        .evaluate(
            """(element) => {
              const range = document.createRange();
              const text = element.lastChild;
              range.setStart(text, text.length - 1);
              range.setEnd(text, text.length);
              const [box, end] = [element.getBoundingClientRect(), range.getBoundingClientRect()];
              return end.right <= box.right + 1 && end.left >= box.left - 1;
            }"""
        )
    )


@pytest.mark.parametrize("width", [1280, 360])
def test_luns_without_a_name_are_told_apart_by_the_end_of_their_wwid(told: Any, accessible: Any, width: int) -> None:
    ids = [f"{ARRAY}{number:03x}" for number in range(40)]
    page = told(
        lambda body: body["resources"].extend(brief(wwid, {"n1": ["healthy", 2, 2]}) for wwid in ids),
        viewport={"width": width, "height": 740},
    )
    expect(row(page, ids[0])).to_be_visible()
    assert all(_visible_end(page, wwid) for wwid in ids[:5])
    assert row(page, ids[0]).locator(".lun-name").inner_text() == ids[0], "all of it is there to be copied"
    accessible(page)


def test_wwids_are_no_numbers(told: Any) -> None:
    ids = [f"{ARRAY}{end}" for end in ("0a1", "2", "1e3", "10", "9")]
    page = told(lambda body: body["resources"].extend(brief(wwid, {"n1": ["healthy", 2, 2]}) for wwid in ids))
    expect(page.locator(".grid[aria-rowcount='8']")).to_be_visible()
    assert page.locator(".grid-row .lun-name").all_inner_texts() == ["vmpool-a", "vmpool-b", *sorted(ids)], (
        "names first, then WWIDs as text"
    )


def test_long_names_of_nodes_are_told_apart(told: Any, accessible: Any) -> None:
    names = [f"pve-frankfurt-r{number % 3}-node{number:02}.example.net" for number in range(24)]

    def alter(body: dict[str, Any]) -> None:
        body["reporters"] = {name: {"state": "fresh", "age_seconds": 1.0} for name in names}

    page = told(alter)
    expect(page.locator(".grid[aria-colcount='28']")).to_be_visible()
    heads = page.locator(".head.node .sort").all()
    shown = [head.locator(".node-name").inner_text() for head in heads]
    assert len(set(shown)) == 24 and set(shown) >= {"…r0-node00…", "…r2-node23…"}
    cut = "(element) => element.scrollWidth > element.clientWidth || element.scrollHeight > element.clientHeight + 1"
    assert not any(head.locator(".node-name").evaluate(cut) for head in heads), "none is cut once more"
    for head, name in zip(heads, sorted(names, key=lambda name: name), strict=True):
        assert str(head.get_attribute("aria-label")).startswith(f"{name}: ") and name in str(head.get_attribute("title"))
    accessible(page)


def test_names_are_left_as_they_are_where_nothing_can_be_left_out(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    short = "async (names) => (await import('/static/multipath/columns.js')).shortNames(names)"
    for names, expected in (
        (["n1", "n2"], None),
        (["a-very-long-name-of-one"], None),
        (["frankfurt-one", "munich-number-two"], None),
        (["frankfurt-one-", "frankfurt-one-b"], None),
        (["frankfurt-a", "frankfurt-number-b"], ["…a", "…number-b"]),
        (["one.example.net", "two.example.net"], ["one…", "two…"]),
        (["same-long-prefix-x.net", "same-long-prefix-y.net"], ["…x…", "…y…"]),
    ):
        assert page.evaluate(short, names) == (expected or names)


# -- heads ------------------------------------------------------------------------------------------------------------


def test_the_direction_of_sorting_by_a_node_is_seen(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    tally = page.locator(".head.node .tally").nth(1)
    arrow = "(element) => getComputedStyle(element, '::after').content"
    for expected in ('"↑"', '"↓"', "none"):
        page.get_by_role("button", name="n2: ").click()
        assert tally.evaluate(arrow) == expected


def test_a_node_in_maintenance_is_named_so_and_its_tally_is_quiet(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, _, n3 = cluster.nodes
    page = visit(n1).page
    head = page.get_by_role("button", name="n3: ")
    expect(head).to_be_visible()
    expect(head.locator(".in-maintenance")).to_be_hidden()
    colour = "(element) => getComputedStyle(element.querySelector('.tally')).color"
    n3.ask_host(f"fail path {device(0, 1)}")
    expect(head.locator(".tally")).to_have_attribute("data-state", "degraded")
    loud = head.evaluate(colour)
    assert n1.ask("PUT", "/v1/members/n3/maintenance", {"on": True, "reason": "new HBA"}).status == 200
    try:
        expect(head.locator(".in-maintenance")).to_be_visible()
        expect(head).to_have_attribute("aria-label", "n3: degraded, 1 of 2 LUNs not healthy; in maintenance")
        open_row = row(page, LUN_A).locator("button.lun")
        open_row.click()
        expect(page.locator(".node-card", has=page.locator("h3 :text-is('n3')")).locator(".counts")).to_contain_text("in maintenance")
        open_row.click()
        assert head.evaluate(colour) != loud
        page.wait_for_selector(".chip[data-state=degraded] strong:text-is('0')")
        accessible(page)
    finally:
        n1.ask("PUT", "/v1/members/n3/maintenance", {"on": False})
    expect(head.locator(".in-maintenance")).to_be_hidden()
    assert head.evaluate(colour) == loud


# -- nothing, and little room -----------------------------------------------------------------------------------------


def test_an_empty_matrix_leads_to_where_a_lun_is_added(told: Any, accessible: Any) -> None:
    page = told(lambda body: body["resources"].clear())
    empty = page.locator(".panel.multipath .empty")
    expect(empty).to_contain_text("No LUN is allow-listed or seen.")
    assert "pathmesh lun" not in empty.inner_text()
    accessible(page)
    empty.get_by_role("link").click()
    page.wait_for_selector(".luns-table:visible")
    page.wait_for_url(lambda url: url.endswith("#/configuration?part=luns"))


def test_a_narrow_screen_shows_the_states_that_there_are(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0], "#/multipath?state=failed", **NARROW).page
    cluster.nodes[1].ask_host(f"fail path {device(0, 1)}")
    degraded = page.locator(".chip[data-state=degraded]")
    expect(degraded).to_contain_text("1")
    shown = page.locator(".chip:visible").evaluate_all("(chips) => chips.map((chip) => chip.dataset.state)")
    assert shown == ["failed", "degraded", "healthy"], "those with a count, and the one that was asked for"
    for box in (chip.bounding_box() for chip in page.locator(".chip:visible").all()):
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360, "none has to be swiped to"
