"""The teacher: wav2vec 2.0 or HuBERT, frozen but for its top layers, with the option head on the pooled last layer."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoFeatureExtractor, AutoModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.utils import logging

from earshot.models.heads import OptionHead, masked_mean
from earshot.params import Teacher as TeacherParams

UNUSED = "masked_spec_embed"  # recognisers come without it; left to chance, it is no part of a teacher


class CheckpointError(ValueError):
    """A teacher checkpoint that cannot be had or cannot serve."""


def load_backbone(checkpoint: str, revision: str | None) -> tuple[nn.Module, bool]:
    """Return the self-supervised encoder of a local folder or a pinned hub id, and whether it wants unit variance.

    Raises CheckpointError for a hub id without a revision, a missing checkpoint or another architecture.
    """
    if not Path(checkpoint).is_dir() and revision is None:
        raise CheckpointError(f"teacher.checkpoint={checkpoint!r} is no local folder, and a hub id needs teacher.revision")
    try:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        backbone, found = AutoModel.from_pretrained(
            checkpoint, revision=revision, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
        extractor = AutoFeatureExtractor.from_pretrained(checkpoint, revision=revision)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"teacher.checkpoint={checkpoint!r}: {str(error).splitlines()[0]}") from None
    if not hasattr(backbone, "feature_extractor") or not hasattr(backbone, "encoder"):
        raise CheckpointError(f"teacher.checkpoint={checkpoint!r}: {type(backbone).__name__} is no wav2vec 2.0 or HuBERT")
    missing = sorted(found["missing_keys"] - {UNUSED})
    if missing:
        raise CheckpointError(f"teacher.checkpoint={checkpoint!r} lacks {len(missing)} weights, {missing[0]} first")
    return backbone.eval(), extractor.do_normalize


class Teacher(nn.Module):
    """A frozen lower part, run once per clip, and a tuned top with its head, run on cached hidden states."""

    def __init__(self, params: TeacherParams):
        super().__init__()
        self.backbone, self.unit_variance = load_backbone(params.checkpoint, params.revision)
        layers = self.backbone.encoder.layers
        if params.tuned_layers > len(layers):
            raise CheckpointError(
                f"teacher.tuned_layers={params.tuned_layers} must be at most {len(layers)}, the layers it has"
            )
        self.frozen_layers = len(layers) - params.tuned_layers
        self.width = self.backbone.config.hidden_size
        self.head = OptionHead(self.width, params.text)
        self.backbone.requires_grad_(False)
        layers[self.frozen_layers :].requires_grad_(True)

    @torch.inference_mode()
    def lower(self, samples: np.ndarray) -> torch.Tensor:
        """Return the last frozen layer `(T, D)` of 16 kHz samples `(N,)`, one clip at a time: nothing is padded."""
        wave = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
        if self.unit_variance:
            wave = (wave - wave.mean()) / (wave.var(unbiased=False) + 1e-7).sqrt()
        encoder = self.backbone.encoder
        hidden = self.backbone.feature_projection(self.backbone.feature_extractor(wave[None]).transpose(1, 2))
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden  # wav2vec 2.0 returns a pair, HuBERT does not
        hidden = hidden + encoder.pos_conv_embed(hidden)
        if not self.backbone.config.do_stable_layer_norm:
            hidden = encoder.layer_norm(hidden)
        for layer in encoder.layers[: self.frozen_layers]:
            hidden = layer(hidden)
        return hidden[0]

    def upper(self, hidden: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs `(B, T, D)` of the tuned layers, the last first, for frozen states `(B, T, D)`."""
        encoder = self.backbone.encoder
        inside = torch.arange(hidden.shape[1], device=hidden.device)[None] < lengths[:, None]
        mask = create_bidirectional_mask(config=self.backbone.config, inputs_embeds=hidden, attention_mask=inside)
        outputs = [hidden]
        for layer in encoder.layers[self.frozen_layers :]:
            outputs.append(layer(outputs[-1], attention_mask=mask))
        if self.backbone.config.do_stable_layer_norm:
            outputs[-1] = encoder.layer_norm(outputs[-1])
        return outputs[::-1]

    def pool(self, hidden: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the mean over time `(B, D)` of the last layer."""
        return masked_mean(self.upper(hidden, lengths)[0], lengths)

    def frozen_hash(self) -> str:
        """Return the SHA-256 of all weights that fine-tuning leaves alone."""
        digest, tuned = hashlib.sha256(), self.tuned_state()
        for name, tensor in sorted(self.state_dict().items()):
            if name not in tuned and not name.endswith(UNUSED):
                digest.update(name.encode())
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def tuned_state(self) -> dict[str, torch.Tensor]:
        """Return the weights that fine-tuning changed; with the checkpoint they are the whole teacher."""
        tuned = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name: tensor.contiguous() for name, tensor in self.state_dict().items() if name in tuned}
