"""What dvc.yaml declares, and what the stages really import and read."""

import ast
import re
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


def _module_file(module: str) -> Path | None:
    base = SOURCE / Path(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.exists()), None)


def _imported(file: Path) -> set[Path]:
    """Return the project's files that a file imports, wherever in it the import stands."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {
            file
            for module in modules
            if module.startswith("earshot") and (file := _module_file(module))
        }
        if "declared" in modules:
            found.add(ROOT / "stages/declared.py")
    return found


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
    """Return the keys that a stage script reads, `*` for what is filled in: `tracks.*.teacher`."""
    keys: set[str] = set()
    text = script.read_text()
    for call in re.findall(r'read\(f?"([^"]+)"\)', text):
        keys.add(call)
    expanded: set[str] = set()
    for key in keys:
        if "{part}" in key:
            for parts in re.findall(r'\{part\}"\) for part in \(([^)]*)\)', text):
                expanded |= {
                    key.replace("{part}", part.strip().strip('"')) for part in parts.split(",")
                }
        else:
            expanded.add(key)
    return {re.sub(r"\{[^}]*\}", "*", key) for key in expanded}
