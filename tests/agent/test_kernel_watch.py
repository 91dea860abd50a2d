"""Looking at once when the kernel says that something moved, and not too often."""

import asyncio
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.kernel_watch import Coalesced, KernelWatch
from apply import kernel_events
from apply.kernel_events import Event, open_monitor
from store.errors import UnavailableError

pytestmark = pytest.mark.anyio


class Disk:
    subsystem, action, sys_name, device_type = "block", "change", "dm-0", "disk"


class Pipe:
    """A monitor on a pipe: one byte, one event."""

    def __init__(self) -> None:
        self.reading, self._writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.fault: Exception | None = None

    def fileno(self) -> int:
        return self.reading

    def poll(self, timeout: float | None = None) -> Event | None:
        try:
            os.read(self.reading, 1)
        except BlockingIOError:
            return None
        if self.fault is not None:
            raise self.fault
        return Disk()

    def send(self) -> None:
        os.write(self._writing, b".")

    def close(self) -> None:
        os.close(self.reading)
        os.close(self._writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


async def until(what: str, holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.001)


async def test_the_first_is_answered_at_once_a_storm_seldom_and_the_last_twice() -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()
    coalesced = Coalesced(lambda: times.append(loop.time()), lambda: 0.05, settle=0.1)
    begun = loop.time()
    coalesced.news()
    assert len(times) == 1, "at once, without a turn of the loop"
    while loop.time() < begun + 0.3:
        coalesced.news()
        await asyncio.sleep(0.001)
    ended = loop.time()
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps and min(gaps) >= 0.049
    assert len(times) <= 8
    await until("it looks once more after the last", lambda: times[-1] > ended)
    count = len(times)
    await asyncio.sleep(0.3)
    assert len(times) <= count + 1 and times[-1] >= ended
    coalesced.close()


async def test_a_single_event_costs_two_looks() -> None:
    looks: list[int] = []
    coalesced = Coalesced(lambda: looks.append(1), lambda: 0.01, settle=0.02)
    coalesced.news()
    await until("the second look", lambda: len(looks) == 2)
    await asyncio.sleep(0.1)
    assert len(looks) == 2
    coalesced.news()
    assert len(looks) == 3
    coalesced.close()
    await asyncio.sleep(0.05)
    assert len(looks) == 3, "closed"


async def test_an_event_wakes_and_cancellation_leaves_nothing(pipe: Pipe) -> None:
    looks: list[int] = []
    watch = KernelWatch(lambda: looks.append(1), opening=lambda: pipe)
    running = asyncio.create_task(watch.run())
    pipe.send()
    await until("it looked", lambda: looks)
    assert watch.note == ""
    running.cancel()
    await asyncio.wait([running])
    seen = len(looks)
    pipe.send()
    await asyncio.sleep(0.05)
    assert len(looks) == seen


async def test_lost_events_are_one_look(pipe: Pipe) -> None:
    looks: list[int] = []
    watch = KernelWatch(lambda: looks.append(1), opening=lambda: pipe)
    running = asyncio.create_task(watch.run())
    pipe.fault = OSError(errno.ENOBUFS, "No buffer space available")
    pipe.send()
    await until("it looked", lambda: looks)
    assert watch.note == "" and not running.done()
    running.cancel()
    await asyncio.wait([running])


async def test_a_socket_that_breaks_is_said_and_opened_anew(pipe: Pipe) -> None:
    looks: list[int] = []
    opened: list[Pipe] = []
    may_open = asyncio.Event()

    def opening() -> Pipe:
        if opened and not may_open.is_set():
            raise UnavailableError("no netlink", code="no-kernel-events")
        opened.append(Pipe() if opened else pipe)
        return opened[-1]

    watch = KernelWatch(lambda: looks.append(1), opening=opening, retry=0.001)
    running = asyncio.create_task(watch.run())
    await until("it hears", lambda: opened)
    pipe.fault = OSError(errno.EBADF, "Bad file descriptor")
    pipe.send()
    await until("it is said", lambda: watch.note.startswith("no-kernel-events: ") and looks)
    await until("it is tried again", lambda: "no netlink" in watch.note)
    before = len(looks)
    may_open.set()
    await until("it hears again, and looks for what was not heard", lambda: watch.note == "" and len(looks) > before)
    assert len(opened) == 2 and not running.done()
    await until("it is calm", lambda: watch._coalesced._timer is None)
    before = len(looks)
    opened[1].send()
    await until("an event of the new socket is heard", lambda: len(looks) > before)
    running.cancel()
    await asyncio.wait([running])
    opened[1].close()


@pytest.mark.parametrize("fault", [AttributeError("udev_new"), RuntimeError(), TypeError("x")])
async def test_no_fault_of_the_library_ends_it(pipe: Pipe, fault: Exception) -> None:
    opened: list[Pipe] = []

    def opening() -> Pipe:
        opened.append(pipe)
        if len(opened) == 1:
            raise fault
        return pipe

    watch = KernelWatch(lambda: None, opening=opening, retry=0.001)
    running = asyncio.create_task(watch.run())
    await until("it is said, and tried again", lambda: len(opened) == 2 and watch.note == "")
    pipe.fault = fault
    pipe.send()
    await until("what fails in hearing is said", lambda: type(fault).__name__ in watch.note or len(opened) > 2)
    pipe.fault = None
    await until("and heard again", lambda: len(opened) > 2 and watch.note == "")
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])


async def test_it_is_tried_again_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    plain = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await plain(0)

    def fails() -> Any:
        raise UnavailableError("no libudev", code="no-kernel-events")

    monkeypatch.setattr("agent.kernel_watch.asyncio.sleep", sleep)
    looks: list[int] = []
    running = asyncio.create_task(KernelWatch(lambda: looks.append(1), opening=fails).run())
    async with asyncio.timeout(5):
        while len(waits) < 12:
            await plain(0.001)
    running.cancel()
    await asyncio.wait([running])
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0] and waits[10:12] == [300.0, 300.0]
    assert len(looks) <= 2, "what is said already makes nobody look"


async def test_a_host_without_udev_is_a_note() -> None:
    def fails() -> Any:
        raise UnavailableError("no libudev", code="no-kernel-events")

    watch = KernelWatch(lambda: None, opening=fails)
    running = asyncio.create_task(watch.run())
    await until("it is said", lambda: "no libudev" in watch.note)
    running.cancel()
    await asyncio.wait([running])


async def test_a_real_event_of_the_kernel_is_heard_within_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    trigger = Path("/sys/class/mem/null/uevent")
    if not os.access(trigger, os.W_OK):
        pytest.skip("needs root, and a sysfs that may be written")
    monkeypatch.setattr(kernel_events, "SUBSYSTEMS", ("mem",))
    looks: list[float] = []
    loop = asyncio.get_running_loop()
    watch = KernelWatch(lambda: looks.append(loop.time()), opening=open_monitor)
    running = asyncio.create_task(watch.run())
    try:
        async with asyncio.timeout(5):
            while not looks and not watch.note:
                trigger.write_text("change")
                await asyncio.sleep(0.05)
        if watch.note:
            pytest.skip(watch.note)
        await asyncio.sleep(0.5)
        sent = loop.time()
        trigger.write_text("change")
        await until("it is heard", lambda: looks[-1] >= sent)
        assert looks[-1] - sent < 0.5
    except TimeoutError:
        pytest.skip("this kernel tells its events to another network namespace")
    finally:
        running.cancel()
        await asyncio.wait([running])
