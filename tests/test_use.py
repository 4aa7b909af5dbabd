"""`earshot use`: what a folder is, the lines that use it; each known layout as it lies on disk."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import ROOT
from repository import Project, ran

from earshot import cli
from earshot.params import parse
from earshot.tables.manifest import CorpusError
from earshot.workbench import use

RATE = 16_000


def record(path: Path, number: int, seconds: float = 0.4) -> Path:
    """Write noise that no other number has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(number).normal(0, 0.1, int(RATE * seconds))
    soundfile.write(path, np.clip(samples, -1, 1), RATE)
    return path


def esc50(root: Path) -> None:
    """Recordings of five folds, several of them cut from one."""
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for number in range(60):
        fold, target, source, take = 1 + number // 12, number % 3, 1000 + number // 2, number % 2
        name = f"{fold}-{source}-{'AB'[take]}-{target}.wav"
        record(root / "audio" / name, number)
        label = ("dog", "rain", "sea waves")[target]
        rows.append(f"{name},{fold},{target},{label},True,{source}{target},{'AB'[take]}")
    (root / "meta").mkdir()
    (root / "meta/esc50.csv").write_text("\n".join(rows) + "\n")


def speech_commands(root: Path) -> None:
    """Words by many speakers, with the lists of the held-out ones."""
    held = {"validation_list.txt": [], "testing_list.txt": []}
    for number in range(48):
        speaker, word = number // 3, ("yes", "no", "up")[number % 3]
        path = record(root / word / f"{speaker:08x}_nohash_0.wav", number)
        if speaker >= 12:
            name = "testing_list.txt" if speaker >= 14 else "validation_list.txt"
            held[name].append(path.relative_to(root).as_posix())
    record(root / "_background_noise_/pink_noise.wav", 99)
    for name, lines in held.items():
        (root / name).write_text("\n".join(lines) + "\n")


def librispeech(root: Path) -> None:
    """Mini LibriSpeech: a training and a development set."""
    number = 0
    for subset, speakers in (("train-clean-5", range(10, 22)), ("dev-clean-2", range(30, 33))):
        for speaker in speakers:
            folder, lines = root / subset / str(speaker) / "1", []
            for utterance in range(3):
                name = f"{speaker}-1-{utterance:04}"
                record(folder / f"{name}.flac", number, 2.0)
                said = np.random.default_rng(number).choice(["ONE", "TWO", "TEN", "SIX", "IT'S"], 5)
                lines.append(
                    f"{name} {' '.join(said)} {'ABCDEFGHIJ'[utterance]}{chr(65 + speaker)}"
                )
                number += 1
            (folder / f"{speaker}-1.trans.txt").write_text("\n".join(lines) + "\n")


def tau(root: Path) -> None:
    """Scenes at several places, without lists."""
    rows = ["filename\tscene_label\tidentifier\tsource_label"]
    for number in range(48):
        label, place = ("bus", "park")[number % 2], f"city-{number % 2}{number // 8}"
        name = f"audio/{label}-{place}-{number}-0-a.wav"
        record(root / name, number, 1.0)
        rows.append(f"{name}\t{label}\t{place}\ta")
    (root / "meta.csv").write_text("\n".join(rows) + "\n")


def ljspeech(root: Path) -> None:
    """One reader's recordings for speech synthesis."""
    lines = []
    for number in range(24):
        record(root / f"wavs/LJ001-{number:04}.wav", number, 1.0)
        word = np.random.default_rng(number).choice(["one", "two", "ten", "six"], 4)
        said = f"{' '.join(word)} {chr(97 + number)}"
        lines.append(f"LJ001-{number:04}|{said.upper()}, {number}|{said}\n")
    (root / "metadata.csv").write_text("".join(lines))


LAYOUTS = {  # the track that it suits, and some of its section
    esc50: ("scenes", {"name": "recordings", "shape": "table"}),
    speech_commands: ("scenes", {"name": "recordings", "shape": "folders"}),
    librispeech: (
        "transcripts",
        {"name": "librispeech", "splits": {"dev-clean-2": "test", "train-clean-5": "auto"}},
    ),
    ljspeech: ("transcripts", {"name": "recordings", "shape": "ljspeech"}),
    tau: ("scenes", {"name": "tau2022"}),
}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda made: made.__name__)
def test_a_layout_is_known_and_its_lines_are_parameters(tmp_path, content, layout):
    root = tmp_path / "own"
    layout(root)
    found = use.look(root, content)
    track, section = LAYOUTS[layout]
    corpus = found.changes[f"tracks.{track}.corpus"]
    assert section | {"root": str(root)} == {key: corpus[key] for key in (*section, "root")}
    assert {"validation", "test"} < set(found.counts)
    devices = content["tracks"][track]["views"].get("devices")
    known = corpus["name"] == "tau2022" or devices is None
    assert (f"tracks.{track}.views.devices" in found.changes) != known  # own recordings have none


def test_what_is_written_is_what_is_printed_and_comments_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    librispeech(Path("own"))
    assert cli.main(["use", "own"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "own: LibriSpeech's layout (dev-clean-2, train-clean-5), 45 recordings"
    assert printed[-1] == "--write writes these lines into params.yaml"
    before = Path("params.yaml").read_text()
    assert cli.main(["use", "own", "--write"]) == 0
    after = Path("params.yaml").read_text()
    written = yaml.safe_load(after)["tracks"]["transcripts"]
    for line in printed[2:-1]:
        ((key, value),) = yaml.safe_load(line).items()
        part = {"tracks": {"transcripts": written}}
        for name in key.split("."):
            part = part[name]
        assert part == value
    parse(yaml.safe_load(after))
    assert written["fewshot"]["alphabet"].startswith("'a")  # the texts have an apostrophe
    assert "# frozen: the same as that of listening" in after and before != after


@pytest.mark.parametrize(
    ("make", "arguments", "told"),
    [
        (lambda root: None, [], "own: no such file or folder"),
        (lambda root: root.mkdir(), [], "own: nothing that is known: no table with a path and a"),
        (lambda root: tau(root), ["--track", "transcripts"], "--track transcripts: its task is"),
        (lambda root: tau(root), ["--track", "other"], "--track other: params.yaml has listening"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, monkeypatch, capsys, make, arguments, told):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    make(Path("own"))
    assert cli.main(["use", "own", *arguments]) == 2
    told_so = capsys.readouterr().err
    assert told in told_so and told_so.count("\n") == 1


def test_a_folder_with_too_little_is_refused(tmp_path, content):
    for number in range(2):
        record(tmp_path / f"own/dog/{number}.wav", number)
    with pytest.raises(CorpusError, match="all of one class, 'dog'"):
        use.look(tmp_path / "own", content)
    record(tmp_path / "own/cat/0.wav", 2)
    with pytest.raises(CorpusError, match="class 'cat' has 1 group.s. of recordings"):
        use.look(tmp_path / "own", content)


def test_texts_that_no_shape_reads_are_told(tmp_path, content):
    for number in range(16):
        path = record(tmp_path / f"own/wav/{'ab'[number % 2]}/{number}.wav", number)
        path.with_suffix(".txt").write_text("what is said")
    notes = use.look(tmp_path / "own", content).notes
    assert notes[-1].startswith("16 text files are not read (wav/a/0.txt)")


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout", [esc50, speech_commands, librispeech, tau], ids=lambda made: made.__name__
)
def test_its_parameters_run_fewshot_unchanged(tmp_path, layout):
    layout(tmp_path / "own")
    project = Project(tmp_path / "project", {})
    project.earshot("use", str(tmp_path / "own"), "--write")
    track, _ = LAYOUTS[layout]
    assert f"fewshot@{track}" in ran(project.dvc("repro", f"fewshot@{track}"))
    counts = project.load(f"metrics/{track}/items.json")["items"]
    assert all(counts[role]["all"] for role in ("fewshot", "pool", "validation", "test"))
