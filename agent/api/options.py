"""The operation that tells which options there are, for forms."""

from dataclasses import asdict
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from agent.api.responses import json_response
from agent.api.routes import Operation
from agent.node import Node
from apply.option_forms import form_of
from apply.option_tables import TABLES
from apply.options import STORAGE_TYPES, describe


@cache
def options_json() -> dict[str, Any]:
    """Every option by the kind of its section, group by group, and those that no section takes with the reason."""
    options: dict[str, list[dict[str, Any]]] = {scope.value: [] for scope in TABLES}
    refused: dict[str, dict[str, str]] = {scope.value: {} for scope in TABLES}
    forms = {(scope.value, name): asdict(form_of(option.type)) for scope, table in TABLES.items() for name, option in table.items()}
    for row in describe():
        if row.refused:
            refused[row.scope][row.name] = row.refused
        else:
            options[row.scope].append(
                {
                    "name": row.name,
                    "group": row.group,
                    "values": row.type,
                    "form": forms[row.scope, row.name],
                    "default": row.default,
                    "since": row.since,
                    "note": row.note,
                    "rendered": row.rendered,
                    "required": row.required,
                }
            )
    return {"storage_types": list(STORAGE_TYPES), "options": options, "refused": refused}


async def get_options(_: Node, __: Request) -> Response:
    return json_response(options_json())


OPERATIONS = (Operation("GET", "/v1/options", get_options, "The options of each kind of section: values, defaults, what they mean"),)
