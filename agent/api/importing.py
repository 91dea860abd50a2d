"""The operation that takes over a configuration file from elsewhere."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from agent.api.requests import body_text, digest_of, flag
from agent.api.responses import etag, json_response
from agent.api.routes import DRY_REASON, Access, Operation
from agent.node import Node
from agent.writes import Changes, Expected, problem_json
from apply.importing import is_multipath_conf, read_multipath_conf, settle
from apply.model import Problem, Severity
from store import section_config
from store.document import Document


async def post_import(node: Node, request: Request) -> Response:
    """Write what a file says, whichever of the two formats it has; `notes` of the answer tell what it made of each line.

    A multipath.conf is brought into the configuration: what that says beside stays. A SectionConfig file replaces it.
    """
    digest = digest_of(request)
    text = await body_text(request)
    write: dict[str, Any] = {"reason": request.query_params.get("reason", ""), "dry_run": flag(request, "dry_run")}
    notes: tuple[Problem, ...] = ()
    if await asyncio.to_thread(is_multipath_conf, text):
        kind, imported = "multipath.conf", await asyncio.to_thread(read_multipath_conf, text)

        def change(document: Document) -> Changes:
            nonlocal notes
            changes, notes = settle(imported, document, node.writer.hosts)
            return changes

        written = await node.writer.change(change, Expected(config=digest), **write)
    else:
        kind, parsed = "section-config", section_config.parse(text, lenient=True)
        notes = tuple(_note(issue) for issue in parsed.notes)
        written = await node.writer.replace(section_config.to_document(parsed), Expected(config=digest), **write)
    return json_response(written.json() | {"format": kind, "notes": [problem_json(note) for note in notes]}, etag(written.digest))


def _note(issue: section_config.Issue) -> Problem:
    return Problem("import-syntax", "", f"line {issue.line}: {issue.message}", severity=Severity.WARNING, line=issue.line)


OPERATIONS = (
    Operation(
        "POST",
        "/v1/config/import",
        post_import,
        "Take over a multipath.conf, or replace the configuration by a foreign SectionConfig file (plain text)",
        Access.WRITE,
        text=True,
        digest=True,
        query=DRY_REASON,
    ),
)
