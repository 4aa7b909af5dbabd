"""What a recipe minimises: the weighted sum of its terms, the teacher's lesson against what the
student made of a batch.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from earshot.models import accelerator
from earshot.models.heads import masked_mean
from earshot.params import Terms
from earshot.training import losses, routing
from earshot.training.batches import Batch
from earshot.training.loop import Heard


class Objective(nn.Module):
    """Σ weight · term, with the layers that terms need beside the student; they are dropped after
    training.

    `example` is a batch with its lesson, from which sizes are taken. `mean_frame` `(D,)` is the
    mean of the teacher's front-end frames. Listening: eq. (9), CE, KD and features. Scenes: eq.
    (19), front end, layers and CE.
    """

    def __init__(
        self,
        terms: Terms,
        student: nn.Module,
        example: Batch,
        mean_frame: torch.Tensor | None,
        steps_per_epoch: int,
        seed: int,
    ):
        super().__init__()
        self.terms = {name: term for name, term in terms if term is not None and term.weight > 0}
        self.project = nn.Linear(student.width, example.lesson.hidden.shape[1])
        self.strides = student.strides
        self.alone = self.terms["front"].alone if "front" in self.terms else 0
        self.steps_alone = self.alone * steps_per_epoch
        self.epoch, self.steps_before = 0, 0
        with torch.no_grad():
            widths = [
                stage.shape[-1]
                for stage in student.eval().encode(example.sequences, example.lengths)[1]
            ]
        if "front" in self.terms:
            # a rectified stem cannot point where the teacher's frames do
            self.adapt = nn.Linear(widths[0], widths[0])
            weight, bias = losses.fixed_projection(mean_frame, widths[0], seed)
            self.register_buffer("front_weight", weight, persistent=False)
            self.register_buffer("front_bias", bias, persistent=False)
        if "layered" in self.terms:
            layers, known = self.terms["layered"].layers or [], example.lesson.layer_logits.shape[1]
            if max(layers, default=0) > known:
                raise ValueError(
                    f"terms.layered.layers={layers} must be at most {known}, the layers of the teacher"
                )
            self.stage_heads = nn.ModuleList(
                nn.Linear(width, example.lesson.logits.shape[1]) for width in widths[1:-1]
            )
        self.similarity: torch.Tensor | None = None  # (S, L)
        self.routes: torch.Tensor | None = None  # (S, K)

    def forward(self, heard: Heard) -> dict[str, torch.Tensor]:
        """Return each term unweighted, and their weighted sum as `loss`; a part of a batch counts
        by its share of it.
        """
        names = ["front"] if self.epoch < self.alone else list(self.terms)
        share = heard.batch.share
        values = {
            name: getattr(share, COUNTED.get(name, "items"))
            * TERMS[name](self, self.terms[name], heard)
            for name in names
        }
        return values | {
            "loss": sum(self.terms[name].weight * value for name, value in values.items())
        }

    def stage_logits(self, heard: Heard) -> list[torch.Tensor]:
        """Return logits `(N, C)` of each stage behind the front end; those of the last are the
        student's own.
        """
        lengths = heard.batch.lengths
        return [
            head(masked_mean(stage, stage_lengths(lengths, stride))[heard.batch.passage])
            for head, stage, stride in zip(
                self.stage_heads, heard.stages[1:-1], self.strides[1:-1], strict=True
            )
        ] + [heard.logits]

    @torch.no_grad()
    def route(self, student: nn.Module, batches: Iterable[Batch]) -> None:
        """Choose the teacher layers of each stage by attention similarity over `batches`, which
        have their lessons.

        Layers given in the parameters stay as they are; similarity is measured all the same, to be
        shown.
        """
        term, student = self.terms["layered"], student.eval()
        own: list[list[torch.Tensor]] = []
        for batch in batches:
            batch = accelerator.put(batch, accelerator.where(student))
            stages = zip(
                student.encode(batch.sequences, batch.lengths)[1][1:], self.strides[1:], strict=True
            )
            maps = [
                routing.attention(stage, stage_lengths(batch.lengths, by))[batch.passage]
                for stage, by in stages
            ]
            own.append(
                [
                    len(batch.items) * routing.similarity([map], batch.lesson.attention)[0].cpu()
                    for map in maps
                ]
            )
            own[-1].append(torch.tensor([float(len(batch.items))]))
        *stages, items = zip(*own, strict=True)
        self.similarity = torch.stack([sum(stage) for stage in stages]) / sum(items)
        if term.layers is None:
            self.routes = routing.top(self.similarity, term.top)
        else:
            self.routes = (torch.tensor(term.layers) - 1).expand(len(self.similarity), -1)

    def routing(self) -> dict[str, Any]:
        """Return similarity `S × L` and the layers chosen for each stage, counted from 1."""
        return {"similarity": self.similarity.tolist(), "chosen": (self.routes + 1).tolist()}


def stage_lengths(lengths: torch.Tensor, stride: int) -> torch.Tensor:
    """Return how many of a stage's frames are real, of clips of `lengths` `(B,)` input frames:
    ⌈length / stride⌉.
    """
    return -(-lengths // stride)


def _ce(objective: Objective, term: Any, heard: Heard) -> torch.Tensor:
    return losses.cross_entropy(heard.logits, heard.batch.answers)


def _kd(objective: Objective, term: Any, heard: Heard) -> torch.Tensor:
    return losses.kd(heard.logits, heard.batch.lesson.logits, term.temperature)


def _feature(objective: Objective, term: Any, heard: Heard) -> torch.Tensor:
    return losses.feature_mse(objective.project(heard.pooled), heard.batch.lesson.hidden)


def _front(objective: Objective, term: Any, heard: Heard) -> torch.Tensor:
    stage, lesson = heard.stages[0], heard.batch.lesson
    lengths = stage_lengths(heard.batch.lengths, objective.strides[0])
    weight, bias = objective.front_weight, objective.front_bias
    return losses.front_alignment(
        objective.adapt(stage), lesson.frames, weight, bias, lengths, lesson.frame_lengths
    )


def _layered(objective: Objective, term: Any, heard: Heard) -> torch.Tensor:
    step = objective.steps_before + heard.step - objective.steps_alone
    temperature = losses.temperature(step, term.t_max, term.t_min, term.beta)
    return losses.layered_kd(
        objective.stage_logits(heard),
        heard.batch.lesson.layer_logits,
        objective.routes,
        temperature,
    )


# what a term is the mean over; of the others it is items
COUNTED = {"ce": "labelled", "front": "frames"}

# One row per term: (objective, the term's parameters, what the student made of a batch) → scalar.
TERMS: dict[str, Callable[[Objective, Any, Heard], torch.Tensor]] = {
    "ce": _ce,
    "kd": _kd,
    "feature": _feature,
    "front": _front,
    "layered": _layered,
}
