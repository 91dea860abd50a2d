"""The name service: what it says, remembered and joined, and that nobody waits for it for long."""

import asyncio
import grp
import pwd
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.name_service import MEMBERSHIP_SECONDS, NameService, group_id, groups_of, user_name

NOBODY = 65534
ADMINS = grp.getgrgid(1).gr_name


def test_a_group_that_does_not_exist_has_no_id() -> None:
    assert group_id(ADMINS) == 1
    assert group_id("no-such-group-here") is None


def test_the_groups_of_a_user_are_those_of_the_name_service() -> None:
    for user in pwd.getpwall():
        told = subprocess.run(["id", "-G", user.pw_name], capture_output=True, text=True, check=True, timeout=30).stdout
        assert groups_of(user.pw_uid) == {int(each) for each in told.split()}, user.pw_name
        assert user_name(user.pw_uid) == user.pw_name
    assert groups_of(4_000_000_000) == frozenset() and user_name(4_000_000_000) == "4000000000"


TAKEN_AWAY = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from agent.name_service import groups_of
groups = pathlib.Path("/etc/group")
assert groups.samefile(sys.argv[2]), "not a copy: nothing is written to the host's own"
before = groups.read_text()
groups.write_text(before + "pathmesh-test:x:64999:nobody\\n")
assert 64999 in groups_of(65534)
groups.write_text(before)
assert 64999 not in groups_of(65534)
print("taken away")
"""


@pytest.mark.skipif(shutil.which("unshare") is None or user_name(NOBODY) != "nobody", reason="needs a file of groups of its own")
def test_a_user_who_is_taken_out_of_a_group_is_not_in_it(tmp_path: Path) -> None:
    """The host's own file of groups, in a mount namespace where it is a copy."""
    copy = tmp_path / "group"
    shutil.copy("/etc/group", copy)
    inner = f'mount --bind {copy} /etc/group && exec {sys.executable} -c "$0" {Path(__file__).parents[2]} {copy}'
    done = subprocess.run(["unshare", "--mount", "sh", "-c", inner, TAKEN_AWAY], capture_output=True, text=True, timeout=60, check=False)
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.stdout == "taken away\n", done.stderr


@pytest.mark.anyio
async def test_the_name_service_is_asked_once_in_a_few_seconds() -> None:
    now, asked = 100.0, []

    def lookup(uid: int) -> frozenset[int]:
        asked.append(uid)
        return frozenset({uid + len(asked)})

    service = NameService(lambda: now)
    assert await service.ask(lookup, 10) == await service.ask(lookup, 10) == {11}
    assert await service.ask(lookup, 20) == {22}
    now += MEMBERSHIP_SECONDS - 0.1
    assert await service.ask(lookup, 10) == {11} and asked == [10, 20]
    now += 0.1
    assert await service.ask(lookup, 10) == {13} and asked == [10, 20, 10]


@pytest.mark.anyio
async def test_those_who_ask_at_once_for_the_same_wait_for_one_answer(hanging: Any) -> None:
    service = NameService()
    asking = [asyncio.create_task(service.ask(hanging, 10)) for _ in range(5)]
    asking[0].cancel()
    await asyncio.gather(asking[0], return_exceptions=True)
    hanging.go.set()
    assert await asyncio.gather(*asking[1:]) == [7] * 4 and hanging.asked == [10]


@pytest.mark.anyio
async def test_a_name_service_that_hangs_holds_up_nobody_for_long(hanging: Any, unavailable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.name_service.LOOKUP_SECONDS", 0.05)
    service, before = NameService(), threading.active_count()
    for _ in range(3):
        for key in range(20):
            assert str(key) in (await unavailable(service.ask(hanging, key))).message
    assert threading.active_count() <= before + 2 and len(hanging.asked) == 2, "the others are never begun"
    monkeypatch.setattr("agent.name_service.LOOKUP_SECONDS", 30)
    hanging.go.set()
    assert await asyncio.gather(*(service.ask(hanging, key) for key in range(20))) == [7] * 20
    assert sorted(hanging.asked) == list(range(20)), "what was asked in vain is not asked anew"


@pytest.mark.anyio
async def test_a_lookup_that_fails_is_an_answer_that_is_missing(unavailable: Any) -> None:
    def failing(_: int) -> int:
        raise OSError("no")

    service = NameService()
    await unavailable(service.ask(failing, 1))
    assert await service.ask(lambda uid: uid + 1, 1) == 2, "the thread goes on"


@pytest.mark.anyio
async def test_while_no_name_is_told_a_user_is_a_number(hanging: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service = NameService()
    assert await service.name(0) == "root" and await service.name(4_000_000_000) == "4000000000"
    monkeypatch.setattr("agent.name_service.LOOKUP_SECONDS", 0.05)
    monkeypatch.setattr("agent.name_service.user_name", hanging)
    assert await service.name(0) == "0"
