"""Files of students of several languages: as PyTorch is, untold and told; what a user may tell."""

import json

import numpy as np
import pytest
import soundfile
import torch
from students import recurrent
from transcribed import SYMBOLS, spoken

from earshot import cli, predict
from earshot.export import int8, onnx_file, size
from earshot.export.agreement import Clip, agreement
from earshot.features.log_mel import log_mel
from earshot.models import heads
from earshot.models.students import STUDENTS
from earshot.params import Conformer, ConvNeXt, Features
from earshot.predict import PredictError
from earshot.tasks.transcript import Transcript

FEATURES = Features(silence_db=40)
TASK = Transcript(None, SYMBOLS, {"de": {"a", "b"}, "en": {"a"}, "el": {"b"}})
KNOWN = ["de", "en", "el"]
PARAMS = {
    "bilstm": recurrent(stack=2, layers=2, hidden=64, text=None),
    "conformer": Conformer(name="conformer", width=32, layers=2, heads=4, kernel=5, stride=2),
    "convnext": ConvNeXt(name="convnext", width=32, layers=2, kernel=5),
}


def files(folder, name: str, language: str | None):
    """Write a student in float and int8; return it and the files."""
    known = {"languages": KNOWN, "language": language}
    params = type(PARAMS[name])(**PARAMS[name].model_dump() | known)
    torch.manual_seed(4)
    model = STUDENTS[params.name](params, FEATURES.n_mels, TASK).eval()
    if model.language is not None:  # so that what is told is heard
        torch.nn.init.normal_(model.language.weight, 0, 2)
    in_float, in_int8 = folder / "float.onnx", folder / "int8.onnx"
    onnx_file.export(model, FEATURES, params, in_float, {"track": "t"}, TASK.labels)
    int8.quantize(in_float, in_int8)
    int8.check(in_int8)
    return model, in_float, in_int8


def noise(samples: int) -> np.ndarray:
    rng = np.random.default_rng(samples)
    sound = (rng.normal(0, 0.1, samples) * (1 + np.sin(np.arange(samples) / 900))).astype("f4")
    return np.pad(sound, 2_000)  # silence at both ends, which counts for nothing


@torch.inference_mode()
def by_torch(model, samples, given=None):
    """Log-posteriors `(T, V)` and log-probabilities of languages `(K,)`."""
    mel = torch.from_numpy(log_mel(samples, FEATURES))[None]
    clip = torch.zeros(1, dtype=torch.long)
    shares = None if given is None else model.head.one_hot([given])
    encoded = heads.encode(model, mel, torch.tensor([mel.shape[1]]), clip, shares)
    frames = model.head.symbols(encoded)[0].log_softmax(-1).numpy()
    return frames, encoded.language[0].log_softmax(-1).numpy()


@pytest.mark.parametrize("language", [None, "given", "predicted"])
@pytest.mark.parametrize("name", PARAMS)
def test_files_say_what_pytorch_does_of_symbols_and_languages(tmp_path, name, language):
    model, in_float, in_int8 = files(tmp_path, name, language)
    clips = [Clip(noise(n), ()) for n in (16_000, 16_160, 23_457)]
    found = agreement(model, FEATURES, in_float, in_int8, clips)
    assert found["float_max_difference"] < 2e-4
    assert found["int8_same_answers"] > 0.85
    transcriber = predict.load(in_float)
    result = transcriber.transcribe(clips[0].samples)
    _, expected = by_torch(model, clips[0].samples)
    assert list(result.languages) == KNOWN and result.language == KNOWN[expected.argmax()]
    assert np.log([*result.languages.values()]) == pytest.approx(expected, abs=1e-4)
    answered = transcriber.answers(clips[0].samples, [spoken("test", 0)])
    assert answered.language == result.language
    for one in KNOWN:
        transcriber.set_language(one)
        frames, _ = by_torch(model, clips[1].samples, one)
        assert np.abs(transcriber.logits(clips[1].samples) - frames).max() < 2e-4
        assert transcriber.transcribe(clips[0].samples).languages == result.languages
    if language is None:
        return
    # both passes share their weights
    once, _ = size.network_parameters(files(tmp_path, name, None)[2])
    twice, _ = size.network_parameters(files(tmp_path, name, language)[2])
    assert once < twice < 1.1 * once


def test_what_a_user_may_tell(tmp_path, capsys):
    _, in_float, _ = files(tmp_path, "bilstm", "given")
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, noise(16_000), 16_000)
    command = ["transcribe", str(clip), "--model", str(in_float), "--json"]
    printed = {}
    for tag in (None, "auto", "de", "en"):
        assert cli.main(command + (["--language", tag] if tag else [])) == 0
        printed[tag] = json.loads(capsys.readouterr().out)
        assert set(printed[tag]["languages"]) == set(KNOWN)
    assert printed[None]["text"] == printed["auto"]["text"]
    assert printed["de"]["confidence"] != printed["en"]["confidence"]
    assert cli.main([*command, "--language", "fr"]) == 2
    assert "language='fr' must be one of de, en, el" in capsys.readouterr().err
    onnx_file.export(
        STUDENTS["bilstm"](PARAMS["bilstm"], FEATURES.n_mels, TASK),
        FEATURES,
        PARAMS["bilstm"],
        tmp_path / "of_one.onnx",
        {"track": "t"},
        SYMBOLS,
    )
    with pytest.raises(PredictError, match="it classifies no languages"):
        predict.load(tmp_path / "of_one.onnx").set_language("de")
