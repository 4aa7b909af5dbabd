"""Modules of JavaScript joined into one script: a page that is opened from a file imports none."""

import re
from pathlib import Path

_IMPORT = re.compile(r"^import \{([^}]*)\} from '\./(\w+)\.js';\n", re.M)
_EXPORT = re.compile(r"^export ((?:async )?(?:function\*?|class|const) ([\w$]+))", re.M)


def bundle(folder: Path, entry: str) -> str:
    """Return a module and all that it imports as one script.

    Every module becomes a function that returns what it exports, so that names inside stay inside;
    a module stands behind those that it imports. ValueError where modules import one another in a
    circle.
    """
    parts: dict[str, str] = {}
    _add(folder, entry, parts, ())
    return "\n".join(parts.values())


def _add(folder: Path, name: str, parts: dict[str, str], waiting: tuple[str, ...]) -> None:
    if name in waiting:
        raise ValueError(f"{folder / name}.js: a circle of imports, {' → '.join((*waiting, name))}")
    if name in parts:
        return
    text = (folder / f"{name}.js").read_text(encoding="utf-8")
    for _, other in _IMPORT.findall(text):
        _add(folder, other, parts, (*waiting, name))
    text = _IMPORT.sub(lambda found: f"const {{{_renamed(found[1])}}} = from_{found[2]};\n", text)
    exported = ", ".join(found[2] for found in _EXPORT.finditer(text))
    body = _EXPORT.sub(r"\1", text)
    parts[name] = f"const from_{name} = (() => {{\n{body}return {{{exported}}};\n}})();"


def _renamed(names: str) -> str:
    """Return the names of an import as those of a pattern: `a as b` is `a: b` there."""
    return names.replace(" as ", ": ")


def module(folder: Path, exports: dict[str, tuple[str, ...]]) -> str:
    """Return modules with all that they import as one module of JavaScript that exports names, by
    the modules that have them.
    """
    parts: dict[str, str] = {}
    for name in exports:
        _add(folder, name, parts, ())
    lines = [
        f"export const {{{', '.join(names)}}} = from_{name};" for name, names in exports.items()
    ]
    return "\n".join([*parts.values(), *lines, ""])
