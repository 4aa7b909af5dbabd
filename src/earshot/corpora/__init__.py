"""Corpora: whatever the source, one manifest.

A corpus is a module with `build(params, folder, seed) -> Iterator[Clip]`. It reads the corpus that
its section of the parameters describes, or makes it in `folder`, and yields its clips in a fixed
order; the utterances of a passage follow one another. One that reads what the user hands in also
has `files(params) -> list[Path]`: what it reads beside the recordings, as far as it is there.
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from earshot.tables.manifest import Clip


def _build(module: str, params: Any, folder: Path, seed: int) -> Iterator[Clip]:
    return import_module(f"earshot.corpora.{module}").build(params, folder, seed)


def _files(module: str, params: Any) -> list[Path]:
    return import_module(f"earshot.corpora.{module}").files(params)


# Loaded when used: a stage that reads manifests does not depend on how each corpus is made.
CORPORA: dict[str, Callable[[Any, Path, int], Iterator[Clip]]] = {
    "synthetic_speech": partial(_build, "synthetic.speech"),
    "synthetic_scenes": partial(_build, "synthetic.scenes"),
    "open_speech": partial(_build, "open_speech"),
    "open_languages": partial(_build, "open_languages"),
    "librispeech": partial(_build, "librispeech"),
    "common_voice": partial(_build, "common_voice"),
    "tau2022": partial(_build, "tau2022"),
    "manifest": partial(_build, "csv_table"),
    "recordings": partial(_build, "recordings"),
    "languages": partial(_build, "languages"),
}

# What they read beside the recordings; the others make all that they read.
_FILES: dict[str, Callable[[Any], list[Path]]] = {
    "librispeech": partial(_files, "librispeech"),
    "common_voice": partial(_files, "common_voice"),
    "tau2022": partial(_files, "tau2022"),
    "manifest": partial(_files, "csv_table"),
    "recordings": partial(_files, "recordings"),
    "languages": partial(_files, "languages"),
}


def files(params: Any) -> list[Path]:
    """Return the files and folders that a corpus reads beside its recordings, if they are there."""
    return [path for path in _FILES.get(params.name, _none)(params) if path.exists()]


def _none(params: Any) -> list[Path]:
    return []
