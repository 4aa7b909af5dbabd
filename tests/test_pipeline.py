"""The pipeline as a user meets it: `dvc repro` on a shrunk corpus, in a temporary copy of the
repository.
"""

import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from conftest import ROOT
from repository import SHRUNK, Project, ran

from earshot import predict
from earshot.tables import answers, items
from earshot.tables.devices import beside
from earshot.tables.sequences import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

OPENED = ".dvc/tmp/opened"
TEMPERATURE = "recipes.listening-kd.terms.kd.temperature"
RECIPES = ("hard", "kd", "kd_pool")
TRANSCRIPTS = ("hard", "kd_pool", "pseudo")
TABLES = {
    "accuracy": {"model", "accuracy", "low", "high"},
    "confusion": {"actual", "predicted", "options"},
    "reliability": {"confidence", "accuracy", "count"},
    "curves": {"epoch", "validation", "model", "seed"},
}
BAD = {"corrupt": "corrupt.flac"} | {name: f"{name}.wav" for name in ("empty", "notes", "silent")}


def bytes_under(*paths: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under files and folders."""
    below = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in below}


def numbers(content: dict, path: str = "") -> Iterator[tuple[str, float]]:
    for key, value in content.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from numbers(value, name)
        else:
            yield name, value


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """The shrunk repository after its first `dvc repro`, without workers."""
    made = Project(tmp_path_factory.mktemp("repository"), SHRUNK)
    watcher = made.root / "src/sitecustomize.py"
    shutil.copyfile(ROOT / "tests/watch.py", watcher)
    own = made.environment
    made.environment = own | {"EARSHOT_WATCH": str(made.root / OPENED)}
    made.printed = made.dvc("repro")
    made.environment = own
    watcher.unlink()
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "results")
    return made


# the result of a run


def test_metrics_are_complete_finite_and_without_lists(project):
    quality = project.load("metrics/listening/quality.json")
    models = {"teacher", "audio_blind", *RECIPES, *(f"{recipe}_int8" for recipe in RECIPES)}
    assert set(quality) == models | {"gain"}
    for name in models:
        scores = {"accuracy", "accuracy_low", "accuracy_high", "macro_f1", "ece", "skill"}
        assert scores <= set(quality[name])
        assert set(quality[name]["wording"]) == {"seen", "unseen"}
        assert "accuracy" in quality[name]["paper_protocol"]
        assert quality[name]["items"] > 150
    assert {"kd_vs_hard", "kd_pool_vs_hard", "kd_pool_int8_vs_kd_pool"} <= set(quality["gain"])
    cost = project.load("metrics/listening/cost.json")
    assert set(cost) == models - {"audio_blind"}
    assert all("bytes" in one for one in cost.values())
    assert all({"parameters", "macs"} <= set(cost[name]) for name in ("teacher", *RECIPES))
    for file in (project.root / "metrics").rglob("*.json"):
        content = json.loads(file.read_text())
        content.pop("teachers", None)  # beside times: what results call each teacher
        for path, value in numbers(content):
            assert type(value) in (int, float) and math.isfinite(value), f"{file.name}: {path}"


def test_a_run_prints_what_each_model_is_judged_by(project):
    metrics = dict.fromkeys(("listening", "scenes"), "accuracy")
    metrics |= dict.fromkeys(("transcripts", "languages"), "wer")
    for track, metric in metrics.items():
        quality = project.load(f"metrics/{track}/quality.json")
        shown = re.findall(rf"^{track}: (\w+) +{metric} ([\d.]+) %", project.printed, re.M)
        judged = {name: scores for name, scores in quality.items() if metric in scores}
        assert dict(shown) == {name: f"{100 * one[metric]:.1f}" for name, one in judged.items()}


def test_the_scenes_are_scored_by_device_and_fit_their_device(project):
    quality = project.load("metrics/scenes/quality.json")
    students = {"hard", "kd", "layered"}
    models = {"teacher", "teacher_scratch", "layered_ptq"}
    models |= students | {f"{name}_int8" for name in students}
    assert set(quality) == models | {"gain"}
    for name in models:
        scores = {"accuracy", "accuracy_low", "nll", "device_drop", "device_drop_low", "class"}
        assert scores <= set(quality[name])
        assert set(quality[name]["device"]) == {"a", "b", "c", "s1", "s2", "s3", "s4", "s5", "s6"}
        assert quality[name]["items"] == 10 * 2 * 9
    cost = project.load("metrics/scenes/cost.json")
    for name in students:
        assert cost[f"{name}_int8"]["parameter_bytes"] <= 128_000
        assert cost[name]["macs"] <= 30_000_000
    onnx = project.root / "models/scenes/onnx/scenes-hard"
    known = beside(onnx / "student.int8.onnx")
    assert "a" in known and "s4" not in known  # a device that training does not have
    assert cost["hard_int8"]["bytes"] > (1 + len(known)) * cost["kd_int8"]["bytes"] * 0.99
    submission = pd.read_csv(project.root / "models/scenes/answers.csv", sep="\t")
    assert list(submission.columns[:2]) == ["filename", "scene_label"] and len(submission) == 180
    assert np.allclose(submission.iloc[:, 2:].sum(axis=1), 1, atol=1e-4)


def test_every_recogniser_is_scored_and_paid(project):
    quality = project.load("metrics/transcripts/quality.json")
    models = {"teacher", *TRANSCRIPTS, *(f"{recipe}_int8" for recipe in TRANSCRIPTS)}
    assert set(quality) == models | {"audio_exchanged", "gain"}
    for name in models:
        assert {"wer", "wer_low", "wer_high", "cer", "insertions", "wording"} <= set(quality[name])
        assert quality[name]["items"] == 24
    assert {"wer", "relative_reduction", "p_value"} <= set(quality["gain"]["kd_pool_vs_hard"])
    cost = project.load("metrics/transcripts/cost.json")
    assert set(cost) == models
    assert cost["hard"]["macs"] > 0 and cost["hard_int8"]["bytes"] < 0.6 * cost["hard"]["bytes"]
    pruned, whole = cost["kd_pool"]["parameters"], cost["hard"]["parameters"]
    assert pruned < 0.5 * whole and cost["kd_pool_int8"]["parameters"] < 0.5 * whole
    curve = pd.read_csv(project.root / "plots/transcripts/curves/transcripts-kd_pool/seed-0.csv")
    assert curve["epoch"].tolist() == [1, 2, 3]
    for recipe in TRANSCRIPTS:
        scores = project.load(f"metrics/transcripts/validation/transcripts-{recipe}.json")
        assert scores["accuracy"] == pytest.approx(1 - scores["wer"])
    hall = project.load("metrics/transcripts/robustness.json")["teacher"]["hall"]
    assert hall["gain"]["wer_low"] <= hall["gain"]["wer"]


def test_a_recogniser_of_two_languages_has_scores_of_each(project):
    quality = project.load("metrics/languages/quality.json")
    students = {"hard", "kd"}
    models = {*students, *(f"{recipe}_int8" for recipe in students), "teacher"}
    assert set(quality) == models | {"teacher_de", "teacher_ru", "audio_exchanged", "gain"}
    for name in models:
        rates = [quality[name]["languages"][one]["wer"] for one in ("de", "ru")]
        assert quality[name]["wer"] == pytest.approx(np.mean(rates))
    for name in students:
        assert 0 <= quality[name]["identification"]["accuracy"] <= 1
    assert {"wer", "relative_reduction"} <= set(quality["gain"]["kd_vs_hard"])
    cost = project.load("metrics/languages/cost.json")
    teachers = [cost[f"teacher_{one}"]["parameters"] for one in ("de", "ru")]
    assert cost["teacher"]["parameters"] == sum(teachers)


def test_transcripts_are_kept_and_drawn(project):
    models = project.root / "models/transcripts"
    table = answers.read(models / "answers.parquet")
    assert len(table) == 24 * (1 + 2 * len(TRANSCRIPTS)) and table["text"].notna().all()
    handed = pd.read_csv(models / "answers.csv", sep="\t", keep_default_na=False)
    assert list(handed) == ["filename", "written", "said", "errors"] and len(handed) == 24
    drawn = {path.name for path in (project.root / "plots/transcripts/test").iterdir()}
    charts = {"wer.csv", "wer.svg", "gains.svg", "curves.svg"}
    assert charts | {"robustness.csv", "layers.csv"} <= drawn


def test_the_file_that_ships_writes_down_a_clip(project):
    clip = next((project.root / "data/transcripts/corpus/test").glob("*.flac"))
    samples, _ = soundfile.read(clip, dtype="float32")
    for kind in ("float", "int8"):
        folder = project.root / "models/transcripts/onnx/transcripts-kd_pool"
        student = predict.load(folder / f"student.{kind}.onnx")
        result = student.transcribe(samples)
        assert isinstance(result.text, str) and result.seconds == len(samples) / 16_000
        assert "".join(student.alphabet[2:]) == "abcdefghijklmnopqrstuvwxyz"


def test_validation_is_scored_with_intervals_and_apart_from_the_test(project):
    for recipe in yaml.safe_load((project.root / "params.yaml").read_text())["recipes"]:
        track = recipe.split("-")[0]
        students = project.load(f"models/{track}/students/{recipe}/validation.json")
        scores = project.load(f"metrics/{track}/validation/{recipe}.json")
        asked = items.read(project.root / f"data/{track}/items.parquet", "validation")
        assert (scores["items"], scores["seeds"]) == (len(asked), len(students))
        if track == "listening":  # scenes are chosen by macro accuracy
            assert scores["accuracy"] == pytest.approx(np.mean(list(students.values())))
        assert scores["accuracy_low"] <= scores["accuracy"] <= scores["accuracy_high"]


def test_every_stage_says_how_long_it_took_outside_git(project):
    files = (project.root / "metrics").glob("*/timing/*.json")
    took = {path.stem: json.loads(path.read_text()) for path in files}
    lock = yaml.safe_load((project.root / "dvc.lock").read_text())["stages"]
    assert set(took) == {stage for stage in lock if not stage.startswith("pretrain")}
    assert all(one["seconds"] > 0 for one in took.values())
    assert project.git("ls-files", "metrics/*/timing", "plots/*/test", "plots/*/curves") == ""


def test_what_every_model_said_gives_the_scores(project):
    for track in ("listening", "scenes"):
        said = answers.read(project.root / f"models/{track}/answers.parquet")
        asked = items.read(project.root / f"data/{track}/items.parquet", "test")
        right = {item.id: item.answer for item in asked}
        shares = (said["answer"] == said["item"].map(right)).groupby(said["model"]).mean()
        quality = project.load(f"metrics/{track}/quality.json")
        assert set(shares.index) == set(quality) - {"gain", "audio_blind"}
        found = {model: quality[model]["accuracy"] for model in shares.index}
        assert found == pytest.approx(dict(shares))


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_no_stage_opens_files_that_it_does_not_declare(project):
    for stage, entry in yaml.safe_load((project.root / "dvc.lock").read_text())["stages"].items():
        if stage.startswith("pretrain@"):
            continue  # frozen
        noted = project.load(f"{OPENED}/{stage}.json")
        opened = [path for path in noted if not re.match("metrics/[^/]+/timing/", path)]
        declared = [one["path"] for part in ("deps", "outs") for one in entry.get(part, [])]
        known = tuple(f"{one}/" for one in declared)
        assert [path for path in opened if not f"{path}/".startswith(known)] == [], stage
        assert opened or stage.startswith(("inputs@", "download@")), stage


def test_no_time_stands_in_the_deterministic_metrics(project):
    for track in ("listening", "scenes"):
        named = [path for path, _ in numbers(project.load(f"metrics/{track}/quality.json"))]
        assert [path for path in named if re.search("tim|minute|second|_ms", path)] == []


def test_a_second_run_runs_nothing(project):
    assert ran(project.dvc("repro")) == set()
    assert project.git("status", "--porcelain") == ""


def test_metrics_and_plots_are_shown(project):
    shown = project.json("metrics", "show", "--json")[""]["data"]
    assert shown["metrics/listening/quality.json"]["data"] == json.loads(project.quality())
    for track, more in {
        "listening": (),
        "scenes": ("devices", "drops", "routing"),
    }.items():
        folder = project.root / f"plots/{track}/test"
        for name, columns in TABLES.items():
            table = pd.read_csv(folder / f"{name}.csv")
            assert columns <= set(table.columns) and len(table) > 0, name
            assert not table[sorted(columns)].isna().any(axis=None), name
        for name in ("accuracy", "gains", "reliability", "curves", "confusion", *more):
            assert (folder / f"{name}.svg").read_text().count("<path") > 5, name
    assert "errors" not in project.json("plots", "show", "--json", "--out", "scratch/plots")


def test_a_track_runs_without_the_other(project):
    project.set("tracks.scenes.fewshot.share", 100)
    project.set("tracks.listening.fewshot.teacher_rounds", 2)
    stages = ran(project.dvc("repro", "--dry", "evaluate@scenes"))
    assert "fewshot@scenes" in stages and [name for name in stages if "listening" in name] == []
    project.restore()


# experiments


def test_an_experiment_runs_what_it_changes(project):
    before = project.load("metrics/listening/quality.json")
    printed = project.dvc("exp", "run", "--set-param", f"{TEMPERATURE}=4.0")
    assert ran(printed) == {"distill@listening-kd", "quantize@listening", "evaluate@listening"}
    after = project.load("metrics/listening/quality.json")
    assert after["kd"] != before["kd"]
    for name in ("teacher", "hard", "kd_pool", "kd_pool_int8", "audio_blind"):
        assert after[name] == before[name]
    project.restore()
    assert ran(project.dvc("repro")) == set()
    assert project.load("metrics/listening/quality.json") == before


def test_a_queued_experiment_runs_its_own_code_elsewhere(project):
    """It is queued with a changed library, which the workspace no longer has when the queue
    runs.
    """
    before = project.quality()
    with open(project.root / "src/earshot/evaluation/submission.py", "a") as file:
        file.write(
            "\n\n_as_it_was = answer_table\n\n\n"
            "def answer_table(*given):\n    return _as_it_was(*given).assign(own_code=1)\n"
        )
    change = ("--set-param", f"{TEMPERATURE}=8.0", "evaluate@listening")
    project.dvc("exp", "run", "--queue", "--name", "queued", *change)
    project.restore()
    project.dvc("exp", "run", "--run-all")
    assert project.git("status", "--porcelain") == "" and project.quality() == before
    listed = project.git("for-each-ref", "--format=%(refname)", "refs/exps").split()
    (reference,) = (one for one in listed if one.endswith("/queued"))
    lock = yaml.safe_load(project.git("show", f"{reference}:dvc.lock"))["stages"]
    outs = {one["path"]: one["md5"] for one in lock["evaluate@listening"]["outs"]}
    md5 = outs["models/listening/answers.csv"]
    kept = project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    assert kept.read_text().splitlines()[0].endswith("\town_code")
    quality = json.loads(project.git("show", f"{reference}:metrics/listening/quality.json"))
    assert quality["kd"] != json.loads(before)["kd"]
    assert quality["hard"] == json.loads(before)["hard"]


def test_a_sweep_trains_students_elsewhere_and_compares_them_on_validation_items(project):
    before = project.quality()
    project.set("sweep", {"recipe": "listening-kd", "grid": {TEMPERATURE: [1.0, 8.0]}})
    changed = project.git("diff")
    printed = project.earshot("sweep", "--name", "tiny")
    assert project.git("diff") == changed and project.quality() == before
    assert "uncommitted changes of tracked files are part of every experiment" in printed
    found = project.load("experiments/tiny/results.json")["experiments"]
    assert {one[TEMPERATURE] for one in found} == {1.0, 8.0}
    assert {one["state"] for one in found} == {"done"}
    for one in found:
        low, middle, high = (one[f"validation_accuracy{end}"] for end in ("_low", "", "_high"))
        assert 0 <= low <= middle <= high <= 1
        named = f"refs/exps/*/*/{one['experiment']}"
        (reference,) = project.git("for-each-ref", "--format=%(refname)", named).split()
        own = yaml.safe_load(project.git("show", f"{reference}:params.yaml"))
        assert own["recipes"]["listening-kd"]["terms"]["kd"]["temperature"] == one[TEMPERATURE]
    assert matplotlib.image.imread(project.root / "experiments/tiny/accuracy.png").std() > 0.01
    project.restore()
    assert project.git("status", "--porcelain") == ""


# interruption


def kill_when(project: Project, target: str, sign: str) -> None:
    """Run `dvc repro TARGET`, with workers; SIGKILL it and all it started as soon as a file matches
    `sign` in `scratch`.
    """
    environment = project.environment | {"EARSHOT_WORKERS": "0"}
    own = {"cwd": project.root, "env": environment, "start_new_session": True}
    with open(project.root / ".dvc/tmp/killed.log", "w") as log:
        process = subprocess.Popen(["dvc", "repro", target], stdout=log, stderr=log, **own)
        try:
            while process.poll() is None and not next((project.root / "scratch").glob(sign), None):
                time.sleep(0.001)
        finally:
            if running := process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert running, f"dvc repro ended without {sign}:\n{Path(log.name).read_text()}"


def test_killed_runs_from_scratch_end_in_the_same_bytes(project):
    """All that DVC knows of a track is deleted; then its cache and a student are each killed
    midway, and the rest runs without workers.
    """
    root = project.root
    expected = project.quality()
    data = root / "data/listening"
    outputs = [data / "mel.parquet", data / "cache", root / "models/listening"]
    before = bytes_under(*outputs)
    shutil.rmtree(root / ".dvc/cache/runs")  # what DVC remembers of stages that no lock names
    shutil.rmtree(root / "scratch")
    for name in ("data", "models", "plots"):
        shutil.rmtree(root / name / "listening")
    for file in (root / "metrics/listening").rglob("*.*"):
        file.unlink()
    frozen = "metrics/listening/pretrain.json", "plots/listening/pretrain.csv"
    project.git("checkout", *frozen)
    project.unlock(
        lambda stage: (
            not stage.startswith("pretrain@") and stage.split("@")[1].split("-")[0] == "listening"
        )
    )

    kill_when(project, "evaluate@listening", "listening/cache/*/*/parts-*/00002")
    assert (data / "mel.parquet").exists()
    assert not (data / "cache").exists()
    (kept,) = (root / "scratch/listening/cache").glob("*/*/parts-*/00000/logits.parquet")
    written = kept.stat().st_mtime_ns
    distilled = "listening/distill/listening-kd_pool/*/float/last.safetensors"
    kill_when(project, "evaluate@listening", distilled)
    assert not kept.exists() and written  # merged with the rest
    assert not (root / "models/listening/students/listening-kd_pool/validation.json").exists()
    left = ran(project.dvc("repro"))
    assert {"distill@listening-kd_pool", "evaluate@listening"} <= left
    assert not left & {"features@listening", "cache@listening", "evaluate@transcripts"}

    assert project.quality() == expected
    assert bytes_under(*outputs) == before
    assert ran(project.dvc("repro")) == set()


# one's own recordings, some of them unusable


@pytest.fixture
def own(tmp_path) -> Project:
    """A project on a user's table of twelve good recordings and four that cannot be used."""
    clips = tmp_path / "recordings"
    clips.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for n in range(12):
        soundfile.write(clips / f"good{n}.flac", rng.normal(0, 0.1, 8000), 16_000)
        rows.append((f"good{n}.flac", f"voice{n % 3}", "teacher", f"words number {n}"))
    whole = (clips / "good0.flac").read_bytes()
    (clips / "corrupt.flac").write_bytes(whole[:60] + rng.bytes(len(whole) // 2))
    (clips / "empty.wav").write_bytes(b"")
    (clips / "notes.wav").write_text("Buy milk.\n")
    soundfile.write(clips / "silent.wav", np.zeros(16_000), 16_000)
    rows += [(name, "voice9", "teacher", "words") for name in BAD.values()]
    table = pd.DataFrame(rows, columns=["path", "speaker", "split", "text"])
    table.to_csv(clips / "clips.csv", index=False)
    corpus = {"name": "manifest", "path": "recordings/clips.csv"}
    share = "tracks.listening.features.max_bad_share"
    return Project(tmp_path, {"tracks.listening.corpus": corpus, share: 0.24})


def rejected(project: Project) -> dict[str, str]:
    table = pd.read_csv(project.root / "metrics/listening/rejected.csv")
    assert all(isinstance(reason, str) and len(reason) > 5 for reason in table["reason"])
    return {id: Path(path).name for id, path in zip(table["id"], table["path"], strict=True)}


def test_too_many_unusable_recordings_stop_a_run_that_else_goes_on_without_them(own):
    command, mel = ["dvc", "repro", "features@listening"], own.root / "data/listening/mel.parquet"
    failed = subprocess.run(
        command, cwd=own.root, env=own.environment, capture_output=True, text=True
    )
    printed = failed.stdout + failed.stderr
    assert failed.returncode != 0 and "Traceback" not in printed
    (line,) = (one for one in printed.splitlines() if one.startswith("features@listening: "))
    assert "4 of 16 clips are unusable, 25.0%; max_bad_share allows 24.0%" in line
    assert "corrupt.flac" in line and rejected(own) == BAD and not mel.exists()

    own.set("tracks.listening.features.max_bad_share", 0.25)
    assert "features@listening" in ran(own.run(*command))
    assert rejected(own) == BAD
    assert {id for id, _ in Store(mel)} == {f"good{n}" for n in range(12)}
