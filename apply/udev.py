"""Telling udev to look again at the paths of a LUN whose place in the allow-list changed.

udev's verdict on a path (`DM_MULTIPATH_DEVICE_PATH`) is made when the path appears and stays until a change event, so without this LVM and
others would go on treating the paths of a new LUN as plain disks, and those of a removed one as untouchable.
"""

import re
from collections.abc import Iterable
from typing import Protocol

import structlog

from apply.programs import HostPrograms, Programs
from store.errors import UnavailableError

TRIGGER_SECONDS = 10.0
AT_ONCE = 500
"""Devices that one `udevadm` is told to trigger: a command line has room for some more, and each takes its time."""
NOT_TOLD = "udev-not-told"
COMMAND = "udevadm trigger --action=change --subsystem-match=block"
_ARGV = tuple(COMMAND.split())
_DEVICE = re.compile(r"(sd[a-z]+|dasd[a-z]+|nvme[0-9]+n[0-9]+)")


class Triggers(Protocol):
    """Whoever tells udev."""

    async def changed(self, devices: Iterable[str]) -> str:
        """Have it look again at the devices of these names; returns why it could not be told of all, empty if it was."""


log = structlog.get_logger("host")


class Udev:
    """Runs `udevadm`; a host without it has no udev that could be told."""

    def __init__(self, programs: Programs | None = None) -> None:
        self._programs = programs or HostPrograms()

    async def changed(self, devices: Iterable[str]) -> str:
        """Send a change event for each of the devices that is there; it fails nothing, for multipathd works without it."""
        names = sorted({name for name in devices if _DEVICE.fullmatch(name)})
        batches = [names[first : first + AT_ONCE] for first in range(0, len(names), AT_ONCE)] if self._programs.has("udevadm") else []
        faults = [fault for batch in batches if (fault := await self._trigger(batch))]
        if faults:
            log.warning("udev not told", why=faults[0], devices=len(names))
        return faults[0] if faults else ""

    async def _trigger(self, names: list[str]) -> str:
        """By a match of names and not by the names themselves: of these one that has gone would keep all others from being told."""
        matches = (f"--sysname-match={name}" for name in names)
        try:
            output = await self._programs.change(*_ARGV, *matches, seconds=TRIGGER_SECONDS)
        except UnavailableError as fault:
            return fault.message
        return f"udevadm: {output.complaint}" if output.status else ""


class NoUdev:
    """Does nothing: `multipath.udev = off`, or a simulated host."""

    async def changed(self, devices: Iterable[str]) -> str:
        """Leave udev alone."""
        return ""
