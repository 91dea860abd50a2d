"""Operations on the web page: who is asking, and one-time links into it."""

import pwd

from starlette.requests import Request
from starlette.responses import Response

from agent import __version__
from agent.api.access import Client, may_write
from agent.api.responses import json_response
from agent.api.routes import Access, Operation
from agent.node import Node
from store.limits import limit


async def get_whoami(node: Node, request: Request) -> Response:
    """Whom the agent takes the client for, and who the agent is."""
    client: Client = request.state.client
    try:
        user = pwd.getpwuid(client.uid).pw_name
    except KeyError:
        user = str(client.uid)
    return json_response(
        {
            "uid": client.uid,
            "user": user,
            "may_write": may_write(client, node.settings.api.admin_group),
            "session": client.session or None,
            "node": node.birth.name,
            "cluster": node.birth.cluster_name,
            "version": __version__,
        }
    )


async def post_link(node: Node, request: Request) -> Response:
    url = node.web.offer(request.state.client)
    return json_response({"url": url, "expires_seconds": limit("web_link_seconds")})


OPERATIONS = (
    Operation("GET", "/v1/whoami", get_whoami, "Whom the agent takes the client for, and who the agent is"),
    Operation("POST", "/v1/web/links", post_link, "A one-time link to the web page; not for web sessions", Access.WRITE),
)
