"""Image networks of the transformers library on log-mel: EfficientNet and MobileNetV2."""

from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging

from earshot.models.heads import inside
from earshot.params import Image
from earshot.tasks.task import Task
from earshot.teacher import hub
from earshot.teacher.wav2vec2 import CheckpointError

FAMILIES = ("efficientnet", "mobilenet_v2")  # model_type
STRIDE = 32  # input frames to one of the last map


class ImageNetwork(nn.Module):
    """Log-mel, normalised over all bands, in each colour → image network → mean over its last map →
    head.

    CheckpointError names a checkpoint that cannot be had, or of another family.
    """

    def __init__(self, params: Image, n_mels: int, task: Task):
        super().__init__()
        self.norm = nn.BatchNorm2d(1, momentum=params.momentum)
        self.backbone = load_backbone(params)
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                # The configs have TensorFlow's momentum: of the past, not of the batch.
                module.momentum = params.momentum
        self.colours = self.backbone.config.num_channels
        self.eval()  # or the running means would move by a picture of nothing
        with torch.no_grad():
            self.width = self._map(torch.zeros(1, STRIDE, n_mels)).shape[1]
        self.train()
        self.strides = [STRIDE]
        self.head = task.head(self.width)

    def _map(self, mel: torch.Tensor) -> torch.Tensor:
        """Return the last map `(B, D, T′, F′)` of log-mel `(B, T, n_mels)`."""
        pictures = self.norm(mel[:, None]).expand(-1, self.colours, -1, -1)  # (B, 3, T, n_mels)
        return self.backbone(pictures).last_hidden_state

    def encode(
        self, mel: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the mean over the last map `(B, D)` of log-mel `(B, T, n_mels)`, lengths `(B,)` in
        frames, and as one layer its mean over frequency `(B, T′, D)`.

        These networks know no padding, so clips of one length go together.
        """
        rows, pooled, sequences = [], [], []
        for length in lengths.unique().tolist():
            same = (lengths == length).nonzero()[:, 0]
            maps = self._map(mel[same, :length])  # (b, D, T′, F′)
            rows.append(same)
            pooled.append(maps.mean((2, 3)))
            sequences += maps.mean(3).transpose(1, 2)  # (T′, D) each
        order = torch.cat(rows).argsort()
        padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True)  # (B, T′, D)
        return torch.cat(pooled)[order], [padded[order]]

    def real(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return which frames of the last map are no padding `(B, ⌈T/32⌉)`."""
        return inside(-(-lengths // STRIDE), -(-mel.shape[1] // STRIDE))

    def pool(self, mel: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the mean over the last map alone, `(B, D)`."""
        return self.encode(mel, lengths)[0]


def load_backbone(params: Image) -> nn.Module:
    """Return an image network: pretrained, or as its config describes, with random weights."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        folder = hub.folder(params.checkpoint, params.revision, params.cache)
        return _loaded(folder, params.pretrained).float()
    except hub.HubError as error:
        raise CheckpointError(f"network.checkpoint={params.checkpoint!r} {error}") from None
    except Exception as error:  # a damaged file ends in any of transformers' errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"network.checkpoint={params.checkpoint!r}: {reason}") from None


def _loaded(folder: Path, pretrained: bool) -> nn.Module:
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type not in FAMILIES:
        names = " or ".join(FAMILIES)
        raise CheckpointError(f"model_type {config.model_type!r} is no {names}")
    if not pretrained:
        return AutoModel.from_config(config)
    backbone, found = AutoModel.from_pretrained(
        folder,
        config=config,
        use_safetensors=True,
        output_loading_info=True,
        local_files_only=True,
    )
    if missing := sorted(found["missing_keys"]):
        raise CheckpointError(f"lacks {len(missing)} weights, {missing[0]} first")
    for name, weight in backbone.state_dict().items():
        if not weight.isfinite().all():
            raise CheckpointError(f"its weight {name} is not finite")
    return backbone
