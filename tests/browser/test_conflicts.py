"""Conflicts: every value beside what they began from, one of them taken, or all merged, whatever the others do meanwhile."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from scripts.cluster.nodes import Cluster, Node, running, wait_for
from scripts.cluster.sample import LUN_A, LUN_B
from scripts.cluster.scenario import load_sample, write_sample_luns

A, B = f"wwid/{LUN_A}", f"wwid/{LUN_B}"
MARKUP = '<script>alert(1)</script><img src=x onerror="alert(1)">\u202ereversed'
TEXT = 'devices {\n\tdevice {\n\t\tvendor "PURE"\n\t\tproduct "FlashArray"\n\t\tno_path_retry 7\n\t}\n}\n'
REFUSED = r"status of 422"


def write_overrides(node: Node, text: str) -> None:
    answer = node.ask("PUT", "/v1/overrides", text, if_match=node.ask("GET", "/v1/overrides").digest)
    assert answer.status == 200, answer


def edit(node: Node, key: str, reason: str = "", **options: str) -> None:
    body = {"changes": [{"key": key, "set": options} if options else {"key": key, "remove": True}], "reason": reason}
    answer = node.ask("POST", "/v1/config/edits", body, if_match=node.ask("GET", "/v1/config").digest)
    assert answer.status == 200, answer


def conflicts(node: Node) -> dict[str, Any]:
    return {each["key"]: each for each in node.get("/v1/conflicts")["conflicts"]}


def options_of(node: Node, wwid: str) -> Any:
    return node.get(f"/v1/config/wwids/{wwid}")["options"]


@pytest.fixture(scope="module")
def divided(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes that can be kept from hearing of each other."""
    made = Cluster(tmp_path_factory.mktemp("d"), 3, relayed=True, web=True)
    write_sample_luns(made)
    with running(made):
        load_sample(made)
        yield made


@pytest.fixture
def tear(divided: Cluster) -> Iterator[Callable[..., list[Node]]]:
    """Lets the first node, and the others, write something that the other side has not heard of; ends what is left of it."""
    first, *others = divided.nodes

    def converged() -> bool:
        return (
            len({(n.ask("GET", "/v1/config").digest, n.ask("GET", "/v1/overrides").digest, str(conflicts(n))) for n in divided.nodes}) == 1
        )

    def in_effect() -> bool:
        # A LUN that a node has not made again yet stands above the others.
        return converged() and all(
            n.get("/v1/rollout")["done"] and n.get("/v1/status")["cluster_state"] == "healthy" for n in divided.nodes
        )

    def write(left: Callable[[Node], None], right: Callable[[Node], None], keys: set[str]) -> list[Node]:
        wait_for("one state everywhere, in effect", in_effect, 40)
        divided.partition([first], others)
        try:
            left(first)
            right(others[0])
        finally:
            divided.heal()
        wait_for("the conflict everywhere", lambda: all(conflicts(n).keys() == keys for n in divided.nodes), 40)
        return divided.nodes

    yield write
    wait_for("one state everywhere", converged)  # what is ended here while another node's end of it is on its way is a conflict again
    for key, found in conflicts(first).items():
        first.ask("POST", f"/v1/conflicts/{key.replace('/', '%2F')}/resolve", {"dots": [s["dot"] for s in found["siblings"]], "take": 1})
    wait_for("no conflict anywhere", lambda: converged() and not conflicts(first))
    for wwid, name in ((LUN_A, "vmpool-a"), (LUN_B, "vmpool-b")):
        if first.ask("GET", f"/v1/config/wwids/{wwid}").status == 200:
            edit(first, f"wwid/{wwid}")
        edit(first, f"wwid/{wwid}", alias=name)
    write_overrides(first, "")
    wait_for("one state everywhere", converged)


def card(page: Page, key: str) -> Locator:
    return page.locator(f".conflict[data-key='{key}']")


def rows(table: Locator) -> dict[str, list[str]]:
    """The cells of a table by the row's head."""
    found = {}
    for row in table.locator("tbody tr").all():
        name, *cells = row.locator("th, td").all_inner_texts()
        found[name] = [cell.strip() for cell in cells]
    return found


def test_a_value_is_taken_with_one_click(tear: Any, visit: Any, accessible: Any, screenshot: Any) -> None:
    nodes = tear(
        lambda n: edit(n, A, "left is right", alias="left", comment="of the left"),
        lambda n: edit(n, A, MARKUP, alias="right", **{"min-paths": "1"}),
        {A},
    )
    page = visit(nodes[0], "#/conflicts").page
    expect(page.get_by_role("link", name=re.compile("Conflicts.*1 open"))).to_be_visible()
    table = card(page, A).locator("table")
    expect(table.locator("thead th")).to_have_count(3)
    heads = table.locator("thead th").all_inner_texts()
    order = [re.search(r"at (n\d)", head)[1] for head in heads[1:]]  # type: ignore[index]
    assert sorted(order) == ["n1", "n2"] and "common ancestor" in heads[0]
    left, right = order.index("n1"), order.index("n2")
    told = rows(table)
    assert told["alias"][0] == "vmpool-a" and told["alias"][1 + left] == "left" and told["alias"][1 + right] == "right"
    assert told["comment"][0] == told["comment"][1 + right] == "not set" and told["comment"][1 + left] == "of the left"
    assert told["min-paths"][1 + right] == "1"
    winner = next(s["author"] for s in conflicts(nodes[0])[A]["siblings"] if s["winner"])
    assert "in effect" in heads[1 + order.index(winner)] and "in effect" not in heads[1 + order.index("n2" if winner == "n1" else "n1")]
    assert "left is right" in heads[1 + left] and re.search(r"\d\d:\d\d:\d\d", heads[1 + left])
    # What the other side wrote is text.
    assert "<script>alert(1)</script>" in heads[1 + right] and "\\u202e" in heads[1 + right]
    assert page.evaluate("document.querySelectorAll('main script, main img').length") == 0
    accessible(page)
    screenshot(page, "conflicts")
    card(page, A).get_by_label("Reason").fill("agreed on the phone")
    card(page, A).get_by_role("button", name=re.compile("written at n2")).click()
    expect(page.locator(".conflict")).to_have_count(0)
    expect(page.get_by_text("No section has concurrent values.")).to_be_visible()
    assert options_of(nodes[0], LUN_A) == {"alias": "right", "min-paths": "1"}
    newest = nodes[0].get("/v1/history?limit=1")["edits"][0]
    assert newest["kind"] == "resolve" and newest["reason"] == "agreed on the phone"
    expect(page.get_by_role("link", name=re.compile("^Conflicts$"))).to_be_visible()


def test_a_lun_with_an_open_conflict_is_marked_in_the_matrix_and_leads_to_it(tear: Any, visit: Any, accessible: Any) -> None:
    nodes = tear(lambda n: edit(n, A, alias="left"), lambda n: edit(n, A, alias="right"), {A})
    page = visit(nodes[2]).page
    mark = page.locator(f".grid-row[data-key='multipath.map {LUN_A}'] a.conflicted")
    expect(mark).to_be_visible()
    expect(mark).to_have_text("≠")
    assert page.locator("a.conflicted:visible").count() == 1, "the other LUN has none"
    expect(page.locator(f".grid-row[data-key='multipath.map {LUN_A}'] button.lun")).to_have_attribute(
        "aria-label", re.compile("open conflict")
    )
    badge = page.locator("#nav .nav-badge")
    assert badge.evaluate("(element) => getComputedStyle(element).backgroundColor") != "rgba(0, 0, 0, 0)", (
        "it is loud on the first panel too"
    )
    accessible(page)
    page.locator(".grid [tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(mark).to_be_focused()
    page.keyboard.press("Enter")
    expect(card(page, A)).to_be_visible()
    page.wait_for_url(lambda url: "#/conflicts?key=" in url)
    assert page.locator(".grid-detail").count() == 0
    nodes[0].ask(
        "POST",
        f"/v1/conflicts/{A.replace('/', '%2F')}/resolve",
        {"dots": [s["dot"] for s in conflicts(nodes[0])[A]["siblings"]], "take": 1},
    )
    expect(page.locator(".conflict")).to_have_count(0)
    page.get_by_role("link", name="Multipath").click()
    expect(mark).to_be_hidden()
    expect(page.locator(f".grid-row[data-key='multipath.map {LUN_A}'] button.lun")).not_to_have_attribute(
        "aria-label", re.compile("conflict")
    )


def test_values_are_merged_option_by_option(tear: Any, visit: Any, accessible: Any) -> None:
    nodes = tear(lambda n: edit(n, A, alias="left", comment="of the left"), lambda n: edit(n, A, alias="right", **{"min-paths": "1"}), {A})
    page = visit(nodes[1], "#/conflicts", allowed=(REFUSED,)).page
    card(page, A).get_by_role("button", name="Merge").click()
    merged = card(page, A).locator(".merge")
    expect(merged.get_by_label("alias", exact=True)).to_be_focused()
    winner = next(s for s in conflicts(nodes[1])[A]["siblings"] if s["winner"])
    assert merged.get_by_label("alias", exact=True).input_value() == winner["value"]["alias"]
    assert merged.get_by_label("comment", exact=True).input_value() == "of the left"
    assert merged.get_by_label("min-paths", exact=True).input_value() == "1"
    accessible(page)
    merged.get_by_label("min-paths", exact=True).fill("77")
    end = card(page, A).get_by_role("button", name="End the conflict")
    end.click()
    expect(merged.locator(".finding[data-severity=error]")).to_contain_text("1 to 64")
    assert conflicts(nodes[1]).keys() == {A}
    merged.get_by_label("min-paths", exact=True).fill("3")
    merged.get_by_label("alias", exact=True).fill("both")
    end.click()
    expect(page.locator(".conflict")).to_have_count(0)
    assert options_of(nodes[1], LUN_A) == {"alias": "both", "comment": "of the left", "min-paths": "3"}


def test_a_removal_is_a_value_too(tear: Any, visit: Any) -> None:
    nodes = tear(lambda n: edit(n, B), lambda n: edit(n, B, alias="stays"), {B})
    page = visit(nodes[0], "#/conflicts").page
    expect(card(page, B).locator("table")).to_be_visible()
    told = rows(card(page, B).locator("table"))
    assert told["Section"][0] == "there" and sorted(told["Section"][1:]) == ["removed", "there"]
    card(page, B).get_by_role("button", name=re.compile("written at n1")).click()
    expect(page.locator(".conflict")).to_have_count(0)
    assert nodes[0].ask("GET", f"/v1/config/wwids/{LUN_B}").status == 404


def test_texts_are_merged_line_by_line_and_markers_are_refused(tear: Any, visit: Any, accessible: Any, divided: Cluster) -> None:
    write_overrides(divided.nodes[0], TEXT)
    nodes = tear(
        lambda n: write_overrides(n, TEXT.replace("retry 7", "retry 8")),
        lambda n: write_overrides(n, "# right\n" + TEXT.replace("retry 7", "retry 9")),
        {"overrides"},
    )
    page = visit(nodes[0], "#/conflicts", allowed=(REFUSED,)).page
    expect(card(page, "overrides").locator("ins", has_text="no_path_retry 8")).to_be_visible()
    card(page, "overrides").get_by_role("button", name="Merge").click()
    area = card(page, "overrides").get_by_label("Merged text")
    assert "# right\n" in area.input_value() and "<<<<<<<" in area.input_value()
    expect(card(page, "overrides").locator(".gutter [data-severity=error]").first).to_be_visible()
    accessible(page)
    end = card(page, "overrides").get_by_role("button", name="End the conflict")
    end.click()
    expect(card(page, "overrides").locator(".fault")).to_be_visible()
    area.fill("# right\n" + TEXT.replace("retry 7", "retry 10"))
    end.click()
    expect(page.locator(".conflict")).to_have_count(0)
    assert nodes[0].get("/v1/overrides")["text"] == "# right\n" + TEXT.replace("retry 7", "retry 10")


def test_a_merge_that_is_typed_outlives_what_others_do(tear: Any, visit: Any) -> None:
    nodes = tear(lambda n: edit(n, A, alias="left"), lambda n: edit(n, A, alias="right"), {A})
    page = visit(nodes[0], "#/conflicts").page
    card(page, A).get_by_role("button", name="Merge").click()
    typed = card(page, A).locator(".merge").get_by_label("alias", exact=True)
    typed.fill("half-typ")
    node = typed.element_handle()
    dots = [s["dot"] for s in conflicts(nodes[2])[A]["siblings"]]
    answer = nodes[2].ask("POST", f"/v1/conflicts/{A.replace('/', '%2F')}/resolve", {"dots": dots, "take": 1})
    assert answer.status == 200, answer
    expect(card(page, A).get_by_text("Somebody else has ended this conflict")).to_be_visible()
    assert node.evaluate("element => element.isConnected && element.value") == "half-typ"
    expect(card(page, A).get_by_role("button", name="End the conflict")).to_be_hidden()
    card(page, A).get_by_role("button", name="Close").click()
    expect(page.locator(".conflict")).to_have_count(0)


def test_a_write_that_a_conflict_refuses_leads_to_it(tear: Any, visit: Any) -> None:
    nodes = tear(lambda n: edit(n, A, alias="left"), lambda n: edit(n, A, alias="right"), {A})
    page = visit(nodes[0], "#/configuration?part=luns", allowed=(r"status of 409",)).page
    page.get_by_label(f"Name of {LUN_A}").fill("third")
    expect(page.locator(".save-bar .fault")).to_contain_text("concurrent values")
    page.locator(".save-bar").get_by_role("link", name="To the conflict").click()
    expect(card(page, A).get_by_role("button", name=re.compile("Take the value")).first).to_be_focused()


@pytest.mark.parametrize("options", [{"locale": "de-DE"}, {"color_scheme": "dark"}], ids=["german", "dark"])
def test_a_conflict_is_accessible_on_a_small_screen(tear: Any, visit: Any, accessible: Any, options: dict[str, Any]) -> None:
    nodes = tear(lambda n: edit(n, A, alias="a" * 127), lambda n: edit(n, A, alias="b" * 127, comment=MARKUP), {A})
    page = visit(nodes[0], "#/conflicts", viewport={"width": 360, "height": 740}, **options).page
    expect(card(page, A)).to_be_visible()
    take = card(page, A).locator("thead button").all()
    values = card(page, A).locator("tbody td:has-text('aaaa'), tbody td:has-text('bbbb')").all()
    assert len(take) == len(values) == 2
    for seen in (*take, *values):
        box = seen.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 360, "nothing has to be swiped to"
    accessible(page)
    card(page, A).locator("button:visible", has_text=re.compile("Merge|Zusammenführen")).click()
    accessible(page)
    expect(card(page, A)).to_contain_text("\\u202e")
