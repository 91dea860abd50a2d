"""What the API says of the membership, and how it is changed: members, tokens, maintenance, reach, leaving, the level, the doctor."""

import re
from typing import Any

import pytest

from agent import levels
from store.members import MemberState

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def test_members_are_listed(lone: Any) -> None:
    [member] = lone.get("/v1/members")["members"]
    known = {"name", "role", "state", "liveness", "actor", "public_key", "endpoints", "age_seconds", "connected", "maintenance"}
    assert member.keys() == known
    assert (member["name"], member["role"], member["state"], member["liveness"]) == ("n1", "admin", "joined", "online")
    assert member["endpoints"] == [lone.settings.gossip.listen]


def test_a_token_is_shown_once_and_can_be_revoked(lone: Any) -> None:
    answer = lone.ask("POST", "/v1/members/tokens", {"role": "observer", "uses": 2, "ttl_seconds": 60})
    assert answer.status == 200 and answer.json["token"].startswith("pmj1.") and TIME.fullmatch(answer.json["expires"])
    listed = {t["id"]: t for t in lone.get("/v1/members/tokens")["tokens"]}
    entry = listed[answer.json["id"]]
    assert TIME.fullmatch(entry.pop("expires"))
    assert entry == {"id": answer.json["id"], "role": "observer", "uses_left": 2, "state": "live"}
    assert answer.json["token"] not in str(listed)
    assert lone.ask("DELETE", f"/v1/members/tokens/{answer.json['id']}").json == {"revoked": answer.json["id"]}
    assert {t["id"]: t["state"] for t in lone.get("/v1/members/tokens")["tokens"]}[answer.json["id"]] == "revoked"


@pytest.mark.parametrize("body", [{"role": "king"}, {"uses": 0}, {"uses": 10**9}, {"ttl_seconds": 0}, {"ttl_seconds": 10**9}])
def test_a_token_that_cannot_be_is_refused(lone: Any, body: Any) -> None:
    before = lone.get("/v1/members/tokens")
    assert lone.ask("POST", "/v1/members/tokens", body).status == 422
    assert lone.get("/v1/members/tokens") == before


def test_an_unknown_token_cannot_be_revoked(lone: Any) -> None:
    answer = lone.ask("DELETE", "/v1/members/tokens/0123456789")
    assert answer.status == 404 and answer.json["code"] == "token-unknown", answer


def test_who_is_no_member_or_oneself_cannot_be_retired(lone: Any) -> None:
    assert lone.ask("DELETE", "/v1/members/n9").json["code"] == "not-found"
    assert lone.ask("DELETE", "/v1/members/tokens").json["code"] == "not-found"
    assert lone.ask("DELETE", "/v1/members/n1").json["code"] == "not-self"
    assert [m["state"] for m in lone.get("/v1/members")["members"]] == ["joined"]


def test_maintenance_begins_changes_and_ends(lone: Any) -> None:
    path = "/v1/members/n1/maintenance"
    answer = lone.ask("PUT", f"{path}?dry_run=true", {"on": True})
    assert answer.status == 200 and answer.json == {"name": "n1", "maintenance": None, "edit": None, "dry_run": True}
    answer = lone.ask("PUT", path, {"on": True, "reason": "HBA", "expires_seconds": 3600})
    found = answer.json["maintenance"]
    assert found["reason"] == "HBA" and TIME.fullmatch(found["since"]) and found["expires"] > found["since"] and answer.json["edit"]
    assert lone.get("/v1/members")["members"][0]["maintenance"] == found
    assert lone.get("/v1/nodes/n1")["maintenance"] is True and lone.get("/v1/status")["nodes"][0]["maintenance"] is True
    tag = lone.ask("GET", "/v1/matrix").headers["etag"]
    assert lone.ask("PUT", path, {"on": False}).json["edit"]
    assert lone.ask("GET", "/v1/matrix").headers["etag"] != tag
    assert lone.ask("PUT", path, {"on": False}).json["edit"] is None
    assert lone.get("/v1/nodes/n1")["maintenance"] is False
    assert lone.ask("PUT", "/v1/members/n9/maintenance", {"on": True}).json["code"] == "not-found"


@pytest.mark.parametrize("body", [{}, {"on": "yes"}, {"on": True, "expires_seconds": 0}, {"on": True, "until": 5}])
def test_maintenance_that_makes_no_sense_is_refused(lone: Any, body: Any) -> None:
    answer = lone.ask("PUT", "/v1/members/n1/maintenance", body)
    assert answer.status == 400 and answer.json["code"] == "malformed"


def test_who_sees_whom_on_a_lone_node(lone: Any) -> None:
    document = lone.get("/v1/members/reach")
    [row] = document["nodes"]
    assert row == {"node": "n1", "state": "online", "age_seconds": 0.0, "unheard": [], "unreached": [], "sees": {"n1": "self"}}
    assert (document["one_way"], document["cut"], document["problems"]) == ([], [], [])


def test_leaving_is_tried_without_being_done(lone: Any) -> None:
    answer = lone.ask("POST", "/v1/leave?dry_run=true", {"purge": True})
    assert answer.json == {
        "left": "n1",
        "known_by": [],
        "purged": None,
        "warnings": ["this is the only member: the cluster ends with it"],
        "dry_run": True,
    }
    assert lone.get("/v1/members")["members"][0]["state"] == "joined"
    for body in ({"wait_seconds": 0}, {"wait_seconds": 601}, {"now": True}):
        assert lone.ask("POST", "/v1/leave", body).status == 400


def test_the_doctor_finds_nothing_wrong_and_then_something(lone: Any) -> None:
    assert lone.get("/v1/doctor") == {"node": "n1", "findings": []}
    lone.call(lambda: lone.node.alarms.raise_alarm("edits-void", "void", "versions"))
    assert lone.get("/v1/doctor")["findings"] == [{"code": "edits-void", "severity": "warning", "message": "void", "hint": "versions"}]


def test_the_level_is_shown_and_raised_by_what_members_speak(lone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lone.get("/v1/cluster/level") == {"level": 1, "highest": 1, "members": [{"name": "n1", "level": 1}]}
    answer = lone.ask("PUT", "/v1/cluster/level", {"level": 2})
    assert answer.status == 422 and answer.json["code"] == "level-not-spoken" and "n1" in answer.json["detail"]
    assert lone.ask("PUT", "/v1/cluster/level", {"level": 1}).json["code"] == "exists"
    monkeypatch.setattr(levels.level, "LEVEL", 2)
    assert lone.ask("PUT", "/v1/cluster/level?dry_run=true", {"level": 2}).json["level"] == 1
    answer = lone.ask("PUT", "/v1/cluster/level", {"level": 2, "reason": "all new"})
    assert answer.status == 200 and answer.json["level"] == 2 and answer.json["edit"]
    for body in ({"level": 0}, {"level": "2"}, {}):
        assert lone.ask("PUT", "/v1/cluster/level", body).status == 400
    codes = [finding["code"] for finding in lone.get("/v1/doctor")["findings"]]
    monkeypatch.undo()
    assert "level-above" not in codes
    assert "level-above" in [finding["code"] for finding in lone.get("/v1/doctor")["findings"]], "the version was taken back"


def test_a_lone_node_that_leaves_is_told_so_everywhere(lone: Any) -> None:
    """The last test of this node."""
    answer = lone.ask("POST", "/v1/leave", {"reason": "the end"})
    assert answer.status == 200 and answer.json["left"] == "n1" and answer.json["warnings"]
    assert lone.node.runner.engine.member.state is MemberState.LEFT
    answer = lone.ask("GET", "/readyz")
    assert answer.status == 403 and answer.json["code"] == "left"
    assert lone.write("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 5}}).json["code"] == "left"
    assert "left" in [problem["code"] for problem in lone.get("/v1/status")["config"]["problems"]]
    assert "left" in [finding["code"] for finding in lone.get("/v1/doctor")["findings"]]
    assert lone.ask("PUT", "/v1/cluster/level", {"level": 3}).status == 403
    assert lone.ask("POST", "/v1/members/tokens", {}).status == 403
