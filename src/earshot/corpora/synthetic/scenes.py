"""The embedded scenes: TAU's ten classes made on this machine, in TAU's own layout and naming, the
same bytes each time.

A class is a mixture of sources; a location (`lisbon-1004`) draws which of them it has, how loud,
and its room; a segment (one recording) varies about its location, at a random level. Classes
overlap, and a second of a recording may lack whatever tells. Test locations are others than
training's, and devices s4 to s6 are in the test alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from scipy import signal

from earshot.corpora import tau2022
from earshot.corpora.synthetic.sounds import SOURCES, room
from earshot.corpora.synthetic.waves import Place, unit
from earshot.features.responses import Curve, Device, draw
from earshot.params import TAU2022, SyntheticScenes
from earshot.runtime import parallel
from earshot.runtime.files import atomic
from earshot.tables.manifest import Clip

CITIES = "barcelona helsinki lisbon london lyon milan paris prague stockholm vienna".split()
SEGMENTS_PER_LOCATION = 2
FIRST_LOCATION = {"train": 1_000, "test": 30_000, "pretrain": 60_000}

# Per class: its room's 60 dB decay (seconds, from–to), and its sources: how many locations have it,
# and its level (dB).
CLASSES: dict[str, tuple[tuple[float, float], dict[str, tuple[float, float]]]] = {
    "airport": (
        (0.8, 2.2),
        {
            "ventilation": (1, 0), "babble": (1, 0), "footsteps": (0.85, -4), "clatter": (0.5, -3),
            "announcement": (0.95, 1), "beeps": (0.1, -6), "rolling": (0.2, -8),
        },
    ),
    "shopping_mall": (
        (0.6, 1.8),
        {
            "ventilation": (1, -1), "babble": (1, 1), "footsteps": (0.95, -5), "music": (0.7, -4),
            "announcement": (0.05, -1), "clatter": (0.5, -4), "beeps": (0.2, -5),
        },
    ),
    "metro_station": (
        (0.9, 2.6),
        {
            "ventilation": (1, 1), "babble": (1, -2), "footsteps": (0.95, -4),
            "announcement": (0.5, 0), "passby": (0.7, 1), "squeal": (0.15, -4), "beeps": (0.3, -4),
            "rolling": (0.3, -3),
        },
    ),
    "metro": (
        (0.2, 0.5),
        {
            "rolling": (1, 2), "clacks": (0.85, -2), "whine": (0.85, -5), "ventilation": (1, -1),
            "babble": (0.85, -6), "announcement": (0.3, -1), "squeal": (0.15, -5),
            "beeps": (0.15, -5),
        },
    ),
    "tram": (
        (0.15, 0.45),
        {
            "rolling": (1, 0), "clacks": (0.8, -3), "whine": (0.9, -4), "ventilation": (1, -2),
            "babble": (0.95, -4), "squeal": (0.5, -4), "bell": (0.5, -3), "passby": (0.2, -5),
            "beeps": (0.15, -5),
        },
    ),
    "bus": (
        (0.12, 0.4),
        {
            "engine": (1, 1), "ventilation": (1, -2), "babble": (0.95, -4), "beeps": (0.2, -4),
            "hiss": (0.5, -4), "clatter": (0.7, -4), "rolling": (0.7, -3), "passby": (0.1, -6),
        },
    ),
    "park": (
        (0.08, 0.4),
        {
            "wind": (0.95, -1), "birds": (0.95, -4), "water": (0.1, -4), "footsteps": (0.5, -6),
            "babble": (0.7, -5), "passby": (0.6, -5),
        },
    ),
    "public_square": (
        (0.2, 0.9),
        {
            "babble": (1, 0), "footsteps": (0.7, -5), "wind": (0.7, -3), "birds": (0.3, -7),
            "water": (0.15, -4), "passby": (0.7, -3), "music": (0.05, -5), "bell": (0.1, -4),
            "engine": (0.1, -7),
        },
    ),
    "street_pedestrian": (
        (0.2, 0.8),
        {
            "babble": (1, 0), "footsteps": (1, -2), "passby": (0.4, -5), "wind": (0.4, -5),
            "birds": (0.05, -8), "music": (0.1, -5), "clatter": (0.2, -5),
            "ventilation": (0.15, -4),
        },
    ),
    "street_traffic": (
        (0.12, 0.6),
        {
            "passby": (1, 3), "engine": (0.5, -2), "wind": (0.5, -3), "babble": (0.3, -7),
            "footsteps": (0.3, -7), "beeps": (0.15, -6), "birds": (0.05, -8), "hiss": (0.05, -6),
            "rolling": (0.3, -3),
        },
    ),
}  # fmt: skip
LOCATION_SPREAD, SEGMENT_SPREAD = 2.0, 1.5  # of a source's level, dB
# of a source's traits: how far they are the location's own; the rest is typical of the class
OWN = 0.25
KIND_COLOUR, SITE_COLOUR = (
    0.5,
    0.15,
)  # how far class and location colour what is heard there; 1 is a device
LEVELS = (-36.0, -20.0)  # of a segment, dBFS

DEVICES = {
    "a": Device(Curve(((6000, 1.5, 0.8),), 40, 15_000), -84),
    "b": Device(Curve(((300, 2, 1.0), (3500, 4, 0.7)), 90, 12_000), -76, -6),
    "c": Device(Curve(((180, -3, 0.9), (1800, 2, 0.8), (5500, -3, 0.6)), 80, 11_000, 3), -76, -8),
    "s1": Device(Curve(((500, -3, 0.8), (2600, 4, 0.5)), 100, 9_500), -76, -8),
    "s2": Device(Curve(((900, 3, 0.6), (4200, -4, 0.7)), 70, 10_000), -74, -10),
    "s3": Device(Curve(((250, 3, 0.7), (1500, -4, 0.6), (6000, 4, 0.5)), 110, 13_000), -76, -6),
    "s4": Device(Curve(((1100, 6, 0.35), (3000, -5, 0.5)), 200, 6_800, 2), -71, -12),
    "s5": Device(Curve(((420, -7, 0.6), (2100, 6, 0.3), (5200, 5, 0.4)), 180, 8_500, 2), -67, -10),
    "s6": Device(Curve(((200, 5, 0.6), (700, -3, 0.7), (3600, -4, 0.8)), 60, 5_800, 2), -71, -8),
}
SEEN, UNSEEN = tuple("a b c s1 s2 s3".split()), ("s4", "s5", "s6")
MAIN_SHARE = 0.7  # of the training segments are device a's


@dataclass(frozen=True)
class Segment:
    """One recording: `seconds` one-second clips at a location, heard through `devices`."""

    label: str
    city: str
    location: int
    number: int
    split: str
    seconds: int
    devices: tuple[str, ...]

    @property
    def identifier(self) -> str:
        return f"{self.city}-{self.location}"

    def clip(self, index: int, device: str) -> str:
        """Return a clip's name, TAU's: `airport-lisbon-1004-40017-3-a`."""
        return f"{self.label}-{self.identifier}-{self.number}-{index}-{device}"


def plan(split: str, segments: int, clips: int, seed: int) -> list[Segment]:
    """Return the segments of a split, class by class; splits have no location in common."""
    rng = np.random.default_rng([seed, *split.encode()])
    locations, first = max(2, segments // SEGMENTS_PER_LOCATION), FIRST_LOCATION[split]
    made: list[Segment] = []
    for kind, label in enumerate(CLASSES):
        for index in range(segments):
            place = kind * locations + index % locations
            device = "a" if rng.random() < MAIN_SHARE else SEEN[1 + rng.integers(len(SEEN) - 1)]
            made.append(
                Segment(
                    label,
                    CITIES[place % len(CITIES)],
                    first + place,
                    40 * first + len(made),
                    split,
                    clips,
                    tuple(DEVICES) if split == "test" else (device,),
                )
            )
    return made


def synthesize(segment: Segment, sample_rate: int, seed: int) -> dict[str, np.ndarray]:
    """Return the recording of each device, int16 `(seconds × sample_rate,)`."""
    site = np.random.default_rng([seed, 1, segment.location])
    rng = np.random.default_rng([seed, 2, segment.number])
    place = Place(
        segment.seconds * sample_rate, sample_rate, segment.label, (seed, 3, segment.location), OWN
    )
    (short, long), mixture = CLASSES[segment.label]
    tail, wet = room(site, sample_rate, site.uniform(short, long)), site.uniform(0.2, 0.6)
    dry = np.zeros(place.samples, dtype=np.float32)
    for source, (share, level) in mixture.items():
        present, own = site.random() < share, site.normal(level, LOCATION_SPREAD)
        if present:
            dry += np.float32(10 ** (rng.normal(own, SEGMENT_SPREAD) / 20)) * SOURCES[source](
                rng, place
            )
    scene = dry + np.float32(wet) * signal.oaconvolve(dry, tail)[: len(dry)]
    for colour in (
        draw(np.random.default_rng([*segment.label.encode()]), KIND_COLOUR),
        draw(site, SITE_COLOUR),
    ):
        scene = signal.oaconvolve(scene, colour.response(sample_rate))[: len(dry)]
    level, peak = 10 ** (rng.uniform(*LEVELS) / 20), 0.7 / np.abs(unit(scene)).max()
    scene = unit(scene) * np.float32(min(level, peak))
    return {
        device: np.rint(32767 * DEVICES[device].hear(scene, sample_rate, rng)).astype(np.int16)
        for device in segment.devices
    }


def build(params: SyntheticScenes, folder: Path, seed: int) -> Iterator[Clip]:
    """Make the corpus in `folder` as TAU's would lie there, then read it as TAU's is read.

    The same parameters and seed give the same bytes, whatever the number of workers.
    """
    segments = [
        segment
        for split in ("train", "test")
        for segment in plan(split, params.segments[split], params.clips[split], seed)
    ]
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for _ in parallel.run(
        partial(_record, folder, params.sample_rate, seed),
        segments,
        "scenes",
        unit="segment",
        chunk=4,
    ):
        pass
    reading = TAU2022(name="tau2022", root=str(folder), validation_share=params.validation_share)
    _tables(segments, folder, reading, seed)
    yield from tau2022.build(reading, folder, seed)


def unlabelled(number: int, sample_rate: int, seed: int) -> Iterator[np.ndarray]:
    """Yield `number` one-second clips, int16 `(sample_rate,)`, of locations that are in no split,
    through seen devices.
    """
    per_segment = 10
    segments = plan("pretrain", -(-number // (per_segment * len(CLASSES))), per_segment, seed)
    order = np.random.default_rng([seed, 4]).permutation(len(segments))[: -(-number // per_segment)]
    made = parallel.run(
        partial(_hear, sample_rate, seed),
        [segments[i] for i in order],
        "scenes",
        unit="segment",
        chunk=4,
    )
    left = number
    for samples in made:
        yield from samples.reshape(-1, sample_rate)[:left]
        left -= min(left, per_segment)


def _hear(sample_rate: int, seed: int, segment: Segment) -> np.ndarray:
    (samples,) = synthesize(segment, sample_rate, seed).values()
    return samples


def _record(folder: Path, sample_rate: int, seed: int, segment: Segment) -> None:
    for device, samples in synthesize(segment, sample_rate, seed).items():
        for index, second in enumerate(samples.reshape(-1, sample_rate)):
            _write(folder / "audio" / f"{segment.clip(index, device)}.wav", second, sample_rate)


def _write(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Write a PCM16 file under its final name only when whole; thousands of them are not worth a
    flush to disk each.
    """
    content = BytesIO()
    soundfile.write(content, samples, sample_rate, format="WAV", subtype="PCM_16")
    partial_file = path.with_suffix(".partial")
    partial_file.write_bytes(content.getbuffer())
    partial_file.replace(path)


def _tables(segments: list[Segment], folder: Path, reading: TAU2022, seed: int) -> None:
    """Write TAU's tables and DCASE's lists of the corpus."""
    rows = [
        {
            "filename": f"audio/{segment.clip(index, device)}.wav",
            "scene_label": segment.label,
            "identifier": segment.identifier,
            "source_label": device,
            "segment": segment.number,
            "split": segment.split,
        }
        for segment in segments
        for device in segment.devices
        for index in range(segment.seconds)
    ]
    table = pd.DataFrame(rows)
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    rng = np.random.default_rng([seed, 5])
    test = test.iloc[rng.permutation(len(test))]
    named = ["filename", "scene_label"]
    lists = {
        "meta.csv": table[list(tau2022.COLUMNS)],
        "evaluation_setup/fold1_train.csv": train[named],
        "evaluation_setup/fold1_evaluate.csv": test[named],
        "evaluation_setup/fold1_test.csv": test[["filename"]],
        "test.csv": test[named],
    }
    order = _labelling_order(train, reading, seed)
    for percent in tau2022.SUBSETS:
        chosen = train["segment"].map(order) <= percent
        lists[f"split{percent}.csv"] = train[chosen][named]
    for name, content in lists.items():
        with atomic(folder / name) as partial_file:
            content.to_csv(partial_file, sep="\t", index=False, lineterminator="\n")


def _labelling_order(train: pd.DataFrame, reading: TAU2022, seed: int) -> dict[int, float]:
    """Return for each training segment the share (percent) of its class from which it is labelled.

    Within a class they are in random order, those of validation locations spread evenly among the
    others: no labelled share is without clips to train on.
    """
    held_out = tau2022.validation_locations(train, reading.validation_share, seed, reading.root)
    rng = np.random.default_rng([seed, 6])
    order: dict[int, float] = {}
    for _, of_class in train.drop_duplicates("segment").groupby("scene_label"):
        ranked = []
        for validation in (False, True):
            group = of_class["segment"][
                of_class["identifier"].isin(held_out) == validation
            ].tolist()
            ranked += [
                ((rank + 0.5) / len(group), validation, number)
                for rank, number in enumerate(rng.permutation(group))
            ]
        # Half a segment rounds a share to the nearest number of segments; the first is in all.
        order |= {
            n: 100 * (rank + 0.5) / len(ranked) if rank else 0
            for rank, (_, _, n) in enumerate(sorted(ranked))
        }
    return order
