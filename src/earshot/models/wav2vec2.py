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
from earshot.models.heads import inside, masked_mean
from earshot.params import Teacher as TeacherParams
from earshot.tasks.task import Task

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
            f"teacher.checkpoint={checkpoint!r}: {type(backbone).__name__} is no wav2vec 2.0 "
            "or HuBERT"
        )
    missing = sorted(found["missing_keys"] - {UNUSED})
    if missing:
        raise CheckpointError(
            f"teacher.checkpoint={checkpoint!r} lacks {len(missing)} weights, {missing[0]} first"
        )
    return backbone.eval(), extractor.do_normalize


class Lower(NamedTuple):
    """The frozen part's outputs for a clip."""

    front: torch.Tensor  # (T, D) convolutional front end, projected to the encoder's width
    states: list[torch.Tensor]  # (T, D) the encoder's input and each frozen layer's output


class Teacher(nn.Module):
    """A frozen lower part, run once per clip, and a tuned top with its head, run on stored states.

    With `scratch`, all weights are random, drawn from that seed: the control that shows what
    pretraining is worth.
    """

    def __init__(self, params: TeacherParams, task: Task, scratch: int | None = None):
        super().__init__()
        self.backbone, self.unit_variance = load_backbone(
            params.checkpoint, params.revision, params.cache
        )
        if scratch is not None:
            torch.manual_seed(scratch)
            config = AutoConfig.for_model(**self.backbone.config.to_dict())
            self.backbone = AutoModel.from_config(config).eval()
        layers = self.backbone.encoder.layers
        if params.tuned_layers > len(layers):
            raise CheckpointError(
                f"teacher.tuned_layers={params.tuned_layers} must be at most {len(layers)}, "
                "the layers it has"
            )
        self.frozen_layers = len(layers) - params.tuned_layers
        self.width = self.backbone.config.hidden_size
        self.head = task.head(self.width)
        heads = layers if params.auxiliary else ()
        self.auxiliary = nn.ModuleList(nn.Linear(self.width, len(task.labels)) for _ in heads)
        self.backbone.requires_grad_(False)
        layers[self.frozen_layers :].requires_grad_(True)

    def lower(self, samples: np.ndarray) -> Lower:
        """Run the frozen part on 16 kHz samples `(N,)`, one clip at a time: nothing is padded."""
        return self.lower_together([samples])[0]

    @torch.inference_mode()
    def lower_together(self, clips: Sequence[np.ndarray]) -> list[Lower]:
        """Run the frozen part on clips of 16 kHz samples `(N,)`, all of one length.

        Of one length, as group norms would take padding into account. It runs where the weights
        are; the outputs are float32, on the CPU.
        """
        waves = [torch.from_numpy(np.ascontiguousarray(samples, np.float32)) for samples in clips]
        if self.unit_variance:
            waves = [_standardised(wave) for wave in waves]
        batch = accelerator.put(torch.stack(waves), accelerator.where(self))  # (B, N)
        with accelerator.autocast(self):
            front, states = self._lower(batch)
        front, *states = (tensor.cpu() for tensor in convert_to_fp32([front, *states]))
        return [Lower(front[row], [state[row] for state in states]) for row in range(len(clips))]

    def _lower(self, waves: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        encoder = self.backbone.encoder
        convolved = self.backbone.feature_extractor(waves).transpose(1, 2)  # (B, T, C)
        front = self.backbone.feature_projection(convolved)
        # wav2vec 2.0 returns a pair, HuBERT does not
        front = front[0] if isinstance(front, tuple) else front  # (B, T, D)
        hidden = front + encoder.pos_conv_embed(front)
        if not self.backbone.config.do_stable_layer_norm:
            hidden = encoder.layer_norm(hidden)
        states = [hidden]
        for layer in encoder.layers[: self.frozen_layers]:
            states.append(layer(states[-1]))
        return front, states

    def encode(
        self, hidden: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the last layer's mean over time `(B, D)`, and the tuned layers' outputs.

        For frozen states `(B, T, D)` of which `lengths` `(B,)` are real. The outputs `(B, T, D)`
        begin with `hidden` itself; the last layer's comes last.
        """
        encoder = self.backbone.encoder
        mask = create_bidirectional_mask(
            config=self.backbone.config,
            inputs_embeds=hidden,
            attention_mask=self.real(hidden, lengths),
        )
        outputs = [hidden]
        for layer in encoder.layers[self.frozen_layers :]:
            outputs.append(layer(outputs[-1], attention_mask=mask))
        if self.backbone.config.do_stable_layer_norm:
            outputs[-1] = encoder.layer_norm(outputs[-1])
        return masked_mean(outputs[-1], lengths), outputs

    def pool(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the mean over time `(B, D)` of the last layer."""
        return self.encode(hidden, lengths)[0]

    def real(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return which frames are no padding `(B, T)`."""
        return inside(lengths, hidden.shape[1])

    def frozen_hash(self) -> str:
        """Return the SHA-256 of all weights that fine-tuning leaves alone."""
        digest, tuned = hashlib.sha256(), self.tuned_state()
        for name, tensor in sorted(self.state_dict().items()):
            if name not in tuned and not name.endswith(UNUSED):
                digest.update(name.encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def tuned_state(self) -> dict[str, torch.Tensor]:
        """Return what fine-tuning changed; with the checkpoint it is the whole teacher."""
        tuned = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        state = self.state_dict().items()
        return {name: tensor.contiguous() for name, tensor in state if name in tuned}


def _standardised(wave: torch.Tensor) -> torch.Tensor:
    """Return samples `(N,)` of mean 0 and variance 1."""
    return (wave - wave.mean()) / (wave.var(unbiased=False) + 1e-7).sqrt()
