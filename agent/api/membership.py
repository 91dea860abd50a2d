"""Operations on who belongs to the cluster, how they reach each other, and what is wrong with that."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from agent.api.requests import body_as, flag
from agent.api.responses import json_response
from agent.api.routes import DRY, Access, Operation
from agent.api.values import Reason
from agent.doctor import diagnose
from agent.node import Node
from agent.reach import reach_document, read_reach
from gossip.runner import boottime_ms
from store.cells import GOSSIP_REACH
from store.matrix import Reporter


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """A join token to be made."""

    role: str = "editor"
    uses: int = 1
    ttl_seconds: int = 3600


class MaintenanceBody(msgspec.Struct, forbid_unknown_fields=True):
    """Begin a member's maintenance, or end it."""

    on: bool
    reason: Reason = ""
    expires_seconds: Annotated[int, Meta(ge=1, le=10 * 365 * 86400)] | None = None


class LeaveBody(msgspec.Struct, forbid_unknown_fields=True):
    """Leave the cluster; with `purge`, take off what apply wrote on this host first. `wait_seconds` for another member to hear of it."""

    purge: bool = False
    wait_seconds: Annotated[int, Meta(ge=1, le=600)] = 20
    reason: Reason = ""


class LevelBody(msgspec.Struct, forbid_unknown_fields=True):
    """Raise the cluster's feature level."""

    level: Annotated[int, Meta(ge=1, le=1000)]
    reason: Reason = ""


async def get_members(node: Node, _: Request) -> Response:
    return json_response({"members": node.members.describe()})


async def get_tokens(node: Node, _: Request) -> Response:
    return json_response({"tokens": await node.members.list_tokens()})


async def post_token(node: Node, request: Request) -> Response:
    body = await body_as(request, TokenBody)
    return json_response(await node.members.create_token(body.role, body.uses, body.ttl_seconds))


async def delete_token(node: Node, request: Request) -> Response:
    await node.members.revoke_token(request.path_params["id"])
    return json_response({"revoked": request.path_params["id"]})


async def delete_member(node: Node, request: Request) -> Response:
    """Retiring and evicting are one act here: the edit takes effect on every connected node as soon as it arrives."""
    name = request.path_params["name"]
    flag(request, "evict")
    dry_run = flag(request, "dry_run")
    await node.members.retire(name, reason=request.query_params.get("reason", ""), dry_run=dry_run)
    return json_response({"retired": name, "dry_run": dry_run})


async def put_maintenance(node: Node, request: Request) -> Response:
    """Asked again with other words it changes what is there; ended twice it is ended."""
    body, name, dry_run = await body_as(request, MaintenanceBody), request.path_params["name"], flag(request, "dry_run")
    dot = await node.members.set_maintenance(name, body.on, reason=body.reason, expires_seconds=body.expires_seconds, dry_run=dry_run)
    found = node.picture.maintenance().get(name)
    return json_response({"name": name, "maintenance": found and found.json(), "edit": str(dot) if dot else None, "dry_run": dry_run})


async def get_reach(node: Node, _: Request) -> Response:
    """This node's own row is what it finds now, the others' what they told last; nothing is taken from a node that is not heard."""
    picture, now = node.picture, boottime_ms()
    members = {m.name: m for m in node.runner.engine.replica.registry.active}
    nodes = {name: {"state": node.members.standing(name, now), "age_seconds": picture.age_seconds(name)} for name in members}
    fresh = {name for name, reporter in picture.reporters().items() if reporter is Reporter.FRESH}
    told = {name: read_reach(picture.cell(name, GOSSIP_REACH, "reach")) if name in fresh else None for name in members}
    if node.birth.name in told:
        told[node.birth.name] = node.host.reach
    return json_response(reach_document(nodes, told))


async def post_leave(node: Node, request: Request) -> Response:
    body = await body_as(request, LeaveBody)
    return json_response(
        await node.departure.leave(purge=body.purge, wait_seconds=body.wait_seconds, reason=body.reason, dry_run=flag(request, "dry_run"))
    )


async def get_level(node: Node, _: Request) -> Response:
    return json_response(node.levels.describe())


async def put_level(node: Node, request: Request) -> Response:
    body, dry_run = await body_as(request, LevelBody), flag(request, "dry_run")
    dot = await node.levels.raise_to(body.level, reason=body.reason, dry_run=dry_run)
    return json_response({**node.levels.describe(), "edit": str(dot) if dot else None, "dry_run": dry_run})


async def get_doctor(node: Node, _: Request) -> Response:
    """What is wrong here, worst first; nothing is no news."""
    return json_response({"node": node.birth.name, "findings": [finding.json() for finding in diagnose(node)]})


W = Access.WRITE
OPERATIONS = (
    Operation("GET", "/v1/members", get_members, "The members"),
    Operation("GET", "/v1/members/tokens", get_tokens, "The join tokens of this node"),
    Operation("POST", "/v1/members/tokens", post_token, "Make a join token", W, TokenBody),
    Operation("DELETE", "/v1/members/tokens/{id}", delete_token, "Revoke a join token", W),
    Operation("DELETE", "/v1/members/{name}", delete_member, "Retire a member for good", W, query=("dry_run", "evict", "reason")),
    Operation(
        "PUT", "/v1/members/{name}/maintenance", put_maintenance, "Begin or end a member's maintenance", W, MaintenanceBody, query=DRY
    ),
    Operation("GET", "/v1/members/reach", get_reach, "Who sees whom"),
    Operation("POST", "/v1/leave", post_leave, "Leave the cluster with this node", W, LeaveBody, query=DRY),
    Operation("GET", "/v1/cluster/level", get_level, "The feature level of the cluster, and what members speak"),
    Operation("PUT", "/v1/cluster/level", put_level, "Raise the feature level", W, LevelBody, query=DRY),
    Operation("GET", "/v1/doctor", get_doctor, "What is wrong here and what to do about it"),
)
