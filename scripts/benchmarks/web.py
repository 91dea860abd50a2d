"""The web page in Debian's chromium: how soon a changed cell is painted, how soon the page is there, how long many changes take.

The page marks what it does with the browser's own clock (Performance API). A change is timed from when the agent took it into its store
(its trace, CLOCK_MONOTONIC) to the frame in which it could be seen; both are of one machine, and wall times tie the two clocks together.
"""

import shutil
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Page, Route, sync_playwright

from scripts.benchmarks.matrix import NEVER_MS, allow, others, write_luns, wwid
from scripts.benchmarks.planted import plant
from scripts.benchmarks.rig import Traces, say, scratch
from scripts.benchmarks.table import Judged, Row, Target
from scripts.cluster.nodes import Cluster, Node, running, wait_for

ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
FRAME_MS = 1000 / 60
CELLS_A_ROW = 5
PAUSE_SECONDS = 0.4
VIEW = {"width": 1440, "height": 900}

MARKS = "() => performance.getEntriesByType('mark').map(({name, startTime, detail}) => ({name, at: startTime, detail}))"
ORIGIN = "() => performance.timeOrigin"
MEASURES = "() => performance.getEntriesByName('matrix-update').map(({duration}) => duration)"
CLEAR = "() => { performance.clearMarks(); performance.clearMeasures(); }"
SCROLL = """async () => {
  const grid = document.querySelector(".grid");
  const times = [];
  let last = await new Promise(requestAnimationFrame);
  for (let at = 0; at < grid.scrollHeight; at += 240) {
    grid.scrollTop = at;
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times;
}"""


def measure(quick: bool) -> list[Row]:
    """A real agent's page, with cells that simulated members report over the wire: 200 LUNs on 16 nodes, and 1,000 on 32."""
    program = shutil.which("chromium")
    assert program is not None, "there is no chromium: apt install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        try:
            return [*_small(browser, 15 if quick else 60, 5 if quick else 15), *_large(browser, 3 if quick else 8)]
        finally:
            browser.close()


def _small(browser: Browser, rounds: int, loads: int) -> list[Row]:
    luns, nodes = 200, 16
    with scratch() as directory:
        cluster = Cluster(directory, 1, web=True, settings={"multipath": {"poll_interval_ms": NEVER_MS, "debounce_ms": 0}})
        node = cluster.nodes[0]
        write_luns(node, luns)
        with running(cluster):
            allow(node, luns)
            with others(node, luns, nodes - 1) as change:
                first = _first_paints(browser, node, luns, loads)
                page = _open(browser, node, luns)
                latencies = _changes(page, node, change, rounds, nodes - 1, luns)
                bursts = _bursts(page, change, rounds)
                page.context.close()
    return [
        Row("web 200 x 16: a cell changed, from the agent's store to the frame", "ms", latencies, Target(Judged.MEDIAN, 150)),
        Row("web 200 x 16: first paint", "ms", first, Target(Judged.MEDIAN, 300)),
        Row("web 200 x 16: the frame in which 1,000 cells change", "ms", bursts, Target(Judged.MEDIAN, round(FRAME_MS, 1))),
    ]


def _large(browser: Browser, loads: int) -> list[Row]:
    """The other members are no processes: they stand in the agent's database, with the cells that they told last."""
    luns, nodes = 1000, 32
    with scratch() as directory:
        cluster = Cluster(directory, 1, web=True, settings={"multipath": {"poll_interval_ms": NEVER_MS, "debounce_ms": 0}})
        node = cluster.nodes[0]
        write_luns(node, luns)
        try:
            node.run("init")
            plant(node, nodes - 1, [wwid(number) for number in range(luns)])
            node.start_host()
            node.start_agent()
            allow(node, luns)
            cold, *warm = _first_paints(browser, node, luns, loads + 1)
            page = _open(browser, node, luns)
            frames = page.evaluate(SCROLL)
            page.context.close()
        finally:
            cluster.stop()
    return [
        Row("web 1,000 x 32: first paint", "ms", tuple(warm), Target(Judged.MEDIAN, 1000)),
        Row("web 1,000 x 32: first paint after the agent's start", "ms", (cold,)),
        Row("web 1,000 x 32: a frame while scrolling 14,400 pixels a second", "ms", tuple(frames)),
    ]


def _open(browser: Browser, node: Node, luns: int) -> Page:
    context = browser.new_context(viewport=VIEW)
    page = context.new_page()
    page.goto(str(node.ask("POST", "/v1/web/links").json["url"]))
    page.wait_for_selector("#connection[data-state=live]")
    page.wait_for_selector(f".grid[aria-rowcount='{luns + 1}']", timeout=60_000)
    return page


def _first_paints(browser: Browser, node: Node, luns: int, loads: int) -> tuple[float, ...]:
    """From the start of the navigation to the frame with the rows, each in a browser context of its own, so with nothing cached."""
    page = _open(browser, node, luns)
    cookies = page.context.cookies()
    page.context.close()
    found = []
    for _ in range(loads):
        context = browser.new_context(viewport=VIEW)
        context.add_cookies(cookies)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{node.web_port}/")
        found.append(_mark(page, "matrix-first-paint")["at"])
        context.close()
    return tuple(found)


def _mark(page: Page, name: str) -> Any:
    return wait_for(f"the mark {name}", lambda: next((m for m in page.evaluate(MARKS) if m["name"] == name), None), 30, every=0.02)


def _changes(page: Page, node: Node, change: Callable[[int, int], None], rounds: int, members: int, luns: int) -> tuple[float, ...]:
    """One cell at a time; each is a cell of a row that is seen, and the agent's trace says when it had it."""
    traces = Traces([node])
    shift = time.time_ns() - time.monotonic_ns()
    origin = float(page.evaluate(ORIGIN))
    found: list[float] = []
    for number in range(rounds):
        traces.grown()
        page.evaluate(CLEAR)
        change(number % members, number * 7 % luns)
        painted = _mark(page, "matrix-painted")
        entries = [ns for what, name, ns in traces.grown()[node.name] if what == "health" and name.startswith(f"m{number % members + 1}:")]
        if not entries:
            continue  # another member's change came between
        found.append(origin + painted["at"] - (entries[0] + shift) / 1e6)
        time.sleep(PAUSE_SECONDS)
    say(f"web: {len(found)} of {rounds} changes timed, median {median(found):.0f} ms")
    return tuple(found)


def _bursts(page: Page, change: Callable[[int, int], None], rounds: int) -> tuple[float, ...]:
    """Answers of the agent, in which 1,000 cells are made others on the way; the page times the frame in which it shows them."""
    degraded = False

    def altered(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        whole = route.fetch(url=route.request.url.partition("&changed_since")[0]).json()
        body["resources"] = [row for row in whole["resources"] if row["kind"] == "multipath.map"]
        for row in body["resources"]:
            for name in list(row["cells"])[:CELLS_A_ROW]:
                row["cells"][name] = ["degraded", 1, 2, ["path-failed"]] if degraded else ["healthy", 2, 2]
        route.fulfill(response=answer, json=body)

    page.route("**/v1/matrix?*changed_since*", altered)
    found: list[float] = []
    for number in range(rounds):
        degraded = not degraded
        page.evaluate(CLEAR)
        change(0, number)
        wait_for("the frame is measured", lambda: page.evaluate(MEASURES), 30, every=0.02)
        found.append(max(page.evaluate(MEASURES)))
        time.sleep(PAUSE_SECONDS)
    page.unroute("**/v1/matrix?*changed_since*")
    return tuple(found)
