"""Families of teachers: each is transformers' own encoder, cut in two."""

import pytest
import torch
from learning import TASK, noise, teacher_params
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    AutoFeatureExtractor,
    AutoModel,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertModel,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from earshot.teacher.wav2vec2 import Teacher

WIDTH, LAYERS, TUNED = 32, 3, 2
SHAPE = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
CONVOLVED = SHAPE | {
    "conv_dim": (8,) * 7,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
}
WRITER = {
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_ffn_dim": 48,
    "decoder_attention_heads": 4,
    "vocab_size": 16,
    "num_mel_bins": 8,
    "max_source_positions": 100,  # of 2 s
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 1),
    "decoder_start_token_id": 2,
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens")),
}
PATCHES = SHAPE | {"num_mel_bins": 26, "max_length": 128}  # 2 × 12 patches
SAMPLES, MEL = (
    Wav2Vec2FeatureExtractor(),
    SeamlessM4TFeatureExtractor(feature_size=20, num_mel_bins=20),
)
MADE = {  # how transformers writes one, and what makes its inputs
    "wav2vec2": (Wav2Vec2Model, Wav2Vec2Config(**CONVOLVED), SAMPLES),
    "hubert": (HubertModel, HubertConfig(**CONVOLVED), SAMPLES),
    "wavlm": (WavLMModel, WavLMConfig(**CONVOLVED), SAMPLES),
    "wavlm, large": (WavLMModel, WavLMConfig(**CONVOLVED, do_stable_layer_norm=True), SAMPLES),
    "data2vec-audio": (Data2VecAudioModel, Data2VecAudioConfig(**CONVOLVED), SAMPLES),
    **{
        f"wav2vec2-conformer, {kind}": (
            Wav2Vec2ConformerModel,
            Wav2Vec2ConformerConfig(
                **CONVOLVED, position_embeddings_type=kind, conv_depthwise_kernel_size=5
            ),
            SAMPLES,
        )
        for kind in ("relative", "rotary")
    },
    "wav2vec2-bert": (
        Wav2Vec2BertModel,
        Wav2Vec2BertConfig(**SHAPE, feature_projection_input_dim=40, conv_depthwise_kernel_size=5),
        MEL,
    ),
    "whisper": (
        WhisperForConditionalGeneration,
        WhisperConfig(**WRITER),
        WhisperFeatureExtractor(feature_size=8, chunk_length=2),
    ),
    "audio-spectrogram-transformer": (
        ASTModel,
        ASTConfig(**PATCHES),
        ASTFeatureExtractor(num_mel_bins=26, max_length=128),
    ),
}


def saved(folder, name: str) -> str:
    """Save a random checkpoint in which nothing is neutral; return its folder."""
    model, config, extractor = MADE[name]
    torch.manual_seed(2)
    network = model(config)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    for buffer in network.buffers():  # running moments, away from 0 and 1
        if buffer.is_floating_point() and buffer.shape == (WIDTH,):
            buffer += 0.3
    network.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return str(folder)


def whole(folder: str, wave) -> tuple[torch.Tensor, ...]:
    """Return all states of transformers' own forward, the last one normalised as it does."""
    model = AutoModel.from_pretrained(folder).eval()
    encoder = model.get_encoder() if hasattr(model, "decoder") else model
    inputs = AutoFeatureExtractor.from_pretrained(folder)(
        wave, sampling_rate=16_000, return_tensors="pt"
    )
    with torch.inference_mode():
        output = encoder(**inputs, output_hidden_states=True)
    return *output.hidden_states[:LAYERS], output.last_hidden_state


def own_frames(name: str, states: torch.Tensor, samples: int) -> torch.Tensor:
    """Return which of a window's frames `(S, D)` are the clip's, counted by hand."""
    if name == "whisper":
        return states[: -(-samples // 320)]
    frames = 1 + (samples - 400) // 160  # of log-mel
    if name == "wav2vec2-bert":
        return states[: frames // 2]  # the last one may be half filled
    if name == "audio-spectrogram-transformer":
        rows, places = 2, 12
        steps = min(places, 1 + (frames - 1) // 10)
        order = [2 + row * places + step for step in range(steps) for row in range(rows)]
        return states[[0, 1, *order]]
    return states


def built(folder: str, **changes) -> Teacher:
    torch.manual_seed(7)
    return Teacher(teacher_params(folder, tuned_layers=TUNED, **changes), TASK).eval()


def window(teacher: Teacher) -> int:
    return teacher.encoder.window or 9600


@pytest.mark.parametrize("name", MADE)
def test_the_cut_encoder_is_transformers_own(tmp_path, name):
    folder = saved(tmp_path, name)
    teacher = built(folder)
    wave = noise(1, window(teacher) / 16_000)  # a whole window: nothing of it is silence
    expected = [own_frames(name, state[0], len(wave)) for state in whole(folder, wave)]
    with torch.inference_mode():
        _, states = teacher.lower(wave)
        _, layers = teacher.encode(states[-1][None], torch.tensor([len(states[-1])]))
    found = [*states, *(layer[0] for layer in layers[1:])]
    assert len(found) == LAYERS + 1 and found[0].std() > 0.01
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", MADE)
def test_padding_changes_nothing(tmp_path, name):
    folder = saved(tmp_path, name)
    teacher = built(folder)
    waves = [noise(2, 0.31), noise(3, 0.5)]
    with torch.inference_mode():
        lower = [teacher.lower(wave) for wave in waves]
        for wave, one in zip(waves, lower, strict=True):  # as frozen layers heard it
            for depth, state in enumerate(one.states):
                expected = own_frames(name, whole(folder, wave)[depth][0], len(wave))
                assert torch.allclose(state, expected, atol=1e-5)
        states = [one.states[-1] for one in lower]
        lengths = torch.tensor([len(state) for state in states])
        padded = torch.full((2, int(lengths.max()) + 5, WIDTH), 1e3)
        for row, state in enumerate(states):
            padded[row, : len(state)] = state
        pooled, together = teacher.encode(padded, lengths)
        for row, state in enumerate(states):
            mean, alone = teacher.encode(state[None], lengths[row : row + 1])
            assert torch.allclose(mean[0], pooled[row], atol=1e-5)
            for one, other in zip(alone, together, strict=True):
                assert torch.allclose(one[0], other[row, : len(state)], atol=1e-5)


@pytest.mark.parametrize("name", ["whisper", "audio-spectrogram-transformer"])
def test_a_clip_longer_than_a_window_is_heard_in_several(tmp_path, name):
    teacher = built(saved(tmp_path, name))
    size = window(teacher)
    wave = noise(4, (size + 100) / 16_000)  # a rest shorter than a frame of log-mel
    assert len(wave) == size + 100
    with torch.inference_mode():
        parts = [teacher.lower(part) for part in (wave[:size], wave[size:])]
        _, states = teacher.lower(wave)
    for depth, state in enumerate(states):
        joined = torch.cat([part.states[depth] for part in parts])
        assert torch.equal(state, joined)
