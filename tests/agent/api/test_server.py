"""The local socket: who gets it, with which mode, and what is in the way."""

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from agent.api.server import bind_socket
from agent.settings import ApiSettings
from store.errors import UnavailableError


def refusal(path: Path) -> UnavailableError:
    with pytest.raises(UnavailableError) as caught:
        bind_socket(ApiSettings(socket=path))
    assert str(path) in caught.value.message and caught.value.hint
    return caught.value


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_it_has_its_mode_from_the_first_moment(tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "api.sock"
    seen = []
    chmod = Path.chmod
    monkeypatch.setattr(Path, "chmod", lambda self, mode: (seen.append(stat.S_IMODE(self.stat().st_mode)), chmod(self, mode)))
    with bind_socket(ApiSettings(socket=path, mode=mode)):
        assert stat.S_ISSOCK(path.stat().st_mode) and stat.S_IMODE(path.stat().st_mode) == mode
        assert seen == [0]


def test_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with bind_socket(ApiSettings(socket=path)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with bind_socket(ApiSettings(socket=path)), socket.socket(socket.AF_UNIX) as client:
        assert refusal(path).code == "socket-in-use"
        client.connect(str(path))


def test_one_that_is_too_busy_to_accept_is_in_use_too(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(str(path))
        try:
            assert refusal(path).code == "socket-in-use"
        finally:
            for each in waiting:
                each.close()
    assert path.exists()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("mine")
    assert refusal(path).code == "socket-failed"
    assert path.read_text() == "mine"


def test_a_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fault = refusal(tmp_path / "file" / "api.sock")
    assert fault.code == "socket-failed" and f"{tmp_path / 'file'}: File exists" in fault.message


def test_the_umask_is_as_before(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with bind_socket(ApiSettings(socket=tmp_path / "api.sock")):
            assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_many_clients_may_wait(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with bind_socket(ApiSettings(socket=path)):
        clients = [socket.socket(socket.AF_UNIX) for _ in range(50)]
        done = threading.Event()

        def connect() -> None:
            for client in clients:
                client.connect(str(path))
            done.set()

        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        assert done.wait(10)
        for client in clients:
            client.close()
