"""A student for multiple choice: questions about a recording, answered."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from earshot import text
from earshot.features import audio
from earshot.predict.model import Audio, Model, PredictError, Prediction, softmax

_PIECE = 150  # seconds of a long recording that are answered about at once


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


class Student(Model):
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
        ids = [each[None] for each in self._encoded(question, options)]
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

    def _encoded(self, question: str, options: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
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

    def answers(self, samples: np.ndarray, items: Sequence[Any]) -> Prediction:
        """Return the probabilities `(C,)` of each item's options, float64."""
        probabilities = softmax(self.logits(samples, *self.inputs(items)))  # (Q, C)
        rows = zip(probabilities, items, strict=True)
        return Prediction([row[: len(item.options)] for row, item in rows])

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
