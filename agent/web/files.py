"""The page's own files: read once, served from memory under their names, checked by entity tag."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from starlette.responses import Response

STATIC = Path(__file__).with_name("static")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class File(NamedTuple):
    """One file: what it is, and the hash of its bytes as an entity tag."""

    data: bytes
    media_type: str
    etag: str

    def answer(self, if_none_match: str = "") -> Response:
        """The whole file, or that it has not changed. A browser asks each time, so that it never mixes two versions of the page."""
        headers = {"etag": self.etag, "cache-control": "no-cache"}
        if self.etag in if_none_match:
            return Response(status_code=304, headers=headers)
        return Response(self.data, 200, headers, self.media_type)


def load_files(directory: Path = STATIC) -> dict[str, File]:
    """Every file below the directory of a type that is served, by its path in it."""
    found = {}
    for path in sorted(directory.rglob("*")):
        media_type = TYPES.get(path.suffix)
        if media_type is not None and path.is_file():
            data = path.read_bytes()
            found[path.relative_to(directory).as_posix()] = File(data, media_type, f'"{hashlib.sha256(data).hexdigest()[:32]}"')
    return found
