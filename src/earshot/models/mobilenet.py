"""The scenes paper's student: MobileNetV2's inverted residuals behind residual normalisation."""

from earshot.models.blocks import Block, ConvNorm, ConvStudent, InputNorm
from earshot.params import MobileNet
from earshot.tasks.task import Task

_RELU6 = 6.0


class MobileNetStudent(ConvStudent):
    """X → BN per band → λ·x + FreqIN(x) → 3×3 stem, stride 2 → stages → mean over the map →
    logits.
    """

    def __init__(self, params: MobileNet, n_mels: int, task: Task):
        momentum, inputs, stages = params.momentum, params.stem, []
        for number, (width, blocks) in enumerate(zip(params.widths, params.blocks, strict=True)):
            stage = []
            for block in range(blocks):
                stride = (2, 2) if number and not block else (1, 1)
                stage.append(
                    Block(
                        inputs, inputs * params.expansion, width, stride, momentum, ceiling=_RELU6
                    )
                )
                inputs = width
            stages.append(stage)
        super().__init__(
            front=InputNorm(n_mels, params.residual, momentum),
            stem=[ConvNorm(1, params.stem, momentum, stride=(2, 2), ceiling=_RELU6)],
            stages=stages,
            width=inputs,
            head=task.head(inputs),
            dropout=params.dropout,
        )
