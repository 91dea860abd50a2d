"""What a setting accepts: each kind parses a TOML value to its type and says in words what it expected."""

import re
from pathlib import Path
from typing import Any, Protocol

UNIX_PATH_BYTES = 107
"""The longest path that a unix socket can be bound to (`sun_path` is 108 bytes with its NUL)."""

WILDCARDS = frozenset(("*", "0.0.0.0", "[::]"))
"""Hosts that a socket can listen on and nobody can connect to."""

_HOST = r"(?:\*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)"


class Kind(Protocol):
    """What a setting accepts: `parse` returns the typed value or raises ValueError, `expected` says it in words."""

    expected: str

    def parse(self, value: object) -> object: ...

    def show(self, value: Any) -> str: ...


class _Plain:
    """The common half of all kinds: how a value is written in TOML."""

    expected = ""

    def show(self, value: Any) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value) if isinstance(value, int) else f'"{value}"'


class Whole(_Plain):
    """A whole number from `low` to `high`, both included."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.expected = f"a whole number from {low} to {high}"

    def parse(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise ValueError
        return value


class Flag(_Plain):
    """A TOML boolean."""

    expected = "true or false"

    def parse(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value


class OneOf(_Plain):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.expected = " or ".join(f'"{word}"' for word in words)

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.words:
            raise ValueError
        return value


class Matching(_Plain):
    """Text that matches a pattern as a whole."""

    def __init__(self, pattern: re.Pattern[str], expected: str) -> None:
        self.pattern, self.expected = pattern, expected

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or not self.pattern.fullmatch(value):
            raise ValueError
        return value


class AbsolutePath(_Plain):
    """An absolute path; as the path of a socket it is at most `UNIX_PATH_BYTES` bytes long."""

    def __init__(self, *, for_socket: bool = False) -> None:
        self.for_socket = for_socket
        self.expected = f"an absolute path of at most {UNIX_PATH_BYTES} bytes" if for_socket else "an absolute path"

    def parse(self, value: object) -> Path:
        if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
            raise ValueError
        if self.for_socket and len(value.encode()) > UNIX_PATH_BYTES:
            raise ValueError
        return Path(value)


class DaemonSocket(_Plain):
    """The address of multipathd's socket: `@name` is in the abstract name space, anything else is a path."""

    expected = f'"@" and an abstract socket name, or an absolute path, at most {UNIX_PATH_BYTES} bytes'

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[@/][^\0]+", value):
            raise ValueError
        if len(value.encode()) > UNIX_PATH_BYTES:
            raise ValueError
        return value


class Endpoint(_Plain):
    """HOST:PORT after a fixed prefix. `wildcard` allows the addresses that only a listening socket can have."""

    def __init__(self, prefix: str, *, wildcard: bool) -> None:
        self.prefix, self.wildcard = prefix, wildcard
        self.expected = f'"{prefix}HOST:PORT" with an IPv6 address in [] and a port from 1 to 65535'
        if not wildcard:
            self.expected += "; not a wildcard, peers connect to it"
        self.pattern = re.compile(re.escape(prefix) + rf"({_HOST}):([0-9]{{1,5}})")

    def parse(self, value: object) -> str:
        found = self.pattern.fullmatch(value) if isinstance(value, str) else None
        if found is None or not 1 <= int(found[2]) <= 65535:
            raise ValueError
        if not self.wildcard and found[1] in WILDCARDS:
            raise ValueError
        return found[0]


class Loopback(Endpoint):
    """HOST:PORT of the loopback, which nobody reaches from outside the host."""

    def __init__(self) -> None:
        super().__init__("", wildcard=False)
        self.expected = '"HOST:PORT" of the loopback (127.0.0.1, [::1] or localhost) and a port from 1 to 65535'

    def parse(self, value: object) -> str:
        found = super().parse(value)
        host = found.rpartition(":")[0].lower()
        if host not in ("localhost", "[::1]") and not re.fullmatch(r"127(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}", host):
            raise ValueError
        return found


class Mode(_Plain):
    """The permission bits of a file, in octal."""

    expected = 'permission bits in octal, "0600" to "0777" (or 0o660 without quotes)'

    def parse(self, value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
            value = int(value, 8)
        if isinstance(value, bool) or not isinstance(value, int) or not 0o600 <= value <= 0o777:
            raise ValueError
        return value

    def show(self, value: Any) -> str:
        return f'"{value:04o}"'
