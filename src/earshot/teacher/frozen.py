"""The frozen part of a teacher: run once per clip, its states kept for the part that is tuned."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import numpy as np

from earshot.features.recordings import Recordings
from earshot.models import accelerator
from earshot.runtime.progress import chunks, track, workers
from earshot.tables import sequences
from earshot.tables.items import Item
from earshot.tables.sequences import Key
from earshot.teacher.kinds import AnyTeacher
from earshot.teacher.wav2vec2 import Lower

CHUNK = 64  # clips in memory
TOGETHER = {"cpu": 16_000 * 8, "gpu": 16_000 * 320}  # samples of all clips that are run at once


def frozen_states(
    teacher: AnyTeacher, recordings: Recordings, keys: Iterable[Key], whole: bool = False
) -> Iterator[tuple[Key, Lower]]:
    """Yield the frozen part's outputs for each clip and view, a chunk in memory.

    They are computed on all cores or on the GPU, clips of one length together: short ones cost
    half. Of the frozen layers the last is kept, or with `whole` all of them.
    """

    def run(clips: Sequence[np.ndarray]) -> list[Lower]:
        outputs = teacher.lower_together(clips)
        return outputs if whole else [Lower(one.front, one.states[-1:]) for one in outputs]

    # Threads do, as torch leaves the GIL while it computes.
    with accelerator.hosting(teacher), ThreadPoolExecutor(workers()) as pool:
        gpu = accelerator.on_gpu()
        every, samples = (map, TOGETHER["gpu"]) if gpu else (pool.map, TOGETHER["cpu"])
        for chunk in chunks(keys, CHUNK):
            clips = list(pool.map(recordings.__getitem__, chunk))
            batches = list(_of_one_length(clips, samples, teacher.window or 0))
            outputs: dict[int, Lower] = {}
            ran = every(run, [[clips[place] for place in places] for places in batches])
            for places, of_batch in zip(batches, ran, strict=True):
                outputs |= zip(places, of_batch, strict=True)
            yield from ((key, outputs[place]) for place, key in enumerate(chunk))


def _of_one_length(clips: Sequence[np.ndarray], samples: int, window: int) -> Iterator[list[int]]:
    """Yield the places of clips of one length, together no more than `samples` unless one is.

    Each counts as no less than a `window`, up to which it is filled.
    """
    order = sorted(range(len(clips)), key=lambda place: len(clips[place]))
    for length, places in groupby(order, lambda place: len(clips[place])):
        yield from chunks(places, max(1, samples // max(length, window)))


def utterances(items: Sequence[Item]) -> list[str]:
    """Return the distinct utterances of items, sorted."""
    return sorted({utterance for item in items for utterance in item.utterances})


def store_states(
    teacher: AnyTeacher, recordings: Recordings, items: Sequence[Item], path: Path
) -> sequences.Store:
    """Write the last frozen layer of all utterances, in all views, to a store unless it is there.

    Several processes write a part each, of whole chunks and so of whole row groups; the first joins
    them, and the file is the same.
    """
    keys = [(id, view) for id in utterances(items) for view in recordings.views[id]]

    def write(out: Path, keys: Sequence[Key]) -> None:
        states = track(frozen_states(teacher, recordings, keys), "frozen layers", len(keys), "clip")
        rows = ((*key, lower.states[-1].numpy().astype(np.float16)) for key, lower in states)
        sequences.write(out, rows, "hidden", teacher.input_width, {"layer": teacher.frozen_layers})

    there, processes = path.exists(), accelerator.processes()
    accelerator.wait()  # nobody looks for it after it was written
    if not there and processes == 1:
        write(path, keys)
    elif not there:
        size = -(-len(keys) // (processes * CHUNK)) * CHUNK  # of a part, rounded up
        rank = accelerator.rank()
        parts = [path.with_suffix(f".{number}.parquet") for number in range(processes)]
        write(parts[rank], keys[rank * size : (rank + 1) * size])
        accelerator.wait()
        if accelerator.is_main():
            sequences.merge(path, parts)
            for part in parts:
                part.unlink()
        accelerator.wait()
    return sequences.Store(path)
