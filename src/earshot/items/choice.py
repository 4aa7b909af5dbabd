"""Multiple choice: questions about passages, and what must not leak from them into the test."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from earshot.items import leaks, librisqa, passages, questions
from earshot.items.audio_blind import AudioBlind
from earshot.params import FewShot
from earshot.tables import items
from earshot.tables.items import Item


def build(
    manifest: pd.DataFrame, accepted: Iterable[str], params: FewShot, seed: int
) -> list[Item]:
    """Return the ten questions, the questions of teacher, pool, validation and test, and the
    paper's protocol.

    LibriSQA's are about single utterances, and have no paper's protocol beside them.
    """
    if params.librisqa is not None:
        return librisqa.build(manifest, accepted, params, seed)
    cut = passages.passages(manifest, accepted, params.passage_seconds)
    groups = dict(zip(manifest["id"], manifest["passage"], strict=True))
    return questions.build(lambda split: [p for p in cut if p.split == split], params, seed, groups)


def check(every: Sequence[Item], manifest: pd.DataFrame) -> dict[str, Any]:
    """Raise ItemError where something leaks into the test; return each role's items by skill and
    minutes of audio.

    LibriSQA's questions are taken as they are: what can be answered without listening is reported,
    and no error.
    """
    items.check_options(every, items.SKILLS)
    leaks.check_splits(every, manifest)
    published = any(item.id.startswith(librisqa.ID) for item in every)
    report: dict[str, Any] = {
        "audio_blind_accuracy": _audio_blind(every)
        if published
        else leaks.check_audio_blind(every),
        "items": {},
    }
    for role in items.ROLES:
        of_role = [item for item in every if item.role == role]
        report["items"][role] = {"all": len(of_role), **Counter(item.skill for item in of_role)}
    return report | {"minutes": items.minutes(every, manifest)}


def _audio_blind(every: Sequence[Item]) -> float:
    """Return the accuracy on test items of a control trained on teacher items, whatever it is."""
    test = [item for item in every if item.role == "test"]
    answers = AudioBlind([item for item in every if item.role == "teacher"]).predict(test)
    return float(np.mean([answers[item.id].argmax() == item.answer for item in test]))
