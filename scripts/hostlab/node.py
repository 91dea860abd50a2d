"""Our agent in a guest: settings, start and end, commands, its API, and the host's files that it works on."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scripts.cluster.client import Answer
from scripts.cluster.nodes import wait_for
from scripts.hostlab.machine import Done, Guest, GuestHttp
from scripts.hostlab.network import Net
from scripts.hostlab.san import San

SOCKET = "/run/pathmesh/pathmesh.sock"
LOG = "/var/log/pathmesh.log"
SETTINGS = "/etc/pathmesh/pathmesh.toml"
CONF_DIR = "/etc/multipath/conf.d"
DROP_INS = ("90-pathmesh.conf", "95-pathmesh-overrides.conf")
WWIDS = "/etc/multipath/wwids"
QUICK = ("polling-interval=1", "max-polling-interval=2", "learn-window=0")
"""So multipathd looks at its paths every second or two, and what is seen is expected at once."""


class Node:
    """A guest as a node of a cluster."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.name = guest.name
        self.san = San(guest)
        self.pid = 0
        self._http: GuestHttp | None = None

    def configure(self, **multipath: Any) -> None:
        """Write the settings: the defaults of a real node, but quicker polls, and what is given for `[multipath]`."""
        address = Net.MANAGEMENT.address(self.guest.number)
        tables: dict[str, dict[str, Any]] = {
            "node": {"name": self.name},
            "gossip": {"advertise": f"tcp://{address}:7946", "join_advertise": f"tcp://{address}:7947"},
            "api": {"group": "root", "admin_group": "root"},
            "multipath": {"poll_interval_ms": 1000, "debounce_ms": 200, **multipath},
        }
        lines = [line for name, table in tables.items() for line in (f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items()))]
        self.guest.write(SETTINGS, "\n".join(lines) + "\n")

    def start_agent(self, env: Mapping[str, str] | None = None, *, wait: bool = True) -> None:
        """Start the agent; with `wait` until it has the cluster's state."""
        self.hang_up()
        self.pid = self.guest.start(["pathmesh", "agent"], LOG, env)
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Until the agent says that it is ready."""
        wait_for(f"{self.name}'s agent is ready", lambda: self.ask("GET", "/readyz").status == 200, seconds, 0.2)

    def stop_agent(self, signal: str = "TERM", seconds: float = 30.0) -> None:
        """End the agent and wait until it is gone."""
        self.hang_up()
        if self.pid:
            self.guest.run(["kill", f"-{signal}", str(self.pid)], check=False)
            wait_for(f"{self.name}'s agent is gone", lambda: not self.guest.exists(f"/proc/{self.pid}"), seconds, 0.1)
        self.pid = 0

    def log(self) -> str:
        """What the agent has said."""
        return self.guest.read(LOG)

    def run(self, *words: str, check: bool = True, stdin: str = "", seconds: float = 60.0) -> Done:
        """A pathmesh command in the guest. CommandFailed if it fails, but for `check=False`."""
        return self.guest.run(["pathmesh", *words], check=check, stdin=stdin.encode(), seconds=seconds)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """A request to the agent's API. OSError if it cannot be reached."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None
        if isinstance(body, str):
            data, sent["content-type"] = body.encode(), "text/plain"
        elif body is not None:
            data, sent["content-type"] = json.dumps(body).encode(), "application/json"
        if self._http is None:
            self._http = GuestHttp(self.guest, SOCKET)
        try:
            self._http.request(method, path, data, sent)
            response = self._http.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except Exception as fault:
            self.hang_up()
            raise fault if isinstance(fault, OSError) else ConnectionResetError(repr(fault)) from fault

    def get(self, path: str) -> Any:
        """The JSON of a GET that must succeed. KeyError if it does not."""
        answer = self.ask("GET", path)
        if answer.status != 200:
            raise KeyError(f"{path}: {answer.status} {answer.body[:300]!r}")
        return answer.json

    def hang_up(self) -> None:
        """Close the connection to the agent; the next question makes another."""
        if self._http is not None:
            self._http.close()
        self._http = None

    # -- what it says -------------------------------------------------------------------------------------------------

    def lun(self, wwid: str) -> Any:
        """A LUN's row of the status document. KeyError if there is none."""
        for row in self.get("/v1/status")["luns"]:
            if row["wwid"] == wwid:
                return row
        raise KeyError(f"{self.name}'s status has no {wwid}")

    def path_ids(self, wwid: str) -> set[str]:
        """The identities of a LUN's paths on this node. KeyError if it has no such map."""
        for found in self.get(f"/v1/nodes/{self.name}/maps")["maps"]:
            if found["wwid"] == wwid:
                return {path["id"] for group in found["path_groups"] for path in group["paths"]}
        raise KeyError(f"{self.name} has no map of {wwid}")

    def apply(self, of: str = "") -> Any:
        """The apply cell of a node (this one, if none is named)."""
        return next(n for n in self.get("/v1/status")["nodes"] if n["node"] == (of or self.name))["apply"]

    def codes(self, of: str = "") -> set[str]:
        """The error codes of a node's last apply."""
        return {error["code"] for error in self.apply(of)["errors"]}

    # -- what is on the host ------------------------------------------------------------------------------------------

    def drop_ins(self) -> list[str]:
        """Which of our files are there."""
        return [name for name in self.guest.run(f"ls -A {CONF_DIR} 2>/dev/null", check=False).out.split() if name in DROP_INS]

    def allowed(self) -> set[str]:
        """The WWIDs of the allow-list's active lines."""
        text = self.guest.run(f"cat {WWIDS} 2>/dev/null", check=False).out
        return {line[1:].partition("/")[0] for line in text.splitlines() if line.startswith("/")}

    def allow_by_hand(self, wwid: str) -> None:
        """Allow a LUN as an administrator does, and let multipathd make its map."""
        self.guest.run(f"multipath -a {wwid} >/dev/null")
        self.reconfigure()
        wait_for(f"{self.name} has a map of {wwid}", lambda: wwid in self.maps(), 30, 0.2)

    def reconfigure(self) -> None:
        """Let multipathd read its files, and wait until it has: it answers before it does."""
        self.guest.run("multipathd reconfigure >/dev/null")

        def idle() -> bool:
            answer = self.guest.run("multipathd show daemon").out
            return "idle" in answer and "pending" not in answer

        wait_for(f"{self.name}'s multipathd has read its files", idle, 60, 0.1)

    def maps(self) -> dict[str, str]:
        """multipathd's maps: WWID to name."""
        found = json.loads(self.guest.run("multipathd show maps json").out)
        return {each["uuid"]: each["name"] for each in found["maps"]}


def each(nodes: "list[Node]", work: Callable[[Node], object]) -> None:
    """The same with every node, side by side; the first fault is raised when all are done."""
    with ThreadPoolExecutor(len(nodes)) as pool:
        for future in [pool.submit(work, node) for node in nodes]:
            future.result()


def make_cluster(nodes: "list[Node]", **multipath: Any) -> None:
    """The first node makes a cluster, the others join it; all agents run and see each other."""
    first = nodes[0]
    each(nodes, lambda node: node.configure(**multipath))
    first.run("init", "--cluster", "lab")
    first.start_agent()
    if len(nodes) > 1:
        made = first.run("token", "create", "--uses", str(len(nodes) - 1), "--role", "admin", "--json")
        token = json.loads(made.out)["token"]

        def join(node: Node) -> None:
            node.run("join", token)
            node.start_agent()

        each(nodes[1:], join)
    for node in nodes:
        wait_online(node, len(nodes))


def begin(nodes: "list[Node]", *commands: tuple[str, ...], **multipath: Any) -> None:
    """Make a cluster in which things go quickly, and run these commands on its first node; all nodes are in sync then."""
    make_cluster(nodes, **multipath)
    for words in (("defaults", "set", *QUICK), *commands):
        nodes[0].run(*words)
    wait_in_sync(nodes)


def wait_online(viewer: Node, count: int, seconds: float = 60.0) -> None:
    """Until a node sees so many nodes online."""

    def online() -> bool:
        return bool(sum(n["state"] == "online" for n in viewer.get("/v1/nodes")["nodes"]) == count)

    wait_for(f"{viewer.name} sees {count} nodes online", online, seconds, 0.2)


def wait_in_sync(nodes: "list[Node]", seconds: float = 90.0) -> None:
    """Until every node says to every node that it has applied what the first one wants now."""
    config = nodes[0].get("/v1/status")["config"]
    wanted = hashlib.sha256(f"{config['digest']}\n{config['overrides_digest']}".encode()).hexdigest()

    def settled() -> bool:
        cells = [row["apply"] for viewer in nodes for row in viewer.get("/v1/status")["nodes"]]
        return all(cell["state"] == "in-sync" and cell["applied"] == wanted for cell in cells)

    try:
        wait_for("all nodes are in sync", settled, seconds, 0.2)
    except AssertionError as fault:
        states = {row["node"]: row["apply"] for row in nodes[0].get("/v1/status")["nodes"]}
        raise AssertionError(f"{fault}: {json.dumps(states)[:1500]}") from None


def wait_cells(viewers: "list[Node]", wwid: str, state: str, cells: Mapping[str, str] | None = None, seconds: float = 45.0) -> None:
    """Until every viewer's row of a LUN reads so: its own state, and those of the nodes given."""
    end = time.monotonic() + seconds
    for viewer in viewers:

        def reads(viewer: Node = viewer) -> bool:
            row = viewer.lun(wwid)
            return row["state"] == state and all(row["nodes"][n]["state"] == s for n, s in (cells or {}).items())

        try:
            wait_for(f"{viewer.name}: {wwid} {state} {dict(cells or {})}", reads, max(1.0, end - time.monotonic()), 0.1)
        except AssertionError as fault:
            raise AssertionError(f"{fault}; {json.dumps(viewer.lun(wwid))[:1800]}") from None
