"""The kernel's own events of block devices and NVMe controllers: which of them mean that health may read otherwise, and hearing them.

A lost path is told by device-mapper (`change` with `DM_ACTION=PATH_FAILED`), a device that comes or goes by the block layer, a change of
ANA or of a controller by the nvme class (Documentation/admin-guide/device-mapper/dm-uevent.rst; drivers/nvme/host/core.c). They come from
the kernel's netlink group, which needs neither root nor udevd. An event says when to look and never what is there.
"""

import errno
import os
import re
import socket
from typing import Protocol

from store.errors import UnavailableError

SUBSYSTEMS = ("block", "nvme", "nvme-subsystem")
READ_AT_ONCE = 64
"""Events that are read before everything else gets its turn; the rest stay in the socket, which wakes its reader again."""
_PATH_OR_MAP = re.compile(r"sd[a-z]+|dasd[a-z]+|dm-[0-9]+|nvme[0-9]+(?:c[0-9]+)?n[0-9]+")
_MOVES = frozenset({"add", "remove", "change", "online", "offline"})


class Event(Protocol):
    """One event, as pyudev's `Device` tells it."""

    @property
    def subsystem(self) -> str | None: ...
    @property
    def action(self) -> str | None: ...
    @property
    def sys_name(self) -> str: ...
    @property
    def device_type(self) -> str | None: ...


class Monitor(Protocol):
    """Where events come from, as pyudev's `Monitor`. `poll(0)` never waits; OSError ENOBUFS = some were lost."""

    def fileno(self) -> int: ...

    def poll(self, timeout: float | None = None) -> Event | None: ...


def matters(event: Event) -> bool:
    """Whether the event may mean another state of a path, a map or an NVMe controller."""
    if event.action not in _MOVES:
        return False
    if event.subsystem != "block":
        return event.subsystem in SUBSYSTEMS
    return event.device_type != "partition" and _PATH_OR_MAP.fullmatch(event.sys_name) is not None


def heard(monitor: Monitor) -> bool:
    """Read what has come, at most `READ_AT_ONCE` events; whether anything of it matters. Lost events count as one that does.

    OSError for any other fault of the socket.
    """
    found = False
    for _ in range(READ_AT_ONCE):
        try:
            event = monitor.poll(0)
        except OSError as fault:
            if fault.errno is None:
                forgive(monitor)
            elif fault.errno != errno.ENOBUFS:
                raise
            return True
        if event is None:
            break
        found = matters(event) or found
    return found


def forgive(monitor: Monitor) -> None:
    """Take the pending fault off the socket. It is told by a poll that fails without a number, and again until somebody has read it.

    OSError for any other fault than lost events.
    """
    with socket.socket(fileno=os.dup(monitor.fileno())) as copy:
        fault = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if fault not in (0, errno.ENOBUFS):
        raise OSError(fault, os.strerror(fault))


def open_monitor() -> Monitor:
    """Begin to hear the kernel. It may look for a library: not for the event loop. UnavailableError `no-kernel-events` if it cannot be."""
    try:
        import pyudev  # type: ignore[import-untyped]  # loads a library: only where it is used

        source = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
        for subsystem in SUBSYSTEMS:
            source.filter_by(subsystem)
        source.start()
    except (ImportError, OSError, ValueError) as fault:
        why = str(fault) or type(fault).__name__
        raise UnavailableError(
            f"the kernel's events cannot be heard: {why}", code="no-kernel-events", hint="apt install libudev1"
        ) from None
    monitor: Monitor = source
    return monitor
