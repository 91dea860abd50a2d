"""The bounds, and the document that lists them."""

import re
from pathlib import Path

import pytest

from store.limits import LIMITS, limit, limits_markdown

ROOT = Path(__file__).parents[2]


def test_the_document_lists_the_limits() -> None:
    document = (ROOT / "docs" / "limits.md").read_text()
    table = "".join(line for line in document.splitlines(keepends=True) if line.startswith("|"))
    assert table == limits_markdown(), "docs/limits.md: replace the table by what store.limits.limits_markdown() gives"
    assert document.startswith("# Limits\n")


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_says_why_and_what_happens(name: str) -> None:
    entry = LIMITS[name]
    assert limit(name) == entry.value > 0
    assert entry.unit
    assert entry.reason
    assert entry.effect
    assert re.fullmatch(r"[a-z_]*", entry.counter)
    assert "|" not in entry.reason + entry.effect


def test_an_unknown_limit_is_a_fault_of_the_program() -> None:
    with pytest.raises(KeyError):
        limit("no-such")


def test_every_counter_is_counted_somewhere() -> None:
    files = [p for package in ("store", "gossip", "apply", "agent") for p in (ROOT / package).rglob("*.py")]
    code = "".join(p.read_text() for p in files if p.name != "limits.py")
    assert [entry.counter for entry in LIMITS.values() if entry.counter and f'"{entry.counter}"' not in code] == []
