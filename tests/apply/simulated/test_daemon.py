"""What the simulated daemon does with files and commands, against what was measured on the real one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apply.simulated import allow_list
from apply.simulated.allow_list import HEADER
from apply.simulated.commands import REFERENCE, Fault, Request, parse

W1, W2 = "35000c500a0b00001", "35000c500a0b00002"
NAMES = "%n|%w|%d|%N"

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def two(host: Any, lun: Make) -> Any:
    """Two healthy allowed maps, the first one in use."""
    host.write_luns(lun(W1, "sdb", "sdd", 1, open=True), lun(W2, "sda", "sdc", 2))
    host.allow([W1, W2])
    return host.start()


def alias(wwid: str, name: str) -> str:
    return f'multipaths {{\n multipath {{\n  wwid {wwid}\n  alias "{name}"\n }}\n}}\n'


BEFORE = [f"{W1}|{W1}|dm-0|2", f"{W2}|{W2}|dm-1|2"]
SECOND_GONE = BEFORE[:1]
FIRST_LAST = BEFORE[::-1]


# The allow-list


def test_the_allow_list_counts_from_column_zero_and_up_to_the_second_slash(host: Any, lun: Make) -> None:
    host.write_luns(lun(W1, "sda", "sdb"), lun(W2, "sdc", "sdd", 2))
    host.start()
    for content, maps in {
        f"/{W1}/\n": 1,
        f"#{W1}/\n": 0,
        f"{W1}\n": 0,
        f"  /{W1}/\n": 0,
        f"/{W1}/   # comment\n": 1,
        f"/{W1}\n": 0,
        f"#{W1}/\n/{W1}/\n": 1,
    }.items():
        (host.etc / "wwids").write_text(content)
        host.reconfigure()
        assert len(host.maps()) == maps, content
        assert host.wwids() == content
        (host.etc / "wwids").write_text("")
        host.reconfigure()


def test_no_map_is_made_before_reconfigure(host: Any, lun: Make) -> None:
    host.write_luns(lun(W1, "sda", "sdb"))
    host.start()
    host.allow([W1])
    assert host.maps() == []
    host.reconfigure()
    assert host.maps("%A|%2") == ["create|1"]
    host.reconfigure()
    assert host.maps("%A|%2") == ["|0"]


def test_the_header_is_written_into_a_new_or_empty_file_only(host: Any, lun: Make) -> None:
    host.write_luns(lun(W1, "sda", "sdb"), lun(W2, "sdc", "sdd"))
    host.conf("defaults {\n find_multipaths yes\n}\n")
    host.start()
    assert host.wwids() == HEADER.decode() + f"/{W1}/\n/{W2}/\n"
    assert (host.etc / "wwids").stat().st_mode & 0o777 == 0o600
    host.allow([W1])
    host.reconfigure()
    assert host.wwids() == f"/{W1}/\n/{W2}/\n"


def test_a_removed_wwid_takes_an_unused_map_and_is_written_back_for_one_in_use(two: Any) -> None:
    (two.etc / "wwids").write_text(f"#{W1}/\n#{W2}/\n")
    two.reconfigure()
    assert two.maps(NAMES) == SECOND_GONE
    assert two.wwids() == f"#{W1}/\n#{W2}/\n/{W1}/\n"
    two.luns[0]["open"] = False
    two.save_luns()
    (two.etc / "wwids").write_text("")
    two.reconfigure()
    assert two.maps() == []
    assert two.ask("show maps json") == '{\n   "major_version": 0,\n   "minor_version": 1,\n   "maps": []\n}\n'


@pytest.mark.parametrize(("mode", "maps"), [("strict", 0), ("no", 2), ("off", 2), ("greedy", 2), ("yes", 1), ("on", 1), ("smart", 1)])
def test_other_modes_find_maps_by_themselves(host: Any, lun: Make, mode: str, maps: int) -> None:
    single = lun(W2, "sdc", "sdd", 2)
    single["path"] = single["path"][:1]
    host.write_luns(lun(W1, "sda", "sdb"), single)
    host.conf(f"defaults {{\n find_multipaths {mode}\n}}\n")
    host.start()
    assert len(host.maps()) == maps
    assert (host.etc / "wwids").exists() is (maps > 0)


def test_a_locked_file_is_written_once_the_lock_is_gone(two: Any) -> None:
    two.allow([W2])
    hold = "import fcntl,sys; f=open(sys.argv[1],'r+'); fcntl.lockf(f,fcntl.LOCK_EX); print('held',flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", hold, str(two.etc / "wwids")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout and holder.stdin
        assert holder.stdout.readline() == b"held\n"
        two.reconfigure()
        assert two.wwids() == f"/{W2}/\n"
        holder.stdin.close()
        holder.wait(timeout=10)
    assert len(two.maps()) == 2
    assert two.wwids() == f"/{W2}/\n/{W1}/\n"


# Names


def test_an_alias_renames_live_and_back(two: Any) -> None:
    two.conf(alias(W1, "data01"))
    two.reconfigure()
    assert two.maps("%n|%w|%d|%A|%2") == [f"data01|{W1}|dm-0||1", f"{W2}|{W2}|dm-1||0"]
    assert two.ask(f"show map {W1} json") == "fail\n"
    assert two.ask("show map data01 json") == two.ask("show map dm-0 json") != "fail\n"
    two.conf("")
    two.reconfigure()
    assert two.maps(NAMES) == BEFORE


@pytest.mark.parametrize(
    ("name", "maps"),
    [
        ("a" * 127, [f"{'a' * 127}|{W1}|dm-0|2", BEFORE[1]]),
        ("a" * 128, FIRST_LAST),
        ("", FIRST_LAST),
        (W2, BEFORE),
        ("control", [f"control|{W1}|dm-0|2", BEFORE[1]]),
        ("..", [f"..|{W1}|dm-0|2", BEFORE[1]]),
    ],
)
def test_aliases_of_a_map_in_use(two: Any, name: str, maps: list[str]) -> None:
    two.conf(alias(W1, name))
    two.reconfigure()
    assert two.maps(NAMES) == maps
    two.conf("")
    two.reconfigure()
    assert two.maps(NAMES) == BEFORE


def test_an_unused_map_with_an_impossible_alias_is_removed_and_comes_back(two: Any) -> None:
    two.conf(alias(W2, ""))
    two.reconfigure()
    assert two.maps(NAMES) == SECOND_GONE
    two.conf("")
    two.reconfigure()
    assert two.maps(NAMES) == BEFORE


def test_names_cannot_be_swapped_or_taken_in_one_pass(two: Any, caplog: pytest.LogCaptureFixture) -> None:
    two.conf(alias(W1, "a") + alias(W2, "b"))
    two.reconfigure()
    assert two.maps("%n") == ["a", "b"]
    two.conf(alias(W1, "b") + alias(W2, "a"))
    two.reconfigure()
    assert two.maps("%n") == ["a", "b"]
    assert f"{W1}: unable to rename a to b (b is used by {W2})" in caplog.text
    two.conf(alias(W1, "b") + alias(W2, "c"))
    two.reconfigure()
    assert two.maps("%n") == ["a", "c"]
    two.reconfigure()
    assert two.maps("%n") == ["b", "c"]


def test_of_two_equal_aliases_the_first_wwid_keeps_it(two: Any) -> None:
    two.conf(alias(W1, "same") + alias(W2, "same"))
    two.reconfigure()
    assert two.maps("%n") == ["same", W2]
    assert two.ask("show config local").count('alias "same"') == 2  # the setting and the comment


def test_a_new_map_whose_alias_is_taken_gets_its_wwid(two: Any) -> None:
    two.allow([W1])
    two.reconfigure()
    two.conf(alias(W1, "x"))
    two.reconfigure()
    two.conf(alias(W2, "x"))
    two.allow([W1, W2])
    two.reconfigure()
    assert two.maps("%n|%w") == [f"{W1}|{W1}", f"{W2}|{W2}"]
    two.reconfigure()
    assert two.maps("%n|%w") == [f"{W1}|{W1}", f"x|{W2}"]


def test_user_friendly_names_are_bound_in_a_file(two: Any) -> None:
    with (two.etc / "bindings").open("a") as stream:
        stream.write(f"mpathb {W1}\n")
    two.conf("defaults {\n user_friendly_names yes\n}\n")
    two.reconfigure()
    assert two.maps("%n|%w") == [f"mpathb|{W1}", f"mpatha|{W2}"]
    assert (two.etc / "bindings").read_text().endswith(f"mpathb {W1}\nmpatha {W2}\n")
    assert f'\t\twwid "{W1}"\n\t\t# alias "mpathb"\n' in two.ask("show config local")
    two.conf(alias(W1, "own"), "conf.d/60.conf")
    two.reconfigure()
    assert two.maps("%n") == ["own", "mpatha"]


def test_names_are_pasted_into_json_unescaped(two: Any) -> None:
    two.conf(alias(W1, 'a""b'))
    two.reconfigure()
    assert '"name" : "a"b",' in two.ask("show maps json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(two.ask("show maps json"))


# Options that the kernel refuses, and other traps


@pytest.mark.parametrize("option", ['path_selector "no-such 0"', 'features "1 bogus"', 'features "2 pg_init_retries 51"'])
def test_a_refused_table_removes_an_unused_map(two: Any, option: str) -> None:
    for wwid, maps in ((W1, FIRST_LAST), (W2, SECOND_GONE)):
        two.conf(f"multipaths {{\n multipath {{\n  wwid {wwid}\n  {option}\n }}\n}}\n")
        two.reconfigure()
        assert two.maps(NAMES) == maps
        two.conf("")
        two.reconfigure()
        assert two.maps(NAMES) == BEFORE


def test_an_unknown_checker_shows_no_active_paths(two: Any) -> None:
    two.conf("defaults {\n path_checker nosuch\n}\n")
    two.reconfigure()
    assert two.maps(NAMES) == [f"{W1}|{W1}|dm-0|0", f"{W2}|{W2}|dm-1|0"]
    assert two.ask('show paths raw format "%d %t %T %o %c %p"').splitlines()[0] == "sdb active undef running (null) 1"
    two.conf("")
    two.reconfigure()
    assert two.maps(NAMES) == BEFORE


def test_an_unknown_prioritizer_gives_minus_one(two: Any) -> None:
    two.conf("defaults {\n prio nosuch\n}\n")
    two.reconfigure()
    group = json.loads(two.ask("show maps json"))["maps"][0]["path_groups"][0]
    assert (group["pri"], group["paths"][0]["pri"]) == (-1, -1)


def test_a_refused_polling_interval_stops_path_checks(two: Any) -> None:
    two.conf("defaults {\n polling_interval abc\n}\n")
    two.reconfigure()
    two.set_path("sdb", state="offline")
    assert two.maps("%N") == ["2", "2"]
    two.conf("")
    two.reconfigure()
    assert two.maps("%N") == ["1", "2"]


@pytest.mark.parametrize(
    ("rules", "maps"),
    [
        ("blacklist {\n devnode .*\n}\n", [f"{W1}|{W1}|dm-0|0"]),
        (f"blacklist {{\n wwid {W1[:8]}\n}}\n", [f"{W1}|{W1}|dm-0|0"]),
        (f"blacklist {{\n wwid {W1}\n}}\n", [BEFORE[1], f"{W1}|{W1}|dm-0|0"]),
        ("blacklist {\n device {\n  vendor LAB\n }\n}\n", [f"{W1}|{W1}|dm-0|0"]),
        (f'blacklist {{\n wwid .*\n}}\nblacklist_exceptions {{\n wwid "^{W1}$"\n}}\n', SECOND_GONE),
        (f'blacklist {{\n devnode .*\n}}\nblacklist_exceptions {{\n wwid "^{W1}$"\n}}\n', [f"{W1}|{W1}|dm-0|0"]),
    ],
)
def test_blacklists(two: Any, rules: str, maps: list[str]) -> None:
    two.conf(rules)
    two.reconfigure()
    assert two.maps(NAMES) == maps
    for entry in json.loads(two.ask("show maps json"))["maps"]:
        assert (entry["vend"], entry["path_groups"] == []) == (("##", True) if entry["paths"] == 0 else ("LAB", False))
    two.conf("")
    two.reconfigure()
    assert sorted(two.maps(NAMES)) == BEFORE


# Path groups, failover and failback


def states(host: Any) -> list[tuple[int, str, list[str]]]:
    groups = json.loads(host.ask("show maps json"))["maps"][0]["path_groups"]
    return [(g["pri"], g["dm_st"], [p["dev"] for p in g["paths"]]) for g in groups]


def policy(host: Any, *options: str) -> None:
    host.conf("overrides {\n" + "".join(f" {o}\n" for o in options) + "}\n")
    host.reconfigure()


def test_grouping_policies(two: Any) -> None:
    two.set_path("sdb", prio=10, target_wwnn="0x1")
    two.set_path("sdd", prio=50, target_wwnn="0x1")
    policy(two, "path_grouping_policy failover")
    assert states(two) == [(50, "active", ["sdd"]), (10, "enabled", ["sdb"])]
    policy(two, "path_grouping_policy multibus")
    assert states(two) == [(30, "active", ["sdb", "sdd"])]
    policy(two, "path_grouping_policy group_by_node_name")
    assert states(two) == [(30, "active", ["sdb", "sdd"])]
    policy(two, "path_grouping_policy group_by_prio")
    assert states(two) == [(50, "active", ["sdd"]), (10, "enabled", ["sdb"])]


def test_failback_immediate_switches_back_and_counts(two: Any) -> None:
    policy(two, "failback immediate")
    two.ask("fail path sdb")
    assert states(two) == [(0, "enabled", ["sdb"]), (1, "active", ["sdd"])]
    assert two.maps("%F|%1")[0] == "immediate|0"
    two.ask("reinstate path sdb")
    two.set_path("sdb", prio=2)
    assert states(two)[0][:2] == (2, "active")
    assert two.maps("%F|%1")[0] == "immediate|1"


def test_failback_after_seconds_counts_down(two: Any) -> None:
    two.set_path("sdb", prio=2)
    policy(two, "failback 9")
    two.ask("fail path sdb")
    two.ask("reinstate path sdb")
    assert two.maps("%F|%1")[0] == "XXXXXXXXXX 10/9|0"
    two.now += 5
    assert two.maps("%F|%1")[0] == "XXXXX..... 5/9|0"
    two.now += 5
    assert two.maps("%F|%1")[0] == "-|1"
    assert states(two)[0][:2] == (2, "active")


def test_group_by_prio_with_immediate_failback_regroups_on_a_priority_change(two: Any) -> None:
    policy(two, "path_grouping_policy group_by_prio", "failback immediate")
    assert states(two) == [(1, "active", ["sdb", "sdd"])]
    two.set_path("sdd", prio=50)
    assert states(two) == [(50, "active", ["sdd"]), (1, "enabled", ["sdb"])]


# Queueing


def test_queueing_counts_down_to_off_and_is_armed_again(two: Any) -> None:
    policy(two, "no_path_retry 2")
    assert two.maps("%Q|%f|%4")[0] == "2 chk|1 queue_if_no_path|0"
    two.ask("fail path sdb")
    assert two.maps("%Q|%N")[0] == "2 chk|1"
    two.ask("fail path sdd")
    assert two.maps("%Q|%f|%4|%x")[0] == "11 sec|1 queue_if_no_path|1|1"
    two.now += 4.9
    assert two.maps("%Q|%3")[0] == "7 sec|4"
    two.now += 60
    assert two.maps("%Q|%f|%3|%4|%x")[0] == "off|0|11|1|2"
    two.ask("reinstate path sdb")
    assert two.maps("%Q|%f|%N")[0] == "2 chk|1 queue_if_no_path|1"


def test_queueing_is_switched_by_hand(two: Any) -> None:
    policy(two, "no_path_retry queue")
    assert two.maps("%Q|%f") == ["on|1 queue_if_no_path"] * 2
    assert two.ask("disablequeueing map " + W1) == "ok\n"
    assert two.maps("%Q|%f") == ["off|0", "on|1 queue_if_no_path"]
    assert two.ask("restorequeueing map " + W1) == two.ask("disablequeueing maps") == "ok\n"
    assert two.maps("%Q|%f") == ["off|0"] * 2
    two.ask("restorequeueing maps")
    assert two.maps("%Q|%f") == ["on|1 queue_if_no_path"] * 2
    assert two.ask("disablequeueing map nosuch") == "fail\n"


def test_features_are_counted_in_the_kernels_order(two: Any) -> None:
    policy(two, 'features "4 pg_init_delay_msecs 5 pg_init_retries 50"', "no_path_retry queue")
    assert two.maps("%f")[0] == "5 queue_if_no_path pg_init_retries 50 pg_init_delay_msecs 5"


# Paths by command and by file


def test_faults_by_command_are_sticky(two: Any) -> None:
    assert two.ask("fail path sdb") == "ok\n"
    path_state = 'show paths raw format "%d %t %T %o"'
    assert "sdb failed faulty running" in two.ask(path_state)
    two.set_path("sdb", state="ghost")
    two.reconfigure()
    assert "sdb failed faulty running" in two.ask(path_state)
    two.ask("reinstate path 8:16")
    assert "sdb active ghost running" in two.ask(path_state)


def test_commands_about_unknown_things(two: Any) -> None:
    for command, reply in {
        "fail path sdz": "fail\n",
        "reinstate path sdz": "fail\n",
        "add path sdz": "fail\n",
        "add path sdb": "ok\n",
        "del path sdz": "ok\n",
        "del map nosuch": "fail\n",
        "resize map nosuch": "fail\n",
        "show map nosuch json": "fail\n",
        "suspend map " + W1: "fail\n",
    }.items():
        assert two.ask(command) == reply, command


def test_a_deleted_path_stays_away_until_it_is_added(two: Any) -> None:
    two.ask("remove path sdb")
    two.reconfigure()
    two.set_path("sdb", prio=7)
    assert two.maps("%w|%N") == [f"{W2}|2", f"{W1}|1"]  # in the order of the paths
    assert two.ask("add path sdb") == "ok\n"
    assert two.maps("%N|%2") == ["2|0", "2|1"]
    two.conf("blacklist {\n devnode sdb\n}\n")
    two.reconfigure()
    assert two.ask("add path sdb") == "blacklisted\n"


def test_maps_are_deleted_unless_in_use(two: Any) -> None:
    assert two.ask(f"del map {W1}") == "fail\n"
    assert two.ask(f"del multipath {W2}") == "ok\n"
    assert two.maps(NAMES) == SECOND_GONE
    assert "sda undef [orphan]" in two.ask('show paths raw format "%d %t %m"')
    two.reconfigure()
    assert two.maps(NAMES) == BEFORE


def test_plugged_in_luns_become_maps_only_if_allowed(two: Any, lun: Make) -> None:
    two.allow([W1, W2, "w3"])
    two.write_luns(*two.luns, lun("w3", "sde", "sdf", 3), lun("w4", "sdg", "sdh", 4))
    assert two.maps("%w|%d|%A|%2")[2:] == ["w3|dm-2|create|1"]
    assert two.ask('show paths raw format "%d"').split()[-4:] == ["sde", "sdg", "sdf", "sdh"]
    two.unplug("sde", "sdf")
    assert len(two.maps()) == 2


def test_a_held_map_without_paths_stays_until_reconfigured_unused(two: Any) -> None:
    two.unplug("sdb", "sdd")
    assert two.maps("%w|%N|%v") == [f"{W1}|0|##", f"{W2}|2|LAB"]
    two.luns = two.luns[1:]
    two.save_luns()
    two.reconfigure()
    assert sorted(two.maps("%w|%N")) == [f"{W1}|0", f"{W2}|2"]
    two.luns.append({"wwid": W1, "vendor": "LAB", "product": "SAN", "rev": "1", "size_bytes": 512, "path": []})
    two.save_luns()
    assert len(two.maps()) == 2
    two.reconfigure()
    assert len(two.maps()) == 1


def test_a_new_size_shows_in_the_map_after_resize(two: Any) -> None:
    for entry in two.luns:
        entry["size_bytes"] = 3 << 30
    two.save_luns()
    assert two.maps("%S") == ["64M", "64M"]
    assert set(two.ask('show paths raw format "%S"').split()) == {"3.0G"}
    assert two.ask("resize map " + W1) == "ok\n"
    assert two.maps("%S") == ["3.0G", "64M"]
    two.reconfigure()
    assert two.maps("%S") == ["3.0G", "3.0G"]


def test_two_luns_of_one_wwid_are_merged(host: Any, lun: Make) -> None:
    host.write_luns(lun(W1, "sda", "sdb", 1), lun(W1, "sdc", "sdd", 2, size_bytes=1024))
    host.allow([W1])
    host.start()
    assert host.maps("%w|%N|%S") == [f"{W1}|4|64M"]


def test_a_broken_lun_file_changes_nothing(two: Any, caplog: pytest.LogCaptureFixture) -> None:
    two.lun_file.write_text("[[lun")
    assert two.maps(NAMES) == BEFORE
    two.reconfigure()
    assert two.maps(NAMES) == BEFORE
    assert "the last good content stays in force" in caplog.text
    two.lun_file.unlink()
    assert two.maps(NAMES) == BEFORE
    two.save_luns()
    assert two.maps(NAMES) == BEFORE


def test_a_renumbered_device_is_another_path(two: Any) -> None:
    two.path("sdb")["dev"] = "sdx"
    two.save_luns()
    assert two.ask('show paths raw format "%d|%m"').split() == [f"sda|{W2}", f"sdd|{W1}", f"sdc|{W2}", f"sdx|{W1}"]


@pytest.mark.parametrize(
    ("state", "words", "active"),
    [
        ("shaky", "failed shaky running", 1),
        ("pending", "active i/o pending running", 1),
        ("timeout", "failed i/o timeout running", 1),
        ("delayed", "failed delayed running", 1),
        ("disconnected", "failed disconnected running", 1),
        ("failed", "failed faulty running", 1),
        ("ghost", "active ghost running", 2),
    ],
)
def test_path_states(two: Any, state: str, words: str, active: int) -> None:
    two.set_path("sdb", state=state)
    assert two.maps("%N")[0] == str(active)
    assert f"sdb {words}" in two.ask('show paths raw format "%d %t %T %o"').splitlines()


def test_marginal_paths_are_shown(two: Any) -> None:
    two.set_path("sdb", marginal=True)
    group = json.loads(two.ask("show maps json"))["maps"][0]["path_groups"][0]
    assert (group["marginal_st"], group["paths"][0]["marginal_st"]) == ("marginal", "marginal")


# Listings and the command language


def test_listings_in_columns(two: Any) -> None:
    two.conf(alias(W1, "data01"))
    two.reconfigure()
    assert two.ask("show maps") == two.ask("list multipaths") == two.ask("sho maps") == (
        "name              sysfs uuid             \n"
        "data01            dm-0  35000c500a0b00001\n"
        "35000c500a0b00002 dm-1  35000c500a0b00002\n"
    )  # fmt: skip
    assert two.ask("show maps status").splitlines()[0] == "name              failback queueing paths dm-st  write_prot"
    assert two.ask("show maps stats").splitlines()[1] == "data01            0           0          1         0            0         "
    assert two.ask("show map data01 raw format %w") == f"{W1}\n"
    assert two.ask("show paths").splitlines()[0].split() == ["hcil", "dev", "dev_t", "pri", "dm_st", "chk_st", "dev_st", "next_check"]
    assert two.ask("show path sdb").startswith("0:0:0:1 sdb 8:16 1 active ready running ")
    assert two.ask('show maps raw format "%?[%n]"').splitlines()[0] == "[data01]"


def test_topology_with_several_paths_in_a_group(two: Any) -> None:
    policy(two, "path_grouping_policy multibus")
    assert two.ask(f"show map {W1} topology") == (
        f"{W1} dm-0 LAB,SAN\n"
        "size=64M features='0' hwhandler='0' wp=rw\n"
        "`-+- policy='service-time 0' prio=1 status=active\n"
        "  |- 0:0:0:1 sdb 8:16 active ready running\n"
        "  `- 1:0:0:1 sdd 8:48 active ready running\n"
    )


def test_empty_listings_answer_ok(host: Any) -> None:
    host.write_luns()
    host.start()
    for command in ("show maps", "show topology", "show paths", 'show maps raw format "%n"', 'show paths format "%d"'):
        assert host.ask(command) == "ok\n"


@pytest.mark.parametrize(
    ("command", "first_line"),
    [
        ("show maps raw format %n %w", "show maps raw format %n %w: not found"),
        ("bogus", "bogus: not found"),
        ("show map", "show map: Missing argument"),
        ("show blacklist", "show blacklist: not found"),
        ("", ": Not enough memory"),
    ],
)
def test_what_is_not_understood_is_answered_with_the_reference(two: Any, command: str, first_line: str) -> None:
    reply = two.ask(command)
    assert reply == f"{first_line}\nmultipath-tools v0.9.4 (12/19, 2022)\nCLI commands reference:\n{REFERENCE}"


def test_the_reference_is_the_recorded_one(two: Any) -> None:
    recorded = Path(__file__).parents[2] / "data" / "captures" / "unknown_command.out"
    assert two.ask("show maps jsn") == recorded.read_text()


def test_an_unknown_verb_with_more_words_fails(two: Any) -> None:
    assert two.ask("bogus cmd") == "fail\n"


def test_synonyms_beginnings_and_quotes() -> None:
    request = Request("list maps raw format", {"format": "%n %w"})
    assert parse('show multipaths raw format "%n %w"') == parse('list maps ra form "%n %w"\n') == request
    assert parse("del path sda") == parse("remove path sda") == Request("remove path", {"path": "sda"})
    assert parse("re maps") is None  # reset, reinstate, remove … : ambiguous
    assert parse("") is Fault.EMPTY


def test_only_root_may_do_more_than_list(two: Any) -> None:
    for command in ("show daemon", "list maps json", "show config local", "show paths"):
        assert two.ask(command, root=False) == two.ask(command)
    for command in ("reconfigure", "disablequeueing maps", "fail path sda", f"del map {W2}"):
        assert two.ask(command, root=False) == "permission deny: need to be root\n"
    assert two.maps(NAMES) == BEFORE
    assert two.ask("show daemon").endswith(" idle\n")


def test_the_whole_configuration_shows_every_section(two: Any) -> None:
    two.conf(alias("other", "x") + "overrides {\n failback 5\n protocol {\n  type scsi:fcp\n  fast_io_fail_tmo 7\n }\n}\n")
    two.reconfigure()
    assert '\tfailback 5\n\tprotocol {\n\t\ttype "scsi:fcp"\n\t\tfast_io_fail_tmo 7\n\t}\n' in two.ask("show config")
    assert 'wwid "other"' in two.ask("show config")
    assert 'wwid "other"' not in two.ask("show config local")


def test_a_thousand_luns_are_listed_quickly(host: Any, lun: Make) -> None:
    letters = [a + b + c for a in "abcdefghij" for b in "abcdefghijklmnopqrst" for c in "abcdefghijklmnopqrst"]
    devices = iter(f"sd{x}" for x in letters)
    luns = []
    for number in range(1000):
        made = lun(f"3600{number:028x}", next(devices), next(devices), number + 1)
        made["path"] += lun("", next(devices), next(devices))["path"]
        for n, path in enumerate(made["path"]):
            path["hcil"] = f"{n}:0:0:{number}"
        luns.append(made)
    host.write_luns(*luns)
    host.allow([x["wwid"] for x in luns])
    host.start()
    seconds = []
    for _ in range(3):
        started = perf_counter()
        reply = host.ask("show maps json")
        seconds.append(perf_counter() - started)
    assert sum(len(g["paths"]) for m in json.loads(reply)["maps"] for g in m["path_groups"]) == 4000
    assert min(seconds) < 0.5, "several times what it takes on a small machine (0.05 s)"


# Anything at all


@given(st.text(max_size=60))
def test_no_command_is_fatal(command: str) -> None:
    parse(command)


@given(st.binary(max_size=80), st.lists(st.from_regex(r"[0-9a-f]{1,8}", fullmatch=True), max_size=4))
def test_appended_wwids_are_read_back_whatever_was_there(content: bytes, wwids: list[str]) -> None:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "wwids"
        file.write_bytes(content)
        assert allow_list.append(file, wwids)
        assert allow_list.read(file) >= {*wwids, *allow_list.parse(content)}
        once = file.read_bytes()
        assert allow_list.append(file, wwids)
        assert file.read_bytes() == once and once.startswith(content)


DEVICES = st.sampled_from(["sda", "sdb", "sdc", "sdd"])
STEPS = st.one_of(
    st.tuples(st.sampled_from(["fail path", "reinstate path", "del path", "add path"]), DEVICES),
    st.tuples(st.sampled_from(["del map", "resize map", "disablequeueing map", "restorequeueing map"]), st.sampled_from(["dm-0", W2])),
    st.tuples(st.just("state"), DEVICES, st.sampled_from(["ready", "ghost", "faulty", "offline", "pending", "shaky"])),
    st.tuples(st.just("prio"), DEVICES, st.integers(0, 50)),
    st.tuples(st.just("open"), st.sampled_from([0, 1]), st.booleans()),
    st.tuples(st.just("allow"), st.sets(st.sampled_from([W1, W2]))),
    st.tuples(st.just("alias"), st.sampled_from([W1, W2]), st.sampled_from(["a", "b", "", W1, W2])),
    st.tuples(
        st.just("override"),
        st.sampled_from(["no_path_retry 2", "no_path_retry queue", "no_path_retry fail", "path_grouping_policy group_by_prio"]),
        st.sampled_from(["failback immediate", "failback 5", "failback followover", 'path_selector "none 0"', "path_checker x"]),
    ),
    st.tuples(st.just("blacklist"), st.sampled_from(["devnode sda", f"wwid {W2}", "devnode .*"])),
    st.tuples(st.just("reconfigure")),
    st.tuples(st.just("time"), st.integers(1, 9)),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=25))
def test_whatever_happens_the_listings_agree(steps: list[tuple[Any, ...]], host_in: Any, lun_of: Make) -> None:
    with TemporaryDirectory() as directory:
        host = host_in(Path(directory))
        host.write_luns(lun_of(W1, "sda", "sdb", 1), lun_of(W2, "sdc", "sdd", 2))
        host.allow([W1, W2])
        host.start()
        for step in steps:
            play(host, *step)
            check(host)


def play(host: Any, verb: str, *arguments: Any) -> None:
    if verb == "state" or verb == "prio":
        host.set_path(arguments[0], **{verb: arguments[1]})
    elif verb == "open":
        host.luns[arguments[0]]["open"] = arguments[1]
        host.save_luns()
    elif verb == "allow":
        host.allow(sorted(arguments[0]))
    elif verb == "alias":
        host.conf(alias(*arguments), "conf.d/60.conf")
    elif verb == "override":
        host.conf("overrides {\n " + "\n ".join(arguments) + "\n}\n", "conf.d/70.conf")
    elif verb == "blacklist":
        host.conf(f"blacklist {{\n {arguments[0]}\n}}\n", "conf.d/80.conf")
    elif verb == "reconfigure":
        host.reconfigure()
    elif verb == "time":
        host.now += arguments[0]
    else:
        assert host.ask(f"{verb} {arguments[0]}") in ("ok\n", "fail\n", "blacklisted\n")


def check(host: Any) -> None:
    maps = json.loads(host.ask("show maps json"))["maps"]
    for key in ("name", "uuid", "sysfs"):
        assert len({m[key] for m in maps}) == len(maps)
    in_maps = {p["dev"]: m["name"] for m in maps for g in m["path_groups"] for p in g["paths"]}
    assert len(in_maps) == sum(len(g["paths"]) for m in maps for g in m["path_groups"])
    listed = [line.split("|") for line in host.ask('show paths raw format "%d|%m"').splitlines() if line != "ok"]
    assert {dev: name for dev, name in listed if name != "[orphan]"} == in_maps
    for m in maps:
        groups = m["path_groups"]
        assert sum(g["dm_st"] == "active" for g in groups) == bool(groups)
        alive = [any(p["dm_st"] == "active" for p in g["paths"]) for g in groups]
        assert not any(alive) or alive[[g["dm_st"] for g in groups].index("active")], "the kernel uses a live group"
        usable = sum(p["chk_st"] in ("ready", "ghost") for g in groups for p in g["paths"])
        assert m["paths"] == usable
        if usable and m["queueing"].endswith(" chk"):
            assert m["features"] == "1 queue_if_no_path"
