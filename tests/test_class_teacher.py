"""A teacher of fixed classes: nothing to read, views, a head for every layer, and the control
without pretraining.
"""

import numpy as np
import pytest
import torch
from learning import CLASSES as TASK
from learning import (
    LAYERS,
    WIDTH,
    clips,
    copied,
    noise,
    noting,
    same,
    scene,
    teacher_params,
    tiny_checkpoint,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from earshot.features.recordings import Recordings
from earshot.params import Views
from earshot.tables import signals
from earshot.tasks.classes import Classes
from earshot.teacher import ask, finetune, frozen, saved
from earshot.teacher.auxiliary import fit_auxiliary
from earshot.teacher.wav2vec2 import CheckpointError, Teacher

SECONDS = {"u0": 0.30, "u1": 0.41, "u2": 0.35, "u3": 0.5, "u4": 0.28, "u5": 0.33}
CLASSES = {"text": None, "auxiliary": True}
CLIPS = [scene(f"u{i}", i % 3) for i in range(5)]
VIEWS = Views(count=2, devices=["a"])  # u0, u2 and u4


@pytest.fixture
def heard_again(tmp_path) -> Recordings:
    return Recordings(clips(tmp_path / "clips", SECONDS), VIEWS, seed=3)


def class_teacher(checkpoint: str, scratch: int | None = None, **changes) -> Teacher:
    torch.manual_seed(7)
    return Teacher(teacher_params(checkpoint, **CLASSES | changes), TASK, scratch)


def test_a_teacher_of_classes_learns_from_all_views_and_answers_the_same_when_loaded(
    tmp_path, heard_again
):
    checkpoint = tiny_checkpoint(tmp_path / "encoder")
    params = teacher_params(checkpoint, **CLASSES, epochs=25, learning_rate=5e-3)
    model = class_teacher(checkpoint)
    states = frozen.store_states(model, heard_again, CLIPS, tmp_path / "lower.parquet")
    expected = [(id, view) for id in SECONDS if id != "u5" for view in heard_again.views[id]]
    assert sorted(states) == expected and len(states) == 5 + 2 * 3
    for key in states:
        lower = model.lower(heard_again[key]).states[-1].numpy()
        assert np.allclose(states[key], lower, rtol=1e-3, atol=1e-3)  # float16
    seen = []
    data = (states, CLIPS, CLIPS)
    finetune.fine_tune(model, TASK, params, *data, 3, tmp_path / "scratch", noting(seen))
    history = [scores for _, scores in seen]
    assert min(scores["loss"] for scores in history) < 0.5 * history[0]["loss"]
    assert max(scores["validation"] for scores in history) >= 0.8
    fit_auxiliary(model, TASK, heard_again, CLIPS)
    saved.save(model, TASK, params, tmp_path / "saved")
    loaded, _ = saved.load(params, "classes", tmp_path / "saved")
    assert same(copied(loaded), copied(model))
    found, expected = (ask.answers(one, TASK, heard_again, CLIPS) for one in (loaded, model.eval()))
    for clip in CLIPS:
        assert np.array_equal(found[clip.id], expected[clip.id])
        assert found[clip.id].shape == (3,)
    kept = TASK.score_all(found, CLIPS).value
    assert kept in (max(s["validation"] for s in history), history[-1]["validation"])
    other = tmp_path / "other"
    saved.save(model, Classes(None, ("bus", "airport", "park")), params, other)
    # labels are part of who it is
    assert signals.identity(other) != signals.identity(tmp_path / "saved")


@pytest.mark.parametrize("style", ["group", "layer", "hubert"])
@pytest.mark.parametrize(
    "answers", [(0, 1, 2, 0, 1), (0, 2, 2, 0, 2)], ids=["three classes", "two of three"]
)
@pytest.mark.parametrize("tuned_layers", [0, 2, 3])
def test_auxiliary_heads_are_logistic_regressions_on_means_of_layers(
    tmp_path, heard_again, style, tuned_layers, answers
):
    model = class_teacher(tiny_checkpoint(tmp_path / "encoder", style), tuned_layers=tuned_layers)
    asked = [scene(f"u{i}", answer) for i, answer in enumerate(answers)]
    before = copied(model)
    fit_auxiliary(model.train(), TASK, heard_again, asked)
    changed = {
        name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed == {
        f"auxiliary.{layer}.{part}" for layer in range(LAYERS) for part in ("weight", "bias")
    }

    whole = AutoModel.from_pretrained(tmp_path / "encoder").eval()
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(tmp_path / "encoder")
    means, labels = [], []  # clips count in all their views: 5 + 2 · 3 rows
    for clip in asked:
        for view in heard_again.views[clip.id]:
            values = extractor(
                heard_again[clip.id, view], sampling_rate=16_000, return_tensors="pt"
            ).input_values
            with torch.inference_mode():
                found = whole(values, output_hidden_states=True)
            # behind the last layer of the "layer" style there is one more norm
            means.append(
                torch.stack([*found.hidden_states[1:LAYERS], found.last_hidden_state])[:, 0].mean(1)
            )
            labels.append(clip.answer)
    means = torch.stack(means)
    assert means.shape == (11, LAYERS, WIDTH)
    for layer in range(LAYERS):
        inputs = means[:, layer].numpy()
        direct = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(inputs, labels)
        own = torch.from_numpy(inputs)
        said = model.auxiliary[layer](own).softmax(-1).detach().numpy()
        expected = np.zeros((11, 3))
        expected[:, direct.classes_] = direct.predict_proba(inputs)
        assert np.ptp(expected[:, 0]) > 0.1
        assert said == pytest.approx(expected, abs=5e-3), layer  # states in float16


def test_the_control_is_the_same_teacher_with_random_weights(tmp_path):
    checkpoint = tiny_checkpoint(tmp_path / "encoder")
    params = teacher_params(checkpoint, **CLASSES)
    pretrained, control, again, other = (
        class_teacher(checkpoint, scratch) for scratch in (None, 5, 5, 6)
    )
    assert same(copied(control), copied(again))
    weights, drawn, another = copied(pretrained), copied(control), copied(other)
    assert weights.keys() == drawn.keys()
    named = [name for name in weights if name.endswith(".weight")]
    matrices = [name for name in named if weights[name].dim() > 1]
    assert len(matrices) > 7 + 6 * LAYERS
    for name in matrices:
        assert not torch.equal(weights[name], drawn[name]), name
        assert not torch.equal(another[name], drawn[name]), name
    one, other = (model.lower(noise(1)).states[-1] for model in (control, pretrained))
    assert not torch.equal(one, other)
    assert not any(module.training for module in control.backbone.modules())

    saved.save(control, TASK, params, tmp_path / "control")
    assert same(copied(saved.load(params, "classes", tmp_path / "control", scratch=5)[0]), drawn)
    for wrong in (None, 6):
        with pytest.raises(
            CheckpointError, match="not the checkpoint or network that .*control was"
        ):
            saved.load(params, "classes", tmp_path / "control", scratch=wrong)
