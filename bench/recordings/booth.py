"""One-second recordings of 45 sounds as a corpus of nine devices, in the layout of TAU 2022 Mobile.

Device `a` is the recording as it is, every other one a measured microphone, its level kept; s1 to
s6 compress a little too. A training clip has one device, half of them `a`; a test clip all nine,
and s4 to s6 occur in the test alone. One recording of each sound is for the test. The order is by
hash, and nothing random.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy.signal import fftconvolve, lfilter, resample_poly

RATE = 44_100
RESPONSES = {  # third-octave levels of b to s3 differ by 3.8 dB rms or more, each from each
    "b": "IR_OktavaMD57",
    "c": "Coles_4038",
    "s1": "IR_Shure510C",
    "s2": "IR_FosterDynamicDF1",
    "s3": "IR_AKG_FaultyD12",
    "s4": "Toshiba_TypeK_HPF",
    "s5": "IR_Lomo52A5M",
    "s6": "RCA_varacoustic_fig8",
}
TRAINING = ("a", "b", "a", "c", "a", "s1", "a", "s2", "a", "s3")
COLUMNS = ["filename", "scene_label", "identifier", "source_label"]
LOUDEST = 1.0001  # a little room, so that rounding does not clip
Row = dict[str, Any]


def write(data: Path, out: Path) -> None:
    """Write audio, `meta.csv` and the lists of the corpus from `scenes_booth` and `device_irs`."""
    booth = data / "scenes_booth"
    classes = {row["filename"]: row["scene_label"] for row in _read(booth / "meta_coarse9.csv")}
    clips = _read(booth / "meta.csv")
    takes: dict[str, list[str]] = {}  # of each sound, in order: the first is for the test
    for clip in clips:
        takes.setdefault(clip["scene_label"], []).append(clip["identifier"])
    takes = {sound: sorted(set(each), key=_order) for sound, each in takes.items()}
    responses = {device: _response(data, name) for device, name in RESPONSES.items()}
    (out / "audio").mkdir(parents=True)
    rows, turns = [], Counter[str]()
    for clip in sorted(clips, key=lambda clip: _order(clip["filename"])):
        label, sound = classes[clip["filename"]], clip["scene_label"]
        samples, rate = soundfile.read(booth / clip["filename"])
        if rate != RATE:
            raise ValueError(f"{clip['filename']}: {rate} Hz, expected {RATE}")
        tested = clip["identifier"] == takes[sound][0]
        devices = ["a", *RESPONSES] if tested else [TRAINING[turns[label] % len(TRAINING)]]
        turns[label] += not tested
        for device in devices:
            recorded = _recorded(samples, device, responses)
            name = f"audio/{_name(label, clip['filename'], device)}.wav"
            peak = max(1.0, np.abs(recorded).max() * LOUDEST)
            soundfile.write(out / name, recorded / peak, RATE, subtype="PCM_24")
            rows.append(
                {
                    "filename": name,
                    "scene_label": label,
                    "identifier": clip["identifier"],
                    "source_label": device,
                    "tested": tested,
                    "quarter": clip["identifier"] == takes[sound][1],
                }
            )
    _lists(sorted(rows, key=lambda row: row["filename"]), out)


def _lists(rows: list[Row], out: Path) -> None:
    training = [row for row in rows if not row["tested"]]
    tested = [row for row in rows if row["tested"]]
    folds = out / "evaluation_setup"
    folds.mkdir()
    _write(out / "meta.csv", COLUMNS, rows)
    _write(folds / "fold1_train.csv", COLUMNS[:2], training)
    _write(folds / "fold1_evaluate.csv", COLUMNS[:2], tested)
    _write(folds / "fold1_test.csv", COLUMNS[:1], tested)
    _write(out / "test.csv", COLUMNS, tested)
    _write(out / "split100.csv", COLUMNS, training)
    _write(out / "split25.csv", COLUMNS, [row for row in training if row["quarter"]])


def _name(label: str, filename: str, device: str) -> str:
    """Return a name as TAU has it, with the sound in place of the city."""
    sound, _, *numbers = Path(filename).stem.removesuffix("-a").split("-")
    return "-".join((label, sound, *numbers, device))


def _order(name: str) -> str:
    return sha256(f"booth-devices-1:{name}".encode()).hexdigest()


def _response(data: Path, name: str) -> np.ndarray:
    samples, rate = soundfile.read(data / "device_irs" / f"{name}.wav")
    common = gcd(RATE, rate)
    return resample_poly(samples, RATE // common, rate // common)


def _recorded(samples: np.ndarray, device: str, responses: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what a device makes of a sound `(T,)`, at the level that it had."""
    if device == "a":
        return samples
    response = responses[device]
    onset = int(np.argmax(np.abs(response)))
    through = fftconvolve(samples, response)[onset:][: len(samples)]
    if device.startswith("s"):
        through = _compressed(through * _rms(samples) / _rms(through))
    return through * _rms(samples) / _rms(through)


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)) + 1e-12)


def _compressed(
    samples: np.ndarray, threshold: float = -30.0, ratio: float = 1.5, seconds: float = 0.02
) -> np.ndarray:
    """Return samples compressed above a level of `threshold` dB, which is followed in `seconds`."""
    decay = np.exp(-1 / (seconds * RATE))
    level = 10 * np.log10(lfilter([1 - decay], [1, -decay], samples**2) + 1e-12)
    return samples * 10 ** (-np.maximum(level - threshold, 0) * (1 - 1 / ratio) / 20)


def _read(path: Path) -> list[Row]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _write(path: Path, columns: list[str], rows: Iterable[Row]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(
            file, columns, delimiter="\t", lineterminator="\n", extrasaction="ignore"
        )
        table.writeheader()
        table.writerows(rows)
