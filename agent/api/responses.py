"""JSON answers and entity tags."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

_encoder = msgspec.json.Encoder()


def json_response(body: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A 200 with a JSON body."""
    return Response(_encoder.encode(body), 200, headers, "application/json")


def etag(digest: str) -> dict[str, str]:
    """The header that carries a digest."""
    return {"etag": f'"{digest}"'}
