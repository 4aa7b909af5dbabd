"""A packed student: a folder that stands alone, a card that the hub can read, a push that asks."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import made_run
import pytest
import soundfile
import soxr
from huggingface_hub import ModelCard, constants
from huggingface_hub.repocard_data import model_index_to_eval_results
from server import Server

from earshot import predict
from earshot.cli import main
from earshot.corpora import CORPORA
from earshot.features import audio
from earshot.workbench import pack
from earshot.workbench.pack import licences
from earshot.workbench.page import RUNTIME

# What a student needs, by the names that lie in a folder of packages.
ALONE = ("onnxruntime", "numpy", "numpy.libs", "soundfile.py", "_soundfile_data", "cffi")
ALONE += ("_soundfile.py", "flatbuffers", "google", "packaging", "typing_extensions.py")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run.write(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def packed(run: Path) -> dict[str, Path]:
    """The students of a run, packed, by track."""
    tracks = ("listening", "scenes", "transcripts")
    return {one: pack.write(run / f"packed-{one}", run, one, licence="mit") for one in tracks}


def alone(folder: Path) -> str:
    """Make a folder of the packages that a student needs; return its path."""
    folder.mkdir()
    site = Path(sysconfig.get_path("purelib"))
    backends = [path.name for path in site.glob("_cffi_backend*")]
    for name in (*ALONE, *backends):
        if (site / name).exists():
            (folder / name).symlink_to(site / name)
    return str(folder)


def use(folder: Path, site: str, *arguments: str | Path) -> list[str]:
    """Run `use.py` with nothing but the packages of `site`; return the lines that it prints."""
    command = [sys.executable, "-S", "-P", folder / "use.py", *arguments]
    settings = {"PYTHONPATH": f"{folder}{os.pathsep}{site}", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=site, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_copy_answers_as_earshot_does_where_nothing_else_is(run, packed, tmp_path):
    site = alone(tmp_path / "site")
    copies = {one: shutil.copytree(path, tmp_path / one) for one, path in packed.items()}
    clip, asked = run / "data/listening/q0.wav", (made_run.QUESTION, *made_run.OPTIONS)
    student = predict.load(made_run.model(run, "listening"))
    answer = student.answer(audio.decode(clip, student.sample_rate), asked[0], asked[1:])
    shares = zip(answer.probabilities, asked[1:], strict=True)
    expected = [f"{share:.6f} {option}" for share, option in shares]
    assert use(copies["listening"], site, clip, *asked) == expected
    clip, classifier = run / "data/scenes/s0.wav", predict.load(made_run.model(run, "scenes"))
    pooled = classifier.classify(audio.decode(clip, 16_000)).pooled
    expected = [f"{p:.6f} {one}" for p, one in zip(pooled, made_run.LABELS, strict=True)]
    assert use(copies["scenes"], site, clip) == expected
    lines = use(copies["transcripts"], site, run / "data/transcripts/t0.wav")
    assert [line.split()[2] for line in lines] == ["ab", "ba"]
    high = tmp_path / "high.wav"  # at a rate that soxr is not there for
    soundfile.write(
        high,
        soxr.resample(soundfile.read(run / "data/transcripts/t0.wav")[0], 16_000, 44_100),
        44_100,
    )
    assert use(copies["transcripts"], site, high) == lines
    assert not (tmp_path / "site" / "soxr").exists()


def test_the_head_of_the_card_is_as_the_hub_reads_it(packed):
    card = ModelCard.load(packed["scenes"] / "README.md")
    head = card.data.to_dict()
    assert (head["license"], head["pipeline_tag"]) == ("mit", "audio-classification")
    assert head["datasets"] == ["synthetic_scenes"] and head["metrics"] == ["accuracy"]
    assert "language" not in head
    name, (result,) = model_index_to_eval_results(head["model-index"])
    assert name == "scenes-kd" and result.metric_value == 0.75
    assert result.metric_args == {"interval_95": [0.7, 0.8]}
    heads = {one: ModelCard.load(path / "README.md").data for one, path in packed.items()}
    assert heads["listening"].language == ["en"]
    assert heads["transcripts"].metrics == ["wer"]


def test_the_card_says_what_it_was_measured_and_made_by(packed):
    text = (packed["listening"] / "README.md").read_text()
    assert "| `audio_blind` | 75.0 (70.0–80.0) |" in text
    assert "`audio_blind` is the control" in text
    assert "| `hall` | 75.0: -20.0 (-30.0 to -10.0) |" in text
    assert "espeak" in text and "`checkpoints/listening`" in text
    assert "temperature: 2.0" in text and "scenes" not in text
    assert "From a working tree whose results are not committed." in text
    for name in ("use.py", "use.mjs"):
        example = (packed["listening"] / name).read_text()
        assert example in text and len(example.splitlines()) <= 20


def test_models_of_devices_are_packed_and_named(run, tmp_path):
    root = shutil.copytree(run, tmp_path / "run")
    files = root / "models/scenes/onnx/scenes-kd"
    names = {f"student.device-{device}.{form}onnx" for device in "ab" for form in ("", "int8.")}
    for name in names:
        shutil.copy(files / "student.int8.onnx", files / name)
    out = pack.write(tmp_path / "out", root, "scenes", licence="mit")
    assert names == {path.name for path in out.glob("student.device-*")}
    assert "NAME is one of a, b." in (out / "README.md").read_text()
    assert all(name in (out / pack.SUMS).read_text() for name in names)


def test_checksums_tell_what_was_changed(packed, tmp_path):
    copy = shutil.copytree(packed["scenes"], tmp_path / "copy")
    assert subprocess.run(["sha256sum", "--check", "--quiet", pack.SUMS], cwd=copy).returncode == 0
    pack.check(copy)
    (copy / "student.onnx").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"student\.onnx: not as it was packed"):
        pack.check(copy)
    (copy / pack.SUMS).unlink()
    with pytest.raises(ValueError, match="no packed student"):
        pack.check(copy)


@pytest.mark.parametrize(
    "track, recipe, licence, reason",
    [
        ("listening", None, None, r"--licence: needed.*espeak-ng \(GPL-3\.0\)"),
        ("listening", None, "Apache 2", "--licence Apache 2: not as the hub writes"),
        ("listening", "none", "mit", "--recipe none: the track listening has hard, kd"),
        ("listening", "hard", "mit", r"student\.onnx: no such file"),
        ("music", None, "mit", "music: params.yaml has the tracks listening, "),
    ],
)
def test_what_cannot_be_packed_is_refused(run, tmp_path, track, recipe, licence, reason):
    with pytest.raises(ValueError, match=reason):
        pack.write(tmp_path / "out", run, track, recipe, licence)
    assert not (tmp_path / "out").exists()


def test_what_a_corpus_forbids_is_refused():
    for licence in ("apache-2.0", "cc-by-4.0", "cc-by-sa-4.0"):
        with pytest.raises(ValueError, match="TAU Urban .* for non-commercial use alone"):
            licences.check(licence, ["tau2022"])
    assert licences.check("cc-by-nc-4.0", ["tau2022"]) == "cc-by-nc-4.0"


def test_terms_of_every_corpus_are_known():
    parts = {"languages"}  # named by the corpora that it consists of
    assert licences.CORPORA.keys() == CORPORA.keys() - parts


def test_a_folder_that_is_there_is_left_alone(run, packed):
    with pytest.raises(ValueError, match="already there"):
        pack.write(packed["scenes"], run, "scenes", licence="mit")


class Hub:
    """The part of the hub's API that takes a repository; it keeps what it was sent."""

    def __init__(self, server: Server):
        self.sent: list[dict] = []
        self.cards: list[str] = []
        server.routes["/api/"] = self.answer

    def answer(self, handler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        path = handler.asked.path
        if path.endswith("/validate-yaml"):
            self.cards.append(json.loads(body)["content"])
            said = {"errors": [], "warnings": []}
        elif path.endswith("/preupload/main"):
            names = [one["path"] for one in json.loads(body)["files"]]
            said = {
                "files": [
                    {"path": one, "uploadMode": "regular", "shouldIgnore": False} for one in names
                ]
            }
        elif path.endswith("/commit/main"):
            self.sent += [json.loads(line) for line in body.splitlines()]
            address = f"http://{handler.headers['Host']}/a/b/commit/1"
            said = {"commitUrl": address, "commitOid": "1" * 40}
        else:
            said = {"url": "http://127.0.0.1/a/b", "id": "a/b", "name": "b"}
        handler.reply(200, json.dumps(said).encode(), {"Content-Type": "application/json"})


def test_a_push_is_shown_first_and_then_sends_what_was_shown(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(run)
    with Server() as server:
        hub = Hub(server)
        monkeypatch.setattr(constants, "ENDPOINT", server.url())
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        out = str(tmp_path / "out")
        command = ["pack", "scenes", out, "--push", "a/b"]
        assert main([*command, "--licence", "mit"]) == 0
        assert "nothing was sent" in capsys.readouterr().out and server.log == []
        assert main([*command, "--yes"]) == 0
        assert f"sent to {server.url()}/a/b" in capsys.readouterr().out
    names = {one["value"]["path"] for one in hub.sent if one["key"] == "file"}
    there = {str(one.relative_to(out)) for one in Path(out).rglob("*") if one.is_file()}
    assert names == there and hub.cards[0].startswith("---\n")


@pytest.mark.parametrize("name", ["b", "a/b/c", "a/--b"])
def test_a_name_that_the_hub_does_not_have_is_refused(run, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(run)
    given = ["pack", "scenes", str(tmp_path / "out"), "--licence", "mit", "--push", name]
    assert main(given) == 2 and f"--push {name}: " in capsys.readouterr().err
    assert main(["pack", "scenes", str(tmp_path / "other"), "--yes"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on PATH")
def test_the_example_in_javascript_answers_alike(run, packed, tmp_path):
    wanted = f"{RUNTIME.name}@{RUNTIME.version}"
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--prefix", tmp_path, wanted]
    if (done := subprocess.run(install, capture_output=True, text=True)).returncode:
        pytest.skip(f"npm cannot install {wanted}: {done.stderr[:200]}")
    folder = shutil.copytree(packed["listening"], tmp_path / "packed")
    clip, asked = run / "data/listening/q1.wav", (made_run.QUESTION, *made_run.OPTIONS)
    command = ["node", "use.mjs", clip, *asked]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    student = predict.load(made_run.model(run, "listening"))
    answer = student.answer(audio.decode(clip, 16_000), asked[0], asked[1:])
    shares = [float(line.split()[0]) for line in done.stdout.splitlines()]
    assert shares == pytest.approx(answer.probabilities, abs=0.002)
