"""What a browser is told of every answer, and which requests are refused before anybody looks at them. Pure.

The port is open to every process on the host and, through the browser, to every site that its user visits. So: the name in `Host` must be
one of the loopback (else a site could point its own name here, DNS rebinding); a write must come from a page of this very origin; and what
other sites make the browser ask for is refused where the browser says so (Fetch Metadata, `Sec-Fetch-Site`).
"""

import re
from collections.abc import Mapping

from store.errors import UsageError

CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Content-Security-Policy (CSP level 3, Trusted Types): nothing but the page's own files, nothing inline, no text that becomes markup."""

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)

_SAFE_METHODS = frozenset({"GET", "HEAD"})
_OWN = frozenset({"same-origin", "none"})
_HOST = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?")
_LOOPBACK = re.compile(r"127(?:\.[0-9]{1,3}){3}|localhost|\[::1\]", re.IGNORECASE)


def check_origin(method: str, headers: Mapping[str, str]) -> None:
    """Refuse what does not come from this page itself.

    Header names are in lower case. UsageError `wrong-host` for a name that is not of the loopback, whatever its port (it may be forwarded);
    `wrong-origin` for what another site, or a page of another port, asks for. Another site's link to the page may be followed, in a window
    and not in a frame. A browser that says nothing of where a request comes from still says the `Origin` of whatever it would let another
    site read.
    """
    host = headers.get("host", "")
    found = _HOST.fullmatch(host)
    if found is None or not _LOOPBACK.fullmatch(found[1]):
        raise UsageError(
            f"host {host[:80]!r}: this page is served to the loopback only", code="wrong-host", hint="use the address as shown"
        )
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    own = f"http://{host}"
    if method in _SAFE_METHODS:
        followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest", "document") == "document"
        allowed = origin in (None, own) and (site is None or site in _OWN or followed)
    else:
        allowed = origin == own and site in (None, "same-origin")
    if not allowed:
        raise _foreign(origin or site or "none")


def cookie_of(header: str, name: str) -> str:
    """The value of a cookie (RFC 6265, section 5.4); empty if there is none, or more than one of this name."""
    values = [value for key, _, value in (part.strip().partition("=") for part in header.split(";")) if key == name]
    return values[0] if len(values) == 1 else ""


def set_cookie(name: str, value: str, seconds: int) -> str:
    """The `Set-Cookie` of a session. No `Secure`: the loopback has no TLS."""
    return f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict"


def _foreign(what: str) -> UsageError:
    return UsageError(f"origin {what[:80]!r}: only this page itself may ask this", code="wrong-origin", hint="open the page anew")
