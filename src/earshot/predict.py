"""Load a student's ONNX file and use it: ONNX Runtime and NumPy, no torch."""

import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from earshot import text
from earshot.features import audio

_ERRORS_ONLY = 3
_PIECE = 150  # seconds of a long recording that are answered about at once
_LONGEST_WINDOW = 600  # seconds that a file may take at once
_WINDOWS = 60  # windows of a long recording that are classified at once

Audio = np.ndarray | Iterable[np.ndarray]  # samples (N,), or blocks of them


class PredictError(ValueError):
    """A file that is no student, or a question that cannot be answered; the message is one line."""


class Attention(NamedTuple):
    """How each option weighed the frames of a piece of audio: `weights` `(C, T)`, sums of 1, spread
    evenly from second `begin` to second `end`.
    """

    begin: float
    end: float
    weights: np.ndarray


@dataclass(frozen=True)
class Answer:
    """The index of the chosen option, every option's probability, the time from samples to
    answer, and the length of the audio.

    `tied` are the indexes of the options that are as probable as the chosen one, itself included,
    or that read like it; none where it is alone. `silence` are the seconds left out at the
    beginning and at the end. `attention` has an entry a piece, none where all frames count alike.
    """

    option: int
    probabilities: tuple[float, ...]
    milliseconds: float
    seconds: float
    tied: tuple[int, ...] = ()
    silence: tuple[float, float] = (0.0, 0.0)
    attention: tuple[Attention, ...] = ()


@dataclass(frozen=True)
class Classification:
    """Each window's probabilities `(W, C)` with the second it begins at `(W,)`, their mean `(C,)`,
    the time taken, and the length of the audio.
    """

    labels: tuple[str, ...]
    windows: np.ndarray
    starts: np.ndarray
    pooled: np.ndarray
    milliseconds: float
    seconds: float


class _Piece(NamedTuple):
    samples: np.ndarray  # (n,)
    start: int  # of its first sample in the audio
    is_last: bool
    is_silent: bool


class _Model:
    """An ONNX file of one task: its session, metadata, sample rate in Hz, what counts as audio."""

    task: str
    called: str

    def __init__(self, path: str | Path, threads: int = 1):
        self._path, self._session = path, _session(path, threads)
        self.metadata = _metadata(path, self._session)
        if (task := self.metadata.get("task")) != self.task:
            raise PredictError(f"{path}: not an Earshot student for {self.called}, task={task!r}")
        try:
            self.sample_rate = int(self.metadata["sample_rate"])
            if self.sample_rate <= 0:
                raise ValueError(f"sample_rate={self.sample_rate}")
            features = json.loads(self.metadata["features"])
            self._limits = float(features["min_seconds"]), float(features["min_rms"])
            self._read()
        except (KeyError, TypeError, ValueError) as error:
            raise PredictError(
                f"{path}: its metadata are damaged ({type(error).__name__}: {error})"
            ) from None

    def _read(self) -> None:
        """Read what the metadata of the task hold besides."""

    def _run(self, outputs: Sequence[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Return outputs of the file; PredictError where a damaged file gives none."""
        try:
            values = self._session.run(list(outputs), inputs)
        except Exception as error:  # ONNX Runtime's errors share no other class
            raise PredictError(f"{self._path}: cannot be run ({type(error).__name__})") from None
        for output, value in zip(outputs, values, strict=True):
            if not np.isfinite(value).all():
                raise PredictError(f"{self._path}: its {output} are not finite")
        return values

    def _usable(self, samples: Audio, size: int) -> Iterator[_Piece]:
        """Yield audio in pieces of `size` samples, the last of up to twice as many.

        Audio below twice the size is one piece. Raises PredictError where it is too short, not
        finite, or silent in every piece.
        """
        blocks = [samples] if isinstance(samples, np.ndarray) else samples
        start, is_silent = 0, True
        for piece, is_last in _pieces(blocks, size):
            reason = audio.check(piece, self.sample_rate, *self._limits)
            if reason not in (None, "silent"):
                raise PredictError(f"the audio is {reason}")
            is_silent = is_silent and reason == "silent"
            if is_silent and is_last:
                raise PredictError("the audio is silent")
            yield _Piece(piece, start, is_last, reason == "silent")
            start += len(piece)


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
        outputs = {output.name for output in self._session.get_outputs()}
        self._outputs = [name for name in ("logits", "attention") if name in outputs]
        self._reader = {"buckets": self.buckets, "version": self.text_version}

    def answer(self, samples: Audio, question: str, options: Sequence[str]) -> Answer:
        """Choose among options for mono samples `(N,)` at `sample_rate`, in [−1, 1].

        Silence at the ends is left out. Of five minutes or more the probabilities are means over
        pieces of two and a half minutes, the silent ones left out. A recording given as blocks,
        such as those of `audio.stream`, is never all in memory. Raises PredictError for audio that
        is empty, too short or silent, a question or an option without words, fewer than two
        options, and options that are the same. Options that are not the same, but read alike to
        the student, are tied.
        """
        ids = [each[None] for each in self._asked(question, options)]
        probabilities, attention, sounds, spent = [], [], [], 0.0
        for piece in self._usable(samples, _PIECE * self.sample_rate):
            seconds = (piece.start + len(piece.samples)) / self.sample_rate
            if piece.is_silent:
                continue
            first, last = audio.audible(piece.samples, self.sample_rate)
            place = (piece.start + np.array([first, last])) / self.sample_rate
            begun = time.perf_counter()
            logits, *weights = self._run(
                self._outputs, _named(piece.samples[first:last], *ids)
            )  # (1, C), [(1, C, T)]
            spent += (time.perf_counter() - begun) * 1000
            sounds.append(place.tolist())
            probabilities.append(softmax(logits[0]))
            attention += [Attention(*sounds[-1], each[0]) for each in weights]
        mean = np.mean(probabilities, axis=0)
        tied = self._tied(options, mean)
        several = tuple(tied) if len(tied) > 1 else ()
        silence = sounds[0][0], seconds - sounds[-1][1]
        choice = tied[0], tuple(mean.tolist()), spent, seconds, several
        return Answer(*choice, silence, tuple(attention))

    def _asked(self, question: str, options: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids of a question `(Lq,)` and its options `(C, Lo)`."""
        if len(options) < 2:
            raise PredictError(f"{len(options)} option given, at least 2 are needed")
        question_ids, option_ids = text.encode_item(question, options, **self._reader)
        if question_ids[0] == text.PADDING:
            raise PredictError(f"the question {question!r} has no words")
        for option, ids in zip(options, option_ids, strict=True):
            if ids[0] == text.PADDING:
                raise PredictError(f"the option {option!r} has no words")
        for group in text.same(options):
            names = " and ".join(repr(options[place]) for place in group)
            raise PredictError(f"two of the options are the same, {names}")
        return question_ids, option_ids

    def _tied(self, options: Sequence[str], probabilities: np.ndarray) -> list[int]:
        """Return the places of the best option and of all that are no worse, or read like it."""
        best = int(probabilities.argmax())
        tied = set(np.flatnonzero(probabilities == probabilities[best]).tolist())
        for group in text.alike(options, **self._reader):
            if best in group:  # the order of words alone makes them differ, by rounding
                tied |= set(group)
        return sorted(tied)

    def inputs(self, items: Sequence[Any]) -> tuple[np.ndarray, ...]:
        """Return question ids `(Q, Lq)` and option ids `(Q, C, Lo)` of items with `question` and
        `options`, as `logits` takes them: of an item with fewer options the last rows are zeros.
        """
        encoded = [text.encode_item(item.question, item.options, **self._reader) for item in items]
        questions = text.pad([question for question, _ in encoded])
        return questions, text.pad_options([options for _, options in encoded])

    def logits(self, samples: np.ndarray, questions: np.ndarray, options: np.ndarray) -> np.ndarray:
        """Return float32 logits `(Q, C)` for samples `(N,)`, question ids `(Q, Lq)` and option ids
        `(Q, C, Lo)`.

        Ids are those of `text.encode_item`, padded with 0; a row of zeros is an option that an item
        does not have. The audio is encoded once for all questions.
        """
        return self._run(["logits"], _named(samples, questions, options))[0]

    def attention(
        self, samples: np.ndarray, questions: np.ndarray, options: np.ndarray
    ) -> np.ndarray | None:
        """Return how each option weighed the encoder's frames, float32 `(Q, C, T)`, sums of 1.

        None for a student that takes the mean of all frames. Arguments are those of `logits`.
        """
        if "attention" not in self._outputs:
            return None
        return self._run(["attention"], _named(samples, questions, options))[0]


def _named(
    samples: np.ndarray, questions: np.ndarray, options: np.ndarray
) -> dict[str, np.ndarray]:
    return {"waveform": samples, "question": questions, "options": options}


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
        if not 0 < self.window <= _LONGEST_WINDOW * self.sample_rate:
            raise ValueError(f"a window of {self.window} samples")

    def classify(self, samples: Audio) -> Classification:
        """Classify mono samples `(N,)` at `sample_rate`, in [−1, 1], of any length: window by
        window, and all in all.

        As blocks, such as `audio.stream` yields, a long recording is never all in memory. The last
        window is moved back to end with the audio; a rest too short to be judged adds none. Audio
        shorter than one window is repeated to fill it. Raises PredictError for audio that is
        empty, too short or silent.
        """
        windows, starts, spent = [], [], 0.0
        for piece in self._usable(samples, _WINDOWS * self.window):
            begin = time.perf_counter()
            for start in self._starts(piece):
                padded = np.resize(piece.samples, max(len(piece.samples), self.window))
                windows.append(softmax(self.logits(padded[start : start + self.window])))
                starts.append((piece.start + start) / self.sample_rate)
            spent += (time.perf_counter() - begin) * 1000
            seconds = (piece.start + len(piece.samples)) / self.sample_rate
        table = np.stack(windows)
        if table.shape[1:] != (len(self.labels),):
            shape = f"logits {table.shape[1:]} for {len(self.labels)} labels"
            raise PredictError(f"{self._path}: its metadata are damaged ({shape})")
        return Classification(self.labels, table, np.array(starts), table.mean(0), spent, seconds)

    def _starts(self, piece: _Piece) -> np.ndarray:
        """Return where the windows of a piece begin."""
        length = len(piece.samples)
        judged = length - self._limits[0] * self.sample_rate if piece.is_last else length
        count = max(1, math.ceil(judged / self.window))
        return np.minimum(np.arange(count) * self.window, max(length - self.window, 0))

    def inputs(self, items: Sequence[Any]) -> tuple[np.ndarray, ...]:
        """Return nothing: the audio is all there is."""
        return ()

    def logits(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 logits `(C,)` for the samples of one clip `(N,)`, as they are."""
        return self._run(["logits"], {"waveform": samples})[0]


def _pieces(blocks: Iterable[np.ndarray], size: int) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield pieces of `size` samples, and whether a piece is the last: it has up to twice as many,
    or all where there are fewer.
    """
    waiting = np.empty(0, np.float32)
    for block in blocks:
        waiting = np.concatenate([waiting, block]) if len(waiting) else block
        while len(waiting) >= 2 * size:
            yield waiting[:size], False
            waiting = waiting[size:]
    yield waiting, True


MODELS: dict[str, type[_Model]] = {model.task: model for model in (Student, Classifier)}


def load(path: str | Path, threads: int = 1) -> Student | Classifier:
    """Return the student that an ONNX file holds; PredictError when it is missing or is none."""
    task = _metadata(path, _session(path, threads)).get("task")
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
        providers = ["CPUExecutionProvider"]
        # a fallback would be the same again, with a banner on standard output
        return onnxruntime.InferenceSession(path, settings, providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's errors share no other class
        raise PredictError(f"{path}: not a readable ONNX file ({type(error).__name__})") from None


def _metadata(path: str | Path, session: onnxruntime.InferenceSession) -> dict[str, str]:
    try:
        return session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError:
        raise PredictError(f"{path}: its metadata are damaged (no UTF-8)") from None


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits `(…, C)`, in double precision."""
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
