"""Members as users manage them, and joiners as their sponsor answers them."""

import secrets
from typing import Any

import pytest

from gossip.codec import VERSION_MAX, VERSION_MIN
from gossip.join_messages import JoinCode, JoinRequest
from gossip.keys import NodeKeys
from gossip.runner import boottime_ms
from gossip.tokens import Token, TokenCode
from store.errors import PathmeshError, UsageError
from store.level import LEVEL, LEVEL_KEY, level_value
from store.members import MEMBER_PREFIX, MemberState, Role

pytestmark = pytest.mark.anyio


async def token(node: Any, **more: Any) -> Token:
    made = await node.members.create_token(more.get("role", "editor"), more.get("uses", 1), more.get("ttl_seconds", 60))
    return Token.parse(made["token"])


def request(token: Token, name: str = "n9", **more: Any) -> JoinRequest:
    keys = NodeKeys.generate()
    values = {
        "version_min": VERSION_MIN,
        "version_max": VERSION_MAX,
        "token_id": token.id,
        "secret": token.secret,
        "name": name,
        "actor": secrets.token_bytes(16),
        "curve_key": keys.mesh_public,
        "signing_key": keys.signing_public,
        "endpoint": "tcp://127.0.0.1:7946",
    }
    return JoinRequest(**values | more)


async def refused(node: Any, asked: JoinRequest) -> PathmeshError:
    before = dict(node.engine.replica.fold.clock)
    with pytest.raises(PathmeshError) as caught:
        await node.members.sponsor(asked)
    assert node.engine.replica.fold.clock == before
    return caught.value


async def test_a_joiner_that_speaks_less_than_the_clusters_level_is_refused(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    made = await token(node)
    await node.writer.record({LEVEL_KEY: level_value(LEVEL + 1)})
    fault = await refused(node, request(made, level=LEVEL))
    assert fault.code == JoinCode.VERSION_MISMATCH and f"level {LEVEL + 1}" in fault.message
    assert (await node.members.sponsor(request(made, level=LEVEL + 1))).ok, "and its token is not used up"


async def test_a_joiner_with_a_token_becomes_a_member(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    asked = request(await token(node, role="observer"))
    reply = await node.members.sponsor(asked)
    assert reply.ok and reply.code == JoinCode.OK and reply.sponsor == "n1" and reply.role is Role.OBSERVER
    assert {m.name: m.curve_key for m in reply.members} == {"n1": node.key, "n9": asked.curve_key}
    member = node.engine.replica.registry.by_name["n9"]
    assert (member.actor, member.role, member.state, member.endpoint) == (asked.actor, Role.OBSERVER, MemberState.JOINED, asked.endpoint)
    assert node.log.edits[-1].edit.reason == f"joined with token {asked.token_id}"


async def test_a_joiner_that_lost_the_answer_gets_it_again(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    spent = await token(node)
    asked = request(spent)
    first = await node.members.sponsor(asked)
    edits = len(node.log.edits)
    assert await node.members.sponsor(asked) == first and len(node.log.edits) == edits
    fault = await refused(node, request(spent, "n8"))
    assert fault.code == TokenCode.USED


async def test_a_name_that_is_taken_costs_no_use_of_the_token(memory_cluster: Any) -> None:
    node = memory_cluster("n1", "n2")["n1"]
    made = await token(node)
    for name in ("n1", "n2"):
        fault = await refused(node, request(made, name))
        assert fault.code == JoinCode.NAME_TAKEN and name in fault.message
    assert (await node.members.list_tokens())[0]["uses_left"] == 1
    assert (await node.members.sponsor(request(made, "n3"))).ok


async def test_a_retired_name_is_free_again(memory_cluster: Any) -> None:
    node = memory_cluster("n1", "n2")["n1"]
    before = node.engine.replica.registry.by_name["n2"].actor
    await node.members.retire("n2")
    asked = request(await token(node), "n2")
    assert (await node.members.sponsor(asked)).ok
    member = node.engine.replica.registry.by_name["n2"]
    assert member.actor == asked.actor != before and member.active


async def test_requests_that_cannot_be_are_refused(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    made = await token(node)
    assert (await refused(node, request(made, version_min=VERSION_MAX + 1, version_max=VERSION_MAX + 1))).code == JoinCode.VERSION_MISMATCH
    assert (await refused(node, request(made, "-no-name-"))).code == "bad-name"
    assert (await refused(node, request(made, secret=b"x" * 32))).code == TokenCode.UNKNOWN
    await node.members.revoke_token(made.id)
    assert (await refused(node, request(made))).code == TokenCode.REVOKED


async def test_an_expired_token_lets_nobody_in(memory_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node = memory_cluster("n1")["n1"]
    made = await token(node, ttl_seconds=60)
    later = made.expires + 1.0
    monkeypatch.setattr("agent.members.time.time", lambda: later)
    assert (await refused(node, request(made))).code == TokenCode.EXPIRED
    assert [t["state"] for t in await node.members.list_tokens()] == ["expired"]


async def test_only_admins_manage_members(memory_cluster: Any) -> None:
    node = memory_cluster("n1", "n2", roles={"n2": Role.EDITOR})["n2"]
    for attempt in (node.members.create_token("editor", 1, 60), node.members.retire("n1")):
        with pytest.raises(PathmeshError) as caught:
            await attempt
        assert caught.value.code == "forbidden" and "admin" in caught.value.hint


async def test_retiring_is_final_and_refuses_nonsense(memory_cluster: Any) -> None:
    node = memory_cluster("n1", "n2")["n1"]
    for name, code in (("n9", "not-found"), ("n1", "not-self")):
        with pytest.raises(UsageError) as caught:
            await node.members.retire(name)
        assert caught.value.code == code
    await node.members.retire("n2", dry_run=True)
    assert node.engine.replica.registry.by_name["n2"].active
    await node.members.retire("n2", reason="sold")
    assert node.members.standing("n2", boottime_ms()) == "retired" and node.log.edits[-1].edit.reason == "sold"
    with pytest.raises(UsageError, match="already"):
        await node.members.retire("n2")


async def test_retiring_keeps_what_a_later_version_registered(memory_cluster: Any) -> None:
    node = memory_cluster("n1", "n2")["n1"]
    value = dict(node.engine.replica.fold.value(MEMBER_PREFIX + "n2")) | {"rack": "b2", "zone": "x"}
    await node.writer.record({MEMBER_PREFIX + "n2": value})
    await node.members.retire("n2")
    assert node.engine.replica.fold.value(MEMBER_PREFIX + "n2") == value | {"state": "retired"}


async def test_a_role_that_there_is_not(memory_cluster: Any) -> None:
    node = memory_cluster("n1")["n1"]
    with pytest.raises(UsageError, match="observer, editor, admin"):
        await node.members.create_token("king", 1, 60)


async def test_the_description_tells_liveness_and_age(memory_cluster: Any, eventually: Any) -> None:
    cluster = memory_cluster("n1", "n2")
    node = cluster["n1"]
    assert node.members.standing("n9", boottime_ms()) == "left"

    def online() -> bool:
        for each in cluster.nodes.values():
            each.tick()
        return all(m["liveness"] == "online" and m["age_seconds"] is not None for m in node.members.describe())

    await eventually("both are online", online)
    mine, other = node.members.describe()
    assert (mine["name"], other["name"]) == ("n1", "n2") and mine["actor"] == node.engine.identity.actor.hex()
    assert other["endpoints"] == ["tcp://n2:7946"] and other["role"] == "admin"
