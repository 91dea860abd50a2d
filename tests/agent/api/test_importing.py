"""Taking over files from elsewhere through the API."""

from typing import Any

WWID = "3624a9370e92ace0b12e941bf000cb4d5"
CONF = f"""\
defaults {{
	polling_interval 10
	user_friendly_names yes
}}
multipaths {{
	multipath {{
		wwid {WWID}
		alias pool
	}}
}}
blacklist {{
	devnode "^ram"
}}
"""


def imported(api: Any, text: str, query: str = "") -> Any:
    answer = api.write("POST", f"/v1/config/import{query}", text)
    assert answer.status == 200, answer
    return answer.json


def test_a_multipath_conf_is_brought_into_the_configuration(api: Any) -> None:
    assert api.write("POST", "/v1/config/storages", {"id": "san", "type": "multipath"}).status == 200
    dry = imported(api, CONF, "?dry_run=true")
    assert dry["edit"] is None and dry["dry_run"] and "polling-interval" in dry["diff"] and '+\tdevnode "^ram"' in dry["diff"]
    done = imported(api, CONF, "?reason=taken%20over")
    assert done["changed"] == ["defaults", "overrides", f"wwid/{WWID}"] and done["format"] == "multipath.conf"
    (note,) = done["notes"]
    assert (note["line"], note["column"], note["code"], note["severity"]) == (3, 2, "pinned-option", "warning")
    assert [s["id"] for s in api.get("/v1/config")["sections"]] == ["global", WWID, "san"]
    assert api.get("/v1/overrides")["text"] == 'blacklist {\n\tdevnode "^ram"\n}\n'
    again = imported(api, CONF)
    assert again["edit"] is None and again["changed"] == []


def test_overrides_that_are_there_are_not_replaced(api: Any) -> None:
    assert api.write("PUT", "/v1/overrides", "devices {\n}\n", of="/v1/overrides").status == 200
    done = imported(api, CONF)
    assert done["changed"] == ["defaults", f"wwid/{WWID}"]
    assert [note["code"] for note in done["notes"]] == ["pinned-option", "import-overrides"]
    assert api.get("/v1/overrides")["text"] == "devices {\n}\n"


def test_a_foreign_section_config_replaces_the_configuration(api: Any) -> None:
    imported(api, CONF)
    done = imported(api, f"defaults: anything\n  polling-interval 7\n\nwwid: {WWID}\n  comment x\n")
    assert done["format"] == "section-config" and [note["line"] for note in done["notes"]] == [1]
    assert api.get("/v1/config/defaults")["options"] == {"polling-interval": "7"}
    assert api.get(f"/v1/config/wwids/{WWID}")["options"] == {"comment": "x"}


def test_an_import_is_guarded_like_every_write(api: Any) -> None:
    digest = api.digest()
    imported(api, CONF)
    assert api.ask("POST", "/v1/config/import", CONF, {"if-match": digest}).status == 412
    assert api.ask("POST", "/v1/config/import", CONF).status == 428
    assert api.write("POST", "/v1/config/import", {"a": 1}).status == 415


def test_the_place_of_a_problem_is_told(api: Any) -> None:
    (problem,) = api.ask("POST", "/v1/overrides/check", "overrides {\n\tno_path_rety 5\n}\n").json["problems"]
    assert (problem["line"], problem["column"], problem["severity"], problem["hint"]) == (2, 2, "warning", "did you mean no_path_retry?")
    answer = api.write("PUT", "/v1/overrides", "overrides {\n\tprio nosuch\n}\n", of="/v1/overrides")
    assert answer.status == 422 and (answer.json["problems"][0]["line"], answer.json["problems"][0]["column"]) == (2, 7)
    written = api.write("PUT", "/v1/overrides", "overrides {\n\tno_path_retry queue\n}\n", of="/v1/overrides").json
    assert [(w["code"], w["line"]) for w in written["warnings"]] == [("overrides-queueing", 2)]


def test_a_check_looks_at_the_configuration_too(api: Any) -> None:
    assert api.write("PATCH", "/v1/config/defaults", {"set": {"no-path-retry": "5"}}).status == 200
    (problem,) = api.ask("POST", "/v1/overrides/check", "overrides {\n\tno_path_retry 12\n}\n").json["problems"]
    assert problem["code"] == "overrides-winner" and "'12' goes before '5'" in problem["message"]
    assert api.write("POST", "/v1/config/wwids", {"wwid": WWID}).status == 200
    (problem,) = api.ask("POST", "/v1/overrides/check", 'blacklist {\n\tdevnode ".*"\n}\n').json["problems"]
    assert problem["code"] == "overrides-blacklist" and WWID in problem["message"]
