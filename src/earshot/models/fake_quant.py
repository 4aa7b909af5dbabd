"""Simulated 8-bit arithmetic for convolutional students: what the int8 file will compute, with
gradients.

Weights are int8, symmetric, with a scale per output channel; activations are uint8 with a scale and
a zero point per tensor. They are rounded exactly where the file has its QuantizeLinear; the front
end and the input norm stay in float.
"""

import copy
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from earshot.models import checkpoint
from earshot.models.blocks import (
    AsItIs,
    ConvNorm,
    ConvStudent,
    InputNorm,
    MeanAround,
    MeanOverMap,
    Sum,
    activate,
    hide,
    residual_norm,
)
from earshot.models.cp_mobile import NormedHead
from earshot.models.heads import ClassHead
from earshot.models.students import STUDENTS
from earshot.params import CPMobile, MobileNet
from earshot.tasks.task import Task

# x86 processors without VNNI add two products in 16 bits: 2 · 255 · 64 is what fits
WEIGHT_LIMIT = 64
LEVELS = 255
# so that neither a dead channel nor a silent batch divides by zero
_LEAST_RANGE, _LEAST_SCALE = 1e-6, 1e-6


class RangeError(ValueError):
    """A student whose ranges of activations are not known."""


def is_static(student: nn.Module) -> bool:
    """Return whether a student is quantized with fixed ranges, that is, whether `prepare` takes
    it.
    """
    return isinstance(student, ConvStudent)


def is_prepared(student: nn.Module) -> bool:
    """Return whether a student imitates int8, that is, whether it comes from `prepare`."""
    return bool(_all_rounded(student))


class Rounded(nn.Module):
    """Activations rounded to the 256 levels of a range, which in training follows the extremes of
    batches by EMA.

    The range is the mean over the first 1/`momentum` batches, then each moves it by `momentum`;
    `frozen` holds it. Zero is always a level, so that padding is exact. Behind an activation, which
    has a `ceiling`, the range begins at zero and does not pass the ceiling: clipping to the range
    then is the activation.
    """

    def __init__(self, ceiling: float | None = None, momentum: float = 0.01):
        super().__init__()
        self.ceiling, self.momentum = ceiling, momentum
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def observe(self, values: torch.Tensor) -> None:
        """Move the range towards the extremes of `values`."""
        low, high = values.aminmax()
        share = max(self.momentum, 1 / (int(self.batches) + 1))
        self.low.lerp_(low.clamp(max=0.0), share)
        self.high.lerp_(high.clamp(min=0.0), share)
        if self.ceiling is not None:
            self.low.zero_()
            self.high.clamp_(max=self.ceiling)
        self.batches += 1

    def grid(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scale, float32, and the zero point in 0 … 255, int32."""
        scale = ((self.high - self.low) / LEVELS).clamp(min=_LEAST_RANGE / LEVELS)
        return scale, (-self.low / scale).round().clamp(0, LEVELS).int()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return values of the same shape; the gradient passes where they are within the range."""
        if self.training and not self.frozen:
            self.observe(values)
        return torch.fake_quantize_per_tensor_affine(values, *self.grid(), 0, LEVELS)


def weight_scale(weight: torch.Tensor) -> torch.Tensor:
    """Return the scale `(C,)` of weights `(C, …)`: each channel's largest becomes ±WEIGHT_LIMIT."""
    return (weight.detach().flatten(1).abs().amax(1) / WEIGHT_LIMIT).clamp(min=_LEAST_SCALE)


def rounded_weight(weight: torch.Tensor) -> torch.Tensor:
    """Return weights `(C, …)` rounded to each channel's grid; the gradient passes as if they were
    not.
    """
    scale = weight_scale(weight)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(
        weight, scale, zero, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT
    )


def rounded_bias(bias: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return biases `(C,)` rounded to multiples of scales `(C,)`; the gradient passes as if they
    were not.
    """
    return bias + ((bias / scale).round() * scale - bias).detach()


def folded(weight: torch.Tensor, norm: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    """Return weight `(C, …)` and bias `(C,)` that do what weights and a batch norm with its running
    moments did.
    """
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    bias = norm.bias - norm.running_mean * scale
    scaled = (weight.transpose(0, -1) * scale).transpose(0, -1)  # (C, …)
    return nn.Parameter(scaled.detach().clone()), nn.Parameter(bias.detach())


class FoldedInputNorm(nn.Module):
    """InputNorm with the batch norm as one factor and one offset per band."""

    def __init__(self, norm: InputNorm):
        super().__init__()
        self.scale, self.shift = folded(torch.ones_like(norm.bands.weight), norm.bands)
        self.residual = norm.residual

    def forward(self, mel: torch.Tensor, inside: torch.Tensor | None) -> torch.Tensor:
        return hide(residual_norm(mel * self.scale + self.shift, self.residual, inside), inside)


class _Weighted(nn.Module):
    """A folded layer with weight `(C, …)` and bias `(C,)`.

    They are rounded when the layer knows the range of its input: integer sums have the scale of
    input times weight, and a bias is added to them.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    _input: tuple[Rounded, ...] = ()  # in a tuple: as a submodule it would be saved twice

    @property
    def input_range(self) -> Rounded | None:
        """The range that its input was rounded to, which belongs to the part before."""
        return self._input[0] if self._input else None

    def set_input_range(self, rounded: Rounded) -> None:
        """Round weight and bias from now on, for inputs of this range."""
        self._input = (rounded,)

    def rounded_weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight and bias as they are used."""
        if self.input_range is None:
            return self.weight, self.bias
        return rounded_weight(self.weight), rounded_bias(self.bias, self.bias_scale())

    def bias_scale(self) -> torch.Tensor:
        """Return the scale `(C,)` of the bias."""
        scale, _ = self.input_range.grid()
        return weight_scale(self.weight) * scale


class FoldedConv(_Weighted):
    """ConvNorm as one convolution with a bias; `rounded` is None in a student that stays in
    float.
    """

    def __init__(self, unit: ConvNorm, rounded: Rounded | None):
        super().__init__()
        self.weight, self.bias = folded(unit.conv.weight, unit.norm)
        self.stride, self.padding, self.groups = unit.stride, unit.conv.padding, unit.conv.groups
        self.ceiling, self.rounded = unit.ceiling, rounded

    def forward(self, maps: torch.Tensor, inside: torch.Tensor | None) -> torch.Tensor:
        weight, bias = self.rounded_weights()
        maps = nn.functional.conv2d(maps, weight, bias, self.stride, self.padding, 1, self.groups)
        maps = hide(activate(maps, self.ceiling), inside)
        return maps if self.rounded is None else self.rounded(maps)


class FoldedHead(_Weighted):
    """A head for fixed classes as one linear layer; logits are never rounded."""

    def __init__(self, head: ClassHead | NormedHead):
        super().__init__()
        if isinstance(head, NormedHead):
            self.weight, self.bias = folded(head.linear.weight, head.norm)
        else:
            self.weight, self.bias = copy.deepcopy(head.weight), copy.deepcopy(head.bias)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(pooled, *self.rounded_weights())


class Then(nn.Module):
    """A part without weights, or one that stays in float, with its output rounded."""

    def __init__(self, part: nn.Module, rounded: Rounded):
        super().__init__()
        self.part, self.rounded = part, rounded

    def forward(self, *inputs: torch.Tensor | None) -> torch.Tensor:
        return self.rounded(self.part(*inputs))


def prepare(student: ConvStudent, int8: bool = True) -> ConvStudent:
    """Return a copy with batch norms folded into what they follow, with simulated 8-bit arithmetic
    where `int8`.

    The copy has the student's interface and answers, up to rounding. Its ranges are to be set: by
    `calibrate`, or by the first batch it trains on.
    """
    copied = copy.deepcopy(student)
    _replace(copied, int8)
    if int8:
        _connect(copied)
        copied.in_float32 = True  # what is rounded to a grid must not be rounded to bfloat16 too
    return copied.train(student.training)


def folded_student(student: ConvStudent) -> ConvStudent:
    """Return a student with batch norms folded, in eval mode: itself if it is prepared, else a copy
    that stays in float.
    """
    prepared = isinstance(student.head, FoldedHead)
    return student.eval() if prepared else prepare(student, int8=False).eval()


def _replace(parent: nn.Module, int8: bool) -> None:
    for name, part in parent.named_children():
        if isinstance(part, ConvNorm):
            new = FoldedConv(part, Rounded(part.ceiling) if int8 else None)
        elif isinstance(part, ClassHead | NormedHead):
            new = FoldedHead(part)
        elif isinstance(part, InputNorm | AsItIs | Sum | MeanAround | MeanOverMap):
            new = FoldedInputNorm(part) if isinstance(part, InputNorm) else part
            new = Then(new, Rounded(getattr(part, "ceiling", None))) if int8 else new
        else:
            _replace(part, int8)
            continue
        setattr(parent, name, new)


def _connect(student: ConvStudent) -> None:
    """Tell each layer with weights by which range its input was rounded."""
    before = student.front.rounded
    for unit in student.stem:
        unit.set_input_range(before)
        before = unit.rounded
    for block in chain.from_iterable(student.stages):
        for unit in filter(None, (block.expand, block.depth, block.project)):
            unit.set_input_range(before)
            before = unit.rounded
        if block.sum is not None:
            before = block.sum.rounded
    student.head.set_input_range(student.mean.rounded)


def _all_rounded(student: nn.Module) -> list[tuple[str, Rounded]]:
    return [(name, part) for name, part in student.named_modules() if isinstance(part, Rounded)]


@torch.no_grad()
def calibrate(
    student: ConvStudent, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]
) -> ConvStudent:
    """Set the ranges of a prepared student from batches of log-mel `(B, T, F)` and lengths `(B,)`;
    return it, in eval mode.

    Post-training quantization is this and nothing more. Raises RangeError when there are no
    batches.
    """
    student.eval()
    for _, rounded in _all_rounded(student):
        rounded.train()
    for mel, lengths in batches:
        student.pool(mel, lengths)
    require_ranges(student)
    return student.eval()


def freeze(student: ConvStudent, frozen: bool = True) -> None:
    """Hold the ranges of a prepared student where they are, or let training move them again."""
    for _, rounded in _all_rounded(student):
        rounded.frozen.fill_(frozen)


def require_ranges(student: ConvStudent) -> None:
    """Raise RangeError for a student that was not prepared, or whose ranges were never set."""
    found = _all_rounded(student)
    if not found:
        raise RangeError("the student has no ranges: prepare and calibrate it first")
    for name, rounded in found:
        if not rounded.batches:
            raise RangeError(f"{name}: its range was never set, calibrate the student first")


def load(params: MobileNet | CPMobile, n_mels: int, task: Task, path: str | Path) -> ConvStudent:
    """Return a prepared student in eval mode with the weights and ranges of a safetensors file."""
    student = prepare(STUDENTS[params.name](params, n_mels, task))
    student.load_state_dict(checkpoint.load_weights(path))
    require_ranges(student)
    return student.eval()
