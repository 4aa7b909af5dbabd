"""What must not leak: utterances, recordings, passages, places, speakers and texts into the test;
answers without listening.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from earshot.items.audio_blind import AudioBlind
from earshot.tables.items import Item, ItemError
from earshot.text.sentences import compared

SEEN_IN_TRAINING = ("teacher", "pool", "fewshot", "validation")
_PROBE = 4096  # bytes of a file's middle: most files of one length differ there


def _sides(items: Sequence[Item]) -> tuple[set[str], set[str]]:
    """Return the utterances of training items, and those of test items."""
    training = {u for item in items if item.role in SEEN_IN_TRAINING for u in item.utterances}
    return training, {u for item in items if item.role == "test" for u in item.utterances}


def check_splits(items: Sequence[Item], manifest: pd.DataFrame) -> None:
    """Raise ItemError naming what training and test items share: an utterance, passage, location,
    speaker, whole text, or file, be it by its path or by its bytes.

    A passage is a segment where nobody speaks. A device of the test alone is no leak but what the
    test is about.
    """
    columns = ["path", "passage", "location", "speaker", "text"]
    clips = manifest.set_index("id").reindex(columns=columns)
    training, test = (clips.loc[sorted(side)] for side in _sides(items))
    traits = {
        "utterance": lambda used: dict(zip(used.index, used.index, strict=True)),
        "passage": lambda used: _named(used["passage"]),
        "location": lambda used: _named(used["location"]),
        "speaker": lambda used: _named(used["speaker"]),
        "text": _texts,
    }
    for name, trait in traits.items():
        seen, tested = trait(training), trait(test)
        _refuse(name, [tested[one] for one in tested if one in seen])
    paths = [side["path"].dropna().to_dict() for side in (training, test)]
    _refuse("recording", _copies(*paths))


def check_recordings(items: Sequence[Item], mel: Mapping[tuple[str, int], np.ndarray]) -> None:
    """Raise ItemError naming clips of the test that have the very frames of a training clip.

    `mel` holds frames `(T, n_mels)` by clip and view. A recording under two ids is seen also where
    its files differ, in container or in tags.
    """
    training, test = _sides(items)
    seen = {_digest(mel[id, 0]): id for id in sorted(training)}
    digests = {id: _digest(mel[id, 0]) for id in sorted(test)}
    _refuse("recording", [f"{id} = {seen[one]}" for id, one in digests.items() if one in seen])


def _digest(frames: np.ndarray) -> bytes:
    return sha256(frames.tobytes()).digest()


def _named(values: pd.Series) -> dict[str, str]:
    return {value: value for value in values.dropna()}


def _texts(used: pd.DataFrame) -> dict[str, str]:
    """Return texts by what tells sentences apart, without those that anybody may say."""
    texts = sorted(set(used["text"].dropna()))
    return {key: text for text in texts if (key := compared(text, ENGLISH_STOP_WORDS))}


def _copies(training: Mapping[str, str], test: Mapping[str, str]) -> list[str]:
    """Return `id = id` of test and training for each file of the test that is also a file of the
    training, by path or by content; both are paths by id.

    Files are read only as far as they are alike: sizes, then some bytes, then all.
    """
    for look in (_size, _probe, _content):
        training, test = _alike(training, test, look)
    first = {_content(path): id for id, path in training.items()}
    return [f"{id} = {first[_content(path)]}" for id, path in test.items()]


def _alike(
    one: Mapping[str, str], other: Mapping[str, str], look: Callable[[str], object]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the paths of both sides that look like one of the other side."""
    seen = [{id: look(path) for id, path in side.items()} for side in (one, other)]
    shared = set(seen[0].values()) & set(seen[1].values())
    return (
        {id: one[id] for id, value in seen[0].items() if value in shared},
        {id: other[id] for id, value in seen[1].items() if value in shared},
    )


def _size(path: str) -> object:
    """Return the bytes of a file, or its path where there is no such file to look into."""
    file = Path(path)
    return file.stat().st_size if file.is_file() else str(file)


def _probe(path: str) -> object:
    file = Path(path)
    if not file.is_file():
        return str(file)
    with open(file, "rb") as content:
        content.seek(max(file.stat().st_size // 2 - _PROBE // 2, 0))
        return content.read(_PROBE)


def _content(path: str) -> object:
    file = Path(path)
    return sha256(file.read_bytes()).digest() if file.is_file() else str(file)


def _refuse(name: str, shared: Iterable[str]) -> None:
    """Raise ItemError that names the first of what is shared, if anything is."""
    found = sorted(shared)
    if found:
        examples = ", ".join(found[:3])
        raise ItemError(f"leak: {len(found)} {name}(s) are in training and test: {examples}")


def check_audio_blind(items: Sequence[Item]) -> float:
    """Return the accuracy on test items of a control trained on teacher items; ItemError when it
    beats chance.

    It may pass chance by what its 95% interval and four points allow.
    """
    test = [item for item in items if item.role == "test"]
    answers = AudioBlind([item for item in items if item.role == "teacher"]).predict(test)
    right = sum(int(answers[item.id].argmax() == item.answer) for item in test)
    chance = float(np.mean([1 / len(item.options) for item in test]))
    lowest = scipy.stats.binomtest(right, len(test)).proportion_ci(0.95, method="exact").low
    if lowest > chance + 0.04:
        raise ItemError(
            f"leak: without audio {right} of {len(test)} test items are answered right; chance "
            f"is {chance:.0%}"
        )
    return right / len(test)
