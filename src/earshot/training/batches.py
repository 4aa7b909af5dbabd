"""From items and sequences to padded batches: a passage is encoded once for all its questions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from earshot.tables.items import Item
from earshot.tables.sequences import Key, Store
from earshot.tasks.task import Task

Audio = tuple[str, ...]  # the utterances that a passage's audio consists of
Group = tuple[Audio, int, list[Item]]  # a passage, its view, the items about it
BUCKET = 16  # batches whose passages are sorted by length together


@dataclass
class Share:
    """How much a part of a batch counts: its items, labelled items and frames over the mean
    part's.
    """

    items: float = 1.0
    labelled: float = 1.0
    frames: float = 1.0


@dataclass
class Batch:
    """B passages and the N items about them."""

    items: list[Item]
    views: list[int]  # of each item
    sequences: torch.Tensor  # (B, T, F)
    lengths: torch.Tensor  # (B,)
    passage: torch.Tensor  # (N,) which sequence an item is about
    inputs: dict[str, torch.Tensor]  # what the head reads beside the audio, N rows each
    targets: dict[str, torch.Tensor]  # labels, N rows each
    signals: dict[str, torch.Tensor] = field(default_factory=dict)  # the teacher's, by name
    share: Share = field(default_factory=Share)


def sequence(store: Store | Mapping[Key, np.ndarray], audio: Audio, view: int = 0) -> np.ndarray:
    """Return the frames `(T, F)` of utterances end to end, as float16."""
    return np.concatenate([store[(utterance, view)] for utterance in audio])


def pad_frames(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    """Return float32 `(B, T, F)` of sequences `(T_b, F)`, filled up with zeros."""
    frames = torch.zeros(len(arrays), max(map(len, arrays)), arrays[0].shape[1])
    for row, array in enumerate(arrays):
        frames[row, : len(array)] = torch.from_numpy(array.astype(np.float32))
    return frames


def common_views(audio: Audio, views: Mapping[str, Sequence[int]]) -> list[int]:
    """Return the views that all utterances of a passage have, in ascending order."""
    return sorted(set.intersection(*(set(views[utterance]) for utterance in audio)))


def by_audio(items: Sequence[Item]) -> dict[Audio, list[Item]]:
    """Group items by the audio they are about, in order of appearance."""
    groups: dict[Audio, list[Item]] = {}
    for item in items:
        groups.setdefault(item.utterances, []).append(item)
    return groups


def collate(groups: Sequence[Group], store: Store | Mapping[Key, np.ndarray], task: Task) -> Batch:
    """Pad passages, and what the task makes of the items about them, to one batch."""
    arrays = [sequence(store, audio, view) for audio, view, _ in groups]
    items = [item for _, _, group in groups for item in group]
    sizes = torch.tensor([len(group) for _, _, group in groups])
    return Batch(
        items=items,
        views=[view for _, view, group in groups for _ in group],
        sequences=pad_frames(arrays),  # (B, T, F)
        lengths=torch.tensor([len(array) for array in arrays]),
        passage=torch.repeat_interleave(torch.arange(len(groups)), sizes),  # (N,)
        inputs=task.inputs(items),
        targets=task.targets(items),
    )


class Loader:
    """Batches of `size` passages: by length for scoring, shuffled within buckets for training.

    With `views`, training has each passage in one of the views that the store holds, another one
    each epoch. With `balance` β an epoch of training has as much audio as there is, a language of n
    hours a share of it in proportion to n^β; passages of small ones come several times.
    """

    def __init__(
        self,
        items: Sequence[Item],
        store: Store,
        task: Task,
        size: int,
        views: bool = False,
        balance: float | None = None,
    ):
        self.store, self.task, self.size = store, task, size
        passages = by_audio(items)
        length = {audio: sum(map(store.frames, audio)) for audio in passages}
        self._groups = sorted(passages.items(), key=lambda group: length[group[0]])
        self._lengths = np.array([length[audio] for audio, _ in self._groups])
        held = store.views() if views else {}
        self._views = [common_views(audio, held) if views else [0] for audio, _ in self._groups]
        self._drawn = {None: (np.arange(len(self._groups)), len(self._groups))}
        if balance not in (None, 1):
            self._drawn = self._balanced(balance)

    def __iter__(self) -> Iterator[Batch]:
        return self.every(0, 1)

    def __len__(self) -> int:
        return len(self._cut(np.arange(sum(count for _, count in self._drawn.values()))))

    def every(self, first: int, step: int) -> Iterator[Batch]:
        """Yield batch `first` in order of length, and each `step`-th after it."""
        clean = np.zeros(len(self._groups), int)
        batches = self._cut(np.arange(len(self._groups)))
        for rows in batches[first::step]:
            yield self._batch(rows, clean)

    def shuffled(self, seed: int, epoch: int, part: int = 0, parts: int = 1) -> Iterator[Batch]:
        """Yield every passage once, or as often as `balance` has it, in an order and in views that
        (seed, epoch) decide.

        Of each batch only the passages of `part` are read where several `parts` share it; where a
        batch is too small for all, a passage that counts nothing stands in.
        """
        rng = np.random.default_rng([seed, epoch])
        batches = self._cut(self._order(rng))
        turns = rng.permutation(len(batches))
        views = self._drawn_views(rng)
        for turn in turns:
            rows = batches[turn]
            if parts == 1:
                yield self._batch(rows, views)
                continue
            taken = rows[part::parts] if part < len(rows) else rows[:1]
            batch = self._batch(taken, views)
            batch.share = self._share(rows, part, parts)
            yield batch

    def _balanced(self, balance: float) -> dict[str | None, tuple[np.ndarray, int]]:
        """Return of each language its passages, and how many of them an epoch has: at the mean
        length of its passages, pᵢ ∝ nᵢ^β of all frames (Arivazhagan et al. 2019, arXiv 1907.05019,
        whose 1/T is β). Passages of an unknown language are one language.
        """
        named = np.array([group[0].language or "" for _, group in self._groups])
        rows = {language: np.flatnonzero(named == language) for language in np.unique(named)}
        frames = {language: self._lengths[of].sum() for language, of in rows.items()}
        powers = {language: float(sum_) ** balance for language, sum_ in frames.items()}
        scale = self._lengths.sum() / sum(powers.values())
        return {
            language: (of, max(1, round(scale * powers[language] * len(of) / frames[language])))
            for language, of in rows.items()
        }

    def _passages(self, rng: np.random.Generator) -> np.ndarray:
        """Return an epoch's passages in random order: each of a language as often as any other of
        it, or once more.
        """
        drawn = []
        for rows, count in self._drawn.values():
            whole, rest = divmod(count, len(rows))
            drawn.append(np.concatenate([np.repeat(rows, whole), rng.permutation(rows)[:rest]]))
        return rng.permutation(np.concatenate(drawn))

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        """Return a random order of passages, sorted by length within buckets.

        Passages of one length stay shuffled: in the corpus' order a batch would hold one class.
        """
        order = self._passages(rng) if len(self._drawn) > 1 else rng.permutation(len(self._groups))
        edges = range(BUCKET * self.size, len(order), BUCKET * self.size)
        buckets = np.split(order, edges)
        by_length = [rows[np.argsort(self._lengths[rows], kind="stable")] for rows in buckets]
        return np.concatenate(by_length)

    def _drawn_views(self, rng: np.random.Generator) -> np.ndarray:
        draws = rng.random(len(self._groups))
        return np.array(
            [of[int(draw * len(of))] for of, draw in zip(self._views, draws, strict=True)]
        )

    def _share(self, rows: np.ndarray, part: int, parts: int) -> Share:
        items = [self._groups[row][1] for row in rows]
        sizes = [len(group) for group in items]
        labelled = [sum(item.labelled for item in group) for group in items]
        counts = np.column_stack([sizes, labelled, self._lengths[rows]])
        return Share(*(counts[part::parts].sum(0) * parts / counts.sum(0).clip(1)).tolist())

    def _cut(self, rows: np.ndarray) -> list[np.ndarray]:
        """Cut rows into batches; a last single passage joins those before, as batch norms need
        two.
        """
        last = len(rows) - (len(rows) % self.size == 1 and len(rows) > 1)
        return np.split(rows, range(self.size, last, self.size))

    def _batch(self, rows: Sequence[int], views: np.ndarray) -> Batch:
        groups = [(self._groups[row][0], int(views[row]), self._groups[row][1]) for row in rows]
        return collate(groups, self.store, self.task)
