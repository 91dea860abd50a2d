"""The `bindings` file: the user friendly names (mpatha, mpathb, …) that were given to WWIDs."""

from pathlib import Path

HEADER = (
    "# Multipath bindings, Version : 1.0\n"
    "# NOTE: this file is automatically maintained by the multipath program.\n"
    "# You should not need to edit this file in normal circumstances.\n"
    "#\n"
    "# Format:\n"
    "# alias wwid\n"
    "#\n"
)


def create(file: Path) -> None:
    """Write the file with its header if there is none; the daemon does so even when it gives no such names."""
    if not file.exists():
        file.write_text(HEADER)


def friendly_name(file: Path, wwid: str, prefix: str) -> str:
    """The name bound to the WWID; if there is none, the first free name is bound and written."""
    names: dict[str, str] = {}
    text = file.read_text(errors="surrogateescape") if file.exists() else HEADER
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) == 2:
            names.setdefault(words[0], words[1])
            if words[1] == wwid:
                return words[0]
    number = 1
    while (name := prefix + letters(number)) in names:
        number += 1
    file.write_text(f"{text}{name} {wwid}\n", errors="surrogateescape")
    return name


def letters(number: int) -> str:
    """1 is a, 26 is z, 27 is aa."""
    text = ""
    while number:
        number, digit = divmod(number - 1, 26)
        text = chr(ord("a") + digit) + text
    return text
