"""Teachers that answer from frames: their answers, and the signals that students learn from.

B passages, N items about them, T frames, D the width of the teacher, L its layers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from earshot.features.recordings import Recordings
from earshot.models import accelerator
from earshot.models.heads import Encoded, frame_counts, masked_mean
from earshot.params import Cache
from earshot.runtime.progress import chunks
from earshot.tables.items import Item
from earshot.tables.sequences import Row
from earshot.tasks.task import Task
from earshot.teacher.frozen import frozen_states
from earshot.teacher.kinds import AnyTeacher
from earshot.teacher.wav2vec2 import Lower, Teacher
from earshot.training import routing
from earshot.training.batches import Audio, Batch, Group, by_audio, collate, common_views
from earshot.training.loop import predict
from earshot.training.output import Output, run

BATCH = 16  # passages
Rows = dict[str, list[Row]]  # signal → (id, view, (T, W) array)


def all_views(groups: Mapping[Audio, list[Item]], recordings: Recordings) -> Iterator[Group]:
    """Yield each passage in every view that all its utterances have."""
    for audio, items in groups.items():
        for view in common_views(audio, recordings.views):
            yield audio, view, items


class FrozenBatch(NamedTuple):
    """A batch of passages on the last frozen layer, and all outputs of the frozen part for them."""

    batch: Batch
    passages: list[list[Lower]]  # of each passage, of each of its utterances
    groups: list[Group]


def frozen_batches(
    teacher: AnyTeacher,
    task: Task,
    recordings: Recordings,
    groups: Iterable[Group],
    whole: bool = False,
) -> Iterator[FrozenBatch]:
    """Yield batches of passages, a batch in memory; with `whole` all frozen layers are kept."""
    for some in chunks(groups, BATCH):
        keys = sorted({(utterance, view) for audio, view, _ in some for utterance in audio})
        lower = dict(frozen_states(teacher, recordings, keys, whole))
        last = {key: one.states[-1].numpy().astype(np.float16) for key, one in lower.items()}
        passages = [[lower[utterance, view] for utterance in audio] for audio, view, _ in some]
        yield FrozenBatch(collate(some, last, task), passages, some)


def run_whole(teacher: AnyTeacher, task: Task, some: FrozenBatch) -> tuple[Batch, Output]:
    """Return the batch where the teacher is, and there its output with the layers that were kept.

    The lowest comes first, the tuned ones last.
    """
    batch = accelerator.put(some.batch, accelerator.where(teacher))
    pooled, layers = teacher.whole(batch.sequences, batch.lengths, some.passages)
    pooled = pooled[batch.passage]  # (B, D) → (N, D)
    real = teacher.real(batch.sequences, batch.lengths)
    counts = frame_counts(teacher, batch.lengths)
    encoded = Encoded(pooled, layers, real, counts, batch.passage)
    logits = task.logits(teacher.head, encoded, batch)
    return batch, Output(logits, pooled, layers)


@torch.inference_mode()
def signals(
    teacher: AnyTeacher,
    task: Task,
    recordings: Recordings,
    params: Cache,
    groups: Iterable[Group],
) -> Iterator[Rows]:
    """Yield batch by batch what `teacher.cache` keeps: rows by signal."""
    layered = params.layered and len(teacher.auxiliary) > 0
    whole = layered or max(params.layers) > teacher.tuned_layers
    with accelerator.hosting(teacher):
        for some in frozen_batches(teacher, task, recordings, groups, whole):
            batch, output = run_whole(teacher, task, some)
            rows = task.signals(output, batch)
            means = [_mean(teacher, output, batch, layer) for layer in params.layers]  # (N, D) each
            rows["hidden"] = _rows(batch, torch.stack(means, 1))  # (N, kept, D)
            if params.states:
                kept = [output.layers[-1 - layer] for layer in params.layers]
                rows["states"] = _by_frame(batch, torch.cat(kept, -1))  # (B, T, kept · D)
            if layered:
                rows |= _layered(teacher, batch, output)
                rows["front"] = _front(some)
            yield rows


def _mean(teacher: AnyTeacher, output: Output, batch: Batch, layer: int) -> torch.Tensor:
    """Return the mean over time `(N, D)` of a layer counted from the top, for each item.

    Of the last it is what the head reads.
    """
    if layer == 0:
        return output.pooled
    lengths = -(-batch.lengths // teacher.strides[-1 - layer])
    return masked_mean(output.layers[-1 - layer], lengths)[batch.passage]


def _layered(teacher: Teacher, batch: Batch, output: Output) -> Rows:
    """Return each layer's own logits `(L, C)` and attention map `(L, 12 · 12)`, a row per item."""
    heads = zip(teacher.auxiliary, output.layers, strict=True)
    logits = [head(masked_mean(layer, batch.lengths)) for head, layer in heads]  # (B, C) each
    maps = [routing.attention(layer, batch.lengths).flatten(1) for layer in output.layers]
    return {
        "layer_logits": _by_item(batch, torch.stack(logits, 1)),
        "attention": _by_item(batch, torch.stack(maps, 1)),
    }


def _by_item(batch: Batch, values: torch.Tensor) -> list[Row]:
    """Return values `(B, T, W)` of passages as rows of the items about them."""
    return _rows(batch, values[batch.passage])


def _rows(batch: Batch, values: torch.Tensor) -> list[Row]:
    """Return values `(N, T, W)` of items as rows."""
    ids = [item.id for item in batch.items]
    return list(zip(ids, batch.views, values.cpu().numpy(), strict=True))


def _by_frame(batch: Batch, values: torch.Tensor) -> list[Row]:
    """Return values `(B, T, W)` of passages as rows of the items about them, without padding."""
    lengths = batch.lengths[batch.passage].tolist()
    rows = _by_item(batch, values)
    return [(id, view, row[:length]) for (id, view, row), length in zip(rows, lengths, strict=True)]


def _front(some: FrozenBatch) -> list[Row]:
    """Return the front-end frames `(T, D)` of a batch's utterances, each in its view, once."""
    rows = {
        (utterance, view): lower.front.numpy()
        for (audio, view, _), passage in zip(some.groups, some.passages, strict=True)
        for utterance, lower in zip(audio, passage, strict=True)
    }
    return [(*key, frames) for key, frames in rows.items()]


def answers(
    teacher: AnyTeacher, task: Task, recordings: Recordings, items: Sequence[Item]
) -> dict[str, np.ndarray]:
    """Return the teacher's answer to each item, keyed by item id."""
    groups = [(audio, 0, group) for audio, group in by_audio(items).items()]
    with accelerator.hosting(teacher):
        batches = (some.batch for some in frozen_batches(teacher, task, recordings, groups))
        return predict(teacher, task, batches)


def respond(teacher: AnyTeacher, task: Task, samples: np.ndarray, item: Item) -> None:
    """Answer an item about samples `(N,)`; costs are of this."""
    hidden = teacher.lower(samples).states[-1].numpy()
    group = (("clip",), 0, [item])
    run(teacher, task, collate([group], {("clip", 0): hidden}, task))
