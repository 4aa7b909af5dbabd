"""The models of a track answer its test items; what they answer and what they cost."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from earshot import predict, text
from earshot.evaluation import costs
from earshot.evaluation.metrics import Answers
from earshot.export import size
from earshot.features.recordings import Recordings
from earshot.models.students import load_student
from earshot.models.wav2vec2 import Teacher
from earshot.params import Evaluate, Features, Limits, Student, Text
from earshot.runtime.files import atomic
from earshot.runtime.progress import track, workers
from earshot.tables.items import Item
from earshot.tables.sequences import Store
from earshot.training.batches import Audio, Loader, by_audio
from earshot.training.loop import predict as predict_items

Cost = dict[str, Any]


class LimitError(ValueError):
    """A student larger or slower than the device allows; the message names it."""


def read_text(params: Student) -> Text | None:
    """Return how a student reads options; None for one with fixed classes."""
    return getattr(params, "text", None)


def student_answers(
    params: Student, mel: Store, items: Sequence[Item], weights: Sequence[Path]
) -> list[Answers]:
    """Return the answers of one recipe's float students, seed by seed, from cached log-mel."""
    loader = Loader(items, mel, read_text(params), 32)
    classes = len(items[0].options)
    return [
        predict_items(load_student(params, mel.width, classes, path), loader) for path in weights
    ]


def int8_answers(
    files: Sequence[Path], items: Sequence[Item], manifest: pd.DataFrame
) -> list[Answers]:
    """Return the answers of one recipe's int8 files, seed by seed, from raw waveforms, as on a
    device.
    """
    students = [predict.load(path) for path in files]
    recordings = Recordings(manifest, sample_rate=students[0].sample_rate)
    answers: list[Answers] = [{} for _ in students]
    passages = by_audio(items)

    def ask(passage: tuple[Audio, list[Item]]) -> list[np.ndarray]:
        samples, asked = waveform(passage[0], recordings), encode(passage[1], students[0].buckets)
        return [
            np.atleast_2d(predict.softmax(student.logits(samples, *asked))) for student in students
        ]

    with ThreadPoolExecutor(workers()) as pool:  # onnxruntime leaves the GIL while it computes
        each = track(
            pool.map(ask, passages.items()), "int8 answers", total=len(passages), unit="passage"
        )
        for group, said in zip(passages.values(), each, strict=True):
            for mine, probabilities in zip(answers, said, strict=True):
                mine |= {item.id: row for item, row in zip(group, probabilities, strict=True)}
    return answers


def waveform(utterances: Sequence[str], recordings: Recordings) -> np.ndarray:
    """Return utterances end to end as samples `(N,)`."""
    return np.concatenate([recordings[(utterance, 0)] for utterance in utterances])


def encode(items: Sequence[Item], buckets: int | None) -> tuple[np.ndarray, ...]:
    """Return question ids `(Q, Lq)` and option ids `(Q, C, Lo)` of items with equally many options.

    Without buckets there is nothing to read, and nothing is returned.
    """
    if buckets is None:
        return ()
    questions = text.pad([text.encode(item.question, buckets, "question") for item in items])
    options = text.pad(
        [text.encode(option, buckets, "option") for item in items for option in item.options]
    )
    return questions, options.reshape(len(items), -1, options.shape[1])


def clips(
    items: Sequence[Item], manifest: pd.DataFrame, features: Features, buckets: int | None
) -> list[tuple[np.ndarray, ...]]:
    """Return `(samples, question ids, option ids)` of each item; the samples alone where there is
    nothing to read.
    """
    recordings = Recordings(manifest, sample_rate=features.sample_rate)
    return [
        (waveform(item.utterances, recordings), *(row[0] for row in encode([item], buckets)))
        for item in items
    ]


def answer_table(items: Sequence[Item], manifest: pd.DataFrame, answers: Answers) -> pd.DataFrame:
    """Return a row per item: its file's name or its own, the answer, and each option's probability,
    to 6 digits.

    Where all items have the same options this is DCASE's format of a submission; elsewhere columns
    are places of options.
    """
    names = {row.id: Path(row.path).name for row in manifest.itertuples()}
    same = len({item.options for item in items}) == 1
    columns = (
        items[0].options
        if same
        else [str(place) for place in range(1, 1 + max(len(item.options) for item in items))]
    )
    rows = []
    for item in items:
        probabilities = answers[item.id]
        name = names[item.utterances[0]] if same else item.id
        rows.append([name, item.options[int(probabilities.argmax())], *probabilities.round(6)])
    return pd.DataFrame(
        rows, columns=[*(("filename", "scene_label") if same else ("item", "answer")), *columns]
    )


def write_answers(
    path: Path, items: Sequence[Item], manifest: pd.DataFrame, answers: Answers
) -> None:
    """Write `answer_table`, separated by tabs, as one atomic file."""
    with atomic(path) as partial:
        answer_table(items, manifest, answers).to_csv(
            partial, sep="\t", index=False, lineterminator="\n"
        )


def shipped(validation: dict[str, dict[str, float]]) -> tuple[str, int]:
    """Return recipe and seed with the best score, of equals the first, of `{recipe: {"seed-0":
    share right, …}, …}`.
    """
    recipe = max(validation, key=lambda one: max(validation[one].values()))
    # as the file `student.int8.onnx` was chosen
    seed = max(validation[recipe], key=validation[recipe].get)
    return recipe, int(seed.removeprefix("seed-"))


def quantized(onnx: Path) -> list[str]:
    """Return the kinds of quantized files of a recipe: what is shipped, and the calibrated-only one
    beside a trained one.
    """
    return [kind for kind in ("int8", "ptq") if (onnx / f"seed-0.{kind}.onnx").exists()]


def student_cost(
    recipe: str,
    params: Student,
    features: Features,
    weights: Path,
    onnx: Path,
    item: Item,
    minutes: float,
    settings: Evaluate,
) -> dict[str, Cost]:
    """Return what a recipe's student costs in float, and its int8 file: parameters, MACs, bytes,
    training and latency.

    MACs and latency are of one clip of `settings.reference_seconds`, about which `item` is asked.
    Of a student with fixed classes, and wherever there are limits, the int8 file's parameters are
    counted as they are stored.
    """
    student = load_student(params, features.n_mels, len(item.options), weights)
    frames = reference_frames(features, settings.reference_seconds)
    macs = costs.macs(_network(params, student), *frames)
    in_float, int8 = file_costs(
        [onnx / f"student.{kind}.onnx" for kind in ("float", "int8")], item, settings
    )
    in_float |= {"parameters": costs.parameters(student), "macs": macs}
    in_float["timing"]["train_minutes"] = minutes
    if settings.limits or not read_text(params):
        count, stored = size.network_parameters(onnx / "student.int8.onnx")
        int8 |= {"parameters": count, "parameter_bytes": stored, "macs": macs}
    return {recipe: in_float, f"{recipe}_int8": int8}


def write_layers(
    path: Path, params: Student, features: Features, weights: Path, classes: int, settings: Evaluate
) -> None:
    """Write a row per layer of a float student on the reference clip: name, kind, output shape,
    parameters and MACs.
    """
    student = load_student(params, features.n_mels, classes, weights)
    frames = reference_frames(features, settings.reference_seconds)
    table = pd.DataFrame(costs.layers(student, *frames, call=_network(params, student)))
    table["output"] = ["×".join(map(str, shape)) for shape in table["output"]]
    with atomic(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def reference_frames(features: Features, seconds: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mel frames `(1, T, n_mels)` of a silent clip so long, and T `(1,)`."""
    frames = torch.zeros(
        1, 1 + int(seconds * features.sample_rate) // features.hop_length, features.n_mels
    )
    return frames, torch.tensor([frames.shape[1]])


def _network(params: Student, student: nn.Module) -> Callable[..., torch.Tensor]:
    """Return what is run once a clip: with fixed classes all of it, else what comes before a
    question is asked.
    """
    if read_text(params):
        return student.pool
    return lambda frames, lengths: student.head(student.pool(frames, lengths), None, None)


def file_costs(files: Sequence[Path], item: Item, settings: Evaluate) -> list[Cost]:
    """Return the bytes of each student's file, and its latency on one thread: `item` asked about a
    reference clip.
    """
    students = [predict.load(file) for file in files]
    samples, asked = (
        _noise(settings.reference_seconds, students[0].sample_rate),
        encode([item], students[0].buckets),
    )
    timing = timed(
        [partial(student.logits, samples, *asked) for student in students], settings.latency_clips
    )
    return [
        {"bytes": size.file_bytes(file), "timing": own}
        for file, own in zip(files, timing, strict=True)
    ]


def check_limits(cost: dict[str, Cost], limits: Limits | None) -> None:
    """Raise LimitError naming model, limit and figure where a quantized network exceeds a limit;
    None allows all.
    """
    for name, limit in limits or ():
        for model, figures in cost.items():
            if "parameter_bytes" in figures and figures[name] > limit:
                raise LimitError(
                    f"{model}: {name}={figures[name]:,} is above evaluate.limits.{name}={limit:,}"
                )


def timed(calls: Sequence[Callable[[], Any]], clips: int) -> list[dict[str, float]]:
    """Return the latencies of answering one reference clip on this thread."""
    return [
        {f"latency_{name}": value for name, value in own.items()}
        for own in costs.latency(calls, clips)
    ]


def teacher_cost(
    teacher: Teacher, read: Text | None, item: Item, minutes: float, settings: Evaluate
) -> Cost:
    """Return parameters, MACs, bytes (float32), training minutes and latency of the teacher."""
    samples = _noise(settings.reference_seconds, 16_000)
    asked = [torch.from_numpy(ids) for ids in encode([item], read and read.buckets)] or [None, None]

    @torch.inference_mode()
    def respond() -> torch.Tensor:
        hidden = teacher.lower(samples).states[-1]
        pooled = teacher.pool(hidden[None], torch.tensor([len(hidden)]))
        return teacher.head(pooled, *asked)

    parameters = costs.parameters(teacher)
    timing = {"train_minutes": minutes, **timed([respond], settings.latency_clips)[0]}
    return {
        "parameters": parameters,
        "macs": costs.macs(respond),
        "bytes": 4 * parameters,
        "timing": timing,
    }


def _noise(seconds: float, sample_rate: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * sample_rate)).astype(np.float32)
