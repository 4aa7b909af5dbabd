"""Fine-tuning the teacher, from cached hidden states of its last frozen layer, and its identity on disk."""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from earshot import audio, checkpoint, losses, store
from earshot.batches import Audio, Batch, Loader, by_audio, collate
from earshot.files import sha256, write_json
from earshot.items import Item
from earshot.models.heads import masked_mean
from earshot.models.teacher import CheckpointError, Teacher
from earshot.params import Teacher as TeacherParams
from earshot.progress import chunks, track, workers
from earshot.training import OnEpoch, accuracy, fit, predict

SAMPLE_RATE = 16_000  # what wav2vec 2.0 and HuBERT were trained on
CHUNK = 64  # clips in memory
BATCH_PASSAGES = 16


def lower_states(teacher: Teacher, manifest: pd.DataFrame, utterances: Iterable[str]) -> Iterator[store.Row]:
    """Yield `(id, view, (T, D))`, the last frozen layer of each utterance, computed on all cores, a chunk in memory."""
    paths = dict(zip(manifest["id"], manifest["path"], strict=True))

    def one(utterance: str) -> store.Row:
        samples = audio.decode(paths[utterance], SAMPLE_RATE)
        return utterance, 0, teacher.lower(samples).numpy().astype(np.float16)

    with ThreadPoolExecutor(workers()) as pool:  # torch leaves the GIL while it computes
        for chunk in chunks(utterances, CHUNK):
            yield from pool.map(one, chunk)


def heard(items: Sequence[Item]) -> list[str]:
    """Return the distinct utterances of items, sorted."""
    return sorted({utterance for item in items for utterance in item.utterances})


def cache_lower(teacher: Teacher, manifest: pd.DataFrame, items: Sequence[Item], path: Path) -> store.Store:
    """Write the last frozen layer of all utterances of `items` to a store, unless it is there, and open it."""
    utterances = heard(items)
    if not path.exists():
        rows = track(lower_states(teacher, manifest, utterances), "frozen layers", total=len(utterances), unit="clip")
        store.write(path, rows, "hidden", teacher.width, {"layer": teacher.frozen_layers})
    return store.Store(path)


def hard_labels(batch: Batch, logits: torch.Tensor, _pooled: torch.Tensor) -> dict[str, torch.Tensor]:
    """The teacher's objective: cross-entropy on labelled items."""
    return {"loss": losses.cross_entropy(logits, batch.answers)}


def fine_tune(
    teacher: Teacher,
    params: TeacherParams,
    states: store.Store,
    training: Sequence[Item],
    validation: Sequence[Item],
    seed: int,
    scratch: Path,
    on_epoch: OnEpoch,
) -> float:
    """Tune the top layers and head on labelled items, keep the epoch best on `validation`, return the seconds spent."""
    train = Loader(training, states, params.text.buckets, params.batch_passages)
    held_out = Loader(validation, states, params.text.buckets, params.batch_passages)
    return fit(
        teacher,
        batches=lambda epoch: train.shuffled(seed, epoch),
        steps_per_epoch=len(train),
        epochs=params.epochs,
        objective=hard_labels,
        validate=lambda model: accuracy(model, held_out),
        base_rate=params.learning_rate,
        schedule="cosine",
        seed=seed,
        scratch=scratch,
        on_epoch=on_epoch,
    )


def save(teacher: Teacher, params: TeacherParams, folder: Path) -> None:
    """Write what fine-tuning changed (safetensors) and the teacher's identity: hashes of those and of the checkpoint."""
    checkpoint.save_weights(folder / "tuned.safetensors", teacher.tuned_state())
    identity = {
        "checkpoint": params.checkpoint,
        "revision": params.revision or "",
        "frozen_sha256": teacher.frozen_hash(),
        "tuned_sha256": sha256(folder / "tuned.safetensors"),
        "width": teacher.width,
        "tuned_layers": params.tuned_layers,
    }
    write_json(folder / "identity.json", identity)


def load(params: TeacherParams, folder: Path) -> Teacher:
    """Return the fine-tuned teacher that `save` wrote, ready to answer; CheckpointError when its checkpoint has changed."""
    teacher = Teacher(params)
    if json.loads((folder / "identity.json").read_text())["frozen_sha256"] != teacher.frozen_hash():
        raise CheckpointError(f"{params.checkpoint}: not the checkpoint that {folder} was tuned on")
    teacher.load_state_dict(checkpoint.load_weights(folder / "tuned.safetensors"), strict=False)
    return teacher.eval()


def heard_batches(
    teacher: Teacher, manifest: pd.DataFrame, groups: Iterable[tuple[Audio, list[Item]]], buckets: int
) -> Iterator[Batch]:
    """Yield batches of passages with their frozen states, so many in memory as a batch has."""
    for some in chunks(groups, BATCH_PASSAGES):
        utterances = heard([item for _, items in some for item in items])
        states = {id: hidden for id, _, hidden in lower_states(teacher, manifest, utterances)}
        yield collate(some, states, buckets)


@torch.inference_mode()
def cache_rows(
    teacher: Teacher,
    groups: Sequence[tuple[Audio, list[Item]]],
    manifest: pd.DataFrame,
    buckets: int,
    layers: list[int],
) -> Iterator[dict[str, Any]]:
    """Yield cache rows for passages: logits of each item, and the chosen layers' means over time."""
    for batch in heard_batches(teacher, manifest, groups, buckets):
        outputs = teacher.upper(batch.sequences, batch.lengths)
        pooled = [masked_mean(outputs[layer], batch.lengths)[batch.passage] for layer in [0, *layers]]
        logits = teacher.head(pooled[0], batch.questions, batch.options)
        kept = torch.stack(pooled[1:], dim=1).numpy().astype(np.float16)
        for item, row, hidden in zip(batch.items, logits.numpy(), kept, strict=True):
            yield {"item": item.id, "view": 0, "logits": row[: len(item.options)], "hidden": hidden.tobytes()}


def answers(teacher: Teacher, manifest: pd.DataFrame, items: Sequence[Item], buckets: int) -> dict[str, np.ndarray]:
    """Return the teacher's option probabilities `(C,)` for each item, keyed by item id."""
    return predict(teacher, heard_batches(teacher, manifest, by_audio(items).items(), buckets))
