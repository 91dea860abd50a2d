"""Operations on conflicts: what concurrent edits left, and how it is settled."""

from functools import reduce
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from agent.api.requests import body_as, flag
from agent.api.responses import json_response
from agent.api.routes import DRY, Access, Operation
from agent.api.values import Reason, Values, texts
from agent.cell_view import iso
from agent.node import Node
from agent.past import Before
from store.clocks import Vector, meet
from store.errors import UsageError


class ResolveBody(msgspec.Struct, forbid_unknown_fields=True):
    """The end of a conflict: `dots` as shown, and either the 1-based `take` among them or a `value` (null deletes)."""

    dots: list[str]
    take: int | None = None
    value: Values | msgspec.UnsetType | None = msgspec.UNSET
    reason: Reason = ""


async def get_conflicts(node: Node, _: Request) -> Response:
    """The siblings of each key, and what the key was in the state that all their writers had seen."""
    replica = node.runner.engine.replica
    fold = replica.fold
    conflicts: list[dict[str, Any]] = []
    common: dict[str, Vector] = {}
    for key in fold.conflicts:
        winner = fold.winner(key)
        siblings = [
            {
                "dot": str(s.dot),
                "lamport": s.lamport,
                "author": s.author,
                "wall": iso(s.wall),
                "reason": s.reason,
                "value": None if s.value is None else dict(s.value),
                "winner": s == winner,
            }
            for s in fold.siblings(key)
        ]
        conflicts.append({"key": key, "siblings": siblings})
        edits = [replica.signed(s.dot) for s in fold.siblings(key)]
        contexts = [signed.edit.context for signed in edits if signed is not None]
        if len(contexts) == len(edits):
            common[key] = reduce(meet, contexts)
    before = await node.history.at(common) if common else {}
    return json_response({"conflicts": [each | {"ancestor": _ancestor(before.get(each["key"]))} for each in conflicts]})


def _ancestor(found: Before | None) -> dict[str, Any]:
    """The common ancestor of a key's values; `known` is false if nobody here can tell any more."""
    if found is None or not found.known:
        return {"known": False, "value": None}
    return {"known": True, "value": None if found.value is None else dict(found.value)}


async def post_resolve(node: Node, request: Request) -> Response:
    body = await body_as(request, ResolveBody)
    if (body.take is None) == (body.value is msgspec.UNSET):
        raise UsageError("give either `take` or `value`", code="malformed")
    value = texts(body.value) if isinstance(body.value, dict) else None
    written = await node.writer.resolve(
        request.path_params["key"], body.dots, take=body.take, value=value, reason=body.reason, dry_run=flag(request, "dry_run")
    )
    return json_response(written.json())


OPERATIONS = (
    Operation("GET", "/v1/conflicts", get_conflicts, "Keys with concurrent values"),
    Operation(
        "POST", "/v1/conflicts/{key:path}/resolve", post_resolve, "End a conflict with one value", Access.WRITE, ResolveBody, query=DRY
    ),
)
