"""What a recipe minimises: the weighted sum by hand, the front end alone, stages that learn from
layers.
"""

from math import exp, log

import numpy as np
import pytest
import torch
from learning import CLASSES, LAYERS, SCENES, SceneWorld, copied, same
from torch import nn

from earshot.distillation.lessons import front, lesson, mean_frame, with_lessons
from earshot.distillation.objective import Objective, needed
from earshot.distillation.terms import TERMS, Setting, stage_lengths
from earshot.models.bilstm import BiLSTMStudent
from earshot.models.cp_mobile import CPMobileStudent
from earshot.models.mobilenet import MobileNetStudent
from earshot.params import (
    KD,
    BiLSTM,
    CPMobile,
    CrossEntropy,
    FeatureMSE,
    Front,
    Layered,
    MobileNet,
    Terms,
)
from earshot.training import losses, routing
from earshot.training.batches import Batch, Loader
from earshot.training.output import Output, run

HARD = Terms(ce=CrossEntropy(weight=1.0))
PAPER = Terms(
    ce=CrossEntropy(weight=0.6), kd=KD(weight=0.3, temperature=2.0), feature=FeatureMSE(weight=0.1)
)
SCENE = Terms(
    ce=CrossEntropy(weight=0.5),
    front=Front(weight=0.2, alone=2),
    layered=Layered(weight=0.3, top=2),
)
STUDENT = MobileNet(name="mobilenet", stem=4, widths=[4, 6, 8], blocks=[1, 1, 1], expansion=2)


# the listening paper's sum


class Stub(nn.Module):
    """A student of one unit and one stage."""

    width, strides = 1, [1]

    def encode(self, sequences, lengths):
        return sequences.mean(1), [sequences]


def by_hand() -> tuple[Output, Batch]:
    """Two items, the second unlabelled; see test_losses for the same numbers, worked out."""
    signals = {
        "logits": torch.tensor([[2 * log(2), 0, 0], [1, 2, 3]]),
        "hidden": torch.tensor([[0.0, 0.0], [3.0, 4.0]]),
    }
    targets = {"answers": torch.tensor([0, -1])}
    frames, lengths, rows = torch.zeros(2, 1, 1), torch.ones(2), torch.arange(2)
    batch = Batch([], [], frames, lengths, rows, {}, targets, signals)
    logits = torch.tensor([[0, 0, 2 * log(2)], [1, 2, 3]], requires_grad=True)
    pooled = torch.tensor([[1.0], [0.0]], requires_grad=True)
    return Output({"answers": logits}, pooled, []), batch


def objective_by_hand(terms: Terms) -> Objective:
    setting = Setting(CLASSES, Stub(), by_hand()[1], [1], None, 0)
    objective = Objective(terms, setting, steps_per_epoch=1)
    if "feature" in objective.terms:
        project = objective.terms["feature"].project
        project.weight.data, project.bias.data = torch.tensor([[1.0], [2.0]]), torch.zeros(2)
    return objective


def test_the_papers_weighted_sum_by_hand():
    values = objective_by_hand(PAPER)(*by_hand())
    # CE: softmax(0, 0, ln 4) = (1, 1, 4)/6, answer 0 → ln 6, the one labelled item. KD at T = 2: ½
    # ln 2 (test_losses). feature: the projections (1, 2) and (0, 0) against (0, 0) and (3, 4) → (5
    # + 25)/2
    assert {name: value.item() for name, value in values.items()} == pytest.approx(
        {
            "ce": log(6),
            "kd": log(2) / 2,
            "feature": 15,
            "loss": 0.6 * log(6) + 0.3 * log(2) / 2 + 0.1 * 15,
        }
    )


def test_the_two_term_form_by_hand():
    terms = Terms(ce=CrossEntropy(weight=0.7), kd=KD(weight=0.3, temperature=2.0))
    values = objective_by_hand(terms)(*by_hand())
    assert values.keys() == {"ce", "kd", "loss"}
    assert values["loss"].item() == pytest.approx(0.7 * log(6) + 0.3 * log(2) / 2)


def test_terms_without_weight_are_left_out():
    nothing = {"kd": KD(weight=0.0, temperature=2.0), "feature": FeatureMSE(weight=0.0)}
    terms = Terms(
        ce=CrossEntropy(weight=1.0),
        front=Front(weight=0.0, alone=1),
        layered=Layered(weight=0.0),
        **nothing,
    )
    assert needed(terms) == []  # so nothing of the teacher is needed
    output, batch = by_hand()
    batch.signals = {}
    values = objective_by_hand(terms)(output, batch)
    assert values.keys() == {"ce", "loss"}
    assert values["loss"].item() == values["ce"].item() == pytest.approx(log(6))


def test_the_projection_trains_by_the_feature_term():
    objective, (output, batch) = objective_by_hand(PAPER), by_hand()
    objective(output, batch)["loss"].backward()
    # 0.1 · 2/N · Σ (F_S − F_T) · pooled = 0.1 · (1, 2) · 1, the second item's vector being 0
    gradient = objective.terms["feature"].project.weight.grad
    assert gradient.flatten().tolist() == pytest.approx([0.1, 0.2])
    assert output.pooled.grad[0].item() == pytest.approx(0.1 * (1 * 1 + 2 * 2))


def test_every_term_that_params_know_has_a_loss():
    assert set(Terms.model_fields) == set(TERMS)


# the scenes paper's


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SceneWorld:
    return SceneWorld(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def student() -> MobileNetStudent:
    """Trained a little: batch norms with moments of their own."""
    torch.manual_seed(2)
    model = MobileNetStudent(STUDENT, SceneWorld.MELS, CLASSES)
    for _ in range(5):
        model.encode(torch.randn(8, 40, SceneWorld.MELS) + 0.5, torch.full((8,), 40))
    return model.eval()


def batches(world: SceneWorld, size: int = 8, role: str = "fewshot") -> list[Batch]:
    loader = Loader(world.items[role], world.mel, CLASSES, size)
    return list(with_lessons(loader, world.cache, needed(SCENE)))


def objective_of(
    world: SceneWorld, student: nn.Module, terms: Terms = SCENE, seed: int = 0
) -> Objective:
    (example, *_), mean = batches(world), mean_frame(world.cache, world.items["fewshot"])
    widths = [layer.shape[-1] for layer in student.encode(example.sequences, example.lengths)[1]]
    setting = Setting(CLASSES, student, example, widths, mean, seed)
    return Objective(terms, setting, steps_per_epoch=4)


def loss_of(objective: Objective, student: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    batch, output = run(student, CLASSES, batch)
    return objective(output, batch)


def has_gradient(module: nn.Module) -> set[str]:
    return {
        name
        for name, p in module.named_parameters()
        if p.grad is not None and p.grad.abs().max() > 0
    }


def test_the_first_epochs_train_the_front_end_alone(world, student):
    objective, (batch, *_) = objective_of(world, student), batches(world)
    front = {name for name, _ in student.named_parameters() if name.startswith(("front.", "stem."))}
    for epoch in (0, 1):
        objective.start_epoch(epoch)
        values = loss_of(objective, student.train(), batch)
        assert values.keys() == {"front", "loss"}
        assert values["loss"].item() == pytest.approx(0.2 * values["front"].item())
        student.zero_grad()
        values["loss"].backward()
        own = {f"terms.front.adapt.{part}" for part in ("weight", "bias")}
        assert has_gradient(student) == front and has_gradient(objective) == own
        assert all(p.grad is None for name, p in student.named_parameters() if name not in front)
    objective.layered.route(student, batches(world))
    objective.start_epoch(2)
    values = loss_of(objective, student.train(), batch)
    expected = 0.5 * values["ce"] + 0.2 * values["front"] + 0.3 * values["layered"]
    assert values["loss"].item() == pytest.approx(expected.item())
    student.zero_grad()
    values["loss"].backward()
    assert has_gradient(student) == {name for name, _ in student.named_parameters()}
    assert has_gradient(objective) == {name for name, _ in objective.named_parameters()}


def test_the_projection_of_the_teachers_front_end_never_learns(world, student):
    objective, (batch, *_) = objective_of(world, student), batches(world)
    term = objective.terms["front"]
    weight, bias = term.weight.clone(), term.bias.clone()
    assert {name for name, _ in term.named_parameters()} == {"adapt.weight", "adapt.bias"}
    # made again from mean frame and seed
    assert set(term.state_dict()) == {"adapt.weight", "adapt.bias"}
    mean = mean_frame(world.cache, world.items["fewshot"])
    # it is centred on what frames have in common
    assert (weight @ mean + bias).abs().max() < 1e-5
    optimizer = torch.optim.SGD([*student.parameters(), *objective.parameters()], 1.0)
    loss_of(objective, student.train(), batch)["loss"].backward()
    optimizer.step()
    assert torch.equal(term.weight, weight) and torch.equal(term.bias, bias)
    again, other = objective_of(world, student), objective_of(world, student, seed=1)
    assert torch.equal(again.terms["front"].weight, weight)
    assert not torch.equal(other.terms["front"].weight, weight)


def test_front_alignment_falls_to_nothing_where_the_student_is_the_teacher(world, student):
    objective, (batch, *_) = objective_of(world, student), batches(world)
    term, frames = objective.terms["front"], batch.signals["front"]
    target = nn.functional.layer_norm(frames @ term.weight.T + term.bias, (len(term.bias),))
    batch, output = run(student, CLASSES, batch)
    far = objective(output, batch)["front"].item()
    lengths = stage_lengths(batch.lengths, student.strides[0])
    size = output.layers[0].shape[1]
    target = losses.resample(target, batch.signals["front_lengths"], size, lengths)
    # the student's units may mean something else
    turned = torch.linalg.qr(torch.randn(target.shape[-1], target.shape[-1])).Q
    term.adapt.weight.data, term.adapt.bias.data = turned, torch.zeros(target.shape[-1])
    output.layers[0] = 3 * target @ turned
    assert objective(output, batch)["front"].item() == pytest.approx(0, abs=1e-6) and far > 0.5


def test_padding_changes_no_stage_logit_no_alignment_and_no_routing(world, student):
    objective = objective_of(world, student, SCENE.model_copy(update={"front": Front(weight=0.2)}))
    layered = objective.layered
    together, alone = batches(world, size=9), batches(world, size=1)
    assert len(set(together[0].lengths.tolist())) > 4
    whole, output = run(student, CLASSES, together[0])
    each = [run(student, CLASSES, batch) for batch in alone]
    assert [batch.items[0] for batch, _ in each] == whole.items
    own = [layered._stage_logits(one, batch) for batch, one in each]
    for stage, logits in enumerate(layered._stage_logits(output, whole)):
        assert logits.shape == (9, len(SCENES))
        for row, one in enumerate(own):
            assert torch.allclose(logits[row], one[stage][0], atol=1e-5), (stage, row)
    layered.route(student, together)
    similarity, routes = layered.similarity, layered.routes
    layered.route(student, alone)
    assert torch.allclose(similarity, layered.similarity, atol=1e-5)
    assert torch.equal(routes, layered.routes)
    # alignment means over frames, so long clips weigh more
    frames = torch.tensor([stage_lengths(b.lengths, student.strides[0]).item() for b, _ in each])
    fronts = torch.tensor([objective(one, batch)["front"].item() for batch, one in each])
    mean = (fronts * frames).sum() / frames.sum()
    assert objective(output, whole)["front"].item() == pytest.approx(mean.item(), abs=1e-5)


@pytest.mark.parametrize(
    "student",
    [
        MobileNetStudent(STUDENT, 40, CLASSES),
        CPMobileStudent(CPMobile(name="cp_mobile", base_channels=8), 40, CLASSES),
        *(
            BiLSTMStudent(BiLSTM(name="bilstm", hidden=4, stack=stack), 40, CLASSES)
            for stack in range(1, 9)
        ),
    ],
)
def test_stage_lengths_are_those_of_a_clip_alone(student):
    for length in range(1, 50):
        stages = student.eval().encode(torch.zeros(1, length, 40), torch.tensor([length]))[1]
        expected = [
            stage_lengths(torch.tensor([length]), stride).item() for stride in student.strides
        ]
        assert [stage.shape[1] for stage in stages] == expected, length


def test_routing_is_the_attention_similarity_of_stages_and_layers(world, student):
    layered = objective_of(world, student).layered
    before, answered = copied(student), batches(world, size=4)
    layered.route(student.train(), answered)
    # nothing learned, no statistics moved
    assert same(before, copied(student)) and not student.training
    expected = torch.zeros(3, LAYERS)
    for batch in batches(world, size=1):
        for number, stage in enumerate(student.encode(batch.sequences, batch.lengths)[1][1:]):
            own = routing.attention(stage, torch.tensor([stage.shape[1]]))[0]
            for layer in range(LAYERS):
                expected[number, layer] += (own * batch.signals["attention"][0, layer]).sum() / 9
    assert torch.allclose(layered.similarity, expected.detach(), atol=1e-5)
    assert expected.abs().max() > 0.01
    best = [sorted(range(LAYERS), key=lambda n: -row[n])[:2] for row in expected.tolist()]
    assert layered.routes.tolist() == best
    chosen = layered.chosen()
    assert np.allclose(chosen["similarity"], expected.detach().numpy(), atol=1e-5)
    assert chosen["chosen"] == [[layer + 1 for layer in row] for row in best]


def test_layers_that_are_given_are_kept(world, student):
    terms = SCENE.model_copy(update={"layered": Layered(weight=0.3, layers=[3, 1], top=9)})
    layered = objective_of(world, student, terms).layered
    layered.route(student, batches(world))
    assert layered.chosen()["chosen"] == [[3, 1]] * 3
    # shown all the same
    assert torch.tensor(layered.chosen()["similarity"]).shape == (3, LAYERS)
    beyond = SCENE.model_copy(update={"layered": Layered(weight=0.3, layers=[2, 4])})
    with pytest.raises(ValueError, match=r"terms\.layered\.layers=\[2, 4\] must be at most 3"):
        objective_of(world, student, beyond)


@pytest.mark.parametrize(
    ("epoch", "step", "expected"), [(2, 0, 0), (2, 1, 1), (5, 3, 15), (6, 0, 16)]
)
def test_the_temperature_falls_from_the_first_step_of_distillation_over_all_phases(
    world, student, epoch, step, expected
):
    params = Layered(weight=0.3, top=1, t_max=8.0, t_min=2.0, beta=0.1)
    objective = objective_of(world, student, SCENE.model_copy(update={"layered": params}))
    layered, (batch, *_) = objective.layered, batches(world)
    layered.route(student, batches(world))
    objective.start_epoch(epoch)
    batch, output = run(student, CLASSES, batch)
    for _ in range(step + 1):
        found = objective(output, batch)["layered"].item()
    stages, layers = layered._stage_logits(output, batch), batch.signals["layer_logits"]
    wanted = losses.layered_kd(stages, layers, layered.routes, 2 + 6 * exp(-0.1 * expected))
    assert found == pytest.approx(wanted.item(), rel=1e-6)


def test_a_lesson_holds_the_signals_that_are_asked_for(world):
    batch = batches(world, size=5)[0]
    signals = lesson(batch, world.cache, ["layer_logits", "attention", "front"])
    assert set(signals) == {"layer_logits", "attention", "front", "front_lengths"}
    assert signals["layer_logits"].shape == (5, LAYERS, 3)
    assert signals["attention"].shape == (5, LAYERS, 12, 12)
    lengths = signals["front_lengths"]
    assert signals["front"].shape == (5, lengths.max(), SceneWorld.FRONT)
    for row, clip in enumerate(batch.items):
        own = front(world.cache, clip)
        assert lengths[row] == len(own) == -(-batch.lengths[row] // 2)
        assert np.array_equal(signals["front"][row, : len(own)].numpy(), own.astype(np.float32))
        assert signals["front"][row, len(own) :].abs().sum() == 0
