"""Fine-tuning the teacher, from cached hidden states of its last frozen layer, and its identity on
disk.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import convert_to_fp32
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from earshot.features.recordings import Key, Recordings
from earshot.models import accelerator, checkpoint
from earshot.models.heads import ABSENT, masked_mean
from earshot.models.wav2vec2 import CheckpointError, Lower, Teacher
from earshot.params import Cache, Text
from earshot.params import Teacher as TeacherParams
from earshot.runtime.files import sha256, write_json
from earshot.runtime.progress import chunks, track, workers
from earshot.tables import sequences
from earshot.tables.items import Item
from earshot.training import losses, routing
from earshot.training.batches import Audio, Batch, Group, Loader, by_audio, collate, common_views
from earshot.training.loop import Heard, OnEpoch, accuracy, fit, predict

CHUNK = 64  # clips in memory
TOGETHER = 16_000 * 320  # samples of all clips that a GPU hears at once
BATCH = 16  # passages
AUXILIARY_C = 0.1  # inverse strength of the auxiliary heads' penalty


def listen(
    teacher: Teacher, recordings: Recordings, keys: Iterable[Key], whole: bool = False
) -> Iterator[tuple[Key, Lower]]:
    """Yield what the frozen part hears in each clip and view, computed on all cores or on the GPU,
    a chunk in memory.

    Of the frozen layers only the last is kept, or with `whole` all of them.
    """

    def kept(heard: Lower) -> Lower:
        return heard if whole else Lower(heard.front, heard.states[-1:])

    def one(key: Key) -> Lower:
        return kept(teacher.lower(recordings[key]))

    # torch leaves the GIL while it computes
    with accelerator.hosting(teacher), ThreadPoolExecutor(workers()) as pool:
        for chunk in chunks(keys, CHUNK):
            if accelerator.on_gpu():
                heard = _together(teacher, list(pool.map(recordings.__getitem__, chunk)), kept)
            else:
                heard = pool.map(one, chunk)
            yield from zip(chunk, heard, strict=True)


def _together(
    teacher: Teacher, clips: Sequence[np.ndarray], kept: Callable[[Lower], Lower]
) -> list[Lower]:
    """Return what is `kept` of each clip; clips of one length are heard together, `TOGETHER`
    samples at most.
    """
    heard = dict[int, Lower]()
    order = sorted(range(len(clips)), key=lambda place: len(clips[place]))
    for length, places in groupby(order, lambda place: len(clips[place])):
        for some in chunks(places, max(1, TOGETHER // length)):
            heard |= zip(
                some,
                map(kept, teacher.lower_together([clips[place] for place in some])),
                strict=True,
            )
    return [heard[place] for place in range(len(clips))]


def heard(items: Sequence[Item]) -> list[str]:
    """Return the distinct utterances of items, sorted."""
    return sorted({utterance for item in items for utterance in item.utterances})


def cache_lower(
    teacher: Teacher, recordings: Recordings, items: Sequence[Item], path: Path
) -> sequences.Store:
    """Write the last frozen layer of all utterances of `items`, in all their views, to a store,
    unless it is there.

    Several processes write a part each, of whole row groups; the first joins them, and the file is
    the same.
    """
    keys = [(id, view) for id in heard(items) for view in recordings.views[id]]

    def write(out: Path, keys: Sequence[Key]) -> None:
        rows = (
            (*key, lower.states[-1].numpy().astype(np.float16))
            for key, lower in listen(teacher, recordings, keys)
        )
        rows = track(rows, "frozen layers", total=len(keys), unit="clip")
        sequences.write(out, rows, "hidden", teacher.width, {"layer": teacher.frozen_layers})

    there = path.exists()
    accelerator.wait()  # nobody looks for it after it was written
    if not there and accelerator.processes() == 1:
        write(path, keys)
    elif not there:
        size = (
            -(-len(keys) // (accelerator.processes() * sequences.ROW_GROUP)) * sequences.ROW_GROUP
        )
        parts = [
            (path.with_suffix(f".{n}.parquet"), keys[n * size : (n + 1) * size])
            for n in range(accelerator.processes())
        ]
        write(*parts[accelerator.rank()])
        accelerator.wait()
        if accelerator.is_main():
            sequences.merge(path, [part for part, _ in parts])
            for part, _ in parts:
                part.unlink()
        accelerator.wait()
    return sequences.Store(path)


def hard_labels(heard: Heard) -> dict[str, torch.Tensor]:
    """The teacher's objective: cross-entropy on labelled items."""
    return {
        "loss": heard.batch.share.labelled * losses.cross_entropy(heard.logits, heard.batch.answers)
    }


def fine_tune(
    teacher: Teacher,
    params: TeacherParams,
    states: sequences.Store,
    training: Sequence[Item],
    validation: Sequence[Item],
    seed: int,
    scratch: Path,
    on_epoch: OnEpoch,
) -> float:
    """Tune the top layers and head on labelled items, keep the epoch best on `validation`, return
    the seconds spent.
    """
    train = Loader(training, states, params.text, params.batch, views=True)
    held_out = Loader(validation, states, params.text, params.batch)
    return fit(
        teacher,
        batches=lambda epoch: train.shuffled(
            seed, epoch, accelerator.rank(), accelerator.processes()
        ),
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


@torch.inference_mode()
def fit_auxiliary(
    teacher: Teacher, recordings: Recordings, training: Sequence[Item], read: Text | None
) -> None:
    """Give every layer a head of its own: logistic regression of the label on the layer's mean over
    time.

    The encoder stays as it is. Clips count in all their views. The penalty is that of standardised
    inputs.
    """
    teacher.eval()
    own: list[tuple[torch.Tensor, torch.Tensor]] = []
    batches = accelerator.share(list(chunks(all_views(by_audio(training), recordings), BATCH)))
    with accelerator.hosting(teacher):
        for batch, passages in heard_batches(
            teacher, recordings, chain.from_iterable(batches), read, whole=True
        ):
            batch, outputs = layers(teacher, batch, passages)
            means = torch.stack(
                [masked_mean(output, batch.lengths)[batch.passage] for output in outputs], 1
            )
            own.append((means.cpu(), batch.answers.cpu()))
    means, labels = zip(*accelerator.collect(own), strict=True)
    inputs, answers = torch.cat(means).double().numpy(), torch.cat(labels).numpy()
    for layer, linear in enumerate(teacher.auxiliary):
        scaler = StandardScaler().fit(inputs[:, layer])
        model = LogisticRegression(C=AUXILIARY_C, max_iter=300).fit(
            scaler.transform(inputs[:, layer]), answers
        )
        coef, intercept = model.coef_, model.intercept_
        if len(model.classes_) == 2:  # of two classes sklearn keeps the difference alone
            coef, intercept = (
                np.concatenate([-coef, coef]) / 2,
                np.concatenate([-intercept, intercept]) / 2,
            )
        weight = np.zeros(linear.weight.shape)
        weight[model.classes_] = coef / scaler.scale_
        bias = np.full(len(weight), ABSENT)
        bias[model.classes_] = intercept - coef @ (scaler.mean_ / scaler.scale_)
        linear.weight.copy_(torch.from_numpy(weight))
        linear.bias.copy_(torch.from_numpy(bias))


def save(teacher: Teacher, params: TeacherParams, folder: Path, labels: Sequence[str] = ()) -> None:
    """Write what fine-tuning changed (safetensors) and the teacher's identity: hashes of those and
    of the checkpoint.
    """
    checkpoint.save_weights(folder / "tuned.safetensors", teacher.tuned_state())
    identity = {
        "checkpoint": params.checkpoint,
        "revision": params.revision or "",
        "frozen_sha256": teacher.frozen_hash(),
        "tuned_sha256": sha256(folder / "tuned.safetensors"),
        "width": teacher.width,
        "tuned_layers": params.tuned_layers,
        "labels": list(labels),
    }
    write_json(folder / "identity.json", identity)


def load(params: TeacherParams, folder: Path, scratch: int | None = None) -> Teacher:
    """Return the fine-tuned teacher that `save` wrote, ready to answer; CheckpointError when its
    checkpoint has changed.

    `scratch` is the seed of a control that began with random weights.
    """
    identity = json.loads((folder / "identity.json").read_text())
    teacher = Teacher(params, len(identity["labels"]), scratch)
    if identity["frozen_sha256"] != teacher.frozen_hash():
        raise CheckpointError(f"{params.checkpoint}: not the checkpoint that {folder} was tuned on")
    teacher.load_state_dict(checkpoint.load_weights(folder / "tuned.safetensors"), strict=False)
    return teacher.eval()


def all_views(groups: Mapping[Audio, list[Item]], recordings: Recordings) -> Iterator[Group]:
    """Yield each passage in every view that all its utterances have."""
    for audio, items in groups.items():
        for view in common_views(audio, recordings.views):
            yield audio, view, items


Passages = list[list[Lower]]  # what the frozen part heard in the utterances of each passage


def heard_batches(
    teacher: Teacher,
    recordings: Recordings,
    groups: Iterable[Group],
    read: Text | None,
    whole: bool = False,
) -> Iterator[tuple[Batch, Passages]]:
    """Yield batches of passages on their last frozen layer, and all that was heard, so many in
    memory as a batch has.
    """
    for some in chunks(groups, BATCH):
        keys = sorted({(utterance, view) for audio, view, _ in some for utterance in audio})
        lower = dict(listen(teacher, recordings, keys, whole))
        last = {key: heard.states[-1].numpy().astype(np.float16) for key, heard in lower.items()}
        yield (
            collate(some, last, read),
            [[lower[(u, view)] for u in audio] for audio, view, _ in some],
        )


def layers(teacher: Teacher, batch: Batch, passages: Passages) -> tuple[Batch, list[torch.Tensor]]:
    """Return the batch where the teacher is, and there the outputs `(B, T, D)` of all layers that
    were kept.

    The lowest comes first, the tuned ones last.
    """
    batch = accelerator.put(batch, accelerator.where(teacher))
    frozen = [
        nn.utils.rnn.pad_sequence(
            [torch.cat([heard.states[n] for heard in passage]) for passage in passages], True
        )
        for n in range(1, len(passages[0][0].states) - 1)
    ]
    with accelerator.autocast(teacher):
        tuned = convert_to_fp32(teacher.encode(batch.sequences, batch.lengths)[1])
    frozen = [accelerator.put(layer, accelerator.where(teacher)) for layer in frozen]
    # without frozen ones the first is their input
    return batch, [*frozen, *(tuned if teacher.frozen_layers else tuned[1:])]


@torch.inference_mode()
def cache_rows(
    teacher: Teacher,
    recordings: Recordings,
    read: Text | None,
    params: Cache,
    groups: Iterable[Group],
) -> Iterator[tuple[list[dict[str, Any]], list[sequences.Row]]]:
    """Yield batch by batch what `teacher_cache` keeps: a row per item and view, and front-end
    frames by utterance.
    """
    tuned = len(teacher.backbone.encoder.layers) - teacher.frozen_layers
    whole = params.layered or max(params.layers) > tuned
    with accelerator.hosting(teacher):
        for batch, passages in heard_batches(teacher, recordings, groups, read, whole):
            there, outputs = layers(teacher, batch, passages)
            pooled = [masked_mean(output, there.lengths)[there.passage] for output in outputs]
            logits = teacher.head(pooled[-1], there.questions, there.options).cpu().numpy()
            kept = (
                torch.stack([pooled[-1 - layer] for layer in params.layers], 1)
                .cpu()
                .numpy()
                .astype(np.float16)
            )
            rows = [
                {
                    "item": item.id,
                    "view": view,
                    "logits": row[: len(item.options)],
                    "hidden": hidden.tobytes(),
                }
                for item, view, row, hidden in zip(
                    batch.items, batch.views, logits, kept, strict=True
                )
            ]
            if params.layered:
                said = (
                    torch.stack(
                        [head(mean) for head, mean in zip(teacher.auxiliary, pooled, strict=True)],
                        1,
                    )
                    .cpu()
                    .numpy()
                )
                maps = [
                    routing.attention(output, there.lengths)[there.passage] for output in outputs
                ]
                maps = torch.stack(maps, 1).cpu().numpy().astype(np.float16)
                for row, own, attention in zip(rows, said, maps, strict=True):
                    row |= {"layer_logits": own.tobytes(), "attention": attention.tobytes()}
            yield rows, _fronts(batch, passages) if params.layered else []


class Asker:
    """Answers passages as `cache_rows` does, by a saved teacher, loaded when first asked in
    whichever process that is.
    """

    def __init__(self, params: TeacherParams, folder: Path, recordings: Recordings, cache: Cache):
        self._params, self._folder, self._recordings, self._cache = (
            params,
            folder,
            recordings,
            cache,
        )

    @cached_property
    def _teacher(self) -> Teacher:
        torch.set_num_threads(1)
        return load(self._params, self._folder)

    def __call__(
        self, groups: Iterable[Group]
    ) -> Iterator[tuple[list[dict[str, Any]], list[sequences.Row]]]:
        return cache_rows(self._teacher, self._recordings, self._params.text, self._cache, groups)


def _fronts(batch: Batch, passages: Passages) -> list[sequences.Row]:
    """Return the front-end frames of a batch's utterances, each in its view."""
    audio = {
        int(p): (item.utterances, view)
        for p, item, view in zip(batch.passage, batch.items, batch.views, strict=True)
    }
    fronts = {
        (utterance, audio[p][1]): heard.front.numpy()
        for p, passage in enumerate(passages)
        for utterance, heard in zip(audio[p][0], passage, strict=True)
    }
    return [(*key, front) for key, front in fronts.items()]


def answers(
    teacher: Teacher, recordings: Recordings, items: Sequence[Item], read: Text | None
) -> dict[str, np.ndarray]:
    """Return the teacher's probabilities `(C,)` for each item, keyed by item id."""
    groups = [(audio, 0, group) for audio, group in by_audio(items).items()]
    with accelerator.hosting(teacher):
        return predict(
            teacher, (batch for batch, _ in heard_batches(teacher, recordings, groups, read))
        )
