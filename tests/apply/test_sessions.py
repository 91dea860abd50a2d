"""iSCSI sessions, from a sysfs of the test's own."""

from pathlib import Path

from apply.sessions import Session, logged_in, sessions

IQN = "iqn.2001-05.com.example:a"
PORTAL = "10.0.1.10:3260"


def session(
    root: Path, number: int, address: str, *, state: str = "LOGGED_IN", interface: str = "default", target: str = IQN, port: str = "3260"
) -> None:
    directory = root / f"sys/class/iscsi_session/session{number}"
    directory.mkdir(parents=True)
    for name, value in (("state", state), ("targetname", target), ("ifacename", interface)):
        (directory / name).write_text(value + "\n")
    connection = root / f"sys/class/iscsi_connection/connection{number}:0"
    connection.mkdir(parents=True)
    (connection / "persistent_address").write_text(address + "\n")
    (connection / "persistent_port").write_text(port + "\n")


def test_sessions(tmp_path: Path) -> None:
    assert sessions(tmp_path) == {}
    session(tmp_path, 1, "10.0.1.10")
    session(tmp_path, 2, "10.0.1.10")
    session(tmp_path, 11, "2001:db8::1", interface="bond0", target=IQN.upper())
    session(tmp_path, 4, "10.0.2.10", state="FREE")
    session(tmp_path, 5, "(null)")
    session(tmp_path, 6, "10.0.3.10", port="x")
    session(tmp_path, 7, "10.0.4.10", interface="<NULL>")
    assert sessions(tmp_path) == {
        (IQN, PORTAL, "default"): 2,
        (IQN, "[2001:db8::1]:3260", "bond0"): 1,
        (IQN, "10.0.4.10:3260", "default"): 1,
    }


def test_a_session_without_disks(tmp_path: Path) -> None:
    session(tmp_path, 1, "10.0.1.10")
    session(tmp_path, 2, "10.0.2.10")
    (tmp_path / "sys/class/iscsi_session/session2/device/target3:0:0/3:0:0:1/block/sda").mkdir(parents=True)
    assert sorted(logged_in(tmp_path / "sys")) == [
        Session(IQN, PORTAL, "default", False),
        Session(IQN, "10.0.2.10:3260", "default", True),
    ]
