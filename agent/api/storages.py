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


class ActivateBody(msgspec.Struct, forbid_unknown_fields=True):
    """Activate a storage, or one of its volumes: a WWID, an alias, or `<storage>:<WWID>`."""

    volume: Annotated[str, Meta(min_length=1, max_length=512)] | None = None


async def get_storages(node: Node, _: Request) -> Response:
    return json_response({"digest": node.picture.config.digest, "storages": storages_json(node)})


async def get_volumes(node: Node, request: Request) -> Response:
    name = request.query_params.get("node", node.birth.name)
    if name not in node.picture.node_names():
        raise UsageError(f"node {name[:80]!r}: there is no such node", code="malformed", hint="see `pathmesh node ls`")
    return json_response(volumes_json(node, request.path_params["id"], name))


async def post_activate(node: Node, request: Request) -> Response:
    body = await body_as(request, ActivateBody)
    return json_response(await node.host.storages.activate(request.path_params["id"], body.volume))


async def post_deactivate(node: Node, request: Request) -> Response:
    return json_response(await node.host.storages.deactivate(request.path_params["id"]))


async def post_create_vg(node: Node, request: Request) -> Response:
    return json_response(await node.host.storages.create_group(request.path_params["id"], dry_run=flag(request, "dry_run")))


W = Access.WRITE
OPERATIONS = (
    Operation("GET", "/v1/storages", get_storages, "Storages, what they stand on and how they fare on each node"),
    Operation("GET", "/v1/storages/{id}/volumes", get_volumes, "The volumes of a storage on a node, and who uses them", query=("node",)),
    Operation("POST", "/v1/storages/{id}/activate", post_activate, "Make a storage or a volume ready on this node", W, ActivateBody),
    Operation("POST", "/v1/storages/{id}/deactivate", post_deactivate, "Deactivate a volume group on this node", W),
    Operation("POST", "/v1/storages/{id}/create-vg", post_create_vg, "Make a storage's volume group on its base", W, query=DRY),
)
