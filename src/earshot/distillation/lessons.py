"""Lessons: the teacher's signals for a batch, as tensors beside the student's input.

N items, C options, L layers, B passages, U teacher frames, D the teacher's width.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from earshot.models.heads import ABSENT
from earshot.params import Augment
from earshot.tables.items import Item
from earshot.tables.signals import DTYPES, Averaged, Signals
from earshot.training import routing
from earshot.training.augment import augment_batch
from earshot.training.batches import Batch, pad_frames

AS_IT_IS = Augment()


def lesson(
    batch: Batch, signals: Signals | Averaged, names: Iterable[str]
) -> dict[str, torch.Tensor]:
    """Return the named signals for a batch by item id and view, float32 unless stated otherwise.

    `logits` are `(N, C)`, of an absent option −1e4; `front` `(B, U, D)` comes with `front_lengths`
    `(B,)`, `attention` as `(N, L, 12, 12)`, `hidden` as `(N, kept layers · D)`. `posteriors` `(N,
    U, V)` and `states` `(N, U, kept layers · D)` come with `…_lengths` `(N,)`. `symbols` `(N, L)`,
    whole numbers, are filled up with blanks.

    An item that no teacher has answered, as none is of its language, has no frames of the last two,
    no symbols, and no confidence.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name in names:
        if name == "front":
            frames = _fronts(batch, signals)
            tensors["front"] = pad_frames(frames)
            tensors["front_lengths"] = torch.tensor([len(one) for one in frames])
        else:
            pairs = zip(batch.items, batch.views, strict=True)
            rows = [_row(signals, name, item, view) for item, view in pairs]
            if name in BY_FRAME:
                tensors[name] = pad_frames(rows)
                tensors[f"{name}_lengths"] = torch.tensor([len(row) for row in rows])
            else:
                tensors[name] = SHAPES.get(name, _stacked)(rows)
    return tensors


def _row(signals: Signals | Averaged, name: str, item: Item, view: int) -> np.ndarray:
    """Return a signal of an item; KeyError where there is none and there must be."""
    if name in UNTAUGHT and (name, item.id, view) not in signals:
        rows, value = UNTAUGHT[name]
        return np.full((rows, signals.widths[name]), value, np.dtype(DTYPES[name]))
    return signals[name, item.id, view]


def _fronts(batch: Batch, signals: Signals | Averaged) -> list[np.ndarray]:
    """Return the front-end frames `(U, D)` of each passage."""
    first: dict[int, int] = {}  # passage → its first item
    for row, passage in enumerate(batch.passage.tolist()):
        first.setdefault(passage, row)
    rows = [first[passage] for passage in sorted(first)]
    return [front(signals, batch.items[row], batch.views[row]) for row in rows]


def front(signals: Signals | Averaged, item: Item, view: int = 0) -> np.ndarray:
    """Return the front-end frames `(U, D)` of an item's utterances, end to end."""
    return np.concatenate([signals["front", utterance, view] for utterance in item.utterances])


def mean_frame(signals: Signals | Averaged, items: Sequence[Item]) -> torch.Tensor:
    """Return the mean `(D,)` of the front-end frames over items, in view 0."""
    means = [front(signals, item).astype(np.float32).mean(0) for item in items]
    return torch.from_numpy(np.mean(means, 0))


def _stacked(rows: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.float32))  # (N, T, W)


def _options(rows: Sequence[np.ndarray]) -> torch.Tensor:
    """Return `(N, C)` of rows `(C_n, 1)`, filled up with the logit of what is absent."""
    logits = torch.full((len(rows), max(map(len, rows))), ABSENT)
    for place, row in enumerate(rows):
        logits[place, : len(row)] = torch.from_numpy(row[:, 0])
    return logits


def _maps(rows: Sequence[np.ndarray]) -> torch.Tensor:
    return _stacked(rows).unflatten(2, (routing.SIZE, routing.SIZE))  # (N, L, 12, 12)


def _symbols(rows: Sequence[np.ndarray]) -> torch.Tensor:
    return pad_frames(rows)[..., 0].long()  # (N, L)


BY_FRAME = {"posteriors", "states"}  # of as many frames as the item has
# Rows and value of the signals of an item that no teacher has answered.
UNTAUGHT = {"posteriors": (0, 0), "states": (0, 0), "symbols": (1, 0), "confidence": (1, ABSENT)}
SHAPES = {
    "logits": _options,
    "hidden": lambda rows: _stacked(rows).flatten(1),  # (N, kept · D)
    "attention": _maps,
    "symbols": _symbols,
}


def with_lessons(
    batches: Iterable[Batch],
    signals: Signals | Averaged,
    names: Sequence[str],
    augment: Augment = AS_IT_IS,
) -> Iterator[Batch]:
    """Attach the teacher's signals to batches, and change both as `augment` says."""
    for batch in batches:
        batch.signals = lesson(batch, signals, names)
        augment_batch(batch, augment)
        yield batch
