"""Volumes: which a storage has, who may use it where, and whether a device is what its name says."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from apply.model import Model, build
from apply.storages import nodes_of
from apply.volumes import base_map, check_device, chosen_volumes, device_number, logical_volumes, usable_storage, volumes_of
from apply.wwid import device_path
from store.errors import UnavailableError, UsageError

A, B, C = "3624a9370e92ace0b12e941bf000cb4d5", "3600a098038314353763f505349676e35", "1odd name+x".replace(" ", "_")
TGT = {"type": "iscsi", "target": "iqn.2001-05.com.example:a", "portals": "10.0.0.1"}


def model(**storages: Mapping[str, str]) -> Model:
    luns: dict[str, dict[str, str]] = {f"wwid/{A}": {"alias": "pool"}, f"wwid/{B}": {}, f"wwid/{C}": {"disable": "1"}}
    return build(luns | {f"storage/{name}": dict(options) for name, options in storages.items()}, {})


@pytest.mark.parametrize(
    ("options", "wwids"),
    [
        ({"type": "multipath"}, (B, A)),
        ({"type": "multipath", "wwids": f"{A},{C}"}, (A,)),
        ({"type": "fc"}, (B, A)),
        ({"type": "nvme", "wwids": "eui.0011"}, ()),
        (TGT | {"multipath": "1", "wwids": B}, (B,)),
        (TGT, ()),
        ({"type": "lvm", "vgname": "vg"}, ()),
    ],
)
def test_the_volumes_of_a_storage(options: Mapping[str, str], wwids: tuple[str, ...]) -> None:
    made = model(san=options)
    assert volumes_of(made.storages["san"], made) == wwids


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("san", None),
        ("vm", None),
        ("nope", "not-found"),
        ("off", "storage-disabled"),
        ("there", "not-on-node"),
        ("onoff", "storage-disabled"),
        ("onthere", "not-on-node"),
    ],
)
def test_where_a_storage_may_be_used(name: str, code: str | None) -> None:
    made = model(
        san={"type": "multipath"},
        off={"type": "multipath", "disable": "1"},
        there={"type": "multipath", "nodes": "n2,n3"},
        vm={"type": "lvm", "vgname": "vg", "base": f"san:{A}", "nodes": "n1"},
        onoff={"type": "lvm", "vgname": "vg", "base": f"off:{A}"},
        onthere={"type": "lvm", "vgname": "vg", "base": f"there:{A}"},
    )
    if code is None:
        assert usable_storage(made, name, "n1").id == name
        return
    with pytest.raises(UsageError) as caught:
        usable_storage(made, name, "n1")
    assert caught.value.code == code and caught.value.hint


@pytest.mark.parametrize(
    ("options", "code"),
    [({}, "no-base"), ({"base": f"san:{B}"}, "broken-base"), ({"base": f"tgt:{A}"}, "broken-base"), ({"base": "san:36001"}, "broken-base")],
)
def test_a_base_that_is_no_usable_map(options: Mapping[str, str], code: str) -> None:
    made = model(san={"type": "multipath", "wwids": f"{A},36001"}, tgt=TGT, vm={"type": "lvm", "vgname": "vg"} | dict(options))
    with pytest.raises(UsageError) as caught:
        base_map(made, made.storages["vm"])
    assert caught.value.code == code


def test_a_base_that_is_a_map() -> None:
    made = model(tgt=TGT | {"multipath": "1"}, vm={"type": "lvm", "vgname": "vg", "base": f"tgt:{A}"})
    assert base_map(made, made.storages["vm"]) == A


def test_a_volume_is_named_in_three_ways() -> None:
    made = model(san={"type": "multipath"})
    san = made.storages["san"]
    assert chosen_volumes(made, san, None) == (B, A)
    assert chosen_volumes(made, san, A) == chosen_volumes(made, san, f"san:{A}") == chosen_volumes(made, san, "pool") == (A,)
    for other in (C, "san", f"tgt:{A}", "", "x" * 999):
        with pytest.raises(UsageError) as caught:
            chosen_volumes(made, san, other)
        assert caught.value.code == "no-such-volume" and len(caught.value.message) < 300


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, uuid in ((0, f"mpath-{A}"), (1, f"part1-mpath-{A}"), (2, f"mpath-{B}")):
        device = tmp_path / f"sys/dev/block/253:{number}/dm"
        device.mkdir(parents=True)
        (device / "uuid").write_text(uuid)
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / f"dev/dm-{number}").touch()
    (tmp_path / "dev/disk/by-id").mkdir(parents=True)
    return tmp_path


def number_of(node: Path) -> str:
    return node.name.replace("dm-", "253:")


def link(root: Path, wwid: str, to: str) -> None:
    (root / device_path(wwid).lstrip("/")).symlink_to(f"../../{to}")


def test_a_device_that_is_the_map(root: Path) -> None:
    link(root, A, "dm-0")
    assert check_device(A, root, number_of) == f"/dev/disk/by-id/dm-uuid-mpath-{A}"


@pytest.mark.parametrize(
    ("to", "code", "told"),
    [
        (None, "device-missing", "no such device"),
        ("dm-9", "device-missing", "no such device"),
        ("dm-1", "wrong-device", f"the partition of {A}"),
        ("dm-2", "wrong-device", f"the map of {B}"),
        ("disk", "wrong-device", "something else"),
    ],
)
def test_a_device_that_is_not(root: Path, to: str | None, code: str, told: str) -> None:
    if to is not None:
        link(root, A, to)
    with pytest.raises(UnavailableError) as caught:
        check_device(A, root, number_of)
    assert caught.value.code == code and told in caught.value.message and caught.value.hint


def test_only_a_block_device_has_a_number(root: Path) -> None:
    assert device_number(root / "dev/dm-0") == device_number(root / "nowhere") == device_number(Path("/dev/null")) == ""
    link(root, A, "dm-0")
    with pytest.raises(UnavailableError) as caught:
        check_device(A, root)
    assert caught.value.code == "wrong-device"


def test_the_nodes_of_a_storage_are_those_of_all_it_stands_on() -> None:
    made = model(
        san={"type": "multipath", "nodes": "n1,n2,gone"},
        all={"type": "multipath"},
        vm={"type": "lvm", "vgname": "vg", "base": f"san:{A}"},
        one={"type": "lvm", "vgname": "vg", "base": f"all:{A}", "nodes": "n1"},
        bare={"type": "lvm", "vgname": "vg"},
        apart={"type": "lvm", "vgname": "vg", "base": f"san:{A}", "nodes": "n3"},
    )
    members = ("n1", "n2", "n3")
    found = {name: set(nodes_of(storage, made, members)) for name, storage in made.storages.items()}
    assert found == {
        "san": {"n1", "n2"}, "all": {*members}, "vm": {"n1", "n2"}, "one": {"n1"}, "bare": {*members}, "apart": set(),
    }  # fmt: skip


def test_the_names_of_logical_volumes() -> None:
    storage = model(vm={"type": "lvm", "vgname": "vg"}).storages["vm"]
    assert logical_volumes(storage, ()) == ()
    assert logical_volumes(storage, ["vm-100-disk-0", "vg/root", "vm:swap", "root"]) == ("vm-100-disk-0", "root", "swap")


@pytest.mark.parametrize("name", ["", "-f", "--yes", "@tag", "other/lv", "vg/", "vg//dev", "a b", ".", "..", "a\n", "lv" * 70, "Ä"])
def test_what_lvm_could_take_for_something_else_is_no_volume(name: str) -> None:
    storage = model(vm={"type": "lvm", "vgname": "vg"}).storages["vm"]
    with pytest.raises(UsageError) as caught:
        logical_volumes(storage, [name])
    assert caught.value.code == "no-such-volume" and caught.value.hint and "\n" not in caught.value.message
