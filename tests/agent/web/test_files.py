"""The page's files: all there, nothing from elsewhere, nothing inline, both languages the same."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agent.web.files import STATIC, TYPES, load_files

FILES = load_files()
TEXT = {name: file.data.decode() for name, file in FILES.items()}
SCRIPTS = [name for name in FILES if name.endswith(".js")]
PAGES = [name for name in FILES if name.endswith(".html")]


def test_every_file_is_served() -> None:
    assert {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()} == set(FILES)
    assert {"index.html", "login.html", "main.js", "style.css"} <= set(FILES)
    assert all(file.etag.startswith('"') and file.media_type in TYPES.values() for file in FILES.values())


def test_nothing_that_is_no_file_of_the_page_is_served(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/b.js", "c.py", "d.js~", ".e"):
        (tmp_path / name).write_text("x")
    assert set(load_files(tmp_path)) == {"a/b.js"}


@pytest.mark.parametrize("name", PAGES)
def test_pages_have_nothing_inline_and_nothing_from_elsewhere(name: str) -> None:
    text = TEXT[name]
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", text)
    for address in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert address == "#main" or address.removeprefix("/static/") in FILES, address


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_what_is_there_and_write_no_markup(name: str) -> None:
    text = TEXT[name]
    code = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
    for target in re.findall(r'(?:from|import\()\s*"([^"]+)"', code):
        assert target.startswith("."), target
        found = (STATIC / name).parent.joinpath(target).resolve()
        assert found.relative_to(STATIC).as_posix() in FILES, target
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc", code)
    assert text.startswith("//"), "a module opens with what it is"


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".css")])
def test_styles_load_nothing(name: str) -> None:
    assert not re.search(r"url\(|@import", TEXT[name])


def catalogue(language: str) -> dict[str, str]:
    """The keys of a catalogue with all that stands behind each."""
    return dict(re.findall(r'^  "([^"]+)": (.*),$', TEXT[f"strings/{language}.js"], re.MULTILINE))


def test_both_languages_say_the_same_things() -> None:
    english, german = catalogue("en"), catalogue("de")
    assert list(english) == list(german), "the same keys in the same order"
    assert len(english) == TEXT["strings/en.js"].count('": '), "every line is a key with its text, and no key is there twice"
    for key, text in english.items():
        assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", german[key])), key
        assert text.startswith("{") == german[key].startswith("{"), key
        assert not text.startswith("{") or ("one:" in text and "other:" in text and "other:" in german[key]), key


def test_every_text_that_is_asked_for_is_there_and_every_one_is_used() -> None:
    english = catalogue("en")
    pages = "".join(TEXT[name] for name in PAGES)
    code = "".join(TEXT[name] for name in SCRIPTS if not name.startswith("strings/"))
    asked = set(re.findall(r'\bt\("([^"]+)"', code)) | set(re.findall(r'data-(?:text|label|placeholder)="([^"]+)"', pages))
    assert asked <= set(english), asked - set(english)
    parts = set(re.findall(r"`([a-z.-]+\.)\$\{", code))
    quoted = set(re.findall(r'"([a-z][\w-]*\.[\w.-]+)"', code))
    unused = [key for key in english if key not in asked | quoted and not any(key.startswith(part) for part in parts)]
    assert unused == []


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    build = "import hatchling.build, sys; print(hatchling.build.build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=root, capture_output=True, text=True, timeout=120, check=True)
    with zipfile.ZipFile(tmp_path / done.stdout.strip().splitlines()[-1]) as wheel:
        names = set(wheel.namelist())
    assert {f"agent/web/static/{name}" for name in FILES} <= names
