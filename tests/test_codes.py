"""Every code that a node says of its host is explained in docs/operations.md; the codes are read from the code itself."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from store.matrix import Reporter

ROOT = Path(__file__).parents[1]
WORDS = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")
_NOTE = re.compile(rf"({WORDS.pattern}): ")
_HEALTH = ("apply.health", "apply.classify", "apply.nvme", "apply.observation", "apply.collect", "agent.poll_loop", "store.matrix")
"""Where the reasons and flags of maps and native NVMe subsystems are said."""


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())


def text(node: ast.AST | None) -> str:
    """What a string literal says; empty for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def chosen(node: ast.AST) -> set[str]:
    """The literals that an expression may give: one, or either of two."""
    if isinstance(node, ast.IfExp):
        return chosen(node.body) | chosen(node.orelse)
    return {text(node)} - {""}


def name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def imported(start: str) -> list[str]:
    """A module, and those of its own package that it needs, and those that these need."""
    package, found, left = start.split(".")[0], set[str](), [start]
    while left:
        module = left.pop()
        if module in found or not (ROOT / f"{module.replace('.', '/')}.py").exists():
            continue
        found.add(module)
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package:
                left += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    return sorted(found)


def constant(module: str, name: str) -> str:
    """The string that a name stands for in a module, if need be in the one that it comes from; empty if it is none."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and name_of(node.targets[0]) == name:
            return text(node.value)
        if isinstance(node, ast.ImportFrom) and node.module and any(each.name == name for each in node.names):
            return constant(node.module, name)
    return ""


def errors_and_notes(module: str) -> Iterator[str]:
    """The codes of the `ApplyError`s that a module makes, named by a literal or by a constant."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call) and name_of(node.func) == "ApplyError" and node.args:
            yield from chosen(node.args[0]) or {constant(module, name_of(node.args[0]))} - {""}


def faults_of_the_host(module: str) -> Iterator[str]:
    """The codes of what a module raises when the host refuses something; a user's own mistakes are not told of by other nodes."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call) and name_of(node.func) != "UsageError":
            for keyword in node.keywords:
                if keyword.arg == "code":
                    yield from chosen(keyword.value)
        if isinstance(node, ast.AnnAssign | ast.Assign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if name_of(targets[0]) == "default_code":
                yield text(node.value)


def notes_of_a_node(path: Path) -> Iterator[str]:
    """The codes that notes about a node begin with, or are."""
    for node in ast.walk(ast.parse(path.read_text())):
        if found := _NOTE.match(text(node)):
            yield found[1]
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "notes.append" and WORDS.fullmatch(text(node.args[0])):
            yield text(node.args[0])


def spoken_by_others(node: ast.AST) -> list[ast.AST]:
    """Literals that are looked up or compared with, and names of tasks: not said by us."""
    if isinstance(node, ast.Dict):
        return [key for key in node.keys if key is not None]
    if isinstance(node, ast.Set):
        return [*node.elts]
    if isinstance(node, ast.Compare):
        return [*node.comparators]
    return [each.value for each in node.keywords if each.arg == "name"] if isinstance(node, ast.Call) else []


def reasons(module: str) -> Iterator[str]:
    """The literals of a module that read as codes, and those of one word that join other reasons."""
    nodes = list(ast.walk(tree(module)))
    others = {id(part) for node in nodes for each in spoken_by_others(node) for part in ast.walk(each)}
    for node in nodes:
        if id(node) not in others and WORDS.fullmatch(text(node)):
            yield text(node)
        if isinstance(node, ast.Tuple) and any(isinstance(e, ast.Starred) and "reasons" in ast.unparse(e) for e in node.elts):
            yield from (text(each) for each in node.elts if text(each))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("reasons.append", "faults.append", "flags.append"):
            yield from chosen(node.args[0])
        if isinstance(node, ast.FunctionDef) and node.name.endswith("_reason"):
            yield from (code for part in ast.walk(node) if isinstance(part, ast.Return) and part.value for code in chosen(part.value))


def said() -> dict[str, set[str]]:
    """Every code, by what it is."""
    applying = [*imported("apply.reconcile"), "agent.apply_loop", "agent.knowledge"]
    return {
        "apply error or note": {code for module in applying for code in (*errors_and_notes(module), *faults_of_the_host(module))},
        "note of a node": {
            code for folder in ("apply", "agent") for path in (ROOT / folder).glob("*.py") for code in notes_of_a_node(path)
        },
        "reason or flag": {code for module in _HEALTH for code in reasons(module)}
        | {f"reporter-{each}" for each in Reporter if each is not Reporter.FRESH},
    }


CODES = [(kind, code) for kind, codes in said().items() for code in sorted(codes)]


@pytest.mark.parametrize(("kind", "code"), CODES, ids=[code for _, code in CODES])
def test_it_is_explained(kind: str, code: str) -> None:
    rows = [line for line in (ROOT / "docs/operations.md").read_text().splitlines() if line.startswith("|")]
    assert any(f"`{code}`" in line.split("|")[1] for line in rows), f"docs/operations.md has no row for the {kind} `{code}`"


def test_codes_of_every_form_are_gathered() -> None:
    found = said()
    assert {"alias-conflict", "local-file-broken", "udev-not-told", "wwids-readonly", "daemon-down"} <= found["apply error or note"]
    assert {"disabled-cmdline", "initramfs-unread", "clock-skew", "no-kernel-events"} <= found["note of a node"]
    assert {"path-sizes-differ", "suspended", "recovering", "blacklisted", "create-failed", "not-collected", "merged-luns"} <= found[
        "reason or flag"
    ]
    assert not {"non-optimized", "host-checks"} & found["reason or flag"], "these are another's word, and a task's name"


def storage_reasons() -> set[str]:
    """What a storage's cell may bear: what the doctor knows of, and how logins fail."""
    found = {text(key) for node in ast.walk(tree("agent.storage_findings")) if isinstance(node, ast.Dict) for key in node.keys}
    meanings = next(node for node in tree("apply.iscsi").body if isinstance(node, ast.AnnAssign) and name_of(node.target) == "MEANINGS")
    found |= {text(part.elts[0]) for part in ast.walk(meanings) if isinstance(part, ast.Tuple) and len(part.elts) == 3}
    assert {"vg-missing", "iscsid-down", "storages-not-looked-at"} <= found
    return {code for code in found if WORDS.fullmatch(code)} | {"permission", "session-missing", "login-failed"}


@pytest.mark.parametrize("code", sorted(said()["reason or flag"] | storage_reasons() | {"permission", "command-failed"}))
def test_the_page_has_words_for_it(code: str) -> None:
    words = (ROOT / "agent/web/static/strings/en.js").read_text()
    assert f'"reason.{code}": ' in words, f"agent/web/static/strings has no text for {code}"
