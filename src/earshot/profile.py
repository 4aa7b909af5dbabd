"""Presets for params.yaml: a profile overwrites some of its values, comments stay."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from earshot.files import atomic
from earshot.params import ParameterError, parse


def apply(profile: Path, params: Path) -> list[str]:
    """Write a profile's values into params.yaml and return what changed, `key: old → new` a line.

    Raises ParameterError for a key that params.yaml lacks or a value out of range; the file is then left alone.
    """
    yaml = YAML()
    yaml.width = 125
    yaml.representer.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null"))
    content, changes = yaml.load(params.read_text()), list[str]()
    _merge(content, yaml.load(profile.read_text()), "", changes)
    parse(_plain(content))
    with atomic(params) as partial:
        yaml.dump(content, partial)
    return changes


def _merge(into: Any, values: Mapping[str, Any], prefix: str, changes: list[str]) -> None:
    for name, value in values.items():
        if name not in into:
            raise ParameterError(f"profile: {prefix}{name}: no such key in params.yaml")
        if isinstance(value, Mapping):
            _merge(into[name], value, f"{prefix}{name}.", changes)
        elif into[name] != value:
            changes.append(f"{prefix}{name}: {into[name]} → {value}")
            into[name] = value


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return float(node) if isinstance(node, float) else node
