"""What dvc.yaml declares, and what the stages really import and read."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


def stages() -> dict[str, dict]:
    """Return each stage's block (the `do` of a foreach)."""
    return {
        name: block["do"]
        for name, block in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
    }


def paths(entries: list) -> set[str]:
    """Return the paths of a list of deps, outs, metrics or plots, options left out."""
    return {path for entry in entries for path in (entry if isinstance(entry, dict) else [entry])}


@cache
def _module_file(module: str) -> Path | None:
    base = SOURCE / Path(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.exists()), None)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that only type checkers look at."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from _nodes(node)


@cache
def _imported(file: Path) -> frozenset[Path]:
    """Return the project's files that a file imports, wherever in it the import stands."""
    found: set[Path] = set()
    for node in _nodes(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        files = [_module_file(name) for name in modules if name.startswith("earshot")]
        found |= set(filter(None, files))
        if "declared" in modules:
            found.add(ROOT / "stages/declared.py")
    return frozenset(found)


def imports(file: Path) -> set[str]:
    """Return all project files that a script needs, itself and packages included, relative to the
    root.
    """
    seen, todo = set(), {file}
    while todo:
        one = todo.pop()
        seen.add(one)
        todo |= _imported(one) - seen
        if (
            SOURCE in one.parents
            and (package := one.parent / "__init__.py").exists()
            and package not in seen
        ):
            todo.add(package)
    return {str(path.relative_to(ROOT)) for path in seen}


def parameters_read(script: Path) -> set[str]:
    """Return the keys that a stage script reads, `*` for what is filled in: `tracks.*.task`."""
    keys = set()
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "read":
            (argument,) = node.args
            keys.add(re.sub(r"\{[^}]*\}", "*", ast.unparse(argument).strip("f'\"")))
    return keys
