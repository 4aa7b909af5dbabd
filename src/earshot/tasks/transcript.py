"""Transcription: what is said in a clip, written frame by frame with CTC."""

from collections.abc import Mapping, Sequence, Set
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import nn

from earshot.models.ctc import CTCHead
from earshot.models.heads import ABSENT
from earshot.params import Text
from earshot.tables.answers import language_of
from earshot.tables.items import Item, ItemError
from earshot.tables.sequences import Row
from earshot.tasks.task import Score
from earshot.text import alphabet, edits
from earshot.training import losses

if TYPE_CHECKING:
    from earshot.models.heads import Encoded
    from earshot.training.batches import Batch
    from earshot.training.output import Output


NOTHING: Mapping[str | None, Set[str]] = MappingProxyType({})  # by no language


class FramesError(ValueError):
    """A transcript that is longer than a model has frames for it; the message names the clip."""


def transcript_signals(ids: Sequence[int], confidence: float) -> dict[str, np.ndarray]:
    """Return a teacher's transcript as students read it: its `symbols` `(L, 1)`, a blank where it
    has none, and the teacher's `confidence` in it `(1, 1)`, a mean log-probability.
    """
    symbols = np.array([*ids] or [0], np.int16)
    return {"symbols": symbols[:, None], "confidence": np.full((1, 1), confidence, np.float32)}


class Transcript:
    """A symbol of the alphabet, or a blank, at every frame; `labels` is the alphabet.

    A teacher of one language has its own alphabet, which is part of that of the items, their
    options. Its outputs are given in theirs, in which symbols that it does not know have no mass:
    their log-posterior is `ABSENT`.

    N items about a clip each, T frames, V symbols, L symbols of the longest transcript.
    """

    def __init__(
        self,
        text: Text | None,
        labels: Sequence[str] = (),
        written: Mapping[str | None, Set[str]] = NOTHING,
    ):
        self.labels, self.written = tuple(labels), written

    @classmethod
    def of(cls, text: Text | None, items: Sequence[Item]) -> Self:
        """Return the task of items whose options are the alphabet; ItemError if there are none."""
        if not items:
            raise ItemError(
                "no clip of the roles asked for is there to learn from; transcribe some, or take a "
                "teacher with a CTC head of its own as it is, with epochs: 0"
            )
        written: dict[str | None, set[str]] = {}
        for item in items:
            written.setdefault(item.language, set()).update(item.transcript or "")
        return cls(text, items[0].options, written)

    def head(self, width: int) -> CTCHead:
        """Return a linear layer with an output per symbol, for every frame."""
        return CTCHead(width, len(self.labels))

    def letters(self, languages: Sequence[str]) -> torch.Tensor:
        """Return 1 where a language writes a symbol, else 0, `(K, V)`: the blank, the space, the
        letters of its transcripts, and those that no language's transcripts have. Of one without
        transcripts nothing is known: it writes all.
        """
        anywhere = set().union(*self.written.values())
        rows = []
        for language in languages:
            known = self.written.get(language) or anywhere
            rows.append([one in known or one not in anywhere for one in self.labels])
        return torch.tensor(rows, dtype=torch.float32)

    def inputs(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Return nothing: the audio is all there is."""
        return {}

    def targets(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Return the symbols of the transcripts, `symbols` `(N, L)` filled up with blanks, and
        their numbers, `symbol_counts` `(N,)`: 0 where the transcript is not known, or not to be
        written with the labels, as a teacher's of one language may lack letters of a test clip.
        """
        rows = [self._symbols(item) for item in items]
        symbols = torch.zeros(len(rows), max(1, *map(len, rows)), dtype=torch.long)
        for row, ids in enumerate(rows):
            symbols[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        return {"symbols": symbols, "symbol_counts": torch.tensor([len(ids) for ids in rows])}

    def _symbols(self, item: Item) -> list[int]:
        known = item.transcript is not None and not alphabet.foreign(item.transcript, self.labels)
        return alphabet.encode(item.transcript, self.labels) if known else []

    def logits(
        self, head: nn.Module, encoded: "Encoded", batch: "Batch"
    ) -> dict[str, torch.Tensor]:
        """Return the logits of the symbols, `frames` `(N, T, V)`, and how many frames of each are
        no padding, `frame_counts` `(N,)`; those of K languages, `language` `(N, K)`, where the head
        classifies them.
        """
        counts = encoded.counts[encoded.passage]
        frames = {"frames": head.symbols(encoded), "frame_counts": counts}
        return frames if encoded.language is None else frames | {"language": encoded.language}

    def loss(self, output: "Output", batch: "Batch") -> torch.Tensor:
        """Return the CTC loss of `losses.ctc` over the items whose transcript is known.

        FramesError names an item that has more symbols than frames: its loss would be infinite.
        """
        frames, counts = output.logits["frames"], output.logits["frame_counts"]
        symbols, numbers = batch.targets["symbols"], batch.targets["symbol_counts"]
        needed = losses.frames_needed(symbols, numbers)
        for row in (needed > counts).nonzero()[:1].flatten().tolist():
            raise FramesError(
                f"{batch.items[row].id}: its transcript needs {needed[row]} frames, the model has "
                f"{counts[row]}; join fewer (student.stack, student.stride) or leave the clip out"
            )
        return losses.ctc(frames, counts, symbols, numbers)

    def decode(self, output: "Output", batch: "Batch") -> dict[str, np.ndarray]:
        """Return the most probable symbol of each frame `(T,)`, int16, by item id, and by
        `answers.language_of` it the most probable language, where the model classifies them.
        """
        best = output.logits["frames"].argmax(-1).cpu().numpy()  # (N, T)
        counts = output.logits["frame_counts"].tolist()
        rows = zip(batch.items, best, counts, strict=True)
        paths = {item.id: self._places(item)[path[:count]] for item, path, count in rows}
        return paths | self._languages(output, batch)

    def _languages(self, output: "Output", batch: "Batch") -> dict[str, np.ndarray]:
        """Return the most probable language of each item, where a model classifies them."""
        if "language" not in output.logits:
            return {}
        best = output.logits["language"].argmax(-1).tolist()
        rows = zip(batch.items, best, strict=True)
        return {language_of(item.id): np.array(output.languages[one]) for item, one in rows}

    def _places(self, item: Item) -> np.ndarray:
        """Return where in an item's alphabet each label is, `(V,)`, int16."""
        if self.labels == item.options:
            return np.arange(len(self.labels), dtype=np.int16)
        return np.array(alphabet.places(self.labels, item.options), np.int16)

    def signals(self, output: "Output", batch: "Batch") -> dict[str, list[Row]]:
        """Return log-posteriors `(T, V)` of the items' alphabet, and the `transcript_signals` of a
        transcript; a model's confidence in its own is the mean over frames of its best symbol's
        log-posterior.
        """
        posteriors = output.logits["frames"].log_softmax(-1).cpu().numpy()  # (N, T, V)
        counts = output.logits["frame_counts"].tolist()
        rows: dict[str, list[Row]] = {"posteriors": [], "symbols": [], "confidence": []}
        rows_of_items = zip(batch.items, batch.views, posteriors, counts, strict=True)
        for item, view, padded, count in rows_of_items:
            frames = np.full((count, len(item.options)), ABSENT, padded.dtype)
            frames[:, self._places(item)] = padded[:count]
            symbols = alphabet.collapsed(frames.argmax(-1).tolist())
            kept = {"posteriors": frames, **transcript_signals(symbols, frames.max(-1).mean())}
            for name, values in kept.items():
                rows[name].append((item.id, view, values))
        return rows

    def count(self, answer: np.ndarray, item: Item) -> np.ndarray:
        """Return of an item 1, its characters n and errors e, n², ne, e², its words and their
        errors, `(8,)`.
        """
        hypothesis = alphabet.decode(answer.tolist(), item.options)
        characters = len(item.transcript)
        errors = sum(edits.of_characters(item.transcript, hypothesis))
        squares = characters * characters, characters * errors, errors * errors
        words = len(item.transcript.split()), sum(edits.of_words(item.transcript, hypothesis))
        return np.array([1, characters, errors, *squares, *words], float)

    def score(self, counts: np.ndarray) -> Score:
        """Return the character accuracy 1 − Σe/Σn, its error, and the word error rate.

        Characters, not words: where a student has all words wrong, fewest words are wrong of one
        that writes nothing. The error is that of a ratio of sums r = Σe/Σn over N items:
        √(N/(N−1) · Σ(e − rn)²) / Σn. Where less is right than nothing would be, more having been
        inserted than was said, accuracy is below zero.
        """
        number, characters, errors, characters_2, both, errors_2, words, wrong = counts
        rate = errors / characters
        spread = max(errors_2 - 2 * rate * both + rate * rate * characters_2, 0.0)
        error = np.sqrt(spread * number / max(number - 1, 1)) / characters
        return Score(float(1 - rate), float(error), float(wrong / words))

    def score_all(self, answers: Mapping[str, np.ndarray], items: Sequence[Item]) -> Score:
        """Return the score of answers, by item id, to these items."""
        return self.score(sum(self.count(answers[item.id], item) for item in items))
