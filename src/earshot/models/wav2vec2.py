"""The teacher: wav2vec 2.0 or HuBERT, frozen but for its top layers, with a head on the pooled last
layer.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate.utils import convert_to_fp32
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    PreTrainedConfig,
    Wav2Vec2FeatureExtractor,
)
from transformers.masking_utils import create_bidirectional_mask
from transformers.utils import logging

from earshot.models import accelerator, ctc, hub
from earshot.models.heads import inside, masked_mean
from earshot.params import Teacher as TeacherParams
from earshot.tasks.task import Task

# recognisers come without it; left to chance, it is no part of a teacher
UNUSED = "masked_spec_embed"
FAMILIES = ("wav2vec2", "hubert")  # model_type; their relatives compute otherwise
SAMPLE_RATE = 16_000  # Hz
_PART = re.compile(r"(encoder|feature_extractor|feature_projection)\.")


class CheckpointError(ValueError):
    """A teacher checkpoint that cannot be had or cannot serve."""


def load_backbone(
    checkpoint: str, revision: str | None, cache: str | None = None
) -> tuple[nn.Module, bool]:
    """Return the self-supervised encoder of a local folder or a pinned hub id, and whether it wants
    unit variance.

    Files of the hub are kept in `cache`. Raises CheckpointError, whose message is one line, for a
    hub id without a pinned commit, a checkpoint that cannot be had, another architecture or
    sampling rate, and weights that are absent, damaged, or not those that the config describes.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = checkpoint_folder(checkpoint, revision, cache)
    try:
        config = _config(folder)
        unit_variance = _unit_variance(folder)
        _compare(config, shapes(folder))
        backbone, found = AutoModel.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=True,
        )
        _inspect(backbone, found)
    except CheckpointError as error:
        raise CheckpointError(f"teacher.checkpoint={checkpoint!r}: {error}") from None
    except Exception as error:  # a damaged file ends in any of transformers' errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"teacher.checkpoint={checkpoint!r}: {reason}") from None
    return backbone.eval(), unit_variance


def checkpoint_folder(checkpoint: str, revision: str | None, cache: str | None = None) -> Path:
    """Return the folder of a checkpoint, as `hub.folder` does; CheckpointError where it cannot be
    had.
    """
    try:
        return hub.folder(checkpoint, revision, cache)
    except hub.HubError as error:
        raise CheckpointError(f"teacher.checkpoint={checkpoint!r} {error}") from None


def _config(folder: Path) -> PreTrainedConfig:
    """Return the config of a family that can serve."""
    path = folder / "config.json"
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is not readable ({type(error).__name__})") from None
    family = content.get("model_type") if isinstance(content, dict) else None
    if family not in FAMILIES:
        names = " or ".join(FAMILIES)
        raise CheckpointError(f"model_type {family!r} is no {names}, the families that can serve")
    if "quantization_config" in content:
        raise CheckpointError("its weights are quantized; a teacher needs them as float numbers")
    return AutoConfig.for_model(**content)


def _unit_variance(folder: Path) -> bool:
    """Return whether a checkpoint wants samples of unit variance, at the rate that there is."""
    extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    if not isinstance(extractor, Wav2Vec2FeatureExtractor) or extractor.feature_size != 1:
        raise CheckpointError(f"it wants features of {type(extractor).__name__}, not samples")
    if extractor.sampling_rate != SAMPLE_RATE:
        raise CheckpointError(
            f"its sampling_rate is {extractor.sampling_rate} Hz; teachers are given "
            f"{SAMPLE_RATE} Hz"
        )
    return bool(extractor.do_normalize)


def shapes(folder: Path) -> dict[str, list[int]]:
    """Return the shape of each of a checkpoint's weights, by name; nothing more is read."""
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if not (folder / "model.safetensors").is_file() and index.is_file():
        names = set(json.loads(index.read_text())["weight_map"].values())
    shapes = {}
    for name in sorted(names):
        if not (folder / name).is_file():
            raise CheckpointError(f"no {name} in it; pickled weights (.bin, .pt) are not read")
        try:
            with safe_open(folder / name, "pt") as file:
                for key in file.keys():
                    shapes[key] = file.get_slice(key).get_shape()
        except SafetensorError as error:
            raise CheckpointError(f"{name} is damaged ({str(error).splitlines()[0]})") from None
    return shapes


def _compare(config: PreTrainedConfig, shapes: dict[str, list[int]]) -> None:
    """Raise CheckpointError where a config describes other weights than there are."""
    bare = {key.removeprefix(f"{config.model_type}."): shape for key, shape in shapes.items()}
    numbers = {int(key.split(".")[2]) for key in bare if key.startswith("encoder.layers.")}
    if len(numbers) != config.num_hidden_layers:
        raise CheckpointError(
            f"config.json says num_hidden_layers={config.num_hidden_layers}, "
            f"the weights are of {len(numbers)} layers"
        )
    with torch.device("meta"):
        expected = AutoModel.from_config(config).state_dict()
    for key, weight in expected.items():
        if key in bare and list(weight.shape) != bare[key]:
            raise CheckpointError(
                f"{key} is {tuple(bare[key])} in the weights, {tuple(weight.shape)} by config.json"
            )


def _inspect(backbone: nn.Module, found: dict) -> None:
    """Raise CheckpointError for weights that are missing, left over or not finite."""
    missing = sorted(found["missing_keys"] - {UNUSED})
    if missing:
        raise CheckpointError(f"lacks {len(missing)} weights, {missing[0]} first")
    prefix = f"{backbone.config.model_type}."
    spare = sorted(key for key in found["unexpected_keys"] if _PART.match(key.removeprefix(prefix)))
    if spare:
        raise CheckpointError(
            f"config.json knows no use for {len(spare)} weights, {spare[0]} first"
        )
    for name, weight in backbone.state_dict().items():
        if not weight.isfinite().all():
            raise CheckpointError(f"its weight {name} is not finite")


class Lower(NamedTuple):
    """The frozen part's outputs for a clip."""

    front: torch.Tensor  # (T, D) convolutional front end, projected to the encoder's width
    states: list[torch.Tensor]  # (T, D) the encoder's input and each frozen layer's output


class Teacher(nn.Module):
    """A frozen lower part, run once per clip, and a tuned top with its head, run on stored states.

    With `scratch`, all weights are random, drawn from that seed: the control that shows what
    pretraining is worth.
    """

    output = "frames"

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
        self.tuned_layers = params.tuned_layers
        self.frozen_layers = len(layers) - params.tuned_layers
        self.width = self.input_width = self.backbone.config.hidden_size
        self.sample_rate = SAMPLE_RATE
        self.strides = [1] * len(layers)  # stored frames to one of a layer
        self.source = {"checkpoint": params.checkpoint, "revision": params.revision or ""}
        self.source["tuned_layers"] = params.tuned_layers
        self.head = task.head(self.width)
        adopted = scratch is None and self._adopt_head(params, task)
        if params.epochs == 0 and not adopted:
            raise CheckpointError(
                f"teacher.checkpoint={params.checkpoint!r} has no CTC head of its own, so that "
                "epochs=0 leaves a random one; at least 1, on labelled clips"
            )
        heads = layers if params.auxiliary else ()
        self.auxiliary = nn.ModuleList(nn.Linear(self.width, len(task.labels)) for _ in heads)
        self.backbone.requires_grad_(False)
        layers[self.frozen_layers :].requires_grad_(True)

    def _adopt_head(self, params: TeacherParams, task: Task) -> bool:
        """Take over the checkpoint's own head, if it has one that is of use; return whether."""
        folder = hub.folder(params.checkpoint, params.revision, params.cache)
        try:
            return ctc.adopt(self.head, task.labels, folder, self.backbone.config.pad_token_id)
        except ctc.VocabularyError as error:
            raise CheckpointError(f"teacher.checkpoint={params.checkpoint!r}: {error}") from None

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

    def whole(
        self, hidden: torch.Tensor, lengths: torch.Tensor, passages: Sequence[Sequence[Lower]]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the last layer's mean over time `(B, D)`, and every layer that there is, float32.

        As `encode`, and below the tuned layers those frozen ones that `passages` keep, of each
        passage's utterances. The lowest comes first, the last one last.
        """
        place = accelerator.where(self)
        frozen = []
        for layer in range(1, len(passages[0][0].states) - 1):
            states = [torch.cat([lower.states[layer] for lower in one]) for one in passages]
            padded = nn.utils.rnn.pad_sequence(states, batch_first=True)  # (B, T, D)
            frozen.append(accelerator.put(padded, place))
        with accelerator.autocast(self):
            _, outputs = self.encode(hidden, lengths)
        # The first is the input of the tuned part: the last frozen layer, if there is one.
        tuned = convert_to_fp32(outputs if self.frozen_layers else outputs[1:])
        layers = [*frozen, *tuned]
        return masked_mean(layers[-1], lengths), layers

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
