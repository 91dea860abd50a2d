"""What becomes of odd and old answers of the daemon, from its text to the cell; and what in them is no news."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apply.health import Derived, Memory, View, derive
from apply.model import Lun, Model, Settings
from apply.storages import ExpectedNodes
from apply.topology import parse, parse_paths
from store.cells import Cell, content_hash

W, OTHER = "3624a9370e92ace0b12e941bf000cb4d5", "360014050000000100004000800000000"
IQN = "iqn.1986-03.com.ibm:2145.node1"


def a_path(dev: str, port: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "dev": dev, "dev_t": "8:0", "dm_st": "active", "dev_st": "running", "chk_st": "ready", "checker": "tur", "pri": 50,
        "host_wwnn": "[undef]", "target_wwnn": "[undef]", "host_wwpn": f"0x1{port}", "target_wwpn": f"0x2{port}",
        "host_adapter": "[undef]", "lun_hex": "0x0001000000000000", "marginal_st": "normal", **fields,
    }  # fmt: skip


def a_map(*paths: dict[str, Any], **fields: Any) -> dict[str, Any]:
    group = {"selector": "service-time 0", "pri": 1, "dm_st": "active", "marginal_st": "normal", "group": 1, "paths": list(paths)}
    return {
        "name": W, "uuid": W, "sysfs": "dm-0", "failback": "-", "queueing": "-", "paths": len(paths), "write_prot": "rw",
        "dm_st": "active", "features": "0", "hwhandler": "0", "action": "", "path_faults": 0, "vend": "PURE", "prod": "FlashArray",
        "rev": "1.0", "switch_grp": 0, "map_loads": 1, "total_q_time": 0, "q_timeouts": 0,
        "path_groups": [group] if paths else [], **fields,
    }  # fmt: skip


def answer(*maps: dict[str, Any]) -> str:
    return json.dumps({"major_version": 0, "minor_version": 1, "maps": list(maps)}, indent=3)


MODEL = Model(settings=Settings(learn_window_seconds=0), luns={W: Lun(W)}, empty=False)
EXPECTED = {W: ExpectedNodes(frozenset({"n1"}), "explicit")}


def poll(text: str, before: Derived | None = None, now: float = 0.0, listed: str = "") -> Derived:
    view = View("n1", now, 1e9 + now, MODEL, EXPECTED, parse(text), seen=parse_paths(listed))
    return derive(view, before.memory if before else Memory(), before.baselines if before else {})


def cell(derived: Derived, wwid: str = W) -> Cell:
    (found,) = [c for c in derived.cells if c.id == wwid]
    return found


def without(path: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in path.items() if name not in names}


GOOD = (a_path("sda", 0), a_path("sdb", 1))


@pytest.mark.parametrize(
    ("maps", "state", "reasons"),
    [
        ([a_map(*GOOD)], "healthy", ()),
        ([a_map(*(without(p, "marginal_st", "lun_hex") for p in GOOD))], "healthy", ()),
        ([a_map(*(without(p, "lun_hex") for p in GOOD))], "healthy", ()),
        ([a_map(*({**p, "from_the_future": {"a": [1]}} for p in GOOD), new_field="x")], "healthy", ()),
        ([], "missing", ("not-visible",)),
        ([a_map(vend="##", prod="##", rev="##")], "failed", ("no-paths",)),
        ([a_map(*GOOD, dm_st="suspend")], "healthy", ()),
        ([a_map(*GOOD, dm_st="undef", sysfs="undef", action="")], "healthy", ()),
        ([a_map(a_path("sda", dm_st="failed", chk_st="faulty"), paths=0, queueing="5 chk")], "failed", ("path-failed", "all-paths-failed")),
        ([a_map(a_path("-", dev_t="#:#", chk_st="undef"), GOOD[0])], "degraded", ("path-phantom", "single-path")),
        ([a_map(*GOOD, name="mpatha")], "healthy", ()),
        ([a_map(*(dict(p, chk_st="ghost") for p in GOOD))], "degraded", ("no-optimized",)),
        ([a_map(GOOD[0], dict(GOOD[1], chk_st="ghost", pri=10))], "healthy", ()),
        ([a_map(GOOD[0], dict(GOOD[1], marginal_st="marginal"))], "degraded", ("path-marginal",)),
        ([a_map(GOOD[0], dict(GOOD[1], pri=-1))], "healthy", ()),
        ([a_map(GOOD[0], dict(GOOD[1], chk_st="a word of tomorrow"))], "degraded", ("path-suspect", "single-path")),
        ([a_map(GOOD[0], dict(GOOD[1], checker="(null)", chk_st="undef", dm_st="undef", dev_st="unknown"))], "degraded", None),
        ([a_map(GOOD[0], dict(GOOD[1], dm_st="undef"))], "degraded", None),
        ([a_map(GOOD[0], without(GOOD[1], "chk_st"))], "degraded", ("path-suspect", "single-path")),
        ([a_map(GOOD[0])], "degraded", ("single-path",)),
        ([a_map(*GOOD), a_map(*GOOD)], "healthy", ()),
        ([a_map(*GOOD), a_map(uuid=OTHER)], "healthy", ()),
    ],
)
def test_an_answer_and_its_cell(maps: list[dict[str, Any]], state: str, reasons: tuple[str, ...] | None) -> None:
    found = cell(poll(answer(*maps)))
    assert found.state == state, found
    assert reasons is None or found.reasons == reasons


def test_queueing_that_counts_down_hangs() -> None:
    dead = a_path(
        "sda", dm_st="failed", chk_st="faulty", host_wwpn="[undef]", target_wwpn="[undef]", target_wwnn=IQN, host_adapter="9.1.2.3"
    )
    for words, expected in (("5 chk", "retry"), ("25 sec", "retry"), ("on", "on"), ("off", "off"), ("-", "none")):
        found = cell(poll(answer(a_map(dead, queueing=words))))
        assert (found.detail["queueing"], "io-hangs" in found.detail["flags"]) == (expected, expected in ("retry", "on"))
        assert found.detail["path_list"][0]["id"] == f"iscsi:9.1.2.3>{IQN}"


def test_one_path_that_is_meant_and_one_that_was_removed() -> None:
    before = poll(answer(a_map(*GOOD)))
    lost = cell(poll(answer(a_map(GOOD[0])), before, 10.0))
    assert (lost.reasons, lost.detail["missing_paths"]) == (("path-lost", "single-path"), ["fc:0x11>0x21"])
    numbered = cell(poll(answer(a_map(dict(GOOD[1], dev="sdx", dev_t="65:1"), dict(GOOD[0], dev="sdy"))), before, 10.0))
    assert numbered.state == "healthy" and content_hash(numbered) == content_hash(cell(before))


def test_a_path_in_two_groups_counts_once() -> None:
    twice = a_map(*GOOD)
    twice["path_groups"].append({**twice["path_groups"][0], "group": 2})
    found = cell(poll(answer(twice)))
    assert (found.detail["paths"]["visible"], found.state) == (2, "healthy")


@pytest.mark.parametrize("text", ["", " \n", "timeout\n", "fail\ntimeout\n", "multipathd: receiving packet failed\n"])
def test_no_answer_makes_unknown_and_never_missing(text: str) -> None:
    before = poll(answer(a_map(*GOOD)))
    found = cell(poll(text, before, 10.0))
    assert (found.state, found.reasons, found.detail["last"]["state"]) == ("unknown", ("daemon-garbage",), "healthy")


def test_one_damaged_map_costs_no_other() -> None:
    other = a_map(*GOOD, uuid=OTHER, name=OTHER)
    before = poll(answer(a_map(*GOOD), other))
    text = answer(a_map(*GOOD), other)
    at = text.index(f'"uuid": "{OTHER}"')
    damaged = text[:at] + text[at:].replace('"dev": "sda",', '"dev": sda" {,', 1)
    derived = poll(damaged, before, 10.0)
    assert (cell(derived).state, cell(derived, OTHER).state) == ("healthy", "unknown")


@pytest.mark.parametrize(
    ("rows", "flags", "reasons"),
    [
        ("{w}|0:0:0:1|sda|2.0T|a|SN1|PURE,FA\n{w}|1:0:0:1|sdb|2.0T|a|SN1|PURE,FA\n", [], ()),
        ("{w}|0:0:0:1|sda|2.0T|a|SN1|PURE,FA\n{w}|1:0:0:1|sdb|2.0T|a|SN2|PURE,FA\n", ["merged-luns"], ()),
        ("{w}|0:0:0:1|sda|2.0T|a|SN1|PURE,FA\n{w}|1:0:0:1|sdb|1.0T|a|SN1|PURE,FA\n", ["merged-luns"], ("path-sizes-differ",)),
        ("{w}|0:0:0:1|sda|2.0T|a||PURE,FA\n{w}|1:0:0:1|sdb|2.0T|a|SN1|PURE,FA\n", [], ()),
    ],
)
def test_two_luns_with_one_wwid(rows: str, flags: list[str], reasons: tuple[str, ...]) -> None:
    found = cell(poll(answer(a_map(*GOOD)), listed=rows.format(w=W)))
    assert (found.detail["flags"], found.reasons, found.state) == (flags, reasons, "degraded" if reasons else "healthy")


VOLATILE_OF_MAPS = {
    "path_faults": st.integers(0, 2**31), "switch_grp": st.integers(0, 2**31), "map_loads": st.integers(0, 2**31),
    "total_q_time": st.integers(0, 2**31), "q_timeouts": st.integers(0, 2**31), "sysfs": st.sampled_from(["dm-0", "dm-7", "undef"]),
    "action": st.sampled_from(["", "create", "reload"]), "paths": st.integers(0, 9),
    "features": st.sampled_from(["0", "1 queue_if_no_path"]),
    "hwhandler": st.sampled_from(["0", "1 alua"]), "rev": st.sampled_from(["1.0", "2.0"]),
}  # fmt: skip
VOLATILE_OF_PATHS = {
    "dev": st.sampled_from(["sdx", "sdaa", "sdq"]), "dev_t": st.sampled_from(["8:1", "65:16"]), "pri": st.integers(-1, 99),
    "checker": st.sampled_from(["tur", "directio"]), "lun_hex": st.sampled_from(["0x0001000000000000", "0xffffffffffffffff"]),
}  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({}, optional=VOLATILE_OF_MAPS), st.fixed_dictionaries({}, optional=VOLATILE_OF_PATHS), st.integers(0, 59))
def test_what_is_volatile_is_no_news(of_map: dict[str, Any], of_path: dict[str, Any], seconds: int) -> None:
    plain = a_map(*GOOD, queueing="60 sec")
    moved = a_map({**GOOD[0], **of_path}, GOOD[1], **{**of_map, "queueing": f"{seconds} sec"})
    before = poll(answer(plain))
    after = poll(answer(moved), before, 10.0)
    assert [content_hash(c) for c in before.cells] == [content_hash(c) for c in after.cells]
