"""The models of a track answer items: float students by torch, ONNX files as shipped."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from earshot import predict
from earshot.evaluation.metrics import Answers
from earshot.features.recordings import Change, Recordings
from earshot.models.students import load_student
from earshot.params import Student
from earshot.predict.model import Prediction
from earshot.runtime.progress import track, workers
from earshot.tables.answers import language_of
from earshot.tables.devices import beside
from earshot.tables.items import Item
from earshot.tables.items import devices as devices_of
from earshot.tables.sequences import Store
from earshot.tasks.options import SMALLEST
from earshot.tasks.task import Task
from earshot.training.batches import Audio, Loader, by_audio
from earshot.training.loop import predict as predict_items

BATCH = 32  # passages


def student_answers(
    params: Student,
    task: Task,
    mel: Store,
    items: Sequence[Item],
    weights: Sequence[Path],
    devices: Mapping[str, str] = MappingProxyType({}),
) -> list[Answers]:
    """Return the answers of one recipe's float students, seed by seed, from stored log-mel; of an
    item whose device, by its id in `devices`, has a model of its own, that one's.
    """
    students = [load_student(params, mel.width, task, path) for path in weights]
    answers: list[Answers] = [{} for _ in students]
    with ThreadPoolExecutor(workers()) as pool:
        for batch in Loader(items, mel, task, BATCH):  # read once for all
            ask = partial(predict_items, task=task, batches=[batch])
            for found, predictions in zip(answers, pool.map(ask, students), strict=True):
                found |= predictions
    for path, found in zip(weights, answers, strict=True):
        for file, about in _by_device(path, items, devices):
            own = load_student(params, mel.width, task, file)
            found |= predict_items(own, task, Loader(about, mel, task, BATCH))
    return answers


def _by_device(
    general: Path, items: Sequence[Item], devices: Mapping[str, str]
) -> Iterator[tuple[Path, list[Item]]]:
    """Yield the models of single devices beside a general one, each with the items it answers."""
    for device, file in beside(general).items():
        if about := [item for item in items if devices.get(item.id) == device]:
            yield file, about


def file_answers(
    files: Sequence[Path],
    items: Sequence[Item],
    manifest: pd.DataFrame,
    seed: int = 0,
    change: Change | None = None,
) -> list[Answers]:
    """Return the answers of ONNX files of one recipe, file by file, from waveforms, as on a
    device; `change` happens to the recordings before. Where a device has a file of its own beside
    the general one, that answers.
    """
    answers, devices = _answers(files, items, manifest, seed, change), devices_of(items, manifest)
    for path, found in zip(files, answers, strict=True):
        for file, about in _by_device(path, items, devices):
            found |= _answers([file], about, manifest, seed, change)[0]
    return answers


def _answers(
    files: Sequence[Path],
    items: Sequence[Item],
    manifest: pd.DataFrame,
    seed: int,
    change: Change | None,
) -> list[Answers]:
    students = [predict.load(path) for path in files]
    rate = students[0].sample_rate
    recordings = Recordings(manifest, seed=seed, sample_rate=rate, change=change)
    answers: list[Answers] = [{} for _ in students]
    passages = by_audio(items)

    def ask(passage: tuple[Audio, list[Item]]) -> list[Prediction]:
        audio, about = passage
        samples = recordings.passage(audio)
        return [student.answers(samples, about) for student in students]

    # Threads do, as ONNX Runtime leaves the GIL while it computes.
    with ThreadPoolExecutor(workers()) as pool:
        predictions = pool.map(ask, passages.items())
        results = track(predictions, "answers of files", total=len(passages), unit="passage")
        for about, of_students in zip(passages.values(), results, strict=True):
            for of_student, found in zip(answers, of_students, strict=True):
                of_student |= {item.id: row for item, row in zip(about, found.rows, strict=True)}
                if found.language is not None:
                    language = np.array(found.language)
                    of_student |= {language_of(item.id): language for item in about}
    return answers


def mean_of_logits(teachers: Sequence[Answers]) -> Answers:
    """Return what teachers answer together: probabilities from the mean of their logits.

    Logits are log-probabilities up to a constant an item, and the softmax takes that out.
    """
    logs = {
        id: np.mean([np.log(np.maximum(one[id], SMALLEST)) for one in teachers], axis=0)
        for id in teachers[0]
    }
    return {id: predict.softmax(log) for id, log in logs.items()}


def shipped(validation: dict[str, dict[str, float]]) -> tuple[str, int]:
    """Return recipe and seed with the best validation score, of equals the first.

    `validation` holds each recipe's scores, `{"seed-0": score, …}`, the higher the better.
    """
    recipe = max(validation, key=lambda one: max(validation[one].values()))
    seed = max(validation[recipe], key=validation[recipe].get)  # that of `student.int8.onnx`
    return recipe, int(seed.removeprefix("seed-"))


def quantized(onnx: Path) -> list[str]:
    """Return a recipe's kinds of quantized files: what ships, and the calibrated-only one beside
    it.
    """
    return [kind for kind in ("int8", "ptq") if (onnx / f"seed-0.{kind}.onnx").exists()]
