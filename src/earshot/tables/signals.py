"""Signals: what teachers make of items and utterances, by (signal, id, view), never by position.

A folder holds a sequence store per signal, and an index with their checksums that is written last.
"""

import hashlib
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from earshot.runtime.files import sha256, write_json
from earshot.tables.items import Item, in_language
from earshot.tables.sequences import Store, StoreError

INDEX = "index.json"
TAUGHT = "teachers.json"  # beside students: who taught them
# float32 where losses subtract large numbers; half of that where they look at directions
DTYPES = {
    "logits": "float32",  # (C, 1) of an item
    "hidden": "float16",  # (kept layers, D) of an item
    "layer_logits": "float32",  # (L, C) of an item
    "attention": "float16",  # (L, 12 · 12) of an item
    "front": "float16",  # (T, D) of an utterance
    "posteriors": "float16",  # (T, V) log-posteriors of an item's frames
    "symbols": "int16",  # (L, 1) of an item's transcript, a blank where it has none
    "confidence": "float32",  # (1, 1) of an item's transcript
    "states": "float16",  # (T, kept layers · D) of an item
}


class SignalError(ValueError):
    """Signals that must not be used; the message names folder or file, and the fault."""


def identity(folder: Path) -> str:
    """Return the text that no other teacher has than the one saved in `folder`."""
    return json.dumps(json.loads((folder / "identity.json").read_text()), sort_keys=True)


def for_teacher(items: Sequence[Item], teacher: str) -> list[Item]:
    """Return the items that a teacher, by its identity, answers: those in its language."""
    return in_language(items, json.loads(teacher).get("language") or None)


def key(
    items: Sequence[Item], teacher: str, settings: dict, views: Mapping[str, Sequence[int]]
) -> str:
    """Return the hash of all that signals depend on: items, views of utterances, teacher,
    settings.
    """
    questions = [
        (item.id, item.utterances, item.question, item.options, _views(item, views))
        for item in items
    ]
    return hashlib.sha256(json.dumps([questions, teacher, settings]).encode()).hexdigest()


def _views(item: Item, views: Mapping[str, Sequence[int]]) -> list[int]:
    """Return the views that all utterances of an item have."""
    return sorted(set.intersection(*(set(views[utterance]) for utterance in item.utterances)))


def _keys(
    signal: str, items: Sequence[Item], views: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, int]]:
    """Yield the (id, view) that a signal's store must have, an utterance's once for each item."""
    for item in items:
        ids = item.utterances if signal == "front" else [item.id]
        yield from product(ids, _views(item, views))


def made_by(folder: Path) -> str:
    """Return the identity of the teacher whose signals lie in `folder`."""
    return _index(folder)["teacher"]


def kept(folder: Path) -> frozenset[str]:
    """Return the names of the signals that lie in `folder`."""
    return frozenset(_index(folder)["signals"])


def _index(folder: Path) -> dict:
    try:
        index = json.loads((folder / INDEX).read_text())
        return {name: index[name] for name in ("teacher", "key", "signals")}
    except (OSError, ValueError, KeyError, TypeError):
        raise SignalError(f"{folder}: incomplete cache, no readable {INDEX} in it") from None


def check_taught(students: Path, teachers: Path) -> list[str]:
    """Return the teachers that taught the students in a folder, as its `teachers.json` says.

    SignalError names one that is not there in `teachers` as it was then.
    """
    taught = json.loads((students / TAUGHT).read_text())
    for teacher, was in taught.items():
        if not (teachers / teacher).is_dir() or identity(teachers / teacher) != was:
            raise SignalError(
                f"{students}: taught by another {teacher} than there is now; run `dvc repro`"
            )
    return list(taught)


def write_index(folder: Path, teacher: str, whole: str) -> None:
    """Write what makes the stores of a folder a cache: whose, for what, and their checksums."""
    checksums = {file.stem: sha256(file) for file in sorted(folder.glob("*.parquet"))}
    write_json(folder / INDEX, {"teacher": teacher, "key": whole, "signals": checksums})


class Signals:
    """Read what `teacher.cache` wrote, after checking it against its items and its teacher.

    >>> signals["logits", "pool/lj-1/detail-0", 0].shape
    (12, 1)

    Arrays stay on the disk until they are asked for. With `names` it is those signals alone.

    Raises SignalError naming the first fault: no index, a missing or changed store, another
    teacher, other items, views or settings, a missing item, a value that is not finite.
    """

    def __init__(
        self,
        folder: Path,
        items: Sequence[Item],
        teacher: str,
        settings: dict,
        views: Mapping[str, Sequence[int]],
        names: Container[str] | None = None,
    ):
        index = _index(folder)
        stores = {
            signal: checksum
            for signal, checksum in index["signals"].items()
            if names is None or signal in names
        }
        if index["teacher"] != teacher:
            raise SignalError(f"{folder}: stale cache, made by another teacher than there is now")
        if index["key"] != key(items, teacher, settings, views):
            raise SignalError(f"{folder}: stale cache, made for other items, views or settings")
        self.settings = settings
        self._stores = {
            signal: _checked(folder / f"{signal}.parquet", checksum)
            for signal, checksum in stores.items()
        }
        self.widths = {signal: store.width for signal, store in self._stores.items()}
        for signal, store in self._stores.items():
            for id, view in _keys(signal, items, views):
                if (id, view) not in store:
                    raise SignalError(
                        f"{folder}/{signal}.parquet: incomplete, {id} is missing in view {view}"
                    )

    def __contains__(self, key: tuple[str, str, int]) -> bool:
        signal, id, view = key
        return signal in self._stores and (id, view) in self._stores[signal]

    def __getitem__(self, key: tuple[str, str, int]) -> np.ndarray:
        """Return the array `(T, W)` of (signal, id, view); KeyError where there is none."""
        signal, id, view = key
        return self._stores[signal][id, view]


def _checked(path: Path, checksum: str) -> Store:
    """Open a store whose bytes and values are as they were written."""
    if not path.exists():
        raise SignalError(f"{path}: missing")
    if sha256(path) != checksum:
        raise SignalError(f"{path}: damaged, its checksum is not the recorded one")
    try:
        store = Store(path)
        for (id, _), array in store.items():
            if not np.isfinite(array).all():
                raise SignalError(f"{path}: {id} has values that are not finite")
    except StoreError as error:
        raise SignalError(str(error)) from None
    return store


class Averaged:
    """Several teachers' signals as those of one: the mean of their logits, and what one alone has.

    z̄ = (1/K) Σₖ zₖ over K teachers, before the softmax: softmax(z̄) is the geometric mean of their
    probabilities, made to sum to one. DCASE's ensembles teach so: "logits from teachers are
    averaged to generate soft targets", and one of them is chosen for features (Li et al. 2025,
    arXiv 2507.19557). What makes good members: Morocutti et al. 2025, arXiv 2503.11363.

    Teachers of one language each have answered different items. An item may have no signal (`in`):
    no teacher is of its language.

    Frames and vectors of different networks have no units in common; SignalError names a signal
    other than logits that several have of an item, or none of any.
    """

    def __init__(self, teachers: Mapping[str, Signals]):
        self._teachers = teachers
        self.settings = next((one.settings for one in teachers.values()), {})
        of_all = [one.widths for one in teachers.values()]
        self.widths = {name: width for widths in of_all for name, width in widths.items()}

    def __contains__(self, key: tuple[str, str, int]) -> bool:
        return any(key in of for of in self._teachers.values())

    def __getitem__(self, key: tuple[str, str, int]) -> np.ndarray:
        """Return the array `(T, W)` of (signal, id, view); KeyError where a teacher has none."""
        signal = key[0]
        having = [name for name, of in self._teachers.items() if key in of]
        if len(having) == 1:
            return self._teachers[having[0]][key]
        if not having and signal in self.widths:
            raise KeyError(key)
        if signal != "logits" or not having:
            who = f"several have it, {having}" if having else f"none of {list(self._teachers)} has"
            raise SignalError(f"signal {signal!r} must come from one teacher: {who}")
        logits = [self._teachers[name][key] for name in having]  # (C, 1) each
        return np.mean(logits, axis=0, dtype=np.float64).astype(np.float32)
