"""From FLAC to normalised log-mel on one thread: ours, librosa, torchaudio, kaldi-native-fbank, and
decoding alone.

All decode with the same function and end with the same log and normalisation; 40 bands, 25-ms
windows every 10 ms.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from bench.rounds import Result, Target, interleave, rows
from earshot.features import audio, log_mel
from earshot.params import Features

PARAMS = Features()
RIVALS = ("librosa", "torchaudio", "kaldi-native-fbank")


def make_clips(folder: Path, clips: int, sentences: int) -> list[Path]:
    """Speak clips of so many sentences, 3–4 s each, to 16-kHz FLAC files; return their paths."""
    from earshot.corpora.synthetic import speech

    spoken = [samples for samples, _ in speech.spoken("test", clips * sentences, seed=1)]
    paths = [folder / f"{number:02d}.flac" for number in range(clips)]
    for number, path in enumerate(paths):
        clip = np.concatenate(spoken[number * sentences : (number + 1) * sentences])
        soundfile.write(path, clip, PARAMS.sample_rate)
    return paths


def _finish(power: np.ndarray) -> np.ndarray:
    return log_mel.normalize(np.log(np.maximum(power, 1e-10)), PARAMS.norm)


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
    transform = torchaudio.transforms.MelSpectrogram(
        PARAMS.sample_rate, **size, pad_mode="constant"
    )
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither = PARAMS.sample_rate, 0
    options.mel_opts.num_bins = PARAMS.n_mels

    def kaldi(samples: np.ndarray) -> np.ndarray:
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(PARAMS.sample_rate, samples)
        fbank.input_finished()
        frames = np.stack([fbank.get_frame(frame) for frame in range(fbank.num_frames_ready)])
        return log_mel.normalize(frames, PARAMS.norm)

    return {
        "earshot": lambda samples: log_mel.log_mel(samples, PARAMS),
        "librosa": lambda samples: _finish(
            librosa.feature.melspectrogram(y=samples, sr=PARAMS.sample_rate, **size).T
        ),
        "torchaudio": lambda samples: _finish(transform(torch.from_numpy(samples)).numpy().T),
        "kaldi-native-fbank": kaldi,
        "decoding alone": lambda samples: samples,
    }


def measure(rounds: int = 7, folder: Path | None = None, clips: int = 60) -> Result:
    """Return seconds per hour of audio. `folder` holds FLAC files, at any depth; without one,
    `clips` are made.
    """
    with TemporaryDirectory() as made:
        files = (
            sorted(folder.rglob("*.flac")) if folder else make_clips(Path(made), clips, sentences=4)
        )
        if not files:
            raise SystemExit(f"{folder}: no .flac file")
        hours = sum(audio.header(file)[0] for file in files) / 3600

        def over_all(compute: Callable[[np.ndarray], object]) -> None:
            for file in files:
                compute(audio.decode(file, PARAMS.sample_rate))

        spent = interleave(
            {name: partial(over_all, one) for name, one in _contenders().items()},
            rounds,
            "features",
        )
    table = rows(
        {name: [seconds / hours for seconds in each] for name, each in spent.items()},
        base="earshot",
    )
    best = min(RIVALS, key=lambda rival: table[rival].ratio.median)
    floor = median(
        theirs / ours for theirs, ours in zip(spent[best], spent["decoding alone"], strict=True)
    )
    return Result(
        title="Features: decoding and log-mel",
        note=f"{len(files)} FLAC clips, {60 * hours:.0f} minutes; normalised 40-band log-mel. "
        f"Everyone decodes: with a free log-mel, {best} would take {floor:.2f}× our time.",
        unit="seconds per hour of audio",
        ratio="time ÷ ours",
        rows=table,
        targets=[
            Target(f"the best of the others ({best}), time ÷ ours", table[best].ratio.median, 2)
        ],
    )
