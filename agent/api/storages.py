"""Operations on storages: how they fare, their volumes, and what this node is asked to do with them."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from agent.api.requests import body_as, flag
from agent.api.responses import json_response
from agent.api.routes import DRY, Access, Operation
from agent.node import Node
from agent.storage_view import storages_json, volumes_json
from store.errors import UsageError
from store.limits import limit

Volumes = Annotated[list[Annotated[str, Meta(min_length=1, max_length=512)]], Meta(max_length=256)]


class ActivateBody(msgspec.Struct, forbid_unknown_fields=True):
    """Activate a storage, or some of its volumes: WWIDs, aliases or `<storage>:<WWID>`; of a volume group names of logical volumes.

    `all`: every logical volume of a group that other nodes have too.
    """

    volumes: Volumes = []
    all: bool = False


class DeactivateBody(msgspec.Struct, forbid_unknown_fields=True):
    """Deactivate logical volumes of a volume group; all if none is named."""

    volumes: Volumes = []


class CreateGroupBody(msgspec.Struct, forbid_unknown_fields=True):
    """Make a volume group. `ignore_nodes` are nodes of which somebody made sure that they do not use the LUN; `reason` is logged."""

    ignore_nodes: Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=limit("members"))] = []
    reason: Annotated[str, Meta(max_length=512)] = ""


async def get_storages(node: Node, _: Request) -> Response:
    return json_response({"digest": node.picture.config.digest, "storages": storages_json(node)})


async def get_volumes(node: Node, request: Request) -> Response:
    name = request.query_params.get("node", node.birth.name)
    if name not in node.picture.node_names():
        raise UsageError(f"node {name[:80]!r}: there is no such node", code="malformed", hint="see `pathmesh node ls`")
    return json_response(volumes_json(node, request.path_params["id"], name))


async def post_activate(node: Node, request: Request) -> Response:
    body = await body_as(request, ActivateBody)
    return json_response(await node.host.storages.activate(request.path_params["id"], body.volumes, everything=body.all))


async def post_deactivate(node: Node, request: Request) -> Response:
    body = await body_as(request, DeactivateBody)
    return json_response(await node.host.storages.deactivate(request.path_params["id"], body.volumes))


async def post_create_vg(node: Node, request: Request) -> Response:
    body, dry_run = await body_as(request, CreateGroupBody), flag(request, "dry_run")
    acts = node.host.storages
    answer = await acts.create_group(request.path_params["id"], dry_run=dry_run, ignored=body.ignore_nodes, reason=body.reason)
    return json_response(answer)


W = Access.WRITE
OPERATIONS = (
    Operation("GET", "/v1/storages", get_storages, "Storages, what they stand on and how they fare on each node"),
    Operation("GET", "/v1/storages/{id}/volumes", get_volumes, "The volumes of a storage on a node, and who uses them", query=("node",)),
    Operation("POST", "/v1/storages/{id}/activate", post_activate, "Make a storage or volumes of it ready on this node", W, ActivateBody),
    Operation("POST", "/v1/storages/{id}/deactivate", post_deactivate, "Deactivate logical volumes on this node", W, DeactivateBody),
    Operation(
        "POST", "/v1/storages/{id}/create-vg", post_create_vg, "Make a storage's volume group on its base", W, CreateGroupBody, query=DRY
    ),
)
