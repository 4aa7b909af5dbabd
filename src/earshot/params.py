"""Typed, frozen, strict parameters: what `params.yaml` may say.

Every key is declared here once, with its range. An unknown key, a wrong type or an impossible value raises
ParameterError: one line that names the key, the value and what is allowed.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Split = Literal["teacher", "pool", "fewshot", "validation", "test"]


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names key, value and allowed range."""


class Section(BaseModel):
    """A block of params.yaml: unknown keys and changes of type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SyntheticSpeech(Section):
    """The embedded corpus: passages per split, each few-shot passage told several times over."""

    name: Literal["synthetic_speech"]
    passages: dict[Split, Count]
    fewshot_retellings: Count = 12


class LibriSpeech(Section):
    """A folder in LibriSpeech's layout; `splits` maps a path prefix (`dev-clean`, `test-other/367`) to a split or `auto`.

    The longest prefix wins. Speakers under `auto` are dealt out to the splits in the shares of `auto`.
    """

    name: Literal["librispeech"]
    root: str
    splits: dict[str, Literal["teacher", "pool", "fewshot", "validation", "test", "auto"]] = Field(min_length=1)
    auto: dict[Split, Positive] = {"teacher": 0.4, "pool": 0.35, "fewshot": 0.05, "validation": 0.05, "test": 0.15}


class Manifest(Section):
    """The user's own CSV or Parquet with columns path, text or label, speaker, split."""

    name: Literal["manifest"]
    path: str


Corpus = Annotated[SyntheticSpeech | LibriSpeech | Manifest, Field(discriminator="name")]


class Features(Section):
    """Log-mel settings, and what counts as a bad clip."""

    sample_rate: Count = 16_000
    n_fft: Count = 400
    win_length: Count = 400
    hop_length: Count = 160
    window: Literal["hann", "hamming"] = "hann"
    n_mels: Count = 40
    fmin: Weight = 0.0
    fmax: Positive = 8000.0
    norm: Literal["none", "mean", "meanvar"] = "meanvar"
    min_seconds: Positive = 0.2
    min_rms: Positive = 1e-4
    max_bad_share: Share = 0.02

    @model_validator(mode="after")
    def _window_fits(self) -> "Features":
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length={self.win_length} must be at most n_fft={self.n_fft}")
        if not self.fmin < self.fmax <= self.sample_rate / 2:
            raise ValueError(f"fmax={self.fmax} must lie above fmin and at most at sample_rate/2={self.sample_rate / 2}")
        return self


class Pool(Section):
    """Questions asked of unlabelled audio: their options come from the teacher's transcripts, their answer is unknown."""

    questions: Count = 4
    options: Annotated[int, Field(ge=2)] = 8


class FewShot(Section):
    """The 10-question set, and every other item built the same way."""

    source: Literal["generated", "authored"] = "generated"
    authored: str | None = None
    questions: Count = 10
    options: Annotated[int, Field(ge=2, le=9)] = 3
    skills: list[Literal["detail", "main_idea", "inference"]] = Field(["detail", "main_idea", "inference"], min_length=1)
    details_per_passage: Count = 2
    teacher_rounds: Count = 1
    passage_seconds: Positive = 60.0
    paper_share: Share = 0.34
    pool: Pool = Pool()

    @model_validator(mode="after")
    def _authored_has_file(self) -> "FewShot":
        if (self.source == "authored") != (self.authored is not None):
            raise ValueError("authored must name a YAML file exactly when source is 'authored'")
        return self


class Text(Section):
    """The hashed text encoder of questions and options."""

    buckets: Annotated[int, Field(ge=16)] = 4096
    dim: Count = 64


class Pretrain(Section):
    """The small wav2vec 2.0 checkpoint made from scratch, with CTC on the letters of spoken passages."""

    passages: Count
    hidden: Count
    layers: Count
    heads: Count
    steps: Count
    batch_clips: Count
    learning_rate: Positive


class Teacher(Section):
    """Checkpoint (local folder or hub id with a pinned revision) and how its top is fine-tuned."""

    checkpoint: str
    revision: str | None = None
    tuned_layers: Annotated[int, Field(ge=0)] = 2
    epochs: Count
    batch_passages: Count = 16
    learning_rate: Positive = 5e-4
    text: Text = Text()


class Cache(Section):
    """Which pooled teacher layers are kept (counted from the top: 0 is the last), and items per part."""

    layers: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    part_passages: Count = 256


class BiLSTM(Section):
    """Two bidirectional layers over stacked mel frames; hidden 512 without stacking is the paper's student."""

    name: Literal["bilstm"]
    hidden: Count = 96
    layers: Count = 2
    stack: Annotated[int, Field(ge=1, le=8)] = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    text: Text = Text()


class Distill(Section):
    """The training loop shared by all recipes of a track."""

    seeds: Count = 4
    batch_passages: Count = 16
    learning_rate: Positive = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"


class Quantize(Section):
    """Clips compared between PyTorch, float ONNX and int8 ONNX."""

    agreement_items: Count = 60


class Evaluate(Section):
    """Recipes compared, the gains printed (`a_vs_b`), and how intervals and latency are measured."""

    recipes: list[str] = Field(min_length=1)
    gains: list[str] = []
    resamples: Annotated[int, Field(ge=100)] = 2000
    latency_clips: Count = 20


class Track(Section):
    """One row of choices; the stages are the same for all."""

    task: Literal["choice"]
    corpus: Corpus
    features: Features
    fewshot: FewShot
    pretrain: Pretrain
    teacher: Teacher
    cache: Cache
    student: BiLSTM
    distill: Distill
    quantize: Quantize
    evaluate: Evaluate


class CrossEntropy(Section):
    """Hard labels, eq. (6)."""

    weight: Weight


class KD(Section):
    """Soft labels at a temperature, eqs. (4)–(5)."""

    weight: Weight
    temperature: Positive


class FeatureMSE(Section):
    """Pooled teacher vector against the student's, through a projection, eq. (8)."""

    weight: Weight


class Terms(Section):
    """The weighted sum that a recipe minimises, eq. (9); a term left out has weight zero."""

    ce: CrossEntropy | None = None
    kd: KD | None = None
    feature: FeatureMSE | None = None

    @model_validator(mode="after")
    def _some_weight(self) -> "Terms":
        if not any(term.weight > 0 for _, term in self if term is not None):
            raise ValueError("all weights are zero; at least one term needs a weight > 0")
        return self


class Recipe(Section):
    """One way to train a track's student: on which items, with which terms, for how long."""

    track: str
    data: list[Literal["fewshot", "pool"]] = Field(min_length=1)
    epochs: Count
    terms: Terms

    @model_validator(mode="after")
    def _pool_needs_teacher(self) -> "Recipe":
        if self.data == ["pool"] and not (self.terms.kd or self.terms.feature):
            raise ValueError("data=['pool'] has no labels; the recipe needs the term kd or feature")
        return self


class Params(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    tracks: dict[str, Track] = Field(min_length=1)
    recipes: dict[str, Recipe] = Field(min_length=1)

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
            for gain in track.evaluate.gains:
                if not set(gain.split("_vs_")) <= defined | {"teacher"} or gain.count("_vs_") != 1:
                    raise ValueError(
                        f"tracks.{name}.evaluate.gains: {gain!r} must be A_vs_B with A, B in {sorted(defined | {'teacher'})}"
                    )
            corpus = track.corpus
            if isinstance(corpus, SyntheticSpeech) and track.fewshot.questions > corpus.passages.get("fewshot", 0):
                raise ValueError(
                    f"tracks.{name}.fewshot.questions={track.fewshot.questions} must be at most the few-shot passages, "
                    f"tracks.{name}.corpus.passages.fewshot={corpus.passages.get('fewshot', 0)}"
                )
        return self


def parse(content: dict[str, Any]) -> Params:
    """Check the content of params.yaml; raise ParameterError with one line per offence joined by '; '."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParameterError("; ".join(map(_line, error.errors()))) from None


def _line(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"params.yaml: {key} is missing"
    if error["type"] == "extra_forbidden":
        return f"params.yaml: {key}={error['input']!r}: no such parameter"
    value = "" if isinstance(error["input"], (dict, BaseModel)) else f"={error['input']!r}"
    return f"params.yaml: {key}{value}: {message}" if key else f"params.yaml: {message}"
