"""Load a student's ONNX file and use it: ONNX Runtime and NumPy, no torch."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from earshot import text
from earshot.features import audio

_ERRORS_ONLY = 3


class PredictError(ValueError):
    """A file that is no student, or a question that cannot be answered; the message is one line."""


@dataclass(frozen=True)
class Answer:
    """The index of the chosen option, every option's probability, and the time from samples to
    answer.

    `tied` are the indexes of the options that are as probable as the chosen one, itself included,
    or that read like it; none where it is alone.
    """

    option: int
    probabilities: tuple[float, ...]
    milliseconds: float
    tied: tuple[int, ...] = ()


@dataclass(frozen=True)
class Classification:
    """Each window's probabilities `(W, C)` with the second it begins at `(W,)`, their mean `(C,)`,
    and the time taken.
    """

    labels: tuple[str, ...]
    windows: np.ndarray
    starts: np.ndarray
    pooled: np.ndarray
    milliseconds: float


class _Model:
    """An ONNX file of one task: its session, metadata, sample rate in Hz, what counts as audio."""

    task: str
    called: str

    def __init__(self, path: str | Path, threads: int = 1):
        self._session = _session(path, threads)
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        if (task := self.metadata.get("task")) != self.task:
            raise PredictError(f"{path}: not an Earshot student for {self.called}, task={task!r}")
        try:
            self.sample_rate = int(self.metadata["sample_rate"])
            features = json.loads(self.metadata["features"])
            self._limits = float(features["min_seconds"]), float(features["min_rms"])
            self._read()
        except (KeyError, TypeError, ValueError) as error:
            raise PredictError(
                f"{path}: its metadata are damaged ({type(error).__name__}: {error})"
            ) from None

    def _read(self) -> None:
        """Read what the metadata of the task hold besides."""

    def _check(self, samples: np.ndarray) -> None:
        if reason := audio.check(samples, self.sample_rate, *self._limits):
            raise PredictError(f"the audio is {reason}")


class Student(_Model):
    """A student for multiple choice, float or int8, on `threads` threads.

    >>> student = Student("models/listening/onnx/listening-kd_pool/student.int8.onnx")
    >>> samples = audio.decode("clip.wav", student.sample_rate)
    >>> student.answer(samples, "What did Mary buy?", ["a bike", "a lamp", "a coat"]).option
    1

    Raises PredictError when the file is missing or is no student.
    """

    task, called = "choice", "multiple choice"

    def _read(self) -> None:
        self.buckets = int(self.metadata["buckets"])
        # files from before there were versions have the first
        self.text_version = int(self.metadata.get("text_version", 1))
        if self.text_version not in text.VERSIONS:
            raise ValueError(f"text_version={self.text_version} is none of {text.VERSIONS}")

    def answer(self, samples: np.ndarray, question: str, options: Sequence[str]) -> Answer:
        """Choose among options for mono samples `(N,)` at `sample_rate`, in [−1, 1].

        Raises PredictError for audio that is empty, too short or silent, a question or an option
        without words, fewer than two options, and options that are the same. Options that are not
        the same, but read alike to the student, are tied.
        """
        begin = time.perf_counter()
        self._check(samples)
        if len(options) < 2:
            raise PredictError(f"{len(options)} option given, at least 2 are needed")
        reader = {"buckets": self.buckets, "version": self.text_version}
        question_ids, option_ids = text.encode_item(question, options, **reader)
        if question_ids[0] == text.PADDING:
            raise PredictError(f"the question {question!r} has no words")
        for option, ids in zip(options, option_ids, strict=True):
            if ids[0] == text.PADDING:
                raise PredictError(f"the option {option!r} has no words")
        for group in text.same(options):
            names = " and ".join(repr(options[place]) for place in group)
            raise PredictError(f"two of the options are the same, {names}")
        probabilities = softmax(self.logits(samples, question_ids[None], option_ids[None])[0])
        best = int(probabilities.argmax())
        tied = set(np.flatnonzero(probabilities == probabilities[best]).tolist())
        for group in text.alike(options, **reader):
            if best in group:  # the order of words alone makes them differ, by rounding
                tied |= set(group)
        spent = (time.perf_counter() - begin) * 1000
        return Answer(
            option=min(tied),
            probabilities=tuple(probabilities.tolist()),
            milliseconds=spent,
            tied=tuple(sorted(tied)) if len(tied) > 1 else (),
        )

    def inputs(self, items: Sequence[Any]) -> tuple[np.ndarray, ...]:
        """Return question ids `(Q, Lq)` and option ids `(Q, C, Lo)` of items with `question` and
        equally many `options`, as `logits` takes them.
        """
        reader = {"buckets": self.buckets, "version": self.text_version}
        questions = [text.encode(item.question, space="question", **reader) for item in items]
        options = [
            text.encode(one, space="option", **reader) for item in items for one in item.options
        ]
        padded = text.pad(options)
        return text.pad(questions), padded.reshape(len(items), -1, padded.shape[1])

    def logits(self, samples: np.ndarray, questions: np.ndarray, options: np.ndarray) -> np.ndarray:
        """Return float32 logits `(Q, C)` for samples `(N,)`, question ids `(Q, Lq)` and option ids
        `(Q, C, Lo)`.

        Ids are those of `text.encode_item`, padded with 0; a row of zeros is an option that an item
        does not have. The audio is encoded once for all questions.
        """
        inputs = {"waveform": samples, "question": questions, "options": options}
        return self._session.run(["logits"], inputs)[0]


class Classifier(_Model):
    """A student with fixed classes, float or int8, on `threads` threads; it takes one window of
    `window` samples at a time.

    >>> classifier = Classifier("models/scenes/onnx/scenes-layered/student.int8.onnx")
    >>> result = classifier.classify(audio.decode("street.wav", classifier.sample_rate))
    >>> classifier.labels[result.pooled.argmax()]
    'street_traffic'

    Raises PredictError when the file is missing or is no such student.
    """

    task, called = "classes", "classification"

    def _read(self) -> None:
        self.labels = tuple(map(str, json.loads(self.metadata["labels"])))
        fixed = self._session.get_inputs()[0].shape[0]
        self.window = fixed if isinstance(fixed, int) else self.sample_rate

    def classify(self, samples: np.ndarray) -> Classification:
        """Classify mono samples `(N,)` at `sample_rate`, in [−1, 1], of any length: window by
        window, and all in all.

        The last window is moved back to end with the audio; a rest too short to be judged adds
        none. Audio shorter than one window is repeated to fill it. Raises PredictError for audio
        that is empty, too short or silent.
        """
        begin = time.perf_counter()
        self._check(samples)
        rest = len(samples) - self._limits[0] * self.sample_rate
        last = max(len(samples) - self.window, 0)
        starts = np.minimum(np.arange(max(1, math.ceil(rest / self.window))) * self.window, last)
        padded = np.resize(samples, max(len(samples), self.window))
        windows = softmax(
            np.stack([self.logits(padded[start : start + self.window]) for start in starts])
        )
        spent = (time.perf_counter() - begin) * 1000
        return Classification(
            self.labels, windows, starts / self.sample_rate, windows.mean(0), spent
        )

    def inputs(self, items: Sequence[Any]) -> tuple[np.ndarray, ...]:
        """Return nothing: the audio is all there is."""
        return ()

    def logits(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 logits `(C,)` for the samples of one clip `(N,)`, as they are."""
        return self._session.run(["logits"], {"waveform": samples})[0]


MODELS: dict[str, type[_Model]] = {model.task: model for model in (Student, Classifier)}


def load(path: str | Path, threads: int = 1) -> Student | Classifier:
    """Return the student that an ONNX file holds; PredictError when it is missing or is none."""
    task = _session(path, threads).get_modelmeta().custom_metadata_map.get("task")
    if task not in MODELS:
        raise PredictError(f"{path}: not an Earshot student, task={task!r}")
    return MODELS[task](path, threads)


def _session(path: str | Path, threads: int) -> onnxruntime.InferenceSession:
    if not Path(path).is_file():
        raise PredictError(f"{path}: no such file")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = _ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no other class
        raise PredictError(f"{path}: not a readable ONNX file ({type(error).__name__})") from None


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits `(…, C)`, in double precision."""
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
