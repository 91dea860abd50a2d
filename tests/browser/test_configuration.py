"""Configuration: what is typed is checked, previewed and saved as one edit; what others do meanwhile loses nothing of it."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from scripts.cluster.nodes import Cluster, Node
from scripts.cluster.sample import LUN_A, LUN_B

REFUSED = r"status of 422"
STALE = r"status of 412"
MARKUP = '<script>alert(1)</script><img src=x onerror="alert(1)">'
DEVICE = 'devices {\n\tdevice {\n\t\tvendor "PURE"\n\t\tproduct "FlashArray"\n\t\tno_path_retry 7\n\t}\n}\n'
PARTS = ("defaults", "luns", "storages", "overrides", "preview")


def sections(node: Node) -> dict[str, dict[str, str]]:
    return {section["id"]: section["options"] for section in node.get("/v1/config")["sections"]}


def write_config(node: Node, text: str) -> None:
    digest = node.ask("GET", "/v1/config").digest
    answer = node.ask("PUT", "/v1/config", text, if_match=digest)
    assert answer.status == 200, answer


def write_overrides(node: Node, text: str) -> None:
    answer = node.ask("PUT", "/v1/overrides", text, if_match=node.ask("GET", "/v1/overrides").digest)
    assert answer.status == 200, answer


@pytest.fixture
def nodes(cluster: Cluster) -> list[Node]:
    """The cluster's nodes."""
    return cluster.nodes


@pytest.fixture
def panel(visit: Any) -> Callable[..., Page]:
    """Opens a part of the panel at a node."""

    def open_part(node: Node, part: str = "defaults", **more: Any) -> Page:
        page: Page = visit(node, f"#/configuration?part={part}", **more).page
        go(page, part)
        return page

    return open_part


def go(page: Page, part: str) -> None:
    page.locator(f".tabs a[data-part={part}]").click()
    page.wait_for_selector(f".tabs a[data-part={part}][aria-current]")
    expect(page.locator(".configuration .panel-head .muted").first).to_have_text(re.compile(r"[0-9a-f]{8}$"))


def option(page: Page, name: str) -> Locator:
    return page.locator(".part:visible").get_by_label(name, exact=True)


def field(page: Page, name: str) -> Locator:
    """All that belongs to an option: its name, control, help and faults."""
    return page.locator(".part:visible .option", has=page.get_by_label(name, exact=True))


def save(page: Page) -> None:
    page.locator(".save-bar button[type=submit]").click()


def saved(page: Page) -> None:
    expect(page.locator(".save-bar")).to_be_hidden()


def agree(page: Page) -> None:
    """Until all is saved, also if there is a question first."""
    page.wait_for_selector(".save-bar[hidden], dialog[open]", state="attached")
    if page.get_by_role("dialog").count():
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
    saved(page)


def unfold(page: Page) -> None:
    """Show the options that are not set."""
    folded = page.locator(".part:visible .more-options:not([open]) > summary:visible")
    while folded.count():
        folded.first.click()


def newest(node: Node) -> Any:
    return node.get("/v1/history?limit=1")["edits"][0]


# -- editing ----------------------------------------------------------------------------------------------------------


def test_defaults_are_a_form_of_the_option_model(nodes: list[Node], panel: Any, accessible: Any, screenshot: Any) -> None:
    page = panel(nodes[0])
    model = {each["name"]: each for each in nodes[0].get("/v1/options")["options"]["defaults"]}
    assert page.locator(".part:visible .option").count() == len(model)
    assert option(page, "polling-interval").input_value() == "5"
    expect(option(page, "path-checker")).to_be_hidden()
    unfold(page)
    words = option(page, "path-checker").locator("option").all_inner_texts()
    assert words == ["default: tur", *model["path-checker"]["form"]["words"]]
    assert "1 to 600 seconds" in field(page, "polling-interval").inner_text()
    page.get_by_label("Find an option").fill("marginal")
    shown = page.locator(".part:visible .option:visible label").all_inner_texts()
    assert len(shown) > 3 and all("marginal" in name or "marginal" in model[name]["note"] for name in shown)
    page.get_by_label("Find an option").fill("")
    accessible(page)
    screenshot(page, "configuration")


def test_an_edit_is_saved_with_its_reason_in_one_edit_and_the_form_stays(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0])
    unfold(page)
    control = option(page, "polling-interval").element_handle()
    option(page, "polling-interval").fill("7")
    option(page, "path-checker").select_option("directio")
    option(page, "no-path-retry").fill("")
    expect(page.locator(".option.changed")).to_have_count(3)
    page.get_by_label("Reason").fill("quieter")
    page.get_by_label("Reason").press("Enter")
    saved(page)
    assert sections(nodes[0])["global"] == {"learn-window": "0", "polling-interval": "7", "path-checker": "directio"}
    assert newest(nodes[0])["reason"] == "quieter" and newest(nodes[0])["keys"] == ["defaults"]
    assert control.evaluate("element => element.isConnected && element.value") == "7"
    expect(page.locator(".option.changed")).to_have_count(0)


def test_a_fault_stands_at_its_field_and_is_found_from_everywhere(nodes: list[Node], panel: Any, accessible: Any) -> None:
    page = panel(nodes[0], allowed=(REFUSED,))
    option(page, "polling-interval").fill("9000")
    fault = field(page, "polling-interval").locator(".finding")
    expect(fault).to_contain_text("must be a whole number 1 to 600")
    described = option(page, "polling-interval").get_attribute("aria-describedby") or ""
    assert fault.evaluate("element => element.parentElement.id") in described.split()
    assert option(page, "polling-interval").get_attribute("aria-invalid") == "true"
    expect(page.locator(".save-bar button[type=submit]")).to_be_disabled()
    accessible(page)
    go(page, "storages")
    page.get_by_role("button", name="Show Defaults, polling-interval").click()
    expect(option(page, "polling-interval")).to_be_focused()
    option(page, "polling-interval").fill("8")
    expect(page.locator(".save-bar button[type=submit]")).to_be_enabled()
    save(page)
    saved(page)


def test_a_lun_is_named_in_place_and_asked_about(nodes: list[Node], panel: Any, accessible: Any) -> None:
    page = panel(nodes[0], "luns")
    row = page.locator(f".lun-line[data-wwid='{LUN_A}']")
    expect(row).to_contain_text("PURE FlashArray · 64 GiB")
    expect(row).to_contain_text("n1, n2")
    page.get_by_label(f"Name of {LUN_A}").fill("db-pool")
    expect(row.locator(".finding")).to_contain_text("its map is renamed")
    page.get_by_role("button", name=f"Options of {LUN_A}").click()
    unfold(page)
    option(page, "comment").fill("for the database\nsecond line")
    option(page, "min-paths").fill("1")
    accessible(page)
    save(page)
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("its map is renamed")
    expect(question).to_contain_text('alias "db-pool"')
    accessible(page)
    assert sections(nodes[0])[LUN_A] == {"alias": "vmpool-a"}
    question.get_by_role("button", name="Save").click()
    saved(page)
    assert sections(nodes[0])[LUN_A] == {"alias": "db-pool", "comment": "for the database\nsecond line", "min-paths": "1"}
    expect(row).to_contain_text("min-paths 1")


def test_a_fault_of_a_row_stands_in_it(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0], "luns", allowed=(REFUSED,))
    page.get_by_label(f"Name of {LUN_A}").fill("vmpool-b")
    row = page.locator(f".lun-line[data-wwid='{LUN_A}']")
    expect(row.locator(".finding[data-severity=error]")).to_contain_text("belongs to LUN")
    expect(row.locator(".hint")).to_have_text("choose another name")
    page.get_by_role("button", name=f"Undo the changes of {LUN_A}").click()
    assert page.get_by_label(f"Name of {LUN_A}").input_value() == "vmpool-a"
    saved(page)


def test_luns_are_removed_and_those_that_are_seen_added_together(nodes: list[Node], panel: Any, accessible: Any) -> None:
    page = panel(nodes[0], "storages")
    page.get_by_role("button", name="Remove san-lvm").click()
    go(page, "luns")
    for wwid in (LUN_A, LUN_B):
        page.get_by_role("button", name=f"Remove {wwid}").click()
    expect(page.locator(".lun-line[data-change=removed]")).to_have_count(2)
    save(page)
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("LUN vmpool-a")
    question.get_by_role("button", name="Save").click()
    saved(page)
    assert not {LUN_A, LUN_B} & sections(nodes[0]).keys()

    expect(page.locator(".seen-table tbody tr")).to_have_count(2)
    expect(page.locator(f".seen-table tr[data-wwid='{LUN_A}']")).to_contain_text("n1 (2 paths), n2 (2 paths), n3 (2 paths)")
    page.locator(f".seen-table tr[data-wwid='{LUN_A}']").get_by_role("textbox").fill("again-a")
    page.get_by_label("Choose all").check()
    page.get_by_role("button", name="Add 2 LUNs").click()
    expect(page.locator(".seen-table tbody tr")).to_have_count(0)
    expect(page.locator(".lun-line[data-change=added]")).to_have_count(2)
    accessible(page)
    save(page)
    agree(page)
    now = sections(nodes[0])
    assert now[LUN_A] == {"alias": "again-a"} and now[LUN_B] == {}
    assert newest(nodes[0])["keys"] == [f"wwid/{LUN_A}", f"wwid/{LUN_B}"]


def test_a_lun_is_added_by_its_wwid(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0], "luns", allowed=(REFUSED,))
    page.get_by_text("Add by WWID").click()
    form = page.get_by_role("form", name="Add by WWID")
    form.get_by_label("WWID").fill(LUN_A)
    form.get_by_role("button", name="Add").click()
    expect(form).to_contain_text("is there already")
    form.get_by_label("WWID").fill("sda")
    form.get_by_role("button", name="Add").click()
    expect(page.locator(".save-bar")).to_contain_text("changes from boot to boot")
    page.get_by_role("button", name="Undo the changes of sda").click()
    form.get_by_label("WWID").fill("360014050000000c00000000000000009")
    form.get_by_label("Name").fill("later")
    form.get_by_role("button", name="Add").click()
    save(page)
    saved(page)
    assert sections(nodes[0])["360014050000000c00000000000000009"] == {"alias": "later"}


def test_storages_show_their_chain_and_the_nodes_that_follow(nodes: list[Node], panel: Any, accessible: Any) -> None:
    page = panel(nodes[0], "storages", allowed=(REFUSED,))
    card = page.locator(".storage", has=page.get_by_role("heading", name="san-lvm", exact=True))
    expect(card.locator(".chain li")).to_have_text(["lvmvg_san", "multipathsan", "LUNvmpool-a"])
    expect(card.locator(".nodes-line")).to_contain_text("vmpool-a is expected on n1, n2")
    expect(card.locator(".on-nodes li")).to_have_text(["n1", "n2"])
    form = page.get_by_role("form", name="Add a storage")
    form.get_by_label("Type").select_option("iscsi")
    form.get_by_label("Name").fill("box")
    form.get_by_role("button", name="Add a storage").click()
    box = page.locator(".storage", has=page.get_by_role("heading", name="box", exact=True))
    expect(box.locator(".finding[data-severity=error]").first).to_be_visible()
    accessible(page)
    box.get_by_label("portals", exact=True).fill("10.0.0.1")
    box.get_by_label("target", exact=True).fill("iqn.2001-05.com.example:box")
    expect(page.locator(".save-bar button[type=submit]")).to_be_enabled()
    save(page)
    saved(page)
    assert sections(nodes[0])["box"] == {"portals": "10.0.0.1:3260", "target": "iqn.2001-05.com.example:box"}


def test_overrides_bear_marks_where_they_are_wrong(nodes: list[Node], panel: Any, accessible: Any) -> None:
    page = panel(nodes[0], "overrides")
    area = page.get_by_label("Overrides", exact=True)
    area.fill(DEVICE + "bogus x\n")
    expect(page.locator(".gutter [data-severity=error]")).to_have_text(["8"])
    expect(page.locator(".lint")).to_contain_text("stands outside of a section")
    expect(page.locator(".save-bar button[type=submit]")).to_be_disabled()
    accessible(page)
    page.get_by_role("button", name="Line 8").click()
    assert area.evaluate("area => area.value.slice(area.selectionStart)") == "bogus x\n"
    expect(area).to_be_focused()
    area.fill(DEVICE)
    expect(page.locator(".gutter [data-severity=error]")).to_have_count(0)
    page.get_by_label("Reason").fill("the array's maker says so")
    save(page)
    agree(page)
    assert nodes[0].get("/v1/overrides")["text"] == DEVICE
    assert newest(nodes[0])["reason"] == "the array's maker says so"


def test_the_preview_tells_what_every_node_would_write_and_writes_nothing(nodes: list[Node], panel: Any, accessible: Any) -> None:
    page = panel(nodes[0])
    before = nodes[0].ask("GET", "/v1/config").digest
    option(page, "polling-interval").fill("6")
    go(page, "luns")
    page.get_by_label(f"{LUN_B} is allow-listed").uncheck()
    page.locator(".save-bar").get_by_role("button", name="Preview").click()
    shown = page.locator(".node-files")
    expect(shown).to_have_count(1)
    expect(shown.get_by_role("heading", level=3)).to_contain_text("n1, n2, n3")
    expect(shown.locator("ins", has_text='polling_interval "6"')).to_be_visible()
    expect(page.locator(".previewed").first).to_contain_text("Out of the allow-list")
    expect(page.locator(".previewed").last).to_contain_text("This host has all of it.")
    accessible(page)
    assert nodes[0].ask("GET", "/v1/config").digest == before
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    saved(page)
    expect(page.locator(".previewed").first).to_contain_text("Nothing is changed.")


# -- one save is one moment --------------------------------------------------------------------------------------------


class Held:
    """The dry run that comes before a save, kept waiting until it is let go."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.routes: list[Any] = []
        page.route(re.compile("dry_run=true.*|preview=true.*dry_run"), self._take)

    def _take(self, route: Any) -> None:
        if "preview=true" in route.request.url:
            self.routes.append(route)
        else:
            route.continue_()

    def wait(self) -> None:
        expect(self.page.locator(".save-bar button[type=submit]")).to_have_text("Saving …")
        for _ in range(100):
            if self.routes:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError("no dry run came")

    def let_go(self) -> None:
        while self.routes:
            self.routes.pop().continue_()


def test_what_is_done_after_the_click_is_not_in_that_save(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0], "luns")
    held = Held(page)
    page.get_by_label(f"Name of {LUN_A}").fill("vm-new")
    page.get_by_label("Reason").fill("first")
    save(page)
    held.wait()
    page.get_by_label(f"Name of {LUN_A}").fill("vm-n")
    page.get_by_role("button", name=f"Remove {LUN_B}").click()
    held.let_go()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text('alias "vm-new"')
    expect(question).not_to_contain_text("This goes from the configuration")
    question.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved. The nodes apply it now.")).to_be_visible()
    now = sections(nodes[0])
    assert now[LUN_A] == {"alias": "vm-new"} and now[LUN_B] == {"alias": "vmpool-b"}
    assert newest(nodes[0])["keys"] == [f"wwid/{LUN_A}"] and newest(nodes[0])["reason"] == "first"
    # The rest is still to be saved, on top of that.
    expect(page.locator(f".lun-line[data-wwid='{LUN_B}'][data-change=removed]")).to_be_visible()
    expect(page.get_by_label(f"Name of {LUN_A}")).to_have_value("vm-n")
    expect(page.locator(".save-bar")).to_contain_text("2 sections changed")
    expect(page.locator(".moved")).to_be_hidden()
    page.get_by_role("button", name=f"Undo the changes of {LUN_B}").click()
    save(page)
    held.wait()
    held.let_go()
    agree(page)
    assert sections(nodes[0])[LUN_A] == {"alias": "vm-n"} and LUN_B in sections(nodes[0])


def test_what_is_undone_after_the_click_is_a_change_of_what_was_saved(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0])
    held = Held(page)
    option(page, "polling-interval").fill("7")
    save(page)
    held.wait()
    option(page, "polling-interval").fill("5")
    held.let_go()
    expect(page.locator(".save-bar button[type=submit]")).to_have_text("Save")
    assert sections(nodes[0])["global"]["polling-interval"] == "7"
    assert option(page, "polling-interval").input_value() == "5"
    expect(field(page, "polling-interval")).to_contain_text("was 7")


def test_overrides_that_are_half_typed_are_not_written(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0])
    held = Held(page)
    option(page, "polling-interval").fill("8")
    save(page)
    held.wait()
    go(page, "overrides")
    page.get_by_label("Overrides", exact=True).fill("# half a li")
    held.let_go()
    expect(page.locator(".save-bar button[type=submit]")).to_have_text("Save")
    assert sections(nodes[0])["global"]["polling-interval"] == "8"
    assert nodes[0].get("/v1/overrides")["text"] == ""
    expect(page.get_by_label("Overrides", exact=True)).to_have_value("# half a li")


# What is typed may be checked before the page has read what its lost write became: then the check is stale, too.
LOST = r"ERR_FAILED|ERR_ABORTED"


def lose_answers(page: Page, path: str, method: str) -> None:
    """Let writes through, and lose what the agent says to them."""

    def lose(route: Any) -> None:
        if route.request.method != method or "dry_run" in route.request.url:
            route.continue_()
            return
        route.fetch()
        route.abort()

    page.route(re.compile(re.escape(path)), lose)


def test_a_save_whose_answer_is_lost_is_a_save(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0], allowed=(LOST, STALE))
    lose_answers(page, "/v1/config/edits", "POST")
    option(page, "polling-interval").fill("14")
    page.get_by_label("Reason").fill("once")
    save(page)
    expect(page.get_by_text("Saved. The nodes apply it now.")).to_be_visible()
    saved(page)
    expect(page.locator(".moved")).to_be_hidden()
    assert sections(nodes[0])["global"]["polling-interval"] == "14"

    go(page, "overrides")
    lose_answers(page, "/v1/overrides", "PUT")
    page.get_by_label("Overrides", exact=True).fill("# theirs\n")
    save(page)
    saved(page)
    assert nodes[0].get("/v1/overrides")["text"] == "# theirs\n"
    expect(page.get_by_label("Reason")).to_have_value("")


def test_what_was_typed_after_a_lost_answer_stands_on_what_was_saved(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0], allowed=(LOST, STALE))
    lose_answers(page, "/v1/config/edits", "POST")
    held = Held(page)
    option(page, "polling-interval").fill("14")
    save(page)
    held.wait()
    option(page, "polling-interval").fill("15")
    held.let_go()
    expect(field(page, "polling-interval")).to_contain_text("was 14")
    expect(option(page, "polling-interval")).to_have_value("15")
    expect(page.locator(".moved")).to_be_hidden()
    expect(page.locator(".save-bar")).not_to_contain_text("does not answer")


# -- others at the same time ------------------------------------------------------------------------------------------


def test_what_others_save_is_shown_while_nothing_is_typed(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0])
    control = option(page, "polling-interval").element_handle()
    option(page, "polling-interval").focus()
    nodes[1].run("defaults", "set", "polling-interval=9")
    expect(option(page, "polling-interval")).to_have_value("9")
    assert control.evaluate("element => element.isConnected && element === document.activeElement")
    saved(page)


def test_two_browsers_edit_at_once_and_both_changes_are_kept(nodes: list[Node], panel: Any, accessible: Any, screenshot: Any) -> None:
    one, two = panel(nodes[0], allowed=(STALE,)), panel(nodes[1])
    unfold(one)
    unfold(two)
    option(one, "polling-interval").fill("11")
    option(one, "verbosity").fill("3")
    typed = option(one, "polling-interval").element_handle()
    option(two, "polling-interval").fill("13")
    option(two, "max-fds").fill("8192")
    save(two)
    saved(two)
    expect(one.locator(".moved")).to_contain_text("was changed by n2")
    assert typed.evaluate("element => element.isConnected && element.value") == "11"
    save(one)
    view = one.get_by_role("dialog")
    expect(view.get_by_role("heading", level=2)).to_have_text("The configuration changed meanwhile")
    clash = view.get_by_role("table", name="Changed by both: choose (1)").locator("tbody tr")
    assert [cell.strip() for cell in clash.locator("td").all_inner_texts()][:1] == ["5"]
    expect(clash).to_contain_text("13")
    expect(clash).to_contain_text("11")
    accessible(one)
    screenshot(one, "three-way")
    view.get_by_role("button", name="Go on with this").click()
    expect(view).to_be_visible()  # nothing is chosen for anybody
    view.get_by_role("button", name="Not now").click()
    assert option(one, "polling-interval").input_value() == "11"
    one.get_by_role("button", name="Compare").click()
    view.get_by_label("Keep yours").check()
    view.get_by_role("button", name="Go on with this").click()
    expect(one.locator(".moved")).to_be_hidden()
    assert sections(nodes[0])["global"]["polling-interval"] == "13"
    save(one)
    saved(one)
    now = sections(nodes[0])["global"]
    assert now["polling-interval"] == "11" and now["verbosity"] == "3" and now["max-fds"] == "8192"
    expect(option(two, "polling-interval")).to_have_value("11")


def test_a_lun_that_was_removed_meanwhile_is_asked_about(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0], "luns", allowed=(STALE,))
    page.get_by_role("button", name=f"Options of {LUN_B}").click()
    unfold(page)
    option(page, "comment").fill("keep me")
    nodes[1].run("lun", "rm", LUN_B)
    page.get_by_role("button", name="Compare").click()
    view = page.get_by_role("dialog")
    expect(view.locator(".three-way tbody tr").first).to_contain_text("no such section")
    view.get_by_label("Keep yours").check()
    view.get_by_role("button", name="Go on with this").click()
    expect(page.locator(f".lun-line[data-wwid='{LUN_B}'][data-change=added]")).to_be_visible()
    save(page)
    agree(page)  # a node that just lets go of its map may have it without its name: that is warned about
    assert sections(nodes[0])[LUN_B] == {"alias": "vmpool-b", "comment": "keep me"}


def test_texts_are_merged_line_by_line(nodes: list[Node], panel: Any, accessible: Any) -> None:
    write_overrides(nodes[0], DEVICE)
    page = panel(nodes[0], "overrides")
    area = page.get_by_label("Overrides", exact=True)
    expect(area).to_have_value(DEVICE)
    area.fill("# mine\n" + DEVICE)
    write_overrides(nodes[0], DEVICE.replace("retry 7", "retry 9"))
    page.get_by_role("button", name="Compare").click()
    view = page.get_by_role("dialog")
    expect(view.locator(".side")).to_have_count(3)
    expect(view.get_by_label("Both together")).to_have_value("# mine\n" + DEVICE.replace("retry 7", "retry 9"))
    accessible(page)
    view.get_by_role("button", name="Go on with this").click()
    expect(area).to_have_value("# mine\n" + DEVICE.replace("retry 7", "retry 9"))
    assert nodes[0].get("/v1/overrides")["text"] == DEVICE.replace("retry 7", "retry 9")


def test_the_same_from_both_sides_is_no_question(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0], allowed=(STALE,))
    option(page, "polling-interval").fill("12")
    nodes[1].run("defaults", "set", "polling-interval=12")
    saved(page)
    expect(page.locator(".moved")).to_be_hidden()
    expect(option(page, "polling-interval")).to_have_value("12")


# -- what was typed is not lost ---------------------------------------------------------------------------------------


def test_what_is_not_saved_stays_in_other_panels_and_is_asked_about_before_it_goes(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0])
    option(page, "polling-interval").click()
    page.keyboard.press("End")
    page.keyboard.type("5")
    page.get_by_role("link", name="Multipath").click()
    expect(page.get_by_role("link", name=re.compile("Configuration.*Changes that are not saved"))).to_be_visible()
    page.get_by_role("link", name="Configuration").click()
    assert option(page, "polling-interval").input_value() == "55"

    page.get_by_role("button", name="Log out").click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("not saved: Configuration")
    question.get_by_role("button", name="Cancel").click()
    assert page.evaluate("fetch('/v1/whoami').then(answer => answer.status)") == 200

    with page.expect_event("dialog") as asked:
        page.close(run_before_unload=True)
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    assert option(page, "polling-interval").input_value() == "55"


def test_a_reason_and_chosen_luns_are_asked_about_too(nodes: list[Node], panel: Any) -> None:
    def leaves(page: Page) -> None:
        with page.expect_event("dialog") as asked:
            page.close(run_before_unload=True)
        assert asked.value.type == "beforeunload"
        asked.value.dismiss()

    page = panel(nodes[0])
    option(page, "polling-interval").fill("6")
    page.get_by_label("Reason").fill("a long story")
    option(page, "polling-interval").fill("5")
    expect(page.locator(".save-bar")).to_contain_text("Nothing is changed.")
    expect(page.get_by_label("Reason")).to_have_value("a long story")
    expect(page.locator(".save-bar button[type=submit]")).to_be_disabled()
    leaves(page)
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    saved(page)

    see(page, 2)
    go(page, "luns")
    page.get_by_label(f"Choose {seen_wwid(0)}").check()
    leaves(page)


def test_who_may_not_write_sees_all_and_changes_nothing(nodes: list[Node], visit: Any, accessible: Any) -> None:
    made = visit(nodes[0])
    page = made.page

    def reader(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"may_write": False})

    page.route("**/v1/whoami", reader)
    page.goto(f"http://127.0.0.1:{nodes[0].web_port}/#/configuration")
    page.reload()
    expect(page.get_by_text("You may read here and not write")).to_be_visible()
    expect(option(page, "polling-interval")).to_be_disabled()
    accessible(page)
    go(page, "luns")
    expect(page.get_by_label(f"Name of {LUN_A}")).to_be_disabled()
    expect(page.get_by_role("button", name=f"Remove {LUN_A}")).to_be_hidden()


# -- many LUNs, conflicts, reasons ------------------------------------------------------------------------------------


def seen_wwid(number: int) -> str:
    return f"3600140500000000000000000000{number:05x}"


def see(page: Page, count: int) -> None:
    """Let the page believe that the nodes see so many LUNs."""
    luns = [
        {"wwid": seen_wwid(n), "vendor": "ACME" if n % 2 else "PURE", "product": "Box", "size_bytes": 2**34, "nodes": {"n1": {"paths": 2}}}
        for n in range(count)
    ]
    page.route("**/v1/luns/scan", lambda route: route.fulfill(json={"luns": luns}))


@pytest.mark.parametrize("size", [(1280, 800), (360, 740)], ids=["wide", "narrow"])
def test_many_luns_are_found_named_and_added_and_the_question_begins_with_what_is_warned_about(
    nodes: list[Node], panel: Any, accessible: Any, size: tuple[int, int]
) -> None:
    page = panel(nodes[0], viewport={"width": size[0], "height": size[1]})
    see(page, 60)
    go(page, "luns")
    box = page.locator(".seen-box")
    expect(box.locator("summary")).to_contain_text("(60)")
    assert box.get_attribute("open") is None
    expect(page.locator(f".lun-line[data-wwid='{LUN_A}']")).to_be_in_viewport()
    box.locator("summary").click()
    rows = page.locator(".seen-table tbody tr")
    expect(rows).to_have_count(60)
    box.get_by_role("searchbox").fill("acme n1")
    expect(rows).to_have_count(30)
    page.get_by_label("Choose all").check()
    box.get_by_role("searchbox").fill("")
    expect(page.get_by_role("button", name="Add 30 LUNs")).to_be_enabled()
    page.get_by_label("Choose all").check()
    page.get_by_label("Name of " + seen_wwid(3)).fill("vm-02")
    page.get_by_label("Name pattern").fill("vm-##")
    page.get_by_role("button", name="Name the chosen").click()
    names = [page.get_by_label("Name of " + seen_wwid(n)).input_value() for n in range(6)]
    assert names == ["vm-01", "vm-03", "vm-04", "vm-02", "vm-05", "vm-06"]
    accessible(page)
    page.get_by_role("button", name="Add 60 LUNs").click()
    page.get_by_label(f"Name of {LUN_A}").fill("renamed")
    save(page)
    question = page.get_by_role("dialog")
    expect(question.get_by_role("heading", level=2)).to_be_in_viewport(ratio=1)
    expect(question.get_by_text("its map is renamed")).to_be_in_viewport(ratio=1)
    expect(question.get_by_role("button", name="Save")).to_be_in_viewport(ratio=1)
    expect(question.locator("summary", has_text="Into the allow-list (60)")).to_have_count(1)
    accessible(page)
    question.get_by_role("button", name="Cancel").click()
    expect(page.locator(".save-bar")).to_contain_text("61 sections changed")


def test_wwids_stand_as_text_after_the_names(nodes: list[Node], panel: Any) -> None:
    digest = nodes[0].ask("GET", "/v1/config").digest
    wwids = [f"36001405100000000000000000000{tail}" for tail in ("0e9f", "0e10", "00b0")]
    body = {"changes": [{"key": f"wwid/{wwid}", "set": {}} for wwid in wwids]}
    assert nodes[0].ask("POST", "/v1/config/edits", body, if_match=digest).status == 200
    page = panel(nodes[0], "luns")
    expect(page.locator(".lun-line")).to_have_count(5)
    assert [row.get_attribute("data-wwid") for row in page.locator(".lun-line").all()] == [LUN_A, LUN_B, *sorted(wwids)]


def test_a_row_stays_under_a_filter_while_its_name_is_typed(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0], "luns")
    page.get_by_label("Name, WWID, array, node").fill("vmpool-a")
    expect(page.locator(".lun-line")).to_have_count(1)
    name = page.get_by_label(f"Name of {LUN_A}")
    name.fill("")
    name.press_sequentially("db", delay=20)
    expect(name).to_be_focused()
    expect(name).to_have_value("db")
    page.get_by_label("Reason").focus()
    expect(page.locator(".lun-line")).to_have_count(1)


def test_options_stand_in_groups_and_each_says_what_it_is_for(nodes: list[Node], panel: Any, accessible: Any) -> None:
    page = panel(nodes[0])
    model = nodes[0].get("/v1/options")["options"]["defaults"]
    parts = page.locator(".part:visible .option-part")
    expect(parts).to_have_count(len({each["group"] for each in model}))
    failover = parts.filter(has=page.get_by_role("heading", name="Paths and failover"))
    expect(failover.locator(".option:visible")).to_have_count(0)
    failover.locator("summary").click()
    expect(failover.locator(".option:visible label")).to_have_text(
        [each["name"] for each in model if each["group"] == "paths-and-failover"]
    )
    assert all(each.inner_text() for each in page.locator(".part:visible .option:visible .help [lang=en]").all())
    expect(failover.locator("summary")).to_contain_text("(8)")
    option(page, "path-grouping-policy").select_option("multibus")
    expect(failover.locator("summary")).to_contain_text("1 changed")
    page.get_by_role("button", name="Show what is set").click()
    expect(option(page, "polling-interval")).to_be_visible()
    expect(option(page, "path-grouping-policy")).to_be_hidden()
    page.get_by_label("Find an option").fill("udev")
    expect(page.locator(".part:visible .option:visible label")).to_have_text(["missing-uev-wait-timeout", "retrigger-tries"])
    accessible(page)


def test_sections_in_conflict_are_marked_and_lead_to_it(nodes: list[Node], panel: Any, accessible: Any) -> None:
    page = panel(nodes[0], "luns", allowed=(r"status of 409",))
    keys = [f"wwid/{LUN_A}", "storage/san", "defaults", "overrides"]
    page.route("**/v1/conflicts", lambda route: route.fulfill(json={"conflicts": [{"key": key, "siblings": []} for key in keys]}))

    def refuse(route: Any) -> None:
        problem = {
            "code": "conflict-open",
            "key": keys[0],
            "detail": "has concurrent values: nothing was written",
            "hint": "pathmesh resolve",
        }
        route.fulfill(status=409, content_type="application/problem+json", json=problem)

    page.route("**/v1/config/edits?*", refuse)
    page.reload()
    go(page, "luns")
    marked = page.locator(f".lun-line[data-wwid='{LUN_A}'] .finding")
    expect(marked).to_contain_text("until that conflict is ended")
    expect(marked.get_by_role("link")).to_have_attribute("href", f"#/conflicts?key=wwid%2F{LUN_A}")
    expect(page.locator(f".lun-line[data-wwid='{LUN_B}'] .finding")).to_have_count(0)
    for part in ("storages", "defaults", "overrides"):
        go(page, part)
        expect(page.locator(".part:visible .finding a")).to_have_count(1)
        accessible(page)
    go(page, "luns")
    page.get_by_label(f"Name of {LUN_A}").fill("else")
    expect(page.locator(".save-bar .fault")).to_contain_text("has concurrent values")
    expect(page.locator(".save-bar .fault a")).to_be_visible()
    expect(page.locator(".save-bar")).not_to_contain_text("pathmesh resolve")


def test_a_storage_says_why_it_is_not_well(nodes: list[Node], panel: Any, accessible: Any) -> None:
    page = panel(nodes[0])
    told: dict[str, Any] = nodes[0].get("/v1/storages")
    group = {"name": "vg_san", "size_bytes": 2**36, "free_bytes": 2**35, "active": True, "on": [LUN_A], "volumes": 3, "active_volumes": 2}
    errors = [{"code": "login-failed", "message": "the login to 10.0.0.2:3260 failed", "hint": "look at iscsid"}]
    for storage in told["storages"]:
        if storage["id"] == "san-lvm":
            storage["state"] = "degraded"
            storage["status"]["n1"] |= {"state": "degraded", "reasons": ["below-expected"], "vg": group | {"missing_pvs": 1}}
            storage["status"]["n2"] |= {"state": "healthy", "reasons": [], "vg": group | {"missing_pvs": 0}}
        else:
            sessions = {"there": 1, "expected": 2, "missing": ["10.0.0.2:3260"], "errors": errors}
            storage["status"] = {"n3": {"state": "degraded", "reasons": [], "age_seconds": 1, "sessions": sessions}}
    page.route("**/v1/storages", lambda route: route.fulfill(json=told))
    go(page, "storages")
    card = page.locator(".storage", has=page.get_by_role("heading", name="san-lvm", exact=True))
    expect(card.get_by_role("list", name="Why it is not well").locator("li")).to_have_text(
        ["Warning: n1: degraded: fewer paths than expected"]
    )
    card.get_by_text("What each node found").click()
    facts = card.locator(".node-facts li")
    expect(facts).to_have_count(2)
    expect(facts.first).to_have_text(
        "n1: vg_san · 32 GiB of 64 GiB free · on vmpool-a · 1 physical volume is missing · 3 volumes, 2 active"
    )
    other = page.locator(".storage", has=page.get_by_role("heading", name="san", exact=True))
    expect(other.locator(".finding")).to_have_count(2)
    expect(other).to_contain_text("n3: no session with 10.0.0.2:3260")
    expect(other).to_contain_text("n3: the login to 10.0.0.2:3260 failed")
    other.get_by_text("What each node found").click()
    expect(other.locator(".node-facts li")).to_have_text(["n3: 1 of 2 sessions"])
    accessible(page)


def test_a_fault_is_told_once_in_the_preview(nodes: list[Node], panel: Any) -> None:
    page = panel(nodes[0], allowed=(REFUSED,))
    option(page, "polling-interval").fill("9000")
    go(page, "preview")
    expect(page.locator(".previewed").first.get_by_text("must be a whole number 1 to 600")).to_have_count(1)


# -- harmless, small, in another language -----------------------------------------------------------------------------


def test_what_others_chose_to_write_is_text(nodes: list[Node], panel: Any, accessible: Any) -> None:
    longest = "a" * 127
    digest = nodes[0].ask("GET", "/v1/config").digest
    hostile = MARKUP + "\u202ereversed"
    body = {
        "changes": [
            {"key": f"wwid/{LUN_A}", "set": {"alias": longest, "comment": hostile}},
            {"key": "storage/san", "set": {"comment": hostile}},
            {"key": "defaults", "set": {"comment": hostile}},
        ]
    }
    assert nodes[0].ask("POST", "/v1/config/edits", body, if_match=digest).status == 200
    for width in (1280, 360):
        page = panel(nodes[1], viewport={"width": width, "height": 800})
        known = field(page, "comment").locator("textarea")
        expect(known).to_have_value(hostile)
        for part in PARTS:
            go(page, part)
            accessible(page)
        go(page, "luns")
        expect(page.locator(f".lun-line[data-wwid='{LUN_A}']")).to_contain_text("<script>alert(1)</script>")
        assert "\u202e" not in page.locator("main").inner_text() and "\\u202e" in page.locator("main").inner_text()
        assert page.evaluate("document.querySelectorAll('main script, main img').length") == 0


@pytest.mark.parametrize("options", [{"locale": "de-DE"}, {"color_scheme": "dark"}], ids=["german", "dark"])
def test_every_part_is_accessible_on_a_small_screen(nodes: list[Node], panel: Any, accessible: Any, options: dict[str, Any]) -> None:
    page = panel(nodes[0], viewport={"width": 360, "height": 740}, **options)
    option(page, "polling-interval").fill("6")
    for part in PARTS:
        go(page, part)
        if part in ("luns", "storages"):
            page.locator(".part:visible button[aria-expanded]").first.click()
        accessible(page)
    assert page.evaluate("document.documentElement.lang") == ("de" if "locale" in options else "en")
