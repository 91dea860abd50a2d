"""Logging in to iSCSI targets, with an `iscsiadm` of the test's own."""

from pathlib import Path
from typing import Any

import pytest

from apply.iscsi import MEANINGS, login
from apply.programs import HostPrograms
from store.errors import UnavailableError

pytestmark = pytest.mark.anyio

IQN = "iqn.2001-05.com.example:a"
PORTAL = "10.0.1.10:3260"
NODE = f"--mode node --targetname {IQN} --portal {PORTAL} --interface default"


@pytest.fixture
def host(tmp_path: Path) -> Any:
    """`host(script)` makes an iscsiadm; each call of it is a line in `calls`."""

    def make(script: str) -> HostPrograms:
        (tmp_path / "iscsiadm").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n{script}\n')
        (tmp_path / "iscsiadm").chmod(0o755)
        return HostPrograms(f"{tmp_path}:/usr/bin:/bin")

    return make


def calls(directory: Path) -> list[str]:
    return (directory / "calls").read_text().splitlines()


async def test_a_known_target_is_logged_in_to(host: Any, tmp_path: Path) -> None:
    await login(host("exit 0"), IQN, PORTAL, "default")
    assert calls(tmp_path) == [NODE, f"{NODE} --login"]


async def test_one_record_is_made_where_there_is_none_and_no_other_is_changed(host: Any, tmp_path: Path) -> None:
    await login(host('case "$*" in *--login) exit 15;; *new) ;; *) exit 21;; esac'), IQN, PORTAL, "default")
    assert calls(tmp_path) == [NODE, f"{NODE} --op new", f"{NODE} --login"]


@pytest.mark.parametrize("status", sorted(MEANINGS))
@pytest.mark.parametrize("step", ["login", "new"])
async def test_what_is_wrong_is_told_with_what_to_do(host: Any, status: int, step: str) -> None:
    script = f'case "$*" in *{step}) exit {status};; *new|*login) ;; *) exit 21;; esac'
    with pytest.raises(UnavailableError) as caught:
        await login(host(script), IQN, PORTAL, "default")
    code, what, hint = MEANINGS[status]
    assert (caught.value.code, caught.value.message, caught.value.hint) == (code, f"{IQN} at {PORTAL}: {what}", hint)


async def test_a_status_without_a_meaning_is_told_in_iscsiadms_words(host: Any) -> None:
    with pytest.raises(UnavailableError) as caught:
        await login(host('case "$*" in *login*) echo "iscsiadm: initiator reported error" >&2; exit 6;; esac'), IQN, PORTAL, "default")
    assert caught.value.code == "login-failed" and caught.value.message.endswith("iscsiadm: initiator reported error")


async def test_a_login_that_takes_long_is_told_and_not_broken_off(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apply.iscsi.LOGIN_SECONDS", 0.2)
    programs = host(f'case "$*" in *login*) while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; touch {tmp_path}/done;; esac')
    with pytest.raises(UnavailableError) as caught:
        await login(programs, IQN, PORTAL, "default")
    assert caught.value.code == "program-timeout"
    (tmp_path / "go").touch()
    [process] = programs._going_on["iscsiadm"]
    assert process.wait(20) == 0 and (tmp_path / "done").exists(), "it ends by itself"


async def test_a_host_without_open_iscsi(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        await login(HostPrograms(str(tmp_path)), IQN, PORTAL, "default")
    assert (caught.value.code, caught.value.hint) == ("program-missing", "apt install open-iscsi")


async def test_nothing_ever_logs_out(host: Any, tmp_path: Path) -> None:
    for status in (0, 21, 8):
        try:
            await login(host(f"exit {status}"), IQN, PORTAL, "default")
        except UnavailableError:
            assert status
    assert not any(word in line for line in calls(tmp_path) for word in ("logout", "-u", "delete", "update"))
