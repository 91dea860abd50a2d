"""The option model through the API: all that forms need, and nothing that the tables do not say."""

from typing import Any

from apply.option_tables import REFUSED, TABLES
from apply.options import STORAGE_TYPES


def test_every_option_of_every_kind_of_section_is_told(api: Any) -> None:
    told = api.get("/v1/options")
    assert told["storage_types"] == list(STORAGE_TYPES)
    assert told["options"].keys() == {scope.value for scope in TABLES}
    for scope, table in TABLES.items():
        assert [option["name"] for option in told["options"][scope.value]] == list(table)
    by_name = {option["name"]: option for option in told["options"]["defaults"]}
    assert by_name["polling-interval"] == {
        "name": "polling-interval",
        "group": "checking-and-timing",
        "values": "a whole number 1 to 600 (seconds)",
        "form": {"control": "number", "words": [], "low": 1, "high": 600, "unit": "seconds", "longest": 0},
        "default": "5",
        "since": "",
        "note": "how often paths are checked at first, and while they fail",
        "rendered": True,
        "required": False,
    }
    assert by_name["path-checker"]["form"]["control"] == "choice" and "tur" in by_name["path-checker"]["form"]["words"]
    assert {option["name"] for option in told["options"]["iscsi"] if option["required"]} == {"portals", "target"}


def test_what_is_not_taken_is_told_with_the_reason(api: Any) -> None:
    refused = api.get("/v1/options")["refused"]
    assert refused["defaults"].keys() == REFUSED.keys() and all(refused["defaults"].values())
    assert "set it in defaults" in refused["wwid"]["polling-interval"]
    assert refused["lvm"] == {}
