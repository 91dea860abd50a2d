"""iSCSI portals as people write them and as paths name them: one canonical text `address:port` for both."""

import re
from dataclasses import dataclass
from ipaddress import ip_address

from apply.option_types import split_list

DEFAULT_PORT = 3260
DEFAULT_INTERFACE = "default"
"""The interface record of open-iscsi that leaves the choice of the initiator's address to routing."""
MOST = 32
"""Portals of one storage: as many as a LUN's paths that are listed one by one."""
TARGET_NAME = re.compile(r"(?:iqn\.[0-9]{4}-[0-9]{2}\.[A-Za-z0-9.:_-]{1,210}|eui\.[0-9A-Fa-f]{16}|naa\.(?:[0-9A-Fa-f]{16}){1,2})")
"""An iSCSI name (RFC 3720, section 3.2.6; at most 223 bytes)."""
SUBSYSTEM_NAME = re.compile(r"nqn\.[!-+.-~-]{1,219}")
"""An NVMe qualified name (NVMe base specification, section 4.5; at most 223 bytes), as far as a list can hold it."""


@dataclass(frozen=True)
class PortalList:
    """Portals by address, each with its port; canonically sorted, each once."""

    @property
    def text(self) -> str:
        return (
            f"a list of at most {MOST} portals, each an IP address and a port, as 10.0.0.1:{DEFAULT_PORT} or [2001:db8::1]:{DEFAULT_PORT}"
        )

    def parse(self, value: str) -> str:
        portals = {canonical_portal(word) for word in split_list(value)}
        if not 0 < len(portals) <= MOST or "" in portals:
            raise ValueError(self.text)
        return ",".join(sorted(portals))


def canonical_portal(word: str) -> str:
    """`address:port` in canonical form, an IPv6 address in brackets; "" for what is no portal.

    A host name is none: paths name their portal by address, so what a name stands for could not be told from what is there. A scope
    (`%eth0`) means something on one node only.
    """
    host, port = word, str(DEFAULT_PORT)
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", word)
    if bracketed is not None:
        host, port = bracketed[1], bracketed[2] if bracketed[2] is not None else port
    elif word.count(":") == 1:
        host, _, port = word.partition(":")
    if "%" in host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        return ""
    try:
        return portal(host, int(port))
    except ValueError:
        return ""


def portal(address: str, port: int) -> str:
    """The canonical text of a portal; ValueError for what is no IP address."""
    found = ip_address(address)
    return f"[{found}]:{port}" if found.version == 6 else f"{found}:{port}"
