"""Caching a full-size teacher's answers against a bare loop over the same passages.

Both decode, run all layers and the head. The cache adds batches with padding, float16, Parquet,
checksums and syncing.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model
from transformers.utils import logging

from bench.features import make_clips
from bench.rounds import Result, Target, interleave, rows
from earshot.features import audio
from earshot.features.recordings import Recordings
from earshot.params import Cache, Text
from earshot.params import Teacher as TeacherParams
from earshot.tables.items import Item
from earshot.tasks.choice import Choice
from earshot.teacher import cache
from earshot.teacher.frames import signals
from earshot.teacher.wav2vec2 import Teacher
from earshot.training.batches import by_audio, collate
from earshot.training.output import run

TEXT = Text()
TASK = Choice(TEXT)
BASE = Wav2Vec2Config()  # its defaults are wav2vec2-base
QUESTIONS = 4  # a passage, as in the pool
OPTIONS = (
    "a red bike|two lamps|rain boots|an old map|green tea|a wool coat|warm bread|a tin drum".split(
        "|"
    )
)


def random_teacher(
    folder: Path, config: Wav2Vec2Config = BASE, tuned_layers: int = 2
) -> TeacherParams:
    """Save a random wav2vec 2.0 encoder; return the parameters that load it."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return TeacherParams(
        track="any", checkpoint=str(folder), tuned_layers=tuned_layers, epochs=1, text=TEXT
    )


def ask(utterances: Sequence[str], role: str = "pool", options: int = len(OPTIONS)) -> list[Item]:
    """Return QUESTIONS items about each utterance, with answers in turn."""
    return [
        Item(
            id=f"{role}/{utterance}/{number}",
            role=role,
            skill="detail",
            passage=utterance,
            utterances=(utterance,),
            question="Which of these words do you hear?",
            options=tuple(OPTIONS[:options]),
            answer=number % options,
        )
        for utterance in utterances
        for number in range(QUESTIONS)
    ]


def measure(rounds: int = 5, passages: int = 8, config: Wav2Vec2Config = BASE) -> Result:
    """Return passages per second for a random teacher of this shape."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as made:
        paths = make_clips(Path(made), passages, sentences=1)
        manifest = pd.DataFrame(
            {"id": [path.stem for path in paths], "path": list(map(str, paths))}
        )
        params = random_teacher(Path(made, "teacher"), config)
        model = Teacher(params, TASK).eval()
        items = ask(list(manifest["id"]))
        groups = [(utterances, 0, about) for utterances, about in by_audio(items).items()]
        recordings = Recordings(manifest)
        asker = partial(signals, model, TASK, recordings, Cache())

        @torch.inference_mode()
        def bare() -> None:
            for group in groups:
                (utterance,) = group[0]
                hidden = model.lower(recordings[utterance, 0]).states[-1]
                run(model, TASK, collate([group], {(utterance, 0): hidden.numpy()}, TASK))

        def cached() -> None:
            with TemporaryDirectory() as out:
                cache.write(Path(out), asker, "random", items, recordings.views, Cache())

        spent = interleave({"bare loop": bare, "teacher cache": cached}, rounds, "teacher")
        seconds = sum(audio.header(path)[0] for path in paths)
    table = rows(
        {name: [passages / s for s in each] for name, each in spent.items()}, base="bare loop"
    )
    return Result(
        title="Teacher: caching its answers",
        note=f"{passages} passages, {seconds:.0f} s of speech, {QUESTIONS} questions "
        f"each; random weights, "
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.0f} M parameters.",
        unit="passages per second",
        ratio="÷ bare loop",
        rows=table,
        targets=[Target("teacher cache ÷ bare loop", table["teacher cache"].ratio.median, 0.9)],
    )
