"""Operations on the free-form overrides."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from agent.api.previews import check_preview, previewed
from agent.api.requests import body_text, digest_of, flag, wants_text
from agent.api.responses import etag, json_response
from agent.api.routes import DRY_REASON, PREVIEW, Access, Operation
from agent.node import Node
from agent.writes import Expected, problem_json
from apply.validate import check_overrides
from store.document import OVERRIDES


async def get_overrides(node: Node, request: Request) -> Response:
    config = node.picture.config
    headers = etag(config.overrides_digest)
    if wants_text(request):
        return PlainTextResponse(config.overrides, headers=headers)
    return json_response({"digest": config.overrides_digest, "text": config.overrides}, headers)


async def put_overrides(node: Node, request: Request) -> Response:
    digest = digest_of(request)
    return await _write_overrides(node, request, await body_text(request), digest)


async def delete_overrides(node: Node, request: Request) -> Response:
    return await _write_overrides(node, request, "", digest_of(request))


async def post_overrides_check(node: Node, request: Request) -> Response:
    text = await body_text(request)
    found = check_overrides(node.picture.config.document, text, node.writer.hosts)
    return json_response({"problems": [problem_json(problem) for problem in found]})


async def _write_overrides(node: Node, request: Request, text: str, digest: str) -> Response:
    check_preview(request)
    written = await node.writer.change(
        {OVERRIDES: {"text": text} if text else None},
        Expected(overrides=digest),
        reason=request.query_params.get("reason", ""),
        dry_run=flag(request, "dry_run"),
    )
    return json_response({**written.json(), **previewed(node, request, written)}, etag(written.overrides_digest))


W = Access.WRITE
_QUERY = DRY_REASON + PREVIEW
OPERATIONS = (
    Operation("GET", "/v1/overrides", get_overrides, "The free-form overrides", text=True),
    Operation("PUT", "/v1/overrides", put_overrides, "Replace the overrides (plain text)", W, text=True, digest=True, query=_QUERY),
    Operation("DELETE", "/v1/overrides", delete_overrides, "Clear the overrides", W, digest=True, query=_QUERY),
    Operation("POST", "/v1/overrides/check", post_overrides_check, "Check overrides without writing them (plain text)", text=True),
)
