"""Corpora: whatever the source, one manifest.

A corpus is a module with `build(params, folder, seed) -> Iterator[Clip]`. It reads the corpus that
its section of the parameters describes, or makes it in `folder`, and yields its clips in a fixed
order; the utterances of a passage follow one another.
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from earshot.tables.manifest import Clip


def _build(module: str, params: Any, folder: Path, seed: int) -> Iterator[Clip]:
    return import_module(f"earshot.corpora.{module}").build(params, folder, seed)


# Loaded when used: a stage that reads manifests does not depend on how each corpus is made.
CORPORA: dict[str, Callable[[Any, Path, int], Iterator[Clip]]] = {
    "synthetic_speech": partial(_build, "synthetic.speech"),
    "synthetic_scenes": partial(_build, "synthetic.scenes"),
    "librispeech": partial(_build, "librispeech"),
    "common_voice": partial(_build, "common_voice"),
    "tau2022": partial(_build, "tau2022"),
    "manifest": partial(_build, "csv_table"),
}
