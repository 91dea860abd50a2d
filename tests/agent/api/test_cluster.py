"""What the API says of the cluster: status, matrix, LUNs, nodes, storages, apply, traces."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agent.bootstrap import init
from scripts.cluster.nodes import wait_for
from store.cells import MULTIPATH_APPLY, NODE_FACTS, NVME_SUBSYSTEM, Cell
from store.errors import UnavailableError
from store.matrix import CellState, Reporter, RollUp

A = "3624a9370e92ace0b12e941bf000cb4d5"
B = "360014050000000100004000800000000"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
DIGEST = re.compile(r"[0-9a-f]{64}")
LUNS = f"""
[[lun]]
wwid = "{A}"
vendor = "PURE"
product = "FlashArray"
size_bytes = 1073741824
[[lun.path]]
dev = "sda"
host_wwpn = "0x2100000e1e000101"
target_wwpn = "0x50014380242b0101"
[[lun.path]]
dev = "sdb"
host_wwpn = "0x2100000e1e000102"
target_wwpn = "0x50014380242b0201"
"""


def fits(value: Any, form: Any, place: str = "$") -> None:
    """Assert that a JSON value has a form: a type, a tuple of alternatives, a pattern, a set of words, [form], or exactly these keys."""
    if isinstance(form, tuple):
        faults = []
        for each in form:
            try:
                return fits(value, each, place)
            except AssertionError as fault:
                faults.append(str(fault))
        raise AssertionError("; ".join(faults))
    if form is None or (isinstance(form, str | int) and not isinstance(form, bool)):
        assert value == form and type(value) is type(form), f"{place}: {value!r} is not {form!r}"
    elif isinstance(form, type):
        assert type(value) is form, f"{place}: {value!r} is no {form.__name__}"
    elif isinstance(form, re.Pattern):
        assert isinstance(value, str) and form.fullmatch(value), f"{place}: {value!r} is not {form.pattern}"
    elif isinstance(form, set):
        assert value in form, f"{place}: {value!r} is none of {form}"
    elif isinstance(form, list):
        assert isinstance(value, list), f"{place}: {value!r} is no list"
        for number, item in enumerate(value):
            fits(item, form[0], f"{place}[{number}]")
    elif isinstance(form, Each):
        assert isinstance(value, dict), f"{place}: {value!r} is no object"
        for name, item in value.items():
            fits(item, form.form, f"{place}.{name}")
    else:
        assert isinstance(value, dict) and value.keys() == form.keys(), f"{place}: keys {sorted(value)}, not {sorted(form)}"
        for name, each in form.items():
            fits(value[name], each, f"{place}.{name}")
    return None


class Each:
    """An object whose values, under any name, all have one form."""

    def __init__(self, form: Any) -> None:
        self.form = form


NUMBER = (int, float)
PROBLEM = {"code": str, "key": str, "option": str, "message": str, "hint": str, "severity": {"error", "warning", "info"}}
PATHS = {
    "usable": int,
    "active": int,
    "standby": int,
    "marginal": int,
    "failed": int,
    "visible": int,
    "expected": (int, None),
    "expected_source": {"configured", "defaults", "learned", "accepted", "portals", "none"},
}
CELL = {
    "state": {s.value for s in CellState},
    "redundancy": {"full", "reduced", "single", "none"},
    "reasons": [str],
    "paths": PATHS,
    "missing_paths": [str],
    "failed_paths": [str],
    "flags": [str],
    "queueing": {"off", "on", "retry", "none"},
    "age_seconds": (*NUMBER, None),
    "observed_at": (TIME, None),
    "seq": int,
    "acked": (None, {"id": str, "by": str, "reason": str, "expires": (TIME, None)}),
}
ERROR = {"code": str, "message": str, "hint": str, "since": TIME, "count": int}
STATUS = {
    "schema": 1,
    "generated": TIME,
    "node": str,
    "cluster": str,
    "cluster_state": {s.value for s in RollUp},
    "config": {"digest": DIGEST, "overrides_digest": DIGEST, "edits": int, "conflicts": int, "problems": [PROBLEM]},
    "counts": {s.value: int for s in RollUp},
    "luns": [
        {
            "wwid": str,
            "alias": (str, None),
            "configured": bool,
            "vendor": (str, None),
            "product": (str, None),
            "size_bytes": (int, None),
            "device": re.compile(r"/dev/disk/by-id/dm-uuid-mpath-.+"),
            "state": {s.value for s in RollUp},
            "since": TIME,
            "expected_nodes": [str],
            "expected_source": {"explicit", "storage-chain", "fallback", "inferred", "none"},
            "consumers": [{"storage": str, "type": str, "via": str}],
            "nodes": Each((CELL, CELL | {"last": {"state": str, "reasons": [str]}})),
        }
    ],
    "nodes": [
        {
            "node": str,
            "state": {"online", "suspect", "offline", "left", "retired"},
            "role": {"observer", "editor", "admin"},
            "maintenance": bool,
            "age_seconds": (*NUMBER, None),
            "observed_at": (TIME, None),
            "tools_version": (str, None),
            "daemon": {"running", "down", "not-installed", "timeout", "garbage", "unknown"},
            "apply": {
                "state": {"in-sync", "pending", "failed", "teardown", "not-applicable"},
                "desired": (DIGEST, None),
                "applied": (DIGEST, None),
                "at": (TIME, None),
                "errors": [ERROR],
                "notes": [ERROR],
            },
            "cells": Each(int),
            "notes": [str],
        }
    ],
}


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory, live_node: Any, settings_in: Any) -> Iterator[Any]:
    """A node with a simulated host that sees one LUN by two paths, allow-listed and applied."""
    settings = settings_in(tmp_path_factory.mktemp("hosted"))
    init(settings, "n1", "san")
    with live_node(settings, luns=LUNS) as node:
        changes = [
            {"key": "defaults", "set": {"learn-window": "0"}},
            {"key": f"wwid/{A}", "set": {"alias": "vmpool-a"}},
            {"key": "storage/san", "set": {"type": "multipath"}},
            {"key": "storage/san-lvm", "set": {"type": "lvm", "base": f"san:{A}", "vgname": "vg"}},
        ]
        assert node.write("POST", "/v1/config/edits", {"changes": changes}).status == 200
        wait_for("the LUN is healthy", lambda: [x["state"] for x in node.get("/v1/status")["luns"]] == ["healthy"])
        wait_for("the node is in sync", lambda: node.get("/v1/apply")["apply"]["state"] == "in-sync")
        yield node


# -- status -----------------------------------------------------------------------------------------------------------


def test_the_status_document_has_its_schema(hosted: Any) -> None:
    document = hosted.get("/v1/status")
    fits(document, STATUS)
    assert (document["node"], document["cluster"], document["cluster_state"]) == ("n1", "san", "healthy")
    [lun] = document["luns"]
    assert (lun["wwid"], lun["alias"], lun["vendor"], lun["product"], lun["size_bytes"]) == (A, "vmpool-a", "PURE", "FlashArray", 2**30)
    assert lun["expected_nodes"] == ["n1"] and lun["expected_source"] == "storage-chain"
    assert lun["consumers"] == [{"storage": "san-lvm", "type": "lvm", "via": "san"}]
    cell = lun["nodes"]["n1"]
    assert cell["redundancy"] == "full" and cell["paths"]["usable"] == cell["paths"]["expected"] == 2
    [node] = document["nodes"]
    assert node["daemon"] == "running" and node["tools_version"] and node["cells"] == {"healthy": 1}
    assert node["apply"]["desired"] == node["apply"]["applied"]


def test_the_schema_holds_for_an_empty_node_and_for_one_that_is_in_trouble(api: Any, map_cell: Any) -> None:
    fits(api.get("/v1/status"), STATUS)
    assert api.get("/v1/status")["cluster_state"] == "unused"
    error = {"code": "write-failed", "message": "m", "hint": "h", "since": "2026-07-03T12:46:00Z", "count": 3}
    apply = {"state": "failed", "desired": "a" * 64, "applied": "", "at": None, "errors": [error], "notes": []}
    api.observe(
        map_cell(A, "degraded", usable=1, reasons=("path-lost",)),
        map_cell(B, "a state of another version"),
        Cell(MULTIPATH_APPLY, "config", "failed", ("write-failed",), apply),
        Cell(NODE_FACTS, "node", "unknown", ("module-missing",), {"daemon": "down", "tools_version": None, "notes": ["module-missing"]}),
    )
    document = api.get("/v1/status")
    fits(document, STATUS)
    assert [lun["nodes"]["n1"]["state"] for lun in document["luns"]] == ["unknown", "degraded"]
    assert document["nodes"][0]["apply"]["errors"] == [error] and document["nodes"][0]["notes"] == ["module-missing"]
    assert document["counts"]["degraded"] == 1 and sum(document["counts"].values()) == 2


NONSENSE = [None, True, 7, -1.5, 1e300, "text", "", [], [1, None, {}], {}, {"x": []}, [{"wwid": 3, "id": [], "group": "g", "class": {}}]]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=repr)
def test_a_cell_that_makes_no_sense_spoils_nothing(api: Any, nonsense: Any) -> None:
    """Cells come from other nodes, and not all of these mean well."""
    of_map = (
        "alias",
        "vendor",
        "product",
        "size_bytes",
        "redundancy",
        "paths",
        "missing_paths",
        "queueing",
        "acked",
        "path_list",
        "baseline",
    )
    of_apply = ("state", "desired", "applied", "at", "errors", "notes")
    of_facts = ("tools_version", "daemon", "notes", "visible")
    observed = nonsense if isinstance(nonsense, float) else 0.0
    api.write("POST", "/v1/config/wwids", {"wwid": A})
    api.observe(
        Cell("multipath.map", A, "healthy", (), dict.fromkeys(of_map, nonsense), {"devs": nonsense, "sysfs": nonsense}, observed),
        Cell(MULTIPATH_APPLY, "config", "healthy", (), dict.fromkeys(of_apply, nonsense), {}, observed),
        Cell(NODE_FACTS, "node", "healthy", (), dict.fromkeys(of_facts, nonsense), {}, observed),
    )
    document = api.get("/v1/status")
    words = STATUS["nodes"][0] | {
        "daemon": str,
        "apply": STATUS["nodes"][0]["apply"] | dict.fromkeys(("state", "desired", "applied", "at"), (str, None)),
    }
    words["apply"] |= {name: [{**ERROR, "since": str}] for name in ("errors", "notes")}
    fits(document["nodes"], [words])
    lun = STATUS["luns"][0] | {"nodes": {"n1": CELL | {"redundancy": str, "queueing": str, "paths": PATHS | {"expected_source": str}}}}
    fits(document["luns"], [lun])
    for path in ("/v1/matrix", f"/v1/luns/{A}", "/v1/luns/scan", "/v1/nodes", "/v1/nodes/n1/maps", "/v1/apply", "/v1/storages", "/v1/dump"):
        assert api.ask("GET", path).status == 200, path
    answer = api.ask("POST", f"/v1/luns/{A}/accept?dry_run=true", {"nodes": ["n1"]})
    assert answer.status == 200 or answer.json["code"] == "nothing-usable", answer


def test_alarms_show_as_problems(api: Any) -> None:
    api.call(lambda: api.node.alarms.raise_alarm("diverged", "n1 and n2 differ"))
    problems = api.get("/v1/status")["config"]["problems"]
    fits(problems, [PROBLEM])
    assert any(p["code"] == "diverged" and "n1 and n2 differ" in p["message"] for p in problems)


# -- the matrix -------------------------------------------------------------------------------------------------------


@pytest.fixture
def shown(api: Any, map_cell: Any) -> Any:
    """Five LUNs in three states, one of them with an alias."""
    wwids = [f"3624a9370e92ace0b12e941bf0000000{n}" for n in range(5)]
    api.write("POST", "/v1/config/wwids", {"wwid": wwids[0], "options": {"alias": "first"}})
    api.observe(
        *[map_cell(w) for w in wwids[:3]],
        map_cell(wwids[3], "degraded", usable=1, reasons=("path-lost",)),
        map_cell(wwids[4], "failed", usable=0),
    )
    api.wwids = wwids
    return api


def ids(node: Any, query: str = "") -> list[str]:
    return [row["id"] for row in node.get(f"/v1/matrix{query}")["resources"]]


def test_the_matrix_has_a_row_for_every_resource(shown: Any) -> None:
    document = shown.get("/v1/matrix")
    assert document.keys() == {"version", "kinds", "next", "reporters", "resources"}
    assert document["next"] is None and "multipath.map" in document["kinds"]
    fits(document["reporters"], {"n1": {"state": "fresh", "age_seconds": NUMBER}})
    rows = [row for row in document["resources"] if row["kind"] == "multipath.map"]
    assert [row["id"] for row in rows] == shown.wwids
    assert [row["state"] for row in rows] == ["healthy", "healthy", "healthy", "degraded", "failed"]
    for row in rows:
        assert row.keys() == {"kind", "id", "state", "nodes"}
        fits(row["nodes"], {"n1": {name: form for name, form in CELL.items() if name != "age_seconds"}})


def test_the_matrix_can_be_filtered(shown: Any) -> None:
    wwids = shown.wwids
    assert ids(shown, "?kind=multipath.map") == wwids
    assert ids(shown, "?kind=multipath.apply") == ["config"]
    assert ids(shown, "?state=degraded") == [wwids[3]]
    assert ids(shown, "?state=failed&kind=multipath.map") == [wwids[4]]
    assert ids(shown, f"?resource={wwids[2]}") == [wwids[2]]
    assert ids(shown, "?resource=first") == [wwids[0]]
    assert ids(shown, "?node=n1&kind=multipath.map") == wwids
    assert ids(shown, "?node=n1&state=healthy&kind=multipath.map") == wwids[:3]


@pytest.mark.parametrize(
    "query",
    [
        "kind=floppy",
        "node=n9",
        "state=bogus",
        "limit=0",
        "limit=-1",
        "limit=many",
        "limit=99999",
        f"limit={'9' * 5000}",
        "cursor=%FF%FE",
        "cursor=%C3%A4",
        "cursor=AAA",
        "cursor=AAAA",
    ],
)
def test_a_query_that_makes_no_sense_is_refused(shown: Any, query: str) -> None:
    answer = shown.ask("GET", f"/v1/matrix?{query}")
    assert answer.status == 400 and answer.json["code"] == "malformed", answer


def test_pages_come_in_order_and_survive_changes_in_between(shown: Any, map_cell: Any) -> None:
    wwids = shown.wwids
    first = shown.get("/v1/matrix?kind=multipath.map&limit=2")
    assert [r["id"] for r in first["resources"]] == wwids[:2] and first["next"]
    shown.observe(*[map_cell(w) for w in wwids[2:]])  # the first two are gone, the cursor's own row among them
    second = shown.get(f"/v1/matrix?kind=multipath.map&limit=2&cursor={first['next']}")
    assert [r["id"] for r in second["resources"]] == wwids[2:4]
    third = shown.get(f"/v1/matrix?kind=multipath.map&limit=2&cursor={second['next']}")
    assert [r["id"] for r in third["resources"]] == wwids[4:] and third["next"] is None
    everything, cursor = [], ""
    while cursor is not None:
        page = shown.get(f"/v1/matrix?limit=1{'&cursor=' + cursor if cursor else ''}")
        everything += [(r["kind"], r["id"]) for r in page["resources"]]
        cursor = page["next"]
    assert everything == [(r["kind"], r["id"]) for r in shown.get("/v1/matrix")["resources"]]


def test_an_unchanged_matrix_costs_no_body(shown: Any, map_cell: Any) -> None:
    tag = shown.ask("GET", "/v1/matrix").headers["etag"]
    same = shown.ask("GET", "/v1/matrix", headers={"if-none-match": tag})
    assert same.status == 304 and same.body == b"" and same.headers["etag"] == tag
    shown.observe(map_cell(A))
    moved = shown.ask("GET", "/v1/matrix", headers={"if-none-match": tag})
    assert moved.status == 200 and moved.headers["etag"] != tag
    assert shown.ask("GET", "/v1/matrix", headers={"if-none-match": tag}).status == 200


# -- LUNs -------------------------------------------------------------------------------------------------------------


def test_a_lun_is_found_by_wwid_and_by_alias(hosted: Any) -> None:
    by_wwid, by_alias = hosted.get(f"/v1/luns/{A}"), hosted.get("/v1/luns/vmpool-a")
    assert by_wwid["wwid"] == by_alias["wwid"] == A and by_wwid["state"] == "healthy"
    answer = hosted.ask("GET", f"/v1/luns/{B}")
    assert answer.status == 404 and B in answer.json["detail"]


def test_what_is_seen_and_not_allowed_is_scanned(api: Any) -> None:
    visible = [
        {"wwid": A, "vendor": "PURE", "product": "FlashArray", "size_bytes": 2**30, "paths": 2},
        {"wwid": B, "vendor": None, "paths": 1},
    ]
    api.observe(Cell(NODE_FACTS, "node", "healthy", (), {"daemon": "running", "visible": visible}))
    assert [lun["wwid"] for lun in api.get("/v1/luns/scan")["luns"]] == sorted((A, B))
    api.write("POST", "/v1/config/wwids", {"wwid": B})
    assert api.get("/v1/luns/scan")["luns"] == [
        {"wwid": A, "vendor": "PURE", "product": "FlashArray", "size_bytes": 2**30, "nodes": {"n1": {"paths": 2}}}
    ]


def test_accepting_makes_the_present_paths_the_expected_ones(hosted: Any) -> None:
    hosted.ask_host("del path sdb")
    wait_for("the loss is seen", lambda: hosted.get(f"/v1/luns/{A}")["nodes"]["n1"]["reasons"])
    cell = hosted.get(f"/v1/luns/{A}")["nodes"]["n1"]
    assert "path-lost" in cell["reasons"] and cell["missing_paths"] == ["fc:0x2100000e1e000102>0x50014380242b0201"]
    dry = hosted.ask("POST", "/v1/luns/vmpool-a/accept?dry_run=true", {})
    assert dry.json["dry_run"] and dry.json["edit"] is None and [x["node"] for x in dry.json["accepted"]] == ["n1"]
    assert "path-lost" in hosted.get(f"/v1/luns/{A}")["nodes"]["n1"]["reasons"]
    answer = hosted.ask("POST", "/v1/luns/vmpool-a/accept", {"nodes": ["n1"], "reason": "taken out"})
    assert answer.status == 200 and answer.json["edit"], answer
    gone = ["fc:0x2100000e1e000102>0x50014380242b0201"]
    assert answer.json["accepted"] == [{"node": "n1", "paths": ["fc:0x2100000e1e000101>0x50014380242b0101"], "given_up": gone}]
    wait_for("it reads healthy", lambda: hosted.get(f"/v1/luns/{A}")["nodes"]["n1"]["state"] == "healthy")
    assert hosted.get("/v1/dump")["acks"][f"ack/n1/{A}"]["reason"] == "taken out"
    acked = {"id": answer.json["edit"], "by": "n1", "reason": "taken out", "expires": None}
    [row] = hosted.get(f"/v1/matrix?resource={A}")["resources"]
    assert hosted.get(f"/v1/luns/{A}")["nodes"]["n1"]["acked"] == row["nodes"]["n1"]["acked"] == acked
    hosted.ask_host("add path sdb")
    wait_for("both are expected", lambda: hosted.get(f"/v1/luns/{A}")["nodes"]["n1"]["paths"]["expected"] == 2)


def test_an_nvme_subsystem_is_accepted_by_its_nqn(api: Any) -> None:
    nqn = "nqn.2010-06.com.purestorage:flasharray.1"
    there, dead, lost = "nvme:tcp:10.0.0.5>10.0.0.10:4420", "nvme:tcp:10.0.1.5>10.0.1.10:4420", "nvme:tcp:10.0.2.5>10.0.2.10:4420"
    detail = {
        "paths": {
            "usable": 1,
            "active": 1,
            "standby": 0,
            "marginal": 0,
            "failed": 1,
            "visible": 2,
            "expected": 3,
            "expected_source": "learned",
        },
        "missing_paths": [lost],
        "path_list": [{"id": there, "class": "active", "group": 0}, {"id": dead, "class": "failed", "group": 0}],
        "baseline": [there, dead, lost],
    }
    api.observe(Cell(NVME_SUBSYSTEM, nqn, "degraded", ("path-lost",), detail))
    [row] = api.get(f"/v1/matrix?kind=nvme.subsystem&resource={nqn}")["resources"]
    assert row["id"] == nqn and row["nodes"]["n1"]["missing_paths"] == [lost]
    dry = api.ask("POST", f"/v1/luns/{nqn}/accept?dry_run=true", {})
    assert (dry.status, dry.json["edit"], dry.json["accepted"]) == (200, None, [{"node": "n1", "paths": [there], "given_up": [dead, lost]}])
    assert api.get("/v1/dump")["acks"] == {}
    answer = api.ask("POST", f"/v1/luns/{nqn}/accept", {"reason": "two ports are enough", "expires_seconds": 3600})
    assert answer.status == 200 and answer.json["edit"]
    ack = api.get("/v1/dump")["acks"][f"ack/n1/{nqn}"]
    assert (ack["paths"], ack["reason"], float(ack["expires"]) > time.time()) == (there, "two ports are enough", True)


@pytest.mark.parametrize(("path", "nodes", "code"), [(B, None, "not-found"), (A, ["n9"], "not-found")])
def test_what_is_not_there_cannot_be_accepted(hosted: Any, path: str, nodes: Any, code: str) -> None:
    answer = hosted.ask("POST", f"/v1/luns/{path}/accept", {"nodes": nodes})
    assert answer.status == 404 and answer.json["code"] == code


def test_an_unknown_cell_cannot_be_accepted(api: Any, map_cell: Any) -> None:
    api.write("POST", "/v1/config/wwids", {"wwid": A})
    api.observe(map_cell(A, "unknown"))
    for body in ({"nodes": ["n1"]}, {}):
        answer = api.ask("POST", f"/v1/luns/{A}/accept", body)
        assert answer.status == 422 and answer.json["code"] == "cell-unknown", answer


def test_what_is_accepted_is_what_was_shown(api: Any, map_cell: Any) -> None:
    api.write("POST", "/v1/config/wwids", {"wwid": A})
    api.observe(map_cell(A, "degraded", usable=1, reasons=("path-lost",)))
    [dry] = api.ask("POST", f"/v1/luns/{A}/accept?dry_run=true", {}).json["accepted"]
    shown, before = {"n1": dry["paths"]}, api.get("/v1/dump")["acks"]
    assert len(shown["n1"]) == len(dry["given_up"]) == 1
    api.observe(map_cell(A))  # the lost path is back
    others: list[dict[str, list[str]]] = [shown, {}, {"n1": [], "n2": []}, {"n1": [*dry["paths"], *dry["given_up"]], "n2": []}]
    for other in others:
        for query in ("", "?dry_run=true"):
            answer = api.ask("POST", f"/v1/luns/{A}/accept{query}", {"nodes": ["n1"], "shown": other})
            assert (answer.status, answer.json["code"]) == (409, "accept-changed"), answer
            assert answer.json["detail"].startswith("n2: " if len(other.get("n1", ())) == 2 else "n1: ")
    assert api.get("/v1/dump")["acks"] == before, "nothing was written"
    both = {"n1": [*dry["given_up"], *dry["paths"]]}
    assert api.ask("POST", f"/v1/luns/{A}/accept", {"nodes": ["n1"], "shown": both}).status == 200
    assert set(api.get("/v1/dump")["acks"][f"ack/n1/{A}"]["paths"].split()) == set(both["n1"])


def test_paths_of_which_none_is_usable_are_not_accepted(api: Any, map_cell: Any) -> None:
    api.write("POST", "/v1/config/wwids", {"wwid": A})
    good = map_cell(A)
    failed = [{**path, "class": "failed"} for path in good.detail["path_list"]]
    bad = {**good.detail, "paths": {**good.detail["paths"], "usable": 0, "active": 0, "failed": 2}, "path_list": failed}
    before = api.get("/v1/dump")["acks"]
    unmade = {**bad, "path_list": [], "missing_paths": good.detail["baseline"]}  # disks are seen, and no map was made of them
    for detail in (bad, unmade):
        api.observe(Cell(good.kind, A, "failed", ("all-paths-failed",), detail))
        for query in ("", "?dry_run=true"):
            for nodes in (None, ["n1"]):
                answer = api.ask("POST", f"/v1/luns/{A}/accept{query}", {"nodes": nodes})
                assert (answer.status, answer.json["code"]) == (422, "nothing-usable") and answer.json["detail"].startswith("n1: "), answer
                assert answer.json["hint"] == "that would hide a failure; repair the paths or disable the LUN"
    assert api.get("/v1/dump")["acks"] == before


def test_that_a_lun_is_gone_is_accepted_only_of_a_node_that_is_named(api: Any, map_cell: Any) -> None:
    api.write("POST", "/v1/config/wwids", {"wwid": A})
    api.observe(map_cell(A, "missing", usable=0, reasons=("not-visible",)))
    answer = api.ask("POST", f"/v1/luns/{A}/accept", {})
    assert (answer.status, answer.json["code"]) == (422, "nothing-usable") and "name the node" in answer.json["hint"]
    answer = api.ask("POST", f"/v1/luns/{A}/accept", {"nodes": ["n1"]})
    [accepted] = answer.json["accepted"]
    assert (answer.status, accepted["paths"], len(accepted["given_up"])) == (200, [], 2)
    assert api.get("/v1/dump")["acks"][f"ack/n1/{A}"].get("paths", "") == ""


# -- nodes ------------------------------------------------------------------------------------------------------------


def test_nodes_are_those_of_the_status(hosted: Any) -> None:
    [node] = hosted.get("/v1/nodes")["nodes"]
    fits(node, STATUS["nodes"][0])
    assert hosted.get("/v1/nodes/n1").keys() == node.keys()
    for path in ("/v1/nodes/n9", "/v1/nodes/n9/maps"):
        answer = hosted.ask("GET", path)
        assert answer.status == 404 and "n9" in answer.json["detail"]


def test_a_nodes_maps_show_groups_and_paths(hosted: Any) -> None:
    document = hosted.get("/v1/nodes/n1/maps")
    assert document["node"] == "n1" and document["reporter"] == "fresh" and document["age_seconds"] >= 0
    [found] = document["maps"]
    assert found["wwid"] == A and found["alias"] == "vmpool-a" and found["device"].startswith("dm-")
    assert found["size_bytes"] == 2**30 and found["paths"]["usable"] == 2
    paths = [path for group in found["path_groups"] for path in group["paths"]]
    assert {p["dev"] for p in paths} == {"sda", "sdb"} and all(p["class"] == "active" for p in paths)


@pytest.mark.parametrize("reporter", [Reporter.STALE, Reporter.SUSPECT, Reporter.OFFLINE])
def test_the_maps_of_a_node_that_is_not_heard_are_unknown(api: Any, map_cell: Any, monkeypatch: Any, reporter: Reporter) -> None:
    api.write("POST", "/v1/config/wwids", {"wwid": A})
    cell = map_cell(A, "degraded", usable=1, reasons=("path-lost",))
    api.observe(Cell(cell.kind, A, "degraded", ("path-lost",), {**cell.detail, "flags": ["single-failure-domain"]}))
    [known] = api.get("/v1/nodes/n1/maps")["maps"]
    assert (known["state"], known["reasons"], known["flags"]) == ("degraded", ["path-lost"], ["single-failure-domain"])
    assert "last" not in known
    monkeypatch.setattr(api.node.picture, "reporters", lambda: {"n1": reporter})
    document = api.get("/v1/nodes/n1/maps")
    [found] = document["maps"]
    assert document["reporter"] == reporter.value
    assert (found["state"], found["reasons"]) == ("unknown", [f"reporter-{reporter.value}"])
    assert found["last"] == {"state": "degraded", "reasons": ["path-lost"]}
    assert found["paths"] == known["paths"] and found["path_groups"] == known["path_groups"], "what was known last is told with it"


# -- storages, render, apply ------------------------------------------------------------------------------------------


def test_storages_show_what_they_stand_on(hosted: Any) -> None:
    document = hosted.get("/v1/storages")
    assert document["digest"] == hosted.digest().strip('"')
    lvm = {s["id"]: s for s in document["storages"]}["san-lvm"]
    assert lvm.pop("status").keys() == {"n1"}
    assert lvm == {
        "id": "san-lvm",
        "type": "lvm",
        "enabled": True,
        "nodes": None,
        "base": f"san:{A}",
        "state": "healthy",
        "luns": [{"wwid": A, "state": "healthy"}],
        "problems": [],
    }


def test_render_shows_what_is_written(hosted: Any) -> None:
    shown = hosted.get("/v1/render")
    main = (hosted.settings.multipath.etc_dir / "conf.d" / "90-pathmesh.conf").read_text()
    assert shown["files"] == {"90-pathmesh.conf": main} and shown["diff"] == "" and shown["skipped"] == []
    assert hosted.get("/v1/render?node=n1")["files"] == shown["files"]
    answer = hosted.ask("GET", "/v1/render?node=n2")
    assert answer.status == 422 and answer.json["code"] == "other-node"


def test_applying_again_answers_when_it_is_done(hosted: Any) -> None:
    conf = hosted.settings.multipath.etc_dir / "conf.d" / "90-pathmesh.conf"
    conf.unlink()
    answer = hosted.ask("POST", "/v1/apply")
    assert answer.status == 200 and conf.exists(), answer
    assert answer.json["apply"].keys() == STATUS["nodes"][0]["apply"].keys()
    wait_for("it says so", lambda: hosted.get("/v1/apply")["apply"]["state"] == "in-sync")


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_the_dump_has_everything(hosted: Any) -> None:
    document = hosted.get("/v1/dump")
    fits(document["status"], STATUS)
    assert document["config"] == hosted.ask("GET", "/v1/config", headers={"accept": "text/plain"}).body.decode()
    assert {"overrides", "acks", "members", "conflicts", "clock", "state_hash", "counters"} <= document.keys()
    assert sum(document["clock"].values()) == document["status"]["config"]["edits"]
    secrets = [
        line.split(" = ")[1] for f in hosted.settings.node.keys_dir.iterdir() for line in f.read_text().splitlines() if line[:6] == "secret"
    ]
    text = hosted.ask("GET", "/v1/dump").body.decode()
    assert len(secrets) == 3 and not any(secret in text for secret in secrets)


def test_traces_can_be_followed(api: Any) -> None:
    last = max([t["cursor"] for t in api.get("/v1/trace")["entries"]], default=0)
    edit = api.write("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 5}}).json["edit"]
    entries = api.get(f"/v1/trace?after={last}")["entries"]
    assert [(t["what"], t["name"]) for t in entries if t["what"] == "edit"] == [("edit", edit)]
    assert 0 <= time.monotonic_ns() - entries[-1]["monotonic_ns"] < 60e9
    for query in ("after=x", "after=-1", "after=%C2%B2", f"after={'1' * 5000}"):
        assert api.ask("GET", f"/v1/trace?{query}").status == 400


def test_health_and_readiness(lone: Any) -> None:
    assert lone.get("/healthz") == {"ok": True}
    answer = lone.ask("GET", "/readyz")
    assert answer.status == 200 and answer.json["ready"] is True and answer.json["node"] == "n1" and answer.digest == lone.digest()


def test_a_node_that_knows_no_membership_of_its_own_is_not_ready(lone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = lone.node.runner.engine
    monkeypatch.delitem(engine.replica.registry.by_name, "n1")
    answer = lone.ask("GET", "/readyz")
    assert answer.status == 503 and answer.json["code"] == "joining" and answer.json["hint"]
    answer = lone.write("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 5}})
    assert answer.status == 503 and answer.json["code"] == "joining"
    monkeypatch.setattr(type(engine), "name_taken", property(lambda _: True))
    assert lone.ask("GET", "/readyz").json["code"] == "name-taken"


def test_a_write_that_the_disk_refuses_is_told_and_not_kept(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: Any) -> None:
        raise UnavailableError("/var/lib/pathmesh/pathmesh.db: the disk is full", code="disk-full")

    before = api.digest()
    monkeypatch.setattr(api.node.runner._log, "commit_edits", refuse)
    answer = api.write("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 5}})
    assert answer.status == 507 and answer.json["code"] == "storage-failed" and "disk is full" in answer.json["detail"], answer
    monkeypatch.undo()
    assert api.digest() == before
    assert api.write("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 5}}).status == 200


def test_a_fault_of_the_program_is_answered_without_its_traceback(lone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone.node.members, "describe", lambda: 1 / 0)
    answer = lone.ask("GET", "/v1/members")
    assert answer.status == 500 and answer.json["code"] == "internal"
    assert b"ZeroDivision" not in answer.body and b"Traceback" not in answer.body
    lone.client.close()
    monkeypatch.undo()
    assert lone.ask("GET", "/v1/members").status == 200
