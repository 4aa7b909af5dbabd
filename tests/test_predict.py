"""Using a student: from Python, and from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from conftest import ROOT, python
from students import opinionated, recurrent

from earshot import cli, predict
from earshot.export.int8 import quantize
from earshot.export.onnx_file import export
from earshot.params import Features, Text
from earshot.predict import PredictError, Student
from earshot.tables.items import Item
from earshot.text import encode_item

QUESTION, OPTIONS = "What did Mary buy?", ["a bike", "a very long coat", "lamps"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """An int8 student of random weights and strong opinions, where the command line looks for
    it.
    """
    root = tmp_path_factory.mktemp("project")
    params = recurrent()
    export(opinionated(params), Features(), params, root / "float.onnx", {})
    quantize(root / "float.onnx", root / cli.answer.STUDENT)
    return root / cli.answer.STUDENT


def tone(seconds: float = 1.5, rate: int = 16_000) -> np.ndarray:
    """A tone that glides from 200 to 1400 Hz: the same sound at any rate."""
    time = np.arange(int(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * (200 + 400 * time) * time)).astype(np.float32)


def test_answer_is_the_softmax_of_the_logits(model):
    student = Student(model)
    found = student.answer(tone(), QUESTION, OPTIONS)
    question, options = encode_item(QUESTION, OPTIONS, student.buckets)
    logits = student.logits(tone(), question[None], options[None])[0].astype(float)
    expected = np.exp(logits) / np.exp(logits).sum()
    assert found.probabilities == pytest.approx(expected.tolist())
    assert found.option == int(expected.argmax())
    assert expected.max() > 0.334
    assert 0 < found.milliseconds < 10_000


def test_silence_at_the_ends_is_left_out_and_said(model, tmp_path, capsys):
    """A tenth of a second of it stays, here as zeros that the clip itself does not have."""
    clip = tone()
    padded = np.pad(clip, (12_000, 8_000))
    found = Student(model).answer(padded, QUESTION, OPTIONS)
    expected = Student(model).answer(np.pad(clip, 1600), QUESTION, OPTIONS)
    assert found.probabilities == pytest.approx(expected.probabilities, rel=1e-6)
    assert found.silence == pytest.approx((0.65, 0.4)) and found.seconds == 2.75
    soundfile.write(tmp_path / "padded.wav", padded, 16_000)
    assert cli.main([*asking(tmp_path / "padded.wav"), "--model", str(model)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "left out as silence: 0.65 s at the beginning, 0.40 s at the end"


def test_json_says_how_each_option_weighs_the_frames(tmp_path, capsys):
    params = recurrent(text=Text(version=1, buckets=64, dim=8, pool="attend"))
    export(opinionated(params), Features(), params, tmp_path / "attend.onnx", {})
    soundfile.write(tmp_path / "clip.wav", np.pad(tone(), (16_000, 0)), 16_000)
    asked = [*asking(tmp_path / "clip.wav"), "--model", str(tmp_path / "attend.onnx"), "--json"]
    assert cli.main(asked) == 0
    (attention,) = json.loads(capsys.readouterr().out)["attention"]
    weights = np.array(attention["weights"])
    assert (attention["begin"], attention["end"]) == pytest.approx((0.9, 2.5))
    assert len(weights) == len(OPTIONS) and weights.shape[1] > 10
    assert weights.sum(1) == pytest.approx(np.ones(3), abs=1e-2)


def test_a_long_recording_is_answered_about_piece_by_piece(model, monkeypatch):
    student, samples = Student(model), np.concatenate([tone(2), np.zeros(64_000, "f4"), tone(3.5)])
    pieces = [samples[:32_000], samples[96_000:]]  # seconds 2 to 6 are silent
    answers = [student.answer(piece, QUESTION, OPTIONS).probabilities for piece in pieces]
    whole = student.answer(samples, QUESTION, OPTIONS)
    monkeypatch.setattr(predict.student, "_PIECE", 2)
    blocks = [samples[start : start + 10_001] for start in range(0, len(samples), 10_001)]
    found = student.answer(blocks, QUESTION, OPTIONS)
    np.testing.assert_allclose(found.probabilities, np.mean(answers, axis=0), rtol=1e-12)
    assert found.seconds == whole.seconds == 9.5
    with pytest.raises(PredictError, match="the audio is silent"):
        student.answer([np.zeros(40_000, np.float32)] * 3, QUESTION, OPTIONS)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording(model, tmp_path):
    """At 1 hour of 16 kHz the samples alone are 230 MB, the frames of the front end 1.5 GB."""
    with soundfile.SoundFile(tmp_path / "hour.flac", "w", 16_000, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(np.resize(tone(), 60 * 16_000))
    code = """
import sys, earshot.cli
status = earshot.cli.main()
highest = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
print(highest, file=sys.stderr)
raise SystemExit(status)
"""
    done = earshot(*asking(tmp_path / "hour.flac"), folder=model.parents[4], code=code)
    assert done.returncode == 0 and "3600.00 s of audio" in done.stdout
    assert int(done.stderr) < 450_000  # kB


def test_the_order_of_options_does_not_matter(model):
    student = Student(model, threads=2)
    found = student.answer(tone(), QUESTION, OPTIONS)
    turned = student.answer(tone(), QUESTION, OPTIONS[::-1])
    assert turned.probabilities[::-1] == pytest.approx(found.probabilities, abs=1e-3)
    assert OPTIONS[::-1][turned.option] == OPTIONS[found.option]


@pytest.mark.parametrize(
    ("samples", "question", "options", "message"),
    [
        (np.zeros(0, np.float32), QUESTION, OPTIONS, "the audio is too short"),
        (tone(0.19), QUESTION, OPTIONS, "the audio is too short"),
        (np.zeros(16_000, np.float32), QUESTION, OPTIONS, "the audio is silent"),
        (np.full(16_000, np.nan, np.float32), QUESTION, OPTIONS, "the audio is non-finite"),
        (tone(), " ?", OPTIONS, "the question ' \\?' has no words"),
        (tone(), QUESTION, [], "0 option"),
        (tone(), QUESTION, ["one"], "1 option"),
        (tone(), QUESTION, ["a bike", "…"], "the option '…' has no words"),
        (tone(), QUESTION, ["a bike", "lamps", "A  bike."], "two of the options are the same"),
    ],
)
def test_what_cannot_be_answered(model, samples, question, options, message):
    with pytest.raises(PredictError, match=message):
        Student(model).answer(samples, question, options)


def test_options_that_read_alike_are_a_tie(model):
    options = ["by ship", "from London to Paris", "from Paris to London"]
    found = Student(model).answer(tone(), QUESTION, options)
    alone = Student(model).answer(tone(), QUESTION, options[:2])
    assert found.probabilities[1] == pytest.approx(found.probabilities[2])
    assert (found.option, found.tied) == ((1, (1, 2)) if alone.option == 1 else (0, ()))
    turned = Student(model).answer(tone(), QUESTION, [options[1], options[2]])
    assert (turned.option, turned.tied) == (0, (0, 1))
    assert alone.tied == ()


def test_a_file_keeps_the_version_of_the_text_encoder_it_was_trained_with(model, tmp_path):
    old = onnx.load(model)
    named = {prop.key: prop.value for prop in old.metadata_props}
    assert named.pop("text_version") == "2" and Student(model).text_version == 2
    onnx.helper.set_model_props(old, named)
    onnx.save(old, tmp_path / "old.onnx")
    student = Student(tmp_path / "old.onnx")
    question, options = encode_item(QUESTION, ["-5", "की"], student.buckets, 1)
    item = Item("q", "test", "detail", "p", ("u",), QUESTION, ("-5", "की"), 0)
    found = student.inputs([item])
    assert found[0].tolist() == [question.tolist()] and found[1].tolist() == [options.tolist()]
    signs = student.answer(tone(), QUESTION, ["-5", "5"])  # the first version reads no signs
    assert signs.tied == (0, 1)
    onnx.helper.set_model_props(old, named | {"text_version": "3"})
    onnx.save(old, tmp_path / "new.onnx")
    with pytest.raises(PredictError, match=r"new\.onnx: .*text_version=3 is none of \(1, 2\)"):
        Student(tmp_path / "new.onnx")


def test_files_that_are_no_student(model, tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:20_000])
    other = onnx.load(model)
    onnx.helper.set_model_props(other, {})
    onnx.save(other, tmp_path / "bare.onnx")
    damaged = {"task": "choice", "sample_rate": "16000", "buckets": "many"}
    onnx.helper.set_model_props(other, damaged)
    onnx.save(other, tmp_path / "damaged.onnx")
    messages = {
        "absent": "no such file",
        "text": "not a readable ONNX file",
        "cut": "not a readable ONNX file",
        "bare": "not an Earshot student for multiple choice",
        "damaged": "its metadata are damaged",
    }
    for name, message in messages.items():
        with pytest.raises(PredictError, match=rf"{name}\.onnx: {message}"):
            Student(tmp_path / f"{name}.onnx")


def earshot(
    *arguments: str | Path,
    folder: Path,
    code: str = "import earshot.cli as c; raise SystemExit(c.main())",
):
    return python("-c", code, *arguments, folder=folder)


def asking(clip: Path) -> list[str]:
    options = [part for option in OPTIONS for part in ("--option", option)]
    return ["answer", str(clip), "--question", QUESTION, *options]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """One sound in several files."""
    folder = tmp_path_factory.mktemp("clips")
    high = tone(rate=44_100)
    soundfile.write(folder / "plain.wav", tone(), 16_000, subtype="FLOAT")
    soundfile.write(folder / "stereo.wav", np.stack([1.5 * high, 0.5 * high], axis=1), 44_100)
    soundfile.write(folder / "mono.ogg", high, 44_100)
    soundfile.write(folder / "mono.mp3", high, 44_100)
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    soundfile.write(folder / "short.flac", tone(0.1), 16_000)
    (folder / "text.wav").write_text("no audio at all")
    return folder


def test_command_line_answers_without_torch(model, clips):
    code = """
import sys, earshot.cli
status = earshot.cli.main()
print(sorted({"torch", "transformers", "librosa"} & set(sys.modules)), file=sys.stderr)
raise SystemExit(status)
"""
    done = earshot(*asking(clips / "stereo.wav"), folder=model.parents[4], code=code)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    *lines, last = done.stdout.splitlines()
    assert [line[2:18].rstrip() for line in lines] == OPTIONS
    shares = [float(line[18:].rstrip("%")) for line in lines]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert [line[0] for line in lines] == [">" if share == max(shares) else " " for share in shares]
    assert last.startswith("answered in ")
    assert last.endswith(" ms, 1.50 s of audio")
    expected = Student(model).answer(tone(), QUESTION, OPTIONS)
    # at a wrong rate off by 40
    assert shares == pytest.approx([100 * p for p in expected.probabilities], abs=7)


@pytest.mark.parametrize("name", ["stereo.wav", "mono.ogg", "mono.mp3"])
def test_any_format_and_rate(model, clips, name, capsys):
    assert cli.main([*asking(clips / name), "--model", str(model), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = Student(model).answer(tone(), QUESTION, OPTIONS)
    # at a wrong rate off by 0.4
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=0.07)
    assert found["answer"] == OPTIONS[found["option"]]
    assert found["options"] == OPTIONS
    assert found["seconds"] == pytest.approx(1.5, abs=0.1)
    assert found["milliseconds"] > 0


def test_a_tie_is_named(model, clips, capsys):
    tied = ["from here to there", "from there to here"]
    asked = ["answer", str(clips / "plain.wav"), "--model", str(model), "--question", QUESTION]
    asked += [part for option in tied for part in ("--option", option)]
    assert cli.main(asked) == 0
    *marks, line, _ = capsys.readouterr().out.splitlines()
    assert [mark[0] for mark in marks] == [">", ">"]
    expected = "a tie: 'from here to there' and 'from there to here' are equally probable"
    assert line == f"{expected} to this student"
    assert cli.main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tied"], found["answer"]) == (tied, tied[0])


def test_a_word_in_another_encoding_is_named(model, clips, capsys):
    with pytest.raises(SystemExit):
        cli.main([*asking(clips / "plain.wav"), "--option", "caf\udce9"])
    assert "argument --option: 'caf\\udce9' is not in utf-8" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_terminal_gets_the_answer(model, clips, encoding):
    asked = ["answer", str(clips / "plain.wav"), "--question", "哪个"]
    asked += ["--option", "水−火", "--option", "😀", "--model", str(model)]
    command = [sys.executable, "-m", "earshot.cli", *asked]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True)
    assert json.loads(done.stdout.decode(encoding))["options"] == ["水−火", "😀"], done.stderr
    done = subprocess.run(command, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_bar_on_a_terminal_only(model, clips, capsys, monkeypatch):
    arguments = [*asking(clips / "plain.wav"), "--model", str(model)]
    cli.main(arguments)
    assert "#" not in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    cli.main(arguments)
    shares = Student(model).answer(tone(), QUESTION, OPTIONS).probabilities
    bars = [line.count("#") for line in capsys.readouterr().out.splitlines()]
    assert bars == [*(round(30 * share) for share in shares), 0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.wav", "none.wav: no such file"),
        ("text.wav", "text.wav: not readable audio"),
        ("silent.wav", "silent.wav: the audio is silent"),
        ("short.flac", "short.flac: the audio is too short"),
    ],
)
def test_a_bad_clip_is_one_line_and_exit_code_2(model, clips, name, message, capsys):
    assert cli.main([*asking(clips / name), "--model", str(model)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("earshot: ")
    assert message in output.err
    assert output.err.count("\n") == 1


def test_without_a_student_it_says_what_to_do(clips, tmp_path):
    done = earshot(*asking(clips / "plain.wav"), folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "make repro" in done.stderr
    assert "--model" in done.stderr


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["answer", "--help"])
    assert left.value.code == 0
    assert 'earshot answer clip.wav --question "What did Mary buy?"' in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        cli.main(["answer", "clip.wav"])
    assert left.value.code == 2
