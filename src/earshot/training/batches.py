"""From items and stores to padded batches: each passage is encoded once and answers all its
questions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from earshot import text
from earshot.features.recordings import Key
from earshot.params import Text
from earshot.tables.items import UNKNOWN, Item
from earshot.tables.sequences import Store

Audio = tuple[str, ...]  # the utterances that a passage's audio consists of
Group = tuple[Audio, int, list[Item]]  # a passage, the view it is heard in, the items about it


@dataclass
class Lesson:
    """What the teacher said about a batch of N items; B passages, L layers, shapes as noted, None
    where not kept.
    """

    logits: torch.Tensor  # (N, C)
    hidden: torch.Tensor  # (N, D)
    layer_logits: torch.Tensor | None = None  # (N, L, C)
    attention: torch.Tensor | None = None  # (N, L, 12, 12)
    frames: torch.Tensor | None = None  # (B, U, D)
    frame_lengths: torch.Tensor | None = None  # (B,)


@dataclass
class Share:
    """How much a part of a batch counts: its items, labelled items and frames, over the mean of all
    parts.
    """

    items: float = 1.0
    labelled: float = 1.0
    frames: float = 1.0


@dataclass
class Batch:
    """B passages and the N items about them; shapes as noted. Without options to read, questions
    and options are None.
    """

    items: list[Item]
    views: list[int]  # of each item
    sequences: torch.Tensor  # (B, T, F)
    lengths: torch.Tensor  # (B,)
    passage: torch.Tensor  # (N,) which sequence an item is about
    questions: torch.Tensor | None  # (N, Lq)
    options: torch.Tensor | None  # (N, C, Lo)
    answers: torch.Tensor  # (N,) −1 where unknown
    lesson: Lesson | None = None
    share: Share = field(default_factory=Share)

    @property
    def choices(self) -> int:
        """The largest number of options, C."""
        return max(len(item.options) for item in self.items)


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


def collate(
    groups: Sequence[Group], store: Store | Mapping[Key, np.ndarray], read: Text | None
) -> Batch:
    """Pad passages and their items to one batch; `read` says how options are encoded, None that
    there are none to read.
    """
    arrays = [sequence(store, audio, view) for audio, view, _ in groups]
    items = [item for _, _, group in groups for item in group]
    sizes = torch.tensor([len(group) for _, _, group in groups])
    questions, options = _encode(items, read.buckets) if read else (None, None)
    return Batch(
        items=items,
        views=[view for _, view, group in groups for _ in group],
        sequences=pad_frames(arrays),
        lengths=torch.tensor([len(array) for array in arrays]),
        passage=torch.repeat_interleave(torch.arange(len(groups)), sizes),
        questions=questions,
        options=options,
        answers=torch.tensor([item.answer for item in items]),
    )


def _encode(items: Sequence[Item], buckets: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return question ids `(N, Lq)` and option ids `(N, C, Lo)`; options that an item lacks are
    padding.
    """
    encoded = [text.encode_item(item.question, item.options, buckets) for item in items]
    shape = (len(items), max(o.shape[0] for _, o in encoded), max(o.shape[1] for _, o in encoded))
    options = torch.zeros(shape, dtype=torch.long)
    for row, (_, ids) in enumerate(encoded):
        options[row, : ids.shape[0], : ids.shape[1]] = torch.from_numpy(ids)
    return torch.from_numpy(text.pad([question.tolist() for question, _ in encoded])), options


class Loader:
    """Batches of `size` passages: in order of length for scoring, shuffled within length buckets
    for training.

    With `views`, training hears each passage in one of its views that the store holds, another one
    each epoch.
    """

    def __init__(
        self, items: Sequence[Item], store: Store, read: Text | None, size: int, views: bool = False
    ):
        self.store, self.read, self.size = store, read, size
        length = {
            audio: sum(store.frames(utterance) for utterance in audio) for audio in by_audio(items)
        }
        self._groups = sorted(by_audio(items).items(), key=lambda group: length[group[0]])
        self._lengths = np.array([length[audio] for audio, _ in self._groups])
        held = store.views() if views else {}
        self._views = [common_views(audio, held) if views else [0] for audio, _ in self._groups]

    def __iter__(self) -> Iterator[Batch]:
        return self.every(0, 1)

    def every(self, first: int, step: int) -> Iterator[Batch]:
        """Yield batch `first` in order of length, and each `step`-th after it."""
        clean = np.zeros(len(self._groups), int)
        for rows in self._cut(np.arange(len(self._groups)))[first::step]:
            yield self._batch(rows, clean)

    def shuffled(self, seed: int, epoch: int, part: int = 0, parts: int = 1) -> Iterator[Batch]:
        """Yield every passage once, in an order and in views that (seed, epoch) decide.

        Passages of one length stay shuffled: in the corpus' order a batch would hold a single
        class. Of each batch only the passages of `part` are read where several `parts` share it;
        where a batch is too small for all, a passage that counts nothing stands in.
        """
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(self._groups))
        chunks = np.split(order, range(16 * self.size, len(order), 16 * self.size))
        order = np.concatenate(
            [chunk[np.argsort(self._lengths[chunk], kind="stable")] for chunk in chunks]
        )
        batches = self._cut(order)
        turns = rng.permutation(len(batches))
        draws = rng.random(len(self._groups))
        views = np.array(
            [of[int(draw * len(of))] for of, draw in zip(self._views, draws, strict=True)]
        )
        for turn in turns:
            rows = batches[turn]
            batch = self._batch(
                rows if parts == 1 else rows[part::parts] if part < len(rows) else rows[:1], views
            )
            if parts > 1:
                batch.share = self._share(rows, part, parts)
            yield batch

    def _share(self, rows: np.ndarray, part: int, parts: int) -> Share:
        items = [self._groups[row][1] for row in rows]
        counts = np.array(
            [[len(own), sum(item.answer != UNKNOWN for item in own)] for own in items]
        )
        counts = np.column_stack([counts, self._lengths[rows]])
        return Share(*(counts[part::parts].sum(0) * parts / counts.sum(0).clip(1)).tolist())

    def _cut(self, rows: np.ndarray) -> list[np.ndarray]:
        """Cut rows into batches; a last one of a single passage joins the one before it, for batch
        norms need two.
        """
        last = len(rows) - (len(rows) % self.size == 1 and len(rows) > 1)
        return np.split(rows, range(self.size, last, self.size))

    def __len__(self) -> int:
        return len(self._cut(np.arange(len(self._groups))))

    def _batch(self, rows: Sequence[int], views: np.ndarray) -> Batch:
        groups = [(self._groups[row][0], int(views[row]), self._groups[row][1]) for row in rows]
        return collate(groups, self.store, self.read)
