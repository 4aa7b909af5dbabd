"""Recognisers as files: ONNX equals PyTorch, word times, long recordings, what is refused."""

import json
from itertools import pairwise

import numpy as np
import onnx
import pytest
import tones
import torch
from students import recurrent
from tones import RATE, recording, spelled
from transcribed import SYMBOLS

from earshot import predict
from earshot.export import int8, onnx_file, size
from earshot.export.agreement import Clip, agreement
from earshot.features import audio
from earshot.models.students import STUDENTS
from earshot.params import Conformer, ConvNeXt, Features
from earshot.predict import PredictError, Transcriber
from earshot.tasks.transcript import Transcript

FEATURES = Features()
TASK = Transcript(None, SYMBOLS)
STUDENT = {
    "bilstm": recurrent(stack=2, layers=2, hidden=64, text=None),
    "conformer-2": Conformer(name="conformer", width=64, layers=2, heads=4, kernel=7, stride=2),
    "conformer-4": Conformer(name="conformer", width=64, layers=1, heads=2, kernel=3, stride=4),
    "convnext": ConvNeXt(name="convnext", width=64, layers=2, kernel=7, stack=3),
}


def noise(samples: int) -> np.ndarray:
    rng = np.random.default_rng(samples)
    return (rng.normal(0, 0.1, samples) * (1 + np.sin(np.arange(samples) / 900))).astype("f4")


@pytest.mark.parametrize("features", [FEATURES, Features(silence_db=50, silence="quietest")])
@pytest.mark.parametrize("name", STUDENT)
def test_both_files_write_what_pytorch_does(tmp_path, name, features):
    params = STUDENT[name]
    torch.manual_seed(4)
    model = STUDENTS[params.name](params, features.n_mels, TASK).eval()
    in_float, in_int8 = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx_file.export(model, features, params, in_float, {"track": "t"}, TASK.labels)
    operators = int8.quantize(in_float, in_int8)
    assert operators == int8.check(in_int8) and operators["MatMulInteger"] > 0
    # lengths about a frame, a stack, a stride of four
    clips = [Clip(noise(n), ()) for n in (3_200, 16_000, 16_160, 16_320, 16_480, 23_457)]
    clips.append(Clip(np.pad(noise(8_000), 4_000), ()))
    found = agreement(model, features, in_float, in_int8, clips)
    assert found["float_max_difference"] < 1e-4
    assert found["float_same_answers"] == 1
    assert found["int8_same_answers"] > 0.9
    for file in (in_float, in_int8):
        transcriber = predict.load(file)
        assert isinstance(transcriber, Transcriber) and transcriber.alphabet == SYMBOLS
        assert transcriber.frame_seconds == pytest.approx(model.strides[-1] * 0.01)
        frames = transcriber.logits(clips[0].samples)
        assert np.exp(frames).sum(1) == pytest.approx(np.ones(len(frames)), abs=1e-4)
    assert size.network_parameters(in_int8)[1] < 0.45 * size.network_parameters(in_float)[1]


def test_products_are_integers_and_convolutions_are_not(tmp_path):
    params = STUDENT["conformer-2"]
    model = STUDENTS[params.name](params, FEATURES.n_mels, TASK).eval()
    onnx_file.export(model, FEATURES, params, tmp_path / "a", {}, TASK.labels)
    onnx_file.export(model, FEATURES, params, tmp_path / "b", {}, TASK.labels)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    int8.quantize(tmp_path / "a", tmp_path / "int8")
    kinds = {node.name: node.op_type for node in onnx.load(tmp_path / "int8").graph.node}
    convolutions = [name for name, kind in kinds.items() if kind == "Conv"]
    assert len(convolutions) == 1 + 1 + 2  # front end, halving, one a block
    assert "ConvInteger" not in kinds.values()
    with pytest.raises(int8.QuantizationError, match="not int8, left in float: .*MatMul"):
        int8.check(tmp_path / "a")


@pytest.fixture(scope="module")
def transcriber(tmp_path_factory) -> Transcriber:
    return Transcriber(tones.file(tmp_path_factory.mktemp("tones") / "student.onnx"))


def test_words_have_the_times_of_their_sounds(transcriber):
    letters = [*spelled("ab ba", 0.5), *spelled(" aab", 2.5)]
    result = transcriber.transcribe(recording(letters, 4.0))
    assert result.text == "ab ba aab"
    ends = [(word.begin, word.end) for word in result.words]
    # tones last 0.15 s and begin every 0.25 s; |, the space, is one of them
    expected = [(0.5, 0.9), (1.25, 1.65), (2.75, 3.4)]
    assert np.abs(np.array(ends) - expected).max() < 0.06
    assert result.seconds == 4.0 and 0.9 < result.confidence <= 1
    assert all(word.probability > 0.9 for word in result.words)


def test_a_long_recording_is_its_pieces(transcriber):
    words = ["ab", "ba", "aab", "b", "abba"]
    rng = np.random.default_rng(2)
    letters, said, begin = [], [], 0.5
    while begin < 595:
        word = words[rng.integers(len(words))]
        letters += spelled(f" {word}", begin)
        said.append(word)
        begin += 0.25 * (len(word) + 1) + rng.uniform(0.3, 2.0)
    samples = recording(letters, 600.0)
    seams = []
    blocks = (samples[start : start + 50_000] for start in range(0, len(samples), 50_000))
    result = transcriber.transcribe(blocks, seams.append)
    assert result.text.split() == said
    assert len(seams) > 25 and seams[-1] == result.seconds == 600
    for begin, end in pairwise(seams[2:6]):
        alone = transcriber.transcribe(samples[round(begin * RATE) : round(end * RATE)])
        inside = [word.text for word in result.words if begin <= word.begin < end]
        assert alone.text.split() == inside


def test_a_window_is_never_longer_than_its_span_and_context(transcriber, monkeypatch):
    heard = []
    run = Transcriber._infer

    def noted(self, samples, language):
        heard.append(len(samples))
        return run(self, samples, language)

    monkeypatch.setattr(Transcriber, "_infer", noted)
    blocks = (recording(spelled("a b a b", 0.1), 5.0) for _ in range(24))  # two minutes
    result = transcriber.transcribe(blocks)
    assert result.seconds == 120 and max(heard) <= 25 * RATE
    assert result.text.replace(" ", "") == "abab" * 24


def test_silence_between_words_costs_nothing(transcriber):
    silence = np.zeros(90 * RATE, np.float32)
    samples = np.concatenate(
        [recording(spelled("ab", 0.2), 1.0), silence, recording(spelled("ba", 0.2), 1.0)]
    )
    result = transcriber.transcribe(samples)
    assert result.text.replace(" ", "") == "abba"
    assert result.words[-1].end > 91


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (np.zeros(0, np.float32), "too short"),
        (np.zeros(800, np.float32), "too short"),
        (np.zeros(RATE * 50, np.float32), "silent"),
        (np.full(RATE, np.nan, np.float32), "non-finite"),
    ],
)
def test_audio_that_cannot_be_written_down_is_refused(transcriber, samples, told):
    with pytest.raises(PredictError, match=told):
        transcriber.transcribe(samples)


@pytest.mark.parametrize(
    ("key", "value"),
    [("labels", json.dumps(["a", "b"])), ("frame_seconds", "0"), ("frame_seconds", "fast")],
)
def test_damaged_metadata_are_named(tmp_path, key, value):
    model = onnx.load(tones.file(tmp_path / "student.onnx"))
    for entry in model.metadata_props:
        entry.value = value if entry.key == key else entry.value
    onnx.save(model, tmp_path / "student.onnx")
    with pytest.raises(PredictError, match="its metadata are damaged"):
        Transcriber(tmp_path / "student.onnx")


def test_the_quietest_place_is_found():
    samples = np.ones(RATE, np.float32)
    samples[6_000:9_000] = 0.01
    assert 6_000 <= audio.quietest(samples, RATE) <= 9_000
    assert audio.quietest(samples[:100], RATE) == 50
