"""What one would try first instead of a student: a recogniser's transcript, and a rule.

The answer is the option of which the transcript has the largest share of words; of equal ones the
first.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from earshot.evaluation import metrics
from earshot.features.recordings import Recordings
from earshot.items.languages import every_word
from earshot.params import Teacher, parse
from earshot.runtime import yaml_file
from earshot.runtime.files import write_json
from earshot.tables import items
from earshot.tables.items import Item
from earshot.tables.manifest import read_manifest
from earshot.teacher.whisper import Whisper

NAME = "cascade"
STUDENT = "kd_pool"


def add(quality: Path, track: str, checkpoint: str) -> None:
    """Add to quality.json what the cascade scores on a track's test items, in the working folder
    of a run that has ended, and the gain of `kd_pool` over it.
    """
    torch.set_num_threads(1)  # as stages: more wait for one another where cores are busy
    params = parse(yaml_file.read("params.yaml"))
    data = Path("data") / track
    test = items.read(data / "items.parquet", "test")
    recogniser = Whisper(Teacher(track=track, checkpoint=checkpoint, epochs=0, language="en"), None)
    written = _transcripts(recogniser, Recordings(read_manifest(data / "manifest.parquet")), test)
    chosen = {item.id: choose(item.options, written[item.utterances]) for item in test}
    ids = [item.id for item in test]
    right = np.array([item.answer for item in test])
    passages = np.array([item.passage for item in test])
    drawn = {"resamples": params.tracks[track].evaluate.resamples, "seed": params.seed}
    cascade = metrics.stack([chosen], ids)
    student = metrics.stack(_answers(Path("models") / track / "answers.parquet", STUDENT), ids)
    content = json.loads(quality.read_text(encoding="utf-8"))
    content[NAME] = metrics.score(cascade, right, passages, {}, **drawn)
    gain = metrics.paired_gain(student, cascade, right, passages, **drawn)
    content["gain"][f"{STUDENT}_vs_{NAME}"] = gain
    write_json(quality, content)


def _answers(path: Path, model: str) -> list[metrics.Answers]:
    """Return a model's probabilities by item, a mapping a seed."""
    table = pd.read_parquet(path)
    of_model = table[table["model"] == model]
    return [
        dict(zip(seed["item"], seed["probabilities"], strict=True))
        for _, seed in of_model.groupby("seed")
    ]


def choose(options: tuple[str, ...], transcript: str) -> np.ndarray:
    """Return the probabilities of options `(C,)`: those whose words the transcript has most of."""
    known = set(every_word(transcript, "en"))
    of_options = [every_word(one, "en") for one in options]
    shares = np.array([np.mean([word in known for word in one]) for one in of_options])
    best = shares == shares.max()
    return best / best.sum()


def _transcripts(
    recogniser: Whisper, recordings: Recordings, test: list[Item]
) -> dict[tuple[str, ...], str]:
    """Return what a recogniser writes of each passage, by its utterances."""
    passages = dict.fromkeys(item.utterances for item in test)
    return {
        one: recogniser.transcribe([recordings.passage(one)])[0].text
        for one in tqdm(passages, NAME, unit="passage")
    }
