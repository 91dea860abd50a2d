"""What the page does when it is not told all: reads that fail, hang or break off, a silent stream, modules that do not come."""

import os
import signal
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from scripts.cluster.sample import LUN_A, LUN_B, device

MATRIX, PATHS, ROLLOUT, STREAM = "**/v1/matrix*", "**/v1/luns/*/paths", "**/v1/rollout/*", "**/v1/events?matrix=true"
CUT = '{"version": "x", "resources": ['
HIDE = """(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
TAKEN = """
  const { json } = Response.prototype;
  Response.prototype.json = async function () {
    const body = await json.call(this);
    if (this.url.includes("/v1/matrix")) setTimeout(() => { window.taken = true; });
    return body;
  };
"""
FAILED, REPORTED = "net::ERR_FAILED", "a fault of a test"


def cell(page: Page, wwid: str, node: str) -> Any:
    return page.locator(f".grid-row[data-key='multipath.map {wwid}'] [aria-colindex][aria-label^='{node}:']")


def shows(page: Page, wwid: str, node: str, state: str) -> None:
    page.wait_for_selector(f".grid-row[data-key='multipath.map {wwid}'] [aria-label^='{node}:'][data-state={state}]")


def state(page: Page, wanted: str, seconds: float = 10) -> None:
    page.wait_for_selector(f"#connection[data-state='{wanted}']", state="attached", timeout=seconds * 1000)


def banner(page: Page, *words: str, seconds: float = 10) -> str:
    page.wait_for_selector("#stale:visible" + "".join(f":has-text('{each}')" for each in words), timeout=seconds * 1000)
    return page.inner_text("#stale")


def notices(page: Page) -> list[str]:
    return page.locator("#notices .notice").all_inner_texts()


# -- reads ------------------------------------------------------------------------------------------------------------


def test_an_answer_that_breaks_off_is_asked_for_again(cluster: Any, visit: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1).page
    shows(page, LUN_A, "n2", "healthy")
    page.route(MATRIX, lambda route: route.fulfill(status=200, content_type="application/json", body=CUT), times=1)
    n2.ask_host(f"fail path {device(0, 1)}")
    shows(page, LUN_A, "n2", "degraded")
    state(page, "live")
    assert notices(page) == []


def test_a_page_whose_reads_fail_is_not_live_and_says_so_until_they_succeed(cluster: Any, visit: Any, accessible: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1, allowed=(FAILED,)).page
    shows(page, LUN_A, "n2", "healthy")
    page.route(MATRIX, lambda route: route.abort())
    n2.ask_host(f"fail path {device(0, 1)}")
    state(page, "stale")
    said = banner(page, "Not current: Multipath")
    assert "Read last at" in said and "the agent does not answer" in said
    assert page.inner_text("#connection") == "not current"
    assert cell(page, LUN_A, "n2").get_attribute("data-state") == "healthy" and notices(page) == []
    accessible(page)
    page.unroute(MATRIX)
    shows(page, LUN_A, "n2", "degraded")
    state(page, "live")
    assert page.locator("#stale").is_hidden() and notices(page) == []


def test_the_first_read_is_tried_again_too(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    opened = visit(n1, "#/events", allowed=(FAILED,))
    page = opened.page.context.new_page()
    for pattern in (MATRIX, "**/v1/options", "**/v1/whoami"):
        page.route(pattern, lambda route: route.abort())
    page.goto(f"http://127.0.0.1:{n1.web_port}/")
    state(page, "stale")
    banner(page, "Not read yet", "Multipath")
    page.goto(f"http://127.0.0.1:{n1.web_port}/#/configuration")
    banner(page, "Configuration")
    for pattern in (MATRIX, "**/v1/options", "**/v1/whoami"):
        page.unroute(pattern)
    state(page, "live")
    page.wait_for_selector(".parts .option")
    page.wait_for_function("() => document.getElementById('who').textContent !== ''")


def test_an_open_row_that_cannot_be_read_holds_the_page_only_while_it_is_open(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0], allowed=("status of 503",)).page
    refused = '{"code": "busy", "detail": "the agent is busy"}'
    page.route(PATHS, lambda route: route.fulfill(status=503, content_type="application/problem+json", body=refused))
    toggle = page.locator(f".grid-row[data-key='multipath.map {LUN_A}'] button.lun")
    toggle.click()
    state(page, "stale")
    assert "the agent is busy" in banner(page, "Multipath") and notices(page) == []
    toggle.click()
    state(page, "live")


def test_a_read_that_hangs_is_given_up_and_the_banner_says_what_may_be_the_cause(cluster: Any, visit: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1).page
    shows(page, LUN_A, "n2", "healthy")
    held: list[Route] = []
    page.route(MATRIX, lambda route: held.append(route))
    with page.expect_request(MATRIX):
        n2.ask_host(f"fail path {device(0, 1)}")
    state(page, "stale", 9)
    assert "Read last at" in (said := banner(page, "Not current: Multipath")) and "still being read" in said
    page.wait_for_selector("#stale:has-text('did not answer for 10 seconds')", timeout=15_000)
    assert "windows" in page.inner_text("#stale") and page.get_attribute("#connection", "data-state") == "stale"
    page.unroute(MATRIX)
    shows(page, LUN_A, "n2", "degraded")
    state(page, "live")
    assert held


def test_a_read_without_a_session_ends_the_stream(cluster: Any, visit: Any, login_link: Any) -> None:
    n1, n2, _ = cluster.nodes
    opened = visit(n1, allowed=("status of 401",))
    page = opened.page
    shows(page, LUN_A, "n2", "healthy")
    page.context.clear_cookies()
    n2.ask_host(f"fail path {device(0, 1)}")
    state(page, "logged-out")
    banner(page, "web-login")
    other = page.context.new_page()
    other.goto(login_link(n1))
    state(other, "live")
    state(page, "live")
    shows(page, LUN_A, "n2", "degraded")


def test_a_fault_of_the_page_stops_neither_a_loader_nor_who_else_listens(cluster: Any, visit: Any) -> None:
    opened = visit(cluster.nodes[0], allowed=(REPORTED,))
    found = opened.page.evaluate(
        """async (words) => {
          const { Emitter, serially } = await import("/static/live.js");
          const told = [];
          const emitter = new Emitter();
          emitter.on("changed", () => { throw new Error(words); });
          emitter.on("changed", (value) => told.push(value));
          emitter.emit("changed", 1);
          window.broken = true;
          window.runs = 0;
          const ask = serially(async () => {
            window.runs += 1;
            if (window.broken) throw new TypeError(words);
            told.push("loaded");
          }, () => told.push("refused"));
          await ask();
          window.told = told;
          return told;
        }""",
        REPORTED,
    )
    assert found == [1]
    page = opened.page
    state(page, "stale")
    assert "a fault of this page" in banner(page, "Not read yet")
    page.wait_for_function("() => window.runs === 2")
    page.evaluate("() => { window.broken = false; }")
    state(page, "live")
    assert page.evaluate("() => window.told") == [1, "loaded"] and page.locator("#stale").is_hidden()
    assert len([fault for fault in opened.faults if REPORTED in fault]) == 2, "both are reported, once"


def test_what_is_refused_is_not_asked_for_again(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    refused = page.evaluate(
        """async () => {
          const { serially } = await import("/static/live.js");
          const { Problem } = await import("/static/api.js");
          const told = [];
          const tried = [400, 401, 403, 404, 408, 413, 415, 421, 422, 429, 500, 503, 0].map((status) =>
            serially(async () => { throw new Problem(status, {}); }, () => told.push(status))());
          await Promise.all(tried);
          return told;
        }"""
    )
    assert refused == [400, 403, 404, 413, 415, 421, 422]


def test_overrides_that_the_agent_will_not_check_say_why_beside_them(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0], "#/configuration?part=overrides", allowed=("status of 413",)).page
    refused = '{"code": "too-large", "detail": "the text is too large", "hint": "make it smaller"}'
    answer = {"status": 413, "content_type": "application/problem+json", "body": refused}
    page.route("**/v1/overrides/check*", lambda route: route.fulfill(**answer))
    area = page.locator(".editor textarea:visible").first
    area.fill("# much")
    page.wait_for_selector("p[role=status]:visible:has-text('the text is too large · make it smaller')")
    assert notices(page) == [] and page.get_attribute("#connection", "data-state") == "live"
    area.fill("")


def test_the_banner_tells_what_was_read_before_from_what_never_was(cluster: Any, visit: Any) -> None:
    n1, n2, _ = cluster.nodes
    page = visit(n1, allowed=(FAILED,)).page
    shows(page, LUN_A, "n2", "healthy")
    for pattern in (MATRIX, PATHS):
        page.route(pattern, lambda route: route.abort())
    n2.ask_host(f"fail path {device(0, 1)}")
    banner(page, "Not current: Multipath. Read last at")
    page.locator(f".grid-row[data-key='multipath.map {LUN_A}'] button.lun").click()
    said = banner(page, "Not read yet: Multipath")
    assert "Not current: Multipath. Read last at" in said


def test_what_is_behind_keeps_nothing_else_from_being_read(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0], allowed=(FAILED,)).page
    shows(page, LUN_A, "n2", "healthy")
    page.locator(f".grid-row[data-key='multipath.map {LUN_A}'] button.lun").click()
    page.wait_for_selector(".detail .node-card")
    page.route(MATRIX, lambda route: route.abort())
    cluster.nodes[1].ask_host(f"fail path {device(0, 1)}")
    state(page, "stale")
    for _ in range(2):
        page.wait_for_event("response", lambda answer: answer.url.endswith("/paths"), timeout=30_000)
    page.click("#nav a[href='#/nodes']")
    for _ in range(3):
        page.wait_for_event("response", lambda answer: answer.url.endswith("/v1/members/reach"), timeout=30_000)  # rests if it took long
    assert page.get_attribute("#connection", "data-state") == "stale"


def test_an_early_answer_that_is_old_is_asked_for_anew(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    page = visit(n1, log_in=True).page.context.new_page()
    held: list[Route] = []
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/matrix" in request.url else None)
    page.route("**/static/multipath/rows.js", lambda route: held.append(route))
    page.add_init_script(TAKEN)
    page.goto(f"http://127.0.0.1:{n1.web_port}/", wait_until="commit")
    page.wait_for_function("() => window.taken")
    page.evaluate("() => { const now = Date.now; Date.now = () => now() + 6000; }")
    assert len(asked) == 1
    page.unroute("**/static/multipath/rows.js")  # which lets go what is held
    shows(page, LUN_A, "n1", "healthy")
    assert len(asked) >= 2 and asked[1].endswith("/v1/matrix?brief=true")


def test_the_matrix_is_read_again_if_another_version_was_told_before_it_was_there(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    shows(page, LUN_A, "n1", "healthy")
    versions = page.evaluate(
        """async () => {
          const { Matrix } = await import("/static/multipath/rows.js");
          const loads = async (live) => {
            const before = performance.getEntriesByName("matrix-received").length;
            await new Matrix({ on() {}, ...live }).load();
            return performance.getEntriesByName("matrix-received").length - before;
          };
          const version = async () => (await (await fetch("/v1/matrix?brief=true")).json()).version;
          for (let tries = 0; ; tries++) {
            const current = await version();
            const found = [await loads({}), await loads({ matrixVersion: "another" }), await loads({ matrixVersion: current })];
            if (tries === 4 || (await version()) === current) return found; // else the page itself may have read meanwhile
          }
        }"""
    )
    assert versions == [1, 2, 1]


# -- the stream -------------------------------------------------------------------------------------------------------


def test_a_page_that_is_shown_again_does_not_say_that_it_is_live_before_it_is(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    shows(page, LUN_A, "n1", "healthy")
    held: list[Route] = []
    page.route(STREAM, lambda route: held.append(route))
    page.evaluate(HIDE, True)
    page.evaluate(HIDE, False)
    assert page.get_attribute("#connection", "data-state") == "connecting"
    banner(page, "No connection to the agent since")
    page.unroute(STREAM)  # which lets go what is held
    state(page, "live")
    assert page.locator("#stale").is_hidden()


def test_a_silent_stream_is_none(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    page = visit(n1, loses=True).page
    shows(page, LUN_A, "n1", "healthy")
    process = n1.agent.pid
    os.kill(process, signal.SIGSTOP)
    try:
        state(page, "stale", 25)
        banner(page, "No connection to the agent since", seconds=25)  # a read that hangs is told before it
    finally:
        os.kill(process, signal.SIGCONT)
    state(page, "live", 20)


# -- panels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["**/static/panels/events.js*", "**/static/lists.css"])
def test_a_panel_that_cannot_be_loaded_says_so_and_comes_when_it_can(cluster: Any, visit: Any, accessible: Any, missing: str) -> None:
    n1 = cluster.nodes[0]
    page = visit(n1, log_in=True, allowed=(FAILED,)).page.context.new_page()
    page.route(missing, lambda route: route.abort())
    page.goto(f"http://127.0.0.1:{n1.web_port}/#/events")
    page.wait_for_selector("[data-panel=events] .fault:visible")
    accessible(page)
    page.click("#nav a[href='#/multipath']")
    page.wait_for_selector(".grid-row")
    page.click("#nav a[href='#/events']")
    page.wait_for_selector("[data-panel=events] .fault:visible")
    page.get_by_role("button", name="Reload").wait_for()
    page.unroute(missing)
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("[data-panel=events] .event")
    assert page.locator("[data-panel=events] h1").count() == 1


def test_all_panels_are_there_before_they_are_needed(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    page = visit(n1, allowed=(FAILED,)).page
    panels = ("configuration", "conflicts", "history", "nodes", "events")
    had = """(names) => {
      const all = performance.getEntriesByType("resource").map((each) => each.name);
      return names.every((name) => all.some((each) => each.endsWith(`/panels/${name}.js`)));
    }"""
    page.wait_for_function(had, arg=panels)
    # what a module imports comes after it
    page.evaluate("(names) => Promise.all(names.map((name) => import(`/static/panels/${name}.js`))).then(() => true)", panels)
    page.wait_for_function(
        """() => {
          const links = [...document.querySelectorAll('link[rel=stylesheet]')];
          return links.length >= 6 && links.every(({ sheet }) => sheet !== null);
        }"""
    )
    page.route("**/static/**", lambda route: route.abort())
    for panel in panels:
        page.click(f"#nav a[href='#/{panel}']")
        page.wait_for_selector(f"[data-panel={panel}]:visible h1")
        assert page.locator(f"[data-panel={panel}] .fault:visible").count() == 0


def test_a_page_of_another_version_asks_to_be_loaded_anew(cluster: Any, visit: Any) -> None:
    n1 = cluster.nodes[0]
    page = visit(n1, allowed=(FAILED,)).page
    page.wait_for_function("() => document.getElementById('who').textContent !== ''")

    def another(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "version": "99.0"})

    page.route("**/v1/whoami", another)
    page.route(STREAM, lambda route: route.abort())
    page.evaluate(HIDE, True)
    page.evaluate(HIDE, False)
    state(page, "stale")
    page.unroute(STREAM)
    notice = page.locator("#notices .notice", has_text="another version")
    notice.wait_for(timeout=20_000)
    page.unroute("**/v1/whoami")
    page.evaluate("() => { window.same = true; }")
    notice.get_by_role("button", name="Reload").click()
    page.wait_for_function("() => window.same === undefined")
    state(page, "live")
    assert notices(page) == []


# -- what is told and asked -------------------------------------------------------------------------------------------


def test_a_dialog_cannot_be_left_while_what_it_began_is_going_on(cluster: Any, visit: Any, accessible: Any) -> None:
    page = visit(cluster.nodes[0]).page
    page.evaluate(
        """async () => {
          const { dialog, h } = await import("/static/dom.js");
          let times = 0;
          const confirm = () => new Promise((done, failed) => {
            window.release = () => (times++ ? done() : failed(new Error("not yet")));
          });
          const content = h("input", { "aria-label": "i" });
          const asked = { title: "T", content, action: "Do", cancel: "Leave", collect: () => 7, confirm };
          dialog(asked).then((value) => { window.value = value; });
        }"""
    )
    dialog = page.get_by_role("dialog")
    leave, act = dialog.get_by_role("button", name="Leave"), dialog.get_by_role("button", name="Do")
    for wanted in ("not yet", None):
        act.click()
        assert dialog.get_attribute("aria-busy") == "true" and leave.is_disabled() and act.is_disabled()
        for _ in range(4):
            page.keyboard.press("Escape")
        assert dialog.is_visible() and page.evaluate("() => document.querySelector('dialog').contains(document.activeElement)")
        accessible(page)
        page.evaluate("() => window.release()")
        if wanted:
            dialog.locator(".fault:visible").wait_for()
            assert leave.is_enabled() and dialog.get_attribute("aria-busy") is None
    page.wait_for_function("() => window.value === 7")
    assert page.locator("dialog").count() == 0


def test_a_fault_is_told_once_however_often_it_comes_and_only_while_it_is_one(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    page.evaluate(
        """async () => {
          const { notice, takeBack } = await import("/static/notices.js");
          Object.assign(window, { notice, takeBack });
          for (let times = 0; times < 12; times++) notice("refused", { fault: { code: "x" } });
        }"""
    )
    assert [said.split("\n")[0:2] for said in notices(page)] == [["refused", "12 times"]]
    page.evaluate("() => { for (let n = 0; n < 9; n++) window.notice(`fault ${n}`, { fault: { code: 'y' } }); }")
    assert len(notices(page)) == 5
    page.evaluate("() => window.takeBack(({ code }) => code === 'y')")
    assert notices(page) == []


def test_what_an_action_failed_at_stays_when_the_page_is_live_again(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    state(page, "live")
    page.evaluate(
        """async () => {
          const { notice } = await import("/static/notices.js");
          notice("not ended", { fault: { code: "unreachable", message: "not ended" } });
        }"""
    )
    page.evaluate(HIDE, True)
    page.evaluate(HIDE, False)
    state(page, "live")
    assert [said.split("\n")[0] for said in notices(page)] == ["not ended"]


def test_a_rollout_that_waits_for_a_node_that_is_away_is_not_asked_for(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    asked: list[str] = []

    def answered(route: Route) -> None:
        asked.append(route.request.url)
        answer = route.fetch()
        body = answer.json()
        for node in body["nodes"]:
            if node["node"] == "n3":
                node.update(state="unknown", reporter=reporter)
        body["counts"].update(applied=2, unknown=1)
        route.fulfill(response=answer, json={**body, "done": False})

    reporter = "fresh"
    page.route(ROLLOUT, answered)
    page.click("#nav a[href='#/history']")
    page.wait_for_selector(".newest [data-rollout=unknown]")
    for _ in range(300):
        if len(asked) >= 3:
            break
        page.wait_for_timeout(50)
    assert len(asked) >= 3, "what a node that is heard does is followed"
    reporter = "offline"
    before = -1
    while before != len(asked):  # until it rests
        before = len(asked)
        page.wait_for_timeout(6000)
        assert len(asked) < 40
    assert len(asked) == before


def test_a_page_that_is_open_for_weeks_gathers_no_marks(cluster: Any, visit: Any) -> None:
    page = visit(cluster.nodes[0]).page
    shows(page, LUN_B, "n1", "healthy")
    marks = page.evaluate(
        """async () => {
          const { Matrix } = await import("/static/multipath/rows.js");
          const matrix = new Matrix({ on() {} });
          for (let n = 0; n < 130; n++) await matrix.load();
          return performance.getEntriesByType("mark").length;
        }"""
    )
    assert 0 < marks <= 110
