"""`earshot transcribe` on files: text, JSON, subtitles, one line for what cannot be read."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tones
from tones import RATE, recording, spelled

from earshot import cli
from earshot.cli.transcribe import srt
from earshot.predict import SpokenWord


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tones.file(tmp_path_factory.mktemp("tones") / "student.onnx"))


def clip(path, text: str = "ab ba", rate: int = RATE, seconds: float = 2.5) -> str:
    samples = recording(spelled(text, 0.4), seconds)
    if rate != RATE:
        import soxr

        samples = soxr.resample(samples, RATE, rate)
    soundfile.write(path, np.clip(samples, -1, 1), rate)
    return str(path)


def test_a_recording_of_any_rate_and_format_is_written_down(model, tmp_path, capsys):
    for name, rate in (("a.wav", RATE), ("b.flac", 44_100), ("c.ogg", 22_050)):
        assert cli.main(["transcribe", clip(tmp_path / name, rate=rate), "--model", model]) == 0
        assert capsys.readouterr().out == "ab ba\n"


def test_several_are_named_and_json_has_times(model, tmp_path, capsys):
    clips = [clip(tmp_path / "one.wav"), clip(tmp_path / "two.wav", "b")]
    assert cli.main(["transcribe", *clips, "--model", model]) == 0
    assert capsys.readouterr().out == f"{clips[0]}: ab ba\n{clips[1]}: b\n"
    assert cli.main(["transcribe", clips[0], "--model", model, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["text"] == "ab ba" and found["seconds"] == 2.5
    assert [word["word"] for word in found["words"]] == ["ab", "ba"]
    assert found["words"][1]["begin"] == pytest.approx(1.15, abs=0.06)


def test_subtitles_are_written(model, tmp_path, capsys):
    path = tmp_path / "talk.srt"
    command = ["transcribe", clip(tmp_path / "talk.wav"), "--model", model, "--srt", str(path)]
    assert cli.main(command) == 0
    number, times, text, *rest = path.read_text().splitlines()
    assert (number, text, rest) == ("1", "ab ba", [])
    assert times.startswith("00:00:00,") and " --> 00:00:01," in times


def test_subtitles_break_at_pauses_and_when_full():
    words = [SpokenWord("word", begin, begin + 0.4, 1.0) for begin in (0.0, 0.5, 3_661.5, 3_662.0)]
    assert srt(words) == (
        "1\n00:00:00,000 --> 00:00:00,900\nword word\n\n"
        "2\n01:01:01,500 --> 01:01:02,400\nword word\n"
    )
    fast = [SpokenWord("letters", 0.1 * place, 0.1 * place + 0.1, 1.0) for place in range(12)]
    lines = srt(fast).split("\n\n")
    assert all(len(line.splitlines()[2]) <= 42 for line in lines) and len(lines) == 3
    assert srt([]) == ""


def test_what_cannot_be_done_is_one_line(model, tmp_path, capsys):
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(RATE), RATE)
    assert cli.main(["transcribe", str(silent), "--model", model]) == 2
    assert capsys.readouterr().err == f"earshot: {silent}: the audio is silent\n"
    both = ["transcribe", "a.wav", "b.wav", "--model", model, "--srt", "c.srt"]
    assert cli.main(both) == 2
    assert "one file for 2 recordings" in capsys.readouterr().err
    assert cli.main(["transcribe", clip(tmp_path / "a.wav"), "--model", "none.onnx"]) == 2
    assert capsys.readouterr().err == "earshot: none.onnx: no such file\n"


# The highest resident memory, in kB. getrusage would count what the tests had before the start.
PEAK = """
import sys
from pathlib import Path
from earshot import cli

cli.main(["transcribe", sys.argv[2], "--model", sys.argv[1]])
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
def test_forty_minutes_take_the_memory_of_ten(model, tmp_path):
    peaks = {}
    for minutes in (10, 40):  # a block that is read is of minutes
        path = tmp_path / f"{minutes}.flac"
        piece = recording(spelled("ab ba", 0.4), 5.0)
        with soundfile.SoundFile(path, "w", RATE, 1) as out:
            for _ in range(12 * minutes):
                out.write(piece)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, model, str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        text, peak = done.stdout.splitlines()
        assert text.replace(" ", "") == "abba" * 12 * minutes
        peaks[minutes] = int(peak) / 1024
    # MB: half an hour of samples is 115, a block or two of them come and go
    assert peaks[40] < peaks[10] + 60, peaks
