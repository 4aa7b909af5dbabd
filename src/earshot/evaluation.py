"""Everything that is said about a track's models: scores with intervals, paired gains, costs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from earshot import audio, checkpoint, costs, metrics, predict, quantization, text
from earshot.batches import Loader, by_audio
from earshot.distillation import STUDENTS
from earshot.items import Item
from earshot.leaks import AudioBlind
from earshot.params import BiLSTM, Evaluate, Features
from earshot.progress import track
from earshot.store import Store
from earshot.training import predict as predict_items

Answers = dict[str, np.ndarray]  # item id → probabilities (C,)
REFERENCE_SECONDS = 10  # MACs and latency are of one clip this long


def stack(answers: Sequence[Answers], items: Sequence[Item]) -> np.ndarray:
    """Return probabilities `(S, N, C)` of S seeds' answers to N items."""
    return np.array([[one[item.id] for item in items] for one in answers], np.float64)


def load_student(params: BiLSTM, n_mels: int, weights: Path) -> nn.Module:
    """Return a distilled student, ready to answer."""
    student = STUDENTS[params.name](params, n_mels)
    student.load_state_dict(checkpoint.load_weights(weights))
    return student.eval()


def student_answers(params: BiLSTM, mel: Store, items: Sequence[Item], weights: Sequence[Path]) -> list[Answers]:
    """Return the answers of one recipe's float students, seed by seed, from cached log-mel."""
    loader = Loader(items, mel, params.text.buckets, 32)
    return [predict_items(load_student(params, mel.width, path), loader) for path in weights]


def int8_answers(files: Sequence[Path], items: Sequence[Item], manifest: pd.DataFrame) -> list[Answers]:
    """Return the answers of one recipe's int8 files, seed by seed, from raw waveforms, as on a device."""
    students = [predict.Student(path) for path in files]
    answers: list[Answers] = [{} for _ in students]
    for utterances, group in track(by_audio(items).items(), "int8 answers", unit="passage"):
        samples = waveform(utterances, manifest, students[0].sample_rate)
        questions, options = encode(group, students[0].buckets)
        for student, mine in zip(students, answers, strict=True):
            probabilities = predict.softmax(student.logits(samples, questions, options))
            mine |= {item.id: row for item, row in zip(group, probabilities, strict=True)}
    return answers


def waveform(utterances: Sequence[str], manifest: pd.DataFrame, sample_rate: int) -> np.ndarray:
    """Return utterances end to end as samples `(N,)`."""
    paths = manifest.set_index("id")["path"]
    return np.concatenate([audio.decode(paths[utterance], sample_rate) for utterance in utterances])


def encode(items: Sequence[Item], buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Return question ids `(Q, Lq)` and option ids `(Q, C, Lo)` of items with equally many options."""
    questions = text.pad([text.encode(item.question, buckets, "question") for item in items])
    options = text.pad([text.encode(option, buckets, "option") for item in items for option in item.options])
    return questions, options.reshape(len(items), -1, options.shape[1])


def quality(
    models: dict[str, list[Answers]], training: Sequence[Item], items: Sequence[Item], params: Evaluate, seed: int
) -> dict[str, Any]:
    """Return scores of each model on the test items, its gains over others, and the paper's protocol beside them.

    The audio-blind control is trained here on `training` items; for the paper's protocol on the ten questions.
    """
    scores: dict[str, Any] = {}
    for role, trained_on in {"test": "teacher", "paper": "fewshot"}.items():
        mine = [item for item in items if item.role == role]
        if not mine:
            continue
        blind = AudioBlind([item for item in training if item.role == trained_on]).predict(mine)
        answers = np.array([item.answer for item in mine])
        passages = np.array([item.passage for item in mine])
        groups = {name: np.array([getattr(item, name) for item in mine]) for name in ("skill", "wording")}
        stacked = {name: stack(each, mine) for name, each in ({"audio_blind": [blind]} | models).items()}
        for name, probabilities in stacked.items():
            settings = {"resamples": params.resamples, "seed": seed}
            if role == "test":
                scores[name] = metrics.score(probabilities, answers, passages, groups, **settings)
            else:
                scores[name]["paper_protocol"] = metrics.score(probabilities, answers, passages, {}, **settings)
        if role == "test":
            pairs = [*params.gains, *(f"{recipe}_int8_vs_{recipe}" for recipe in params.recipes)]
            scores["gain"] = {
                pair: metrics.paired_gain(*(stacked[m] for m in pair.split("_vs_")), answers, passages, **settings)
                for pair in pairs
            }
    return scores


def student_cost(
    params: BiLSTM,
    features: Features,
    weights: Path,
    float_file: Path,
    int8_file: Path,
    item: Item,
    minutes: float,
    clips: int,
) -> dict[str, Any]:
    """Return parameters, MACs, bytes, training minutes and latency of one student and of its two files."""
    student = load_student(params, features.n_mels, weights)
    frames = torch.zeros(1, 1 + REFERENCE_SECONDS * features.sample_rate // features.hop_length, features.n_mels)
    lengths = torch.tensor([frames.shape[1]])
    cost: dict[str, Any] = {
        "parameters": costs.parameters(student),
        "macs": costs.macs(student.pool, frames, lengths),
        "bytes": costs.file_bytes(float_file),
        "timing": {"train_minutes": minutes, **_latency(float_file, item, clips)},
    }
    int8 = {"bytes": costs.file_bytes(int8_file), "timing": _latency(int8_file, item, clips)}
    return {"float": cost, "int8": int8}


def _latency(file: Path, item: Item, clips: int) -> dict[str, float]:
    student = predict.Student(file)
    samples = np.random.default_rng(0).normal(0, 0.1, REFERENCE_SECONDS * student.sample_rate).astype(np.float32)
    questions, options = encode([item], student.buckets)
    return timed(lambda: student.logits(samples, questions, options), clips)


def timed(call: Callable[[], Any], clips: int) -> dict[str, float]:
    """Return the latency of answering one reference clip on this thread."""
    return {f"latency_{name}": value for name, value in costs.latency(call, clips).items()}


def teacher_cost(teacher: nn.Module, buckets: int, item: Item, minutes: float, clips: int) -> dict[str, Any]:
    """Return parameters, MACs, bytes (float32), training minutes and latency of the teacher."""
    samples = np.random.default_rng(0).normal(0, 0.1, REFERENCE_SECONDS * 16_000).astype(np.float32)
    questions, options = map(torch.from_numpy, encode([item], buckets))

    @torch.inference_mode()
    def respond() -> torch.Tensor:
        hidden = teacher.lower(samples)
        pooled = teacher.pool(hidden[None], torch.tensor([len(hidden)]))
        return teacher.head(pooled, questions, options)

    parameters = costs.parameters(teacher)
    timing = {"train_minutes": minutes, **timed(respond, clips)}
    return {"parameters": parameters, "macs": costs.macs(respond), "bytes": 4 * parameters, "timing": timing}


def clips(items: Sequence[Item], manifest: pd.DataFrame, features: Features, buckets: int) -> list[quantization.Clip]:
    """Return `(samples, question ids, option ids)` of each item."""
    return [
        (
            waveform(item.utterances, manifest, features.sample_rate),
            *text.encode_item(item.question, item.options, buckets),
        )
        for item in items
    ]
