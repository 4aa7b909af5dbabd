"""Presets for params.yaml: a profile overwrites some of its values, comments stay.

A profile is laid over the values of `embedded`, which sets back whatever any profile sets: the
order in which profiles were applied leaves no trace. A section of another kind (a corpus of another
name) is replaced whole.
"""

from collections.abc import Mapping
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from earshot.params import ParameterError, parse
from earshot.runtime import yaml_file
from earshot.runtime.files import atomic, read_text
from earshot.workbench.comparison.figures import changes

BASE = "embedded"
KIND = ("name", "source")  # the keys that tell one kind of section from another


def available(folder: Path) -> list[str]:
    """Return the names of the profiles in a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def apply(profile: Path, params: Path) -> list[str]:
    """Write a profile's values into params.yaml and return what changed, `key: old → new` a line.

    The profile `embedded` beside it, if there is one, comes first. Raises ParameterError for a
    profile that is not there (it names those that are), for a key that params.yaml lacks or a value
    out of range; the file is then left alone.
    """
    if not profile.is_file():
        raise ParameterError(
            f"{profile}: no such profile; there are "
            f"{', '.join(available(profile.parent)) or 'none'}"
        )
    yaml = _yaml()
    content = _load(yaml, params)
    before = _plain(content)
    for layer in dict.fromkeys([profile.with_name(f"{BASE}.yaml"), profile]):
        if layer.is_file():
            _merge(content, _load(yaml, layer), "")
    after = _plain(content)
    parse(after)
    found = changes(before, after)
    if found:
        _dump(yaml, content, params)
    return [f"{key}: {old} → {new}" for key, (old, new) in found.items()]


def write(values: Mapping[str, Any], params: Path) -> None:
    """Write values into params.yaml by dotted key; its comments stay.

    Raises ParameterError for a key that params.yaml lacks or a value out of range; the file is then
    left alone.
    """
    yaml = _yaml()
    content = _load(yaml, params)
    assign(content, values)
    parse(_plain(content))
    _dump(yaml, content, params)


def assign(content: Any, values: Mapping[str, Any]) -> None:
    """Set values by dotted key, sections whole; a key behind a tilde goes, as `dvc exp run -S` has
    it.
    """
    for key, value in values.items():
        *above, last = key.removeprefix("~").split(".")
        part = content
        for name in above:
            part = part[name]
        if key.startswith("~"):
            del part[last]
        else:
            part[last] = deepcopy(value)  # a later key may lie in it


def line(value: Any) -> str:
    """Return a value as YAML in one line."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = True, 4096, False
    text = StringIO()
    yaml.dump(value, text)
    return text.getvalue().removesuffix("...\n").strip()


def _dump(yaml: YAML, content: Any, params: Path) -> None:
    _unalign(content)
    with atomic(params) as partial:
        yaml.dump(content, partial)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 4096  # no line is broken anew
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(
        type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml


def _load(yaml: YAML, path: Path) -> Any:
    """Return what a file holds, comments and all; YamlError says where it is no YAML."""
    content = yaml_file.read(path)
    if not isinstance(content, dict):
        raise ParameterError(f"{path}: {type(content).__name__}, not a mapping of parameters")
    return yaml.load(read_text(path))


def _merge(into: Any, values: Mapping[str, Any], prefix: str) -> None:
    for name, value in values.items():
        if name not in into:
            raise ParameterError(f"profile: {prefix}{name}: no such key in params.yaml")
        both = isinstance(value, Mapping) and isinstance(into[name], Mapping)
        if both and _same_kind(into[name], value):
            _merge(into[name], value, f"{prefix}{name}.")
        else:
            into[name] = value


def _same_kind(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one.get(key) == other[key] for key in KIND if key in other)


def _unalign(node: Any) -> None:
    """Let comments follow their values after one space: they would keep the column that a longer
    value pushed them to.
    """
    if comment := getattr(node, "ca", None):
        ends = [tokens[2] for tokens in comment.items.values() if len(tokens) > 2]
        for token in [*ends, (comment.comment or [None])[0]]:
            if token is not None and not token.value.startswith("\n"):
                token.column = 0
    for value in node.values() if isinstance(node, Mapping) else node:
        if isinstance(value, Mapping | list):
            _unalign(value)


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return float(node) if isinstance(node, float) else node
