"""By what a file of ours is recognised. Pure."""

import hashlib
from collections.abc import Collection, Mapping

from apply.render import MAIN, OVERRIDES, RenderedFile, is_ours

NAMES = (MAIN, OVERRIDES)
"""All files that we write into multipath's conf.d."""


def sha256(content: bytes) -> str:
    """The hash by which we recognise what we wrote, in hex."""
    return hashlib.sha256(content).hexdigest()


def hashes_of(files: Mapping[str, RenderedFile]) -> dict[str, str]:
    """The hash of each file, by name."""
    return {name: sha256(file.content) for name, file in files.items()}


def is_managed(content: bytes, known: Collection[str]) -> bool:
    """Whether a file's bytes are exactly what we wrote: our marker, and one of the `known` hashes."""
    return is_ours(content) and sha256(content) in known
