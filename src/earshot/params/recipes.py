"""How a student learns: the terms it minimises, its input, for how long."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from earshot.params.section import Count, Positive, Section, Share, Weight


class CrossEntropy(Section):
    """Hard labels, eq. (6)."""

    weight: Weight


class KD(Section):
    """Soft labels at a temperature, eqs. (4)–(5)."""

    weight: Weight
    temperature: Positive


class FeatureMSE(Section):
    """Pooled teacher vector against the student's, through a projection, eq. (8).

    Also where options weigh the frames it is the plain mean of them: that is one vector a passage,
    whatever is asked, where weighed means would be one an option.
    """

    weight: Weight


class Front(Section):
    """Front-end alignment, eqs. (14)–(15) of the scenes paper; `alone` epochs, the first ones,
    train on nothing else.
    """

    weight: Weight
    alone: Annotated[int, Field(ge=0)] = 0


class Layered(Section):
    """Layered distillation, eqs. (16)–(17) of the scenes paper: every student stage learns from
    `top` teacher layers.

    They are chosen by attention similarity, or given as `layers` (1 is the lowest). The temperature
    falls from `t_max` to `t_min` with rate `beta` a step; beta 0 leaves it at t_max.
    """

    weight: Weight
    top: Count = 3
    layers: list[Count] | None = Field(None, min_length=1)
    t_max: Positive = 8.0
    t_min: Positive = 2.0
    beta: Weight = 0.01

    @model_validator(mode="after")
    def _falls(self) -> "Layered":
        if self.t_min > self.t_max:
            raise ValueError(f"t_min={self.t_min} must be at most t_max={self.t_max}")
        return self


class CTC(Section):
    """Transcripts, by connectionist temporal classification."""

    weight: Weight


class Frames(Section):
    """The teacher's posteriors, frame by frame: of `all` frames, of those where it writes a symbol
    (`nonblank`), or of these and `around` neighbours on both sides (`symmetric`). `distance` is
    theirs by `kl`, or that of logits by `mse`.
    """

    weight: Weight
    distance: Literal["kl", "mse"] = "kl"
    select: Literal["all", "nonblank", "symmetric"] = "symmetric"
    around: Count | None = None

    @model_validator(mode="after")
    def _neighbours(self) -> "Frames":
        if (self.select == "symmetric") != (self.around is not None):
            raise ValueError(
                f"around={self.around} must be given exactly where select is 'symmetric'; "
                f"select={self.select!r}"
            )
        return self


class Pair(Section):
    """A kept layer of the teacher, counted from the top as in `cache.layers`, and the layer of the
    student, 1 the lowest, that learns from it; `weight` is its λ in the mean over pairs.
    """

    teacher: Annotated[int, Field(ge=0)]
    student: Count
    weight: Weight = 1.0


class LayerPairs(Section):
    """Kept layers of the teacher against layers of the student, frame by frame: as `hidden`, states
    through a projection; as `attention`, which frames of a clip resemble which.
    """

    weight: Weight
    pairs: list[Pair] = Field(min_length=1)


class Pseudo(Section):
    """The teacher's own transcripts as CTC targets, of clips on which it is sure enough: the
    geometric mean over frames of its best symbol's probability, of a teacher that writes token by
    token that over its tokens, is at least `confidence`.
    """

    weight: Weight
    confidence: Share = 0.0


class Language(Section):
    """Which language a clip is in, by cross-entropy, of clips whose language the student knows."""

    weight: Weight


class Terms(Section):
    """The weighted sum that a recipe minimises; a term left out has weight zero."""

    ce: CrossEntropy | None = None
    kd: KD | None = None
    feature: FeatureMSE | None = None
    front: Front | None = None
    layered: Layered | None = None
    ctc: CTC | None = None
    frames: Frames | None = None
    hidden: LayerPairs | None = None
    attention: LayerPairs | None = None
    pseudo: Pseudo | None = None
    language: Language | None = None

    @model_validator(mode="after")
    def _some_weight(self) -> "Terms":
        if not any(term.weight > 0 for _, term in self if term is not None):
            raise ValueError("all weights are zero; at least one term needs a weight > 0")
        return self


class MixStyle(Section):
    """Freq-MixStyle on a share `p` of the batches; mixing weights are Beta(alpha, alpha)."""

    p: Share
    alpha: Positive = 0.3


class Roll(Section):
    """A share `p` of the clips rolled over time by up to `frames` to either side: what leaves at
    one end comes in at the other.
    """

    p: Share = 1.0
    frames: Count


class Mixup(Section):
    """A share `p` of the clips mixed with another of the batch: power spectra, labels and the
    teacher's signals; weights are Beta(alpha, alpha).
    """

    p: Share
    alpha: Positive = 0.3


class Masks(Section):
    """SpecAugment on a share `p` of the clips: the widest time mask (frames) and frequency mask
    (mel bands), one of each per clip.
    """

    p: Share = 1.0
    time: Annotated[int, Field(ge=0)] = 0
    frequency: Annotated[int, Field(ge=0)] = 0


class Warp(Section):
    """A share `p` of the clips with their mel axis stretched or shrunk by up to `by`, as a shorter
    or longer vocal tract would.
    """

    p: Share = 1.0
    by: Annotated[float, Field(gt=0, lt=0.5)] = 0.1


class Augment(Section):
    """What a student trains on beside clean clips: the device views (ADIR), and changes made batch
    by batch, in this order; what is null changes nothing.
    """

    views: bool = True
    roll: Roll | None = None
    mixup: Mixup | None = None
    mixstyle: MixStyle | None = None
    warp: Warp | None = None
    masks: Masks | None = None


class Budget(Section):
    """How long to train: for `epochs`, passes over the items, or for `steps`, updates, so that few
    labels get as many as many. One of the two is given.
    """

    epochs: Count | None = None
    steps: Count | None = None

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                f"epochs={self.epochs} and steps={self.steps}: give one of the two, null the other"
            )
        return self

    def updates(self, per_epoch: int) -> int:
        """Return the updates of a budget when a pass takes `per_epoch` of them."""
        return self.steps or self.epochs * per_epoch


class QAT(Budget):
    """Training with simulated 8-bit weights and activations, after the budget in float."""

    learning_rate: Positive = 1e-4


class Prune(Budget):
    """A share of the student's units taken out behind the recipe's budget, and training onwards,
    as before and under a schedule of its own.
    """

    share: Annotated[float, Field(gt=0, lt=1)]


class Adapt(Budget):
    """Training onwards behind the recipe's budget, with terms of its own, on items of its own; null
    takes those of before.
    """

    learning_rate: Positive
    terms: Terms
    data: list[Literal["fewshot", "pool"]] | None = Field(None, min_length=1)


class Devices(Budget):
    """A model for each device that the labelled clips have, where the device is known when a clip
    comes (DCASE 2025, task 1): behind the recipe's budget a copy of the student is trained onwards
    on that device's clips, its norms, biases and head alone.
    """

    learning_rate: Positive = 3e-4


# Terms that learn from labels alone, and those that several teachers' mean can teach. Any other
# learns from the one teacher that has what it reads.
LABELS, AVERAGED = {"ce", "ctc", "language"}, {"kd"}
# Those from which a whole student learns without labels.
WHOLE = ("frames", "pseudo", "kd", "feature", "layered")


def needs_of(teachers: Sequence[str]) -> str:
    """Return what DVC must have ready, below the track's data, for students of these teachers.

    dvc.yaml takes in no lists. So of one teacher it is the cache, of several the caches of all
    that the track has, and of none a file that is there long before.
    """
    names = {0: "inputs/named.json", 1: "cache/" + "".join(teachers)}
    return names.get(len(teachers), "cache")


class Recipe(Budget):
    """One way to train a track's student: on which items, with which terms, for how long.

    `teachers` names those that its terms learn from: none, or several, whose logits are averaged.
    `needs` is what follows from that for DVC (`needs_of`), which reads it in params.yaml: there it
    must stand. A language of n hours has a share of the training in proportion to n^`balance`: 0
    takes as much of each, 1 or null every clip once an epoch.
    """

    track: str
    teachers: list[str] = []
    needs: str | None = None
    data: list[Literal["fewshot", "pool"]] = Field(min_length=1)
    terms: Terms
    augment: Augment = Augment()
    qat: QAT | None = None
    prune: Prune | None = None
    adapt: Adapt | None = None
    devices: Devices | None = None
    balance: Share | None = None

    def phases(self) -> dict[str, Terms]:
        """Return the terms of each phase, by their key."""
        return {"terms": self.terms} | ({"adapt.terms": self.adapt.terms} if self.adapt else {})

    def taught(self) -> list[str]:
        """Return the terms that learn from a teacher, of all phases."""
        there = {
            name: None
            for terms in self.phases().values()
            for name, term in terms
            if term is not None and name not in LABELS
        }
        return list(there)

    def roles(self) -> list[str]:
        """Return which items any phase trains on."""
        return [*self.data, *((self.adapt and self.adapt.data) or [])]

    @model_validator(mode="after")
    def _pool_needs_teacher(self) -> "Recipe":
        for key, terms in self.phases().items():
            data = (key != "terms" and self.adapt.data) or self.data
            if data == ["pool"] and not any(getattr(terms, name) for name in WHOLE):
                names = f"{', '.join(WHOLE[:-1])} or {WHOLE[-1]}"
                at = key.removesuffix("terms")
                raise ValueError(
                    f"{at}data=['pool'] has no labels; the recipe needs the term {names}"
                )
        later = [name for name in ("qat", "prune", "adapt", "devices") if getattr(self, name)]
        if len(later) > 1:
            raise ValueError(f"{' and '.join(later)}: give one of the two, null the other")
        alone = self.terms.front.alone if self.terms.front else 0
        if alone and self.steps:
            raise ValueError(f"terms.front.alone={alone} counts epochs: give epochs, not steps")
        if self.epochs and alone >= self.epochs:
            raise ValueError(f"terms.front.alone={alone} must be less than epochs={self.epochs}")
        return self
