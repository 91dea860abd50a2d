"""History, undoing and rollout through the API, the last with a host that really applies."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from agent.bootstrap import init
from apply.outcome import APPLIED_CLOCK
from scripts.cluster.nodes import wait_for

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "360014050000000100004000800000000"
KEY = f"wwid/{A}"
LUNS = f"""
[[lun]]
wwid = "{A}"
vendor = "PURE"
product = "FlashArray"
size_bytes = 1073741824
[[lun.path]]
dev = "sda"
host_wwpn = "0x2100000e1e000101"
target_wwpn = "0x50014380242b0101"
"""


@pytest.fixture
def torn(tmp_path: Path, settings_in: Any, plant_edits: Any, live_node: Any) -> Iterator[Any]:
    """A node in whose database three nodes have written, the last two concurrently."""
    settings = settings_in(tmp_path)
    init(settings, "n1", "san")
    plant_edits(settings, {"n1": {KEY: {"alias": "start"}}}, {"n1": {KEY: {"alias": "one"}}, "n2": {KEY: {"alias": "two"}}})
    with live_node(settings) as node:
        yield node


def revert(node: Any, edit: str, digest: str | None = None, body: Any = None, query: str = "") -> Any:
    headers = {"if-match": digest or node.ask("GET", f"/v1/history/{quote(edit)}").digest}
    return node.ask("POST", f"/v1/history/{quote(edit)}/revert{query}", body or {}, headers)


def test_history_tells_the_edits_newest_first(torn: Any) -> None:
    body = torn.get("/v1/history")
    assert body.keys() == {"key", "edits", "next"} and body["key"] is None and body["next"] is None
    for entry in body["edits"]:
        assert entry.keys() == {
            "edit", "kind", "author", "wall", "reason", "state", "late", "keys", "more_keys", "changes", "concurrent_with",
        }  # fmt: skip
    mine = torn.get(f"/v1/history?key={A}")["edits"]
    assert [e["state"] for e in mine] == ["conflict", "conflict", "superseded"]
    assert mine[0]["concurrent_with"] == [mine[1]["edit"]] and mine[1]["concurrent_with"] == [mine[0]["edit"]]
    assert [e["reason"] for e in mine[2:]] == ["by n1"]
    assert torn.get(f"/v1/history?key={quote(KEY, safe='')}")["edits"] == mine


def test_pages_follow_each_other(torn: Any) -> None:
    whole = [e["edit"] for e in torn.get("/v1/history")["edits"]]
    found, cursor = [], ""
    while True:
        body = torn.get(f"/v1/history?limit=2{cursor}")
        found += [e["edit"] for e in body["edits"]]
        if body["next"] is None:
            break
        cursor = f"&cursor={body['next']}"
    assert found == whole


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/history?limit=0", 400, "malformed"),
        ("/v1/history?limit=1001", 400, "malformed"),
        ("/v1/history?limt=5", 400, "malformed"),
        ("/v1/history?cursor=x", 400, "malformed"),
        ("/v1/history?key=", 400, "malformed"),
        ("/v1/history?key=nobody", 404, "not-found"),
        ("/v1/history/nonsense", 404, "not-found"),
        ("/v1/history/" + "0" * 32 + ":1", 404, "not-found"),
        ("/v1/rollout/nonsense", 404, "not-found"),
    ],
)
def test_questions_that_make_no_sense(torn: Any, path: str, status: int, code: str) -> None:
    answer = torn.ask("GET", path)
    assert (answer.status, answer.json["code"]) == (status, code), answer


def test_one_edit_carries_the_digest_that_its_revert_needs(torn: Any) -> None:
    assert torn.write("POST", "/v1/config/wwids", {"wwid": B, "options": {"alias": "b"}}).status == 200
    edit = torn.write("PATCH", f"/v1/config/wwids/{B}", {"set": {"alias": "c"}, "reason": "typo"}).json["edit"]
    answer = torn.ask("GET", f"/v1/history/{edit[:8]}:{edit.partition(':')[2]}")
    assert answer.json["edit"] == edit and answer.digest == f'"{answer.json["digest"]}"' == torn.digest()
    missing = torn.ask("POST", f"/v1/history/{edit}/revert", {})
    assert missing.status == 428
    dry = revert(torn, edit, query="?dry_run=true")
    assert dry.status == 200 and dry.json["dry_run"] and "+\talias b\n" in dry.json["diff"]
    done = revert(torn, edit, body={"reason": "was right"})
    assert done.status == 200 and done.json["changed"] == [f"wwid/{B}"], done
    assert done.digest == torn.digest() and torn.get(f"/v1/config/wwids/{B}")["options"] == {"alias": "b"}
    assert torn.get("/v1/history?limit=1")["edits"][0]["reason"] == "was right"
    stale = revert(torn, done.json["edit"], digest=answer.digest)
    assert stale.status == 412 and stale.json["code"] == "stale-digest" and f'"{stale.json["digest"]}"' == torn.digest()
    again = revert(torn, edit)
    assert again.status == 409 and again.json["code"] == "changed-since"
    assert again.json["edit"] == done.json["edit"] and again.json["key"] == f"wwid/{B}"


def test_a_revert_of_overrides_goes_by_their_digest(torn: Any) -> None:
    edit = torn.write("PUT", "/v1/overrides", "# one\n", of="/v1/overrides").json["edit"]
    done = revert(torn, edit)
    assert done.status == 200 and torn.get("/v1/overrides")["text"] == "" and done.digest == torn.digest("/v1/overrides")


def test_a_revert_that_cannot_be(torn: Any) -> None:
    edits = torn.get(f"/v1/history?key={A}")["edits"]
    before = torn.digest()
    answer = revert(torn, edits[0]["edit"])
    assert answer.status == 409 and answer.json["code"] == "conflict-open" and answer.json["key"] == KEY
    founding = torn.get("/v1/history")["edits"][-1]["edit"]
    answer = revert(torn, founding)
    assert answer.status == 422 and answer.json["code"] == "not-revertible"
    answer = revert(torn, founding, body={"nonsense": 1})
    assert answer.status == 400
    actor = edits[0]["edit"].partition(":")[0]
    answer = torn.ask("GET", f"/v1/history/{edits[2]['edit'].partition(':')[0]}")
    assert answer.status == 422 and answer.json["code"] == "ambiguous-edit", (answer, actor)
    assert torn.digest() == before


# -- rollout ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hosted(tmp_path: Path, live_node: Any, settings_in: Any) -> Iterator[Callable[[], Any]]:
    """A node with a simulated host."""
    settings = settings_in(tmp_path)
    init(settings, "n1", "san")
    with live_node(settings, luns=LUNS) as node:
        yield node


def test_an_edit_is_followed_until_the_host_has_applied_it(hosted: Any) -> None:
    edit = hosted.write("POST", "/v1/config/wwids", {"wwid": A, "options": {"alias": "a"}}).json["edit"]
    body = hosted.get("/v1/rollout")
    assert body["edit"] == edit and body["hosts"] and body["keys"] == [KEY] and body["nodes"][0]["node"] == "n1"
    wait_for("it is applied", lambda: hosted.get(f"/v1/rollout/{edit}")["done"])
    assert hosted.get("/v1/rollout")["counts"]["applied"] == 1
    clock = hosted.call(lambda: hosted.node.picture.cell("n1", "multipath.apply", "config").detail[APPLIED_CLOCK])
    actor, _, counter = edit.partition(":")
    assert clock[actor] >= int(counter)
    for path in ("/v1/matrix", "/v1/apply"):
        assert APPLIED_CLOCK not in hosted.ask("GET", path).body.decode(), "it is for programs alone"
    assert APPLIED_CLOCK not in hosted.ask("POST", "/v1/apply").body.decode()
    hosted.write("PATCH", f"/v1/config/wwids/{A}", {"set": {"alias": "b"}})
    wait_for("the next is applied too", lambda: hosted.get("/v1/rollout")["done"])
    assert hosted.get(f"/v1/rollout/{edit}")["done"], "the first stays applied"


def test_edits_that_concern_no_host_move_no_clock(hosted: Any) -> None:
    edit = hosted.write("POST", "/v1/config/wwids", {"wwid": A}).json["edit"]
    wait_for("it is applied", lambda: hosted.get(f"/v1/rollout/{edit}")["done"])

    def clock() -> Any:
        return hosted.call(lambda: hosted.node.picture.cell("n1", "multipath.apply", "config").detail[APPLIED_CLOCK])

    before = clock()
    hosted.run(hosted.node.writer.record({f"ack/n1/{B}": {"paths": "x"}}))
    assert hosted.ask("POST", "/v1/apply").json["apply"]["state"] == "in-sync"
    assert clock() == before, "a cell that says nothing new costs everybody a message"


def test_the_clock_of_the_last_apply_survives_a_restart(tmp_path: Path, live_node: Any, settings_in: Any) -> None:
    settings = settings_in(tmp_path)
    init(settings, "n1", "san")
    with live_node(settings, luns=LUNS) as node:
        edit = node.write("POST", "/v1/config/wwids", {"wwid": A}).json["edit"]
        wait_for("it is applied", lambda: node.get(f"/v1/rollout/{edit}")["done"])
    with live_node(settings, luns=LUNS) as node:
        wait_for("it is still", lambda: node.get(f"/v1/rollout/{edit}")["done"])
