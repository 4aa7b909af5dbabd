"""python use.py clip.wav "What did Mary buy?" "a bike" "a lamp" "a coat"

Needs onnxruntime, numpy and soundfile.
"""

import sys
from pathlib import Path

import resampling  # noqa: F401 (for soxr, where it is not installed)

from earshot.features import audio
from earshot.predict import load

clip, question, *options = sys.argv[1:]
student = load(Path(__file__).with_name("student.int8.onnx"))
answer = student.answer(audio.stream(clip, student.sample_rate), question, options)
for option, probability in zip(options, answer.probabilities, strict=True):
    print(f"{probability:.6f} {option}")
