"""The stages of a track of transcripts, one after the other, on a corpus of a minute."""

import json
import subprocess
import sys

import pandas as pd
import pytest
import soundfile
import yaml
from conftest import ROOT
from repository import SHRUNK, environment

from earshot import predict
from earshot.runtime.yaml_file import read as read_yaml
from earshot.tables import answers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TRACK = "transcripts"
RECIPES = ("hard", "kd", "kd_pool", "pseudo")
STAGES = [
    *("inputs", "download", "features", "fewshot", "teacher", "cache"),
    *(f"{stage}@{TRACK}-{recipe}" for recipe in RECIPES for stage in ("distill", "quantize")),
    "evaluate",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder in which all stages of the track have run."""
    root = tmp_path_factory.mktemp("track")
    for name in ("src", "stages", "checkpoints"):
        (root / name).symlink_to(ROOT / name)
    content = read_yaml(ROOT / "params.yaml")
    for key, value in SHRUNK.items():
        *path, last = key.split(".")
        place = content
        for part in path:
            place = place[part]
        place[last] = value
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    for stage in STAGES:
        name, _, key = stage.partition("@")
        command = [sys.executable, f"stages/{name}.py", key or TRACK]
        done = subprocess.run(
            command, cwd=root, env=environment(root), capture_output=True, text=True
        )
        assert done.returncode == 0, f"{stage}: {done.stderr}"
    return root


def test_every_model_is_scored_and_paid(project):
    quality = json.loads((project / f"metrics/{TRACK}/quality.json").read_text())
    models = {"teacher", *RECIPES, *(f"{recipe}_int8" for recipe in RECIPES)}
    assert set(quality) == models | {"audio_exchanged", "gain"}
    for name in models:
        assert {"wer", "wer_low", "wer_high", "cer", "insertions", "wording"} <= set(quality[name])
        assert quality[name]["items"] == 24
    assert {"wer", "relative_reduction", "p_value"} <= set(quality["gain"]["kd_pool_vs_hard"])
    cost = json.loads((project / f"metrics/{TRACK}/cost.json").read_text())
    assert set(cost) == models
    assert cost["hard"]["macs"] > 0 and cost["hard_int8"]["bytes"] < 0.6 * cost["hard"]["bytes"]
    pruned, whole = cost["kd"]["parameters"], cost["hard"]["parameters"]
    assert pruned < 0.5 * whole and cost["kd_int8"]["parameters"] < 0.5 * whole
    curve = pd.read_csv(project / f"plots/{TRACK}/curves/{TRACK}-kd/seed-0.csv")
    assert curve["epoch"].tolist() == [1, 2, 3]
    for recipe in RECIPES:
        scores = json.loads(
            (project / f"metrics/{TRACK}/validation/{TRACK}-{recipe}.json").read_text()
        )
        assert scores["accuracy"] == pytest.approx(1 - scores["wer"])
    standing = json.loads((project / f"metrics/{TRACK}/robustness.json").read_text())
    assert (
        standing["teacher"]["hall"]["gain"]["wer_low"] <= standing["teacher"]["hall"]["gain"]["wer"]
    )


def test_transcripts_are_kept_and_drawn(project):
    table = answers.read(project / f"models/{TRACK}/answers.parquet")
    assert len(table) == 24 * (1 + 2 * 2 * len(RECIPES)) and table["text"].notna().all()
    handed = pd.read_csv(project / f"models/{TRACK}/answers.csv", sep="\t", keep_default_na=False)
    assert list(handed) == ["filename", "written", "said", "errors"] and len(handed) == 24
    drawn = {path.name for path in (project / f"plots/{TRACK}/test").iterdir()}
    assert {
        "wer.csv",
        "wer.svg",
        "gains.svg",
        "curves.svg",
        "robustness.csv",
        "layers.csv",
    } <= drawn


def test_the_file_that_ships_writes_down_a_clip(project):
    for kind in ("float", "int8"):
        file = project / f"models/{TRACK}/onnx/{TRACK}-kd_pool/student.{kind}.onnx"
        student = predict.load(file)
        clip = next((project / f"data/{TRACK}/corpus/test").glob("*.flac"))
        samples, _ = soundfile.read(clip, dtype="float32")
        result = student.transcribe(samples)
        assert isinstance(result.text, str) and result.seconds == len(samples) / 16_000
        assert "".join(student.alphabet[2:]) == "abcdefghijklmnopqrstuvwxyz"
