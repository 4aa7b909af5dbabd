"""Views: numbered versions of a clip as other devices and rooms would have recorded them, the same
for teacher and student (ADIR is the response of a device alone).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from earshot.features import audio, conditions, responses
from earshot.params import Views

TRAINED = "pool"  # the split whose clips have views: what is tested is tested as it was recorded


class ViewError(ValueError):
    """Views that cannot be made; the message is one line and names the device."""


class Setting(NamedTuple):
    """Which view of which clip is made, at which rate in Hz."""

    clip_id: str
    view: int
    sample_rate: int
    views: Views
    seed: int

    def rng(self, name: str) -> np.random.Generator:
        """Return the random numbers of a condition: the same at every sample rate."""
        return np.random.default_rng(
            [self.seed, self.view, *name.encode(), 0, *self.clip_id.encode()]
        )


def decode(
    path: str | Path, clip_id: str, view: int, sample_rate: int, views: Views, seed: int
) -> np.ndarray:
    """Return a view of a clip as mono float32 samples `(N,)` at `sample_rate` Hz; view 0 is the
    clip itself.

    (seed, clip_id, view) choose what happens to it, so it is the same at every sample rate, up to
    the single samples of noise. AudioError as `audio.decode`.
    """
    return in_view(audio.decode(path, sample_rate), clip_id, view, sample_rate, views, seed)


def in_view(
    samples: np.ndarray, clip_id: str, view: int, sample_rate: int, views: Views, seed: int
) -> np.ndarray:
    """Return a clip's samples `(N,)` at `sample_rate` Hz in `view`: `decode` for a clip
    already decoded.
    """
    if view == 0:
        return samples
    setting = Setting(clip_id, view, sample_rate, views, seed)
    for name, params in views.conditions:
        if params is None:
            continue
        rng = setting.rng(name)
        if rng.random() < params.share:
            samples = CONDITIONS[name](samples, params, rng, setting)
    return samples


def _speed(samples: np.ndarray, params: Any, rng: np.random.Generator, _: Setting) -> np.ndarray:
    return conditions.speed(samples, 1 + rng.uniform(-params.percent, params.percent) / 100)


def _silence(
    samples: np.ndarray, params: Any, rng: np.random.Generator, setting: Setting
) -> np.ndarray:
    ends = rng.uniform(0, params.seconds, 2) * setting.sample_rate
    return conditions.silence(samples, *ends.round().astype(int))


def _room(
    samples: np.ndarray, params: Any, rng: np.random.Generator, setting: Setting
) -> np.ndarray:
    response = conditions.reverberation(rng.uniform(*params.rt60), setting.sample_rate, rng)
    return conditions.room(samples, response)


def _noise(samples: np.ndarray, params: Any, rng: np.random.Generator, _: Setting) -> np.ndarray:
    snr_db, slope = rng.uniform(*params.snr_db), rng.uniform(0, 2)
    return conditions.noise(samples, conditions.coloured(len(samples), slope, rng), snr_db)


def _response(
    samples: np.ndarray, params: Any, rng: np.random.Generator, setting: Setting
) -> np.ndarray:
    clip_id, view, sample_rate, views, seed = setting
    response = responses.choose(views.responses, seed, clip_id, view, sample_rate)
    return responses.convolve(samples, response)


def _level(samples: np.ndarray, params: Any, rng: np.random.Generator, _: Setting) -> np.ndarray:
    return conditions.level(samples, rng.uniform(*params.gain_db))


def _telephone(
    samples: np.ndarray, params: Any, rng: np.random.Generator, setting: Setting
) -> np.ndarray:
    return conditions.telephone(samples, setting.sample_rate)


def _codec(
    samples: np.ndarray, params: Any, rng: np.random.Generator, setting: Setting
) -> np.ndarray:
    return conditions.CODECS[str(rng.choice(params.names))](samples, setting.sample_rate)


CONDITIONS: dict[str, Callable[..., np.ndarray]] = {
    "speed": _speed,
    "silence": _silence,
    "room": _room,
    "noise": _noise,
    "response": _response,
    "level": _level,
    "telephone": _telephone,
    "codec": _codec,
}


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
