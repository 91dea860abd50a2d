"""The reference of all commands is what the commands say."""

from pathlib import Path

from agent.cli import reference
from agent.cli.root import root


def test_the_file_is_up_to_date() -> None:
    file = Path(__file__).parents[3] / "docs" / "commands.md"
    assert file.read_text(encoding="utf-8") == reference.commands(), "run python -m agent.cli.reference"


def test_every_command_is_in_it() -> None:
    text = reference.commands()
    assert all(f"`pathmesh {name}" in text for name in root.places)
    assert "`--dry-run`" in text
    assert "\b" not in text
