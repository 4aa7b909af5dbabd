"""A student that hears tones as letters, its weights set by hand, and recordings for it."""

from pathlib import Path

import numpy as np
import torch
from transcribed import SYMBOLS

from earshot.export import onnx_file
from earshot.features.log_mel import log_mel
from earshot.models.bilstm import BiLSTMStudent
from earshot.params import BiLSTM, Features
from earshot.tasks.transcript import Transcript

RATE = 16_000
FEATURES = Features(norm="none")
PARAMS = BiLSTM(name="bilstm", hidden=3, layers=1, stack=2)
PITCHES = {"|": 400.0, "a": 1_200.0, "b": 3_600.0}  # Hz


def tone(letter: str, seconds: float) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * PITCHES[letter] * np.arange(round(seconds * RATE)) / RATE)


def recording(letters: list[tuple[str, float]], seconds: float, floor: float = 1e-4) -> np.ndarray:
    """Tones of 0.15 s that begin at these seconds, over a little noise."""
    samples = np.random.default_rng(0).normal(0, floor, round(seconds * RATE))
    for letter, begin in letters:
        sound = tone(letter, 0.15)
        place = round(begin * RATE)
        samples[place : place + len(sound)] += sound
    return samples.astype(np.float32)


def spelled(text: str, begin: float, every: float = 0.25) -> list[tuple[str, float]]:
    """The letters of a text, and the tone between its words, one after the other."""
    letters = text.replace(" ", "|")
    return [(letter, begin + every * place) for place, letter in enumerate(letters)]


def student() -> BiLSTMStudent:
    """Gates stand open and nothing is remembered, so that a unit is tanh of its tone's band."""
    model = BiLSTMStudent(PARAMS, FEATURES.n_mels, Transcript(None, SYMBOLS)).eval()
    bands = {
        letter: int(log_mel(tone(letter, 1.0).astype(np.float32), FEATURES).mean(0).argmax())
        for letter in PITCHES
    }
    with torch.no_grad():
        for lstm in (model.ahead[0], model.behind[0]):
            for parameter in lstm.parameters():
                parameter.zero_()
            inputs, forget, cell, output = lstm.bias_ih_l0.view(4, -1)
            inputs += 20.0
            forget -= 20.0
            output += 20.0
            cell += 4.0
            for unit, band in enumerate(bands.values()):
                row = lstm.weight_ih_l0[2 * PARAMS.hidden + unit]
                row[[band, FEATURES.n_mels + band]] = 0.5
        model.head.weight.zero_()
        model.head.bias.zero_()
        for unit in range(len(PITCHES)):
            model.head.weight[1 + unit, [unit, PARAMS.hidden + unit]] = 10.0
    return model


def file(path: Path) -> Path:
    """Write the student as an ONNX file."""
    onnx_file.export(student(), FEATURES, PARAMS, path, {"recipe": "by hand"}, SYMBOLS)
    return path
