"""Which events of the kernel matter, and reading them."""

import errno
import os
import select
import socket
from collections.abc import Iterator
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

    def __init__(self, *answers: Any, of: socket.socket | None = None) -> None:
        self.answers, self.of = list(answers), of

    def fileno(self) -> int:
        return self.of.fileno() if self.of is not None else -1

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


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A UDP socket whose peer does not exist any more once the second is closed: the kernel keeps a fault for it."""
    one, other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with one, other:
        other.bind(("127.0.0.1", 0))
        one.connect(other.getsockname())
        one.setblocking(False)
        yield one, other


class Numberless:
    """A monitor whose poll fails without a number for as long as a fault is pending on the socket, as pyudev's does."""

    def __init__(self, of: socket.socket) -> None:
        self.of = of

    def fileno(self) -> int:
        return self.of.fileno()

    def poll(self, timeout: float | None = None) -> Any:
        poller = select.poll()
        poller.register(self.of, select.POLLIN)
        if any(mask & (select.POLLERR | select.POLLNVAL) for _, mask in poller.poll(0)):
            raise OSError("Error while polling fd")
        return None


def test_a_fault_without_a_number_is_taken_off_the_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    one, other = pair
    assert heard(Queue(OSError("Error while polling fd"), of=one)) is True, "no fault is pending: events may be lost"
    other.close()
    one.send(b"x")
    select.select([one], [], [], 5)
    monitor = Numberless(one)
    with pytest.raises(OSError, match="refused") as told:
        heard(monitor)
    assert told.value.errno == errno.ECONNREFUSED, "a fault of another kind is said, with its number"
    assert heard(monitor) is False, "and it is off the socket"


def test_lost_events_without_a_number_are_forgiven(monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]) -> None:
    class Full:
        def __init__(self, fileno: int) -> None:
            os.close(fileno)

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def getsockopt(self, level: int, option: int) -> int:
            assert (level, option) == (socket.SOL_SOCKET, socket.SO_ERROR)
            return errno.ENOBUFS

    monkeypatch.setattr(socket, "socket", Full)
    assert heard(Queue(OSError("Error while polling fd"), of=pair[0])) is True
    assert pair[0].fileno() >= 0 and os.fstat(pair[0].fileno()), "the monitor keeps its socket"


def test_a_socket_that_is_closed_is_no_lost_event() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        heard(Queue(OSError("File descriptor not open: 7")))


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
