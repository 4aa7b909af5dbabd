"""A student that writes what is said, of recordings of any length."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from earshot.features import audio
from earshot.predict.beam import Beam
from earshot.predict.model import Audio, Model, PredictError, Prediction
from earshot.text import alphabet

_SPAN = 20  # seconds of a long recording that are written down at once
_CONTEXT = 2  # seconds of sound before and behind them
WEIGHT = 1.0  # of a language model's log-probabilities


Progress = Callable[[float], None]  # seconds of a recording that are done


class SpokenWord(NamedTuple):
    """A word with its first and last second, and the geometric mean of its frames' probability."""

    text: str
    begin: float
    end: float
    probability: float


class _Part(NamedTuple):
    """What is written of a window: each frame's symbol `(T,)`, its log-posterior `(T,)`, and
    the second at which it begins `(T,)`; the languages' log-probabilities at each `(T, K)`.
    """

    path: np.ndarray
    logs: np.ndarray
    seconds: np.ndarray
    languages: np.ndarray


@dataclass(frozen=True)
class Transcription:
    """The words of a recording and its text; `confidence` is the geometric mean over frames of the
    written symbol's probability. The time taken, and the length of the audio. `languages` holds the
    probability of each by name, the geometric mean over windows by their frames; it is empty where
    the student classifies none.
    """

    text: str
    words: tuple[SpokenWord, ...]
    confidence: float
    milliseconds: float
    seconds: float
    languages: dict[str, float] = field(default_factory=dict)

    @property
    def language(self) -> str | None:
        """The most probable language; None where the student classifies none."""
        return max(self.languages, key=self.languages.get, default=None)


class _Window(NamedTuple):
    """Samples `(n,)`, the first of them at `start` in the audio; kept are `first` to `last`."""

    samples: np.ndarray
    start: int
    first: int
    last: int


def _greedy(frames: np.ndarray) -> np.ndarray:
    """Return the most probable symbol of each frame `(T,)`, for log-posteriors `(T, V)`."""
    return frames.argmax(1)


class Transcriber(Model):
    """A student that writes what is said, float or int8, on `threads` threads.

    >>> transcriber = Transcriber("models/transcripts/onnx/transcripts-kd_pool/student.int8.onnx")
    >>> result = transcriber.transcribe(audio.decode("talk.wav", transcriber.sample_rate))
    >>> result.text
    'anna bought a bicycle at the market'

    Raises PredictError when the file is missing or is no such student.
    """

    task, called = "transcript", "transcription"

    def _read(self) -> None:
        self.alphabet = tuple(map(str, json.loads(self.metadata["labels"])))
        self.frame_seconds = float(self.metadata["frame_seconds"])
        self._best_path: Callable[[np.ndarray], np.ndarray] = _greedy
        if self.alphabet[:2] != (alphabet.BLANK, alphabet.SPACE) or not self.frame_seconds > 0:
            raise ValueError(f"alphabet {self.alphabet[:2]}, frames of {self.frame_seconds} s")

        self.languages = tuple(map(str, json.loads(self.metadata.get("languages", "[]"))))
        self._language = self._shares(None)
        self._trained_given = json.loads(self.metadata["student"]).get("language") == "given"

    def set_language(self, language: str | None) -> None:
        """Write the letters of a language from now on, and condition the student on it where it can
        be; None has it predict one, window by window. Raises PredictError for one that it lacks.
        """
        if language is not None and not self.languages:
            raise PredictError(
                f"{self._path}: it classifies no languages (student.languages); leave "
                f"language={language!r} out"
            )
        if language is not None and language not in self.languages:
            known = ", ".join(self.languages)
            raise PredictError(f"{self._path}: language={language!r} must be one of {known}")
        self._language = self._shares(language)

    def _shares(self, language: str | None) -> np.ndarray:
        """Return a language as the file takes it `(K,)`, all zeros where it is not known."""
        return np.array([one == language for one in self.languages], np.float32)

    def use(self, language_model: str | Path, weight: float = WEIGHT) -> None:
        """Write from now on what an ARPA language model, too, finds probable: only words that it
        lists (`predict.beam`). Raises PredictError for a file that is none, or where the package is
        missing.
        """
        self._best_path = Beam(language_model, self.alphabet, weight).path

    def transcribe(
        self, samples: Audio, progress: Progress = lambda seconds: None
    ) -> Transcription:
        """Write down mono samples `(N,)` at `sample_rate`, in [−1, 1], of any length.

        A long recording is cut into windows that end where it is quiet, each with the sound before
        and behind it; of their frames those between the ends are joined. As blocks, such as
        `audio.stream` yields, it is never all in memory. `progress` is called with the seconds
        that are done. Raises PredictError for audio that is empty, too short or silent.
        """
        parts, spent, seconds = [], 0.0, 0.0
        for window in self._windows(samples):
            begun = time.perf_counter()
            parts.append(self._part(window))
            spent += (time.perf_counter() - begun) * 1000
            seconds = window.last / self.sample_rate
            progress(seconds)
        if all(part is None for part in parts):
            raise PredictError("the audio is silent")
        whole = [np.concatenate(each) for each in zip(*filter(None, parts), strict=True)]
        words = tuple(self._words(_Part(*whole)))
        text = " ".join(word.text for word in words)
        means = np.exp(whole[3].mean(0)).tolist()
        languages = dict(zip(self.languages, means, strict=True))
        confidence = float(np.exp(whole[1].mean()))
        return Transcription(text, words, confidence, spent, seconds, languages)

    def _part(self, window: _Window) -> _Part | None:
        """Return what is written between the ends of a window; None where that is silent."""
        reason = audio.check(window.samples, self.sample_rate, *self._limits)
        if reason == "silent":
            return None
        if reason is not None:
            raise PredictError(f"the audio is {reason}")
        frames, languages = self._infer(window.samples, self._language)  # (T, V), (K,)
        seconds = window.start / self.sample_rate + self.frame_seconds * np.arange(len(frames))
        first, last = window.first / self.sample_rate, window.last / self.sample_rate
        kept = (seconds >= first) & (seconds < last)
        path = self._best_path(frames)
        logs = frames[np.arange(len(path)), path]
        return _Part(path[kept], logs[kept], seconds[kept], np.tile(languages, (kept.sum(), 1)))

    def _words(self, part: _Part) -> Iterator[SpokenWord]:
        """Yield the words of frames."""
        for word, first, last in alphabet.words(part.path.tolist(), self.alphabet):
            written = part.logs[first:last][part.path[first:last] != 0]
            begin, end = part.seconds[first], part.seconds[last - 1] + self.frame_seconds
            yield SpokenWord(word, float(begin), float(end), float(np.exp(written.mean())))

    def _windows(self, samples: Audio) -> Iterator[_Window]:
        """Yield windows of at most `_SPAN` seconds, with `_CONTEXT` seconds on both sides."""
        span, context = _SPAN * self.sample_rate, _CONTEXT * self.sample_rate
        waiting, start, first = np.empty(0, np.float32), 0, 0  # start: of what is waiting
        for block in [samples] if isinstance(samples, np.ndarray) else samples:
            waiting = np.concatenate([waiting, block])
            while start + len(waiting) > first + span + context:
                low, high = first + span // 2 - start, first + span - start
                last = start + low + audio.quietest(waiting[low:high], self.sample_rate)
                yield _Window(waiting[: last + context - start], start, first, last)
                begin = max(last - context, start)
                waiting, start, first = waiting[begin - start :], begin, last
        yield _Window(waiting, start, first, start + len(waiting))

    def inputs(self, items: Sequence[Any]) -> tuple[np.ndarray, ...]:
        """Return nothing: the audio is all there is."""
        return ()

    def logits(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 log-posteriors `(T, V)` for the samples of one clip `(N,)`."""
        return self._infer(samples, self._language)[0]

    def _infer(self, samples: np.ndarray, language: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log-posteriors `(T, V)`, and the log-probabilities of K languages `(K,)`."""
        outputs = ["log_posteriors", "language_log_probabilities"][: 1 + bool(self.languages)]
        given = {"language": language} if self.languages else {}
        frames, *rest = self._run(outputs, {"waveform": samples} | given)
        languages = rest[0] if rest else language
        if frames.ndim != 2 or frames.shape[1] != len(self.alphabet):
            shape = f"log-posteriors {frames.shape} for {len(self.alphabet)} symbols"
            raise PredictError(f"{self._path}: its metadata are damaged ({shape})")
        if languages.shape != (len(self.languages),):
            shape = f"log-probabilities {languages.shape} for {len(self.languages)} languages"
            raise PredictError(f"{self._path}: its metadata are damaged ({shape})")
        return frames, languages

    def answers(self, samples: np.ndarray, items: Sequence[Any]) -> Prediction:
        """Return the most probable symbol of each frame `(T,)`, int16, for each item; a student
        that was trained with the language `given` is given that of the items.
        """
        given = items[0].language if self._trained_given else None
        frames, languages = self._infer(samples, self._shares(given))
        path = frames.argmax(1).astype(np.int16)
        best = self.languages[languages.argmax()] if self.languages else None
        return Prediction([path for _ in items], best)
