"""Concurrent values through the API: shown, in the way of other writes, and resolved by the edits that were shown."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.bootstrap import init

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "360014050000000100004000800000000"
KEY = f"wwid/{A}"


@pytest.fixture
def torn(tmp_path: Path, settings_in: Any, plant_edits: Any, live_node: Any) -> Iterator[Callable[..., Any]]:
    """Starts a node in whose database three nodes have written concurrently."""
    settings = settings_in(tmp_path)
    init(settings, "n1", "san")
    plant_edits(
        settings,
        {"n1": {KEY: {"alias": "start"}, f"wwid/{B}": {"alias": "other"}}},
        {"n1": {KEY: {"alias": "one"}}, "n2": {KEY: {"alias": "two"}}, "n3": {KEY: None}},
        {"n1": {"overrides": {"text": "# one\n"}}, "n2": {"overrides": {"text": "# two\n"}}},
    )
    with live_node(settings) as node:
        yield node


def conflict(node: Any, key: str = KEY) -> Any:
    return next((c for c in node.get("/v1/conflicts")["conflicts"] if c["key"] == key), None)


def resolve(node: Any, body: Any, key: str = KEY) -> Any:
    return node.ask("POST", f"/v1/conflicts/{key.replace('/', '%2F')}/resolve", body)


def test_conflicts_show_every_value_with_its_author(torn: Any) -> None:
    found = torn.get("/v1/conflicts")["conflicts"]
    assert [c["key"] for c in found] == ["overrides", KEY]
    siblings = found[1]["siblings"]
    assert {(s["author"], (s["value"] or {}).get("alias")) for s in siblings} == {("n1", "one"), ("n2", "two"), ("n3", None)}
    assert sum(s["winner"] for s in siblings) == 1
    for s in siblings:
        assert s.keys() == {"dot", "lamport", "author", "wall", "reason", "value", "winner"}
        assert s["wall"] == "2023-11-14T22:13:20Z" and s["reason"] == f"by {s['author']}"
    status = torn.get("/v1/status")["config"]
    assert status["conflicts"] == 2
    assert torn.get("/v1/config")["conflicts"] == ["overrides", KEY] or torn.get("/v1/config")["conflicts"] == [KEY, "overrides"]


def test_the_common_ancestor_is_what_all_writers_had_seen(torn: Any) -> None:
    assert conflict(torn)["ancestor"] == {"known": True, "value": {"alias": "start"}}
    assert conflict(torn, "overrides")["ancestor"] == {"known": True, "value": None}
    siblings = {s["author"]: s["dot"] for s in conflict(torn)["siblings"]}
    assert resolve(torn, {"dots": [siblings["n1"], siblings["n2"]], "value": {"alias": "merged"}}).status == 200
    left = conflict(torn)
    assert len(left["siblings"]) == 2 and left["ancestor"] == {"known": True, "value": {"alias": "start"}}


def test_a_write_of_a_key_in_conflict_is_refused(torn: Any) -> None:
    before = torn.digest()
    winner = next(s for s in conflict(torn)["siblings"] if s["winner"])
    writes = [
        (
            "POST",
            "/v1/config/edits",
            {"changes": [{"key": KEY, "set": {"comment": "x"}}, {"key": "defaults", "set": {"polling-interval": 5}}]},
        )
    ]
    if winner["value"] is not None:
        writes += [("PATCH", f"/v1/config/wwids/{A}", {"set": {"comment": "x"}}), ("DELETE", f"/v1/config/wwids/{A}", None)]
    else:
        writes += [("POST", "/v1/config/wwids", {"wwid": A})]
    for method, path, body in writes:
        answer = torn.write(method, path, body)
        assert answer.status == 409 and answer.json["code"] == "conflict-open" and answer.json["key"] == KEY, answer
    answer = torn.write("PUT", "/v1/overrides", "# three\n", of="/v1/overrides")
    assert answer.status == 409 and answer.json["key"] == "overrides"
    assert torn.digest() == before
    assert torn.write("PATCH", f"/v1/config/wwids/{B}", {"set": {"comment": "others go on"}}).status == 200


def test_taking_one_of_all_ends_the_conflict(torn: Any) -> None:
    siblings = conflict(torn)["siblings"]
    dots = [s["dot"] for s in siblings]
    number = next(n for n, s in enumerate(siblings, 1) if s["author"] == "n2")
    dry = torn.ask("POST", f"/v1/conflicts/{KEY.replace('/', '%2F')}/resolve?dry_run=true", {"dots": dots, "take": number})
    assert dry.status == 200 and dry.json["dry_run"] and conflict(torn) is not None
    answer = resolve(torn, {"dots": dots, "take": number, "reason": "n2 is right"})
    assert answer.status == 200 and answer.json["changed"] == [KEY], answer
    assert conflict(torn) is None
    assert torn.get(f"/v1/config/wwids/{A}")["options"] == {"alias": "two"}
    again = resolve(torn, {"dots": dots, "take": number})
    assert again.status == 422 and again.json["code"] == "no-conflict"


def test_a_sibling_that_was_not_named_stays(torn: Any) -> None:
    siblings = {s["author"]: s["dot"] for s in conflict(torn)["siblings"]}
    answer = resolve(torn, {"dots": [siblings["n1"], siblings["n2"]], "value": {"alias": "merged"}})
    assert answer.status == 200, answer
    left = conflict(torn)["siblings"]
    assert {(s["author"], (s["value"] or {}).get("alias")) for s in left} == {("n1", "merged"), ("n3", None)}
    answer = resolve(torn, {"dots": [s["dot"] for s in left], "value": None})
    assert answer.status == 200 and conflict(torn) is None
    assert torn.ask("GET", f"/v1/config/wwids/{A}").status == 404


def test_overrides_are_resolved_by_text(torn: Any) -> None:
    dots = [s["dot"] for s in conflict(torn, "overrides")["siblings"]]
    assert resolve(torn, {"dots": dots, "value": {"text": "# both\n"}}, "overrides").status == 200
    assert torn.get("/v1/overrides")["text"] == "# both\n" and conflict(torn, "overrides") is None


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"take": 0}, 422, "bad-take"),
        ({"take": 4}, 422, "bad-take"),
        ({"take": 1, "value": {}}, 400, "malformed"),
        ({}, 400, "malformed"),
        ({"take": 1, "dots": []}, 422, "bad-dots"),
        ({"take": 1, "dots": ["not a dot"]}, 422, "bad-dots"),
        ({"take": 1, "dots": ["00" * 16 + ":1"]}, 412, "stale-digest"),
        ({"value": {"no-such-option": "1"}}, 422, "unknown-option"),
        ({"value": {"alias": "other"}}, 422, "duplicate-alias"),
    ],
)
def test_a_resolution_that_cannot_be_changes_nothing(torn: Any, change: dict[str, Any], status: int, code: str) -> None:
    before = conflict(torn)
    body = {"dots": [s["dot"] for s in before["siblings"]]} | change
    answer = resolve(torn, body)
    assert answer.status == status and answer.json["code"] == code, answer
    assert conflict(torn) == before


def test_a_dot_named_twice_is_refused(torn: Any) -> None:
    dot = conflict(torn)["siblings"][0]["dot"]
    answer = resolve(torn, {"dots": [dot, dot], "take": 1})
    assert answer.status == 422 and answer.json["code"] == "bad-dots"


def test_a_key_without_conflict_cannot_be_resolved(torn: Any) -> None:
    answer = resolve(torn, {"dots": ["00" * 16 + ":1"], "take": 1}, f"wwid/{B}")
    assert answer.status == 422 and answer.json["code"] == "no-conflict"
