"""Volume groups: LVM's own reports, what they mean for a storage, and what stands against making a group."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apply.model import Model, build
from apply.volume_groups import FIELDS, Known, Report, check_creation, group_cell, parse_report, wanted_groups
from store.cells import Cell
from store.errors import UnavailableError, UsageError

A, B = "3624a9370e92ace0b12e941bf000cb4d5", "3600a098038314353763f505349676e35"
GROUP = "uKP9qc-yYxc-Oxs7-b97p-gduX-qtgC-ZUid0v"
OTHER = "9lmuv1-KaG4-IeZ4-za3y-dg6a-S4Vv-LFqXn6"
MAP, PATH, DISK = "253:0", "8:0", "8:32"
KINDS = {MAP: ("map", A), "253:1": ("map", B), "253:2": ("partition", A), PATH: ("path", A)}


def row(number: str = MAP, **more: str) -> dict[str, str]:
    """A line of `lvm pvs --all` of LVM 2.03.16, of a device that is no physical volume."""
    major, minor = number.split(":")
    plain = dict.fromkeys(FIELDS, "") | {"pv_name": f"/dev/{number}", "pv_major": major, "pv_minor": minor}
    return plain | dict.fromkeys(("vg_size", "vg_free", "vg_missing_pv_count", "lv_count"), "0") | more


def member(number: str = MAP, group: str = "vg", uuid: str = GROUP, **more: str) -> dict[str, str]:
    """The same of a physical volume in a group of 60 MiB."""
    sizes = {"vg_size": "62914560", "vg_free": "31457280", "vg_missing_pv_count": "0", "lv_count": "2"}
    return row(number, pv_uuid="1m8jE9", pv_in_use="used", vg_name=group, vg_uuid=uuid, **{**sizes, **more})


MISSING: dict[str, str] = member("0:0", pv_name="[unknown]", pv_missing="missing", vg_missing_pv_count="1")
"""LVM gives a device that is not there the number 0:0."""


def report(*rows: dict[str, str]) -> Report:
    return parse_report(json.dumps({"report": [{"pv": list(rows)}]}), lambda number: KINDS.get(number, ("other", "")))


def test_a_report() -> None:
    found = report(member(), row(PATH), MISSING | {"vg_name": "vg2", "vg_uuid": OTHER})
    [device, path, missing] = found.devices
    assert (device.number, device.kind, device.wwid, device.member, device.used, device.group) == (MAP, "map", A, True, True, "vg")
    assert (path.kind, path.wwid, path.member, path.group) == ("path", A, False, "")
    assert (missing.number, missing.kind, missing.group) == ("", "other", "vg2")
    [group] = found.named("vg")
    assert (group.size_bytes, group.free_bytes, group.missing, group.volumes) == (62914560, 31457280, 0, 2)
    assert found.members(group) == (device,) and found.members(found.named("vg2")[0]) == ()
    assert found.by_wwid() == {A: {"vg"}} and found.named("none") == ()
    assert report().devices == ()


def test_a_duplicate_is_no_group_of_its_own() -> None:
    found = report(member(), member(PATH, pv_duplicate="duplicate", vg_size="0"))
    assert [group.size_bytes for group in found.groups] == [62914560] and found.devices[1].duplicate


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '{"report": 1}', '{"report": [{}]}', '{"report": [{"pv": [1]}]}', '{"report": [{"pv": [{}]}]}', "[" * 100_000]
    + [
        json.dumps({"report": [{"pv": [row() | {name: value}]}]})
        for name, value in (("pv_major", "x"), ("pv_minor", ""), ("vg_uuid", None))
    ]
    + [json.dumps({"report": [{"pv": [member(vg_size="60.00m")]}]})],
)
def test_anything_else_is_garbage(text: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        parse_report(text, lambda _: ("other", ""))
    assert caught.value.code == "lvm-garbage"


json_values = st.recursive(
    st.none() | st.text() | st.integers(), lambda v: st.lists(v) | st.dictionaries(st.sampled_from(["report", "pv", *FIELDS]), v)
)


@given(json_values | st.lists(st.dictionaries(st.sampled_from(FIELDS), st.text() | st.none())).map(lambda rows: {"report": [{"pv": rows}]}))
def test_no_answer_is_too_odd(document: Any) -> None:
    try:
        parse_report(json.dumps(document), lambda _: ("other", ""))
    except UnavailableError as fault:
        assert fault.code == "lvm-garbage"


# -- what it means for a storage --------------------------------------------------------------------------------------


def model(**options: str) -> Model:
    san = {"type": "multipath"}
    return build({f"wwid/{A}": {}, f"wwid/{B}": {}, "storage/san": san, "storage/vm": {"type": "lvm", "vgname": "vg"} | options}, {})


def cell(known: Known, **options: str) -> Cell:
    made = model(**options)
    return group_cell(made.storages["vm"], made, known, 1.0)


def test_a_whole_group() -> None:
    found = cell(Known(report(member()), "", {GROUP.replace("-", ""): 1}), base=f"san:{A}")
    assert (found.kind, found.id, found.state, found.reasons) == ("storage", "vm", "healthy", ())
    assert found.detail == {
        "type": "lvm", "vg": "vg", "size_bytes": 62914560, "free_bytes": 31457280, "active": True, "missing_pvs": 0, "on": [A],
    }  # fmt: skip
    assert found.measures == {"volumes": 2, "active_volumes": 1}


@pytest.mark.parametrize(
    ("rows", "options", "state", "reasons"),
    [
        ([], {}, "missing", ("vg-missing",)),
        ([member(group="other")], {}, "missing", ("vg-missing",)),
        ([member(), member("253:1", uuid=OTHER)], {}, "failed", ("duplicate-vg",)),
        ([member(vg_missing_pv_count="1"), MISSING], {}, "degraded", ("pv-missing",)),
        ([member(PATH)], {}, "degraded", ("pv-on-path",)),
        ([member(), member(PATH, pv_duplicate="duplicate")], {}, "degraded", ("duplicate-pv", "pv-on-path")),
        ([member("253:1")], {"base": f"san:{A}"}, "degraded", ("vg-not-on-base",)),
        ([member("253:1")], {}, "healthy", ()),
        ([member("253:2")], {"base": f"san:{A}"}, "healthy", ()),
        ([member(DISK)], {}, "healthy", ()),
    ],
)
def test_what_is_wrong_with_a_group(rows: list[dict[str, str]], options: dict[str, str], state: str, reasons: tuple[str, ...]) -> None:
    found = cell(Known(report(*rows)), **options)
    assert (found.state, found.reasons) == (state, reasons)


def test_volumes_that_still_use_a_single_path() -> None:
    uuid = GROUP.replace("-", "")
    found = cell(Known(report(member()), "", {uuid: 1}, {uuid: frozenset({("sda", A)}), "other": frozenset({("sdb", B)})}))
    assert (found.state, found.reasons) == ("degraded", ("lv-on-path",))
    found = cell(Known(report(member()), "", {uuid: 1}, {uuid: frozenset({("sda", "36001")})}))
    assert found.state == "healthy", "a disk that nobody wants to be a map"


def test_a_path_of_a_lun_that_is_not_allow_listed_is_a_disk_like_any() -> None:
    made = build({"storage/vm": {"type": "lvm", "vgname": "vg"}, f"wwid/{A}": {"disable": "1"}}, {})
    assert group_cell(made.storages["vm"], made, Known(report(member(PATH))), 1.0).state == "healthy"


def test_lvm_that_was_not_asked_is_not_known() -> None:
    assert (cell(Known()).state, cell(Known()).reasons) == ("unknown", ("lvm-not-asked",))
    assert cell(Known(failure="program-missing")).reasons == ("program-missing",)
    stale = cell(Known(report(member()), "program-timeout"))
    assert (stale.state, stale.reasons) == ("degraded", ("program-timeout",))


def test_groups_from_which_nodes_are_inferred() -> None:
    groups = {A: frozenset({"vg", "x"}), B: frozenset({"x"})}
    assert wanted_groups(model(), groups) == {A: ["vg"]}
    assert wanted_groups(model(base=f"san:{A}"), groups) == wanted_groups(model(disable="1"), groups) == {}


# -- making one -------------------------------------------------------------------------------------------------------


def test_an_empty_map_may_become_a_group() -> None:
    check_creation(report(row()), A, "vg", ())
    check_creation(report(row(pv_uuid="1m8jE9")), A, "vg", ("LVM2_member",))
    check_creation(report(row(), member("253:1", "other", OTHER)), A, "vg", ())


@pytest.mark.parametrize(
    ("rows", "signatures", "code", "told"),
    [
        ([], (), "lvm-ignores-map", "devices file"),
        ([row(DISK)], (), "lvm-ignores-map", "devices file"),
        ([row(), row(PATH)], (), "lvm-sees-paths", "/dev/8:0"),
        ([member()], ("LVM2_member",), "exists", "already"),
        ([member(group="other")], ("LVM2_member",), "in-use", "volume group other"),
        ([row(pv_uuid="1m8jE9", pv_in_use="used")], ("LVM2_member",), "in-use", "not there"),
        ([row(), member("253:1")], (), "vg-exists", "another device"),
        ([row()], ("ext4",), "foreign-signature", "ext4"),
        ([row()], ("LVM2_member",), "foreign-signature", "LVM2_member"),
        ([row(pv_uuid="1m8jE9")], ("LVM2_member", "gpt"), "foreign-signature", "gpt"),
        ([row(), row("253:2")], (), "foreign-signature", "partitions"),
    ],
)
def test_what_stands_against_it(rows: list[dict[str, str]], signatures: tuple[str, ...], code: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_creation(report(*rows), A, "vg", signatures)
    assert caught.value.code == code and told in caught.value.message + caught.value.hint and caught.value.hint
