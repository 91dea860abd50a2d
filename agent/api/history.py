"""Operations on what was written: the edits, undoing one, and how far one has come."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from agent.api.requests import body_as, digest_of, flag, whole
from agent.api.responses import etag, json_response
from agent.api.routes import DRY, Access, Operation
from agent.api.values import Reason
from agent.node import Node
from agent.rollout import newest, rollout
from store.errors import UsageError

DEFAULT_PAGE = 50
MOST_PAGE = 1_000


class RevertBody(msgspec.Struct, forbid_unknown_fields=True):
    """The undoing of an edit."""

    reason: Reason = ""


async def get_history(node: Node, request: Request) -> Response:
    key, cursor = request.query_params.get("key"), request.query_params.get("cursor")
    if key == "":
        raise UsageError("key: name a key, a LUN or an alias", code="malformed")
    return json_response(await node.history.page(key, whole(request, "limit", DEFAULT_PAGE, MOST_PAGE), cursor))


async def get_edit(node: Node, request: Request) -> Response:
    """The entity tag is the digest that a revert of this edit is to be made from."""
    found = await node.history.one(request.path_params["edit"])
    return json_response(found, etag(found["digest"]))


async def post_revert(node: Node, request: Request) -> Response:
    digest = digest_of(request)
    body = await body_as(request, RevertBody)
    written = await node.history.revert(request.path_params["edit"], digest, reason=body.reason, dry_run=flag(request, "dry_run"))
    return json_response(written.json(), etag(written.overrides_digest if written.changed == ("overrides",) else written.digest))


async def get_rollout(node: Node, request: Request) -> Response:
    name = request.path_params.get("edit")
    edit = await newest(node.history) if name is None else node.history.resolve(name)
    return json_response(rollout(node.runner.engine, node.picture, edit))


W = Access.WRITE
OPERATIONS = (
    Operation("GET", "/v1/history", get_history, "The edits, newest first", query=("key", "limit", "cursor")),
    Operation("GET", "/v1/history/{edit}", get_edit, "One edit, whole"),
    Operation("POST", "/v1/history/{edit}/revert", post_revert, "Undo an edit by a new one", W, RevertBody, digest=True, query=DRY),
    Operation("GET", "/v1/rollout", get_rollout, "How far the newest edit of the configuration has come"),
    Operation("GET", "/v1/rollout/{edit}", get_rollout, "How far an edit has come"),
)
