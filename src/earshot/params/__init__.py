"""Typed, frozen, strict parameters: what `params.yaml` may say.

Every key is declared here once, with its range. An unknown key, a wrong type or an impossible value
raises ParameterError: one line that names the key, the value and what is allowed.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from earshot.params.data import (
    TAU2022,
    CommonVoice,
    Corpus,
    Download,
    Features,
    FewShot,
    Labels,
    LibriSpeech,
    LibriSpeechDownload,
    Manifest,
    Pool,
    SyntheticScenes,
    SyntheticSpeech,
    TAU2022Download,
    Views,
)
from earshot.params.experiments import Guard, Range, Search, Sweep
from earshot.params.models import (
    BiLSTM,
    Cache,
    CPMobile,
    CTCPretrain,
    HubertPretrain,
    Iteration,
    MobileNet,
    Pretrain,
    Student,
    Teacher,
    Text,
)
from earshot.params.recipes import (
    KD,
    QAT,
    Augment,
    CrossEntropy,
    FeatureMSE,
    Front,
    Layered,
    Masks,
    MixStyle,
    Recipe,
    Terms,
)
from earshot.params.section import Count, Positive, Section, Split


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names key, value and allowed range."""


class Distill(Section):
    """The training loop shared by all recipes of a track."""

    seeds: Count = 4
    batch: Count = 16
    learning_rate: Positive = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"


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
    """Recipes compared, the gains printed (`a_vs_b`), and how intervals and latency are measured.

    A student above `limits` fails the stage; null switches the gate off. MACs and latency are of
    one clip of `reference_seconds`.
    """

    recipes: list[str] = Field(min_length=1)
    gains: list[str] = []
    resamples: Annotated[int, Field(ge=100)] = 2000
    latency_clips: Count = 20
    reference_seconds: Positive = 10.0
    limits: Limits | None = None


class Track(Section):
    """One row of choices; the stages are the same for all. `choice` reads options, `classes` has
    fixed labels.
    """

    task: Literal["choice", "classes"]
    corpus: Corpus
    features: Features
    views: Views = Views()
    fewshot: Annotated[FewShot | Labels, Field(discriminator="source")]
    pretrain: Pretrain
    teacher: Teacher
    cache: Cache
    student: Student
    distill: Distill
    quantize: Quantize
    evaluate: Evaluate

    @model_validator(mode="after")
    def _task_agrees(self) -> "Track":
        choice = self.task == "choice"
        if isinstance(self.fewshot, FewShot) != choice:
            raise ValueError(
                f"fewshot.source={self.fewshot.source!r} does not go with task={self.task!r}"
            )
        for part in ("teacher", "student"):
            if (getattr(getattr(self, part), "text", None) is not None) != choice:
                raise ValueError(
                    f"{part}.text must be given exactly when task is 'choice': only options are read"
                )
        if choice and self.teacher.auxiliary:
            raise ValueError(
                "teacher.auxiliary needs task 'classes': the heads of layers read no options"
            )
        if self.cache.layered and not self.teacher.auxiliary:
            raise ValueError(
                "cache.layered needs teacher.auxiliary: the heads whose answers it keeps"
            )
        return self


class Params(Section):
    """The whole of params.yaml.

    `engine` is who computes features and the teacher's answers; it changes no result. No stage
    reads `sweep`, `search` and `guard`.
    """

    seed: Annotated[int, Field(ge=0)]
    engine: Literal["local", "ray"] = "local"
    tracks: dict[str, Track] = Field(min_length=1)
    recipes: dict[str, Recipe] = Field(min_length=1)
    sweep: Sweep | None = None
    search: Search | None = None
    guard: Guard = {}

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        for key, recipe in self.recipes.items():
            if recipe.track not in self.tracks or not key.startswith(f"{recipe.track}-"):
                raise ValueError(
                    f"recipes.{key}: track={recipe.track!r} must be one of {sorted(self.tracks)} and begin the key"
                )
        for name, track in self.tracks.items():
            listed, defined = (
                set(track.evaluate.recipes),
                {k.removeprefix(f"{name}-") for k, r in self.recipes.items() if r.track == name},
            )
            if listed != defined:
                raise ValueError(
                    f"tracks.{name}.evaluate.recipes={sorted(listed)} must be the recipes of the track: {sorted(defined)}"
                )
            models = sorted(
                defined | {"teacher"} | ({"teacher_scratch"} if track.teacher.control else set())
            )
            for gain in track.evaluate.gains:
                if not set(gain.split("_vs_")) <= set(models) or gain.count("_vs_") != 1:
                    raise ValueError(
                        f"tracks.{name}.evaluate.gains: {gain!r} must be A_vs_B with A, B in {models}"
                    )
            self._recipes_fit(name, track)
            corpus = track.corpus
            if isinstance(
                corpus, SyntheticSpeech
            ) and track.fewshot.questions > corpus.passages.get("fewshot", 0):
                raise ValueError(
                    f"tracks.{name}.fewshot.questions={track.fewshot.questions} must be at most the few-shot passages, "
                    f"tracks.{name}.corpus.passages.fewshot={corpus.passages.get('fewshot', 0)}"
                )
        for name in ("sweep", "search"):
            section = getattr(self, name)
            if section and section.recipe not in self.recipes:
                raise ValueError(
                    f"{name}.recipe={section.recipe!r} must be one of {sorted(self.recipes)}"
                )
        return self

    def _recipes_fit(self, name: str, track: Track) -> None:
        for key, recipe in self.recipes.items():
            if recipe.track != name:
                continue
            if (recipe.terms.front or recipe.terms.layered) and not track.cache.layered:
                raise ValueError(
                    f"recipes.{key}.terms: front and layered need tracks.{name}.cache.layered=true"
                )
            if recipe.qat and isinstance(track.student, BiLSTM):
                raise ValueError(
                    f"recipes.{key}.qat: a bilstm is quantized dynamically; leave qat out"
                )


# What tells one kind of section from another stands in its key's place in pydantic's errors, not in
# params.yaml.
_KINDS = {"synthetic_speech", "librispeech", "common_voice", "synthetic_scenes", "tau2022", "manifest", "ctc", "hubert"} | {
    "generated", "authored", "librisqa", "labels", "bilstm", "mobilenet", "cp_mobile"
}  # fmt: skip


def parse(content: dict[str, Any]) -> Params:
    """Check the content of params.yaml; raise ParameterError with one line per offence joined by ';
    '.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParameterError("; ".join(map(_line, error.errors()))) from None


def _line(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"] if part not in _KINDS)
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"params.yaml: {key} is missing"
    if error["type"] == "extra_forbidden":
        return f"params.yaml: {key}={error['input']!r}: no such parameter"
    value = "" if isinstance(error["input"], (dict, BaseModel)) else f"={error['input']!r}"
    return f"params.yaml: {key}{value}: {message}" if key else f"params.yaml: {message}"
