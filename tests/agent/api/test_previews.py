"""What a dry run says of the files of all nodes."""

from typing import Any

WWID = "3624a9370e92ace0b12e941bf000cb4d5"
EDIT = {"changes": [{"key": f"wwid/{WWID}", "set": {"alias": "a"}}, {"key": "defaults", "set": {"polling-interval": 7}}]}


def test_a_preview_tells_files_and_allow_list_and_writes_nothing(api: Any) -> None:
    answer = api.write("POST", "/v1/config/edits?dry_run=true&preview=true", EDIT)
    assert answer.status == 200, answer
    found = answer.json["preview"]
    assert found["allow_list"] == {"append": [WWID], "disable": []}
    (group,) = found["nodes"]
    assert group["nodes"] == ["n1"] and group["skipped"] == []
    assert '+\tpolling_interval "7"\n' in group["diff"] and "90-pathmesh.conf" in group["diff"]
    assert api.get("/v1/config")["sections"] == []


def test_a_preview_of_overrides(api: Any) -> None:
    text = "overrides {\n\tno_path_retry 5\n}\n"
    api.write("POST", "/v1/config/edits", EDIT)
    answer = api.write("PUT", "/v1/overrides?dry_run=true&preview=1", text, of="/v1/overrides")
    assert answer.status == 200, answer
    (group,) = answer.json["preview"]["nodes"]
    assert "95-pathmesh-overrides.conf" in group["diff"] and "+\tno_path_retry 5" in group["diff"]
    assert answer.json["preview"]["allow_list"] == {"append": [], "disable": []}
    assert api.get("/v1/overrides")["text"] == ""


def test_nothing_is_previewed_unless_it_is_asked_for(api: Any) -> None:
    assert "preview" not in api.write("POST", "/v1/config/edits?dry_run=true", EDIT).json


def test_a_preview_without_a_dry_run_is_refused_and_writes_nothing(api: Any) -> None:
    answer = api.write("POST", "/v1/config/edits?preview=true", EDIT)
    assert answer.status == 400 and answer.json["code"] == "malformed" and answer.json["hint"] == "add dry_run=true"
    answer = api.write("PUT", "/v1/overrides?preview=true", "# x\n", of="/v1/overrides")
    assert answer.status == 400 and answer.json["code"] == "malformed"
    assert api.get("/v1/config")["sections"] == [] and api.get("/v1/overrides")["text"] == ""
