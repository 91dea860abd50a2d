"""What the API says of storages and their volumes, and what it lets this node be asked to do."""

from collections.abc import Iterator
from typing import Any

import pytest

from agent.bootstrap import init
from store.cells import MULTIPATH_MAP, STORAGE, STORAGE_GROUPS, Cell

A, B = "3624a9370e92ace0b12e941bf000cb4d5", "3600a098038314353763f505349676e35"
PATHS = {"usable": 2, "active": 2, "standby": 0, "marginal": 0, "failed": 0, "visible": 2, "expected": 2, "expected_source": "learned"}
GROUP = {"type": "lvm", "vg": "vg", "size_bytes": 100, "free_bytes": 50, "active": True, "missing_pvs": 0, "on": [A]}
FAULT = {"code": "portal-unreachable", "message": "m", "hint": "h"}
SESSIONS = {"type": "iscsi", "sessions": 1, "expected": 2, "missing": ["10.0.1.1:3260"], "errors": [FAULT]}
TGT = {"type": "iscsi", "target": "iqn.2001-05.com.example:a", "portals": "10.0.0.1,10.0.1.1"}


def a_map(wwid: str, state: str = "healthy", **detail: Any) -> Cell:
    return Cell(MULTIPATH_MAP, wwid, state, (), {"paths": PATHS, "size_bytes": 2**30, "allowed": True, **detail}, {}, 5.0)


REPORTED = (
    a_map(A, used_by=["pv:vg"]),
    a_map(B, "degraded"),
    Cell(STORAGE, "vm", "degraded", ("pv-missing",), GROUP, {"volumes": 7, "active_volumes": 3}),
    Cell(STORAGE, "tgt", "degraded", ("session-missing",), SESSIONS),
    Cell(STORAGE_GROUPS, "groups", "healthy", (), {"groups": {B: ["vg2"]}}),
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, live_node: Any, settings_in: Any) -> Iterator[Any]:
    """A node with storages of several types, and what it reported of itself."""
    settings = settings_in(tmp_path_factory.mktemp("storages"))
    init(settings, "n1", "san")
    with live_node(settings) as found:
        sections = {
            f"wwid/{A}": {"alias": "pool"},
            f"wwid/{B}": {},
            "storage/san": {"type": "multipath"},
            "storage/vm": {"type": "lvm", "vgname": "vg", "base": f"san:{A}"},
            "storage/bare": {"type": "lvm", "vgname": "vg2"},
            "storage/tgt": TGT | {"multipath": "1", "wwids": "36001"},
            "storage/off": {"type": "fc", "disable": "1"},
            "storage/other": {"type": "nvme", "wwids": "eui.00"},
        }
        changes = [{"key": key, "set": options} for key, options in sections.items()]
        assert found.write("POST", "/v1/config/edits", {"changes": changes}).status == 200
        found.observe(*REPORTED)
        yield found


def storages(node: Any) -> dict[str, Any]:
    document = node.get("/v1/storages")
    assert document["digest"] == node.digest().strip('"')
    return {storage["id"]: storage for storage in document["storages"]}


def test_each_storage_says_how_it_fares_on_each_of_its_nodes(node: Any) -> None:
    found = storages(node)
    status = {
        name: storage["status"] and (storage["status"]["n1"]["state"], storage["status"]["n1"]["reasons"])
        for name, storage in found.items()
    }
    assert status == {
        "san": ("degraded", []),
        "vm": ("degraded", ["pv-missing"]),
        "bare": ("degraded", []),
        "tgt": ("degraded", ["session-missing"]),
        "off": {},
        "other": ("absent", []),
    }
    assert {name: storage["state"] for name, storage in found.items()} == {
        "san": "degraded", "vm": "degraded", "bare": "degraded", "tgt": "degraded", "off": "unused", "other": "healthy",
    }  # fmt: skip
    assert all(storage["status"].keys() == {"n1"} for name, storage in found.items() if name != "off")
    assert [(lun["wwid"], lun["state"]) for lun in found["san"]["luns"]] == [(B, "degraded"), (A, "healthy")]


def test_a_volume_group_and_sessions_are_told(node: Any) -> None:
    found = storages(node)
    assert found["vm"]["status"]["n1"]["vg"] == {
        "name": "vg", "size_bytes": 100, "free_bytes": 50, "active": True, "missing_pvs": 0, "on": [A], "volumes": 7, "active_volumes": 3,
    }  # fmt: skip
    assert found["tgt"]["status"]["n1"]["sessions"] == {"there": 1, "expected": 2, "missing": ["10.0.1.1:3260"], "errors": [FAULT]}


def test_who_needs_a_lun_is_inferred_from_the_group_on_it(node: Any) -> None:
    """Also while `san` offers every LUN; without the group that is the answer."""
    lun = node.get(f"/v1/luns/{B}")
    assert (lun["expected_source"], lun["expected_nodes"]) == ("inferred", ["n1"])
    assert lun["consumers"] == [{"storage": "bare", "type": "lvm", "via": ""}]
    assert [lun["wwid"] for lun in storages(node)["bare"]["luns"]] == [B]
    node.observe(*REPORTED[:-1])
    assert node.get(f"/v1/luns/{B}")["expected_source"] == "fallback"
    assert storages(node)["bare"]["status"]["n1"]["reasons"] == ["not-reported"]
    node.observe(*REPORTED)


def test_volumes(node: Any) -> None:
    document = node.get("/v1/storages/san/volumes")
    assert (document["storage"], document["node"]) == ("san", "n1")
    assert document["volumes"][1] == {
        "volid": f"san:{A}",
        "wwid": A,
        "alias": "pool",
        "path": f"/dev/disk/by-id/dm-uuid-mpath-{A}",
        "size_bytes": 2**30,
        "format": "raw",
        "state": "healthy",
        "used_by": ["pv:vg"],
        "nodes": {"n1": {"state": "healthy", "used_by": ["pv:vg"]}},
    }
    assert [volume["wwid"] for volume in document["volumes"]] == [B, A]
    assert node.get("/v1/storages/san/volumes?node=n1") == document
    assert node.get("/v1/storages/other/volumes")["volumes"] == node.get("/v1/storages/off/volumes")["volumes"] == []


def test_what_is_no_map_here_is_no_volume(node: Any) -> None:
    node.observe(a_map(A, "missing"), a_map(B, "unknown"))
    assert [(v["wwid"], v["state"]) for v in node.get("/v1/storages/san/volumes")["volumes"]] == [(B, "unknown")]
    node.observe(*REPORTED)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/storages/nope/volumes", None, 404, "not-found"),
        ("GET", "/v1/storages/vm/volumes", None, 422, "no-volumes"),
        ("GET", "/v1/storages/san/volumes?node=nx", None, 400, "malformed"),
        ("POST", "/v1/storages/nope/activate", {}, 404, "not-found"),
        ("POST", "/v1/storages/off/activate", {}, 422, "storage-disabled"),
        ("POST", "/v1/storages/san/activate", {"volumes": ["gone"]}, 422, "no-such-volume"),
        ("POST", "/v1/storages/san/activate", {"volumes": [""]}, 400, "malformed"),
        ("POST", "/v1/storages/san/activate", {"volumes": "pool"}, 400, "malformed"),
        ("POST", "/v1/storages/san/activate", {"volume": "pool"}, 400, "malformed"),
        ("POST", "/v1/storages/san/activate", {"volumes": ["pool"], "all": True}, 400, "malformed"),
        ("POST", "/v1/storages/san/activate", {"volumes": ["pool"]}, 503, "device-missing"),
        ("POST", "/v1/storages/vm/activate", {"volumes": ["--yes"]}, 422, "no-such-volume"),
        ("POST", "/v1/storages/vm/deactivate", {"volumes": ["@tag"]}, 422, "no-such-volume"),
        ("POST", "/v1/storages/vm/activate", {}, 503, "storage-tools-off"),
        ("POST", "/v1/storages/vm/deactivate", None, 503, "storage-tools-off"),
        ("POST", "/v1/storages/san/deactivate", None, 422, "no-volumes"),
        ("POST", "/v1/storages/vm/create-vg", None, 503, "storage-tools-off"),
        ("POST", "/v1/storages/vm/create-vg", {"ignore_nodes": "n2"}, 400, "malformed"),
        ("POST", "/v1/storages/vm/create-vg?force=true", {}, 400, "malformed"),
        ("POST", "/v1/storages/san/create-vg?dry_run=true", None, 422, "no-volume-group"),
    ],
)
def test_what_is_refused(node: Any, method: str, path: str, body: Any, status: int, code: str) -> None:
    answer = node.ask(method, path, body)
    assert (answer.status, answer.json["code"]) == (status, code), answer
    assert answer.json["hint"] or code == "malformed"


@pytest.mark.parametrize(
    "garbage", [None, 5, "x", [], {"type": "lvm", "vg": 5, "on": "x", "size_bytes": "many"}, {"type": "iscsi", "errors": [5, {}]}]
)
def test_a_cell_in_another_form_is_read_as_far_as_it_goes(node: Any, garbage: Any) -> None:
    detail = garbage if isinstance(garbage, dict) else {"type": garbage}
    node.observe(a_map(A, used_by=garbage), Cell(STORAGE, "vm", "odd", (), detail))
    assert storages(node)["vm"]["status"]["n1"]["state"] == "unknown"
    assert node.get("/v1/storages/san/volumes")["volumes"][0]["used_by"] == []
