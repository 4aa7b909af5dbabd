"""Batches and the one training loop: order, schedule, choice of the best epoch, exact resume."""

import math

import numpy as np
import pytest
import torch
from learning import (
    ABOUT_EIGHT,
    CLASSES,
    TASK,
    TEXT,
    copied,
    eight_sequences,
    item,
    mel_store,
    noting,
    same,
    scene,
)
from students import bilstm, mobilenet, recurrent
from torch import nn

from earshot.models import checkpoint
from earshot.tasks.classes import Classes
from earshot.tasks.task import Score
from earshot.training import losses
from earshot.training.batches import Loader
from earshot.training.loop import Trainer, choose, learning_rate, predict, validate
from earshot.training.output import run

EPOCHS = 5


class Killed(Exception):
    pass


@pytest.fixture
def mel(tmp_path):
    return eight_sequences(tmp_path / "mel.parquet")


@pytest.fixture
def items():
    return ABOUT_EIGHT.copy()


def student(dropout: float = 0.3) -> nn.Module:
    return bilstm(recurrent(hidden=6, stack=2, dropout=dropout, text=TEXT), 4, TASK, seed=4)


class CrossEntropy(nn.Module):
    """An objective with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, output, batch):
        logits = self.scale * output.logits["answers"]
        ce = losses.cross_entropy(logits, batch.targets["answers"])
        return {"ce": ce, "loss": 2 * ce}


def cross_entropy(output, batch):
    return losses.cross_entropy(output.logits["answers"], batch.targets["answers"])


def score(value: float) -> Score:
    """A score without doubt, so that the best is told from the last."""
    return Score(value, 0.0, 0.0)


def accuracy(model, loader) -> float:
    return validate(model, loader).value


def train(
    model, loader, scratch, objective=None, judge=None, on_epoch=lambda *_: None, **changes
) -> float:
    settings = {"epochs": EPOCHS, "learning_rate": 0.01, "schedule": "cosine", "seed": 3} | changes
    told = {"steps_per_epoch": len(loader), "scratch": scratch, "on_epoch": on_epoch}
    trainer = Trainer(model, TASK, objective or CrossEntropy(), **told, **settings)
    return trainer.fit(
        lambda epoch: loader.shuffled(settings["seed"], epoch),
        judge or (lambda model: validate(model, loader)),
    )


# schedule


def test_learning_rate_by_hand():
    assert [learning_rate(0.5, step, 10, "constant") for step in (0, 5, 9)] == [0.5, 0.5, 0.5]
    # 100 steps, warm-up 5: step 0 → 1/5 · ½(1 + cos 0); step 4 → 5/5 · ½(1 + cos 0.04π); step 50 →
    # ½(1 + cos 0.5π)
    near_the_ends = [0.5 * (1 + math.cos(share * math.pi)) for share in (0.04, 0.99)]
    rates = [learning_rate(1.0, step, 100, "cosine") for step in (0, 4, 50, 99)]
    assert rates == pytest.approx([0.2, near_the_ends[0], 0.5, near_the_ends[1]])
    assert [learning_rate(2.0, step, 4, "cosine") for step in range(4)] == pytest.approx(
        [2, 1 + math.cos(math.pi / 4), 1, 1 - math.cos(math.pi / 4)]  # no warm-up in so few
    )


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize(
    ("budget", "taken"),
    [
        ({}, 15),  # three steps an epoch
        ({"epochs": 3, "steps": 7}, 7),  # the last epoch ends early
        ({"epochs": 3, "steps": 7, "stop": 4}, 4),  # at the rates of seven
    ],
)
def test_adam_takes_steps_of_the_scheduled_rate(mel, items, tmp_path, schedule, budget, taken):
    class Line(nn.Module):
        """One weight whose gradient is always one, so that a step of Adam is the learning rate."""

        strides = (1,)

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
            self.encode = lambda sequences, lengths: (lengths[:, None], [])
            self.real = lambda sequences, lengths: lengths[:, None] > 0
            self.head = lambda encoded, questions, options: self.weight.expand(options.shape[:2])

    model, loader, losses = Line(), Loader(items, mel, TASK, 3), []

    def objective(output, batch):
        losses.append(output.logits["answers"].mean())
        return {"loss": losses[-1]}

    history = []
    train(
        model, loader, tmp_path, objective, lambda model: score(-model.weight.item()),
        noting(history), schedule=schedule, learning_rate=0.1, **budget,
    )  # fmt: skip
    steps = budget.get("steps", 15)
    rates = [
        0.1 if schedule == "constant" else 0.1 * 0.5 * (1 + math.cos(math.pi * s / steps))
        for s in range(taken)
    ]
    assert model.weight.item() == pytest.approx(-sum(rates), rel=1e-6)
    last = [loss.item() for loss in losses[len(loader) * (len(history) - 1) :]]
    assert len(losses) == taken
    assert history[-1][1]["loss"] == pytest.approx(sum(last) / len(last))


# the mean of weights


def test_the_running_mean_of_the_weights_is_kept(mel, items, tmp_path):
    loader, plain, mean, weights = Loader(items, mel, TASK, 8), student(), student(), []

    def judge(model):
        weights.append(copied(model))
        return score(len(weights))  # the last is the best

    train(plain, loader, tmp_path / "plain", judge=judge, epochs=3)  # of one step each
    train(mean, loader, tmp_path / "mean", average=0.75, epochs=3)
    one, two, three = weights
    for name, tensor in mean.state_dict().items():
        expected = 0.75 * (0.75 * one[name] + 0.25 * two[name]) + 0.25 * three[name]
        torch.testing.assert_close(tensor, expected)
    assert not same(two, three)


def test_the_means_batch_norms_have_its_own_moments(tmp_path):
    rng = np.random.default_rng(0)
    mel = mel_store(tmp_path / "mel", {f"c{n}": rng.normal(size=(9, 40)) for n in range(6)})
    clips = [scene(f"c{n}", n % 3) for n in range(6)]
    model, loader = mobilenet(classes=3), Loader(clips, mel, CLASSES, 2)

    def objective(output, batch):
        return {"loss": losses.cross_entropy(output.logits["answers"], batch.targets["answers"])}

    settings = {"epochs": 3, "learning_rate": 0.1, "schedule": "constant", "seed": 3}
    told = {"steps_per_epoch": 3, "scratch": tmp_path / "scratch", "average": 0.9}
    trainer = Trainer(model, CLASSES, objective, **settings, **told)
    trainer.fit(lambda epoch: loader.shuffled(3, epoch), None)
    norm, means = model.stem[0].norm, []
    hook = norm.register_forward_pre_hook(lambda _, maps: means.append(maps[0].mean((0, 2, 3))))
    model.train()
    for batch in loader.shuffled(3, 2):
        run(model, CLASSES, batch)
    hook.remove()
    expected = torch.stack(means[:3]).mean(0)  # of the three batches, each by its own moments
    trained_on = norm.running_mean
    # the passes above moved the moments by a tenth each: take that back
    for moved in reversed(means):
        trained_on = (trained_on - 0.1 * moved) / 0.9
    torch.testing.assert_close(trained_on, expected, rtol=1e-4, atol=1e-5)


# the loop


def test_it_learns(mel, items, tmp_path):
    model, loader, history = student(dropout=0.0), Loader(items, mel, TASK, 3), []
    settings = {"epochs": 40, "learning_rate": 0.02}
    seconds = train(model, loader, tmp_path, on_epoch=noting(history), **settings)
    assert history[-1][1]["loss"] < 0.3 * history[0][1]["loss"]
    assert accuracy(model, loader) >= 0.9
    assert seconds > 0
    for _, scores in history:
        assert scores.keys() == {"ce", "loss", "validation", "validation_loss"}
        assert scores["loss"] == pytest.approx(2 * scores["ce"])


def test_scores_are_means_over_the_steps_of_an_epoch(mel, items, tmp_path):
    loader, seen, history = Loader(items, mel, TASK, 3), [], []

    def objective(output, batch):
        seen.append(float(len(batch.items)))
        return {"loss": 0 * output.logits["answers"].sum(), "items": torch.tensor(seen[-1])}

    train(student(), loader, tmp_path, objective, epochs=1, on_epoch=noting(history))
    assert history[0][1]["items"] == pytest.approx(sum(seen) / 3) == pytest.approx(len(items) / 3)


def test_an_objectives_own_parameters_train(mel, items, tmp_path):
    objective, frozen = CrossEntropy(), student()
    frozen.head.requires_grad_(False)
    before = copied(frozen)
    train(frozen, Loader(items, mel, TASK, 3), tmp_path, objective, epochs=1)
    assert objective.scale.item() != 1
    after = frozen.state_dict()
    assert all(torch.equal(before[name], after[name]) == name.startswith("head.") for name in after)


def test_every_epoch_trains_with_dropout_and_validates_without(mel, items, tmp_path):
    model, modes = student(), []

    def objective(output, batch):
        modes.append(model.training)
        return {"loss": cross_entropy(output, batch)}

    def judge(model):
        value = validate(model, loader)
        modes.append(("validated", model.training))
        return value

    loader = Loader(items, mel, TASK, 8)  # one step an epoch
    train(model, loader, tmp_path, objective, judge, epochs=3)
    assert modes == [True, ("validated", False)] * 3


@pytest.mark.parametrize(
    ("scores", "first", "best"),
    [
        ([0.5, 0.7, 0.7, 0.6], 0, 1),
        ([0.9, 0.7, 0.9, 0.1], 0, 0),
        ([0.1, 0.2, 0.3, 0.4], 0, 3),
        ([0.9, 0.7, 0.8, 0.8], 1, 3),  # of equals the last has trained longest
        ([0.9, 0.9, 0.9, 0.1], 3, 3),
    ],
)
@pytest.mark.parametrize("killed_after", [None, 0, 2])
def test_the_best_epoch_is_kept_the_earliest_on_a_tie(
    mel, items, tmp_path, scores, first, best, killed_after
):
    weights, kills = {}, [killed_after] if killed_after is not None else []

    def run():
        model = student()

        def judge(model):
            epoch = len(weights)
            weights[epoch] = copied(model)
            return score(scores[epoch])

        def on_epoch(epoch, _):
            if epoch in kills:
                kills.clear()
                raise Killed

        told = {"judge": judge, "on_epoch": on_epoch, "epochs": 4, "first": first}
        train(model, Loader(items, mel, TASK, 3), tmp_path, **told)
        return model

    if killed_after is not None:
        with pytest.raises(Killed):
            run()
    model = run()
    assert sorted(weights) == [0, 1, 2, 3]
    assert same(copied(model), weights[best])
    assert not any(same(weights[best], weights[epoch]) for epoch in range(4) if epoch != best)


def test_of_some_epochs_validated_the_best_is_kept(mel, items, tmp_path):
    weights, history = [], []

    def judge(model):
        weights.append(copied(model))
        return score(1 - 0.1 * len(weights))

    model, told = student(), {"on_epoch": noting(history), "epochs": 6, "validate_every": 2}
    train(model, Loader(items, mel, TASK, 3), tmp_path, judge=judge, **told)
    validated = [epoch for epoch, scores in history if "validation" in scores]
    assert validated == [1, 3, 5] and same(copied(model), weights[0])


@pytest.mark.parametrize(
    "told", [{}, {"average": 0.8}, {"optimizer": "muon"}, {"validate_every": 2}]
)
@pytest.mark.parametrize(
    "where", ["in the first epoch", "within an epoch", "after an epoch", "before the checkpoint"]
)
def test_a_killed_run_ends_the_same(mel, items, tmp_path, monkeypatch, where, told):
    loader = Loader(items, mel, TASK, 3)
    straight, objective, expected = student(), CrossEntropy(), []
    train(straight, loader, tmp_path / "straight", objective, on_epoch=noting(expected), **told)

    class Interrupted(CrossEntropy):
        steps = 0

        def forward(self, output, batch):
            self.steps += 1
            ends = {"in the first epoch": 2, "within an epoch": 2 * len(loader) + 2}
            if self.steps == ends.get(where):
                raise Killed
            return super().forward(output, batch)

    def on_epoch(epoch, _):
        if where == "after an epoch" and epoch == 2:
            raise Killed

    with monkeypatch.context() as patch:
        if where == "before the checkpoint":
            saves, save = [], checkpoint.save

            def third_fails(*arguments):
                saves.append(1)
                if len(saves) == 3:
                    raise Killed
                save(*arguments)

            patch.setattr(checkpoint, "save", third_fails)
        with pytest.raises(Killed):
            train(student(), loader, tmp_path / "killed", Interrupted(), on_epoch=on_epoch, **told)

    torch.manual_seed(99)  # neither chance nor the initial weights of the second start may matter
    resumed, resumed_objective, history = student(dropout=0.3), CrossEntropy(), []
    if where != "in the first epoch":
        for parameter in resumed.parameters():
            nn.init.zeros_(parameter)
    train(resumed, loader, tmp_path / "killed", resumed_objective, on_epoch=noting(history), **told)
    assert same(copied(straight), copied(resumed))
    assert torch.equal(objective.scale, resumed_objective.scale)
    assert history == expected
    assert [epoch for epoch, _ in history] == list(range(EPOCHS))


def test_a_finished_run_is_not_trained_again(mel, items, tmp_path):
    loader = Loader(items, mel, TASK, 3)
    first, second = student(), student()
    train(first, loader, tmp_path)

    def refuse(*_):
        raise AssertionError("trained again")

    objective = CrossEntropy()
    objective.forward = refuse
    train(second, loader, tmp_path, objective, refuse)
    assert same(copied(first), copied(second))


def test_another_seed_is_another_run(mel, items, tmp_path):
    one, other = student(), student()
    loader = Loader(items, mel, TASK, 3)
    train(one, loader, tmp_path / "one", seed=1, epochs=1)
    train(other, loader, tmp_path / "other", seed=2, epochs=1)
    assert not same(copied(one), copied(other))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_naming_the_epoch(mel, items, tmp_path, value):
    loader, steps = Loader(items, mel, TASK, 3), []

    def objective(output, batch):
        steps.append(1)
        loss = cross_entropy(output, batch)
        return {"loss": loss * value if len(steps) == 2 * len(loader) else loss}

    seen = []
    with pytest.raises(
        FloatingPointError, match=r"loss is (nan|inf) in epoch 2; try a lower learning_rate"
    ):
        train(student(), loader, tmp_path, objective, on_epoch=lambda epoch, _: seen.append(epoch))
    assert seen == [0]
    weights = checkpoint.load_weights(tmp_path / "last.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_predict_answers_without_dropout_and_names_items(mel, items):
    model = student(dropout=0.5).train()
    loader = Loader(items, mel, TASK, 3)
    first, second = predict(model, TASK, loader), predict(model.train(), TASK, loader)
    assert not model.training
    assert first.keys() == {asked.id for asked in items}
    for asked in items:
        assert np.array_equal(first[asked.id], second[asked.id])
        assert first[asked.id].shape == (len(asked.options),)
        assert first[asked.id].sum() == pytest.approx(1, abs=1e-12)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_accuracy_by_hand(mel):
    class Fixed(nn.Module):
        """Always prefers option 1 over 0 over 2."""

        strides = (1,)

        def encode(self, sequences, lengths):
            return lengths[:, None].float(), []

        def real(self, sequences, lengths):
            return torch.ones(len(lengths), 1, dtype=torch.bool)

        def head(self, encoded, questions, options):
            return torch.tensor([2.0, 3.0, 1.0]).expand(options.shape[:2])

    about = [("u0", 1), ("u1", 1), ("u2", 0), ("u2", 1), ("u3", 2)]
    asked = [item(f"i{n}", [utterance], answer) for n, (utterance, answer) in enumerate(about)]
    assert accuracy(Fixed(), Loader(asked, mel, TASK, 2)) == 3 / 5


def scores(*values: float, error: float = 0.05) -> dict[int, Score]:
    return {epoch: Score(value, error, 1.0) for epoch, value in enumerate(values)}


@pytest.mark.parametrize(
    ("history", "first", "epoch", "reason"),
    [
        (scores(0.5, 0.7, 0.9), 0, 2, "the last and the best"),
        (scores(0.5, 0.9, 0.87), 0, 2, "0.030 behind epoch 2 with 0.900 ± 0.050"),
        (scores(0.5, 0.9, 0.7), 0, 1, "the last has 0.200 less"),
        (scores(0.5, 0.9, 0.81), 0, 2, "which may be luck"),
        (scores(0.9, 0.5, 0.6, error=0.0), 1, 2, "the last and the best"),
        (
            {0: Score(0.9, 0.0, 2.0), 1: Score(0.9, 0.0, 1.0), 2: Score(0.8, 0.0, 0.5)},
            0,
            1,
            "the best",
        ),
        ({1: Score(0.9, 0.0, 1.0), 4: Score(0.8, 0.0, 1.0)}, 0, 1, "the best, 0.900"),  # of some
    ],
)
def test_the_last_epoch_is_kept_where_validation_cannot_tell_it_from_the_best(
    history, first, epoch, reason
):
    chosen, why = choose(history, first)
    assert chosen == epoch and reason in why


def test_one_large_class_cannot_win_by_being_answered_always():
    """87 real clips, 23 of one class: plain accuracy once kept what answers it to everything."""
    labels = [f"class{n}" for n in range(9)]
    task, sizes = Classes(None, labels), [23, *[8] * 8]
    asked = [
        item(f"{answer}-{n}", ["u0"], answer, options=tuple(labels))
        for answer, size in enumerate(sizes)
        for n in range(size)
    ]
    always = {one.id: np.eye(9)[0] for one in asked}
    third = {one.id: np.eye(9)[one.answer if n % 3 == 0 else 1] for n, one in enumerate(asked)}
    assert task.score_all(always, asked).value == pytest.approx(1 / 9)
    assert task.score_all(third, asked).value > 0.3
    right = task.score_all({one.id: np.eye(9)[one.answer] for one in asked}, asked)
    error = (sum((n + 1) / (n + 2) ** 2 / n for n in sizes)) ** 0.5 / 9  # p = (n + 1)/(n + 2)
    assert right == pytest.approx((1.0, error, 0.0))
