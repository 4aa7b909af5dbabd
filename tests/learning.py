"""What the tests of learning share: items, noise, tiny checkpoints, and a teacher cache written by hand."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from earshot import store, teacher_cache
from earshot.files import sha256, write_json
from earshot.items import Item
from earshot.params import Cache, Teacher, Text

torch.set_num_threads(1)

TEXT = Text(buckets=64, dim=8)
LAYERS, WIDTH = 3, 32
STYLES = {  # style: (config, model, what differs from wav2vec 2.0 base)
    "group": (Wav2Vec2Config, Wav2Vec2Model, {}),  # as facebook/wav2vec2-base
    "layer": (
        Wav2Vec2Config,
        Wav2Vec2Model,
        {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    ),
    "hubert": (HubertConfig, HubertModel, {}),
}


def item(id: str, utterances: Sequence[str], answer: int = 0, **changes) -> Item:
    fields = {"role": "teacher", "question": "what did they buy", "options": ("a bike", "two lamps", "rain boots")}
    return Item(
        id=id, skill="detail", passage=utterances[0], utterances=tuple(utterances), answer=answer, **fields | changes
    )


def noise(seed: int, seconds: float = 0.3) -> np.ndarray:
    """Noise with a slow swell and an offset, so that neither time nor normalisation is lost."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(16_000 * seconds)) / 16_000
    return (0.05 + 0.1 * rng.normal(size=len(time)) * (1 + np.sin(7 * (1 + seed) * time))).astype(np.float32)


def clips(folder: Path, seconds: dict[str, float]) -> pd.DataFrame:
    """Write a clip of noise per id; return the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (id, length) in enumerate(seconds.items()):
        soundfile.write(folder / f"{id}.wav", np.clip(noise(number, length), -1, 1), 16_000, subtype="PCM_16")
    return pd.DataFrame({"id": list(seconds), "path": [str(folder / f"{id}.wav") for id in seconds]})


def tiny_checkpoint(folder: Path, style: str = "group", unit_variance: bool = True, **changes) -> str:
    """Save a random encoder of three layers and width 32, without dropout; return its folder."""
    config, model, differs = STYLES[style]
    quiet = dict.fromkeys(
        ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"), 0.0
    )
    shape = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "conv_dim": (8,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "mask_time_prob": 0.0,
    }
    torch.manual_seed(11)
    encoder = model(config(**quiet | shape | differs | changes))
    for parameter in encoder.parameters():  # far from the initial zeros and ones, so that nothing is neutral
        parameter.data += 0.05 * torch.randn_like(parameter)
    encoder.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=unit_variance).save_pretrained(folder)
    return str(folder)


def teacher_params(checkpoint: str, **changes) -> Teacher:
    return Teacher(**{"checkpoint": checkpoint, "tuned_layers": 2, "epochs": 3, "batch_passages": 2, "text": TEXT} | changes)


def mel_store(path: Path, sequences: dict[str, np.ndarray]) -> store.Store:
    rows = [(id, 0, array) for id, array in sequences.items()]
    store.write(path, rows, "mel", rows[0][2].shape[1], {})
    return store.Store(path)


def cache_by_hand(
    folder: Path, items: Sequence[Item], logits: dict[str, np.ndarray], hidden: dict[str, np.ndarray]
) -> teacher_cache.TeacherCache:
    """Write what a teacher might have said, no teacher at hand, and open it."""
    params, identity = Cache(), "an oracle"
    rows = [
        {
            "item": item.id,
            "view": 0,
            "logits": logits[item.id].tolist(),
            "hidden": hidden[item.id].astype(np.float16).tobytes(),
        }
        for item in items
    ]
    key = teacher_cache.key(items, identity, params)
    described = teacher_cache.SCHEMA.with_metadata({"earshot": json.dumps({"teacher": identity, "key": key})})
    folder.mkdir(parents=True)
    part = folder / "part-00000.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=described), part)
    index = {"key": key, "teacher": identity, "items": len(items), "layers": 1, "parts": {part.name: sha256(part)}}
    write_json(folder / "index.json", index)
    return teacher_cache.TeacherCache(folder, items, identity, params)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are bit-identical."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}
