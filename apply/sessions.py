"""The iSCSI sessions of this host, from sysfs."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from apply.portals import DEFAULT_INTERFACE, portal


class Session(NamedTuple):
    """A session that is logged in; `disks`: there is at least one disk below it."""

    target: str
    portal: str
    interface: str
    disks: bool


def sessions(root: Path = Path("/")) -> Counter[tuple[str, str, str]]:
    """How many sessions are logged in, by (target, portal, interface), names in lower case.

    sysfs keeps the address that was asked for (`persistent_address`), whatever address the target redirected to.
    """
    return Counter((found.target, found.portal, found.interface) for found in logged_in(root / "sys"))


def logged_in(sysfs: Path = Path("/sys")) -> Iterator[Session]:
    """Each connection of a session that is logged in, from the sysfs that is mounted there."""
    for session in _listing(sysfs / "class" / "iscsi_session", "session"):
        if _read(session / "state") != "LOGGED_IN":
            continue
        target, interface = _read(session / "targetname").lower(), _read(session / "ifacename").lower() or DEFAULT_INTERFACE
        disks = any((session / "device").glob("target*/*:*:*:*/block/*"))
        for connection in _listing(sysfs / "class" / "iscsi_connection", f"connection{session.name.removeprefix('session')}:"):
            address, port = _read(connection / "persistent_address"), _read(connection / "persistent_port")
            try:
                yield Session(target, portal(address, int(port)), interface, disks)
            except ValueError:
                continue


def _listing(directory: Path, prefix: str) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.name.startswith(prefix))
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        text = path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
    return "" if re.fullmatch(r"<?(?:null|NULL)>?|\(null\)", text) else text
