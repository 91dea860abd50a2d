"""Running programs of the host: what they say, how long they may take, and what is left of those that take longer."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from apply import programs
from apply.programs import HostPrograms, Output
from store.errors import UnavailableError

pytestmark = pytest.mark.anyio


@pytest.fixture
def host(tmp_path: Path) -> Any:
    """`host(name, script)` makes a program; the search path has it and the system's own."""
    found = HostPrograms(f"{tmp_path}:/usr/bin:/bin")

    def make(name: str, script: str) -> HostPrograms:
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
        return found

    return make


async def refused(host: HostPrograms, *argv: str, seconds: float = 10.0) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        await host.run(*argv, seconds=seconds)
    return caught.value


async def test_a_program_says_what_it_says(host: Any) -> None:
    output = await host("tool", 'echo "$1 $LC_ALL"; echo warn >&2; cat; exit 5').run("tool", "a b", seconds=10)
    assert output == Output(5, "a b C\n", "warn\n")


async def test_nothing_of_our_environment_is_passed_on(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    output = await host("tool", "env | cut -d= -f1 | sort | tr '\\n' ' '").run("tool", seconds=10)
    assert set(output.stdout.split()) <= {"PATH", "LC_ALL", "LVM_SUPPRESS_FD_WARNINGS", "PWD", "OLDPWD", "SHLVL", "_"}


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        ("", "exit status 5"),
        ("  one\n\n  two\n three\n four\n", "one; two; three"),
        ("WARNING: x\n  Volume group not found\n", "Volume group not found"),
        ("WARNING: x\n", "WARNING: x"),
    ],
)
async def test_the_complaint_is_one_line(stderr: str, told: str) -> None:
    assert Output(5, "", stderr).complaint == told


async def test_a_program_that_is_not_there(host: Any) -> None:
    nothing = host("other", "")
    assert not nothing.has("lvm-x") and nothing.has("other")
    fault = await refused(HostPrograms("/nonexistent"), "lvm", "pvs")
    assert (fault.code, fault.hint) == ("program-missing", "apt install lvm2")


async def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "tool").chmod(0o755)
    assert (await refused(HostPrograms(str(tmp_path)), "tool")).code == "program-failed"


async def test_more_than_the_bound_is_read_and_dropped(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "limit", lambda _: 10)
    output = await host("tool", "i=0; while [ $i -lt 5000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done").run(
        "tool", seconds=20
    )
    assert output == Output(0, "0123456789", "")


async def test_one_that_takes_too_long_is_killed_with_its_children(host: Any, tmp_path: Path) -> None:
    slow = host("tool", f"sleep 60 & echo $! > {tmp_path}/child; wait")
    begun = time.monotonic()
    fault = await refused(slow, "tool", "--all", seconds=1.0)
    assert fault.code == "program-timeout" and fault.message == "tool --all did not end within 1 s"
    assert time.monotonic() - begun < 20
    await gone(int((tmp_path / "child").read_text()))
    assert (await host("tool", "echo again").run("tool", seconds=10)).stdout == "again\n"


async def test_while_one_does_not_die_no_other_is_started(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in the kernel's hands takes no signal: the test leaves the signal out."""
    kill = programs._kill
    left: list[Any] = []
    monkeypatch.setattr(programs, "_kill", left.append)
    monkeypatch.setattr(programs, "DYING_SECONDS", 0.1)
    tool = host("tool", "exec sleep 60")
    assert (await refused(tool, "tool", seconds=0.5)).code == "program-timeout"
    assert (await refused(tool, "tool")).code == "program-stuck"
    assert (await host("other", "echo y").run("other", seconds=10)).stdout == "y\n", "others are not held up"
    [process] = left
    kill(process)
    await process.wait()
    await asyncio.sleep(0)
    assert (await refused(tool, "tool", seconds=0.5)).code == "program-timeout", "it is started again"
    for process in left[1:]:
        kill(process)
        await process.wait()


async def test_a_cancelled_caller_leaves_nothing_behind(host: Any, tmp_path: Path) -> None:
    tool = host("tool", f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; exec sleep 60")
    task = asyncio.create_task(tool.run("tool", seconds=60))
    end = time.monotonic() + 20
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(int((tmp_path / "pid").read_text()))
    await asyncio.wait_for(asyncio.gather(*tool._stuck.values()), 20)


# -- what changes something -------------------------------------------------------------------------------------------


async def test_a_change_says_what_it_says(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    output = await host("tool", 'echo "$1 $LC_ALL"; echo warn >&2; cat; exit 5').change("tool", "a b", seconds=10)
    assert output == Output(5, "a b C\n", "warn\n")
    monkeypatch.setattr(programs, "limit", lambda _: 10)
    assert await host("tool", "seq 1 1000").change("tool", seconds=10) == Output(0, "1\n2\n3\n4\n5\n", "")


async def test_a_change_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as missing:
        await HostPrograms(str(tmp_path)).change("tool", seconds=1)
    (tmp_path / "tool").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "tool").chmod(0o755)
    with pytest.raises(UnavailableError) as broken:
        await HostPrograms(str(tmp_path)).change("tool", seconds=1)
    assert (missing.value.code, broken.value.code) == ("program-missing", "program-failed")


async def test_a_change_that_takes_too_long_goes_on_and_nothing_else_is_begun_before_it_ends(host: Any, tmp_path: Path) -> None:
    tool = host("tool", f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo done > {tmp_path}/done")
    with pytest.raises(UnavailableError) as caught:
        await tool.change("tool", "make", seconds=0.3)
    assert caught.value.code == "program-timeout" and caught.value.message == "tool make did not end within 0.3 s; it goes on"
    for again in (tool.change("tool", seconds=1), tool.run("tool", seconds=1)):
        with pytest.raises(UnavailableError) as refused_now:
            await again
        assert refused_now.value.code == "program-stuck"
    assert (await host("other", "echo y").run("other", seconds=10)).stdout == "y\n", "others are not held up"
    (tmp_path / "go").touch()
    await there(tmp_path / "done")
    end = time.monotonic() + 20
    while True:
        try:
            assert (await tool.change("tool", seconds=20)).status == 0
            return
        except UnavailableError:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)


async def test_a_cancelled_change_runs_to_its_end_first(host: Any, tmp_path: Path) -> None:
    tool = host("tool", f"touch {tmp_path}/begun; sleep 0.5; echo said; echo done > {tmp_path}/done")
    task = asyncio.create_task(tool.change("tool", seconds=60))
    await there(tmp_path / "begun")
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "done").exists()


async def test_a_cancelled_change_that_lasts_is_left_and_not_killed(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PARTING_SECONDS", 0.2)
    tool = host("tool", f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do echo said; sleep 0.05; done; touch {tmp_path}/done")
    task = asyncio.create_task(tool.change("tool", seconds=60))
    await there(tmp_path / "begun")
    begun = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - begun < 20
    [process] = tool._going_on["tool"]
    assert process.poll() is None
    (tmp_path / "go").touch()
    await there(tmp_path / "done")
    assert process.wait(20) == 0, "it wrote to nobody, and was not ended by that"


def test_a_change_outlives_the_event_loop(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text(f"#!/bin/sh\ntouch {tmp_path}/begun; sleep 0.5; echo said; touch {tmp_path}/done\n")
    (tmp_path / "tool").chmod(0o755)
    tool = HostPrograms(f"{tmp_path}:/usr/bin:/bin")

    async def leave() -> "asyncio.Task[Output]":
        task = asyncio.create_task(tool.change("tool", seconds=60))
        await there(tmp_path / "begun")
        return task  # the loop ends now, and cancels it

    assert asyncio.run(leave()).cancelled()
    assert (tmp_path / "done").exists()


async def there(file: Path) -> None:
    end = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < end, f"{file.name} is not there"
        await asyncio.sleep(0.01)


async def gone(pid: int) -> None:
    """Until there is no such process but as a zombie."""
    end = time.monotonic() + 20
    while _runs(pid):
        assert time.monotonic() < end, f"{pid} is still there"
        await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
