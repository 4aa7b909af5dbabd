"""From items and stores to padded batches: each passage is encoded once and answers all its questions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from earshot import text
from earshot.items import Item
from earshot.store import Store

Audio = tuple[str, ...]  # the utterances that a passage's audio consists of


@dataclass
class Batch:
    """B passages and the N items about them; shapes as noted."""

    items: list[Item]
    sequences: torch.Tensor  # (B, T, F)
    lengths: torch.Tensor  # (B,)
    passage: torch.Tensor  # (N,) which sequence an item is about
    questions: torch.Tensor  # (N, Lq)
    options: torch.Tensor  # (N, C, Lo)
    answers: torch.Tensor  # (N,) −1 where unknown
    teacher_logits: torch.Tensor | None = None  # (N, C)
    teacher_hidden: torch.Tensor | None = None  # (N, D)


def sequence(store: Store, audio: Audio) -> np.ndarray:
    """Return the frames `(T, F)` of utterances end to end, as float16."""
    return np.concatenate([store[utterance] for utterance in audio])


def by_audio(items: Sequence[Item]) -> dict[Audio, list[Item]]:
    """Group items by the audio they are about, in order of appearance."""
    groups: dict[Audio, list[Item]] = {}
    for item in items:
        groups.setdefault(item.utterances, []).append(item)
    return groups


def collate(groups: Sequence[tuple[Audio, list[Item]]], store: Store, buckets: int) -> Batch:
    """Pad passages and their items to one batch."""
    arrays = [sequence(store, audio) for audio, _ in groups]
    sequences = torch.zeros(len(arrays), max(map(len, arrays)), arrays[0].shape[1])
    for row, array in enumerate(arrays):
        sequences[row, : len(array)] = torch.from_numpy(array.astype(np.float32))
    items = [item for _, group in groups for item in group]
    encoded = [text.encode_item(item.question, item.options, buckets) for item in items]
    options = torch.zeros(
        len(items), max(o.shape[0] for _, o in encoded), max(o.shape[1] for _, o in encoded), dtype=torch.long
    )
    for row, (_, ids) in enumerate(encoded):
        options[row, : ids.shape[0], : ids.shape[1]] = torch.from_numpy(ids)
    return Batch(
        items=items,
        sequences=sequences,
        lengths=torch.tensor([len(array) for array in arrays]),
        passage=torch.repeat_interleave(torch.arange(len(groups)), torch.tensor([len(group) for _, group in groups])),
        questions=torch.from_numpy(text.pad([question.tolist() for question, _ in encoded])),
        options=options,
        answers=torch.tensor([item.answer for item in items]),
    )


class Loader:
    """Batches of `size` passages: in order of length for scoring, shuffled within length buckets for training."""

    def __init__(self, items: Sequence[Item], store: Store, buckets: int, size: int):
        self.store, self.buckets, self.size = store, buckets, size
        groups = list(by_audio(items).items())
        self._groups = sorted(groups, key=lambda group: sum(store.frames(u) for u in group[0]))

    def __iter__(self) -> Iterator[Batch]:
        yield from (self._batch(range(start, min(start + self.size, len(self._groups)))) for start in self._starts())

    def shuffled(self, seed: int, epoch: int) -> Iterator[Batch]:
        """Yield every passage once, in an order that (seed, epoch) decide."""
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self._groups))
        chunk = 16 * self.size
        order = np.concatenate([np.sort(order[i : i + chunk]) for i in range(0, len(order), chunk)])
        for start in rng.permutation(self._starts()):
            yield self._batch(order[start : start + self.size])

    def _starts(self) -> range:
        return range(0, len(self._groups), self.size)

    def __len__(self) -> int:
        return len(self._starts())

    def _batch(self, rows: Sequence[int]) -> Batch:
        return collate([self._groups[row] for row in rows], self.store, self.buckets)
