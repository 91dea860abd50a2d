"""A browser, a live cluster, and pages that are logged in and must end without a fault."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from scripts.cluster.nodes import Cluster, Node, running, wait_for
from scripts.cluster.sample import device
from scripts.cluster.scenario import load_sample, write_sample_luns

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHECKS = Path(__file__).with_name("checks.js").read_text()
SCREENSHOTS = Path(__file__).parents[2] / "docs" / "images"
WAIT_MS = 10_000
expect.set_options(timeout=WAIT_MS)
# the browser's words for a connection that is refused or ends early; which one it is hangs on what it was doing just then
LOST_CONNECTION = (
    r"net::ERR_(CONNECTION_|SOCKET_NOT_CONNECTED|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|CONTENT_LENGTH_MISMATCH"
    r"|RESPONSE_HEADERS_TRUNCATED)"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests beside this file are the browser's."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's chromium. Without it the tests are skipped, or with PATHMESH_REQUIRE_BROWSER=1 an error."""
    program = shutil.which("chromium")
    if program is None:
        if os.environ.get("PATHMESH_REQUIRE_BROWSER") == "1":
            pytest.fail("there is no chromium: apt install chromium")
        pytest.skip("needs chromium: apt install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield started
        started.close()


@dataclass(frozen=True)
class Sample:
    """A cluster and the configuration and the overrides that it began with."""

    cluster: Cluster
    config: str
    overrides: str

    def settle(self) -> None:
        """Until every node knows of every node that it is online, in sync and healthy with this configuration and all of its paths."""
        wait_for("every node sees the sample, healthy", lambda: all(self._settled(node) for node in self.cluster.nodes), 60)

    def _settled(self, node: Node) -> bool:
        status, nodes = node.get("/v1/status"), node.get("/v1/nodes")["nodes"]
        return (
            status["cluster_state"] == "healthy"
            and len(status["luns"]) == 2
            and all(c["paths"]["usable"] == c["paths"]["expected"] == 2 for lun in status["luns"] for c in lun["nodes"].values())
            and len(nodes) == len(self.cluster.nodes)
            and all(each["state"] == "online" and not each["maintenance"] for each in nodes)
            and all(each["apply"]["state"] == "in-sync" and each["daemon"] == "running" for each in nodes)
            and config_text(node) == self.config
            and node.get("/v1/overrides")["text"] == self.overrides
            and not node.get("/v1/conflicts")["conflicts"]
            and node.get("/v1/rollout")["done"]
        )

    def put_back(self) -> None:
        """Give every host its paths and the cluster its configuration again."""
        for node in self.cluster.nodes:
            for number in (0, 1):
                for fabric in (1, 2):
                    node.ask_host(f"add path {device(number, fabric)}")
                    node.ask_host(f"reinstate path {device(number, fabric)}")
        one_state(self.cluster)
        first = self.cluster.nodes[0]
        for path, text in (("/v1/config", self.config), ("/v1/overrides", self.overrides)):
            found = first.ask("GET", path, accept="text/plain")
            if found.body.decode() != text:
                answer = first.ask("PUT", path, text, if_match=found.digest)
                assert answer.status == 200, answer


def one_state(cluster: Cluster) -> None:
    """Until every node has the same configuration."""

    def same() -> bool:
        return len({(n.ask("GET", "/v1/config").digest, n.ask("GET", "/v1/overrides").digest) for n in cluster.nodes}) == 1

    wait_for("one configuration on every node", same)


def config_text(node: Node) -> str:
    """The configuration as a node has it."""
    return node.ask("GET", "/v1/config", accept="text/plain").body.decode()


@pytest.fixture(scope="session")
def sample(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sample]:
    """Three nodes with the sample configuration, for all tests."""
    made = Cluster(tmp_path_factory.mktemp("c"), 3, web=True)
    write_sample_luns(made)
    with running(made):
        load_sample(made)
        first = made.nodes[0]
        yield Sample(made, config_text(first), first.get("/v1/overrides")["text"])


@pytest.fixture
def cluster(sample: Sample) -> Iterator[Cluster]:
    """The three nodes, settled; whatever a test does to the paths and to the configuration is undone."""
    sample.settle()
    yield sample.cluster
    sample.put_back()


@dataclass
class Visit:
    """A page that is open. `allowed` are patterns of console messages that the test brings about: refusals, lost connections."""

    page: Page
    allowed: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Gather whatever goes wrong in the page."""
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda fault: self.faults.append(f"error: {fault}"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def unexpected(self) -> list[str]:
        """What went wrong and was not allowed to."""
        return [fault for fault in self.faults if not any(re.search(pattern, fault) for pattern in self.allowed)]


@pytest.fixture(scope="session")
def login_link() -> Callable[[Node], str]:
    """A new one-time link into a node's page."""

    def ask(node: Node) -> str:
        return str(node.ask("POST", "/v1/web/links").json["url"])

    return ask


@pytest.fixture
def visit(browser: Browser, login_link: Callable[[Node], str]) -> Iterator[Callable[..., Visit]]:
    """Opens a node's page of its own, logged in and live. At the end no page may have had a fault, or an error in its console.

    `loses` is for pages whose connection the test takes away.
    """
    contexts, visits = [], []

    def open_page(
        node: Node, at: str = "", *, log_in: bool = True, loses: bool = False, allowed: tuple[str, ...] = (), **options: Any
    ) -> Visit:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "locale": "en-GB", **options})
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        made = Visit(context.new_page(), [*allowed, *([LOST_CONNECTION] if loses else ())])
        visits.append(made)
        made.listen()
        if log_in:
            made.page.goto(login_link(node))
            made.page.wait_for_selector("#connection[data-state=live]")
            if at:
                made.page.goto(f"http://127.0.0.1:{node.web_port}/{at}")
        return made

    yield open_page
    for context in contexts:
        for page in context.pages:
            page.unroute_all(behavior="ignoreErrors")  # what a page asks for to the end must not fail the next test
        context.close()
    assert [fault for made in visits for fault in made.unexpected()] == []


@pytest.fixture(scope="session")
def accessible() -> Callable[[Page], None]:
    """Checks names, headings, ids, contrast and width of what a page shows now."""

    def check(page: Page) -> None:
        found = page.evaluate(CHECKS)
        assert found == [], "\n".join(found)

    return check


@pytest.fixture(scope="session")
def screenshot() -> Callable[[Page, str], None]:
    """Keeps a picture of a page for the documents, if PATHMESH_SCREENSHOTS=1 asks for them."""

    def take(page: Page, name: str) -> None:
        if os.environ.get("PATHMESH_SCREENSHOTS") == "1":
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=SCREENSHOTS / f"{name}.png")

    return take
