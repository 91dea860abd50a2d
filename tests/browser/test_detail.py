"""An open row: what is known now and what was known last, what is worth knowing although it works, and accepting paths."""

import re
import signal
from collections.abc import Callable
from typing import Any

import pytest

from scripts.cluster.nodes import Node, wait_for
from scripts.cluster.sample import LUN_A, LUN_B, device, path_id

LATER = re.compile(r"accepted by n1 until .+: port 2 is <b>being</b> replaced")


def opened(page: Any, wwid: str) -> Any:
    """The content of a row, once it is open and its paths are there."""
    page.locator(f".grid-row[data-key='multipath.map {wwid}'] button.lun").click()
    page.wait_for_selector(".detail .path")
    return page.locator(".grid-detail").first


def card(detail: Any, node: str) -> Any:
    """What it says of one node."""
    return detail.locator(".node-card", has=detail.page.locator(f"h3 :text-is('{node}')"))


def ends(node: Node, fabric: int) -> str:
    """A path as a line names it."""
    transport, _, rest = path_id(node, fabric).partition(":")
    return f"{transport} {rest.replace('>', ' → ')}"


def parts(dialog: Any, node: str) -> dict[str, list[str]]:
    """The paths that a dialog names for a node, by what becomes of them."""
    found = dialog.locator(f".accept-list section[data-node='{node}']")
    found.wait_for()
    return {state: found.locator(f".path[data-state={state}] .target").all_inner_texts() for state in ("active", "lost")}


def acks(node: Node) -> Any:
    return node.get("/v1/dump")["acks"]


@pytest.fixture
def told(cluster: Any) -> Callable[..., None]:
    """Has a page see other paths of a LUN: `change` gets the cells by node as the agent told them."""

    def plant(page: Any, wwid: str, change: Callable[[dict[str, Any]], None]) -> None:
        def paths(route: Any) -> None:
            document = route.fetch().json()
            change(document["nodes"])
            route.fulfill(json=document)

        page.route(f"**/v1/luns/{wwid}/paths", paths)

    return plant


# -- what is known ----------------------------------------------------------------------------------------------------


def test_paths_of_a_node_that_is_away_are_what_was_known_last(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1).page
    found = card(opened(page, LUN_A), "n2")
    line = found.locator(".path").first.element_handle()
    assert line.get_attribute("data-state") == "active"
    n2.stop("agent", signal.SIGKILL)
    try:
        page.wait_for_function("(line) => line.isConnected && line.dataset.state === 'unknown'", arg=line, timeout=30_000)
        assert found.locator(".path .state").all_inner_texts() == ["last known: active"] * 2
        assert found.locator("[data-state=active], [data-state=healthy]").count() == 0, "nothing of it is green"
        assert "Last known before: healthy" in found.locator(".reasons").inner_text() and "2 of 2" not in found.inner_text()
        accessible(page)
    finally:
        n2.start_agent()
    found.locator(".path[data-state=active]").nth(1).wait_for(timeout=20_000)
    cluster.wait_online()


def test_ages_are_asked_for_anew(cluster: Any, visit: Any, told: Any) -> None:
    page, ages = visit(cluster.nodes[0]).page, iter(range(10, 10_000, 10))
    told(page, LUN_A, lambda nodes: nodes["n2"].update(age_seconds=float(next(ages))))
    found = card(opened(page, LUN_A), "n2").locator(".counts").element_handle()
    page.wait_for_function("(counts) => /as of [3-9]0 sec/.test(counts.innerText)", arg=found, timeout=15_000)


def test_ages_count_on_while_the_agent_does_not_answer(cluster: Any, visit: Any) -> None:
    page, asked = visit(cluster.nodes[0]).page, []

    def once(route: Any) -> None:
        asked.append(route)
        if len(asked) == 1:
            document = route.fetch().json()
            document["nodes"]["n2"]["age_seconds"] = 20.0
            route.fulfill(json=document)

    page.route(f"**/v1/luns/{LUN_A}/paths", once)
    found = card(opened(page, LUN_A), "n2").locator(".counts").element_handle()
    age = "Number(/as of (\\d+) sec/.exec(counts.innerText)?.[1] ?? 0)"
    first = page.wait_for_function(f"(counts) => {age}", arg=found).json_value()
    assert 20 <= first < 30
    page.wait_for_function(f"([counts, first]) => {age} >= first + 4", arg=[found, first], timeout=12_000)
    assert len(asked) == 2, "what is not answered is not asked again"
    asked[1].continue_()


def test_flags_and_what_a_path_says_are_words(cluster: Any, visit: Any, told: Any, accessible: Any) -> None:
    def odd(nodes: dict[str, Any]) -> None:
        nodes["n1"]["flags"] = ["single-failure-domain", "of-another-version", "merged-luns"]
        nodes["n2"] |= {"state": "failed", "reasons": ["io-hangs"], "flags": ["io-hangs"], "queueing": "retry"}
        [first], [second] = (group["paths"] for group in nodes["n2"]["path_groups"])
        first |= {"class": "failed", "chk": "i/o pending", "dm": "failed", "dev_state": "transport-offline"}
        second |= {"class": "failed", "chk": "of another version", "dm": "active", "dev_state": "running"}
        nodes["n3"] |= {"state": "unknown", "reasons": ["daemon-down"], "flags": ["merged-luns"]}

    page = visit(cluster.nodes[0]).page
    told(page, LUN_A, odd)
    detail = opened(page, LUN_A)
    flags = card(detail, "n1").locator(".reasons li[data-state]")
    assert flags.all_inner_texts() == ["data at risk: two LUNs under one WWID", "all paths share one port", "of-another-version"]
    assert flags.evaluate_all("(all) => all.map((each) => each.dataset.state)") == ["failed", "degraded", "degraded"]
    assert card(detail, "n1").locator("header .state").inner_text() == "healthy"
    assert card(detail, "n2").locator(".reasons li").all_inner_texts() == ["I/O hangs", "queueing: for a bounded time"]
    first, second = card(detail, "n2").locator(".path .more").all_inner_texts()
    assert first == "a check is under way, the kernel does not use it, the way to the device is down, group 1"
    assert second == "chk of another version, group 2"
    assert card(detail, "n3").locator(".reasons li[data-state=unknown]").inner_text() == "last known: data at risk: two LUNs under one WWID"
    assert card(detail, "n3").locator(".path .state").first.inner_text() == "last known: active"
    accessible(page)


# -- accepting --------------------------------------------------------------------------------------------------------


def test_accepting_names_the_paths_and_is_told_afterwards(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, _, n3 = cluster.nodes
    page = visit(n1).page
    found = card(opened(page, LUN_B), "n3")
    n3.ask_host(f"del path {device(1, 2)}")
    page.get_by_role("button", name="Accept on n3").click()
    dialog = page.get_by_role("dialog")
    assert parts(dialog, "n3") == {"active": [ends(n3, 1)], "lost": [ends(n3, 2)]}
    assert dialog.locator(".accept-list section").count() == 1
    dialog.get_by_label("Reason").fill("port 2 is <b>being</b> replaced")
    dialog.get_by_label("Holds").select_option("1d")
    accessible(page)
    dialog.get_by_role("button", name="Accept", exact=True).click()
    line = found.locator(".reasons li", has_text="accepted by")
    line.wait_for()
    assert LATER.fullmatch(line.inner_text()), line.inner_text()
    written = acks(n1)[f"ack/n3/{LUN_B}"]
    assert written["paths"] == path_id(n3, 1) and written["expires"] and written["reason"].startswith("port 2")
    accessible(page)
    page.goto(page.url.partition("#")[0] + "#/history")
    page.wait_for_selector("text=Accepted: n3/vmpool-b")
    n3.ask_host(f"add path {device(1, 2)}")


def test_what_is_accepted_is_what_the_dialog_shows(cluster: Any, visit: Any) -> None:
    n1, _, n3 = cluster.nodes
    page = visit(n1, allowed=("409",)).page
    opened(page, LUN_B)
    n3.ask_host(f"del path {device(1, 2)}")
    page.get_by_role("button", name="Accept on n3").click()
    dialog = page.get_by_role("dialog")
    assert parts(dialog, "n3") == {"active": [ends(n3, 1)], "lost": [ends(n3, 2)]}
    dialog.get_by_label("Reason").fill("typed")
    before = acks(n1).get(f"ack/n3/{LUN_B}")
    n3.ask_host(f"add path {device(1, 2)}")
    wait_for("n1 sees the path again", lambda: _cell(n1, LUN_B, "n3")["paths"]["usable"] == 2, 10)
    n3.ask_host(f"del path {device(1, 1)}")
    wait_for("n1 sees that the other is lost", lambda: _cell(n1, LUN_B, "n3")["paths"]["usable"] == 1, 10)
    dialog.get_by_role("button", name="Accept", exact=True).click()
    dialog.locator(".fault:has-text('The paths have changed meanwhile')").wait_for()
    assert acks(n1).get(f"ack/n3/{LUN_B}") == before, "nothing was written"
    assert parts(dialog, "n3") == {"active": [ends(n3, 2)], "lost": [ends(n3, 1)]}
    assert dialog.get_by_label("Reason").input_value() == "typed"
    dialog.get_by_role("button", name="Accept", exact=True).click()
    dialog.wait_for(state="detached")
    assert acks(n1)[f"ack/n3/{LUN_B}"]["paths"] == path_id(n3, 2)


def _cell(viewer: Node, wwid: str, node: str) -> Any:
    return viewer.get(f"/v1/luns/{wwid}")["nodes"][node]


def test_a_failure_is_not_accepted_away(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, _, n3 = cluster.nodes
    page = visit(n1, allowed=("422",)).page
    detail = opened(page, LUN_B)
    n3.ask_host(f"del path {device(1, 2)}")
    offered = page.get_by_role("button", name="Accept on n3")
    offered.click()
    dialog = page.get_by_role("dialog")
    before = acks(n1)
    n3.ask_host(f"fail path {device(1, 1)}")
    wait_for("n1 sees that none is usable", lambda: _cell(n1, LUN_B, "n3")["paths"]["usable"] == 0, 10)
    dialog.get_by_role("button", name="Accept", exact=True).click()
    fault = dialog.locator(".fault:has-text('no path of LUN')")
    fault.wait_for()
    assert "that would hide a failure" in fault.inner_text() and acks(n1) == before
    accessible(page)
    dialog.get_by_role("button", name="Cancel").click()
    card(detail, "n3").locator(".path[data-state=failed]").wait_for()
    assert offered.is_hidden() and card(detail, "n3").locator(".path[data-state=lost]").count() == 1


def test_on_all_nodes_and_in_german(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, n2, n3 = cluster.nodes
    page = visit(n1, locale="de-DE", viewport={"width": 360, "height": 800}, color_scheme="dark").page
    opened(page, LUN_A)
    for each in (n2, n3):
        each.ask_host(f"del path {device(0, 2)}")
    page.get_by_role("button", name="Auf allen Knoten übernehmen").click()
    dialog = page.get_by_role("dialog")
    assert parts(dialog, "n2") == {"active": [ends(n2, 1)], "lost": [ends(n2, 2)]}
    assert dialog.locator(".accept-list h3").all_inner_texts() == ["n2", "n3"], "nothing is accepted where nothing is lost"
    assert "1 Pfad wird aufgegeben:" in dialog.inner_text()
    accessible(page)
    dialog.get_by_role("button", name="Übernehmen", exact=True).click()
    dialog.wait_for(state="detached")
    assert {key: ack["paths"] for key, ack in acks(n1).items() if key.endswith(LUN_A)} == {
        f"ack/{each.name}/{LUN_A}": path_id(each, 1) for each in (n2, n3)
    }
