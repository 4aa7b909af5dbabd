"""Reading stores and the teacher cache against reading the bytes of the same store in order, all
from memory.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import soundfile
import torch
from transformers import Wav2Vec2Config

from bench.rounds import Result, interleave, rows
from bench.teacher import TASK, ask, random_teacher
from earshot.features.recordings import Recordings
from earshot.params import Cache
from earshot.tables import sequences as store
from earshot.tables.items import Item
from earshot.tables.sequences import Store
from earshot.tables.signals import Signals
from earshot.teacher import cache
from earshot.teacher.frames import signals
from earshot.teacher.frozen import utterances
from earshot.teacher.wav2vec2 import Teacher

BLOCK = 1 << 20  # bytes
IDENTITY, CACHE = "random", Cache()


def in_blocks(path: Path) -> None:
    """Read a file's bytes in order."""
    with open(path, "rb", buffering=0) as file:
        while file.read(BLOCK):
            pass


def random_mel(path: Path, sequences: int, width: int = 40) -> Store:
    """Write a store of noise, 2.5–4.5 s a sequence, and open it."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(250, 450, sequences)
    noise = (
        (f"{i:05d}", 0, rng.standard_normal((length, width), np.float32))
        for i, length in enumerate(lengths)
    )
    store.write(path, noise, "mel", width, {})
    return Store(path)


def random_cache(folder: Path, items: Sequence[Item], width: int) -> Path:
    """Have a one-layer random teacher of `width` answer items, all about short noises; return the
    cache's folder.
    """
    narrow = {
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 16,
        "conv_dim": (8,) * 7,
    }
    params = random_teacher(
        folder / "teacher", Wav2Vec2Config(hidden_size=width, **narrow), tuned_layers=1
    )
    rng, ids = np.random.default_rng(0), utterances(items)
    recordings = Recordings(
        pd.DataFrame({"id": ids, "path": [str(folder / f"{id}.wav") for id in ids]})
    )
    for path in (folder / f"{id}.wav" for id in ids):
        soundfile.write(path, np.clip(rng.normal(0, 0.1, 3200), -1, 1), 16_000)
    out = folder / "cache"
    asker = partial(signals, Teacher(params, TASK).eval(), TASK, recordings, CACHE)
    cache.write(out, asker, IDENTITY, items, recordings.views, CACHE)
    return out


def clean(items: Sequence[Item]) -> dict[str, list[int]]:
    """Return the views of what `items` are about: the clips themselves and no other."""
    return {utterance: [0] for utterance in utterances(items)}


def measure(rounds: int = 7, sequences: int = 2000, cached: int = 500, width: int = 192) -> Result:
    """Return megabytes per second, for a mel store and for the cache of a teacher of `width`."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as made:
        path = Path(made, "mel.parquet")
        mel = random_mel(path, sequences)
        keys = list(mel)
        shuffled = [keys[place] for place in np.random.default_rng(1).permutation(len(keys))]
        items = ask([f"{i:05d}" for i in range(cached)])
        folder = random_cache(Path(made), items, width)
        views = clean(items)

        def through(order: Iterable[tuple[str, int]]) -> None:
            for key in order:
                mel[key]

        contenders = {
            "bytes, 1-MB blocks": lambda: in_blocks(path),
            "store, in order": lambda: through(keys),
            "store, shuffled": lambda: through(shuffled),
            "teacher cache, opened and checked": lambda: Signals(
                folder, items, IDENTITY, CACHE.model_dump(), views
            ),
        }
        spent = interleave(contenders, rounds, "reading")
        sizes = dict.fromkeys(contenders, path.stat().st_size)
    sizes["teacher cache, opened and checked"] = arrays = len(items) * (
        4 * len(items[0].options) + 2 * width
    )
    return Result(
        title="Reading: stores and the teacher cache",
        note=f"{sequences} mel sequences, {sizes['store, shuffled'] / 1e6:.0f} MB; a "
        f"teacher cache of {len(items)} items, "
        f"{arrays / 1e6:.1f} MB of arrays; all in the page cache.",
        unit="MB per second",
        ratio="÷ bytes in order",
        rows=rows(
            {name: [sizes[name] / 1e6 / s for s in each] for name, each in spent.items()},
            base="bytes, 1-MB blocks",
        ),
    )
