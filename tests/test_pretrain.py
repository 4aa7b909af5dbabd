"""The small checkpoint made from scratch, on noise and in miniature."""

import numpy as np
import pytest
import torch
from learning import copied, noise, same
from safetensors import safe_open

from earshot import pretraining
from earshot.corpora import open_languages, worlds
from earshot.params import CTCLanguagesPretrain, CTCPretrain
from earshot.pretraining import ctc
from earshot.pretraining.optimizers import muon
from earshot.teacher.wav2vec2 import load_backbone

TEXTS = ["a red bike", "it rains", "Mary's lamp!", "two coats", "the old mill", "nobody knew"]


def params(**changes) -> CTCPretrain:
    few = {"passages": 6, "steps": 8, "batch_clips": 2, "learning_rate": 1e-3}
    return CTCPretrain(**{"name": "ctc", "hidden": 24, "layers": 2, "heads": 4} | few | changes)


def clips(count: int = 6) -> list[ctc.Clip]:
    return [
        ((10_000 * noise(i, 0.5 + 0.05 * i)).astype(np.int16), text)
        for i, text in zip(range(count), TEXTS, strict=False)
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("it rains", "it rains"),
        ("Mary's  LAMP!", "mary's lamp"),
        (" —a—b- 3 ", "a b"),
        ("", ""),
        ("?!", ""),
    ],
)
def test_letters_round_trip(text, said):
    labels = ctc.encode_letters(text)
    assert 0 not in labels  # the blank
    # a CTC path: doubled letters need a blank between them
    spread = [x for label in labels for x in (label, 0)]
    assert ctc.decode_letters(torch.tensor(spread, dtype=torch.long)) == said


def test_letters_by_hand():
    assert ctc.encode_letters("a b'z") == [3, 1, 4, 2, 28]
    assert max(ctc.encode_letters(ctc.LETTERS)) < ctc.config(params()).vocab_size
    # repeats merge, blanks part: h h _ e l l _ l o | | a
    h, e, el, o, a = (ctc.encode_letters(letter)[0] for letter in "heloa")
    assert ctc.decode_letters(torch.tensor([h, h, 0, e, el, el, 0, el, o, 1, 1, a, 0])) == "hello a"


def test_waves_are_normalised_padded_and_labelled():
    loud, quiet = clips()[3], (clips()[0][0] // 7 + 500, "it")
    waves, mask, labels = ctc._collate([loud, quiet])
    assert waves.shape == mask.shape == (2, len(loud[0]))
    assert mask.sum(1).tolist() == [len(loud[0]), len(quiet[0])]
    assert waves[1, len(quiet[0]) :].abs().max() == 0
    for row, (samples, _) in enumerate((loud, quiet)):
        assert waves[row, : len(samples)].mean().item() == pytest.approx(0, abs=1e-4)
        assert waves[row, : len(samples)].std().item() == pytest.approx(1, abs=1e-3)
    assert labels[1].tolist() == [*ctc.encode_letters("it"), *[-100] * (labels.shape[1] - 2)]


def test_an_epoch_is_every_clip_once():
    endless = ctc._batches(clips(), 2, seed=0)
    epochs = [[text for _ in range(3) for _, text in next(endless)] for _ in range(4)]
    assert all(sorted(epoch) == sorted(TEXTS) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize(
    ("killed_at", "optimizer"), [(1, "adamw"), (3, "adamw"), (6, "adamw"), (3, "muon")]
)
def test_a_killed_run_ends_in_the_same_weights(tmp_path, monkeypatch, killed_at, optimizer):
    monkeypatch.setattr(ctc, "CHECKPOINT_EVERY", 2)
    settings, expected = params(optimizer=optimizer), {}
    straight = ctc.pretrain(clips(), settings, 5, tmp_path / "straight", expected.__setitem__)
    assert sorted(expected) == list(range(8))

    def kill(step, _):
        if step == killed_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ctc.pretrain(clips(), settings, 5, tmp_path / "killed", kill)
    np.random.seed(1)
    seen: dict[int, float] = {}
    resumed = ctc.pretrain(clips(), settings, 5, tmp_path / "killed", seen.__setitem__)
    assert seen == {step: loss for step, loss in expected.items() if step >= killed_at // 2 * 2}
    assert same(copied(straight), copied(resumed))
    assert not resumed.training


class Layers(torch.nn.Module):
    """A layer as encoders name it, and a projection outside."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([torch.nn.Linear(8, 8)])})
        self.projection = torch.nn.Linear(8, 8)


def test_muon_moves_a_layer_as_far_in_every_direction():
    torch.manual_seed(0)
    model = Layers()
    before = copied(model)
    gradient = torch.diag(torch.logspace(-3, 0, 8))  # a thousand times as much one way as another
    for matrix in (model.encoder["layers"][0].weight, model.projection.weight):
        matrix.grad = gradient.clone()
    muon(model, 0.1).step()
    moved = {name: tensor - before[name] for name, tensor in copied(model).items()}
    ways = torch.linalg.svdvals(moved["encoder.layers.0.weight"])
    size = 0.1 * 0.2 * 8**0.5  # the rate × 0.2 × √8, so that entries move 0.02 in the mean square
    assert ways.max() < 3 * ways.min() and 0.6 * size < ways.mean() < 1.3 * size
    others = moved["projection.weight"]  # AdamW: each entry with a gradient by the rate
    assert others.diagonal() == pytest.approx(-0.1 * np.ones(8), rel=0.05)
    assert moved["encoder.layers.0.bias"].abs().max() == 0


def test_another_seed_is_another_run(tmp_path):
    losses: list[dict[int, float]] = [{}, {}]
    for seed, seen in enumerate(losses):
        ctc.pretrain(clips(), params(steps=2), seed, tmp_path / str(seed), seen.__setitem__)
    assert losses[0] != losses[1]


def test_it_learns_four_clips(tmp_path):
    seen: list[float] = []
    settings = params(steps=120, batch_clips=4, learning_rate=3e-3)
    ctc.pretrain(clips(4), settings, 0, tmp_path, lambda _, loss: seen.append(loss))
    assert all(np.isfinite(seen))
    assert np.mean(seen[-10:]) < 0.4 * seen[0]


def test_the_checkpoint_is_one_a_teacher_can_load(tmp_path):
    recogniser = ctc.pretrain(clips(), params(steps=2), 0, tmp_path / "scratch", lambda *_: None)
    ctc.save(recogniser, tmp_path / "checkpoint")
    backbone, extractor = load_backbone(str(tmp_path / "checkpoint"), None)
    assert extractor.do_normalize is True
    assert backbone.config.hidden_size == 24 and len(backbone.encoder.layers) == 2
    assert not backbone.training
    assert same(copied(backbone), copied(recogniser.wav2vec2))
    assert all(tensor.dtype == torch.float32 for tensor in backbone.state_dict().values())
    with safe_open(tmp_path / "checkpoint" / "model.safetensors", "pt") as file:
        assert {str(file.get_tensor(name).dtype) for name in file.keys()} == {"torch.float16"}
    assert not list((tmp_path / "checkpoint").glob("*.bin"))


def test_the_same_seed_writes_the_same_checkpoint(tmp_path):
    for name in ("one", "two"):
        recogniser = ctc.pretrain(clips(), params(steps=2), 0, tmp_path / name, lambda *_: None)
        ctc.save(recogniser, tmp_path / name / "checkpoint")
    for path in (tmp_path / "one" / "checkpoint").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "checkpoint" / path.name).read_bytes(), (
            path.name
        )


def test_letter_error_rate_by_hand(monkeypatch):
    said = iter([torch.tensor(ctc.encode_letters(text)) for text in ("it rained", "two coat")])

    class Recogniser:
        def __call__(self, waves, attention_mask):
            ids = next(said)
            self.logits = torch.nn.functional.one_hot(ids, 30).float()[None]
            return self

    # "it rained" for "it rains": 2 errors in 8 letters; "two coat" for "two coats": 1 in 9
    assert ctc.letter_error_rate(Recogniser(), [clips()[1], clips()[3]]) == pytest.approx(3 / 17)


def test_several_languages_are_written_in_the_letters_of_all(tmp_path, monkeypatch):
    asked = []

    def heard(languages, split, count, salad_share, seed):
        asked.append((tuple(languages), split, count))
        return [(samples, "Süße Ёлка") for samples, _ in clips(2)]

    monkeypatch.setattr(open_languages, "heard", heard)
    sizes = params(steps=2).model_dump() | {"name": "ctc_languages", "languages": ["de", "ru"]}
    work, folder = tmp_path / "scratch", tmp_path / "checkpoint"
    way = pretraining.PRETRAIN["ctc_languages"]
    metrics = way(CTCLanguagesPretrain(**sizes), 0, None, work, folder, lambda *_: None)
    held_out = pretraining.HELD_OUT_PASSAGES
    assert asked[0] == (("de", "ru"), "pretrain", 3)  # six passages, shared out
    assert asked[1:] == [(("de",), "validation", held_out), (("ru",), "validation", held_out)]
    assert set(metrics["letter_error_rate"]) == {"de", "ru"}
    assert load_backbone(str(folder), None)[0].config.vocab_size == 30 + 33 + 2


def test_letters_of_several_languages_by_hand():
    letters = f"|{worlds.letters(['de', 'ru'])}"
    labels = ctc.encode_letters("Süße Ёлка, où?", letters)
    assert [letters[label - 1] for label in labels] == list("süße|ёлка|o")
    assert ctc.decode_letters(torch.tensor(labels), letters) == "süße ёлка o"
