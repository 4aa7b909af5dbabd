"""Log-mel frames of a whole corpus: every clip and its views, and a list of what cannot be used."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy
import soundfile
import soxr

from earshot.features import audio
from earshot.features import views as device_views
from earshot.features.log_mel import log_mel
from earshot.params import Features, Views
from earshot.runtime import parallel
from earshot.runtime.files import atomic, write_json
from earshot.tables import sequences

PART = 256  # clips a part
COLUMN = "mel"


class FeatureError(ValueError):
    """A corpus of which too much is unusable; the message names count, share, limit and the first
    files.
    """


class Source(NamedTuple):
    """A clip to be read, and the numbers of its views."""

    id: str
    path: str
    views: list[int]


def extract(
    manifest: pd.DataFrame,
    params: Features,
    views: Views,
    seed: int,
    out: Path,
    rejected: Path,
    scratch: Path,
    engine: str = "local",
) -> None:
    """Write the log-mel of every view of every clip to the store `out`, and bad clips to a CSV.

    The CSV has columns id, path, reason. Clips are worked off in parts of 256, each atomic in
    `scratch`; parts already there are taken over, so that an interrupted run continues. Use a
    folder of its own for each corpus and setting. The result does not depend on the number of
    workers, nor on `engine`, which says whose they are. Raises FeatureError when more than
    `params.max_bad_share` of the clips are bad, ViewError when `views` do not fit the manifest.
    """
    by_clip = groupby(device_views.keys(manifest, views), lambda key: key[0])
    numbers = {id: [view for _, view in keys] for id, keys in by_clip}
    clips = [
        Source(id, path, numbers[id])
        for id, path in zip(manifest["id"], manifest["path"], strict=True)
    ]
    tasks = [
        (scratch / f"part-{first // PART:05d}.parquet", clips[first : first + PART])
        for first in range(0, len(clips), PART)
    ]
    missing = [task for task in tasks if not _report(task[0]).exists()]
    write = partial(_write_part, params, views, seed)
    for _ in parallel.run(write, missing, "features", unit="part", engine=engine):
        pass
    reasons: dict[str, str] = {}
    for part, _ in tasks:
        reasons |= json.loads(_report(part).read_text())
    bad = [(clip.id, clip.path, reasons[clip.id]) for clip in clips if clip.id in reasons]
    with atomic(rejected) as partial_csv:
        pd.DataFrame(bad, columns=["id", "path", "reason"]).to_csv(partial_csv, index=False)
    if len(bad) > params.max_bad_share * len(clips):
        shutil.rmtree(scratch)  # so that a corrected file is looked at again
        raise FeatureError(_too_many(bad, len(clips), params.max_bad_share))
    sequences.merge(out, [part for part, _ in tasks])
    shutil.rmtree(scratch)


def _too_many(bad: list[tuple[str, str, str]], clips: int, allowed: float) -> str:
    first = ", ".join(f"{path} ({reason})" for _, path, reason in bad[:3])
    more = ", …" if len(bad) > 3 else ""
    return (
        f"{len(bad)} of {clips} clips are unusable, {len(bad) / clips:.1%}; "
        f"max_bad_share allows {allowed:.1%}: {first}{more}"
    )


def _report(part: Path) -> Path:
    return part.with_suffix(".json")


def _write_part(params: Features, views: Views, seed: int, task: tuple[Path, list[Source]]) -> None:
    part, clips = task
    reasons: dict[str, str] = {}

    def rows() -> Iterator[sequences.Row]:
        for clip in clips:
            samples, reason = _usable(clip.path, params)
            if reason is not None:
                reasons[clip.id] = reason
                continue
            for view in clip.views:
                through = device_views.in_view(
                    samples, clip.id, view, params.sample_rate, views, seed
                )
                yield clip.id, view, log_mel(through, params)

    sequences.write(part, rows(), COLUMN, params.n_mels, _metadata(params, views, seed))
    write_json(_report(part), reasons)  # last: where it is, the part is complete


def _usable(path: str, params: Features) -> tuple[np.ndarray, str | None]:
    """Return a clip's samples `(N,)`, and why they cannot be used, or None."""
    try:
        samples = audio.decode(path, params.sample_rate)
    except audio.AudioError as error:
        return np.empty(0, np.float32), str(error).removeprefix(f"{path}: ")
    rate = params.sample_rate
    return samples, audio.check(samples, rate, params.min_seconds, params.min_rms)


def _metadata(params: Features, views: Views, seed: int) -> dict:
    libraries = {library.__name__: library.__version__ for library in (np, scipy, soundfile, soxr)}
    made = {"views": views.model_dump(), "seed": seed} if views.count else {}
    return {"features": params.model_dump(), "versions": libraries} | made
