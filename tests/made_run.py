"""What a run leaves, made up: students of random weights, clips of noise and tones, results."""

import shutil
from pathlib import Path

import numpy as np
import soundfile
import students
import tones
from conftest import ROOT

from earshot.export import onnx_file
from earshot.params import Features, MobileNet
from earshot.runtime.files import write_json
from earshot.tables import answers, items
from earshot.tables.items import Item
from earshot.tables.manifest import Clip, write_manifest

RATE = 16_000
RECIPE = "kd"
SCENES = Features(
    n_fft=1024, win_length=1024, hop_length=320, norm="none", silence_db=None, min_rms=1e-6
)
LABELS = ("airport", "bus", "metro_station", "park", "tram")
QUESTION = 'What did <b>Mary</b> & "Anna" buy?'
OPTIONS = ("a bicycle", "a lamp", "a telescope")


def write(root: Path, questions: int = 6) -> Path:
    """Write a run of three tracks, one of each task, in `root`; return it."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "params.yaml", root / "params.yaml")
    asked = [question(number) for number in range(questions)]
    student = students.recurrent()
    _track(root, "listening", asked, {one.passage: babble(n) for n, one in enumerate(asked)})
    _student(root, "listening", students.opinionated(student), Features(), student)
    said = {item.id: np.array([0.1, 0.2, 0.7]) for item in asked}
    answers.write(root / "models/listening/answers.parquet", asked, {"teacher": [said]})
    places = [
        Item(f"s{n}", "test", "scene", f"s{n}", (f"s{n}",), options=LABELS, answer=n)
        for n in range(len(LABELS))
    ]
    _track(root, "scenes", places, {f"s{n}": noise(n, 1.0) for n in range(len(LABELS))})
    net = students.mobilenet(classes=len(LABELS))
    _student(root, "scenes", net, SCENES, MobileNet(name="mobilenet"), LABELS)
    said = {"t0": "ab ba", "t1": "bab a"}
    spoken = [
        Item(id, "test", "transcript", id, (id,), options=tones.SYMBOLS, transcript=text)
        for id, text in said.items()
    ]
    sounds = {id: tones.recording(tones.spelled(text, 0.2), 3.0) for id, text in said.items()}
    _track(root, "transcripts", spoken, sounds)
    _student(root, "transcripts", tones.student(), tones.FEATURES, tones.PARAMS, tones.SYMBOLS)
    answers.write_texts(root / "models/transcripts/answers.parquet", spoken, {"teacher": [said]})
    return root


def question(number: int) -> Item:
    asked = {"question": QUESTION, "options": OPTIONS, "answer": number % 3}
    clip, skill = f"q{number}", ("detail", "main_idea")[number % 2]
    return Item(f"{clip}/{skill}", "test", skill, clip, (clip,), **asked)


def babble(seed: int, seconds: float = 2.5) -> np.ndarray:
    """Noise that swells and falls in bands, with silence at both ends."""
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE)
    pitch = np.cumsum(np.repeat(rng.uniform(150, 3000, 25), count // 25 + 1)[:count]) / RATE
    sound = 0.3 * np.sin(2 * np.pi * pitch) + rng.normal(0, 0.01, count)
    edges = np.zeros(RATE // 3)
    return np.concatenate([edges, sound, edges]).astype(np.float32)


def noise(seed: int, seconds: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = 0.01 * 2.0 ** rng.integers(0, 5, round(seconds * 4) + 1)
    return (
        rng.normal(0, 1, round(seconds * RATE))
        * np.repeat(level, RATE // 4)[: round(seconds * RATE)]
    ).astype(np.float32)


def model(root: Path, track: str, form: str = ".int8") -> Path:
    return root / f"models/{track}/onnx/{track}-{RECIPE}/student{form}.onnx"


def _student(root, track, student, features, params, labels=()) -> None:
    """Write the same file as the one in float and as the one in int8."""
    for form in ("", ".int8"):
        path = model(root, track, form)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx_file.export(student, features, params, path, {"recipe": RECIPE}, labels)


def _track(root: Path, name: str, asked: list[Item], sounds: dict[str, np.ndarray]) -> None:
    data, clips = root / "data" / name, []
    for id, samples in sounds.items():
        path = data / f"{id}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, RATE)
        where = str(path.relative_to(root))
        clips.append(Clip(id, where, len(samples) / RATE, RATE, "s", "test", None, id))
    write_manifest(clips, data / "manifest.parquet")
    items.write(asked, data / "items.parquet")
    metric = "wer" if name == "transcripts" else "accuracy"
    score = {metric: 0.75, f"{metric}_low": 0.7, f"{metric}_high": 0.8}
    control = "audio_exchanged" if name == "transcripts" else "audio_blind"
    models = ("teacher", RECIPE, f"{RECIPE}_int8", control)
    quality = {one: dict(score) for one in models}
    if name == "scenes":
        quality["teacher"]["class"] = {}
    write_json(root / f"metrics/{name}/quality.json", quality)
    write_json(root / f"metrics/{name}/cost.json", {f"{RECIPE}_int8": {"bytes": 300_000}})
    gain = {"gain": {metric: -0.2, f"{metric}_low": -0.3, f"{metric}_high": -0.1}}
    conditions = {"clean": dict(score), "hall": score | gain}
    write_json(root / f"metrics/{name}/robustness.json", {"items": 6, RECIPE: conditions})
    write_json(root / f"metrics/{name}/validation/{name}-{RECIPE}.json", {"accuracy": 0.8})
