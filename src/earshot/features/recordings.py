"""The samples of clips, and of their views, by key."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from earshot.features import audio
from earshot.features import views as augment
from earshot.params import Views
from earshot.tables.sequences import Key

Change = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]  # samples, Hz, random


class Recordings:
    """A manifest's clips as other devices may have recorded them.

    `change` is what happens to the clips themselves before they are used, the same each time.

    >>> recordings = Recordings(read_manifest("data/scenes/manifest.parquet"), views, seed=2026)
    >>> recordings[("airport-lisbon-1000-40000-0-a", 1)].shape
    (16000,)
    """

    def __init__(
        self,
        manifest: pd.DataFrame,
        views: Views | None = None,
        seed: int = 0,
        sample_rate: int = 16_000,
        change: Change | None = None,
    ):
        self._paths = dict(zip(manifest["id"], manifest["path"], strict=True))
        self._views, self._seed, self.sample_rate = views or Views(), seed, sample_rate
        self._change = change
        self.views: dict[str, list[int]] = {id: [0] for id in self._paths}
        if self._views.count:
            for id, view in augment.keys(manifest, self._views):
                if view:
                    self.views[id].append(view)

    def __getitem__(self, key: Key) -> np.ndarray:
        """Return mono float32 samples `(N,)` at `sample_rate` Hz."""
        id, view = key
        if view == 0:
            return self._changed(id, audio.decode(self._paths[id], self.sample_rate))
        return augment.decode(self._paths[id], id, view, self.sample_rate, self._views, self._seed)

    def _changed(self, id: str, samples: np.ndarray) -> np.ndarray:
        if self._change is None:
            return samples
        rng = np.random.default_rng([self._seed, *id.encode()])
        return self._change(samples, self.sample_rate, rng)

    def passage(self, utterances: Sequence[str]) -> np.ndarray:
        """Return clips end to end, as they are, as samples `(N,)`."""
        return np.concatenate([self[utterance, 0] for utterance in utterances])
