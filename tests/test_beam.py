"""Decoding with a language model, where the optional package is installed; one line where not."""

import sys

import numpy as np
import pytest
import soundfile
import tones
from tones import RATE, recording, spelled
from transcribed import SYMBOLS

from earshot import cli
from earshot.predict import PredictError
from earshot.predict.beam import Beam
from earshot.text import alphabet

ARPA = r"""
\data\
ngram 1=6
ngram 2=3

\1-grams:
-1	<unk>
-99	<s>	-0.1
-1	</s>
-0.5	AB	-0.2
-0.5	BA	-0.2
-1	zoo	-0.2

\2-grams:
-0.1	<s> AB
-0.1	AB AB
-3	AB BA

\end\
"""


@pytest.fixture
def arpa(tmp_path) -> str:
    path = tmp_path / "2-gram.arpa"
    path.write_text(ARPA)
    return str(path)


def frames(path: list[int], best: float = 0.9) -> np.ndarray:
    """Log-posteriors whose best symbols are those of a path."""
    rows = np.full((len(path), len(SYMBOLS)), (1 - best) / (len(SYMBOLS) - 1), np.float32)
    rows[np.arange(len(path)), path] = best
    return np.log(rows)


def test_without_the_package_one_line_says_how_to_get_it(tmp_path, capsys, monkeypatch, arpa):
    monkeypatch.setitem(sys.modules, "flashlight", None)
    monkeypatch.setitem(sys.modules, "flashlight.lib.text", None)
    model = tones.file(tmp_path / "student.onnx")
    assert cli.main(["transcribe", "a.wav", "--model", str(model), "--lm", arpa]) == 2
    told = "earshot: --lm: Flashlight is not installed; pip install 'earshot[lm]'\n"
    assert capsys.readouterr().err == told


def test_a_doubtful_word_becomes_the_one_that_follows_more_often(arpa):
    pytest.importorskip("flashlight.lib.text.decoder")
    heard = frames([0, 2, 0, 3, 0, 1, 0, 3, 2, 0])  # ab ba
    heard[7:9] = np.log([[0.05, 0.05, 0.43, 0.47], [0.05, 0.05, 0.47, 0.43]])
    texts = {}
    for weight in (0.0, 1.0):
        path = Beam(arpa, SYMBOLS, weight).path(heard)
        assert len(path) == len(heard)
        texts[weight] = alphabet.decode(path, SYMBOLS)
    assert texts == {0.0: "ab ba", 1.0: "ab ab"}
    # log p(AB AB) and log p(AB BA) to base 10 are apart by 2.9: what is heard outweighs less
    sure = frames([0, 2, 0, 3, 0, 1, 0, 3, 2, 0], best=0.999)
    assert alphabet.decode(Beam(arpa, SYMBOLS, 1.0).path(sure), SYMBOLS) == "ab ba"


def test_words_keep_their_times(tmp_path, capsys, arpa):
    pytest.importorskip("flashlight.lib.text.decoder")
    model, clip = tones.file(tmp_path / "student.onnx"), tmp_path / "clip.wav"
    soundfile.write(clip, recording(spelled("ab ba", 0.5), 2.5), RATE)
    for more in ([], ["--lm", arpa]):
        srt = tmp_path / f"{len(more)}.srt"
        command = ["transcribe", str(clip), "--model", str(model), "--srt", str(srt), *more]
        assert cli.main(command) == 0
        assert capsys.readouterr().out == "ab ba\n"
    assert (tmp_path / "0.srt").read_text() == (tmp_path / "2.srt").read_text()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("a talk\n", "no line"),
        (ARPA.replace("-3\tAB BA\n", ""), "not an ARPA language model"),
        (ARPA.replace("AB", "xy").replace("BA", "yx"), "none of its words"),
    ],
)
def test_a_file_that_is_no_language_model_is_named(tmp_path, content, told):
    pytest.importorskip("flashlight.lib.text.decoder")
    path = tmp_path / "lm.arpa"
    if content:
        path.write_text(content)
    with pytest.raises(PredictError, match=f"lm.arpa: .*{told}"):
        Beam(path, SYMBOLS, 1.0)
