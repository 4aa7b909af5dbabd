"""What a user hands in is a dependency by its content, of the stages that read it and no others."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT, parameters
from dvc.repo import Repo
from repository import Project

from earshot.corpora import files
from earshot.params import TAU2022, CommonVoice, LibriSpeech, Manifest
from earshot.runtime.inputs import NOTHING, cover, link, state

NAMES = ("download", "features", "fewshot", "quantize", "evaluate")
TRACK = {name: f"{name}@listening" for name in NAMES}
TEACHER = {"teacher@listening", "cache@listening"}
DISTILL = {f"distill@listening-{recipe}" for recipe in ("hard", "kd", "kd_pool")}
READERS = {  # a file: the stages that read it
    "own/table.csv": {TRACK["download"]},
    "own/pool-0-0.flac": {*TRACK.values(), *TEACHER},
    "questions.yaml": {TRACK["fewshot"]},
    "devices/one.wav": {TRACK["features"]} | TEACHER,
    "weights/model.safetensors": {TRACK["evaluate"]} | TEACHER,
    "first.safetensors": DISTILL,
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory of a test, below which `own` holds three files."""
    (tmp_path / "repository/own").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    for name in "abc":
        Path("own", f"{name}.wav").write_text(name)
    return tmp_path


def read(path: Path) -> list[str]:
    """Return the content of the file, or of the files in the folder, that a path stands for."""
    return [file.read_text() for file in (sorted(path.iterdir()) if path.is_dir() else [path])]


def test_a_link_stands_for_what_is_named_and_exists(folder):
    path = Path("data/a/inputs/corpus")
    link(path, ["own/none.wav"])
    assert read(path) == [NOTHING]
    link(path, ["own/a.wav", "own/none.wav"])
    assert read(path) == ["a"] and not Path(os.readlink(path)).is_absolute()
    link(path, [Path("own/a.wav"), Path("own/c.wav")])
    assert sorted(read(path)) == ["a", "c"]
    link(path, ["own", "own/a.wav"])  # DVC follows no links to folders inside a folder
    assert sorted(read(path)) == ["a", "b", "c"]
    link(path, ["own"])
    assert read(path) == ["a", "b", "c"]
    shutil.rmtree("own")
    link(path, ["own"])
    assert read(path) == [NOTHING] and os.listdir("data/a/inputs") == ["corpus"]


def test_a_folder_is_linked_whole_where_it_holds_little_else(folder):
    files = [f"own/{name}.wav" for name in "abc"]
    own = Path.cwd() / "own"
    assert cover([]) == [] and cover(files) == [own]
    assert cover([*files, "other.wav"]) == [Path.cwd() / name for name in [*files, "other.wav"]]
    for number in range(107):
        (own / f"{number}.txt").touch()
    assert cover(files) == [own / f"{name}.wav" for name in "abc"]


def test_unfinished_work_is_of_the_files_as_they_were(folder):
    inputs = Path("data/a/inputs")
    link(inputs / "questions", [])
    nothing = state(inputs)
    link(inputs / "recordings", ["own"])
    before = state(inputs)
    os.utime("own/a.wav", ns=(1, 1))
    assert len({nothing, before, state(inputs)}) == 3


CORPORA = [  # section, files that are there, what is watched beside the recordings
    (
        LibriSpeech(name="librispeech", root="c", splits={"dev": "auto"}),
        ["c/dev/1/2/1-2-0.flac", "c/dev/1/2/1-2.trans.txt", "c/dev/3/4/3-4-0.flac", "c/train/a/b"],
        ["c/dev"],
    ),
    (
        CommonVoice(name="common_voice", root="c", language="de", splits={"dev": "test"}),
        ["c/cv-corpus-1/de/clips/a.mp3", "c/cv-corpus-1/de/dev.tsv", "c/cv-corpus-1/de/test.tsv"],
        ["c/cv-corpus-1/de/dev.tsv"],
    ),
    (
        CommonVoice(name="common_voice", root="c/v.tar.gz", language="de", splits={"dev": "test"}),
        ["c/v.tar.gz", "c/v/de/dev.tsv"],
        ["c/v.tar.gz", "c/v/de/dev.tsv"],
    ),
    (
        TAU2022(name="tau2022", root="c", simulated={"s1": "ir.wav"}),
        ["c/meta.csv", "c/evaluation_setup/test.csv", "c/audio/a.wav", "ir.wav"],
        ["c/meta.csv", "c/evaluation_setup/test.csv", "ir.wav"],
    ),
    (Manifest(name="manifest", path="c/own.csv"), ["c/own.csv", "c/a.wav"], ["c/own.csv"]),
    (Manifest(name="manifest", path="c/own.csv"), [], []),
]


@pytest.mark.parametrize(("params", "there", "watched"), CORPORA)
def test_a_corpus_says_what_it_reads_beside_recordings(folder, params, there, watched):
    for name in there:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert [os.path.relpath(path) for path in files(params)] == watched


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory) -> Project:
    """A project on files of every kind, whose lock says that all stages have read them."""
    root = tmp_path_factory.mktemp("handed-in")
    for name in ("own", "devices"):
        (root / name).mkdir()
    rows = ["path,speaker,split,text"]
    for split in ("teacher", "pool", "fewshot", "validation", "test"):
        for number in range(3):
            name = f"{split}-{number}-{number}.flac" if number else f"{split}-0-0.flac"
            tone = np.sin(np.arange(6400) * (0.1 + 0.01 * number))
            soundfile.write(root / "own" / name, 0.2 * tone, 16_000)
            rows.append(f"{name},{split},{split},words {number} of {split}")
    (root / "own/table.csv").write_text("\n".join(rows) + "\n")
    soundfile.write(root / "devices/one.wav", np.eye(1, 400)[0], 16_000)
    (root / "questions.yaml").write_text("[]\n")
    (root / "first.safetensors").write_text("weights")
    shutil.copytree(ROOT / "checkpoints/listening", root / "weights")
    track = "tracks.listening"
    changes = {
        f"{track}.corpus": {"name": "manifest", "path": "own/table.csv"},
        f"{track}.fewshot": {"source": "authored", "authored": "questions.yaml"},
        f"{track}.views": {"count": 1, "responses": "devices"},
        f"{track}.distill.start": "first.safetensors",
        "teachers.listening.checkpoint": "weights",
    }
    project = Project(root, changes)
    for key in parameters()["tracks"]:
        project.run(sys.executable, "stages/inputs.py", key)
    project.run(sys.executable, "stages/download.py", "listening")
    _pretend(project)
    return project


def _pretend(project: Project) -> None:
    """Put a file wherever an output is missing, and have DVC record all stages as they are."""
    with Repo(str(project.root)) as repo:
        paths = [Path(out.fs_path) for stage in repo.index.stages for out in stage.outs]
    for path in paths:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
    project.dvc("commit", "--force", "--quiet")
    assert stale(project) == set()


def stale(project: Project) -> set[str]:
    """Return the stages of which DVC says that something has changed."""
    with Repo(str(project.root)) as repo:
        return {name.rpartition(":")[2] for name in repo.status()}  # behind the file that has it


@pytest.mark.slow
def test_an_edit_makes_the_stages_stale_that_read_the_file(handed_in):
    paths = [handed_in.root / file for file in READERS]
    contents = {path: path.read_bytes() for path in paths}
    edits = {path: content[:-2] + b"\n\n" for path, content in contents.items()}  # of equal size
    try:
        for path, readers in zip(paths, READERS.values(), strict=True):
            times = path.stat()
            path.write_bytes(edits[path])
            assert stale(handed_in) == readers, path  # what was written back is stale no more
            path.write_bytes(contents[path])
            assert path.stat().st_mtime_ns != times.st_mtime_ns
        for path, edit in edits.items():
            path.write_bytes(edit)
        named = json.loads(_verify(handed_in))["faults"]
        edited = {one["stage"] for one in named if "edited since" in one["detail"]}
        assert edited == set().union(*READERS.values())
    finally:
        for path, content in contents.items():
            path.write_bytes(content)
    assert stale(handed_in) == set()


def _verify(project: Project) -> str:
    command = [sys.executable, "-m", "earshot.cli", "verify", "--json"]
    done = subprocess.run(
        command, cwd=project.root, env=project.environment, capture_output=True, text=True
    )
    return done.stdout


@pytest.mark.slow
def test_what_was_moved_is_found_where_params_yaml_says_now(handed_in):
    before = (handed_in.root / "params.yaml").read_text()
    shutil.move(handed_in.root / "own", handed_in.root / "moved")
    handed_in.set("tracks.listening.corpus.path", "moved/table.csv")
    try:
        printed = handed_in.dvc("repro", "download@listening")
        assert "inputs@listening" in printed and "download@listening" in printed
        table = handed_in.root / "data/listening/inputs/recordings/table.csv"
        assert table.resolve() == handed_in.root / "moved/table.csv"
    finally:
        shutil.move(handed_in.root / "moved", handed_in.root / "own")
        (handed_in.root / "params.yaml").write_text(before)
