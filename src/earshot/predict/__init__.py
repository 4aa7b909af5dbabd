"""Load a student's ONNX file and use it: ONNX Runtime and NumPy, no torch."""

from pathlib import Path

from earshot.predict.classifier import Classification, Classifier
from earshot.predict.model import Model, PredictError, metadata_of, session, softmax
from earshot.predict.student import Answer, Attention, Student
from earshot.predict.transcriber import SpokenWord, Transcriber, Transcription

MODELS: dict[str, type[Model]] = {model.task: model for model in (Student, Classifier, Transcriber)}


def load(path: str | Path, threads: int = 1) -> Student | Classifier | Transcriber:
    """Return the student that an ONNX file holds; PredictError when it is missing or is none."""
    task = metadata_of(path, session(path, threads)).get("task")
    if task not in MODELS:
        raise PredictError(f"{path}: not an Earshot student, task={task!r}")
    return MODELS[task](path, threads)


__all__ = [
    "Answer",
    "Attention",
    "Classification",
    "Classifier",
    "Model",
    "PredictError",
    "SpokenWord",
    "Student",
    "Transcriber",
    "Transcription",
    "load",
    "softmax",
]
