"""Made-up results of two tracks, for the tests of pictures and of the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from conftest import ROOT

from earshot.evaluation import plots
from earshot.tables import answers, items
from earshot.tables.items import Item
from earshot.tables.manifest import Clip, write_manifest
from earshot.workbench.hashes import md5

ANSWERS = np.arange(90) % 3
CLASSES = ("airport", "public_square", "street_traffic")
GROUPS = {"s4": "unseen", "a": "real", "s1": "seen"}
HOSTILE = "<script>alert(1)</script>"
MODELS = {"teacher": 0.9, "hard": 0.4, "hard_int8": 0.39, "kd": 0.7, "kd_int8": 0.69}
ROUTING = {
    f"seed-{seed}": {
        "similarity": [[0.1, 0.5, 0.4], [0.2, 0.1, 0.3 + seed / 10]],
        "chosen": [[2, 3], [3, 1 + seed % 2]],
    }
    for seed in range(3)
}


def probabilities(top: float) -> np.ndarray:
    """One seed `(1, 90, 3)` that answers every other item right, with confidence `top`."""
    chosen = np.where(np.arange(90) % 2, ANSWERS, (ANSWERS + 1) % 3)
    return np.where(np.eye(3)[chosen] == 1, top, (1 - top) / 2)[None]


def score(middle: float) -> dict[str, Any]:
    ends = {"accuracy": middle, "accuracy_low": middle - 0.05, "accuracy_high": middle + 0.05}
    return ends | {"macro_f1": middle, "nll": 1.25, "ece": 0.031, "items": 90}


def quality(by: str, parts: tuple[str, ...]) -> dict[str, Any]:
    """Scores as in quality.json, broken down by one thing."""
    found = {m: score(s) | {by: {part: score(s) for part in parts}} for m, s in MODELS.items()}
    gain = {"accuracy": 0.3, "accuracy_low": 0.1, "accuracy_high": 0.4}
    drop = {"device_drop": -0.1, "device_drop_low": -0.2, "device_drop_high": 0.05}
    return found | {"gain": {"kd_vs_hard": gain | (drop if by == "device" else {})}}


def track_items(same: bool) -> list[Item]:
    """Items that all have the same options, or each their own."""
    return [
        Item(
            f"i{n}",
            "test",
            "",
            "p",
            (f"u{n}",),
            "",
            CLASSES if same else (f"{n}", "b", "c"),
            int(a),
        )
        for n, a in enumerate(ANSWERS)
    ]


def curves(folder: Path) -> dict[str, Path]:
    """Write learning curves: two seeds of `kd`, of which one stopped early, one of the teacher."""
    for name, epochs in (("t-kd/seed-0", 9), ("t-kd/seed-1", 5), ("teacher-t/seed-0", 3)):
        path = folder / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        epoch = np.arange(1, epochs + 1)
        table = pd.DataFrame({"epoch": epoch, "loss": 2 / epoch, "validation": 1 - 0.8 / epoch})
        table.to_csv(path, index=False)
    return {"kd": folder / "t-kd", "teacher": folder / "teacher-t"}


def _score(accuracy: float) -> dict[str, float]:
    near = {"accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1}
    return {"accuracy": accuracy, **near}


STANDING = {
    "items": 8,
    "passages": 4,
    **{
        model: {"clean": _score(0.8), "noise_10db": _score(0.6) | {"gain": _score(-0.2)}}
        for model in ("teacher", "kd", "kd_int8")
    },
}


def draw(folder: Path, same: bool = True, **changed: Any) -> None:
    """Draw the pictures of a track: of classes with devices and routing, or of choices."""
    found = quality("device", tuple(GROUPS)) if same else quality("skill", ("detail", "inference"))
    asked = track_items(same)
    one_seed = dict(zip([item.id for item in asked], probabilities(0.8)[0], strict=True))
    given = {
        "quality": found,
        "answers": {model: [one_seed] for model in MODELS},
        "test": asked,
        "shipped": "kd_int8",
        "curves": curves(folder.parent / "curves"),
        "groups": GROUPS if same else {},
        "routing": {"kd": ROUTING} if same else {},
        "standing": STANDING,
    }
    plots.draw(folder, plots.Evaluation(**given | changed))


def write(root: Path) -> Path:
    """Write a project: two tracks, of which `listening` has two clips of sound; return its root."""
    parts = {"listening": ("skill", ("detail", "inference")), "scenes": ("device", tuple(GROUPS))}
    for track, by in parts.items():
        draw(root / "plots" / track / "test", same=track == "scenes")
        cost = {m: {"bytes": 9 * 10**n, "macs": 10**6} for n, m in enumerate(MODELS, start=3)}
        timing = {"seconds": 2.0, "latency": {m: {"latency_median_ms": 4.56} for m in MODELS}}
        files = {
            "quality": quality(*by),
            "cost": cost,
            f"timing/evaluate@{track}": timing,
            f"timing/distill@{track}-kd": {"seconds": 90, "train_minutes": 1.5},
            f"timing/teacher@{track}": {"seconds": 90, "train_minutes": 7.5},
            f"validation/{track}-kd": {"accuracy": 0.7},
            f"validation/{track}-hard": {"accuracy": 0.4},
        }
        for name, content in files.items():
            path = root / "metrics" / track / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    _sound(root)
    record(root)
    return root


def _sound(root: Path) -> None:
    """Write clips, items and answers of `listening`; the second item is the harder one."""
    data, noise, clips = root / "data/listening", np.random.default_rng(0), []
    for place in range(2):
        name = f"data/listening/corpus/{place}.wav"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, noise.normal(0, 0.1, 16_000), 16_000)
        known = {"text": "<i>spoken</i>", "passage": f"p{place}"}
        clips.append(Clip(f"u{place}", name, 1.0, 16_000, f"s{place}", "test", **known))
    write_manifest(clips, data / "manifest.parquet")
    options = (HOSTILE, "two", "three")
    asked = [
        Item("i0", "test", "detail", "p0", ("u0",), f"What? {HOSTILE}", options, 0),
        Item("i1", "test", "detail", "p1", ("u1",), "Which?", options, 1),
    ]
    items.write(asked, data / "items.parquet")
    given = {"i0": np.array([0.2, 0.7, 0.1]), "i1": np.array([0.5, 0.1, 0.4])}
    given = {name: one.astype(np.float32) for name, one in given.items()}
    models = {"teacher": [given], "kd_int8": [given, given]}
    answers.write(root / "models/listening/answers.parquet", asked, models)


def record(root: Path) -> None:
    """Write a dvc.lock that knows the files of `listening` as they are."""
    names = ("manifest.parquet", "items.parquet")
    paths = [*(f"data/listening/{name}" for name in names), "models/listening/answers.parquet"]
    outs = [{"path": path, "md5": md5(root / path), "size": 123_456} for path in paths]
    lock = {"schema": "2.0", "stages": {"evaluate@listening": {"outs": outs}}}
    (root / "dvc.lock").write_text(json.dumps(lock))
