"""The table of operations: method, path, handler, and what the OpenAPI document says of each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from starlette.requests import Request
from starlette.responses import Response

from agent.node import Node

DRY = ("dry_run",)
DRY_REASON = ("dry_run", "reason")
PREVIEW = ("preview",)
"""The query parameters of writes; `preview` asks a dry run what the nodes would write."""

Handler = Callable[[Node, Request], Awaitable[Response]]


class Access(Enum):
    """Who may call an operation."""

    READ = "whoever may connect"
    WRITE = "root, the agent's user, members of the admin group"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path.

    `body` is the JSON body's type, None if there is none; `text` says that plain text is taken or given too; `digest` that the digest it
    was made from is asked for; `query` are the query parameters that it knows: any other is refused.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    access: Access = Access.READ
    body: type | None = None
    text: bool = False
    digest: bool = False
    query: tuple[str, ...] = ()
