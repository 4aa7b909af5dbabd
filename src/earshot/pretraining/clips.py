"""Unlabelled clips in one memory-mapped file: training takes no more memory than a batch."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from earshot.corpora.synthetic import scenes
from earshot.features import audio
from earshot.params import HubertPretrain
from earshot.pretraining.targets import RECEPTIVE, SAMPLE_RATE
from earshot.runtime.files import atomic, sha256, write_json
from earshot.tables.manifest import CorpusError, read_manifest

HELD_OUT = 300
Heard = tuple[np.ndarray, bool]  # int16 samples at 16 kHz, whether they are held out


class Clips:
    """Clips by number: those in `training`, then those in `held_out`, which nothing is trained on.

    >>> clips = Clips(folder)
    >>> clips[0].shape
    (16000,)
    """

    def __init__(self, folder: Path):
        self.folder = folder
        index = json.loads((folder / "clips.json").read_text())
        self._ends = np.concatenate([[0], np.cumsum(index["lengths"])])
        self._samples = np.memmap(folder / "clips.i16", np.int16, mode="r")
        self.lengths = np.array(index["lengths"])
        self.training = np.arange(len(self.lengths) - index["held_out"])
        self.held_out = np.arange(len(self.training), len(self.lengths))
        self.skipped: int = index["skipped"]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, number: int) -> np.ndarray:
        """Return a clip's int16 samples `(N,)`."""
        return self._samples[self._ends[number] : self._ends[number + 1]]


def write(folder: Path, clips: Iterable[Heard | None]) -> None:
    """Write clips, those held out last, to `folder`; None and what is shorter than a frame is left
    out and counted.

    Raises CorpusError when nothing is left to train on or to hold out.
    """
    lengths, skipped, held_out = [], 0, 0
    with atomic(folder / "clips.i16") as partial, open(partial, "wb") as file:
        for heard in clips:
            if heard is None or len(heard[0]) < RECEPTIVE:
                skipped += 1
                continue
            file.write(heard[0].astype(np.int16).tobytes())
            lengths.append(len(heard[0]))
            held_out += heard[1]
        file.flush()
    if not 0 < held_out < len(lengths):
        raise CorpusError(
            f"pretrain: {len(lengths)} usable clips, {held_out} of them held out: too few"
        )
    write_json(
        folder / "clips.json", {"lengths": lengths, "held_out": held_out, "skipped": skipped}
    )


def collect(params: HubertPretrain, seed: int, manifest: Path, folder: Path) -> Clips:
    """Open the clips under `folder`; unless they are there, make `params.clips` of them or decode
    the manifest's pool.
    """
    folder = folder / ("made" if params.clips else sha256(manifest)[:16])
    if not (folder / "clips.json").exists():
        write(folder, _made(params.clips, seed) if params.clips else _decoded(manifest, seed))
    return Clips(folder)


def _made(number: int, seed: int) -> Iterator[Heard]:
    held_out = min(HELD_OUT, max(1, number // 10))
    for place, samples in enumerate(scenes.unlabelled(number + held_out, SAMPLE_RATE, seed)):
        yield samples, place >= number


def _decoded(manifest: Path, seed: int) -> Iterator[Heard | None]:
    """Yield the training clips; whole passages are held out, as clips of one are much alike."""
    table = read_manifest(manifest)
    table = table[table["split"] == "pool"]
    passages = np.random.default_rng([seed, *b"held out"]).permutation(
        np.array(sorted(set(table["passage"])))
    )
    order = table["passage"].map({passage: place for place, passage in enumerate(passages)})
    # of the last passages together
    sizes = order.value_counts().sort_index(ascending=False).cumsum()
    enough = sizes[sizes >= min(HELD_OUT, max(1, len(table) // 10))]
    first = enough.index[0] if len(enough) else 0
    ordered = table.assign(place=order).sort_values(["place", "id"])
    for path, place in zip(ordered["path"], ordered["place"], strict=True):
        yield _decode(path, bool(place >= first))


def _decode(path: str, held_out: bool) -> Heard | None:
    try:
        samples = audio.decode(path, SAMPLE_RATE)
    except audio.AudioError:
        return None
    peak = np.abs(samples).max()  # 16 bits for quiet clips too; levels are normalised away later
    return (np.round(samples * (32767 / peak)).astype(np.int16), held_out) if peak > 0 else None
