"""Reading the daemon's listings: real captures, damaged ones, and arbitrary bytes."""

import json
import time
from pathlib import Path as FilePath
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apply.topology import Path, Seen, parse, parse_paths, parse_sizes, size_bytes

CAPTURES = FilePath(__file__).parents[1] / "data" / "captures"
WWID = "35000c500a0b00001"


def a_path(dev: str, **fields: Any) -> dict[str, Any]:
    return {
        "dev": dev, "dev_t": "8:0", "dm_st": "active", "dev_st": "running", "chk_st": "ready", "checker": "tur", "pri": 50,
        "host_wwnn": "[undef]", "target_wwnn": "[undef]", "host_wwpn": "[undef]", "target_wwpn": "[undef]",
        "host_adapter": "[undef]", "lun_hex": "0x0001000000000000", "marginal_st": "normal", **fields,
    }  # fmt: skip


def a_map(wwid: str, paths: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    group = {"selector": "service-time 0", "pri": 1, "dm_st": "active", "marginal_st": "normal", "group": 1, "paths": paths}
    return {
        "name": wwid, "uuid": wwid, "sysfs": "dm-0", "failback": "-", "queueing": "-", "paths": len(paths), "write_prot": "rw",
        "dm_st": "active", "features": "0", "hwhandler": "0", "action": "", "path_faults": 0, "vend": "PURE", "prod": "FlashArray",
        "rev": "1.0", "switch_grp": 0, "map_loads": 1, "total_q_time": 0, "q_timeouts": 0, "path_groups": [group], **fields,
    }  # fmt: skip


def answer(*maps: dict[str, Any]) -> str:
    return json.dumps({"major_version": 0, "minor_version": 1, "maps": list(maps)}, indent=3)


@pytest.mark.parametrize("capture", sorted(p.parent.name for p in CAPTURES.glob("[0-9]*/maps.json.out") if p.stat().st_size))
def test_every_capture_is_read_whole(capture: str) -> None:
    text = (CAPTURES / capture / "maps.json.out").read_text()
    topology = parse(text)
    assert topology.complete
    assert not topology.issues
    assert [m.uuid for m in topology.maps] == [m["uuid"] for m in json.loads(text)["maps"]]
    for found, raw in zip(topology.maps, json.loads(text)["maps"], strict=True):
        assert [p.dev for _, p in found.paths()] == [p["dev"] for g in raw["path_groups"] for p in g["paths"]]


def test_a_capture_in_detail() -> None:
    (found,) = parse((CAPTURES / "04_one_path_offline" / "maps.json.out").read_bytes()).maps
    assert (found.uuid, found.vend, found.prod, found.queueing) == (WWID, "LAB", "SAN", "-")
    rows = {path.dev: (group, path.dm_st, path.chk_st, path.dev_st) for group, path in found.paths()}
    assert rows == {"sdb": (1, "failed", "faulty", "offline"), "sdd": (2, "active", "ready", "running")}


def test_a_held_map_without_paths() -> None:
    (found,) = parse((CAPTURES / "14_all_paths_removed_map_open" / "maps.json.out").read_text()).maps
    assert (list(found.paths()), found.vend) == ([], "##")


def test_old_and_future_fields() -> None:
    old = a_path("sda")
    del old["marginal_st"], old["lun_hex"]
    (found,) = parse(answer(a_map(WWID, [old], surprise={"x": [1]}))).maps
    assert next(found.paths())[1] == Path(dev="sda", dev_t="8:0", dm_st="active", dev_st="running", chk_st="ready", checker="tur", pri=50)


@pytest.mark.parametrize(
    "noise",
    [
        '221324.290721 | /etc/multipath.conf line 35: ignoring deprecated option "rr_weight", using built-in value: "uniform"\n',
        "multipathd> list maps json\n",
        "500.1 | mutipaths { is unknown\n\n",
    ],
)
def test_lines_before_the_json(noise: str) -> None:
    topology = parse(noise + answer(a_map(WWID, [a_path("sda")])) + "\nmultipathd> exit\n")
    assert topology.complete
    assert [m.uuid for m in topology.maps] == [WWID]
    assert topology.issues


def test_trailing_garbage() -> None:
    topology = parse('{"major_version": 0, "minor_version": 1, "maps": []} trailing')
    assert (topology.maps, topology.complete) == ((), True)


@pytest.mark.parametrize("text", ["", "   \n", "ok\n", "fail\n", "help text\nshow maps\n", "\0\0", "[1, 2]"])
def test_no_json_at_all_is_incomplete(text: str) -> None:
    topology = parse(text)
    assert (topology.maps, topology.complete) == ((), False)
    assert topology.issues


def test_a_cut_answer_keeps_the_whole_maps_and_says_so() -> None:
    text = answer(*(a_map(f"36000000{n}", [a_path(f"sd{n}")]) for n in range(3)))
    cut = text[: text.rindex('"chk_st"')]
    topology = parse(cut)
    assert [m.uuid for m in topology.maps] == ["360000000", "360000001"]
    assert topology.unreadable == {"360000002"}
    assert not topology.complete


@pytest.mark.parametrize("product", ['My "fast" disk', "back\\slash", 'ends in "', "\\", "Ärray™", "IBM     ,2145            ", 'a","b'])
def test_strings_that_the_daemon_does_not_escape(product: str) -> None:
    marker = "PRODUCT-HERE"
    text = answer(a_map("361", [a_path("sda")]), a_map("362", [a_path("sdb")], prod=marker), a_map("363", [a_path("sdc")]))
    topology = parse(text.replace(marker, product))
    assert [m.uuid for m in topology.maps] == ["361", "362", "363"]
    assert topology.complete
    assert topology.maps[1].prod == product
    assert [p.dev for _, p in topology.maps[1].paths()] == ["sdb"]


def test_a_control_character_and_a_bad_byte() -> None:
    text = answer(a_map(WWID, [a_path("sda")], prod="MARK")).replace("MARK", "a\x01b").encode() + b"\xff"
    topology = parse(text)
    assert [m.prod for m in topology.maps] == ["a\x01b"]


def test_one_unreadable_map_among_good_ones() -> None:
    text = answer(a_map("361", [a_path("sda")]), a_map("362", [a_path("sdb")]), a_map("363", [a_path("sdc")]))
    broken = text.replace('"dev": "sdb",', '"dev": sdb" {,')
    topology = parse(broken)
    assert [m.uuid for m in topology.maps] == ["361", "363"]
    assert topology.unreadable == {"362"}


def test_wrong_types_keep_their_defaults() -> None:
    topology = parse(answer(a_map(WWID, [a_path("sda", pri="high", dev_st=None), 7], path_faults="many", vend=3)))  # type: ignore[list-item]
    (found,) = topology.maps
    (path,) = [path for _, path in found.paths()]
    assert (found.path_faults, found.vend, path.pri, path.dev_st) == (0, "3", -1, "")
    assert len(topology.issues) == 3


def test_one_map_listed_twice_and_one_path_in_two_groups() -> None:
    twice = a_map(WWID, [a_path("sda"), a_path("sdb")])
    twice["path_groups"].append({**twice["path_groups"][0], "group": 2})
    topology = parse(answer(a_map(WWID, []), twice))
    (found,) = topology.maps
    assert [(group, path.dev) for group, path in found.paths()] == [(1, "sda"), (1, "sdb")]
    assert topology.issues == (f"{WWID} is listed twice",)


def test_phantom_paths_are_all_kept() -> None:
    (found,) = parse(answer(a_map(WWID, [a_path("-", dev_t="#:#"), a_path("-", dev_t="#:#")]))).maps
    assert len(list(found.paths())) == 2


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_never_raise(data: bytes) -> None:
    parse(data)
    parse(b'{"maps": [{ "name" : "x", "uuid" : "y",' + data)
    parse_paths(data.decode("utf-8", "replace"))
    parse_sizes(data.decode("utf-8", "replace"))


@settings(max_examples=100, deadline=None)
@given(st.integers(min_value=0, max_value=100))
def test_any_cut_keeps_a_prefix_and_never_claims_to_be_whole(percent: int) -> None:
    wwids = [f"3600000{n}" for n in range(4)]
    text = answer(*(a_map(wwid, [a_path(f"sd{n}")]) for n, wwid in enumerate(wwids)))
    cut = text[: len(text) * percent // 100]
    topology = parse(cut)
    found = [m.uuid for m in topology.maps]
    assert found == wwids[: len(found)]
    if percent < 99:
        assert not topology.complete


@pytest.mark.parametrize("nested", ["[" * 5000, '{"maps":' * 3000])
def test_deep_nesting_is_survived(nested: str) -> None:
    assert not parse("{" + nested).complete


def test_a_large_site_is_read_quickly() -> None:
    maps = [a_map(f"3624a9370{n:024x}", [a_path(f"sd{n}x{p}") for p in range(8)]) for n in range(500)]
    text = answer(*maps)
    start = time.process_time()
    topology = parse(text)
    spent = time.process_time() - start
    assert len(topology.maps) == 500
    assert spent < 0.25


@pytest.mark.parametrize(
    ("text", "size"),
    [("64M", 64 << 20), ("1.5T", 3 << 39), ("10G", 10 << 30), ("512K", 512 << 10), ("0K", 0), ("2P", 2 << 50), ("", None), ("64", None)],
)
def test_sizes(text: str, size: int | None) -> None:
    assert size_bytes(text) == size


def test_the_raw_listings() -> None:
    assert parse_sizes("35000c500a0b00001|64M\nok\nx|y\n12.3 | log line\n") == {WWID: 64 << 20}
    assert parse_sizes("ok\n") == {}
    text = (
        "361|0:0:0:1|sda|2.0T|[orphan]|SN1|PURE,Flash|Array,8888\n"
        "361|1:0:0:1|sdb|2.0T|[orphan]||PURE,FlashArray\n"
        "362|0:0:0:2|sdc|64M|data01|A|LAB,SAN\n"
        "362|1:0:0:2|sdd|0|data01|B|LAB,SAN\n"
        "|0:0:0:3|sdd|64M|[orphan]||NO,WWID\n"
        "500.1 | some log line\nok\n"
    )
    seen = parse_paths(text)
    told = (frozenset({"2.0T"}), frozenset({"SN1"}))
    one = Seen("361", {"sda": "0:0:0:1", "sdb": "1:0:0:1"}, False, "PURE", "Flash|Array,8888", 2 << 40, *told)
    assert seen["361"] == one
    assert seen["362"].assembled
    assert (seen["362"].sizes, seen["362"].serials) == ({"64M"}, {"A", "B"})
    assert seen.keys() == {"361", "362"}
