"""The reference of the API is what the API says."""

from pathlib import Path

from agent.api import reference
from agent.api.app import OPERATIONS
from agent.api.errors import CODES


def test_the_file_is_up_to_date() -> None:
    file = Path(__file__).parents[3] / "docs" / "api.md"
    assert file.read_text(encoding="utf-8") == reference.api(), "run python -m agent.api.reference"


def test_every_operation_body_and_code_is_in_it() -> None:
    text = reference.api()
    for operation in OPERATIONS:
        assert f"`{operation.method} {operation.path.replace(':path}', '}')}`" in text
        if operation.body is not None:
            fields = operation.body.__annotations__
            assert all(f"| `{operation.body.__name__}` | `{name}` |" in text for name in fields)
    assert all(f"| `{code}` |" in text for code in CODES)
