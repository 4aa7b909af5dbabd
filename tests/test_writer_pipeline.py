"""The stages of a track whose teacher only transcribes, one after the other, on clips of tones."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from conftest import ROOT
from repository import environment
from tones import RATE, recording, spelled
from transcribed import drawn
from written import taught

from earshot.runtime.yaml_file import read as read_yaml
from earshot.tables import signals

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TRACK = "transcripts"
RECIPES = ("hard", "pseudo")
CLIPS = {"fewshot": 6, "pool": 48, "validation": 12, "test": 24}
STAGES = [
    *("inputs", "download", "features", "fewshot", "teacher", "cache"),
    *(f"distill@{TRACK}-{recipe}" for recipe in RECIPES),
    *("quantize", "evaluate"),
]


def corpus(folder) -> None:
    """Write clips with their table, those of the pool without transcripts, and a teacher of all."""
    rng = np.random.default_rng(0)
    rows, clips, texts = [], [], []
    for split, number in CLIPS.items():
        for place in range(number):
            while len(text := drawn(rng)) > 7:
                pass
            samples = recording(spelled(text, 0.1, 0.2), 0.3 + 0.2 * len(text))
            samples += rng.normal(0, 1e-3, len(samples)).astype(np.float32)
            path = folder / f"{split}-{place}.wav"
            soundfile.write(path, samples, RATE)
            known = "" if split == "pool" else text
            speaker = f"{split}-voice-{place % 4}"
            rows.append({"path": path.name, "speaker": speaker, "split": split, "text": known})
            clips.append(samples)
            texts.append(text)
    pd.DataFrame(rows).to_csv(folder / "clips.csv", index=False)
    taught(folder / "writer", clips, texts)


def shrunk() -> dict:
    """Return the repository's parameters of the track alone, on these clips, with that teacher."""
    content = read_yaml(ROOT / "params.yaml")
    track, teacher = content["tracks"][TRACK], content["teachers"][TRACK]
    recipes = {f"{TRACK}-{name}": content["recipes"][f"{TRACK}-{name}"] for name in RECIPES}
    for recipe in recipes.values():
        recipe |= {"epochs": 12, "augment": {}}
    recipes[f"{TRACK}-pseudo"]["terms"] = {"pseudo": {"weight": 1.0, "confidence": 0.5}}
    track["corpus"] = {"name": "manifest", "path": "clips.csv"}
    track["fewshot"]["alphabet"] = "ab"
    track["student"] |= {"width": 24}
    track["distill"] |= {"learning_rate": 0.02, "batch": 4, "seeds": 1}
    track["evaluate"] |= {"recipes": list(RECIPES), "gains": ["pseudo_vs_hard"], "resamples": 200}
    track["evaluate"] |= {"latency_clips": 1, "reference_seconds": 2.0, "robustness_passages": 4}
    teacher |= {"checkpoint": "writer", "epochs": 0, "language": "en"}
    kept = {"seed": content["seed"], "engine": content["engine"], "recipes": recipes}
    return kept | {"tracks": {TRACK: track}, "teachers": {TRACK: teacher}}


def ran(root, stage: str) -> subprocess.CompletedProcess[str]:
    name, _, key = stage.partition("@")
    command = [sys.executable, f"stages/{name}.py", key or TRACK]
    return subprocess.run(command, cwd=root, env=environment(root), capture_output=True, text=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder in which all stages of the track have run."""
    root = tmp_path_factory.mktemp("track")
    for name in ("src", "stages", "checkpoints"):
        (root / name).symlink_to(ROOT / name)
    corpus(root)
    (root / "params.yaml").write_text(yaml.safe_dump(shrunk()))
    for stage in STAGES:
        done = ran(root, stage)
        assert done.returncode == 0, f"{stage}: {done.stderr}"
    return root


def test_students_learn_from_its_transcripts_alone_and_all_are_scored(project):
    assert signals.kept(project / f"data/{TRACK}/cache/{TRACK}") == {"symbols", "confidence"}
    quality = json.loads((project / f"metrics/{TRACK}/quality.json").read_text())
    assert quality["teacher"]["wer"] < 0.1 and quality["teacher"]["wer_high"] < 0.2
    assert quality["pseudo"]["wer"] < quality["hard"]["wer"] - 0.2
    assert quality["gain"]["pseudo_vs_hard"]["wer_high"] < 0
    cost = json.loads((project / f"metrics/{TRACK}/cost.json").read_text())
    assert cost["teacher"]["macs"] > cost["pseudo"]["macs"] > 0
    standing = json.loads((project / f"metrics/{TRACK}/robustness.json").read_text())
    assert "hall" in standing["teacher"]


def test_a_recipe_that_it_cannot_teach_is_refused_by_key(project):
    content = shrunk()
    recipe = content["recipes"][f"{TRACK}-pseudo"]
    recipe["terms"] = {"frames": {"weight": 1.0, "select": "all"}}
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    done = ran(project, f"distill@{TRACK}-pseudo")
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1] == (
        f"distill@{TRACK}-pseudo: recipes.{TRACK}-pseudo.terms.frames learns from posteriors, "
        f"which teachers.{TRACK} did not give; what it gave teaches pseudo"
    )
