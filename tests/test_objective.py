"""What a recipe minimises: the weighted sum by hand, the front end alone, stages that learn from
layers.
"""

from math import exp, log

import numpy as np
import pytest
import torch
from learning import LAYERS, SCENES, SceneWorld, copied, same
from torch import nn

from earshot.distillation.distill import lesson, mean_frame, with_lessons
from earshot.distillation.objective import TERMS, Objective, stage_lengths
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
from earshot.training.batches import Batch, Lesson, Loader
from earshot.training.loop import Heard, answer

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


def heard_by_hand() -> Heard:
    """Two items, the second unlabelled; see test_losses for the same numbers, worked out."""
    said = Lesson(
        torch.tensor([[2 * log(2), 0, 0], [1, 2, 3]]), torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    )
    sequences, lengths, rows = torch.zeros(2, 1, 1), torch.ones(2), torch.arange(2)
    batch = Batch(
        [], [], sequences, lengths, rows, None, None, answers=torch.tensor([0, -1]), lesson=said
    )
    logits = torch.tensor([[0, 0, 2 * log(2)], [1, 2, 3]], requires_grad=True)
    return Heard(batch, 0, logits, torch.tensor([[1.0], [0.0]], requires_grad=True), [])


def objective_by_hand(terms: Terms) -> Objective:
    batch = heard_by_hand().batch
    objective = Objective(terms, Stub(), batch, None, steps_per_epoch=1, seed=0)
    objective.project.weight.data, objective.project.bias.data = (
        torch.tensor([[1.0], [2.0]]),
        torch.zeros(2),
    )
    return objective


def test_the_papers_weighted_sum_by_hand():
    values = objective_by_hand(PAPER)(heard_by_hand())
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
    values = objective_by_hand(terms)(heard_by_hand())
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
    objective, heard = objective_by_hand(terms), heard_by_hand()
    heard.batch.lesson = None  # so nothing of the teacher is needed
    values = objective(heard)
    assert values.keys() == {"ce", "loss"}
    assert values["loss"].item() == values["ce"].item() == pytest.approx(log(6))


def test_the_projection_trains_by_the_feature_term_alone():
    objective, heard = objective_by_hand(PAPER), heard_by_hand()
    objective(heard)["loss"].backward()
    # 0.1 · 2/N · Σ (F_S − F_T) · pooled = 0.1 · (1, 2) · 1, the second item's vector being 0
    assert objective.project.weight.grad.flatten().tolist() == pytest.approx([0.1, 0.2])
    assert heard.pooled.grad[0].item() == pytest.approx(0.1 * (1 * 1 + 2 * 2))
    hard = objective_by_hand(HARD)
    hard(heard_by_hand())["loss"].backward()
    assert hard.project.weight.grad is None


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
    model = MobileNetStudent(STUDENT, SceneWorld.MELS, len(SCENES))
    for _ in range(5):
        model.encode(torch.randn(8, 40, SceneWorld.MELS) + 0.5, torch.full((8,), 40))
    return model.eval()


def batches(world: SceneWorld, size: int = 8, role: str = "fewshot") -> list[Batch]:
    return list(with_lessons(iter(Loader(world.items[role], world.mel, None, size)), world.cache))


def objective_of(
    world: SceneWorld, student: nn.Module, terms: Terms = SCENE, seed: int = 0
) -> Objective:
    (example, *_), mean = batches(world), mean_frame(world.cache, world.items["fewshot"])
    return Objective(terms, student, example, mean, steps_per_epoch=4, seed=seed)


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
        objective.epoch = epoch
        values = objective(answer(student.train(), batch, step=4 * epoch))
        assert values.keys() == {"front", "loss"}
        assert values["loss"].item() == pytest.approx(0.2 * values["front"].item())
        student.zero_grad()
        values["loss"].backward()
        assert has_gradient(student) == front and has_gradient(objective) == {
            "adapt.weight",
            "adapt.bias",
        }
        assert all(p.grad is None for name, p in student.named_parameters() if name not in front)
    objective.route(student, batches(world))
    objective.epoch = 2
    values = objective(answer(student.train(), batch, step=8))
    expected = 0.5 * values["ce"] + 0.2 * values["front"] + 0.3 * values["layered"]
    assert values["loss"].item() == pytest.approx(expected.item())
    student.zero_grad()
    values["loss"].backward()
    assert has_gradient(student) == {name for name, _ in student.named_parameters()}
    # not the projection of the feature term, which is left out
    own = ("adapt", "stage_heads.0", "stage_heads.1")
    assert has_gradient(objective) == {
        f"{layer}.{part}" for layer in own for part in ("weight", "bias")
    }


def test_the_projection_of_the_teachers_front_end_never_learns(world, student):
    objective, (batch, *_) = objective_of(world, student), batches(world)
    weight, bias = objective.front_weight.clone(), objective.front_bias.clone()
    assert {name for name, _ in objective.named_buffers()} == {"front_weight", "front_bias"}
    assert not any("front" in name for name, _ in objective.named_parameters())
    # made again from mean frame and seed
    assert not any("front" in name for name in objective.state_dict())
    assert not weight.requires_grad and not bias.requires_grad
    mean = np.mean(
        [world.cache.frames(clip).astype(np.float32).mean(0) for clip in world.items["fewshot"]], 0
    )
    # it is centred on what frames have in common
    assert (weight @ torch.from_numpy(mean) + bias).abs().max() < 1e-5
    optimizer = torch.optim.SGD([*student.parameters(), *objective.parameters()], 1.0)
    objective(answer(student.train(), batch))["loss"].backward()
    optimizer.step()
    assert torch.equal(objective.front_weight, weight) and torch.equal(objective.front_bias, bias)
    again, other = objective_of(world, student), objective_of(world, student, seed=1)
    assert torch.equal(again.front_weight, weight) and not torch.equal(other.front_weight, weight)


def test_front_alignment_falls_to_nothing_when_the_student_hears_as_the_teacher(world, student):
    objective, (batch, *_) = objective_of(world, student), batches(world)
    frames = batch.lesson.frames
    told = nn.functional.layer_norm(
        frames @ objective.front_weight.T + objective.front_bias, (len(objective.front_bias),)
    )
    heard = answer(student, batch)
    far = objective(heard)["front"].item()
    told = losses.resample(
        told,
        batch.lesson.frame_lengths,
        heard.stages[0].shape[1],
        stage_lengths(batch.lengths, student.strides[0]),
    )
    # the student's units may mean something else
    turned = torch.linalg.qr(torch.randn(told.shape[-1], told.shape[-1])).Q
    objective.adapt.weight.data, objective.adapt.bias.data = turned, torch.zeros(told.shape[-1])
    heard.stages[0] = 3 * told @ turned
    assert objective(heard)["front"].item() == pytest.approx(0, abs=1e-6) and far > 0.5


def test_padding_changes_no_stage_logit_no_alignment_and_no_routing(world, student):
    objective = objective_of(world, student, SCENE.model_copy(update={"front": Front(weight=0.2)}))
    together, alone = batches(world, size=9), batches(world, size=1)
    assert len(set(together[0].lengths.tolist())) > 4
    heard, each = answer(student, together[0]), [answer(student, batch) for batch in alone]
    assert [one.batch.items[0] for one in each] == together[0].items
    for stage, logits in enumerate(objective.stage_logits(heard)):
        assert logits.shape == (9, len(SCENES))
        for row, one in enumerate(each):
            assert torch.allclose(logits[row], objective.stage_logits(one)[stage][0], atol=1e-5), (
                stage,
                row,
            )
    assert torch.equal(objective.stage_logits(heard)[-1], heard.logits)
    objective.route(student, together)
    similarity, routes = objective.similarity, objective.routes
    objective.route(student, alone)
    assert torch.allclose(similarity, objective.similarity, atol=1e-5) and torch.equal(
        routes, objective.routes
    )
    # alignment means over frames, so long clips weigh more
    frames = torch.tensor(
        [stage_lengths(one.batch.lengths, student.strides[0]).item() for one in each]
    )
    own = torch.tensor([objective(one)["front"].item() for one in each])
    assert objective(heard)["front"].item() == pytest.approx(
        ((own * frames).sum() / frames.sum()).item(), abs=1e-5
    )


@pytest.mark.parametrize(
    "student",
    [
        MobileNetStudent(STUDENT, 40, 3),
        CPMobileStudent(CPMobile(name="cp_mobile", base_channels=8), 40, 3),
        *(
            BiLSTMStudent(BiLSTM(name="bilstm", hidden=4, stack=stack), 40, 3)
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
    objective = objective_of(world, student)
    before, answered = copied(student), batches(world, size=4)
    objective.route(student.train(), answered)
    # nothing learned, no statistics moved
    assert same(before, copied(student)) and not student.training
    expected = torch.zeros(3, LAYERS)
    for batch in batches(world, size=1):
        for number, stage in enumerate(student.encode(batch.sequences, batch.lengths)[1][1:]):
            own = routing.attention(stage, torch.tensor([stage.shape[1]]))[0]
            for layer in range(LAYERS):
                expected[number, layer] += (own * batch.lesson.attention[0, layer]).sum() / 9
    assert torch.allclose(objective.similarity, expected.detach(), atol=1e-5)
    assert expected.abs().max() > 0.01
    assert objective.routes.tolist() == [
        sorted(range(LAYERS), key=lambda n: -row[n])[:2] for row in expected.tolist()
    ]
    said = objective.routing()
    assert np.allclose(said["similarity"], expected.detach().numpy(), atol=1e-5)
    assert said["chosen"] == [[layer + 1 for layer in row] for row in objective.routes.tolist()]


def test_layers_that_are_given_are_kept(world, student):
    terms = SCENE.model_copy(update={"layered": Layered(weight=0.3, layers=[3, 1], top=9)})
    objective = objective_of(world, student, terms)
    objective.route(student, batches(world))
    assert objective.routing()["chosen"] == [[3, 1]] * 3
    # shown all the same
    assert torch.tensor(objective.routing()["similarity"]).shape == (3, LAYERS)
    beyond = SCENE.model_copy(update={"layered": Layered(weight=0.3, layers=[2, 4])})
    with pytest.raises(ValueError, match=r"terms\.layered\.layers=\[2, 4\] must be at most 3"):
        objective_of(world, student, beyond)


@pytest.mark.parametrize(
    "before, step, expected", [(0, 8, 0), (0, 9, 1), (0, 23, 15), (24, 0, 16), (24, 5, 21)]
)
def test_the_temperature_falls_from_the_first_step_of_distillation_over_all_phases(
    world, student, before, step, expected
):
    layered = Layered(weight=0.3, top=1, t_max=8.0, t_min=2.0, beta=0.1)
    objective, (batch, *_) = (
        objective_of(world, student, SCENE.model_copy(update={"layered": layered})),
        batches(world),
    )
    objective.route(student, batches(world))
    objective.epoch, objective.steps_before = 2, before
    heard = answer(student, batch, step)
    sources = batch.lesson.layer_logits
    wanted = losses.layered_kd(
        objective.stage_logits(heard), sources, objective.routes, 2 + 6 * exp(-0.1 * expected)
    )
    assert objective(heard)["layered"].item() == pytest.approx(wanted.item(), rel=1e-6)


def test_a_lesson_is_a_layered_one_where_the_cache_is(world):
    batch = batches(world, size=5)[0]
    said = lesson(batch, world.cache)
    assert said.layer_logits.shape == (5, LAYERS, 3) and said.attention.shape == (5, LAYERS, 12, 12)
    assert said.frames.shape == (5, said.frame_lengths.max(), SceneWorld.FRONT)
    for row, clip in enumerate(batch.items):
        own = world.cache.frames(clip)
        assert said.frame_lengths[row] == len(own) == -(-batch.lengths[row] // 2)
        assert np.array_equal(said.frames[row, : len(own)].numpy(), own.astype(np.float32))
        assert said.frames[row, len(own) :].abs().sum() == 0
