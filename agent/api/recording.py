"""The recording of what this agent's engine was told, as a file."""

from starlette.requests import Request
from starlette.responses import Response

from agent.api.routes import Access, Operation
from agent.node import Node
from store.errors import UnavailableError


async def get_recording(node: Node, _: Request) -> Response:
    recording = node.runner.recording
    if recording is None:
        raise UnavailableError("this agent keeps no recording", code="no-recording")
    return Response(recording.dump(), media_type="application/octet-stream")


OPERATIONS = (
    Operation(
        "GET",
        "/v1/recording",
        get_recording,
        "What this agent was told in the last minutes, and the state that it started from, as a file for a replay",
        Access.WRITE,
    ),
)
