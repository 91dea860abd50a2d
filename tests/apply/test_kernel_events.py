"""Which events of the kernel matter, and reading them."""

import errno
from dataclasses import dataclass
from typing import Any

import pytest

from apply.kernel_events import READ_AT_ONCE, Monitor, heard, matters, open_monitor
from store.errors import UnavailableError


@dataclass
class Sent:
    subsystem: str | None
    action: str | None
    sys_name: str
    device_type: str | None = "disk"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Sent("block", "change", "dm-3"), True),
        (Sent("block", "add", "sda"), True),
        (Sent("block", "remove", "sdaab"), True),
        (Sent("block", "change", "nvme0n1"), True),
        (Sent("block", "add", "nvme0c1n1"), True),
        (Sent("block", "add", "dasdb"), True),
        (Sent("block", "add", "sda1", "partition"), False),
        (Sent("block", "change", "sr0"), False),
        (Sent("block", "change", "loop0"), False),
        (Sent("block", "change", "zram0"), False),
        (Sent("block", "bind", "sda"), False),
        (Sent("block", None, "sda"), False),
        (Sent("nvme", "change", "nvme0", None), True),
        (Sent("nvme", "remove", "nvme0", None), True),
        (Sent("nvme-subsystem", "add", "nvme-subsys0", None), True),
        (Sent("net", "add", "sda", None), False),
        (Sent(None, "add", "sda", None), False),
    ],
)
def test_what_matters(event: Sent, expected: bool) -> None:
    assert matters(event) is expected


class Queue:
    """A monitor with these answers; then nothing."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def fileno(self) -> int:
        return -1

    def poll(self, timeout: float | None = None) -> Any:
        assert timeout == 0
        found = self.answers.pop(0) if self.answers else None
        if isinstance(found, OSError):
            raise found
        return found


LOOP, DISK = Sent("block", "change", "loop0"), Sent("block", "remove", "sda")


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], False),
        ([LOOP], False),
        ([LOOP, DISK, LOOP], True),
        ([OSError(errno.ENOBUFS, "No buffer space available")], True),
        ([LOOP, OSError(errno.ENOBUFS, "No buffer space available")], True),
    ],
)
def test_hearing(answers: list[Any], expected: bool) -> None:
    assert heard(Queue(*answers)) is expected


def test_a_storm_leaves_the_others_their_turn() -> None:
    queue = Queue(*[DISK] * 1000)
    assert heard(queue)
    assert len(queue.answers) == 1000 - READ_AT_ONCE


def test_a_broken_socket_is_said() -> None:
    with pytest.raises(OSError, match="Bad file"):
        heard(Queue(OSError(errno.EBADF, "Bad file descriptor")))


@pytest.mark.parametrize("fault", [ImportError("No library named udev"), OSError("Could not create udev monitor")])
def test_without_libudev_it_says_so(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    pyudev = pytest.importorskip("pyudev")

    def fails() -> None:
        raise fault

    monkeypatch.setattr(pyudev, "Context", fails)
    with pytest.raises(UnavailableError) as told:
        open_monitor()
    assert told.value.code == "no-kernel-events"
    assert str(fault) in told.value.message


def test_the_kernel_can_be_heard_here() -> None:
    try:
        monitor: Monitor = open_monitor()
    except UnavailableError as fault:
        pytest.skip(fault.message)
    assert monitor.fileno() >= 0
    assert heard(monitor) in (True, False)
