"""A whole node with a host among peers of a later version: what it applies, what it says, and what it does after its upgrade."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.bootstrap import init
from gossip.codec import encode
from gossip.keys import NodeKeys
from gossip.messages import Delta, Hello, Message
from gossip.transport import MessageReceived
from store import level
from store.cells import NODE_FACTS, Cell
from store.document import Options
from store.edits import CHANGE, Edit, encode_body, frozen_changes, seal
from store.health import OwnStream
from store.members import MEMBER_PREFIX, Member, MemberState, Role, member_value

MERGE = "merge-9"
A = "360014050000000100004000800000000"
B = "360014050000000100004000800000001"
LUNS = "".join(
    f"""
[[lun]]
wwid = "{wwid}"
vendor = "LAB"
product = "SANDISK1"
rev = "4.0"
size_bytes = 67108864
[[lun.path]]
dev = "sd{letter}"
"""
    for wwid, letter in ((A, "a"), (B, "b"))
)


def until(what: str, holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return found


@dataclass
class Peer:
    """The member n2, which the test speaks for: real keys and real frames, put into the node as its transport would."""

    node: Any
    name: str = "n2"
    keys: NodeKeys = field(default_factory=NodeKeys.generate)
    actor: bytes = b"n2".ljust(16, b".")

    @property
    def engine(self) -> Any:
        return self.node.node.runner.engine

    def join(self) -> None:
        member = Member(
            self.name, self.actor, self.keys.mesh_public, self.keys.signing_public, "tcp://127.0.0.1:9", Role.ADMIN, MemberState.JOINED
        )
        self.node.run(self.node.node.writer.record({MEMBER_PREFIX + self.name: member_value(member)}))

    def greet(self) -> None:
        self.say(Hello(self.engine.replica.cluster_id, self.name, self.actor, 1, 1, self.actor))

    def say(self, message: Message) -> None:
        frames = encode(message, self.actor[:8])
        self.node.call(lambda: self.node.node.runner.dispatch(MessageReceived(self.keys.mesh_public, *frames)))

    def write(self, changes: Mapping[str, Options | None], kind: str = CHANGE) -> None:
        """An edit that has seen all that the node has; until the node has it."""
        fold = self.engine.replica.fold
        context = dict(fold.clock)
        number = context.get(self.actor, 0) + 1
        edit = Edit(self.actor, number, context, fold.lamport + 1, self.name, 1.0, frozen_changes(changes), "by a later version", kind)
        body = encode_body(edit)
        signed = seal(edit, body, self.keys.sign(body))
        self.say(Delta(edits=(signed.raw,)))
        until("the edit is there", lambda: self.engine.replica.has(signed.dot))

    def report(self, highest: int, epoch: int) -> None:
        """Tell which level it speaks."""
        own = OwnStream(self.name, self.actor, epoch, self.keys.sign, 0)
        own.report([Cell(NODE_FACTS, "node", "healthy", (), {"level": highest})], 0)
        self.say(Delta(health=(own.stream.delta(None, 0),)))


@dataclass
class Life:
    """A node that the test restarts, as another version if it likes."""

    settings: Any
    live_node: Any
    stack: contextlib.ExitStack

    def start(self) -> Any:
        self.stack.close()
        return self.stack.enter_context(self.live_node(self.settings, luns=LUNS))


@pytest.fixture
def life(tmp_path: Path, settings_in: Any, live_node: Any) -> Iterator[Life]:
    settings = settings_in(tmp_path)
    init(settings, "n1", "san")
    with contextlib.ExitStack() as stack:
        yield Life(settings, live_node, stack)


def apply(node: Any) -> dict[str, Any]:
    found: dict[str, Any] = node.get("/v1/apply")["apply"]
    return found


def applied(node: Any) -> bool:
    state = apply(node)
    return bool(state["state"] == "in-sync" and state["desired"] == state["applied"] and not state["notes"])


def files(node: Any) -> dict[str, str]:
    """All that apply writes on the host."""
    etc = node.settings.multipath.etc_dir
    return {path.name: path.read_text() for path in (*(etc / "conf.d").iterdir(), etc / "wwids")}


def told(node: Any) -> set[str]:
    """Where the node says that it is behind."""
    status, code = node.get("/v1/status"), "config-behind"
    places = {
        "apply": [note["code"] for note in apply(node)["notes"]],
        "status": [problem["code"] for problem in status["config"]["problems"]],
        "doctor": [finding["code"] for finding in node.get("/v1/doctor")["findings"]],
    }
    return {place for place, codes in places.items() if code in codes}


def test_what_a_newer_version_wrote_freezes_the_host_until_the_upgrade(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    node = life.start()
    peer = Peer(node)
    peer.join()
    peer.greet()
    for wwid, alias in ((A, "first"), (B, "second")):
        assert node.write("POST", "/v1/config/wwids", {"wwid": wwid, "options": {"alias": alias}}).status == 200
    until("both are applied", lambda: applied(node) and "second" in files(node)["90-pathmesh.conf"])
    before = files(node)
    assert told(node) == set()

    peer.write({level.LEVEL_KEY: level.level_value(level.LEVEL + 1)})
    peer.write({f"wwid/{A}": {"alias": "merged"}}, MERGE)
    until("it says so at once", lambda: told(node) == {"apply", "status", "doctor"}, 5)
    assert apply(node)["state"] == "in-sync", "the host is what it was"
    peer.write({f"wwid/{B}": {"alias": "changed"}})
    until("there is something that it does not apply", lambda: apply(node)["state"] == "pending")
    assert node.get(f"/v1/config/wwids/{B}")["options"]["alias"] == "changed", "the edit itself is shown"
    assert node.ask("POST", "/v1/apply").json["apply"]["state"] == "pending", "not even when asked to"
    assert files(node) == before and told(node) == {"apply", "status", "doctor"}
    for path in (f"/v1/config/wwids/{A}", f"/v1/config/wwids/{A}?dry_run=true"):
        refused = node.write("PATCH", path, {"set": {"alias": "mine"}})
        assert (refused.status, refused.json["code"]) == (403, "config-behind")

    node = life.start()
    until("a restart changes nothing", lambda: told(node) == {"apply", "status", "doctor"})
    assert apply(node)["state"] == "pending" and files(node) == before

    monkeypatch.setattr(level, "KIND_LEVELS", {**level.KIND_LEVELS, MERGE: level.LEVEL + 1})
    monkeypatch.setattr(level, "LEVEL", level.LEVEL + 1)
    node = life.start()
    until("the upgraded node applies all of it", lambda: applied(node) and files(node) != before)
    assert "merged" in files(node)["90-pathmesh.conf"] and "changed" in files(node)["90-pathmesh.conf"]
    assert told(node) == set()
    assert node.write("PATCH", f"/v1/config/wwids/{A}", {"set": {"alias": "mine"}}).status == 200


def test_a_level_is_raised_only_when_every_member_reports_that_it_speaks_it(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    node = life.start()
    peer = Peer(node)
    peer.join()
    peer.greet()

    def raised() -> Any:
        return node.ask("PUT", "/v1/cluster/level", {"level": 2})

    def spoken() -> dict[str, Any]:
        return {each["name"]: each["level"] for each in node.get("/v1/cluster/level")["members"]}

    def refused(*names: str) -> None:
        answer = raised()
        assert answer.json["code"] == "level-not-spoken", answer
        assert all((name in answer.json["detail"]) is (name in names) for name in ("n1", "n2")), answer

    assert spoken() == {"n1": 1, "n2": None}
    refused("n1", "n2")
    monkeypatch.setattr(level, "LEVEL", 2)
    refused("n2")
    peer.report(1, epoch=1)
    until("n2 tells what it speaks", lambda: spoken() == {"n1": 2, "n2": 1})
    refused("n2")
    peer.report(2, epoch=2)
    until("n2 was upgraded", lambda: spoken() == {"n1": 2, "n2": 2})
    assert raised().status == 200 and node.get("/v1/cluster/level")["level"] == 2
