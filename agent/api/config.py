"""Operations on the configuration: the document, its sections, edits."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from agent.api.previews import check_preview, previewed
from agent.api.requests import body_as, body_text, digest_of, flag, sends_text, wants_text
from agent.api.responses import etag, json_response
from agent.api.routes import DRY, DRY_REASON, PREVIEW, Access, Operation
from agent.api.values import Reason, Values, texts
from agent.config_view import ConfigView
from agent.node import Node
from agent.writes import Change, Expected, problem_json
from apply.options import canonical_name
from apply.wwid import check_wwid
from store.document import DEFAULTS, STORAGE_PREFIX, WWID_PREFIX, Document, Options, config_keys, is_config_key
from store.errors import UsageError
from store.limits import limit
from store.section_config import parse, to_document

DEFAULTS_ID = "global"


class SectionBody(msgspec.Struct, forbid_unknown_fields=True):
    """One section of a document."""

    type: str
    id: str
    options: Values = {}


class DocumentBody(msgspec.Struct, forbid_unknown_fields=True):
    """A whole document."""

    sections: list[SectionBody]
    reason: Reason = ""


class PatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """A change of one section: only what is named changes."""

    set: Values = {}
    delete: list[str] = []
    reason: Reason = ""


class LunBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new LUN."""

    wwid: str
    options: Values = {}
    reason: Reason = ""


class StorageBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new storage."""

    id: str
    type: str
    options: Values = {}
    reason: Reason = ""


class ChangeBody(msgspec.Struct, forbid_unknown_fields=True):
    """The change of one section within an edit; `remove` takes the whole section away."""

    key: str
    set: Values = {}
    delete: list[str] = []
    remove: bool = False


class EditBody(msgspec.Struct, forbid_unknown_fields=True):
    """Several sections in one edit, all or nothing."""

    changes: Annotated[list[ChangeBody], Meta(max_length=limit("edit_keys"))]
    reason: Reason = ""


# -- the document -----------------------------------------------------------------------------------------------------


async def get_config(node: Node, request: Request) -> Response:
    config = node.picture.config
    if wants_text(request):
        return PlainTextResponse(config.text, headers=etag(config.digest))
    return json_response(
        {
            "digest": config.digest,
            "sections": [_section(key, config.document[key]) for key in config_keys(config.document)],
            "problems": [problem_json(p) for p in config.problems],
            "conflicts": list(config.conflicts),
        },
        etag(config.digest),
    )


async def put_config(node: Node, request: Request) -> Response:
    digest = digest_of(request)
    if sends_text(request):
        document, reason = to_document(parse(await body_text(request))), request.query_params.get("reason", "")
    else:
        body = await body_as(request, DocumentBody, most=limit("document_request_bytes"))
        document, reason = _document(body.sections), body.reason
    written = await node.writer.replace(document, Expected(config=digest), reason=reason, dry_run=flag(request, "dry_run"))
    return json_response(written.json(), etag(written.digest))


async def post_edits(node: Node, request: Request) -> Response:
    digest = digest_of(request)
    body = await body_as(request, EditBody)

    def make(document: Document) -> dict[str, Options | None]:
        changes: dict[str, Options | None] = {}
        for change in body.changes:
            key = _config_key(change.key)
            if key in changes:
                raise UsageError(f"changes: {key} is named twice", code="malformed")
            if change.remove:
                _present(document, key)
                changes[key] = None
            else:
                changes[key] = _patched(document.get(key), key, change.set, change.delete)
        return changes

    return await _change(node, request, make, digest, body.reason)


def _document(sections: list[SectionBody]) -> dict[str, dict[str, str]]:
    document: dict[str, dict[str, str]] = {}
    for section in sections:
        options = texts(section.options)
        if section.type == DEFAULTS:
            if section.id != DEFAULTS_ID:
                raise UsageError(f"sections: defaults {section.id[:80]!r}: its id is {DEFAULTS_ID!r}", code="malformed")
            key = DEFAULTS
        elif section.type == "wwid":
            key = WWID_PREFIX + section.id
        else:
            key, options = STORAGE_PREFIX + section.id, {"type": section.type} | options
        if key in document:
            raise UsageError(f"sections: {key} is there twice", code="malformed")
        document[key] = options
    return document


def _section(key: str, options: Options) -> dict[str, Any]:
    if key == DEFAULTS:
        return {"type": DEFAULTS, "id": DEFAULTS_ID, "options": dict(options)}
    if key.startswith(WWID_PREFIX):
        return {"type": "wwid", "id": key.removeprefix(WWID_PREFIX), "options": dict(options)}
    return {
        "type": options.get("type", ""),
        "id": key.removeprefix(STORAGE_PREFIX),
        "options": {k: v for k, v in options.items() if k != "type"},
    }


# -- sections ---------------------------------------------------------------------------------------------------------


async def get_defaults(node: Node, _: Request) -> Response:
    config = node.picture.config
    return json_response({"digest": config.digest, "options": dict(config.document.get(DEFAULTS, {}))}, etag(config.digest))


async def patch_defaults(node: Node, request: Request) -> Response:
    digest = digest_of(request)
    body = await body_as(request, PatchBody)
    return await _change(
        node,
        request,
        lambda document: {DEFAULTS: _patched(document.get(DEFAULTS), DEFAULTS, body.set, body.delete) or None},
        digest,
        body.reason,
    )


async def get_wwids(node: Node, _: Request) -> Response:
    config = node.picture.config
    return json_response({"digest": config.digest, "wwids": [_lun(key, config) for key in _keys(config, WWID_PREFIX)]}, etag(config.digest))


async def get_wwid(node: Node, request: Request) -> Response:
    config, key = node.picture.config, WWID_PREFIX + request.path_params["wwid"]
    _present(config.document, key)
    return json_response({"digest": config.digest, **_lun(key, config)}, etag(config.digest))


async def post_wwid(node: Node, request: Request) -> Response:
    digest = digest_of(request)
    body = await body_as(request, LunBody)
    key = WWID_PREFIX + check_wwid(body.wwid)
    return await _change(node, request, lambda document: {key: _added(document, key, body.options)}, digest, body.reason)


async def patch_wwid(node: Node, request: Request) -> Response:
    return await _patch(node, request, WWID_PREFIX + request.path_params["wwid"])


async def delete_wwid(node: Node, request: Request) -> Response:
    return await _delete(node, request, WWID_PREFIX + request.path_params["wwid"])


async def get_storages_config(node: Node, _: Request) -> Response:
    config = node.picture.config
    return json_response(
        {"digest": config.digest, "storages": [_storage(key, config) for key in _keys(config, STORAGE_PREFIX)]}, etag(config.digest)
    )


async def get_storage_config(node: Node, request: Request) -> Response:
    config, key = node.picture.config, STORAGE_PREFIX + request.path_params["id"]
    _present(config.document, key)
    return json_response({"digest": config.digest, **_storage(key, config)}, etag(config.digest))


async def post_storage(node: Node, request: Request) -> Response:
    digest = digest_of(request)
    body = await body_as(request, StorageBody)
    key = STORAGE_PREFIX + body.id
    return await _change(
        node, request, lambda document: {key: {"type": body.type} | _added(document, key, body.options)}, digest, body.reason
    )


async def patch_storage(node: Node, request: Request) -> Response:
    return await _patch(node, request, STORAGE_PREFIX + request.path_params["id"])


async def delete_storage(node: Node, request: Request) -> Response:
    return await _delete(node, request, STORAGE_PREFIX + request.path_params["id"])


async def _patch(node: Node, request: Request, key: str) -> Response:
    digest = digest_of(request)
    body = await body_as(request, PatchBody)
    return await _change(
        node, request, lambda document: {key: _patched(_present(document, key), key, body.set, body.delete)}, digest, body.reason
    )


async def _delete(node: Node, request: Request, key: str) -> Response:
    digest = digest_of(request)

    def removed(document: Document) -> dict[str, Options | None]:
        _present(document, key)
        return {key: None}

    return await _change(node, request, removed, digest, request.query_params.get("reason", ""))


async def _change(node: Node, request: Request, change: Change, digest: str, reason: str) -> Response:
    """The edit that `change` makes of the document that the digest is of."""
    check_preview(request)
    written = await node.writer.change(change, Expected(config=digest), reason=reason, dry_run=flag(request, "dry_run"))
    return json_response({**written.json(), **previewed(node, request, written)}, etag(written.digest))


def _lun(key: str, config: ConfigView) -> dict[str, Any]:
    return {"wwid": key.removeprefix(WWID_PREFIX), "options": dict(config.document[key])}


def _storage(key: str, config: ConfigView) -> dict[str, Any]:
    section = _section(key, config.document[key])
    return {"id": section["id"], "type": section["type"], "options": section["options"]}


def _keys(config: ConfigView, prefix: str) -> list[str]:
    return sorted(key for key in config.document if key.startswith(prefix))


def _config_key(key: str) -> str:
    if not is_config_key(key):
        raise UsageError(f"key {key[:80]!r}: expected `defaults`, `wwid/<WWID>` or `storage/<id>`", code="malformed")
    if key.startswith(WWID_PREFIX):
        return WWID_PREFIX + check_wwid(key.removeprefix(WWID_PREFIX))
    return key


def _present(document: Document, key: str) -> Options:
    if key not in document:
        raise UsageError(f"{key}: there is no such section", code="not-found")
    return document[key]


def _added(document: Document, key: str, options: Values) -> dict[str, str]:
    if key in document:
        raise UsageError(f"{key}: there is such a section already", code="exists", hint="change it with PATCH (`set`) instead")
    return texts(options)


def _patched(options: Options | None, key: str, set_: Values, delete: list[str]) -> dict[str, str]:
    result = dict(options or {})
    for name in delete:
        if result.pop(canonical_name(name), None) is None:
            raise UsageError(f"{key}: option {name!r} is not set", code="not-found")
    result.update(texts(set_))
    return result


W = Access.WRITE
OPERATIONS = (
    Operation("GET", "/v1/config", get_config, "The configuration as JSON or SectionConfig text", text=True),
    Operation(
        "PUT", "/v1/config", put_config, "Replace the configuration in one edit", W, DocumentBody, text=True, digest=True, query=DRY_REASON
    ),
    Operation("POST", "/v1/config/edits", post_edits, "Change several sections in one edit", W, EditBody, digest=True, query=DRY + PREVIEW),
    Operation("GET", "/v1/config/defaults", get_defaults, "The defaults section"),
    Operation("PATCH", "/v1/config/defaults", patch_defaults, "Change the defaults section", W, PatchBody, digest=True, query=DRY),
    Operation("GET", "/v1/config/wwids", get_wwids, "The allow-listed LUNs"),
    Operation("POST", "/v1/config/wwids", post_wwid, "Allow-list a LUN", W, LunBody, digest=True, query=DRY),
    Operation("GET", "/v1/config/wwids/{wwid}", get_wwid, "One LUN's options"),
    Operation("PATCH", "/v1/config/wwids/{wwid}", patch_wwid, "Change a LUN's options", W, PatchBody, digest=True, query=DRY),
    Operation("DELETE", "/v1/config/wwids/{wwid}", delete_wwid, "Take a LUN from the allow-list", W, digest=True, query=DRY_REASON),
    Operation("GET", "/v1/config/storages", get_storages_config, "The storages' options"),
    Operation("POST", "/v1/config/storages", post_storage, "Add a storage", W, StorageBody, digest=True, query=DRY),
    Operation("GET", "/v1/config/storages/{id}", get_storage_config, "One storage's options"),
    Operation("PATCH", "/v1/config/storages/{id}", patch_storage, "Change a storage's options", W, PatchBody, digest=True, query=DRY),
    Operation("DELETE", "/v1/config/storages/{id}", delete_storage, "Remove a storage", W, digest=True, query=DRY_REASON),
)
