"""The simulated daemon, brought by commands and files into the states of the recorded captures, answers what the real one answered."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
W1, W2 = "35000c500a0b00001", "35000c500a0b00002"
A1, A2 = "360014050000000100004000800000000", "360014050000000200004000800000000"

MAPS_FORMAT = "|".join(f"%{c}" for c in "nwdFQNrtSfxhA01234vpesGg")
PATHS_FORMAT = "|".join(f"%{c}" for c in "widDtTocsSzpmMCNnRraGg0PIL") + "|%?|"

BASE = """
defaults {
	polling_interval 2
	max_polling_interval 4
	find_multipaths strict
	user_friendly_names no
}
"""

# What may differ, by capture and file, and why. A column is named by its wildcard.
VOLATILE_COLUMNS: dict[str, tuple[set[str], str]] = {
    "*": ({"C"}, "the seconds to the next check"),
    "36_alias_data01": ({"C", "0"}, "the kernel counted one fault a path that the recorded daemon never saw"),
}
VOLATILE_STATUS = {
    "13_all_paths_removed": "a path in no map was being checked at that moment (up or pending)",
    "14_all_paths_removed_map_open": "the same",
    "36_alias_data01": "the same",
}
VOLATILE_DAEMON = r"^pid \d+ "  # the process id


def scsi(host: Any, lun: Callable[..., dict[str, Any]], **fields: Any) -> None:
    """The host of captures 02 to 14: one LUN to allow and one that never is."""
    host.write_luns(lun(W1, "sdb", "sdd", 1, **fields), lun(W2, "sda", "sdc", 2))
    host.conf(BASE, "multipath.conf")


def no_maps(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    scsi(host, lun)
    host.start()


def healthy(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    no_maps(host, lun)
    host.allow([W1])
    host.reconfigure()
    host.reconfigure()


def one_offline(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    healthy(host, lun)
    host.set_path("sdb", state="offline")


def restored(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    one_offline(host, lun)
    host.ask("show maps")
    host.set_path("sdb", state="ready")


def removed(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    restored(host, lun)
    host.ask("show maps")
    host.set_path("sdb", state="offline")  # a deleted device fails before it goes
    host.ask("show maps")
    assert host.ask("del path sdb") == "ok\n"


def rescanned(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    removed(host, lun)
    host.set_path("sdb", state="ready")
    assert host.ask("add path sdb") == "ok\n"


def all_failed(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    rescanned(host, lun)
    host.path("sdb")["state"] = "offline"
    host.set_path("sdd", state="offline")


def healthy_queue(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    healthy(host, lun)
    host.conf(f"multipaths {{\n multipath {{\n  wwid {W1}\n  no_path_retry queue\n }}\n}}\n")
    host.reconfigure()


def failed_queueing(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    healthy_queue(host, lun)
    host.path("sdb")["state"] = "offline"
    host.set_path("sdd", state="offline")


def retry_expired(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    failed_queueing(host, lun)
    host.ask("show maps")
    host.path("sdb")["state"] = "ready"
    host.set_path("sdd", state="ready")
    host.conf(f"multipaths {{\n multipath {{\n  wwid {W1}\n  no_path_retry 5\n }}\n}}\n")
    host.reconfigure()
    host.path("sdb")["state"] = "offline"
    host.set_path("sdd", state="offline")
    for _ in range(5):
        assert host.maps("%Q|%f")[0].endswith(" sec|1 queue_if_no_path")
        host.now += 2.5


def all_removed(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    healthy(host, lun)
    host.unplug("sdb", "sdd")


def all_removed_open(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    healthy(host, lun)
    host.luns[0]["open"] = True
    host.save_luns()
    for command in ("del path sdb", "add path sdb", "del path sdb", "del path sdd"):
        assert host.ask(command) == "ok\n"


def alua(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    def make(wwid: str, number: int, first: str, second: str) -> dict[str, Any]:
        serial = f"0000000{number}-0000-4000-8000-000000000000"
        made = lun(wwid, first, second, number, product=f"SANDISK{number}", rev="4.0", hwhandler="1 alua", serial=serial)
        for n, path in enumerate(made["path"]):
            path["hcil"] = f"{n}:0:1:{number}"
        return made

    host.write_luns(make(A1, 1, "sda", "sdb"), make(A2, 2, "sdc", "sdd"))
    host.conf(BASE, "multipath.conf")
    host.start()
    host.allow([A1])
    host.reconfigure()


def alua_nonoptimized(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    alua(host, lun)
    host.set_path("sdb", prio=10)


def alua_standby(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    alua(host, lun)
    host.set_path("sdb", state="ghost")


def aliased(host: Any, lun: Callable[..., dict[str, Any]]) -> None:
    alua(host, lun)
    host.conf(f'multipaths {{\n multipath {{\n  wwid "{A1}"\n  alias "data01"\n  no_path_retry 3\n }}\n}}\n')
    host.reconfigure()


STATES: dict[str, Callable[[Any, Callable[..., dict[str, Any]]], None]] = {
    "02_no_maps": no_maps,
    "03_healthy_2paths": healthy,
    "04_one_path_offline": one_offline,
    "05_path_restored": restored,
    "06_one_path_removed": removed,
    "07_path_rescanned": rescanned,
    "08_all_paths_failed": all_failed,
    "09_healthy_queue": healthy_queue,
    "10_all_failed_queueing": failed_queueing,
    "12_no_path_retry_expired": retry_expired,
    "13_all_paths_removed": all_removed,
    "14_all_paths_removed_map_open": all_removed_open,
    "30_alua_both_optimized": alua,
    "31_alua_nonoptimized": alua_nonoptimized,
    "32_alua_standby_ghost": alua_standby,
    "36_alias_data01": aliased,
}


@pytest.fixture(params=list(STATES))
def capture(request: pytest.FixtureRequest, host: Any, lun: Callable[..., dict[str, Any]]) -> str:
    """The name of a capture in whose state the host is."""
    STATES[request.param](host, lun)
    return str(request.param)


def recorded(capture: str, name: str) -> str:
    return (CAPTURES / capture / name).read_text()


def test_every_capture_is_played() -> None:
    assert {d.name for d in CAPTURES.iterdir() if d.is_dir()} == STATES.keys()


def test_maps_json(capture: str, host: Any) -> None:
    assert host.ask("show maps json") == recorded(capture, "maps.json.out")


def test_map_json(capture: str, host: Any) -> None:
    for file in (CAPTURES / capture).glob("map_*.json.out"):
        assert host.ask(f"show map {file.name[4:-9]} json") == file.read_text()


def test_map_json_by_device(capture: str, host: Any) -> None:
    maps = json.loads(recorded(capture, "maps.json.out"))["maps"]
    reply = host.ask("show map dm-0 json")
    assert (json.loads(reply)["map"] if maps else reply) == (maps[0] if maps else "fail\n")


def test_maps_raw_format(capture: str, host: Any) -> None:
    assert host.ask(f'show maps raw format "{MAPS_FORMAT}"') == recorded(capture, "maps_raw_format.out")


def test_paths_raw_format(capture: str, host: Any) -> None:
    real = recorded(capture, "paths_raw_format.out").splitlines()
    ours = host.ask(f'show paths raw format "{PATHS_FORMAT}"').splitlines()
    volatile, _ = VOLATILE_COLUMNS.get(capture, VOLATILE_COLUMNS["*"])
    columns = re.findall("%(.)", PATHS_FORMAT)
    masked = [[[v for v, c in zip(line.split("|"), columns, strict=False) if c not in volatile] for line in side] for side in (real, ours)]
    assert masked[0] == masked[1]
    progress = re.compile(r"orphan|[X.]{10} \d+/\d+")
    assert all(progress.fullmatch(line.split("|")[columns.index("C")]) for line in ours)
    assert [line.count("|") for line in ours] == [line.count("|") for line in real]


def test_paths_format_has_the_same_header_and_columns(capture: str, host: Any) -> None:
    real = recorded(capture, "paths_format.out").splitlines()
    ours = host.ask(f'show paths format "{PATHS_FORMAT}"').splitlines()
    assert [[len(cell) for cell in line.split("|")] for line in ours] == [[len(cell) for cell in line.split("|")] for line in real]
    assert ours[0] == real[0]


def test_topology(capture: str, host: Any) -> None:
    assert host.ask("show topology") == recorded(capture, "topology.out")


def test_config_local(capture: str, host: Any) -> None:
    assert host.ask("show config local") == recorded(capture, "config_local.out")


def test_status(capture: str, host: Any) -> None:
    real, ours = recorded(capture, "status.out"), host.ask("show status")
    if capture in VOLATILE_STATUS:
        total = sum(int(n) for n in re.findall(r"^(?:up|pending) +(\d+)$", real, re.M))
        real = re.sub(r"^pending.*\n", "", re.sub(r"^up .*$", f"{'up':<20}{total}", real, flags=re.M), flags=re.M)
    assert ours == real


def test_daemon(capture: str, host: Any) -> None:
    real, ours = recorded(capture, "daemon.out"), host.ask("show daemon")
    assert re.sub(VOLATILE_DAEMON, "pid ", ours) == re.sub(VOLATILE_DAEMON, "pid ", real)


def test_bindings_file(capture: str, host: Any) -> None:
    assert (host.etc / "bindings").read_text() == recorded(capture, "bindings.out")
