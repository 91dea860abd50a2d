"""Links within the documents lead somewhere: to a file that is there, and to a heading in it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(path for pattern in ("*.md", "docs/**/*.md", "packaging/**/*.md") for path in ROOT.glob(pattern))
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(path: Path) -> str:
    """The text without blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """What headings are linked by: lower case, blanks to dashes, nothing else but letters, digits, dashes and underscores."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.*?)\s*$", prose(path), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


def broken(path: Path) -> list[str]:
    """The relative links of a document that lead nowhere."""
    wrong = []
    for link in _LINK.findall(re.sub(r"`[^`]*`", "", prose(path))):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    assert broken(path) == []


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# A `name`, and more\n\n```\n# no heading\n```\n")
    document = tmp_path / "a.md"
    document.write_text(
        "## Here\n[x](b.md) [x](#here) [x](b.md#a-name-and-more) [x](https://y) `[x](no)` [x](no.md) [x](#no) [x](b.md#no-heading)"
    )
    assert broken(document) == ["no.md", "#no", "b.md#no-heading"]
