"""Families of encoders that can teach, by the `model_type` of their config.json: what each is fed,
and how transformers' own modules follow one another, so that a teacher can be cut in two.

B clips of one length, N samples each, T frames, D the encoder's width. Clips that a family fills up
to its window are encoded with the silence, as it was trained; only their frames are kept.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from threading import Lock

import numpy as np
import torch
from torch import nn
from transformers import (
    ASTFeatureExtractor,
    FeatureExtractionMixin,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.masking_utils import create_bidirectional_mask

_positions = Lock()  # modules that make positions remember the last ones: a thread at a time


class Waves:
    """wav2vec 2.0, HuBERT, data2vec-audio: samples → convolutions → a frame each 20 ms."""

    extractor_class: type = Wav2Vec2FeatureExtractor
    frame_rate = 50  # Hz
    ordered = True  # its frames follow one another in time

    def __init__(self, network: nn.Module, extractor: FeatureExtractionMixin):
        self.network, self.extractor = network, extractor

    @staticmethod
    def part(model: nn.Module) -> nn.Module:
        """Return what is used of transformers' model."""
        return model

    @property
    def encoder(self) -> nn.Module:
        """The module that has the layers."""
        return self.network.encoder

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, the lowest first; the top ones can be tuned."""
        return self.encoder.layers

    @property
    def window(self) -> int | None:
        """Samples up to which every clip is filled; longer ones are cut. None: as they are."""
        return None

    def inputs(self, clips: Sequence[np.ndarray]) -> torch.Tensor:
        """Return what the network is fed for clips of 16 kHz samples `(N,)`: `(B, N)`."""
        waves = [torch.from_numpy(np.ascontiguousarray(clip, np.float32)) for clip in clips]
        if self.extractor.do_normalize:
            waves = [_standardised(wave) for wave in waves]
        return torch.stack(waves)

    def begin(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the front end's frames, and the first layer's input, both `(B, T, D)`."""
        front = self._projected(inputs)
        hidden = front + self.encoder.pos_conv_embed(front)
        return front, hidden if self._norm_is_last else self.encoder.layer_norm(hidden)

    def context(self, hidden: torch.Tensor, real: torch.Tensor | None = None) -> dict:
        """Return what layers read beside `(B, T, D)`; `real` `(B, T)` where some is padding."""
        if real is None:
            return {}
        config = self.network.config
        mask = create_bidirectional_mask(config=config, inputs_embeds=hidden, attention_mask=real)
        return {"attention_mask": mask}

    def run(self, layer: nn.Module, hidden: torch.Tensor, context: dict) -> torch.Tensor:
        """Return a layer's output `(B, T, D)`."""
        return layer(hidden, **context)

    def end(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the encoder's output `(B, T, D)` from its last layer's."""
        return self.encoder.layer_norm(hidden) if self._norm_is_last else hidden

    def unpadded(self, front: torch.Tensor, states: list[torch.Tensor], samples: int) -> tuple:
        """Return front and states `(B, T, D)` without what belongs to a window's silence."""
        return front, states

    @property
    def _norm_is_last(self) -> bool:
        return getattr(self.network.config, "do_stable_layer_norm", False)

    def _projected(self, waves: torch.Tensor) -> torch.Tensor:
        convolved = self.network.feature_extractor(waves).transpose(1, 2)  # (B, T, C)
        front = self.network.feature_projection(convolved)
        # wav2vec 2.0 returns a pair, HuBERT does not
        return front[0] if isinstance(front, tuple) else front  # (B, T, D)


class WavLM(Waves):
    """WavLM: its lowest layer has the positions of all."""

    def context(self, hidden: torch.Tensor, real: torch.Tensor | None = None) -> dict:
        """Return the bias of positions `(B · heads, T, T)`, and which frames are real."""
        batch, frames, _ = hidden.shape
        bias = self.layers[0].attention.compute_bias(frames, frames)  # (heads, T, T)
        bias = bias.repeat(batch, 1, 1)
        return {"position_bias": bias, "attention_mask": None if real is None else real.long()}

    def run(self, layer: nn.Module, hidden: torch.Tensor, context: dict) -> torch.Tensor:
        """Return a layer's output `(B, T, D)`."""
        return layer(hidden, **context)[0]


class Conformer(Waves):
    """wav2vec2-conformer: positions beside every layer; convolutions must not meet padding."""

    def begin(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the front end's frames, and the first layer's input, both `(B, T, D)`."""
        front = self._projected(inputs)
        return front, front

    def context(self, hidden: torch.Tensor, real: torch.Tensor | None = None) -> dict:
        """Return positions, the mask, and which frames are real."""
        embed = self.encoder.embed_positions
        with _positions:
            positions = None if embed is None else embed(hidden)
        beside = {"relative_position_embeddings": positions, "real": real}
        return beside | super().context(hidden, real)

    def run(self, layer: nn.Module, hidden: torch.Tensor, context: dict) -> torch.Tensor:
        """Return a layer's output `(B, T, D)`."""
        beside = {name: value for name, value in context.items() if name != "real"}
        with _without_padding(layer.conv_module.depthwise_conv, context["real"]):
            return layer(hidden, **beside)

    def end(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the encoder's output `(B, T, D)` from its last layer's."""
        return self.encoder.layer_norm(hidden)


class Wav2Vec2Bert(Conformer):
    """w2v-BERT: log-mel, two frames of 10 ms beside each other → a frame each 20 ms."""

    extractor_class = SeamlessM4TFeatureExtractor

    def inputs(self, clips: Sequence[np.ndarray]) -> torch.Tensor:
        """Return log-mel `(B, T, 2 · bands)` of clips `(N,)`, without a last frame half filled."""
        made = self.extractor(list(clips), sampling_rate=16_000, return_tensors="pt")
        return made.input_features[:, made.attention_mask[0].bool()]

    def run(self, layer: nn.Module, hidden: torch.Tensor, context: dict) -> torch.Tensor:
        """Return a layer's output `(B, T, D)`."""
        beside = {name: value for name, value in context.items() if name != "real"}
        return layer(hidden, conv_attention_mask=context["real"], **beside)

    def end(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the encoder's output `(B, T, D)`: its last layer's."""
        return hidden

    def _projected(self, waves: torch.Tensor) -> torch.Tensor:
        return self.network.feature_projection(waves)[0]  # (B, T, D)


class WhisperEncoder(Waves):
    """Whisper's encoder: log-mel of 30 s, however short the clip → a frame each 20 ms.

    Without the silence its states would be others: those of a clip of 4 s of speech by more than
    themselves in the upper layers of Whisper base.
    """

    extractor_class = WhisperFeatureExtractor

    @staticmethod
    def part(model: nn.Module) -> nn.Module:
        """Return the encoder; nothing is decoded."""
        return model.get_encoder()

    @property
    def encoder(self) -> nn.Module:
        """The module that has the layers."""
        return self.network

    @property
    def window(self) -> int | None:
        """Samples up to which every clip is filled; longer ones are cut."""
        return self.extractor.n_samples

    def inputs(self, clips: Sequence[np.ndarray]) -> torch.Tensor:
        """Return log-mel `(B, bands, 3000)` of clips `(N,)`."""
        made = self.extractor(list(clips), sampling_rate=16_000, return_tensors="pt")
        return made.input_features

    def begin(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the front end's frames, and the first layer's input, both `(B, 1500, D)`."""
        encoder = self.encoder
        convolved = nn.functional.gelu(encoder.conv1(inputs))
        front = nn.functional.gelu(encoder.conv2(convolved)).transpose(1, 2)
        return front, front + encoder.embed_positions.weight

    def run(self, layer: nn.Module, hidden: torch.Tensor, context: dict) -> torch.Tensor:
        """Return a layer's output `(B, T, D)`."""
        return layer(hidden, context.get("attention_mask"))

    def end(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the encoder's output `(B, T, D)` from its last layer's."""
        return self.encoder.layer_norm(hidden)

    def unpadded(self, front: torch.Tensor, states: list[torch.Tensor], samples: int) -> tuple:
        """Return front and states without the frames of the window's silence."""
        frames = -(-samples // 320)
        return front[:, :frames], [state[:, :frames] for state in states]


class AST(Waves):
    """The Audio Spectrogram Transformer: log-mel of 10 s, however short the clip → patches.

    Its frames are two tokens of the window and then, step by step of 100 ms, those of the patches
    from the lowest to the highest.
    """

    extractor_class = ASTFeatureExtractor
    frame_rate = 120  # Hz, twelve patches above one another
    ordered = False

    @property
    def encoder(self) -> nn.Module:
        """The module that has the layers."""
        return self.network

    @property
    def window(self) -> int | None:
        """Samples up to which every clip is filled; longer ones are cut."""
        return 400 + 160 * (self.extractor.max_length - 1)

    def inputs(self, clips: Sequence[np.ndarray]) -> torch.Tensor:
        """Return log-mel `(B, 1024, bands)` of clips `(N,)`; a frame takes 400 samples."""
        fewest = [np.pad(clip, (0, max(0, 400 - len(clip)))) for clip in clips]
        waves = [np.ascontiguousarray(clip, np.float32) for clip in fewest]
        return self.extractor(waves, sampling_rate=16_000, return_tensors="pt").input_values

    def begin(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the patches' means over frequency `(B, T', D)`, and the first layer's input."""
        embeddings = self.network.embeddings
        patches = embeddings.patch_embeddings(inputs).unflatten(1, self._grid)
        return patches.mean(1), embeddings(inputs)

    def end(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the encoder's output `(B, T, D)` from its last layer's."""
        return self.network.layernorm(hidden)

    def unpadded(self, front: torch.Tensor, states: list[torch.Tensor], samples: int) -> tuple:
        """Return front and states without the patches that hold nothing but silence, in time."""
        frames = max(1, 1 + (samples - 400) // 160)
        steps = 1 + (frames - 1) // self.network.config.time_stride
        return front[:, :steps], [self._in_time(state, steps) for state in states]

    @property
    def _grid(self) -> tuple[int, int]:
        """How many patches lie above one another, and after one another."""
        return self.network.embeddings.get_shape(self.network.config)

    def _in_time(self, state: torch.Tensor, steps: int) -> torch.Tensor:
        patches = state[:, 2:].unflatten(1, self._grid)[:, :, :steps]  # (B, F, T', D)
        return torch.cat([state[:, :2], patches.transpose(1, 2).flatten(1, 2)], 1)


FAMILIES: dict[str, type[Waves]] = {
    "wav2vec2": Waves,
    "hubert": Waves,
    "wavlm": WavLM,
    "data2vec-audio": Waves,
    "wav2vec2-conformer": Conformer,
    "wav2vec2-bert": Wav2Vec2Bert,
    "whisper": WhisperEncoder,
    "audio-spectrogram-transformer": AST,
}


@contextmanager
def _hooked(convolution: nn.Module, real: torch.Tensor) -> Iterator[None]:
    def zeros(_: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (inputs[0] * real[:, None],)  # (B, D, T)

    handle = convolution.register_forward_pre_hook(zeros)
    try:
        yield
    finally:
        handle.remove()


def _without_padding(convolution: nn.Module, real: torch.Tensor | None):
    """Let a convolution find zeros where frames are not `real` `(B, T)`, as beyond a clip's end."""
    return nullcontext() if real is None else _hooked(convolution, real)


def _standardised(wave: torch.Tensor) -> torch.Tensor:
    """Return samples `(N,)` of mean 0 and variance 1."""
    return (wave - wave.mean()) / (wave.var(unbiased=False) + 1e-7).sqrt()
