"""A student with fixed classes: a recording, window by window."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from earshot.predict.model import Audio, Model, Piece, PredictError, Prediction, softmax

_LONGEST_WINDOW = 600  # seconds that a file may take at once
_WINDOWS = 60  # windows of a long recording that are classified at once


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


class Classifier(Model):
    """A student with fixed classes, float or int8, on `threads` threads; it takes one window of
    `window` samples at a time.

    >>> classifier = Classifier("models/scenes/onnx/scenes-layered_plain/student.int8.onnx")
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

    def _starts(self, piece: Piece) -> np.ndarray:
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

    def answers(self, samples: np.ndarray, items: Sequence[Any]) -> Prediction:
        """Return the probabilities `(C,)` of the classes, float64, for each item."""
        probabilities = softmax(self.logits(samples))
        return Prediction([probabilities for _ in items])
