"""The terms that a recipe may minimise, each with what it needs beside the student's output.

N items, C options or classes, B passages, L teacher layers, S student stages. Listening: eq. (9),
CE, KD and features. Scenes: eq. (19), front end, layers and CE. Transcripts: N items about a clip
each, T frames of the student, U of the teacher, V symbols; (1−α)·ctc + α·frames is the small
recogniser's paper, whose α is 0.5.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from earshot.models import accelerator
from earshot.models.heads import inside, masked_mean
from earshot.tables.items import Item
from earshot.tables.signals import Averaged, Signals
from earshot.tasks.task import Task
from earshot.training import losses, routing
from earshot.training.batches import Batch
from earshot.training.output import Output


class Setting(NamedTuple):
    """What terms take their sizes from."""

    task: Task
    student: nn.Module
    example: Batch  # with the teacher's signals
    widths: list[int]  # of the student's layers, the lowest first
    mean_frame: torch.Tensor | None  # (D,) mean of the teacher's front-end frames
    seed: int
    kept: Sequence[int] = ()  # layers whose states the teacher's cache holds, from the top


class Term(nn.Module):
    """A row of `TERMS`: `params` are its section of the recipe. Its own layers train and are
    dropped.
    """

    needs: ClassVar[tuple[str, ...]] = ()  # signals of the teacher
    per: ClassVar[str] = "items"  # what it is the mean over: items, labelled items or frames

    def __init__(self, params: Any, setting: Setting):
        super().__init__()
        self.params, self.task = params, setting.task

    def check(self, signals: Signals | Averaged, items: Sequence[Item]) -> None:
        """Raise ValueError where nothing can be learned from the items."""

    def start(self, step: int) -> None:
        """Note how many steps were taken before the next one with this term."""

    def forward(self, output: Output, batch: Batch) -> torch.Tensor:
        """Return the term, unweighted: a scalar."""
        raise NotImplementedError


class HardLabels(Term):
    """Cross-entropy, CTC, or whatever the task minimises on labelled items, eq. (6)."""

    per = "labelled"

    def forward(self, output: Output, batch: Batch) -> torch.Tensor:
        return self.task.loss(output, batch)


class SoftLabels(Term):
    """The teacher's logits at a temperature, eqs. (4)–(5)."""

    needs = ("logits",)

    def forward(self, output: Output, batch: Batch) -> torch.Tensor:
        student, teacher = output.logits["answers"], batch.signals["logits"]  # (N, C)
        return losses.kd(student, teacher, self.params.temperature)


class Features(Term):
    """Pooled teacher vectors against the student's, through a projection, eq. (8)."""

    needs = ("hidden",)

    def __init__(self, params: Any, setting: Setting):
        super().__init__(params, setting)
        teacher_width = setting.example.signals["hidden"].shape[1]
        self.project = nn.Linear(setting.student.width, teacher_width)

    def forward(self, output: Output, batch: Batch) -> torch.Tensor:
        projected = self.project(output.pooled)  # (N, D)
        return losses.feature_mse(projected, batch.signals["hidden"])


class FrontEnd(Term):
    """The student's lowest layer against the teacher's front end, scenes eqs. (14)–(15)."""

    needs = ("front",)
    per = "frames"

    def __init__(self, params: Any, setting: Setting):
        super().__init__(params, setting)
        self.stride, width = setting.student.strides[0], setting.widths[0]
        self.adapt = nn.Linear(width, width)  # a rectified stem cannot point where frames do
        weight, bias = losses.fixed_projection(setting.mean_frame, width, setting.seed)
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, output: Output, batch: Batch) -> torch.Tensor:
        return losses.front_alignment(
            self.adapt(output.layers[0]),  # (B, T, D)
            batch.signals["front"],  # (B, U, E)
            self.weight,
            self.bias,
            stage_lengths(batch.lengths, self.stride),
            batch.signals["front_lengths"],
        )


class Layered(Term):
    """Every stage learns from the teacher layers most like it, scenes eqs. (16)–(17)."""

    needs = ("logits", "layer_logits", "attention")

    def __init__(self, params: Any, setting: Setting):
        super().__init__(params, setting)
        known = setting.example.signals["layer_logits"].shape[1]
        if max(params.layers or [], default=0) > known:
            raise ValueError(
                f"terms.layered.layers={params.layers} must be at most {known}, "
                "the layers of the teacher"
            )
        self.strides = setting.student.strides[1:]
        classes = setting.example.signals["logits"].shape[1]
        # The last stage's logits are the student's own.
        self.heads = nn.ModuleList(nn.Linear(width, classes) for width in setting.widths[1:-1])
        self.step = 0
        self.similarity: torch.Tensor | None = None  # (S, L)
        self.routes: torch.Tensor | None = None  # (S, K), from 0

    def start(self, step: int) -> None:
        self.step = step

    def forward(self, output: Output, batch: Batch) -> torch.Tensor:
        params = self.params
        temperature = losses.temperature(self.step, params.t_max, params.t_min, params.beta)
        self.step += 1
        layer_logits = batch.signals["layer_logits"]  # (N, L, C)
        stages = self._stage_logits(output, batch)
        return losses.layered_kd(stages, layer_logits, self.routes, temperature)

    def _stage_logits(self, output: Output, batch: Batch) -> list[torch.Tensor]:
        """Return logits `(N, C)` of each stage behind the front end."""
        logits = []
        inner = zip(self.heads, output.layers[1:-1], self.strides[:-1], strict=True)
        for head, stage, stride in inner:
            pooled = masked_mean(stage, stage_lengths(batch.lengths, stride))  # (B, D)
            logits.append(head(pooled[batch.passage]))
        return [*logits, output.logits["answers"]]

    def route(self, student: nn.Module, batches: Iterable[Batch]) -> None:
        """Choose each stage's layers by attention over `batches`; the student is left in eval mode.

        Layers given in the parameters stay as they are; similarity is measured all the same.
        """
        self.similarity = similarity(student.eval(), self.strides, batches)
        if self.params.layers is None:
            self.routes = routing.top(self.similarity, self.params.top)
        else:
            layers = torch.tensor(self.params.layers) - 1
            self.routes = layers.expand(len(self.similarity), -1)

    def chosen(self) -> dict[str, Any]:
        """Return similarity `S × L` and the layers chosen for each stage, counted from 1."""
        return {"similarity": self.similarity.tolist(), "chosen": (self.routes + 1).tolist()}


DISTANCES = {"kl": losses.frame_kl, "mse": losses.logit_mse}  # of posteriors, frame by frame


class Frames(Term):
    """The teacher's posteriors at the frames that are chosen, at the student's rate.

    Of a teacher with its own alphabet, students learn these symbols alone: others are left out
    of their softmax.
    """

    needs = ("posteriors",)
    per = "frames"

    def forward(self, output: Output, batch: Batch) -> torch.Tensor:
        taught = batch.signals["posteriors_lengths"] > 0  # (N,)
        if not taught.any():
            return 0 * output.logits["frames"].sum()
        student, counts = (output.logits[name][taught] for name in ("frames", "frame_counts"))
        teacher, lengths = (batch.signals[f"posteriors{end}"][taught] for end in ("", "_lengths"))
        targets = losses.at_rate(teacher, lengths, student.shape[1], counts)  # (N, T, V)
        real = inside(counts, student.shape[1])
        kept = losses.spoken(targets, real, self.neighbours)
        return DISTANCES[self.params.distance](student, targets, kept)

    @property
    def neighbours(self) -> int | None:
        """How many frames on both sides of a symbol count; None where all frames do."""
        return {"all": None, "nonblank": 0, "symmetric": self.params.around}[self.params.select]


class LayerPairs(Term):
    """Kept layers of the teacher against layers of the student, the teacher's frames stretched
    linearly to the student's; the mean over pairs of λ times their distance.
    """

    needs = ("states",)
    per = "frames"

    def __init__(self, params: Any, setting: Setting):
        super().__init__(params, setting)
        self.width = setting.example.signals["states"].shape[2] // len(setting.kept)
        self.places = [setting.kept.index(pair.teacher) for pair in params.pairs]
        self.layers = [pair.student - 1 for pair in params.pairs]
        self.strides = [setting.student.strides[layer] for layer in self.layers]

    def read(self, pair: int, frames: torch.Tensor) -> torch.Tensor:
        """Return the frames `(B, T, D)` of a student's layer as a pair compares them."""
        return frames

    def distance(
        self, student: torch.Tensor, teacher: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        """Return how far frames are from one another, of which some are real `(N, T)`."""
        raise NotImplementedError

    def forward(self, output: Output, batch: Batch) -> torch.Tensor:
        taught = batch.signals["states_lengths"] > 0  # (N,)
        if not taught.any():
            return 0 * output.pooled.sum()
        states, lengths = (batch.signals[f"states{end}"][taught] for end in ("", "_lengths"))
        of_layers = states.unflatten(2, (-1, self.width))  # (N, U, kept, D)
        distances = []
        pairs = zip(self.places, self.layers, self.strides, strict=True)
        for pair, (place, layer, stride) in enumerate(pairs):
            student = self.read(pair, output.layers[layer])[batch.passage][taught]  # (N, T, D)
            counts = stage_lengths(batch.lengths, stride)[batch.passage][taught]
            size = student.shape[1]
            teacher = losses.resample(of_layers[:, :, place], lengths, size, counts)
            distances.append(self.distance(student, teacher, inside(counts, size)))
        weights = [pair.weight for pair in self.params.pairs]
        weighted = zip(weights, distances, strict=True)
        return torch.stack([weight * distance for weight, distance in weighted]).mean()


class Hidden(LayerPairs):
    """Hidden states alike, eq. (8) frame by frame, each pair through a projection of its own.

    The student is projected, not the teacher, so that projections may be learned: a constant is as
    far from the teacher's frames as their mean is (`losses.fixed_projection`).
    """

    def __init__(self, params: Any, setting: Setting):
        super().__init__(params, setting)
        self.project = nn.ModuleList(
            nn.Linear(setting.widths[layer], self.width) for layer in self.layers
        )

    def read(self, pair: int, frames: torch.Tensor) -> torch.Tensor:
        return self.project[pair](frames)

    distance = staticmethod(losses.frame_mse)


class Attention(LayerPairs):
    """Attention maps alike: which frames of a clip resemble which, whatever the layers' widths."""

    distance = staticmethod(losses.attention_mse)


class Pseudo(Term):
    """CTC on the teacher's own transcripts, of the items on which it is sure enough.

    One that needs more frames than the student has is left out.
    """

    needs = ("confidence", "symbols")

    def check(self, signals: Signals | Averaged, items: Sequence[Item]) -> None:
        least = self.params.confidence
        keys = [("confidence", item.id, 0) for item in items]
        found = np.exp([signals[key].item() for key in keys if key in signals])
        if found.max(initial=0.0) < least:
            raise ValueError(
                f"terms.pseudo.confidence={least}: of none of the {len(found)} transcripts is the "
                f"teacher so sure; half are above {np.median(found):.2f}, the surest has "
                f"{found.max():.2f}"
            )

    def forward(self, output: Output, batch: Batch) -> torch.Tensor:
        signals, counts = batch.signals, output.logits["frame_counts"]
        symbols = signals["symbols"]  # (N, L)
        numbers = (symbols != 0).sum(1)
        sure = signals["confidence"].flatten().exp() >= self.params.confidence  # (N,)
        fits = losses.frames_needed(symbols, numbers) <= counts
        return losses.ctc(output.logits["frames"], counts, symbols, numbers * (sure & fits))


class Language(Term):
    """Which language a clip is in, by the student's language head; a clip whose language is not
    known, or none of the student's, counts for nothing.
    """

    def forward(self, output: Output, batch: Batch) -> torch.Tensor:
        places = {language: place for place, language in enumerate(output.languages)}
        known = [places.get(item.language, losses.UNLABELLED) for item in batch.items]
        logits = output.logits["language"]  # (N, K)
        return losses.cross_entropy(logits, torch.tensor(known, device=logits.device))


@torch.no_grad()
def similarity(student: nn.Module, strides: list[int], batches: Iterable[Batch]) -> torch.Tensor:
    """Return how alike student stages and teacher layers are, `(S, L)`, the mean over items.

    `strides` are those of the stages behind the front end.
    """
    sums, items = 0.0, 0.0
    for batch in batches:
        batch = accelerator.put(batch, accelerator.where(student))
        _, layers = student.encode(batch.sequences, batch.lengths)
        rows = []
        for stage, stride in zip(layers[1:], strides, strict=True):
            maps = routing.attention(stage, stage_lengths(batch.lengths, stride))  # (B, 12, 12)
            alike = routing.similarity([maps[batch.passage]], batch.signals["attention"])  # (1, L)
            rows.append(len(batch.items) * alike[0].cpu())
        sums = sums + torch.stack(rows)
        items += len(batch.items)
    return sums / items


def stage_lengths(lengths: torch.Tensor, stride: int) -> torch.Tensor:
    """Return how many frames of a stage are real, ⌈length / stride⌉, for input lengths `(B,)`."""
    return -(-lengths // stride)


TERMS: dict[str, type[Term]] = {
    "ce": HardLabels,
    "kd": SoftLabels,
    "feature": Features,
    "front": FrontEnd,
    "layered": Layered,
    "ctc": HardLabels,
    "frames": Frames,
    "hidden": Hidden,
    "attention": Attention,
    "pseudo": Pseudo,
    "language": Language,
}
