"""The configuration through the API: sections, whole documents, edits of several sections, overrides."""

from typing import Any

import pytest

from store.section_config import config_digest, text_digest

WWID = "3624a9370e92ace0b12e941bf000cb4d5"
OTHER = "360014050000000100004000800000000"
EMPTY = f'"{config_digest({})}"'
TEXT = {"accept": "text/plain"}


def written(answer: Any) -> Any:
    assert answer.status == 200, answer
    return answer.json


def refused(answer: Any, status: int, code: str) -> Any:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["code"] == code, answer.json
    return answer.json


# -- sections ---------------------------------------------------------------------------------------------------------


def test_defaults_are_patched_option_by_option(api: Any) -> None:
    assert api.get("/v1/config/defaults")["options"] == {}
    body = written(api.write("PATCH", "/v1/config/defaults", {"set": {"polling_interval": 5, "no-path-retry": "12"}, "reason": "first"}))
    assert body["changed"] == ["defaults"] and body["edit"].endswith(":" + body["edit"].rpartition(":")[2]) and not body["dry_run"]
    assert body["digest"] == api.digest().strip('"')
    assert "+" in body["diff"] and "polling-interval" in body["diff"]
    written(api.write("PATCH", "/v1/config/defaults", {"set": {"no_path_retry": "queue"}, "delete": ["polling_interval"]}))
    assert api.get("/v1/config/defaults")["options"] == {"no-path-retry": "queue"}
    written(api.write("PATCH", "/v1/config/defaults", {"delete": ["no-path-retry"]}))
    assert api.get("/v1/config")["sections"] == [] and api.digest() == EMPTY


def test_values_may_be_text_numbers_or_booleans(api: Any) -> None:
    written(api.write("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 7, "detect-prio": False}}))
    assert api.get("/v1/config/defaults")["options"] == {"polling-interval": "7", "detect-prio": "no"}


def test_a_lun_is_added_changed_and_removed(api: Any) -> None:
    path = f"/v1/config/wwids/{WWID}"
    refused(api.ask("GET", path), 404, "not-found")
    refused(api.write("PATCH", path, {"set": {"alias": "a"}}), 404, "not-found")
    refused(api.write("DELETE", path), 404, "not-found")
    written(api.write("POST", "/v1/config/wwids", {"wwid": WWID, "options": {"alias": "vmpool-a"}}))
    found = refused(api.write("POST", "/v1/config/wwids", {"wwid": WWID, "options": {}}), 409, "exists")
    assert WWID in found["detail"]
    assert api.get(path)["options"] == {"alias": "vmpool-a"}
    assert api.get("/v1/config/wwids")["wwids"] == [{"wwid": WWID, "options": {"alias": "vmpool-a"}}]
    refused(api.write("PATCH", path, {"delete": ["comment"]}), 404, "not-found")
    written(api.write("PATCH", path, {"set": {"comment": "shelf 2"}, "delete": ["alias"]}))
    assert api.get(path)["options"] == {"comment": "shelf 2"}
    written(api.write("DELETE", path + "?reason=sold"))
    assert api.digest() == EMPTY


def test_a_storage_is_added_changed_and_removed(api: Any) -> None:
    path = "/v1/config/storages/san"
    refused(api.ask("GET", path), 404, "not-found")
    written(api.write("POST", "/v1/config/storages", {"id": "san", "type": "multipath", "options": {}}))
    refused(api.write("POST", "/v1/config/storages", {"id": "san", "type": "multipath"}), 409, "exists")
    written(api.write("PATCH", path, {"set": {"nodes": "n1"}}))
    assert api.get(path) | {"digest": ""} == {"digest": "", "id": "san", "type": "multipath", "options": {"nodes": "n1"}}
    assert api.get("/v1/config/storages")["storages"] == [{"id": "san", "type": "multipath", "options": {"nodes": "n1"}}]
    written(api.write("DELETE", path))
    assert api.digest() == EMPTY


# -- digests and dry runs ---------------------------------------------------------------------------------------------


def test_a_stale_digest_is_refused_with_the_present_one(api: Any) -> None:
    old = api.digest()
    written(api.write("POST", "/v1/config/wwids", {"wwid": WWID}))
    now = api.digest()
    attempts = [
        ("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 9}}),
        ("POST", "/v1/config/wwids", {"wwid": OTHER}),
        ("PATCH", f"/v1/config/wwids/{WWID}", {"set": {"alias": "x"}}),
        ("DELETE", f"/v1/config/wwids/{WWID}", None),
        ("POST", "/v1/config/storages", {"id": "san", "type": "multipath"}),
        ("POST", "/v1/config/edits", {"changes": [{"key": f"wwid/{WWID}", "remove": True}]}),
        ("PUT", "/v1/config", ""),
        ("PUT", "/v1/config", {"sections": []}),
    ]
    for method, path, body in attempts:
        found = refused(api.ask(method, path, body, {"if-match": old}), 412, "stale-digest")
        assert f'"{found["digest"]}"' == now
    assert api.digest() == now


def test_config_and_overrides_have_digests_of_their_own(api: Any) -> None:
    overrides = api.digest("/v1/overrides")
    written(api.write("POST", "/v1/config/wwids", {"wwid": WWID}))
    assert api.digest("/v1/overrides") == overrides
    written(api.ask("PUT", "/v1/overrides", "devices {\n}\n", {"if-match": overrides}))
    config = api.digest()
    found = refused(api.ask("DELETE", "/v1/overrides", None, {"if-match": overrides}), 412, "stale-digest")
    assert found["digest"] == api.digest("/v1/overrides").strip('"') != overrides.strip('"')
    written(api.write("DELETE", "/v1/overrides", of="/v1/overrides"))
    assert api.digest() == config


@pytest.mark.parametrize(
    ("method", "path", "body", "of"),
    [
        ("PATCH", "/v1/config/defaults", {"set": {"polling-interval": 9}}, "/v1/config"),
        ("POST", "/v1/config/wwids", {"wwid": OTHER, "options": {"alias": "b"}}, "/v1/config"),
        ("PATCH", f"/v1/config/wwids/{WWID}", {"set": {"alias": "c"}}, "/v1/config"),
        ("DELETE", f"/v1/config/wwids/{WWID}", None, "/v1/config"),
        ("POST", "/v1/config/storages", {"id": "disk", "type": "multipath"}, "/v1/config"),
        ("PATCH", "/v1/config/storages/san", {"set": {"nodes": "n1"}}, "/v1/config"),
        ("DELETE", "/v1/config/storages/san", None, "/v1/config"),
        ("POST", "/v1/config/edits", {"changes": [{"key": "storage/san", "remove": True}]}, "/v1/config"),
        ("PUT", "/v1/config", "", "/v1/config"),
        ("PUT", "/v1/overrides", "devices {\n}\n", "/v1/overrides"),
        ("DELETE", "/v1/overrides", None, "/v1/overrides"),
    ],
)
def test_a_dry_run_shows_and_changes_nothing(api: Any, method: str, path: str, body: Any, of: str) -> None:
    written(api.write("POST", "/v1/config/wwids", {"wwid": WWID, "options": {"alias": "a"}}))
    written(api.write("POST", "/v1/config/storages", {"id": "san", "type": "multipath"}))
    written(api.write("PUT", "/v1/overrides", "blacklist {\n}\n", of="/v1/overrides"))
    before, edits = api.digest(of), api.get("/v1/status")["config"]["edits"]
    dry = written(api.write(method, path + "?dry_run=true", body, of=of))
    assert dry["dry_run"] is True and dry["edit"] is None and dry["diff"] and dry["changed"]
    assert (api.digest(of), api.get("/v1/status")["config"]["edits"]) == (before, edits)
    wet = written(api.write(method, path, body, of=of))
    assert wet["edit"] and {k: wet[k] for k in ("digest", "overrides_digest", "changed", "diff", "warnings")} == {
        k: dry[k] for k in ("digest", "overrides_digest", "changed", "diff", "warnings")
    }


# -- validity ---------------------------------------------------------------------------------------------------------


def test_a_refused_edit_lists_all_that_is_wrong(api: Any) -> None:
    before = api.digest()
    options = {"alias": "bad alias", "no-path-retry": "sometimes", "no-such-option": "1", "min-paths": "-3"}
    found = refused(
        api.write("POST", "/v1/config/wwids", {"wwid": WWID, "options": options}),
        422,
        api.write("POST", "/v1/config/wwids", {"wwid": WWID, "options": options}).json["code"],
    )
    assert {p["option"] for p in found["problems"]} == set(options)
    for problem in found["problems"]:
        assert problem.keys() == {"code", "key", "option", "message", "hint", "severity"}
        assert problem["key"] == f"wwid/{WWID}" and problem["severity"] == "error" and problem["message"]
    assert "and 3 more" in found["detail"]
    assert api.digest() == before


def test_an_unknown_option_comes_with_the_nearest_name(api: Any) -> None:
    found = refused(api.write("PATCH", "/v1/config/defaults", {"set": {"poling-interval": 5}}), 422, "unknown-option")
    assert "polling-interval" in found["problems"][0]["hint"]


def test_a_wwid_in_another_notation_comes_with_the_right_one(api: Any) -> None:
    found = refused(api.write("POST", "/v1/config/wwids", {"wwid": f"/dev/disk/by-id/dm-uuid-mpath-{WWID}"}), 422, "bad-wwid")
    assert WWID in found["hint"]


def test_two_luns_with_one_alias_are_refused(api: Any) -> None:
    written(api.write("POST", "/v1/config/wwids", {"wwid": WWID, "options": {"alias": "a"}}))
    found = refused(api.write("POST", "/v1/config/wwids", {"wwid": OTHER, "options": {"alias": "a"}}), 422, "duplicate-alias")
    assert OTHER in found["detail"]


def test_nothing_to_change_makes_no_edit(api: Any) -> None:
    written(api.write("POST", "/v1/config/wwids", {"wwid": WWID, "options": {"alias": "a"}}))
    body = written(api.write("PATCH", f"/v1/config/wwids/{WWID}", {"set": {"alias": "a"}}))
    assert body["edit"] is None and body["changed"] == [] and body["diff"] == "" and not body["dry_run"]


# -- several sections -------------------------------------------------------------------------------------------------


def test_several_sections_change_in_one_edit(api: Any) -> None:
    written(api.write("POST", "/v1/config/wwids", {"wwid": WWID, "options": {"alias": "a"}}))
    written(api.write("POST", "/v1/config/wwids", {"wwid": OTHER, "options": {"alias": "b"}}))
    edits = api.get("/v1/status")["config"]["edits"]
    swap = [
        {"key": f"wwid/{WWID}", "set": {"alias": "b"}},
        {"key": f"wwid/{OTHER}", "set": {"alias": "a"}},
        {"key": "defaults", "set": {"polling-interval": 5}},
    ]
    body = written(api.write("POST", "/v1/config/edits", {"changes": swap, "reason": "swap"}))
    assert body["changed"] == sorted(change["key"] for change in swap)
    assert api.get("/v1/status")["config"]["edits"] == edits + 1
    assert [lun["options"]["alias"] for lun in api.get("/v1/config/wwids")["wwids"]] == ["a", "b"]
    written(api.write("POST", "/v1/config/edits", {"changes": [{"key": change["key"], "remove": True} for change in swap]}))
    assert api.digest() == EMPTY


@pytest.mark.parametrize(
    ("bad", "status", "code"),
    [
        ({"key": f"wwid/{OTHER}", "set": {"no-path-retry": "never"}}, 422, None),
        ({"key": f"wwid/{OTHER}", "remove": True}, 404, "not-found"),
        ({"key": f"wwid/{OTHER}", "delete": ["alias"]}, 404, "not-found"),
        ({"key": "wwid/not a wwid", "set": {}}, 422, "bad-wwid"),
        ({"key": "member/n1", "set": {"role": "admin"}}, 400, "malformed"),
        ({"key": "overrides", "set": {"text": "x"}}, 400, "malformed"),
        ({"key": f"wwid/{WWID}", "set": {}}, 400, "malformed"),
        ({"key": "storage/no/slash", "set": {"type": "multipath"}}, 422, "bad-storage-id"),
        ({"key": "storage/floppy", "set": {"type": "floppy"}}, 422, "unknown-storage-type"),
    ],
)
def test_all_sections_or_none(api: Any, bad: dict[str, Any], status: int, code: str | None) -> None:
    good = {"key": f"wwid/{WWID}", "set": {"alias": "a"}}
    answer = api.write("POST", "/v1/config/edits", {"changes": [good, bad]})
    refused(answer, status, code or answer.json["code"])
    assert api.digest() == EMPTY


# -- whole documents --------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(api: Any) -> Any:
    changes = [
        {"key": "defaults", "set": {"polling-interval": 5, "no-path-retry": 12}},
        {"key": f"wwid/{WWID}", "set": {"alias": "vmpool-a", "comment": "shelf 2, slot #4"}},
        {"key": f"wwid/{OTHER}", "set": {"disable": "1"}},
        {"key": "storage/san", "set": {"type": "multipath"}},
        {"key": "storage/san-lvm", "set": {"type": "lvm", "base": f"san:{WWID}", "vgname": "vg_san", "nodes": "n1"}},
    ]
    written(api.write("POST", "/v1/config/edits", {"changes": changes}))
    return api


def test_what_is_read_can_be_written_back_and_changes_nothing(filled: Any) -> None:
    before = filled.digest()
    text = filled.ask("GET", "/v1/config", headers=TEXT)
    assert text.headers["content-type"].startswith("text/plain") and text.digest == before
    assert text_digest(text.body.decode()) == before.strip('"')
    assert written(filled.write("PUT", "/v1/config", text.body.decode()))["edit"] is None
    document = filled.get("/v1/config")
    assert document["digest"] == before.strip('"')
    assert written(filled.write("PUT", "/v1/config", {"sections": document["sections"]}))["edit"] is None
    assert filled.ask("GET", "/v1/config", headers=TEXT).body == text.body


def test_sections_come_in_canonical_order(filled: Any) -> None:
    assert [(s["type"], s["id"]) for s in filled.get("/v1/config")["sections"]] == [
        ("defaults", "global"),
        ("wwid", OTHER),
        ("wwid", WWID),
        ("multipath", "san"),
        ("lvm", "san-lvm"),
    ]


def test_replacing_the_document_is_one_edit(filled: Any) -> None:
    edits = filled.get("/v1/status")["config"]["edits"]
    body = written(filled.write("PUT", "/v1/config?reason=import", f"wwid: {OTHER}\n\talias new\n"))
    assert set(body["changed"]) == {"defaults", f"wwid/{WWID}", f"wwid/{OTHER}", "storage/san", "storage/san-lvm"}
    assert filled.get("/v1/status")["config"]["edits"] == edits + 1
    assert filled.get("/v1/config")["sections"] == [{"type": "wwid", "id": OTHER, "options": {"alias": "new"}}]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("wwid: \n\talias a\n", "line 1"),
        (f"wwid: {WWID}\n\talias a\n\nno header here\n", "line 4"),
        (f"wwid: {WWID}\n\talias a\n\talias b\n", "line 3"),
        (f"wwid: {WWID}\n\nwwid: {WWID}\n", "line 3"),
    ],
)
def test_malformed_text_is_told_by_its_line(filled: Any, text: str, line: str) -> None:
    before = filled.digest()
    answer = filled.write("PUT", "/v1/config", text)
    assert answer.status in (400, 422) and line in answer.json["detail"], answer
    assert filled.digest() == before


def test_text_that_is_not_utf8_is_refused(filled: Any) -> None:
    before = filled.digest()
    for path in ("/v1/config", "/v1/overrides"):
        headers = {"content-type": "text/plain", "if-match": filled.digest(path)}
        filled.client.request("PUT", path, b"wwid: \xff\n", headers)
        response = filled.client.getresponse()
        assert response.status == 400 and b"not UTF-8 at byte 6" in response.read()
    assert filled.digest() == before


def test_a_section_twice_in_json_is_refused(api: Any) -> None:
    section = {"type": "wwid", "id": WWID, "options": {}}
    assert WWID in refused(api.write("PUT", "/v1/config", {"sections": [section, section]}), 400, "malformed")["detail"]
    found = refused(
        api.write(
            "PUT",
            "/v1/config",
            {"sections": [{"type": "defaults", "id": "global", "options": {"polling-interval": "1", "polling_interval": "2"}}]},
        ),
        422,
        "duplicate-option",
    )
    assert "polling-interval" in found["detail"]


# -- overrides --------------------------------------------------------------------------------------------------------


def test_overrides_are_kept_byte_for_byte(api: Any) -> None:
    text = '# ours\ndevices {\n\tdevice {\n\t\tvendor "ACME"\n\t\tproduct ".*"\n\t\tno_path_retry 5\n\t}\n}\n'
    body = written(api.write("PUT", "/v1/overrides?reason=array", text, of="/v1/overrides"))
    assert body["changed"] == ["overrides"] and body["overrides_digest"] == text_digest(text)
    answer = api.ask("GET", "/v1/overrides", headers=TEXT)
    assert answer.body.decode() == text and answer.digest == f'"{text_digest(text)}"'
    assert api.get("/v1/overrides") == {"digest": text_digest(text), "text": text}
    assert written(api.write("PUT", "/v1/overrides", text, of="/v1/overrides"))["edit"] is None
    written(api.write("DELETE", "/v1/overrides", of="/v1/overrides"))
    assert api.get("/v1/overrides") == {"digest": text_digest(""), "text": ""}


def test_overrides_are_checked_without_being_written(api: Any) -> None:
    assert api.ask("POST", "/v1/overrides/check", "devices {\n}\n").json == {"problems": []}
    found = api.ask("POST", "/v1/overrides/check", "devices {\n").json["problems"]
    assert found and all(p["message"] for p in found)
    assert api.get("/v1/overrides")["text"] == ""


def test_overrides_that_cannot_be_are_refused(api: Any) -> None:
    answer = api.write("PUT", "/v1/overrides", "devices {\n", of="/v1/overrides")
    assert answer.status == 422 and answer.json["problems"][0]["key"] == "overrides", answer
    assert api.get("/v1/overrides")["text"] == ""


# -- problems and the node's own disk ---------------------------------------------------------------------------------


def test_reads_show_the_problems_of_the_document(api: Any) -> None:
    written(api.write("POST", "/v1/config/storages", {"id": "san", "type": "multipath"}))
    written(api.write("POST", "/v1/config/storages", {"id": "lv", "type": "lvm", "options": {"base": f"san:{WWID}", "vgname": "vg"}}))
    document = api.get("/v1/config")
    assert document["conflicts"] == []
    for problem in document["problems"]:
        assert problem.keys() == {"code", "key", "option", "message", "hint", "severity"}
    assert api.get("/v1/status")["config"]["problems"] == document["problems"]
