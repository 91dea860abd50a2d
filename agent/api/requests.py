"""What handlers take from a request: bodies within their limits, digests, flags, and who asks."""

import re
from collections.abc import Collection
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from store.errors import UsageError
from store.limits import limit

_Body = TypeVar("_Body")
_ETAG = re.compile(r'(?:W/)?"([0-9a-f]{64})"')


async def body_bytes(request: Request, most: int) -> bytes:
    """The whole body; UsageError `request-too-large` beyond `most` bytes, without reading further."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise _too_large(most)
            chunks.append(chunk)
    except ClientDisconnect:
        raise UsageError("the request's body: the client went away before its end", code="malformed") from None
    return b"".join(chunks)


async def body_as(request: Request, kind: type[_Body], *, most: int | None = None) -> _Body:
    """The JSON body as a typed structure; UsageError `malformed` names the field, `unsupported-type` if it is said to be something else."""
    _check_type(request, "application/json")
    data = await body_bytes(request, most or limit("request_bytes"))
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as fault:
        raise UsageError(f"the request's body: {fault}", code="malformed") from None


async def body_text(request: Request) -> str:
    """The body as text; UsageError `malformed` if it is not UTF-8, `unsupported-type` if it is not `text/plain`."""
    _check_type(request, "text/plain")
    data = await body_bytes(request, limit("document_request_bytes"))
    try:
        return data.decode()
    except UnicodeDecodeError as fault:
        raise UsageError(f"the request's body: not UTF-8 at byte {fault.start}", code="malformed") from None


def wants_text(request: Request) -> bool:
    """Whether the client asked for plain text."""
    return "text/plain" in request.headers.get("accept", "")


def sends_text(request: Request) -> bool:
    """Whether the body is plain text (else JSON); UsageError `unsupported-type` for anything else."""
    return _check_type(request, "application/json", "text/plain") == "text/plain"


def digest_of(request: Request) -> str:
    """The digest in `If-Match`; UsageError `digest-required` (428) without one, `malformed` if it is none."""
    header = request.headers.get("if-match")
    if header is None:
        raise UsageError(
            "this write needs an If-Match header with the digest it was made from",
            code="digest-required",
            hint="read first: the ETag is the digest",
        )
    found = _ETAG.fullmatch(header.strip())
    if found is None:
        raise UsageError(f"If-Match: {header[:80]!r} is no digest in double quotes", code="malformed")
    return found[1]


def flag(request: Request, name: str) -> bool:
    """A boolean query parameter; absent = false."""
    text = request.query_params.get(name, "false").lower()
    if text not in ("true", "false", "1", "0", ""):
        raise UsageError(f"{name}: {text[:40]!r} is not true or false", code="malformed")
    return text in ("true", "1")


def whole(request: Request, name: str, default: int, most: int, *, least: int = 1) -> int:
    """A whole-number query parameter from `least` to `most`."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > len(str(most)) or not least <= int(text) <= most:
        raise UsageError(f"{name}: {text[:40]!r} is not a number from {least} to {most:,}", code="malformed")
    return int(text)


def check_query(request: Request, known: Collection[str]) -> None:
    """UsageError `malformed` for a query parameter that the operation does not know: a misspelt `dry_run` must not write."""
    for name in request.query_params:
        if name not in known:
            expected = f"expected {' or '.join(known)}" if known else "this operation has none"
            raise UsageError(f"query parameter {name[:40]!r}: {expected}", code="malformed")


def _check_type(request: Request, *known: str) -> str:
    """The body's media type, one of `known`; without a header it counts as the first."""
    kind = request.headers.get("content-type", known[0]).partition(";")[0].strip().lower()
    if kind not in known:
        raise UsageError(f"content type {kind[:80]!r}: send {' or '.join(known)}", code="unsupported-type")
    return kind


def _too_large(most: int) -> UsageError:
    return UsageError(f"the request's body has more than {most:,} bytes", code="request-too-large")
