"""What every package and module promises of itself."""

import ast
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
INITS = [path for path in MODULES if path.name == "__init__.py"]


def test_all_packages_are_found() -> None:
    assert set(PACKAGES) == {"agent", "apply", "gossip", "store"}
    assert {Path(package, "__init__.py") for package in PACKAGES} <= set(INITS)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_opens_with_a_sentence(path: Path) -> None:
    if path.parts[:2] == ("store", "migrations") and path.parent.name == "versions":
        return
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    assert docstring, f"{path} has no docstring"
    first = docstring.partition("\n\n")[0]
    assert first.rstrip().endswith((".", ":")), f"{path} opens with no full sentence: {first!r}"


@pytest.mark.parametrize("path", INITS, ids=str)
def test_what_a_package_says_it_exports_is_what_it_exports(path: Path) -> None:
    module = import_module(".".join(path.parent.parts))
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    bound: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in statement.names} if statement.module != "typing" else set()
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(statement.name)
        elif isinstance(statement, ast.Assign):
            bound |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    bound.discard("__all__")
    exported = getattr(module, "__all__", None)
    if exported is None:
        assert not bound, f"{path} binds {sorted(bound)} and has no __all__"
        return
    assert len(exported) == len(set(exported))
    assert all(hasattr(module, name) for name in exported)
    local = {name for name in bound if not name.startswith("_")} | {name for name in bound if name.startswith("__")}
    if path.parent != Path("agent/cli"):  # which imports its root command for `main` alone
        assert local == set(exported)
