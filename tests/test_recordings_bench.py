"""The rows of docs/recordings.md: what they set, and the data that are made for them."""

import csv
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml
from conftest import ROOT

from bench.recordings import booth, cascade, dialogues, page, prompts, run, tables, whisper
from bench.recordings.rows import read
from earshot.params import parse
from earshot.runtime.files import write_json
from earshot.workbench import profile


@pytest.fixture
def clone(tmp_path) -> Path:
    """A repository with params.yaml and the profiles."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "params.yaml"], cwd=tmp_path, check=True)
    return tmp_path


def test_what_rows_set_fits_into_params_yaml(clone):
    bases: dict[str, bytes] = {}
    for row in read().values():
        profiled = row.profile or profile.BASE
        if profiled not in bases:
            run.set_up(row._replace(values={}), clone)
            bases[profiled] = (clone / "params.yaml").read_bytes()
        content = yaml.load(bases[profiled], yaml.CSafeLoader)
        profile.assign(content, row.values)
        track = parse(content).tracks[row.track]
        assert row.needs and track.distill.seeds >= 3, row.name


def test_a_row_that_takes_rows_out_can_be_gone_on_with(clone):
    row = read()["asr_pool_25"]
    assert any(key.startswith("~") for key in row.values)
    run.set_up(row, clone)
    once = (clone / "params.yaml").read_bytes()
    run.set_up(row, clone)
    assert (clone / "params.yaml").read_bytes() == once


@pytest.fixture
def librispeech(tmp_path) -> Path:
    """A folder with 40 clips of as many speakers and a recogniser's texts of them, and with six
    speakers whose clips have transcripts.
    """
    root, pseudo = tmp_path / "LibriSpeech", [("id", "seconds", "text")]
    for speaker in range(40):
        _clip(root / f"train-clean-100/{speaker}/1/{speaker}-1-0000.flac")
        pseudo.append((f"{speaker}-1-0000", "1.0", f"text {speaker}"))
    with open(root / tables.PSEUDO, "w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(pseudo)
    for subset, speakers in (("dev-clean", [84]), ("test-other", range(101, 106))):
        for speaker in speakers:
            chapter = root / f"{subset}/{speaker}/7"
            _clip(chapter / f"{speaker}-7-0000.flac")
            (chapter / f"{speaker}-7.trans.txt").write_text(f"{speaker}-7-0000 THE {speaker}\n")
    return root


def _clip(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(160), 16_000)


def test_the_test_of_a_table_is_of_speakers_whom_nobody_heard(librispeech, tmp_path):
    tables.write(librispeech, tmp_path)
    made = {
        path.stem: pd.read_csv(path, dtype=str).to_dict("records")
        for path in tmp_path.glob("*.csv")
    }
    assert made.keys() == {"listening", "asr-25", "asr-50", "asr-100"}
    for rows in made.values():
        assert len({row["id"] for row in rows}) == len(rows)
        speakers = {row["speaker"] for row in rows if row["split"] == "test"}
        assert speakers and not speakers & {r["speaker"] for r in rows if r["split"] != "test"}
    splits = Counter(row["split"] for row in made["listening"])
    assert splits == {"fewshot": 10, "validation": 20, "teacher": 10, "pool": 10, "test": 6}
    splits = Counter(row["split"] for row in made["asr-25"])
    assert splits == {"fewshot": 1, "validation": 1, "teacher": 10, "pool": 10, "test": 4}
    quarter, half = ({r["id"] for r in made[name]} for name in ("asr-25", "asr-50"))
    assert quarter < half


def test_the_cascade_takes_the_option_of_which_most_was_said():
    said = "The lamp stood near the window."
    assert cascade.choose(("door", "lamp", "bell"), said).tolist() == [0, 1, 0]
    assert cascade.choose(("red lamp", "lamp", "bell"), said).tolist() == [0, 1, 0]
    assert cascade.choose(("door", "bell"), said).tolist() == [0.5, 0.5]
    assert cascade.choose(("of", "a"), "A lamp").tolist() == [0, 1]  # stop words too


def test_a_prompt_is_a_name_and_what_is_said(tmp_path):
    file = tmp_path / "core-sounds-en.txt"
    file.write_text("; a comment\ndigits/1: one\nbeep: (this is a tone)\nsilence: ...\n")
    assert list(prompts._texts(file)) == [("digits/1", "one"), ("beep", "(this is a tone)")]


def test_a_line_of_a_game_is_a_name_and_what_is_said_in_a_language(tmp_path):
    script = tmp_path / "script/ship/dialogs_nl.lua"
    script.parent.mkdir(parents=True)
    line = 'dialogId("s-m-{}", "font", "What \\"now\\"?")\ndialogStr("{}")\n'
    script.write_text(line.format("wat", 'Wat \\"nu\\"?') + line.format("ja", "Ja."))
    takes = list(dialogues._takes(tmp_path, "nl"))
    assert [take.text for take in takes] == ['Wat "nu"?', "Ja."]
    assert takes[0].name == "ship_s-m-wat"
    assert takes[0].source == tmp_path / "sound/ship/nl/s-m-wat.ogg"


def test_weights_of_ctranslate2_get_the_names_of_transformers():
    fused, bias = np.arange(12, dtype=np.float16).reshape(6, 2), np.arange(6, dtype=np.float16)

    def entry(name: str, values: np.ndarray) -> bytes:
        head = struct.pack("<H", len(name) + 1) + name.encode() + b"\0"
        shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        return head + shape + struct.pack("<BI", 4, values.nbytes) + values.tobytes()

    head = struct.pack("<I", 6) + struct.pack("<H", 2) + b"W\0" + struct.pack("<II", 3, 2)
    weights = dict(whisper._tensors(head + entry("qkv/weight", fused) + entry("qkv/bias", bias)))
    named = dict(whisper._linear(weights, "qkv", ["q_proj", "k_proj", "v_proj"]))
    assert set(named) == {
        *("q_proj.weight", "q_proj.bias", "k_proj.weight", "v_proj.weight", "v_proj.bias")
    }
    assert torch.equal(named["v_proj.weight"], torch.tensor([[8.0, 9.0], [10.0, 11.0]]))
    assert named["v_proj.bias"].tolist() == [4.0, 5.0]


def test_test_clips_have_nine_devices_at_the_level_that_they_had(tmp_path):
    rng, data = np.random.default_rng(0), tmp_path / "data"
    (data / "scenes_booth").mkdir(parents=True)
    (data / "device_irs").mkdir()
    for name in booth.RESPONSES.values():
        echo = np.r_[1.0, 0.5 * rng.standard_normal(40)]
        soundfile.write(data / f"device_irs/{name}.wav", echo / 4, booth.RATE)
    clips, classes = [], []
    for sound in ("rain", "wind"):
        for take in range(3):
            name = f"{sound}-x-{take}-0-a.wav"
            samples = 0.1 * rng.standard_normal(booth.RATE)
            soundfile.write(data / "scenes_booth" / name, samples, booth.RATE, subtype="PCM_24")
            clips.append([name, sound, f"{sound}-{take}", "a"])
            classes.append([name, "outdoor", f"{sound}-{take}", "a"])
    for name, rows in (("meta.csv", clips), ("meta_coarse9.csv", classes)):
        with open(data / "scenes_booth" / name, "w", newline="") as file:
            csv.writer(file, delimiter="\t").writerows([booth.COLUMNS, *rows])
    out = tmp_path / "booth"
    booth.write(data, out)
    test, train = booth._read(out / "test.csv"), booth._read(out / "split100.csv")
    assert Counter(row["source_label"] for row in test) == dict.fromkeys(["a", *booth.RESPONSES], 2)
    assert {row["source_label"] for row in train} <= {"a", "b", "c"} and len(train) == 4
    assert not {row["identifier"] for row in test} & {row["identifier"] for row in train}
    assert len(booth._read(out / "split25.csv")) == 2
    levels = {row["filename"]: booth._rms(soundfile.read(out / row["filename"])[0]) for row in test}
    assert np.allclose(list(levels.values()), 0.1, rtol=0.02)


def test_both_pages_are_filled_with_what_rows_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    score = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "items": 90}
    folder = tmp_path / "metrics/listening"
    write_json(folder / "quality.json", {"teacher": score, "gain": {"a_vs_b": score}})
    write_json(folder / "run.json", {"commit": "abc", "processor_minutes": 3.5, "peak_mb": 900})
    errors = {"wer": 0.5, "wer_low": 0.4, "wer_high": 0.6, "cer": 0.25, "items": 90}
    write_json(tmp_path / "metrics/asr_pool_25/quality.json", {"pseudo": errors, "gain": {}})
    shutil.copy(folder / "run.json", tmp_path / "metrics/asr_pool_25")
    languages = dict.fromkeys(("en", "nl", "ru"), errors)
    spoken = {"pseudo": errors | {"languages": languages}, "gain": {}}
    write_json(tmp_path / "metrics/languages_prompts/quality.json", spoken)
    shutil.copy(folder / "run.json", tmp_path / "metrics/languages_prompts")
    names = "teacher teacher_scratch hard kd layered layered_int8 layered_plain".split()
    hubert = dict.fromkeys(names, score) | {"gain": {}}
    write_json(tmp_path / "metrics/scenes_quarter_hubert/quality.json", hubert)
    shutil.copy(folder / "run.json", tmp_path / "metrics/scenes_quarter_hubert")
    (tmp_path / "docs").mkdir()
    for name in page.PAGES:
        shutil.copy(ROOT / name, tmp_path / name)
    page.write(tmp_path)
    for name in page.PAGES:
        text = (tmp_path / name).read_text()
        assert "50.0 (40.0–60.0)" in text and "| `listening` | `abc` | 3.5 | 900 MB |" in text
        assert "| `asr_pool_25` | `pseudo` | 50.0 (40.0–60.0) | 25.0 |" in text
        assert "| `asr_pool_50` | `pseudo` |" not in text  # not measured
        assert "| `languages_prompts` | `pseudo, en` | 50.0 (40.0–60.0) | 25.0 |" in text
        assert "| `scenes_quarter_hubert` | `hard` | 50.0 (40.0–60.0) |" in text
