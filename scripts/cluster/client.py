"""A small HTTP client for a node's unix socket, on the standard library."""

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def digest(self) -> str:
        """The digest in the entity tag."""
        return self.headers["etag"]


class Client(http.client.HTTPConnection):
    """One kept connection to a node."""

    def __init__(self, path: Path, timeout: float = 20.0) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request. `body` is sent as JSON, or as plain text if it is text."""
        sent = dict(headers or {})
        data = None
        if isinstance(body, str):
            data, sent["content-type"] = body.encode(), "text/plain"
        elif body is not None:
            data, sent["content-type"] = json.dumps(body).encode(), "application/json"
        kept = self.sock is not None
        try:
            try:
                self.request(method, path, data, sent)
            except BrokenPipeError:
                if not kept:
                    raise
                self.close()  # a node ends a connection that says nothing for a minute; nothing of this was sent
                self.request(method, path, data, sent)
            response = self.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except (OSError, http.client.HTTPException):
            self.close()
            raise
