"""What HuBERT has to predict: the k-means cluster of each 20 ms frame, of MFCC first, then of a
layer of the model.
"""

from collections.abc import Callable, Iterable

import librosa
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

SAMPLE_RATE = 16_000
HOP, RECEPTIVE = 320, 400  # samples: wav2vec 2.0's and HuBERT's convolutions
COEFFICIENTS = 13
RESTARTS = 3
Features = Callable[[Iterable[int]], Iterable[np.ndarray]]  # clip numbers → (T, F) each


def frames(samples: int) -> int:
    """Return the number of HuBERT's frames in `samples` at 16 kHz: 49 in a second, none below 400
    samples.
    """
    return max(0, 1 + (samples - RECEPTIVE) // HOP)


def unit_variance(samples: np.ndarray) -> np.ndarray:
    """Return samples `(N,)` as float32 of zero mean and unit variance: a recording's level, and its
    gain, are gone.
    """
    wave = samples.astype(np.float32)
    wave -= wave.mean()
    return wave / np.sqrt(np.square(wave).mean() + np.float32(1e-7))


def mfcc(wave: np.ndarray) -> np.ndarray:
    """Return 13 MFCC with Δ and ΔΔ `(T, 39)`, float32, of 16 kHz samples `(N,)`, N ≥ 400; row t is
    HuBERT's frame t.
    """
    cepstrum = librosa.feature.mfcc(
        y=wave,
        sr=SAMPLE_RATE,
        n_mfcc=COEFFICIENTS,
        n_fft=RECEPTIVE,
        hop_length=HOP,
        n_mels=40,
        center=False,
    )
    slopes = [librosa.feature.delta(cepstrum, order=order, mode="nearest") for order in (1, 2)]
    return np.concatenate([cepstrum, *slopes]).T.astype(np.float32)


class Codebook:
    """Cluster centres `(C, F)` of frames less `mean` `(F,)` and over `scale` `(F,)`."""

    def __init__(self, mean: np.ndarray, scale: np.ndarray, centres: np.ndarray):
        self.mean, self.scale, self.centres = mean, scale, centres

    def assign(self, features: np.ndarray) -> NDArray[np.int64]:
        """Return the nearest centre z_t `(T,)` of each frame of `(T, F)`; of equally near ones the
        first.
        """
        standard = (features - self.mean) / self.scale
        # ‖x − μ‖² less ‖x‖², which is the same for all centres
        return (np.square(self.centres).sum(1) - 2 * standard @ self.centres.T).argmin(1)


def fit(features: Iterable[np.ndarray], clusters: int, seed: int, standardise: bool) -> Codebook:
    """Return the centres that minimise eq. (6), Σ_t ‖x_t − μ_z‖², over the frames of all clips,
    `(T, F)` each.

    `standardise` gives every value variance 1 first. MFCC are better left as they are: the broad
    shape of the spectrum then weighs most, and not the slopes and high coefficients, which in noise
    are chance and cannot be predicted. Mini-batch k-means, the best of 3 seeded starts, on one
    thread: the same frames give the same centres. ValueError when there are fewer frames than
    clusters.
    """
    frames = np.concatenate(list(features))
    if len(frames) < clusters:
        raise ValueError(f"{len(frames)} frames cannot make {clusters} clusters")
    mean = frames.mean(0, dtype=np.float64).astype(np.float32)
    scale = (
        (frames.std(0, dtype=np.float64) + 1e-5).astype(np.float32)
        if standardise
        else np.ones_like(mean)
    )
    frames -= mean
    frames /= scale
    with threadpool_limits(1):
        means = MiniBatchKMeans(
            clusters,
            batch_size=4096,
            n_init=RESTARTS,
            max_iter=50,
            max_no_improvement=20,
            random_state=seed,
        )
        centres = means.fit(frames).cluster_centers_
    return Codebook(mean, scale, np.ascontiguousarray(centres, np.float32))


def perplexity(codes: np.ndarray) -> float:
    """Return exp(entropy) of the clusters `(N,)`: how many equally frequent ones would be as hard
    to guess.
    """
    share = np.bincount(codes) / len(codes)
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))
