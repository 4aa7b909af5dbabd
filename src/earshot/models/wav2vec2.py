"""The teacher: wav2vec 2.0 or HuBERT, frozen but for its top layers, with a head on the pooled last
layer.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from accelerate.utils import convert_to_fp32
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.utils import logging

from earshot.models import accelerator, hub
from earshot.models.heads import head, masked_mean
from earshot.params import Teacher as TeacherParams

# recognisers come without it; left to chance, it is no part of a teacher
UNUSED = "masked_spec_embed"


class CheckpointError(ValueError):
    """A teacher checkpoint that cannot be had or cannot serve."""


def load_backbone(
    checkpoint: str, revision: str | None, cache: str | None = None
) -> tuple[nn.Module, bool]:
    """Return the self-supervised encoder of a local folder or a pinned hub id, and whether it wants
    unit variance.

    Files of the hub are kept in `cache`. Raises CheckpointError for a hub id without a pinned
    commit, a checkpoint that cannot be had or lacks weights, or another architecture.
    """
    try:
        folder = hub.folder(checkpoint, revision, cache)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        backbone, found = AutoModel.from_pretrained(
            folder,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=True,
        )
        extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except hub.HubError as error:
        raise CheckpointError(f"teacher.checkpoint={checkpoint!r} {error}") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"teacher.checkpoint={checkpoint!r}: {str(error).splitlines()[0]}"
        ) from None
    if not hasattr(backbone, "feature_extractor") or not hasattr(backbone, "encoder"):
        raise CheckpointError(
            f"teacher.checkpoint={checkpoint!r}: {type(backbone).__name__} is no wav2vec 2.0 or HuBERT"
        )
    missing = sorted(found["missing_keys"] - {UNUSED})
    if missing:
        raise CheckpointError(
            f"teacher.checkpoint={checkpoint!r} lacks {len(missing)} weights, {missing[0]} first"
        )
    return backbone.eval(), extractor.do_normalize


class Lower(NamedTuple):
    """What the frozen part hears in a clip."""

    # (T, D) frames of the convolutional front end, projected to the encoder's width
    front: torch.Tensor
    # (T, D) input of the encoder and output of each frozen layer, the lowest first
    states: list[torch.Tensor]


class Teacher(nn.Module):
    """A frozen lower part, run once per clip, and a tuned top with its head, run on cached hidden
    states.

    `classes` is the number of outputs where no options are read. With `scratch`, all weights are
    random, drawn from that seed: the control that shows what pretraining is worth.
    """

    def __init__(self, params: TeacherParams, classes: int = 0, scratch: int | None = None):
        super().__init__()
        self.backbone, self.unit_variance = load_backbone(
            params.checkpoint, params.revision, params.cache
        )
        if scratch is not None:
            torch.manual_seed(scratch)
            self.backbone = AutoModel.from_config(
                AutoConfig.for_model(**self.backbone.config.to_dict())
            ).eval()
        layers = self.backbone.encoder.layers
        if params.tuned_layers > len(layers):
            raise CheckpointError(
                f"teacher.tuned_layers={params.tuned_layers} must be at most {len(layers)}, the layers it has"
            )
        self.frozen_layers = len(layers) - params.tuned_layers
        self.width = self.backbone.config.hidden_size
        self.head = head(self.width, params.text, classes)
        self.auxiliary = nn.ModuleList(
            nn.Linear(self.width, classes) for _ in layers if params.auxiliary
        )
        self.backbone.requires_grad_(False)
        layers[self.frozen_layers :].requires_grad_(True)

    def lower(self, samples: np.ndarray) -> Lower:
        """Run the frozen part on 16 kHz samples `(N,)`, one clip at a time: nothing is padded."""
        return self.lower_together([samples])[0]

    @torch.inference_mode()
    def lower_together(self, clips: Sequence[np.ndarray]) -> list[Lower]:
        """Run the frozen part on clips of 16 kHz samples `(N,)`, all of one length, for group norms
        hear padding.

        It runs where the weights are; what is heard is float32, on the CPU.
        """
        waves = [torch.from_numpy(np.ascontiguousarray(samples, np.float32)) for samples in clips]
        if self.unit_variance:
            waves = [
                (wave - wave.mean()) / (wave.var(unbiased=False) + 1e-7).sqrt() for wave in waves
            ]
        with accelerator.autocast(self):
            front, states = self._lower(
                accelerator.put(torch.stack(waves), accelerator.where(self))
            )
        front, *states = (tensor.cpu() for tensor in convert_to_fp32([front, *states]))
        return [Lower(front[row], [state[row] for state in states]) for row in range(len(clips))]

    def _lower(self, waves: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        encoder = self.backbone.encoder
        front = self.backbone.feature_projection(
            self.backbone.feature_extractor(waves).transpose(1, 2)
        )
        # wav2vec 2.0 returns a pair, HuBERT does not
        front = front[0] if isinstance(front, tuple) else front
        hidden = front + encoder.pos_conv_embed(front)
        if not self.backbone.config.do_stable_layer_norm:
            hidden = encoder.layer_norm(hidden)
        states = [hidden]
        for layer in encoder.layers[: self.frozen_layers]:
            states.append(layer(states[-1]))
        return front, states

    def upper(self, hidden: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs `(B, T, D)` of the tuned layers, the last first, for frozen states
        `(B, T, D)`.
        """
        encoder = self.backbone.encoder
        inside = torch.arange(hidden.shape[1], device=hidden.device)[None] < lengths[:, None]
        mask = create_bidirectional_mask(
            config=self.backbone.config, inputs_embeds=hidden, attention_mask=inside
        )
        outputs = [hidden]
        for layer in encoder.layers[self.frozen_layers :]:
            outputs.append(layer(outputs[-1], attention_mask=mask))
        if self.backbone.config.do_stable_layer_norm:
            outputs[-1] = encoder.layer_norm(outputs[-1])
        return outputs[::-1]

    def encode(
        self, hidden: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the mean over time `(B, D)` of the last layer, and the outputs of `upper`, the
        lowest first.
        """
        outputs = self.upper(hidden, lengths)
        return masked_mean(outputs[0], lengths), outputs[::-1]

    def pool(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the mean over time `(B, D)` of the last layer."""
        return self.encode(hidden, lengths)[0]

    def frozen_hash(self) -> str:
        """Return the SHA-256 of all weights that fine-tuning leaves alone."""
        digest, tuned = hashlib.sha256(), self.tuned_state()
        for name, tensor in sorted(self.state_dict().items()):
            if name not in tuned and not name.endswith(UNUSED):
                digest.update(name.encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def tuned_state(self) -> dict[str, torch.Tensor]:
        """Return the weights that fine-tuning changed; with the checkpoint they are the whole
        teacher.
        """
        tuned = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {
            name: tensor.contiguous() for name, tensor in self.state_dict().items() if name in tuned
        }
