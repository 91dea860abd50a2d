"""What a dry run says of the nodes' files, if it is asked to."""

from typing import Any

from starlette.requests import Request

from agent.api.requests import flag
from agent.draft_preview import preview_json
from agent.node import Node
from agent.writes import Written
from store.errors import UsageError


def previewed(node: Node, request: Request, written: Written) -> dict[str, Any]:
    """The field `preview` of a dry run's answer, empty unless the client asked for it."""
    if not flag(request, "preview") or not written.dry_run:
        return {}
    return {"preview": preview_json(node.picture, written.after)}


def check_preview(request: Request) -> None:
    """UsageError `malformed` for a preview without a dry run: whoever asks for one means to look, not to write."""
    if flag(request, "preview") and not flag(request, "dry_run"):
        raise UsageError("preview: only a dry run has one", code="malformed", hint="add dry_run=true")
