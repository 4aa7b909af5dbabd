"""Who teaches and who learns: teachers, their cache, students."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from earshot.params.data import Features
from earshot.params.recipes import Augment
from earshot.params.section import Count, Positive, Section, Share, Weight


class Text(Section):
    """How questions and options are read, by hashed words, and what they ask of the frames.

    `version` says what a word is: 1 reads letters and digits alone, 2 their marks, signs and
    numbers too. `pool`: the mean of all frames, eq. (3); `attend`, a mean weighted by what is
    asked; or `match`, where words are vectors among frames and an option counts where it fits
    best. `sharpness` times the scores of those weights, so that few frames soon count.
    """

    version: Literal[1, 2] = 2
    buckets: Annotated[int, Field(ge=16)] = 4096
    dim: Count = 64
    pool: Literal["mean", "attend", "match"] = "mean"
    sharpness: Positive = 1.0


class Teacher(Section):
    """Checkpoint (local folder, or hub id with its commit as `revision`) and how its top is
    fine-tuned.

    `cache` is the folder where checkpoints of the hub are kept; null is the hub client's own
    (`HF_HOME`). `data` names the labelled items it may see; with `epochs` 0 it sees none, and is
    taken as it is. `text` makes it read options; null
    gives it one output per class. `auxiliary` adds a head to every layer, for layered distillation;
    `control` trains the same teacher from random weights. With a `language`, a tag such as `en`, it
    answers for the clips in it alone; a recogniser of many languages is prompted with it, and with
    null predicts one.
    """

    track: str
    checkpoint: str
    revision: str | None = None
    cache: str | None = None
    data: Literal["teacher", "fewshot"] = "teacher"
    tuned_layers: Annotated[int, Field(ge=0)] = 2
    epochs: Annotated[int, Field(ge=0)]
    batch: Count = 16
    learning_rate: Positive = 5e-4
    auxiliary: bool = False
    control: bool = False
    text: Text | None = None
    language: str | None = None

    # What training its top does not vary.
    schedule: ClassVar[str] = "cosine"
    warmup: ClassVar[float] = 0.05
    weight_decay: ClassVar[float] = 0.0
    augment: ClassVar[Augment] = Augment()
    sample_rate: ClassVar[int] = 16_000

    @property
    def processes(self) -> int | None:
        """Return how many share a batch; None for as many as there are. A head alone takes steps
        that cost less than telling another process of them.
        """
        return None if self.tuned_layers else 1

    @property
    def starts(self) -> list[str]:
        """Return what it begins with: a folder, or a hub id."""
        return [self.checkpoint]


def by_language(teachers: Mapping[str, Section], track: str) -> bool:
    """Whether a track has several teachers, of one language each, and no two of the same."""
    spoken = [row.language for row in teachers.values() if row.track == track]
    return len(spoken) > 1 and None not in spoken and len(set(spoken)) == len(spoken)


def teacher_models(teachers: Mapping[str, Section], track: str) -> dict[str, str]:
    """Return what results call the teachers of a track, by key: the first is `teacher`.

    Of several with a language each, `teacher` is all of them together, each answering for its
    language, and every one alone is called by its language.
    """
    keys = [key for key, row in teachers.items() if row.track == track]
    if by_language(teachers, track):
        return {key: f"teacher_{teachers[key].language}" for key in keys}
    return {key: f"teacher_{key}" if place else "teacher" for place, key in enumerate(keys)}


class Cache(Section):
    """Which pooled teacher layers are kept (counted from the top: 0 is the last), and passages per
    part.

    `layered` also keeps what layered distillation reads: the front end's frames, each layer's
    logits and attention map. `states` keeps the layers frame by frame beside their means.
    """

    layers: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    part: Count = 256
    layered: bool = False
    states: bool = False


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError("must be odd: as many frames on both sides")
    return kernel


Kernel = Annotated[int, Field(ge=3), AfterValidator(_odd)]


def remaining(count: int, share: float) -> int:
    """Return how many of `count` units stay where a share is taken out: at least one."""
    return max(1, round(count * (1 - share)))


class Multilingual(Section):
    """What a student that transcribes knows of languages.

    With `languages` it classifies them by its pooled frames; null has no such head. `language` says
    which embedding is added to its input frames: that of the clip's language, as far as known
    (`given`), or of the languages by its own probabilities (`predicted`); null adds none.
    """

    languages: list[str] | None = Field(None, min_length=2)
    language: Literal["given", "predicted"] | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        languages = self.languages or []
        if len(set(languages)) < len(languages):
            raise ValueError(f"languages={languages}: one is there twice")
        if self.language and not languages:
            raise ValueError(
                f"language={self.language!r} needs languages, those that the student classifies"
            )
        return self


class BiLSTM(Multilingual):
    """Bidirectional layers over stacked mel frames; hidden 512 without stacking is the paper's
    student.
    """

    name: Literal["bilstm"]
    hidden: Count = 96
    layers: Count = 2
    stack: Annotated[int, Field(ge=1, le=8)] = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    text: Text | None = None

    def pruned(self, share: float) -> "BiLSTM":
        """Return the parameters of a student without a share of its hidden units."""
        return self.model_copy(update={"hidden": remaining(self.hidden, share)})


class MobileNet(Section):
    """MobileNetV2's inverted residuals behind residual normalisation: a stem, then stages of
    blocks.

    `widths` and `blocks` are the stages' channels and lengths; every stage but the first halves
    time and frequency. `residual` is λ of residual normalisation, `momentum` the weight of a batch
    in the batch norms' running mean (EMA).
    """

    name: Literal["mobilenet"]
    stem: Count = 16
    widths: list[Count] = Field([16, 24, 40], min_length=1)
    blocks: list[Count] = Field([1, 2, 2], min_length=1)
    expansion: Count = 4
    residual: Weight = 0.1
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _stages_agree(self) -> "MobileNet":
        if len(self.widths) != len(self.blocks):
            raise ValueError(
                f"widths={self.widths} and blocks={self.blocks} must be equally long: one "
                "entry a stage"
            )
        return self


class CPMobile(Section):
    """The DCASE 2024 baseline's CP-Mobile; base 32, multiplier 1.8 and expansion 2.1 are its 61,148
    parameters.
    """

    name: Literal["cp_mobile"]
    base_channels: Count = 32
    channels_multiplier: Positive = 1.8
    expansion: Positive = 2.1
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1


class Conformer(Multilingual):
    """Conformer blocks behind convolutions that keep every `stride`-th frame: attention over the
    clip, convolution over `kernel` frames.

    `feed` is how many units its feed-forward layers have, null 4 · width, and `head` how many a
    head of attention, null width / heads.
    """

    name: Literal["conformer"]
    width: Count = 112
    layers: Count = 4
    heads: Count = 4
    kernel: Kernel = 15
    stride: Literal[2, 4] = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    feed: Count | None = None
    head: Count | None = None

    @property
    def feed_units(self) -> int:
        """Return the units of a feed-forward layer."""
        return self.feed or 4 * self.width

    @property
    def head_units(self) -> int:
        """Return the units of a head of attention."""
        return self.head or self.width // self.heads

    def pruned(self, share: float) -> "Conformer":
        """Return the parameters of a student without a share of its feed-forward units and heads;
        the other heads are as wide as before.
        """
        feed, heads = remaining(self.feed_units, share), remaining(self.heads, share)
        return self.model_copy(update={"feed": feed, "heads": heads, "head": self.head_units})

    @model_validator(mode="after")
    def _divides(self) -> "Conformer":
        divided = self.head or self.width % self.heads == 0
        if not divided or self.width % 2:
            raise ValueError(
                f"width={self.width} must be even and a multiple of {self.heads} heads"
            )
        return self


class ConvNeXt(Multilingual):
    """Blocks of a ConvNeXt along time, over stacked mel frames: a convolution of each unit over
    `kernel` stacks, then two layers over units, `feed` between them, null 2 · width.
    """

    name: Literal["convnext"]
    width: Count = 128
    layers: Count = 4
    kernel: Kernel = 15
    stack: Annotated[int, Field(ge=1, le=8)] = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    feed: Count | None = None

    @property
    def units(self) -> int:
        """Return the units between a block's two layers."""
        return self.feed or 2 * self.width

    def pruned(self, share: float) -> "ConvNeXt":
        """Return the parameters of a student without a share of the units between layers."""
        return self.model_copy(update={"feed": remaining(self.units, share)})


Student = Annotated[
    BiLSTM | MobileNet | CPMobile | Conformer | ConvNeXt, Field(discriminator="name")
]


class Image(Section):
    """An image network of the transformers library, EfficientNet or MobileNetV2, with log-mel for a
    picture.

    `checkpoint` is a local folder, or a hub id with its commit as `revision`; without `pretrained`
    it gives the architecture alone. `cache` is the folder of fetched checkpoints, `momentum` the
    weight of a batch in the batch norms' running mean. Big for a device, it only teaches.
    """

    name: Literal["image"]
    checkpoint: str
    revision: str | None = None
    cache: str | None = None
    pretrained: bool = True
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1


class NetworkTeacher(Section):
    """A teacher that is a network on log-mel of its own, any student's or an image network, trained
    on labels as a student is.

    `network` is its section, as `student` of a track; `features` its front end, which need not be
    the students'. It begins at random, or with `weights`, a safetensors file of such a network;
    with `epochs: 0` it stays as it is. `data` names the labelled items it may see, `language` the
    one for whose clips alone it answers. Batch norms want whole batches, so one process trains it.
    """

    track: str
    network: Annotated[BiLSTM | MobileNet | CPMobile | Image, Field(discriminator="name")]
    features: Features
    weights: str | None = None
    data: Literal["teacher", "fewshot"] = "fewshot"
    epochs: Annotated[int, Field(ge=0)]
    batch: Count = 32
    learning_rate: Positive = 3e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: Share = 0.05
    weight_decay: Weight = 0.0
    augment: Augment = Augment()
    language: str | None = None

    # Its stages have no heads of their own, and nothing was pretrained.
    auxiliary: ClassVar[bool] = False
    control: ClassVar[bool] = False
    processes: ClassVar[int | None] = 1

    @property
    def starts(self) -> list[str]:
        """Return the files, folders or hub ids that it begins with."""
        named = (self.weights, getattr(self.network, "checkpoint", None))
        return [one for one in named if one is not None]

    @property
    def sample_rate(self) -> int:
        """Return the rate of the samples that its front end takes, in Hz."""
        return self.features.sample_rate

    @property
    def text(self) -> Text | None:
        """Return how it reads texts; None where it reads none."""
        return text_of(self.network)

    @model_validator(mode="after")
    def _knows_something(self) -> "NetworkTeacher":
        if not self.epochs and self.weights is None:  # a new head at least
            raise ValueError("epochs=0 without weights: it would know nothing; give either")
        return self


TEACHERS = {"checkpoint": Teacher, "network": NetworkTeacher}  # by the key that only they have
TAG = "a teacher with {}"  # stands in pydantic's errors, and is left out of ours


def _kind(row: Any) -> str | None:
    """Return which kind of teacher a row is, by the keys that it has."""
    keys = row if isinstance(row, Mapping) else type(row).model_fields
    return next((TAG.format(key) for key in TEACHERS if key in keys), None)


AnyTeacher = Annotated[
    Annotated[Teacher, Tag(TAG.format("checkpoint"))]
    | Annotated[NetworkTeacher, Tag(TAG.format("network"))],
    Discriminator(
        _kind,
        custom_error_type="teacher",
        custom_error_message=f"one of {' or '.join(TEACHERS)} must be given",
    ),
]


def text_of(student: Student) -> Text | None:
    """Return how a student reads texts; None for one that reads none."""
    return getattr(student, "text", None)
