"""Views: numbered versions of a clip as other devices would have recorded them, the same for
teacher and student (ADIR).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from earshot.features import audio, responses
from earshot.params import Views

TRAINED = "pool"  # the split whose clips have views: what is tested is tested as it was recorded


class ViewError(ValueError):
    """Views that cannot be made; the message is one line and names the device."""


def decode(
    path: str | Path, clip_id: str, view: int, sample_rate: int, views: Views, seed: int
) -> np.ndarray:
    """Return a view of a clip as mono float32 samples `(N,)` at `sample_rate` Hz; view 0 is the
    clip itself.

    (seed, clip_id, view) choose the device, so it is the same at every sample rate. AudioError as
    `audio.decode`.
    """
    return through_device(audio.decode(path, sample_rate), clip_id, view, sample_rate, views, seed)


def through_device(
    samples: np.ndarray, clip_id: str, view: int, sample_rate: int, views: Views, seed: int
) -> np.ndarray:
    """Return a clip's samples `(N,)` at `sample_rate` Hz in `view`: `decode` for a clip
    already decoded.
    """
    if view == 0:
        return samples
    return responses.convolve(
        samples, responses.choose(views.responses, seed, clip_id, view, sample_rate)
    )


def keys(manifest: pd.DataFrame, views: Views) -> list[tuple[str, int]]:
    """Return every (clip id, view) there is, clip by clip: view 0 of all, 1 … count of training
    clips of `views.devices`.

    Raises ViewError when the manifest has no clip of a device that is named.
    """
    if views.count == 0:
        return [(id, 0) for id in manifest["id"]]
    if views.devices is not None:
        for device in views.devices:
            if device not in set(manifest["device"]):
                raise ViewError(f"views.devices: the corpus has no clip of device {device!r}")
    augmented = manifest["split"] == TRAINED
    if views.devices is not None:
        augmented &= manifest["device"].isin(views.devices)
    return [
        (id, view)
        for id, more in zip(manifest["id"], augmented, strict=True)
        for view in range(1 + views.count * bool(more))
    ]
