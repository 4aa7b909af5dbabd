"""One track: its corpus, items, student and evaluation, and whether these go together."""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from earshot.params.data import Corpus, Features, FewShot, Labels, Transcripts
from earshot.params.models import Cache, Student, text_of
from earshot.params.pretraining import Pretrain
from earshot.params.section import Count, Positive, Section, Share, Weight
from earshot.params.views import Views


class Distill(Section):
    """The training loop shared by all recipes of a track. The rate rises over a share `warmup` of
    the steps, before the cosine. `muon` is for the matrices of the student's encoder, AdamW for
    the rest of it. Students are validated every `validate_every` epochs and after the last; the
    best of those is kept.

    With `average` the student is a running mean of its weights, of which each step keeps that
    share. With `refit` it is trained once more, on the validation labels too. `start` is a file of
    weights, of a teacher that is a network or of another student: students begin with its tensors
    that have a name and shape of theirs, as the first layers of a deeper network.
    """

    seeds: Count = 3
    batch: Count = 16
    learning_rate: Positive = 1e-3
    optimizer: Literal["adamw", "muon"] = "adamw"
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: Share = 0.05
    validate_every: Count = 1
    weight_decay: Weight = 0.0
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    refit: bool = False
    start: str | None = None


class Quantize(Section):
    """Clips compared between PyTorch, float ONNX and int8 ONNX."""

    agreement_items: Count = 60


class Limits(Section):
    """What a device allows: bytes of a quantized file's parameters, scales included, and
    multiply-accumulates a clip.
    """

    parameter_bytes: Count
    macs: Count


class Evaluate(Section):
    """Recipes exported and compared, gains printed (`a_vs_b`), how intervals and latency are taken.

    A student above `limits` fails the stage; null switches the gate off. MACs and latency are of
    one clip of `reference_seconds`. How the shipped student stands noise, rooms and the like is
    measured on `robustness_passages` of the test; null takes all.
    """

    recipes: list[str] = Field(min_length=1)
    gains: list[str] = []
    resamples: Annotated[int, Field(ge=100)] = 2000
    latency_clips: Count = 20
    reference_seconds: Positive = 10.0
    robustness_passages: Count | None = None
    limits: Limits | None = None


class TaskRules(NamedTuple):
    """What a task asks of the other choices of its track."""

    items: type[Section]  # the section `fewshot`
    reads: bool  # whether teacher and student read texts
    ordered: bool = False  # whether an answer follows the frames, one after the other


TASKS = {
    "choice": TaskRules(FewShot, reads=True),
    "classes": TaskRules(Labels, reads=False),
    "transcript": TaskRules(Transcripts, reads=False, ordered=True),
}
FRAME_STUDENTS = ("bilstm", "conformer", "convnext")
_OF_FRAMES_ALONE = ("conformer", "convnext")


def either(names: Sequence[str]) -> str:
    """Return names as a choice: "a, b or c"."""
    return f"{', '.join(names[:-1])} or {names[-1]}"


class Track(Section):
    """One row of choices; the stages are the same for all. `task` is one of `TASKS`."""

    task: str
    corpus: Corpus
    features: Features
    views: Views = Views()
    fewshot: Annotated[FewShot | Labels | Transcripts, Field(discriminator="source")]
    pretrain: Pretrain
    cache: Cache
    student: Student
    distill: Distill
    quantize: Quantize
    evaluate: Evaluate

    @model_validator(mode="after")
    def _task_agrees(self) -> "Track":
        if self.task not in TASKS:
            raise ValueError(f"task={self.task!r} must be one of {', '.join(TASKS)}")
        rules = TASKS[self.task]
        if not isinstance(self.fewshot, rules.items):
            source = self.fewshot.source
            raise ValueError(f"fewshot.source={source!r} does not go with task={self.task!r}")
        if rules.ordered and self.student.name not in FRAME_STUDENTS:
            raise ValueError(
                f"student.name={self.student.name!r} must be {either(FRAME_STUDENTS)}: every frame "
                "counts"
            )
        if not rules.ordered and self.student.name in _OF_FRAMES_ALONE:
            raise ValueError(
                f"student.name={self.student.name!r} does not go with task={self.task!r}"
            )
        if (text_of(self.student) is not None) != rules.reads:
            raise ValueError(reading_error("student", self.task))
        if not rules.ordered and getattr(self.student, "languages", None):
            raise ValueError(
                f"student.languages={self.student.languages} does not go with task={self.task!r}"
            )
        if rules.ordered and self.cache.layered:
            raise ValueError(f"cache.layered does not go with task={self.task!r}")
        return self


def reading_error(part: str, task: str) -> str:
    """Return the line for a part that reads texts where its task has none, or the reverse."""
    readers = [name for name, rules in TASKS.items() if rules.reads]
    return f"{part}.text must be given exactly where options are read: task={task!r}, not {readers}"
