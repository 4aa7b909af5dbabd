"""The teacher: its own architecture cut in two, what is tuned, what is cached, who it is."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from learning import (
    LAYERS,
    TASK,
    WIDTH,
    clips,
    copied,
    item,
    noise,
    noting,
    same,
    teacher_params,
    tiny_checkpoint,
)
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModel,
    BertModel,
    SEWModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from earshot.features.recordings import Key, Recordings
from earshot.models.heads import Encoded
from earshot.params import Teacher as TeacherParams
from earshot.params import Text
from earshot.tables import signals
from earshot.tasks.choice import Choice
from earshot.tasks.task import Score
from earshot.teacher import ask, finetune, frozen, saved
from earshot.teacher.tune import tune as tune_stage
from earshot.teacher.wav2vec2 import CheckpointError, Teacher, load_backbone
from earshot.training import losses
from earshot.training.batches import Loader
from earshot.training.loop import validate

SECONDS = {"u0": 0.30, "u1": 0.41, "u2": 0.35, "u3": 0.5, "u4": 0.28, "u5": 0.33}
TRAINING = [
    *[item(f"t{i}", [f"u{i}"], i % 3) for i in range(4)],
    item("t4", ["u1", "u2"], 2, question="which words are said"),
    item("t5", ["u3"], 1, options=("yes", "no")),
]
VALIDATION = [item("v0", ["u4"], 0), item("v1", ["u5"], 1)]
# without gradient: they shift all scores of a query, all options, alike
IDLE = ("k_proj.bias", "head.embed.2.bias")


@pytest.fixture(params=["group", "layer", "hubert"])
def style(request) -> str:
    return request.param


@pytest.fixture
def recordings(tmp_path) -> Recordings:
    return Recordings(clips(tmp_path / "clips", SECONDS))


def random_teacher(checkpoint: str, **changes) -> Teacher:
    torch.manual_seed(7)
    return Teacher(teacher_params(checkpoint, **changes), TASK)


def tune(model, params, states, scratch, seed=3) -> list[dict[str, float]]:
    history = []
    data = (states, TRAINING, VALIDATION)
    finetune.fine_tune(model, TASK, params, *data, seed, scratch, noting(history))
    return [scores for _, scores in history]


# the encoder, cut in two


@pytest.mark.parametrize("tuned_layers", [0, 1, 2, 3])
@pytest.mark.parametrize("unit_variance", [True, False])
def test_lower_then_upper_is_transformers_own_forward(tmp_path, style, tuned_layers, unit_variance):
    checkpoint = tiny_checkpoint(tmp_path, style, unit_variance)
    model = random_teacher(checkpoint, tuned_layers=tuned_layers).eval()
    wave = noise(1)
    values = Wav2Vec2FeatureExtractor.from_pretrained(checkpoint)(
        wave, sampling_rate=16_000, return_tensors="pt"
    ).input_values
    with torch.inference_mode():
        encoder, fronts = AutoModel.from_pretrained(checkpoint).eval(), []
        encoder.feature_projection.projection.register_forward_hook(
            lambda *call: fronts.append(call[2][0])
        )
        whole = encoder(values, output_hidden_states=True)
        front, states = model.lower(wave)
        lower = states[-1]
        pooled, stages = model.encode(lower[None], torch.tensor([len(lower)]))
    assert lower.shape == front.shape == (14, WIDTH)  # 4800 samples, 50 frames a second
    assert torch.allclose(front, fronts[0], atol=1e-5)
    assert len(states) == LAYERS - tuned_layers + 1
    for depth, state in enumerate(states):
        assert torch.allclose(state, whole.hidden_states[depth][0], atol=1e-5), depth
    assert lower.std() > 0.05
    assert torch.equal(pooled, stages[-1].mean(1))
    expected = [*whole.hidden_states[LAYERS - tuned_layers : LAYERS], whole.last_hidden_state]
    for one, other in zip(stages, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_upper_in_a_padded_batch_is_upper_alone(tmp_path, style):
    model = random_teacher(tiny_checkpoint(tmp_path, style)).eval()
    states = [
        torch.randn(length, WIDTH, generator=torch.Generator().manual_seed(length))
        for length in (5, 17, 9)
    ]
    padded = torch.full((3, 20, WIDTH), 1e3)  # whatever lies in the padding is not heard
    for row, state in enumerate(states):
        padded[row, : len(state)] = state
    lengths = torch.tensor([5, 17, 9])
    with torch.inference_mode():
        pooled, together = model.encode(padded, lengths)
        for row, state in enumerate(states):
            alone = model.encode(state[None], lengths[row : row + 1])[1]
            for one, other in zip(alone, together, strict=True):
                assert torch.allclose(one[0], other[row, : len(state)], atol=1e-5)
            assert torch.allclose(pooled[row], alone[-1][0].mean(0), atol=1e-5)


@pytest.mark.parametrize("tuned_layers", [0, 1, 2])
def test_only_the_top_layers_and_the_head_have_gradients(tmp_path, style, tuned_layers):
    model = random_teacher(tiny_checkpoint(tmp_path, style), tuned_layers=tuned_layers)
    tuned = [f"backbone.encoder.layers.{n}." for n in range(LAYERS - tuned_layers, LAYERS)]
    expected = {name for name, _ in model.named_parameters() if name.startswith(("head.", *tuned))}
    assert {name for name, one in model.named_parameters() if one.requires_grad} == expected
    assert set(model.tuned_state()) == expected


# training from cached states


class InMemory:
    """A stand-in for the store: float32 states, never rounded to float16."""

    def __init__(self, model: Teacher, recordings: Recordings):
        self.states = {
            (id, 0): model.lower(recordings[id, 0]).states[-1].numpy() for id in recordings.views
        }

    def views(self) -> dict[str, list[int]]:
        return {id: [view] for id, view in self.states}

    def frames(self, id: str) -> int:
        return len(self.states[id, 0])

    def __getitem__(self, key: Key) -> np.ndarray:
        return self.states[key]


@pytest.fixture
def double():
    """Train in float64: gradients that cancel would else leave rounding errors, which Adam blows up
    to full steps.
    """
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def tune_naively(
    checkpoint, recordings, params, seed, order
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Fine-tune without any cache: every step runs the whole encoder by transformers' own forward,
    clip by clip.
    """
    head = random_teacher(checkpoint).head.double()
    whole = AutoModel.from_pretrained(checkpoint).eval().requires_grad_(False).double()
    tuned = whole.encoder.layers[LAYERS - params.tuned_layers :].requires_grad_(True)
    parameters = [*tuned.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=params.learning_rate)
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(checkpoint)
    waves = {
        id: extractor(
            recordings[id, 0], sampling_rate=16_000, return_tensors="pt"
        ).input_values.double()
        for id in recordings.views
    }
    seen = []
    for epoch in range(params.epochs):
        for batch in order.shuffled(seed, epoch):
            pooled = [
                whole(waves[asked.utterances[0]]).last_hidden_state[0].mean(0)
                for asked in batch.items
            ]
            encoded = Encoded(torch.stack(pooled), [], *[torch.tensor([])] * 3)
            logits = head(encoded, *batch.inputs.values())
            loss = losses.cross_entropy(logits, batch.targets["answers"])
            share = len(seen) / (params.epochs * len(order))
            optimizer.param_groups[0]["lr"] = (
                params.learning_rate * 0.5 * (1 + np.cos(np.pi * share))
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 5.0)
            optimizer.step()
            seen.append(loss.item())
    weights = {f"backbone.{name}": tensor for name, tensor in whole.state_dict().items()}
    return weights | {f"head.{name}": tensor for name, tensor in head.state_dict().items()}, seen


def test_training_from_cached_states_is_training_that_recomputes_them(
    tmp_path, recordings, style, double, monkeypatch
):
    training = [asked for asked in TRAINING if len(asked.utterances) == 1]
    epochs = iter(range(100))  # let the last epoch be the best
    monkeypatch.setattr(finetune, "validate", lambda *_: Score(next(epochs), 0.0, 0.0))
    checkpoint = tiny_checkpoint(tmp_path / "encoder", style)
    params = teacher_params(checkpoint, learning_rate=1e-3)

    def tuned(name: str, states) -> tuple[dict[str, torch.Tensor], list[float]]:
        model, seen = random_teacher(checkpoint).double(), []
        data = (states, training, VALIDATION)
        finetune.fine_tune(model, TASK, params, *data, 3, tmp_path / name, noting(seen))
        return copied(model), [scores["loss"] for _, scores in seen]

    fresh = random_teacher(checkpoint)
    exact_states = InMemory(fresh, recordings)
    order = Loader(training, exact_states, TASK, params.batch)
    naive, naive_losses = tune_naively(checkpoint, recordings, params, 3, order)
    exact, exact_losses = tuned("exact", exact_states)
    states = frozen.store_states(
        fresh, recordings, training + VALIDATION, tmp_path / "lower.parquet"
    )
    rounded, _ = tuned("rounded", states)

    assert exact_losses == pytest.approx(
        np.reshape(naive_losses, (params.epochs, -1)).mean(1).tolist(), rel=1e-5
    )
    assert naive.keys() == exact.keys()
    before, trainable = fresh.state_dict(), set(fresh.tuned_state())
    travelled = {name: (naive[name] - before[name]).norm().item() for name in naive}
    assert {name for name, distance in travelled.items() if distance > 1e-3} == {
        name for name in trainable if not name.endswith(IDLE)
    }
    for name, distance in travelled.items():
        assert torch.allclose(exact[name], naive[name], atol=1e-5), name
        # states in float16
        assert (rounded[name] - naive[name]).norm().item() <= 0.05 * distance + 1e-6, name


def test_frozen_layers_run_once_a_clip_whatever_the_epochs(tmp_path, recordings, style):
    model = random_teacher(tiny_checkpoint(tmp_path / "encoder", style))
    calls = list[str | int]()  # appended to by several threads

    def count(name):
        return lambda *_: calls.append(name)

    model.backbone.feature_extractor.register_forward_hook(count("convolutions"))
    for number, layer in enumerate(model.backbone.encoder.layers):
        layer.register_forward_hook(count(number))
    states = frozen.store_states(
        model, recordings, TRAINING + VALIDATION, tmp_path / "lower.parquet"
    )
    assert Counter(calls) == {"convolutions": len(SECONDS), 0: len(SECONDS)}
    assert sorted(states) == [(id, 0) for id in sorted(SECONDS)]
    params = teacher_params("", epochs=4)
    tune(model, params, states, tmp_path / "scratch")
    # an epoch is training batches of two and three passages, 5 in all, and 1 of validation
    assert Counter(calls) == {
        "convolutions": len(SECONDS),
        0: len(SECONDS),
        1: 4 * (2 + 1),
        2: 4 * (2 + 1),
    }

    again = frozen.store_states(
        model, recordings, TRAINING + VALIDATION, tmp_path / "lower.parquet"
    )
    assert Counter(calls)[0] == len(SECONDS)
    for id in SECONDS:
        frozen_states = model.eval().lower(recordings[id, 0]).states[-1].numpy()
        assert np.array_equal(states[id], frozen_states.astype(np.float16))
        assert np.array_equal(again[id], states[id])


def test_fine_tuning_learns_and_a_killed_run_ends_the_same(tmp_path, recordings):
    checkpoint = tiny_checkpoint(
        tmp_path / "encoder", "layer", hidden_dropout=0.1, attention_dropout=0.1
    )
    params = teacher_params(checkpoint, epochs=25, learning_rate=5e-3)
    straight, killed = random_teacher(checkpoint), random_teacher(checkpoint)
    states = frozen.store_states(
        straight, recordings, TRAINING + VALIDATION, tmp_path / "lower.parquet"
    )
    history = tune(straight, params, states, tmp_path / "straight")
    assert min(scores["loss"] for scores in history) < 0.3 * history[0]["loss"]
    held_out = Loader(VALIDATION, states, TASK, 2)
    kept = validate(straight, held_out).value
    assert kept in (max(scores["validation"] for scores in history), history[-1]["validation"])

    def kill(epoch, _):
        if epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune.fine_tune(
            killed, TASK, params, states, TRAINING, VALIDATION, 3, tmp_path / "killed", kill
        )
    resumed = random_teacher(checkpoint)
    assert tune(resumed, params, states, tmp_path / "killed") == history
    assert same(copied(resumed), copied(straight))


# who it is


def identity_of(model: Teacher, params: TeacherParams, folder) -> str:
    saved.save(model, TASK, params, folder)
    return signals.identity(folder)


def test_a_saved_teacher_loads_and_answers_the_same(tmp_path, recordings, style):
    checkpoint = tiny_checkpoint(tmp_path / "encoder", style)
    params = teacher_params(checkpoint)
    model = random_teacher(checkpoint)
    states = frozen.store_states(
        model, recordings, TRAINING + VALIDATION, tmp_path / "lower.parquet"
    )
    tune(model, params, states, tmp_path / "scratch")
    saved.save(model, TASK, params, tmp_path / "saved")
    files = sorted(path.name for path in (tmp_path / "saved").iterdir())
    assert files == ["identity.json", "tuned.safetensors"]
    torch.manual_seed(1234)
    loaded = saved.load(params, "choice", tmp_path / "saved")[0]
    assert not any(module.training for module in loaded.modules())
    assert same(copied(loaded), copied(model))
    expected = ask.answers(model.eval(), TASK, recordings, TRAINING)
    found = ask.answers(loaded, TASK, recordings, TRAINING)
    assert found.keys() == {asked.id for asked in TRAINING}
    for asked in TRAINING:
        assert np.array_equal(found[asked.id], expected[asked.id])
        assert found[asked.id].shape == (len(asked.options),)
        assert found[asked.id].sum() == pytest.approx(1)


def test_identity_is_stable_and_tells_every_weight(tmp_path):
    checkpoint = tiny_checkpoint(tmp_path / "encoder")
    params = teacher_params(checkpoint)
    first = identity_of(random_teacher(checkpoint), params, tmp_path / "one")
    assert identity_of(random_teacher(checkpoint), params, tmp_path / "two") == first
    seen = {first}
    for name in (
        "backbone.feature_extractor.conv_layers.0.conv.weight",  # frozen
        "backbone.encoder.layers.0.attention.q_proj.weight",  # frozen
        "backbone.encoder.layer_norm.bias",  # frozen
        "backbone.encoder.layers.1.attention.q_proj.weight",  # tuned
        "head.tokens.weight",  # tuned
    ):
        model = random_teacher(checkpoint)
        model.state_dict()[name].view(-1)[-1] += 0.25
        seen.add(identity_of(model, params, tmp_path / name))
    deeper = teacher_params(checkpoint, tuned_layers=1)
    seen.add(identity_of(random_teacher(checkpoint, tuned_layers=1), deeper, tmp_path / "deeper"))
    assert len(seen) == 7


# checkpoints that cannot serve


@pytest.mark.parametrize("model", [BertModel, SEWModel])
def test_another_family_is_refused_by_name(tmp_path, model):
    config = model.config_class(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config.save_pretrained(tmp_path)  # enough: weights are not looked at
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    family = f"{tmp_path}': model_type '{config.model_type}' is no wav2vec2, hubert, wavlm, data2v"
    with pytest.raises(CheckpointError, match=family):
        load_backbone(str(tmp_path), None)


def edit(file: str, **changes) -> Callable[[Path], None]:
    """Return what changes keys of a JSON file of a folder."""

    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


config = partial(edit, "config.json")
preprocessor = partial(edit, "preprocessor_config.json")


def pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def spoil_a_bias(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layers.1.final_layer_norm.bias"] = torch.full((WIDTH,), torch.nan)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (preprocessor(sampling_rate=8000), "sampling_rate is 8000 Hz"),
        (preprocessor(feature_size=80), "it wants features of Wav2Vec2"),
        (config(intermediate_size=96), "(48, 32) in the weights, (96, 32) by config"),
        (config(num_hidden_layers=2), "num_hidden_layers=2, the weights are of 3"),
        (config(num_hidden_layers=10**9), "=1000000000, the weights are of 3"),
        (config(hidden_size=1 << 20), "in the weights, (1048576"),
        (config(conv_bias=True), "lacks"),
        (config(quantization_config={}), "its weights are quantized"),
        (config(add_adapter=True), "config.json says add_adapter=true"),
        (preprocessor(feature_extractor_type="ASTFeatureExtractor"), "is of a ASTFeatureExtractor"),
        (config(num_attention_heads=5), "embed_dim must be divisible by num_heads"),
        (spoil_a_bias, "final_layer_norm.bias is not finite"),
        (pickle_weights, "no model.safetensors in it; pickled"),
        (cut_weights, "model.safetensors is damaged"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "feature extractor"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is not readable"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_line(tmp_path, spoil, message):
    checkpoint = tiny_checkpoint(tmp_path)
    spoil(tmp_path)
    with pytest.raises(CheckpointError) as error:
        load_backbone(checkpoint, None)
    assert str(error.value).startswith(f"teacher.checkpoint={checkpoint!r}")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_teacher_is_refused_before_a_clip_is_decoded(tmp_path):
    checkpoint = tiny_checkpoint(tmp_path / "teacher")
    preprocessor(sampling_rate=8000)(tmp_path / "teacher")
    absent = clips(tmp_path / "clips", SECONDS).assign(path="absent.wav")
    with pytest.raises(CheckpointError, match="8000 Hz"):
        data = (Recordings(absent), TRAINING, VALIDATION)
        folders = (tmp_path / "scratch", tmp_path / "out")
        tune_stage(teacher_params(checkpoint), "choice", *data, 0, *folders, noting([]))


def test_more_tuned_layers_than_layers_are_refused(tmp_path):
    checkpoint = tiny_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"teacher\.tuned_layers=4 must be at most 3"):
        Teacher(teacher_params(checkpoint, tuned_layers=4), TASK)


def test_a_checkpoint_without_a_mask_embedding_serves(tmp_path):
    """Checkpoints fine-tuned for recognition, such as wav2vec2-base-960h, come without it; it is
    not used here.
    """
    checkpoint = tiny_checkpoint(tmp_path, mask_time_prob=0.05)
    weights = load_file(tmp_path / "model.safetensors")
    assert weights.pop("masked_spec_embed").shape == (WIDTH,)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    identities = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        identities.add(Teacher(teacher_params(checkpoint), TASK).frozen_hash())
    assert len(identities) == 1  # chance is no part of who a teacher is


# the paper's teacher


@pytest.mark.slow
def test_the_full_size_teacher_takes_the_same_path(tmp_path):
    torch.manual_seed(0)
    full = Wav2Vec2Model(Wav2Vec2Config())  # wav2vec 2.0 base, 12 layers of 768
    assert sum(parameter.numel() for parameter in full.parameters()) == 94_371_712
    full.save_pretrained(tmp_path / "base")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "base")
    del full

    task = Choice(Text())
    params = teacher_params(str(tmp_path / "base"), epochs=1, text=task.text)
    recordings = Recordings(clips(tmp_path / "clips", {"u0": 1.0, "u1": 1.0}))
    items = [item("a", ["u0"], 0), item("b", ["u1"], 1)]
    model = Teacher(params, task)
    states = frozen.store_states(model, recordings, items, tmp_path / "lower.parquet")
    assert (states.width, states.frames("u0"), states.metadata["layer"]) == (768, 49, 10)
    history = []
    data = (states, items, items)
    finetune.fine_tune(model, task, params, *data, 0, tmp_path / "scratch", noting(history))
    assert len(history) == 1 and np.isfinite(history[0][1]["loss"])
    shutil.rmtree(tmp_path / "scratch")
    saved.save(model, task, params, tmp_path / "teacher")
    tuned = copied(model)
    del model

    loaded = saved.load(params, "choice", tmp_path / "teacher")[0]
    assert same(copied(loaded), tuned)
    answers = ask.answers(loaded, task, recordings, items)
    assert [answers[asked.id].sum() for asked in items] == pytest.approx([1, 1])
