"""What the tests of learning share: items, noise, tiny checkpoints, and a teacher cache written by
hand.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from earshot.features.recordings import Key
from earshot.params import Cache, Teacher, Text
from earshot.tables import sequences as store
from earshot.tables.items import Item
from earshot.tables.signals import DTYPES, Signals
from earshot.tasks.choice import Choice
from earshot.tasks.classes import Classes
from earshot.teacher import cache
from earshot.teacher import wav2vec2 as teacher_model
from earshot.training.batches import Group
from earshot.training.routing import attention

torch.set_num_threads(1)

TEXT = Text(buckets=64, dim=8)
TASK = Choice(TEXT)
SCENES = ("airport", "bus", "park")
CLASSES = Classes(None, SCENES)
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
    options = ("a bike", "two lamps", "rain boots")
    fields = {"role": "teacher", "question": "what did they buy", "options": options}
    about = {"passage": utterances[0], "utterances": tuple(utterances)}
    return Item(id=id, skill="detail", answer=answer, **about, **fields | changes)


def scene(id: str, answer: int, role: str = "fewshot", *more: str) -> Item:
    """A clip of one of three classes, unlabelled in the pool."""
    known = -1 if role == "pool" else answer
    return replace(
        item(id, [id, *more], known, role=role, question="", options=SCENES), skill="scene"
    )


ABOUT_EIGHT = [  # one or two items about each of seven passages, one about two utterances
    *[
        item(f"q{i}-{j}", [f"u{i}"], (i + j) % 3, question=f"question {j}")
        for i in range(7)
        for j in range(1 + i % 2)
    ],
    item("two", ["u7", "u0"], 1, options=("yes it is", "no")),
]


def eight_sequences(path: Path) -> store.Store:
    """Write u0 … u7, noise of 6 to 27 frames of 4 bands, and open them."""
    rng = np.random.default_rng(0)
    return mel_store(
        path, {f"u{i}": rng.normal(size=(6 + 3 * i, 4)).astype(np.float16) for i in range(8)}
    )


def noise(seed: int, seconds: float = 0.3) -> np.ndarray:
    """Noise with a slow swell and an offset, so that neither time nor normalisation is lost."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(16_000 * seconds)) / 16_000
    return (0.05 + 0.1 * rng.normal(size=len(time)) * (1 + np.sin(7 * (1 + seed) * time))).astype(
        np.float32
    )


def clips(folder: Path, seconds: dict[str, float]) -> pd.DataFrame:
    """Write a clip of noise per id; return the manifest: all may be trained on, and device a made
    every other one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, (id, length) in enumerate(seconds.items()):
        soundfile.write(
            folder / f"{id}.wav", np.clip(noise(number, length), -1, 1), 16_000, subtype="PCM_16"
        )
    columns = {"id": list(seconds), "path": [str(folder / f"{id}.wav") for id in seconds]}
    return pd.DataFrame(
        columns | {"split": "pool", "device": [("a", "b")[n % 2] for n in range(len(seconds))]}
    )


def tiny_checkpoint(
    folder: Path, style: str = "group", unit_variance: bool = True, **changes
) -> str:
    """Save a random encoder of three layers and width 32, without dropout; return its folder."""
    config, model, differs = STYLES[style]
    dropouts = (f"{place}_dropout" for place in ("hidden", "attention", "activation", "feat_proj"))
    quiet = dict.fromkeys((*dropouts, "layerdrop"), 0.0)
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
    # far from the initial zeros and ones, so that nothing is neutral
    for parameter in encoder.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    encoder.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=unit_variance).save_pretrained(folder)
    return str(folder)


def teacher_params(checkpoint: str, **changes) -> Teacher:
    known = {"tuned_layers": 2, "epochs": 3, "batch": 2, "text": TEXT}
    return Teacher(**{"track": "any", "checkpoint": checkpoint} | known | changes)


def mel_store(path: Path, sequences: Mapping[str | Key, np.ndarray]) -> store.Store:
    """Write sequences, of view 0 where no view is given, and open them."""
    rows = [
        ((key, 0) if isinstance(key, str) else key) + (array,) for key, array in sequences.items()
    ]
    store.write(path, rows, "mel", rows[0][2].shape[1], {})
    return store.Store(path)


def cache_by_hand(
    folder: Path,
    items: Sequence[Item],
    known: Mapping[Key, Mapping[str, np.ndarray]],
    fronts: Mapping[Key, np.ndarray] | None = None,
) -> Signals:
    """Write signals `(T, W)` of each (item, view), no teacher at hand, and open them.

    With `fronts`, by utterance and view, it is a layered cache.
    """
    params, identity = Cache(layered=fronts is not None), "an oracle"
    views: dict[str, list[int]] = {}
    for item in items:
        for utterance in item.utterances:
            views[utterance] = sorted(view for id, view in known if id == item.id)

    def ask(groups: Sequence[Group]) -> Iterator:
        for audio, view, about in groups:
            rows = {
                name: [(item.id, view, known[item.id, view][name]) for item in about]
                for name in DTYPES
                if name in known[about[0].id, view]
            }
            if fronts:
                rows["front"] = [(utterance, view, fronts[utterance, view]) for utterance in audio]
            yield rows

    cache.write(folder, ask, identity, items, views, params)
    return Signals(folder, items, identity, params.model_dump(), views)


class SceneWorld:
    """Scenes as log-mel, 30 to 40 frames long: in each class bands swell at paces of their own;
    views are tilted.

    A teacher of three layers knows them all, the higher the better, and hears a front end of five
    units at half the pace.
    """

    MELS, FRONT = 8, 5

    def __init__(self, folder: Path, seed: int = 0, **sizes: int):
        rng = np.random.default_rng(seed)
        paces = np.array([[0.3] * 4 + [1.6] * 4, [1.6] * 4 + [0.3] * 4, [0.8] * 8])
        turn = rng.normal(size=(LAYERS, self.MELS, self.MELS))
        ear = rng.normal(size=(self.MELS, self.FRONT))
        self.items: dict[str, list[Item]] = {}
        self.right: dict[str, int] = {}
        mel, said, fronts = {}, {}, {}
        for role, count in (
            {"fewshot": 9, "pool": 48, "validation": 24, "test": 60} | sizes
        ).items():
            self.items[role] = [scene(f"{role}-{n}", n % len(SCENES), role) for n in range(count)]
            for n, clip in enumerate(self.items[role]):
                self.right[clip.id] = n % len(SCENES)
                swell = np.sin(
                    np.arange(rng.integers(30, 41))[:, None] * paces[n % len(SCENES)]
                    + rng.uniform(0, 2, self.MELS)
                )
                frames = 2 * swell + 0.5 * rng.normal(size=swell.shape)
                for view in range(3 if role in ("fewshot", "pool") and n % 2 else 1):
                    heard = frames + view * np.linspace(-0.3, 0.3, self.MELS)
                    mel[clip.id, view] = heard.astype(np.float16)
                    right = np.arange(len(SCENES)) == n % len(SCENES)
                    layers = right * np.arange(1, LAYERS + 1)[:, None] + rng.normal(
                        0, 0.3, (LAYERS, len(SCENES))
                    )
                    turned = [torch.from_numpy((heard @ one).cumsum(0))[None] for one in turn]
                    maps = [attention(frames, torch.tensor([len(heard)])) for frames in turned]
                    said[clip.id, view] = {
                        "logits": (2 * layers[-1])[:, None],
                        "hidden": heard.mean(0)[None],
                        "layer_logits": layers,
                        "attention": torch.cat(maps).flatten(1).numpy(),
                    }
                    fronts[clip.id, view] = (heard[::2] @ ear + 1).astype(np.float16)
        self.mel = mel_store(folder / "mel.parquet", mel)
        self.asked = self.items["fewshot"] + self.items["pool"]
        known = {(clip.id, view) for clip in self.asked for view in self.mel.views()[clip.id]}
        self.cache = cache_by_hand(
            folder / "cache", self.asked, {key: said[key] for key in known}, fronts
        )


def forbid_teacher(monkeypatch) -> None:
    """Let whoever makes or asks a teacher fail."""

    def refuse(*_, **__):
        raise AssertionError("the teacher was asked")

    monkeypatch.setattr(teacher_model, "load_backbone", refuse)
    for name in ("__init__", "lower", "encode", "pool"):
        monkeypatch.setattr(teacher_model.Teacher, name, refuse)


def noting(seen: list) -> Callable[..., None]:
    """Return what keeps all it is called with, as `on_epoch`."""
    return lambda *each: seen.append(each)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are bit-identical."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}
