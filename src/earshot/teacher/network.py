"""A network as a teacher, a student's architecture or an image network, on log-mel of its own."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import convert_to_fp32
from torch import nn

from earshot.features.log_mel import log_mel
from earshot.models import accelerator, checkpoint
from earshot.models.students import STUDENTS
from earshot.params import NetworkTeacher
from earshot.tasks.task import Task
from earshot.teacher.image import ImageNetwork
from earshot.teacher.wav2vec2 import Lower

NETWORKS = STUDENTS | {"image": ImageNetwork}


class MelTeacher(nn.Module):
    """Samples → log-mel, stored → network → head. Nothing of it is frozen.

    `scratch` changes nothing: it begins at random, or with the weights that its parameters name.
    WeightsError names a file that is not there, or of another network.
    """

    output = "frames"
    frozen_layers = 0
    window = None

    def __init__(self, params: NetworkTeacher, task: Task, scratch: int | None = None):
        super().__init__()
        self.features = params.features
        self.network = NETWORKS[params.network.name](params.network, self.features.n_mels, task)
        if params.weights is not None:
            _begin_with(self.network, Path(params.weights))
        self.auxiliary = nn.ModuleList()
        self.width, self.input_width = self.network.width, self.features.n_mels
        self.strides = self.network.strides
        self.tuned_layers = len(self.strides)
        self.sample_rate = self.features.sample_rate
        self.source = {"network": params.network.model_dump(), "features": vars(self.features)}

    @property
    def head(self) -> nn.Module:
        """The network's head."""
        return self.network.head

    def lower(self, samples: np.ndarray) -> Lower:
        """Return the log-mel `(T, n_mels)` of samples `(N,)`, for all that lies below the top."""
        frames = torch.from_numpy(log_mel(samples, self.features))
        return Lower(frames, [frames])

    def lower_together(self, clips: Sequence[np.ndarray]) -> list[Lower]:
        """Return the log-mel of each clip."""
        return [self.lower(samples) for samples in clips]

    def encode(
        self, mel: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the pooled vector `(B, D)` of log-mel `(B, T, n_mels)`, and the stages' outputs
        `(B, T_l, D_l)`.
        """
        return self.network.encode(mel, lengths)

    def whole(
        self, mel: torch.Tensor, lengths: torch.Tensor, passages: Sequence[Sequence[Lower]]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return what `encode` does, float32; there are no layers below."""
        with accelerator.autocast(self):
            encoded = self.encode(mel, lengths)
        return convert_to_fp32(encoded)

    def pool(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the pooled vector alone, `(B, D)`."""
        return self.encode(mel, lengths)[0]

    def real(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return which frames of the last stage count, `(B, T_l)`."""
        return self.network.real(mel, lengths)

    def frozen_hash(self) -> str:
        """Return the SHA-256 of what training leaves alone: the architecture and the front end."""
        described = json.dumps(self.source, sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()

    def tuned_state(self) -> dict[str, torch.Tensor]:
        """Return all weights, and the running moments of batch norms."""
        return {name: tensor.contiguous() for name, tensor in self.state_dict().items()}


def _begin_with(network: nn.Module, path: Path) -> None:
    """Load a network's weights; WeightsError says what does not fit."""
    if not path.is_file():
        raise checkpoint.WeightsError(f"{path}: no such file; teachers.<teacher>.weights names it")
    weights = checkpoint.load_weights(path)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    for name in sorted(expected.keys() | weights.keys()):
        found = tuple(weights[name].shape) if name in weights else "absent"
        wanted = tuple(expected[name]) if name in expected else "absent"
        if found != wanted:
            raise checkpoint.WeightsError(
                f"{path}: weights of another network, {name} is {found} in it, "
                f"{wanted} by teachers.<teacher>.network"
            )
    network.load_state_dict(weights)
