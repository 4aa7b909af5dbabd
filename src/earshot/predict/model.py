"""A student's ONNX file: its session, its metadata, and what of a recording it can use."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from earshot.features import audio

_ERRORS_ONLY = 3

Audio = np.ndarray | Iterable[np.ndarray]  # samples (N,), or blocks of them


class PredictError(ValueError):
    """A file that is no student, or a question that cannot be answered; the message is one line."""


class Piece(NamedTuple):
    """A part of a recording that is encoded at once."""

    samples: np.ndarray  # (n,)
    start: int  # of its first sample in the audio
    is_last: bool
    is_silent: bool


class Prediction(NamedTuple):
    """What a file answers to items about one recording: a row an item, and the most probable
    language, None where it classifies none.
    """

    rows: list[np.ndarray]
    language: str | None = None


class Model:
    """An ONNX file of one task: its session, metadata, sample rate in Hz, what counts as audio."""

    task: str
    called: str

    def __init__(self, path: str | Path, threads: int = 1):
        self._path, self._session = path, session(path, threads)
        self.metadata = metadata_of(path, self._session)
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

    def _usable(self, samples: Audio, size: int) -> Iterator[Piece]:
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
            yield Piece(piece, start, is_last, reason == "silent")
            start += len(piece)


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


def session(path: str | Path, threads: int) -> onnxruntime.InferenceSession:
    """Return what runs an ONNX file on so many threads; PredictError where there is none."""
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


def metadata_of(path: str | Path, session: onnxruntime.InferenceSession) -> dict[str, str]:
    """Return what an ONNX file says of itself; PredictError where that is no text."""
    try:
        return session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError:
        raise PredictError(f"{path}: its metadata are damaged (no UTF-8)") from None


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities of logits `(…, C)`, in double precision."""
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
