"""A model card in the format of the Hugging Face hub: what a student is, how good, and how made."""

from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCardData

from earshot.evaluation.charts import base
from earshot.workbench import table
from earshot.workbench.results import Track

_HERE = Path(__file__).parent


class Kind(NamedTuple):
    """What a card says of a task: the hub's name of it, and what a student does."""

    pipeline: str
    does: str


KINDS = {
    "choice": Kind("multiple-choice", "answers multiple-choice questions about a recording"),
    "classes": Kind("audio-classification", "says what kind of place a recording was made in"),
    "transcript": Kind("automatic-speech-recognition", "writes down what is said"),
}
CONTROLS = {
    "audio_blind": "a student that never hears the recording",
    "audio_exchanged": "the student on recordings of other items",
}
NAMES = {"accuracy": "accuracy", "wer": "word error rate"}


class Facts(NamedTuple):
    """What a card is made from: `datasets` as params.yaml names them, `corpora` by title with their
    terms, `teachers` with their checkpoints, `params` as far as they concern the student.
    """

    track: Track
    recipe: str
    task: str
    licence: str
    languages: tuple[str, ...]
    datasets: tuple[str, ...]
    corpora: dict[str, str]
    teachers: dict[str, list[str]]
    params: dict[str, Any]
    commit: str | None
    bytes: tuple[int, int]  # of the file in float, and in int8
    devices: tuple[str, ...]  # that have files of their own


def head(facts: Facts) -> ModelCardData:
    """Return the card's YAML head, as huggingface_hub has it."""
    track, name = facts.track, f"{facts.track.name}-{facts.recipe}"
    model = f"{facts.recipe}_int8" if f"{facts.recipe}_int8" in track.quality else facts.recipe
    score = track.estimate(model)
    kind = KINDS[facts.task]
    result = EvalResult(
        task_type=kind.pipeline,
        dataset_type=facts.datasets[0],
        dataset_name=f"{', '.join(facts.corpora)}: test set of {track.name}",
        metric_type=track.metric,
        metric_name=f"{NAMES[track.metric]}, int8",
        metric_value=round(score.middle, 4),
        metric_args={"interval_95": [round(score.low, 4), round(score.high, 4)]},
    )
    return ModelCardData(
        language=list(facts.languages) or None,
        license=facts.licence,
        library_name="onnx",
        pipeline_tag=kind.pipeline,
        tags=["earshot", "distillation", "int8"],
        datasets=list(facts.datasets),
        metrics=[track.metric],
        model_name=name,
        eval_results=[result],
    )


def render(facts: Facts, python: str, javascript: str) -> str:
    """Return the card: its head, then what people read, with both examples of its use."""
    track, (whole, small) = facts.track, facts.bytes
    control = next((one for one in CONTROLS if one in track.quality), None)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("card.md").render(
        track=track.name,
        recipe=facts.recipe,
        does=KINDS[facts.task].does,
        megabytes=f"{whole / 1e6:.2f}",
        int8_megabytes=f"{small / 1e6:.2f}",
        corpora=list(facts.corpora),
        devices=facts.devices,
        clusters="places" if facts.task == "classes" else "passages and speakers",
        results=table.short(track, models=_compared(track, facts.recipe)),
        control=control,
        controlled=CONTROLS.get(control),
        robustness=_robustness(track, facts.recipe),
        python=python,
        javascript=javascript,
        commit=facts.commit,
        sources=_sources(facts),
        params=yaml.safe_dump(facts.params, sort_keys=False, allow_unicode=True, width=100),
    )
    return f"---\n{head(facts)}\n---\n\n{text}"


def _compared(track: Track, recipe: str) -> list[str]:
    """Return the models of the card's table: teachers, the student and its files, the control."""

    def is_compared(name: str) -> bool:
        return base(name) == recipe or name in CONTROLS or f"{name}_".startswith("teacher_")

    return [name for name in track.models if is_compared(name)]


def _robustness(track: Track, recipe: str) -> str:
    known = any(base(name) == recipe for name in track.robustness)
    return table.robustness(track) if known else ""


def _sources(facts: Facts) -> list[str]:
    """Return a line for each corpus and each teacher."""
    lines = [f"{title} ({terms})" for title, terms in facts.corpora.items()]
    for name, checkpoints in facts.teachers.items():
        begun = ", ".join(f"`{one}`" for one in checkpoints)
        lines.append(f"what the teacher `{name}` said, tuned from {begun}; its own terms hold")
    return lines
