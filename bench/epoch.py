"""A training epoch with soft labels and feature alignment, from the teacher cache, against one with
hard labels alone.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.reading import CACHE, IDENTITY, clean, random_cache, random_mel
from bench.rounds import Result, Target, interleave, rows
from bench.teacher import TASK, TEXT, ask
from earshot.distillation.lessons import with_lessons
from earshot.distillation.objective import Objective, needed
from earshot.distillation.terms import Setting
from earshot.models.bilstm import BiLSTMStudent
from earshot.params import KD, BiLSTM, CrossEntropy, FeatureMSE, Terms
from earshot.tables.signals import Signals
from earshot.tasks.task import Score
from earshot.training.batches import Batch, Loader
from earshot.training.loop import Trainer

HARD = Terms(ce=CrossEntropy(weight=1.0))
SOFT = Terms(
    ce=CrossEntropy(weight=0.6), kd=KD(weight=0.3, temperature=2.0), feature=FeatureMSE(weight=0.1)
)
OPTIONS, BATCH = 3, 16


def measure(rounds: int = 7, passages: int = 256, width: int = 768, hidden: int = 96) -> Result:
    """Return seconds an epoch, checkpoints included, of a student of size `hidden` under a teacher
    of `width`.
    """
    torch.set_num_threads(1)
    student = BiLSTM(name="bilstm", hidden=hidden, stack=4, text=TEXT)
    with TemporaryDirectory() as made:
        mel = random_mel(Path(made, "mel.parquet"), passages)
        items = ask([id for id, _ in mel], "fewshot", OPTIONS)
        folder = random_cache(Path(made), items, width)
        signals = Signals(folder, items, IDENTITY, CACHE.model_dump(), clean(items))
        loader = Loader(items, mel, TASK, BATCH)
        names = needed(SOFT)
        (example,) = with_lessons(islice(loader, 1), signals, names)

        def train(terms: Terms, batches: Callable[[int], Iterator[Batch]]) -> None:
            torch.manual_seed(0)
            model = BiLSTMStudent(student, mel.width, TASK)
            setting = Setting(TASK, model, example, [model.width] * 2, None, 0)
            with TemporaryDirectory() as scratch:
                trainer = Trainer(
                    model,
                    TASK,
                    Objective(terms, setting, len(loader)),
                    epochs=1,
                    steps_per_epoch=len(loader),
                    learning_rate=1e-3,
                    schedule="constant",
                    seed=0,
                    scratch=Path(scratch),
                )
                trainer.fit(batches, lambda _: Score(0.0, 0.0, 0.0))

        contenders = {
            "CE": lambda: train(HARD, lambda epoch: loader.shuffled(0, epoch)),
            "CE + KD + features": lambda: train(
                SOFT, lambda epoch: with_lessons(loader.shuffled(0, epoch), signals, names)
            ),
        }
        table = rows(interleave(contenders, rounds, "epoch"), base="CE")
        minutes = sum(mel.frames(key) for key in mel) / 6000
    return Result(
        title="Epoch: training with the teacher cache",
        note=f"{passages} passages, {minutes:.0f} minutes, {len(items)} items; "
        f"BiLSTM, hidden {hidden}, stack 4; "
        f"teacher vectors of {width}.",
        unit="seconds per epoch",
        ratio="÷ CE",
        rows=table,
        targets=[
            Target(
                "CE + KD + features ÷ CE",
                table["CE + KD + features"].ratio.median,
                1.1,
                at_least=False,
            )
        ],
    )
