"""History: edits appear and grow old in place, differences, reverting, and how far an edit has come on each node."""

from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.cluster.nodes import Node, wait_for
from scripts.cluster.sample import LUN_A, LUN_B

KEY_B = f"wwid/{LUN_B}"
HOSTILE = "<img src=x onerror=alert(1)> \u202egnp.exe " + "x" * 127
DIFF = "([a, b]) => import('/static/history/diff.js').then((module) => module.diffLines(a, b))"


def change(node: Node, wwid: str, reason: str = "", **options: str) -> str:
    """Set options of a LUN; the edit's name."""
    digest = node.get("/v1/config")["digest"]
    named = {name.replace("_", "-"): value for name, value in options.items()}
    answer = node.ask("PATCH", f"/v1/config/wwids/{wwid}", {"set": named, "reason": reason}, If_Match=f'"{digest}"')
    assert answer.status == 200, answer.body
    return str(answer.json["edit"])


def options_of(node: Node, wwid: str) -> dict[str, str]:
    return dict(node.get(f"/v1/config/wwids/{wwid}")["options"])


def entry(page: Any, edit: str) -> Any:
    """The edit in the list, once it is there."""
    page.wait_for_selector(f".entry[data-edit='{edit}']")
    return page.locator(f".entry[data-edit='{edit}']")


def opened(page: Any, edit: str) -> Any:
    """The edit's content, once it is open and whole. One that the address names opens by itself."""
    found = entry(page, edit)
    by_itself = quote(edit, safe="") in page.url
    if not by_itself and found.locator(".opener").get_attribute("aria-expanded") == "false":
        found.locator(".opener").click()
    found.locator(".change").first.wait_for()
    return found.locator(".opened")


def test_an_edit_appears_and_what_it_replaces_grows_old_in_place(cluster: Any, visit: Any, accessible: Any, screenshot: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n2, "#/history").page
    first = change(n1, LUN_B, "before", no_path_retry="5")
    page.wait_for_selector(".newest:has-text('LUN vmpool-b changed, by n1')")
    opened(page, first)
    element = entry(page, first).element_handle()
    assert "in effect" in element.inner_text() and "before" in element.inner_text()
    page.evaluate("(element) => { element.dataset.same = 'yes'; }", element)
    second = change(n1, LUN_B, "after", no_path_retry="7")
    page.wait_for_function("(element) => element.querySelector('.opener').innerText.includes('superseded')", arg=element, timeout=5000)
    assert entry(page, first).get_attribute("data-same") == "yes" and element.query_selector(".opened").is_visible()
    lines = opened(page, second).locator(".diff .line").all_inner_texts()
    assert lines == ["− no-path-retry 5", "+ no-path-retry 7"]
    assert page.locator(".entry").first.get_attribute("data-edit") == second, "the newest is above"
    page.wait_for_selector(".newest:has-text('applied on 3 of 3 nodes')")
    accessible(page)
    screenshot(page, "history")


def test_how_far_an_edit_has_come_is_told_node_by_node(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, _, n3 = cluster.nodes
    page = visit(n1, "#/history").page
    page.wait_for_selector(".newest .rollout-nodes li")
    line = page.locator(".newest .rollout-nodes li", has=page.locator("bdi:text-is('n3')")).element_handle()
    n3.stop("host")  # takes its multipath-tools with it
    try:
        edit = change(n1, LUN_B, no_path_retry="6")
        page.wait_for_function(
            "(line) => line.dataset.rollout === 'failed' && line.innerText.includes('not-installed')", arg=line, timeout=15000
        )
        page.wait_for_selector(".newest .rollout-sum:has-text('applied on 2 of 3 nodes')")
        come = opened(page, edit).locator(".rollout-nodes li[data-rollout=applied]")
        come.nth(1).wait_for()
        assert sorted(come.locator("bdi.strong").all_inner_texts()) == ["n1", "n2"]
        accessible(page)
    finally:
        n3.start_host()
    page.wait_for_function("(line) => line.isConnected && line.dataset.rollout === 'applied'", arg=line, timeout=20000)
    page.wait_for_selector(".newest .rollout[data-done]")


def test_an_edit_is_reverted_after_its_effect_was_shown(cluster: Any, visit: Any, accessible: Any) -> None:
    n1 = cluster.nodes[0]
    edit = change(n1, LUN_B, no_path_retry="5")
    page = visit(n1, f"#/history?edit={edit}").page
    opened(page, edit).get_by_role("button", name="Revert").click()
    dialog = page.locator("dialog")
    dialog.locator("del:has-text('no-path-retry 5')").wait_for()
    accessible(page)
    dialog.locator("input[name=reason]").fill("not what was meant")
    dialog.locator("input[name=reason]").press("Enter")
    page.wait_for_selector(".notice:has-text('Reverted by edit')")
    assert options_of(n1, LUN_B) == {"alias": "vmpool-b"}
    newest = page.locator(".entry").first
    newest.locator(".why:text-is('not what was meant')").wait_for()
    page.wait_for_function("(element) => element.innerText.includes('superseded')", arg=entry(page, edit).element_handle())


def test_a_revert_that_somebody_came_before_is_shown_anew_and_keeps_what_was_typed(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    edit = change(n1, LUN_B, no_path_retry="5")
    page = visit(n1, f"#/history?edit={edit}", allowed=("status of 412",)).page
    opened(page, edit).get_by_role("button", name="Revert").click()
    dialog = page.locator("dialog")
    dialog.locator("input[name=reason]").fill("slowly typed")
    change(n1, LUN_A, no_path_retry="9")
    dialog.get_by_role("button", name="Revert").click()
    dialog.locator(".fault:has-text('has changed meanwhile')").wait_for()
    assert options_of(n1, LUN_B)["no-path-retry"] == "5" and dialog.locator("input[name=reason]").input_value() == "slowly typed"
    dialog.get_by_role("button", name="Revert").click()
    page.wait_for_selector(".notice:has-text('Reverted by edit')")
    assert "no-path-retry" not in options_of(n1, LUN_B) and options_of(n1, LUN_A)["no-path-retry"] == "9"


def test_what_was_changed_again_is_not_reverted_and_the_way_leads_there(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    edit, later = change(n1, LUN_B, no_path_retry="5"), change(n1, LUN_B, no_path_retry="6")
    page = visit(n1, f"#/history?edit={edit}", allowed=("status of 409",)).page
    opened(page, edit).get_by_role("button", name="Revert").click()
    fault = entry(page, edit).locator(".opened > .fault")
    fault.locator("a").click()
    assert "was changed again" in fault.inner_text()
    page.wait_for_function("(edit) => location.hash.includes(encodeURIComponent(edit))", arg=later)
    entry(page, later).locator(".change:visible").wait_for()
    assert options_of(n1, LUN_B)["no-path-retry"] == "6"


def test_overrides_are_compared_line_by_line(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    before = 'devices {\n  device {\n    vendor "PURE"\n    product "FlashArray"\n    fast_io_fail_tmo 10\n  }\n}\n'
    for text in (before, before.replace("tmo 10", "tmo 5")):
        digest = n1.get("/v1/overrides")["digest"]
        answer = n1.ask("PUT", "/v1/overrides", text, If_Match=f'"{digest}"')
        assert answer.status == 200
    page = visit(n1, f"#/history?edit={answer.json['edit']}").page
    diff = opened(page, answer.json["edit"]).locator(".diff")
    assert diff.locator("del").all_inner_texts() == ["−     fast_io_fail_tmo 10"]
    assert diff.locator("ins").all_inner_texts() == ["+     fast_io_fail_tmo 5"]
    assert diff.locator(".line").count() == 8


def test_one_lun_by_its_name_in_the_address_and_one_that_nobody_knows(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    edit = change(n1, LUN_B, no_path_retry="5")
    page = visit(n1, "#/history?key=vmpool-a", allowed=("status of 404",)).page
    page.wait_for_selector(".entry .what:has-text('LUN vmpool-a added')")
    assert page.locator(".newest").is_hidden() and page.locator(f".entry[data-edit='{edit}']").count() == 0
    search = page.get_by_role("combobox", name="LUN, storage or key")
    search.fill(KEY_B)
    search.press("Enter")
    entry(page, edit)
    page.wait_for_url(lambda url: "key=wwid%2F" in url)
    page.go_back()
    page.wait_for_selector(".entry .what:has-text('LUN vmpool-a added')")
    search.fill("nobody-knows-this")
    search.press("Enter")
    page.wait_for_selector(".history > .fault:has-text('there is no such section, LUN or alias')")
    page.get_by_role("button", name="Clear the filter").click()
    entry(page, edit)
    page.wait_for_url(lambda url: url.endswith("#/history"))
    assert page.locator(".history > .fault").is_hidden()


def test_edits_are_found_by_author_reason_and_what_they_changed(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, n2, _ = cluster.nodes
    first = change(n1, LUN_A, reason="Firmware update of the array", no_path_retry="6")
    page = visit(n1, "#/history").page
    entry(page, first)
    count = page.locator(".entry").count()
    page.get_by_label("Author, reason, text").fill("n1 FIRMWARE vmpool-a")
    page.wait_for_function("() => document.querySelectorAll('.entry').length === 1")
    entry(page, first)
    page.wait_for_url(lambda url: "q=n1+FIRMWARE+vmpool-a" in url)
    assert "1 fits" in page.locator(".history .panel-head").inner_text()
    accessible(page)
    page.reload()
    entry(page, first)
    assert page.locator(".entry").count() == 1 and page.get_by_label("Author, reason, text").input_value() == "n1 FIRMWARE vmpool-a"
    wait_for("n2 has it", lambda: n2.ask("GET", f"/v1/history/{first}").status == 200)
    second = change(n2, LUN_A, reason="other", no_path_retry="7")
    wait_for("n1 has it", lambda: n1.ask("GET", f"/v1/history/{second}").status == 200)
    third = change(n1, LUN_A, reason="firmware again", no_path_retry="8")
    entry(page, third)
    assert page.locator(f".entry[data-edit='{second}']").count() == 0
    page.get_by_role("button", name="Clear the filter").click()
    entry(page, second)
    assert page.locator(".entry").count() >= count + 2
    page.wait_for_url(lambda url: url.endswith("#/history"))


def test_older_edits_come_when_asked_for_and_stay(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    edits = [change(n1, LUN_B, no_path_retry=str(5 + number % 2)) for number in range(56)]
    page = visit(n1, "#/history").page
    entry(page, edits[-1])
    assert page.locator(".entry").count() == 50
    page.get_by_role("button", name="Older edits").click()
    entry(page, edits[0])
    newest = change(n1, LUN_B, no_path_retry="9")
    entry(page, newest)
    assert page.locator(f".entry[data-edit='{edits[0]}']").count() == 1, "what was loaded is not dropped for what comes"


def test_a_hostile_reason_is_text(cluster: Any, visit: Any, accessible: Any) -> None:
    n1 = cluster.nodes[0]
    edit = change(n1, LUN_B, HOSTILE, no_path_retry="5")
    page = visit(n1, f"#/history?edit={edit}", viewport={"width": 360, "height": 800}).page
    opened(page, edit)
    assert entry(page, edit).locator(".why").inner_text() == HOSTILE.replace("\u202e", "\\u202e")
    assert page.locator("img").count() == 0
    accessible(page)


def test_in_german_and_dark_by_keyboard(cluster: Any, visit: Any, accessible: Any) -> None:
    n1 = cluster.nodes[0]
    edit = change(n1, LUN_B, no_path_retry="5")
    page = visit(n1, "#/history", locale="de-DE", color_scheme="dark").page
    entry(page, edit).locator(".opener").focus()
    page.keyboard.press("Enter")
    opened(page, edit)
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Zurücknehmen"
    assert "gültig" in entry(page, edit).inner_text()
    accessible(page)


def test_a_difference_gives_both_texts_back(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    texts = st.lists(st.sampled_from(["a", "b", "c", "", " a"]), max_size=12).map("\n".join)

    @settings(max_examples=80, deadline=None)
    @given(texts, texts)
    def both(before: str, after: str) -> None:
        lines = page.evaluate(DIFF, [before, after])
        assert [line for sign, line in lines if sign != "+"] == before.split("\n")
        assert [line for sign, line in lines if sign != "-"] == after.split("\n")
        if before == after:
            assert {sign for sign, _ in lines} == {" "}

    both()
