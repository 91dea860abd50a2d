"""Nodes: what each tells of itself, in place; maintenance; maps and paths; who sees whom."""

import json
import signal
from typing import Any

from playwright.sync_api import expect

from scripts.cluster.sample import LUN_A, device, path_id

HOSTILE = ["<img src=x onerror=alert(1)>", "\u202egnp.exe", "x" * 127, "__proto__"]


def node(page: Any, name: str) -> Any:
    """The node in the list, once it is there."""
    page.wait_for_selector(f".node[data-node='{name}']")
    return page.locator(f".node[data-node='{name}']")


def opened_map(page: Any, name: str, alias: str) -> Any:
    """A map of a node, open."""
    found = node(page, name).locator(".maps > li", has=page.locator(f".map-name:text-is('{alias}')"))
    found.locator(".opener").click()
    found.locator(".path").first.wait_for()
    return found


def test_a_failed_path_is_seen_in_the_same_line(cluster: Any, visit: Any, accessible: Any, screenshot: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1, "#/nodes?node=n2").page
    found = opened_map(page, "n2", "vmpool-a")
    assert found.locator("h3").all_inner_texts() == ["queueing: for a bounded time", "Path group 1", "Path group 2"]
    line = found.locator(".path", has=page.locator(".dev:text-is('sda')")).element_handle()
    transport, _, ends = path_id(n2, 1).partition(":")
    port, _, target = ends.partition(">")
    assert line.query_selector(".target").inner_text() == f"{transport} {port} → {target}"
    n2.ask_host(f"fail path {device(0, 1)}")
    try:
        page.wait_for_function("(line) => line.dataset.state === 'failed'", arg=line)
        page.wait_for_function(
            "(item) => item.innerText.includes('1 of 2 usable') && item.innerText.includes('degraded')", arg=found.element_handle()
        )
        page.wait_for_function(
            "(item) => item.querySelector('.tallies').innerText.includes('1 degraded')", arg=node(page, "n2").element_handle()
        )
        accessible(page)
        screenshot(page, "nodes")
    finally:
        n2.ask_host(f"reinstate path {device(0, 1)}")
    page.wait_for_function("(line) => line.isConnected && line.dataset.state === 'active'", arg=line)


def test_a_lost_path_has_a_group_of_its_own(cluster: Any, visit: Any) -> None:
    n1, _, n3 = cluster.nodes
    page = visit(n1, "#/nodes?node=n3").page
    found = opened_map(page, "n3", "vmpool-b")
    n3.ask_host(f"del path {device(1, 2)}")
    try:
        lost = found.locator(".port", has=page.locator("h3:text-is('Lost paths')")).locator(".path")
        lost.wait_for()
        assert lost.get_attribute("data-state") == "lost"
        assert lost.locator(".target").inner_text().endswith(path_id(n3, 2).partition(">")[2])
    finally:
        n3.ask_host(f"add path {device(1, 2)}")
    lost.wait_for(state="detached")


def test_what_hinders_an_apply_is_told_with_what_to_do(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, _, n3 = cluster.nodes
    page = visit(n1, "#/nodes?node=n3").page
    element = node(page, "n3").element_handle()
    n3.stop("host")
    try:
        page.wait_for_function(
            "(item) => item.querySelector('.opener').innerText.includes('failed · not-installed')", arg=element, timeout=15000
        )
        told = node(page, "n3").locator(".problems li").first
        assert "(not-installed)" in told.inner_text() and "What to do: " in told.inner_text()
        page.wait_for_selector(".node[data-node=n3] > .opener:has-text('not installed')")
        accessible(page)
    finally:
        n3.start_host()
    page.wait_for_function(
        "(item) => item.isConnected && item.querySelector('.opener').innerText.includes('in sync')", arg=element, timeout=20000
    )
    expect(node(page, "n3").locator(".problems")).to_be_hidden()


def test_maintenance_is_begun_with_a_reason_and_an_end_and_ended(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, n2, _ = cluster.nodes
    page, other = visit(n1, "#/nodes?node=n2").page, visit(n2, "#/nodes?node=n2").page
    switch = node(page, "n2").get_by_role("switch", name="Maintenance")
    seen = node(other, "n2").get_by_role("switch").element_handle()
    expect(switch).to_be_enabled()  # once the members are known
    switch.focus()
    page.keyboard.press("Space")
    dialog = page.locator("dialog")
    dialog.locator("input[name=reason]").fill("new <b>HBA</b>")
    dialog.locator("select[name=length]").select_option("1d")
    accessible(page)
    dialog.get_by_role("button", name="Begin").click()
    try:
        page.wait_for_selector(".notice:has-text('n2 is in maintenance')")
        told = next(m["maintenance"] for m in n1.get("/v1/members")["members"] if m["name"] == "n2")
        assert told["reason"] == "new <b>HBA</b>" and told["expires"] > told["since"]
        other.wait_for_function("(element) => element.isConnected && element.ariaChecked === 'true'", arg=seen)
        other.wait_for_selector(".node[data-node=n2] .maintenance bdi:has-text('new <b>HBA</b>')")
        expect(node(other, "n2").locator(".badge")).to_be_visible()
        expect(other.locator(".panel-head").last).to_contain_text("1 in maintenance")
        accessible(other)
        expect(switch).to_have_attribute("aria-checked", "true")
        switch.click()
        page.wait_for_selector(".notice:has-text('The maintenance of n2 has ended')")
        other.wait_for_function("(element) => element.ariaChecked === 'false'", arg=seen)
    finally:
        n1.ask("PUT", "/v1/members/n2/maintenance", {"on": False})


def test_a_node_that_is_gone_is_offline_for_all_and_comes_back(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, _, n3 = cluster.nodes
    page = visit(n1, "#/nodes").page
    page.wait_for_selector(".reach td[data-sees=ok]")
    element = node(page, "n3").element_handle()
    expect(page.locator(".reach tbody tr").first.locator("td").nth(2)).to_have_attribute("title", "n1 → n3: hears and reaches it")
    cell = page.locator(".reach tbody tr").first.locator("td").nth(2).element_handle()
    assert cell.get_attribute("data-sees") == "ok"
    n3.stop("agent", signal.SIGKILL)
    try:
        page.wait_for_function("(item) => item.innerText.includes('offline')", arg=element, timeout=30000)
        page.wait_for_function("(cell) => cell.dataset.sees === 'offline'", arg=cell, timeout=30000)
        page.wait_for_function("(item) => item.querySelector('.tallies').innerText.includes('2 unknown')", arg=element)
        words = node(page, "n3").locator("> .opener .labelled .state[data-state=unknown]").all_inner_texts()
        assert len(words) >= 2 and words[0].startswith("unknown (last: running)") and words[1] == "unknown (last: in sync)"
        node(page, "n3").locator("> .opener").click()
        found = opened_map(page, "n3", "vmpool-a")
        assert found.locator(".opener").get_attribute("data-state") == "unknown"
        assert "last known: healthy" in found.locator(".map-state").inner_text() and "2 of 2" not in found.inner_text()
        assert found.locator(".path .state").all_inner_texts() == ["last known: active"] * 2
        assert found.locator(".path[data-state=active]").count() == 0
        facts = node(page, "n3").locator(".facts").inner_text()
        assert "unknown (last: in sync · " in facts and "unknown (last: running)" in facts
        assert "2 online" in page.locator(".nodes .panel-head").inner_text()
        accessible(page)
    finally:
        n3.start_agent()
    page.wait_for_function("(item) => item.isConnected && !item.innerText.includes('offline')", arg=element, timeout=20000)
    page.wait_for_function("(cell) => cell.isConnected && cell.dataset.sees === 'ok'", arg=cell, timeout=40000)
    cluster.wait_online()


def test_what_a_suspect_node_said_is_what_was_known_last(cluster: Any, visit: Any, accessible: Any) -> None:
    def suspect(route: Any) -> None:
        document = route.fetch().json()
        document["nodes"][1] |= {"state": "suspect", "age_seconds": 7.0}
        fault = {"code": "x-failed", "message": "it failed", "hint": "", "since": "2026-01-01T00:00:00Z", "count": 1}
        document["nodes"][2] |= {"state": "suspect", "apply": document["nodes"][2]["apply"] | {"state": "failed", "errors": [fault]}}
        never = {"state": "pending", "desired": None, "applied": None, "at": None, "errors": [], "notes": []}
        document["nodes"].append(document["nodes"][1] | {"node": "n4", "daemon": "unknown", "tools_version": None, "apply": never})
        route.fulfill(json=document)

    page = visit(cluster.nodes[0]).page
    page.route("**/v1/nodes", suspect)
    page.goto(page.url.partition("#")[0] + "#/nodes?node=n3")

    def words(name: str) -> list[str]:
        node(page, name).locator("> .opener .labelled .state[data-state=unknown]").nth(1).wait_for()
        found = node(page, name).locator("> .opener .labelled > .state")
        assert found.evaluate_all("(all) => all.map((each) => each.dataset.state)") == ["unknown", "unknown"]
        return [text.partition(" · ")[0] for text in found.all_inner_texts()]

    assert words("n2") == ["unknown (last: running)", "unknown (last: in sync)"]
    assert words("n3")[1] == "unknown (last: failed" and words("n4") == ["unknown", "unknown"]
    assert node(page, "n3").locator(".problems li").get_attribute("data-state") == "unknown"
    expect(node(page, "n3").locator(".facts")).to_contain_text("yes, but nothing is heard of it")  # the members are asked for by themselves
    assert node(page, "n1").locator("> .opener .labelled > .state[data-state=unknown]").count() == 0
    accessible(page)


def test_the_flags_of_a_map_that_works_are_told(cluster: Any, visit: Any, accessible: Any) -> None:
    def flagged(route: Any) -> None:
        document = route.fetch().json()
        for found in document["maps"]:
            if found["wwid"] == LUN_A:
                found |= {"state": "healthy", "reasons": [], "flags": ["single-failure-domain", "merged-luns", "of-another-version"]}
        route.fulfill(json=document)

    page = visit(cluster.nodes[0]).page
    page.route("**/v1/nodes/n2/maps", flagged)
    page.goto(page.url.partition("#")[0] + "#/nodes?node=n2")
    found = node(page, "n2").locator(".maps > li", has=page.locator(".map-name:text-is('vmpool-a')")).locator(".map-flags > .state")
    found.first.wait_for()
    assert found.all_inner_texts() == ["data at risk: two LUNs under one WWID", "all paths share one port", "of-another-version"]
    assert found.evaluate_all("(all) => all.map((each) => each.dataset.state)") == ["failed", "degraded", "degraded"]
    accessible(page)


def test_barriers_between_nodes_in_words(cluster: Any, visit: Any, accessible: Any) -> None:
    def barred(route: Any) -> None:
        document = route.fetch().json()
        names = [found["node"] for found in document["nodes"]]
        document["nodes"][1]["sees"][names[0]] = "unheard"
        document["nodes"][2]["sees"][names[1]] = document["nodes"][1]["sees"][names[2]] = "cut"
        document |= {"one_way": [{"hears": names[0], "unheard": names[1]}], "cut": [[names[1], names[2]]]}
        route.fulfill(json=document)

    seen = visit(cluster.nodes[0])
    seen.page.route("**/v1/members/reach", barred)
    seen.page.goto(seen.page.url.partition("#")[0] + "#/nodes")
    seen.page.wait_for_selector(".reach td[data-sees=unheard]")
    lines = seen.page.locator(".reach-part .problems li").all_inner_texts()
    assert lines == ["n1 hears n2, but nothing passes from n1 to n2.", "Nothing passes between n2 and n3."]
    assert seen.page.locator(".reach td[data-sees=cut]").count() == 2
    accessible(seen.page)


def test_of_very_many_nodes_those_with_a_fault_are_shown(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    found = page.evaluate(
        """() => import("/static/nodes/reach.js").then(({ shownNodes }) => {
          const names = Array.from({ length: 100 }, (_, n) => `n${n}`);
          const word = (a, b) => (a === "n7" && b === "n90" ? "cut" : "ok");
          const row = (node, bad) => Object.fromEntries(names.map((b) => [b, bad ? word(node, b) : "ok"]));
          const nodes = (bad) => names.map((node) => ({ node, sees: row(node, bad) }));
          return [shownNodes(nodes(true)), shownNodes(nodes(false)), shownNodes(nodes(false).slice(0, 3))];
        })"""
    )
    assert found == [{"names": ["n7", "n90"], "left": 98}, {"names": [], "left": 100}, {"names": ["n0", "n1", "n2"], "left": 0}]


def test_a_thousand_maps_are_shown_in_parts_and_found_by_name(cluster: Any, visit: Any) -> None:
    def many(route: Any) -> None:
        document = route.fetch().json()
        one = next(found for found in document["maps"] if found["wwid"] == LUN_A)
        document["maps"] = [one | {"wwid": f"{LUN_A}{number}", "alias": f"lun-{number}"} for number in range(1000)]
        document["maps"][700]["state"] = "failed"
        route.fulfill(json=document)

    page = visit(cluster.nodes[0]).page
    page.route("**/v1/nodes/n2/maps", many)
    page.goto(page.url.partition("#")[0] + "#/nodes?node=n2")
    names = node(page, "n2").locator(".map-name")
    names.first.wait_for()
    assert names.count() == 50 and names.all_inner_texts()[:3] == ["lun-700", "lun-0", "lun-1"], "the worst first"
    page.get_by_role("button", name="More maps").click()
    assert names.count() == 100
    node(page, "n2").get_by_role("searchbox").fill("lun-99")
    page.wait_for_selector("text=11 of 1,000 maps")
    assert names.count() == 11


def test_hostile_names_are_text_and_take_no_room_of_others(cluster: Any, visit: Any, accessible: Any) -> None:
    def nodes(route: Any) -> None:
        document = route.fetch().json()
        one = document["nodes"][1]
        fault = {"code": HOSTILE[0], "message": HOSTILE[0], "hint": HOSTILE[1], "since": "soon", "count": 2}
        bad = one | {
            "daemon": HOSTILE[0],
            "tools_version": HOSTILE[1],
            "notes": [HOSTILE[2]],
            "apply": one["apply"] | {"errors": [fault], "applied": HOSTILE[2]},
        }
        document["nodes"] += [bad | {"node": name} for name in HOSTILE]
        route.fulfill(json=document)

    def reach(route: Any) -> None:
        document = route.fetch().json()
        document["nodes"] += [document["nodes"][1] | {"node": name} for name in HOSTILE]
        document["cut"] = [[HOSTILE[0], HOSTILE[1]]]
        route.fulfill(json=document)

    def maps(route: Any) -> None:
        document = json.loads(cluster.nodes[0].ask("GET", "/v1/nodes/n2/maps").body)
        for found in document["maps"]:
            found |= {
                "alias": HOSTILE[2],
                "vendor": HOSTILE[0],
                "device": HOSTILE[1],
                "reasons": [HOSTILE[0]],
                "missing_paths": [HOSTILE[0]],
            }
        route.fulfill(json=document)

    page = visit(cluster.nodes[0], viewport={"width": 360, "height": 800}).page
    page.route("**/v1/nodes", nodes)
    page.route("**/v1/members/reach", reach)
    page.route("**/v1/nodes/*/maps", maps)
    page.goto(page.url.partition("#")[0] + "#/nodes")
    for index in range(len(HOSTILE)):
        page.locator(".node > .opener").nth(3 + index).click()
    page.locator(".maps .opener").first.wait_for()
    page.locator(".maps .opener").first.click()
    page.locator(".path").first.wait_for()
    page.wait_for_selector(".reach tbody tr:nth-child(7)")
    assert sorted(page.locator(".node-title").all_inner_texts())[:1] == [HOSTILE[0]]
    assert "\\u202egnp.exe" in page.locator(".openable").inner_text() and page.locator("img").count() == 0
    accessible(page)


def test_the_address_names_what_is_open_and_german_words(cluster: Any, visit: Any, accessible: Any) -> None:
    page = visit(cluster.nodes[0], "#/nodes", locale="de-DE", color_scheme="dark").page
    node(page, "n1").locator("> .opener").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url.endswith("#/nodes?node=n1"))
    node(page, "n1").locator(".map-name").first.wait_for()
    assert "Wartung" in node(page, "n1").inner_text() and "Wer wen sieht" in page.locator(".reach-part").inner_text()
    accessible(page)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url.endswith("#/nodes"))
    assert node(page, "n1").locator(".opened").is_hidden()
