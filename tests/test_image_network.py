"""Image networks on log-mel: padding changes nothing, weights are those of the folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from learning import CLASSES, clips, noting, scene
from transformers import (
    EfficientNetConfig,
    EfficientNetModel,
    MobileNetV2Config,
    MobileNetV2Model,
    PreTrainedModel,
)

from earshot.features.log_mel import log_mel
from earshot.features.recordings import Recordings
from earshot.params import Cache, Features, Image, NetworkTeacher
from earshot.tables import signals
from earshot.teacher import ask, cache, saved, tune
from earshot.teacher.image import ImageNetwork
from earshot.teacher.wav2vec2 import CheckpointError
from earshot.training.batches import pad_frames

MELS = 12
TINY = {
    "in_channels": [32, 16],
    "out_channels": [16, 24],
    "kernel_sizes": [3, 3],
    "strides": [1, 2],
    "num_block_repeats": [1, 1],
    "expand_ratios": [1, 2],
    "depthwise_padding": [],
    "width_coefficient": 0.5,
    "depth_coefficient": 1.0,
    "hidden_dim": 640,
}


def tiny(folder: Path, family: str) -> PreTrainedModel:
    """Save a random image network; return it."""
    torch.manual_seed(2)
    if family == "efficientnet":
        model = EfficientNetModel(EfficientNetConfig(**TINY))
    else:
        model = MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.1, min_depth=4))
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("family", ["efficientnet", "mobilenet_v2"])
def test_a_clip_is_what_the_library_makes_of_it_alone_or_in_a_batch(tmp_path, family):
    model = tiny(tmp_path, family)
    network = ImageNetwork(Image(name="image", checkpoint=str(tmp_path)), MELS, CLASSES).eval()
    assert {m.momentum for m in network.modules() if hasattr(m, "momentum")} == {0.1}
    before = {name: value for name, value in model.state_dict().items() if "running" in name}
    for name, value in before.items():  # being built, it has seen nothing
        assert torch.equal(network.backbone.state_dict()[name], value)
    assert network.norm.running_var == 1
    lengths = torch.tensor([70, 40, 70])
    mel = torch.randn(3, 70, MELS)
    mel[1, 40:] = 9.0  # padding
    with torch.inference_mode():
        pooled, (layer,) = network.encode(mel, lengths)
        for row, length in enumerate(lengths.tolist()):
            # a norm that has seen nothing keeps all but 1e-5 of its input
            picture = mel[row, :length][None, None].expand(1, 3, -1, -1) / (1 + 1e-5) ** 0.5
            maps = model(picture).last_hidden_state[0]  # (D, T′, F′)
            np.testing.assert_allclose(pooled[row], maps.mean((1, 2)), rtol=1e-4, atol=1e-5)
            frames = maps.mean(2).T  # (T′, D)
            np.testing.assert_allclose(layer[row, : len(frames)], frames, rtol=1e-4, atol=1e-5)


def test_without_pretraining_the_config_is_all_that_is_taken(tmp_path):
    model = tiny(tmp_path, "mobilenet_v2")
    row = Image(name="image", checkpoint=str(tmp_path), pretrained=False)
    network = ImageNetwork(row, MELS, CLASSES)
    drawn, saved_weights = network.backbone.state_dict(), model.state_dict()
    assert drawn.keys() == saved_weights.keys()
    assert not torch.equal(
        drawn["conv_1x1.convolution.weight"], saved_weights["conv_1x1.convolution.weight"]
    )


def test_another_family_and_damage_are_one_line_with_the_checkpoint(tmp_path):
    row = Image(name="image", checkpoint=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    told = r"^network.checkpoint='.*': model_type 'bert' is no efficientnet or mobilenet_v2$"
    with pytest.raises(CheckpointError, match=told):
        ImageNetwork(row, MELS, CLASSES)
    tiny(tmp_path, "mobilenet_v2")
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"^network.checkpoint='[^\n]*$"):
        ImageNetwork(row, MELS, CLASSES)


def test_it_is_tuned_and_cached_as_any_other_teacher(tmp_path):
    tiny(tmp_path / "image", "efficientnet")
    front = Features(n_mels=MELS, n_fft=512, win_length=512, hop_length=160, norm="none")
    image = Image(name="image", checkpoint=str(tmp_path / "image"))
    row = NetworkTeacher(track="any", network=image, features=front, epochs=1, batch=2)
    ids = {f"u{n}": 0.4 + 0.1 * (n % 2) for n in range(4)}
    recordings = Recordings(clips(tmp_path / "clips", ids))
    asked = [scene(id, n % 3) for n, id in enumerate(ids)]
    folder, out = tmp_path / "teacher", tmp_path / "cache"
    task = ("classes", recordings, asked, asked, 0, tmp_path / "scratch")
    tune.tune(row, *task, folder, noting([]))
    kept, who = Cache(), signals.identity(folder)
    cache.write(
        out, ask.Asker(row, "classes", folder, recordings, kept), who, asked, recordings.views, kept
    )
    found = signals.Signals(out, asked, who, kept.model_dump(), recordings.views)
    model, _ = saved.load(row, "classes", folder)
    for id in ids:
        mel = pad_frames([log_mel(recordings[id, 0], front).astype(np.float16)])
        with torch.inference_mode():
            logits = model.head(model.pool(mel, torch.tensor([mel.shape[1]])))[0]
        np.testing.assert_allclose(found["logits", id, 0][:, 0], logits, rtol=1e-4, atol=1e-4)
