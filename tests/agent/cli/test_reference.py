"""The reference of all commands is what the commands say."""

import re
from pathlib import Path

from agent.cli import reference
from agent.cli.root import root
from apply.option_tables import TABLES
from apply.options import describe


def test_the_files_are_up_to_date() -> None:
    docs = Path(__file__).parents[3] / "docs"
    assert (docs / "commands.md").read_text(encoding="utf-8") == reference.commands(), "run python -m agent.cli.reference"
    assert (docs / "options.md").read_text(encoding="utf-8") == reference.options(), "run python -m agent.cli.reference"


def test_every_command_is_in_it() -> None:
    text = reference.commands()
    assert all(f"`pathmesh {name}" in text for name in root.places)
    assert "`--dry-run`" in text
    assert "\b" not in text


def test_every_option_is_in_the_table_of_its_scope() -> None:
    chapters = dict(zip(TABLES, reference.options().split("\n## ")[1:], strict=True))
    for scope, chapter in chapters.items():
        assert chapter.startswith(scope.value)
        shown = re.findall(r"^\| `([a-z-]+)` \|", chapter, flags=re.MULTILINE)
        assert sorted(shown) == sorted(row.name for row in describe() if row.scope == scope.value)


def test_every_row_has_the_columns_of_its_table() -> None:
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in reference.options().splitlines() if line.startswith("| `")}
    assert widths == {3, 6}
