"""The teacher: an encoder of one of `FAMILIES`, frozen but for its top layers, with a head on its
last layer.
"""

import hashlib
import json
import re
from collections.abc import Collection, Sequence
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
    FeatureExtractionMixin,
    PreTrainedConfig,
    Wav2Vec2FeatureExtractor,
)
from transformers.utils import logging

from earshot.models import accelerator, ctc
from earshot.models.heads import inside, masked_mean
from earshot.params import Teacher as TeacherParams
from earshot.tasks.task import Task
from earshot.teacher import hub
from earshot.teacher.families import FAMILIES

# recognisers come without it; left to chance, it is no part of a teacher
UNUSED = "masked_spec_embed"
SAMPLE_RATE = 16_000  # Hz
# of the encoder, whatever head stands before it; AST's were once called otherwise
_LAYER = re.compile(r"(?:(?!decoder|adapter)\w+\.)?(?:encoder\.)?layers?\.(\d+)\.")
_PART = re.compile(r"(encoder|layers|embeddings|feature_extractor|feature_projection)\.")


class CheckpointError(ValueError):
    """A teacher checkpoint that cannot be had or cannot serve."""


def load_backbone(
    checkpoint: str,
    revision: str | None,
    cache: str | None = None,
    families: Collection[str] = FAMILIES,
) -> tuple[nn.Module, FeatureExtractionMixin]:
    """Return the encoder of a local folder or a pinned hub id, and what makes its inputs of
    samples.

    It is of one of `families`. Files of the hub are kept in `cache`. Raises CheckpointError, whose
    message is one line, for a hub id without a pinned commit, a checkpoint that cannot be had,
    another architecture or sampling rate, and weights that are absent, damaged, or not those that
    the config describes.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = checkpoint_folder(checkpoint, revision, cache)
    try:
        config = _config(folder, families)
        extractor = _extractor(folder, config)
        _compare(config, shapes(folder))
        backbone, found = AutoModel.from_pretrained(
            folder,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=True,
        )
        backbone = FAMILIES[config.model_type].part(backbone)
        _inspect(backbone, found)
    except CheckpointError as error:
        raise CheckpointError(f"teacher.checkpoint={checkpoint!r}: {error}") from None
    except Exception as error:  # a damaged file ends in any of transformers' errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"teacher.checkpoint={checkpoint!r}: {reason}") from None
    return backbone.eval(), extractor


def checkpoint_folder(checkpoint: str, revision: str | None, cache: str | None = None) -> Path:
    """Return the folder of a checkpoint, as `hub.folder` does; CheckpointError where it cannot be
    had.
    """
    try:
        return hub.folder(checkpoint, revision, cache)
    except hub.HubError as error:
        raise CheckpointError(f"teacher.checkpoint={checkpoint!r} {error}") from None


def _config(folder: Path, families: Collection[str]) -> PreTrainedConfig:
    """Return the config of a family that can serve."""
    path = folder / "config.json"
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is not readable ({type(error).__name__})") from None
    family = content.get("model_type") if isinstance(content, dict) else None
    if family not in families:
        *most, last = families
        names = f"{', '.join(most)} or {last}"
        raise CheckpointError(f"model_type {family!r} is no {names}, the families that can serve")
    if "quantization_config" in content:
        raise CheckpointError("its weights are quantized; a teacher needs them as float numbers")
    if content.get("add_adapter"):
        raise CheckpointError(
            "config.json says add_adapter=true; a teacher's last layer is its own"
        )
    return AutoConfig.for_model(**content)


def _extractor(folder: Path, config: PreTrainedConfig) -> FeatureExtractionMixin:
    """Return what makes a checkpoint's inputs of samples, at the rate that there is."""
    extractor = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
    wanted = FAMILIES[config.model_type].extractor_class
    if not isinstance(extractor, wanted):
        raise CheckpointError(
            f"preprocessor_config.json is of a {type(extractor).__name__}, a "
            f"{config.model_type} has a {wanted.__name__}"
        )
    if wanted is Wav2Vec2FeatureExtractor and extractor.feature_size != 1:
        raise CheckpointError(f"it wants features of {wanted.__name__}, not samples")
    if extractor.sampling_rate != SAMPLE_RATE:
        raise CheckpointError(
            f"its sampling_rate is {extractor.sampling_rate} Hz; teachers are given "
            f"{SAMPLE_RATE} Hz"
        )
    return extractor


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
    numbers = {int(found[1]) for found in map(_LAYER.match, shapes) if found}
    if len(numbers) != config.num_hidden_layers:
        raise CheckpointError(
            f"config.json says num_hidden_layers={config.num_hidden_layers}, "
            f"the weights are of {len(numbers)} layers"
        )
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    bare = {key.removeprefix(f"{model.base_model_prefix}."): shapes[key] for key in shapes}
    expected = model.state_dict()
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
    prefix = f"{backbone.base_model_prefix}."
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
        self.backbone, extractor = load_backbone(params.checkpoint, params.revision, params.cache)
        family = FAMILIES[self.backbone.config.model_type]
        if scratch is not None:
            torch.manual_seed(scratch)
            config = AutoConfig.for_model(**self.backbone.config.to_dict())
            self.backbone = family.part(AutoModel.from_config(config)).eval()
        self.encoder = family(self.backbone, extractor)
        self.window = self.encoder.window
        layers = self.encoder.layers
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
        if isinstance(self.head, ctc.CTCHead) and not family.ordered:
            raise CheckpointError(
                f"teacher.checkpoint={params.checkpoint!r}: the frames of a "
                f"{self.backbone.config.model_type} do not follow one another in time, as its "
                "track's transcripts want"
            )
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
        blank = getattr(self.backbone.config, "pad_token_id", None)
        try:
            return ctc.adopt(self.head, task.labels, folder, blank)
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
        size = len(clips[0])
        window = self.encoder.window or size
        parts = [
            self._window([clip[at : at + window] for clip in clips])
            for at in range(0, size, window)
        ]
        front, *states = (torch.cat(pieces, 1) for pieces in zip(*parts, strict=True))
        return [Lower(front[row], [state[row] for state in states]) for row in range(len(clips))]

    def _window(self, clips: Sequence[np.ndarray]) -> list[torch.Tensor]:
        """Return front and states `(B, T, D)` of clips no longer than a window."""
        inputs = accelerator.put(self.encoder.inputs(clips), accelerator.where(self))
        with accelerator.autocast(self):
            front, states = self._lower(inputs)
        front, states = self.encoder.unpadded(front, states, len(clips[0]))
        return [tensor.cpu() for tensor in convert_to_fp32([front, *states])]

    def _lower(self, inputs: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        front, hidden = self.encoder.begin(inputs)
        context = self.encoder.context(hidden)
        states = [hidden]
        for layer in self.encoder.layers[: self.frozen_layers]:
            states.append(self.encoder.run(layer, states[-1], context))
        return front, states

    def encode(
        self, hidden: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the last layer's mean over time `(B, D)`, and the tuned layers' outputs.

        For frozen states `(B, T, D)` of which `lengths` `(B,)` are real. The outputs `(B, T, D)`
        begin with `hidden` itself; the last layer's comes last.
        """
        encoder = self.encoder
        context = encoder.context(hidden, self.real(hidden, lengths))
        outputs = [hidden]
        for layer in encoder.layers[self.frozen_layers :]:
            outputs.append(encoder.run(layer, outputs[-1], context))
        outputs[-1] = encoder.end(outputs[-1])
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

    def train(self, mode: bool = True) -> "Teacher":
        """Train, or not; batch norms stay as they came, for padding is no part of a clip."""
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self

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
