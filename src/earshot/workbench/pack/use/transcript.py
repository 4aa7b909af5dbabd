"""python use.py clip.wav

Needs onnxruntime, numpy and soundfile.
"""

import sys
from pathlib import Path

import resampling  # noqa: F401 (for soxr, where it is not installed)

from earshot.features import audio
from earshot.predict import load

student = load(Path(__file__).with_name("student.int8.onnx"))
found = student.transcribe(audio.stream(sys.argv[1], student.sample_rate))
for word in found.words:
    print(f"{word.begin:.2f} {word.end:.2f} {word.text}")
