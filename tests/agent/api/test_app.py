"""The OpenAPI document: it is one, and it lists what there is."""

import re
from typing import Any

from agent.api.app import OPERATIONS, make_app, openapi
from agent.api.routes import Access

METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {value["$ref"]} if isinstance(value.get("$ref"), str) else set().union(*map(references, value.values()), set())
    return set().union(*map(references, value), set()) if isinstance(value, list) else set()


def test_the_table_names_no_operation_twice() -> None:
    assert len({(o.method, o.path) for o in OPERATIONS}) == len(OPERATIONS)


def test_the_served_document_is_the_table(lone: Any) -> None:
    document = lone.get("/v1/openapi.json")
    assert document == openapi()
    listed = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert listed == {(o.method, o.path.replace(":path}", "}")) for o in OPERATIONS}


def test_every_route_of_the_application_is_in_the_table(lone: Any) -> None:
    for route in make_app(lone.node).routes:
        methods = {o.method for o in OPERATIONS if o.path == route.path}
        assert route.methods - {"HEAD"} == methods


def test_the_document_is_valid_openapi() -> None:
    document = openapi()
    assert document["openapi"].startswith("3.1.")
    assert document["info"].keys() >= {"title", "version"}
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= schemas
    for path, item in document["paths"].items():
        assert path.startswith("/") and item.keys() <= METHODS
        for operation in item.values():
            assert operation["summary"]
            assert "default" in operation["responses"] and all(r["description"] for r in operation["responses"].values())
            inside = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
            assert inside == re.findall(r"{(\w+)}", path)
            assert all(p["required"] for p in operation["parameters"] if p["in"] == "path")
            assert all(p["in"] in ("path", "query", "header") and p["schema"]["type"] for p in operation["parameters"])
            assert len({(p["name"], p["in"]) for p in operation["parameters"]}) == len(operation["parameters"])


def test_guarded_operations_ask_for_the_digest() -> None:
    for o in OPERATIONS:
        parameters = openapi()["paths"][o.path.replace(":path}", "}")][o.method.lower()]["parameters"]
        assert any(p["name"] == "If-Match" for p in parameters) is o.digest
        assert {p["name"] for p in parameters if p["in"] == "query"} == set(o.query)


def test_reading_needs_no_rights_and_changing_does() -> None:
    """Checking a text changes nothing, and a link does no more than its user; a recording and sessions are of more than their reader."""
    reads, writes = {"/v1/overrides/check", "/v1/web/links"}, {"/v1/recording", "/v1/web/sessions"}
    reading = {o for o in OPERATIONS if (o.method == "GET" and o.path not in writes) or o.path in reads}
    assert {o for o in OPERATIONS if o.access is Access.READ} == reading
