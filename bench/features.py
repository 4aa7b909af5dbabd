"""From FLAC to normalised log-mel on one thread: ours, librosa, torchaudio, kaldi-native-fbank, and decoding alone.

`python bench/features.py [--folder DIR] [--rounds N]`. All decode with the same function and end with the same log and
normalisation; 40 bands, 25-ms windows every 10 ms. Rounds are interleaved, so that a slow moment hits everyone.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from threadpoolctl import threadpool_limits

from earshot import audio, features
from earshot.params import Features

CLIPS, SENTENCES = 60, 4  # made clips, and sentences in each: 10–15 s
PARAMS = Features()


def _make(folder: Path) -> None:
    import soundfile

    from earshot.corpora import synthetic_speech

    spoken = [samples for samples, _ in synthetic_speech.spoken("test", CLIPS * SENTENCES, seed=1)]
    for number in range(CLIPS):
        clip = np.concatenate(spoken[number * SENTENCES : (number + 1) * SENTENCES])
        soundfile.write(folder / f"{number:02d}.flac", clip, PARAMS.sample_rate)


def _finish(power: np.ndarray) -> np.ndarray:
    return features.normalize(np.log(np.maximum(power, 1e-10)), PARAMS.norm)


def _contenders() -> dict[str, Callable[[np.ndarray], object]]:
    """Return functions of samples `(N,)`, ours first."""
    import kaldi_native_fbank
    import librosa
    import torch
    import torchaudio

    torch.set_num_threads(1)
    size = {
        "n_fft": PARAMS.n_fft,
        "hop_length": PARAMS.hop_length,
        "win_length": PARAMS.win_length,
        "n_mels": PARAMS.n_mels,
    }
    transform = torchaudio.transforms.MelSpectrogram(PARAMS.sample_rate, **size, pad_mode="constant")
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither = PARAMS.sample_rate, 0
    options.mel_opts.num_bins = PARAMS.n_mels

    def kaldi(samples: np.ndarray) -> np.ndarray:
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(PARAMS.sample_rate, samples)
        fbank.input_finished()
        frames = np.stack([fbank.get_frame(frame) for frame in range(fbank.num_frames_ready)])
        return features.normalize(frames, PARAMS.norm)

    return {
        "earshot": lambda samples: features.log_mel(samples, PARAMS),
        "librosa": lambda samples: _finish(librosa.feature.melspectrogram(y=samples, sr=PARAMS.sample_rate, **size).T),
        "torchaudio": lambda samples: _finish(transform(torch.from_numpy(samples)).numpy().T),
        "kaldi-native-fbank": kaldi,
        "decoding alone": lambda samples: samples,
    }


def measure(folder: Path | None = None, rounds: int = 7) -> dict[str, dict[str, float]]:
    """Return, for each contender, seconds per hour of audio (median, low, high) and `ratio`, its time over ours.

    `folder` holds FLAC files, at any depth; without one, 60 clips are made.
    """
    with TemporaryDirectory() as made, threadpool_limits(1):
        if folder is None:
            _make(Path(made))
        files = sorted((folder or Path(made)).rglob("*.flac"))
        if not files:
            raise SystemExit(f"{folder}: no .flac file")
        hours = sum(audio.header(file)[0] for file in files) / 3600
        contenders = _contenders()
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(rounds + 1):  # round 0 warms up
            for name, compute in contenders.items():
                start = time.perf_counter()
                for file in files:
                    compute(audio.decode(file, PARAMS.sample_rate))
                if number:
                    times[name].append((time.perf_counter() - start) / hours)
    ours = times["earshot"]
    return {
        name: {
            "seconds_per_hour": median(spent),
            "low": min(spent),
            "high": max(spent),
            "ratio": median(theirs / own for theirs, own in zip(spent, ours, strict=True)),
        }
        for name, spent in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{'decode + log-mel':20} {'hours/s':>8} {'s/hour':>8} {'min–max':>13} {'time ÷ ours':>12}")
    for name, row in measure(arguments.folder, arguments.rounds).items():
        spread = f"{row['low']:.3f}–{row['high']:.3f}"
        seconds = row["seconds_per_hour"]
        print(f"{name:20} {1 / seconds:8.2f} {seconds:8.3f} {spread:>13} {row['ratio']:12.2f}")


if __name__ == "__main__":
    main()
