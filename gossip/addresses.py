"""What names a peer on the wire, its endpoint and its CURVE public key, checked before any socket sees it."""

import ipaddress
import re
from dataclasses import dataclass

from store.errors import UsageError

ENDPOINT_MAX_CHARS = 280
"""`tcp://`, a DNS name of 253 characters and a port: nothing valid is longer."""

_ENDPOINT = re.compile(r"tcp://(?:\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?)\]|([A-Za-z0-9_.-]+|\*)):([0-9]{1,5})")
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_Z85 = {
    character: value
    for value, character in enumerate("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#")
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A checked TCP endpoint. `host` is bare (no brackets); `*` stands for every local address."""

    host: str
    port: int

    @property
    def is_numeric(self) -> bool:
        """Whether the host is an address, so that no resolver is needed."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return self.host == "*"
        return True

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if self.is_ipv6 else f"tcp://{self.host}:{self.port}"


def parse_endpoint(text: str, *, listening: bool = False) -> Endpoint:
    """Read `tcp://HOST:PORT`; HOST is a name, an IPv4 address or a bracketed IPv6 address.

    A listening endpoint may also have `*` as host and 0 as port (any free one). Raises UsageError (`bad-endpoint`).
    """
    match = _ENDPOINT.fullmatch(text) if len(text) <= ENDPOINT_MAX_CHARS else None
    if match is None:
        raise _bad_endpoint(text)
    ipv6, name, port_text = match.groups()
    endpoint = Endpoint(ipv6 or name, int(port_text))
    if endpoint.port > 65535 or not _host_is_valid(endpoint):
        raise _bad_endpoint(text)
    if not listening and (endpoint.port == 0 or endpoint.host == "*"):
        raise UsageError(
            f"endpoint {text!r} cannot be connected to: it names no single address and port",
            code="bad-endpoint",
            hint="give the address and port under which the other nodes reach it, as tcp://HOST:PORT",
        )
    return endpoint


def _host_is_valid(endpoint: Endpoint) -> bool:
    if endpoint.is_numeric:
        return True
    # All digits and dots, yet no address: a mistyped IPv4 address, never a name.
    if endpoint.is_ipv6 or not endpoint.host.strip("0123456789."):
        return False
    name = endpoint.host.removesuffix(".")
    return len(name) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in name.split("."))


def _bad_endpoint(text: str) -> UsageError:
    return UsageError(
        f"endpoint {text[:ENDPOINT_MAX_CHARS]!r} is not of the form tcp://HOST:PORT",
        code="bad-endpoint",
        hint="examples: tcp://192.0.2.7:7946, tcp://[2001:db8::7]:7946, tcp://node7.example:7946",
    )


def is_curve_key(text: str) -> bool:
    """Whether `text` is a 32-byte key as Z85 (ZeroMQ RFC 32): 40 characters, each five within 32 bits."""
    if len(text) != 40:
        return False
    for start in range(0, 40, 5):
        value = 0
        for character in text[start : start + 5]:
            digit = _Z85.get(character)
            if digit is None:
                return False
            value = value * 85 + digit
        if value > 0xFFFF_FFFF:
            return False
    return True
