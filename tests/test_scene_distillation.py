"""Distilling scenes: fixed classes, views, front end and layers, int8, and a run killed in either
phase.
"""

import numpy as np
import pytest
import torch
from learning import CLASSES, LAYERS, SceneWorld, copied, forbid_teacher, noting, same
from test_distillation import HARD

from earshot.distillation import distill as distillation
from earshot.distillation.distill import Distillation, Distilled, distil
from earshot.distillation.lessons import front, with_lessons
from earshot.distillation.objective import Objective
from earshot.distillation.terms import Layered as LayeredTerm
from earshot.evaluation.ask import student_answers
from earshot.models import checkpoint
from earshot.models.students import STUDENTS
from earshot.params import (
    QAT,
    Augment,
    BiLSTM,
    CPMobile,
    CrossEntropy,
    Devices,
    Distill,
    Front,
    Layered,
    MixStyle,
    MobileNet,
    Recipe,
    Student,
    Terms,
)
from earshot.tables.devices import beside
from earshot.training import loop, losses
from earshot.training.batches import Loader
from earshot.training.loop import Trainer, predict

SCENE = Terms(
    ce=CrossEntropy(weight=0.5),
    front=Front(weight=0.2, alone=1),
    layered=Layered(weight=0.3, top=2, beta=0.1),
)
MOBILE = MobileNet(name="mobilenet", stem=4, widths=[4, 6, 8], blocks=[1, 1, 1], expansion=2)
TWO = QAT(epochs=2, learning_rate=1e-3)
MIXED = Augment(views=True, mixstyle=MixStyle(p=0.5))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> SceneWorld:
    return SceneWorld(tmp_path_factory.mktemp("scenes"))


def learn(
    scenes: SceneWorld,
    scratch,
    terms=SCENE,
    epochs=3,
    data=("fewshot", "pool"),
    student: Student = MOBILE,
    seed=0,
    augment=MIXED,
    qat=TWO,
    on_epoch=lambda epoch, scores: None,
    devices=None,
    recorded=None,
) -> Distilled:
    recipe = Recipe(
        track="scenes", data=list(data), epochs=epochs, terms=terms, augment=augment, qat=qat
    )
    return Distillation(
        recipe.model_copy(update={"devices": devices}),
        student,
        Distill(batch=8, learning_rate=1e-2),
        CLASSES,
        scenes.mel,
        [one for role in data for one in scenes.items[role]],
        scenes.items["validation"],
        scenes.cache,
        seed,
        scratch,
        on_epoch,
        devices=recorded or {},
    ).run()


def right(scenes: SceneWorld, student) -> float:
    answers = predict(student, CLASSES, Loader(scenes.items["test"], scenes.mel, CLASSES, 32))
    return float(
        np.mean(
            [answers[clip.id].argmax() == scenes.right[clip.id] for clip in scenes.items["test"]]
        )
    )


def validated(made: Distilled, scenes: SceneWorld) -> float:
    return CLASSES.score_all(made.answers, scenes.items["validation"]).value


def test_lessons_are_those_of_the_view_of_the_batch(scenes):
    loader, seen = Loader(scenes.asked, scenes.mel, CLASSES, 7, views=True), set()
    names = ["logits", "hidden", "layer_logits", "attention", "front"]
    for epoch in range(4):
        for batch in with_lessons(loader.shuffled(0, epoch), scenes.cache, names):
            for row, (clip, view) in enumerate(zip(batch.items, batch.views, strict=True)):
                mel = scenes.mel[clip.id, view]
                of_clip = batch.sequences[row, : len(mel)].numpy()
                assert np.array_equal(of_clip, mel.astype(np.float32))
                for name in names[:-1]:
                    kept = scenes.cache[name, clip.id, view].astype(np.float32)
                    own = batch.signals[name][row].numpy()
                    assert np.array_equal(own, kept.reshape(own.shape)), name
                frames = front(scenes.cache, clip, view)
                own = batch.signals["front"][row, : len(frames)].numpy()
                assert np.array_equal(own, frames.astype(np.float32))
                seen.add((clip.id, view))
    assert {view for _, view in seen} == {0, 1, 2}
    one, two = (scenes.cache["layer_logits", "pool-1", view] for view in (0, 1))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize(
    "student",
    [MOBILE, CPMobile(name="cp_mobile", base_channels=8), BiLSTM(name="bilstm", hidden=8)],
)
def test_every_student_learns_scenes_from_layers(scenes, tmp_path, student):
    quantized = student.name != "bilstm"
    history = []
    made = learn(
        scenes, tmp_path, epochs=12, student=student, qat=TWO if quantized else None,
        on_epoch=lambda *seen: history.append(seen),
    )  # fmt: skip
    assert right(scenes, made.student) > 0.7
    assert set(made.int8) == ({"ptq", "qat"} if quantized else set())
    assert not any(one.training for one in (made.student, *made.int8.values()))
    assert right(scenes, made.int8.get("qat", made.student)) > 0.7
    assert [epoch for epoch, _ in history] == list(range(14 if quantized else 12))
    assert set(history[0][1]) == {"front", "loss", "validation", "validation_loss"}
    assert (
        set(history[1][1])
        == set(history[-1][1])
        == {"ce", "front", "layered", "loss", "validation", "validation_loss"}
    )
    shipped = [scores["validation"] for _, scores in history[12 if quantized else 0 :]]
    assert validated(made, scenes) in (max(shipped), shipped[-1])
    chosen = np.array(made.routing["chosen"])
    assert chosen.shape == ({"mobilenet": 3, "cp_mobile": 3, "bilstm": 1}[student.name], 2)
    assert chosen.min() >= 1 and chosen.max() <= LAYERS
    assert made.seconds > 0


def test_without_layers_there_is_no_routing_and_without_qat_no_second_phase(scenes, tmp_path):
    history = []
    hard = learn(
        scenes,
        tmp_path,
        HARD,
        2,
        ["fewshot"],
        qat=None,
        on_epoch=lambda epoch, _: history.append(epoch),
    )
    assert hard.routing is None and set(hard.int8) == {"ptq"} and history == [0, 1]
    # what ships
    held_out = scenes.items["validation"]
    answers = predict(hard.int8["ptq"], CLASSES, Loader(held_out, scenes.mel, CLASSES, 32))
    assert validated(hard, scenes) == CLASSES.score_all(answers, held_out).value


def test_the_teacher_teaches_scenes_that_few_labels_cannot(tmp_path, monkeypatch):
    forbid_teacher(monkeypatch)
    scenes = SceneWorld(tmp_path, fewshot=3)  # one clip of each
    hard = learn(scenes, tmp_path / "hard", HARD, 48, ["fewshot"], qat=None)
    taught = learn(scenes, tmp_path / "layered", epochs=12, qat=None)
    assert right(scenes, hard.student) < 0.8
    assert right(scenes, taught.student) > 0.85


def test_a_pool_without_any_label_is_enough(scenes, tmp_path):
    made = learn(scenes, tmp_path, epochs=8, data=["pool"], qat=None)
    assert right(scenes, made.student) > 0.8
    assert all(torch.isfinite(tensor).all() for tensor in made.student.state_dict().values())


def test_a_model_of_a_device_is_the_student_but_for_norms_biases_and_head(scenes, tmp_path):
    every = [clip for role in ("fewshot", "pool", "validation") for clip in scenes.items[role]]
    recorded = {clip.id: ("a", "b", "unknown")[n // 3 % 3] for n, clip in enumerate(every)}
    taught = {"terms": HARD, "data": ["fewshot"], "qat": None, "epochs": 4}
    history = []
    general = learn(scenes, tmp_path / "general", **taught)
    made = learn(
        scenes, tmp_path / "devices", **taught, devices=Devices(steps=6, learning_rate=0.01),
        recorded=recorded, on_epoch=lambda epoch, _: history.append(epoch),
    )  # fmt: skip
    assert same(copied(made.student), copied(general.student)) and history == [0, 1, 2, 3]
    assert made.devices.keys() == {"a", "b"}  # what recorded it is not known of the rest
    ends = ("", ".ptq", ".device-a", ".device-a.ptq", ".device-b", ".device-b.ptq")
    assert made.models().keys() == set(ends)
    before = copied(made.student)
    for own in made.devices.values():
        after = copied(own.student)
        moved = {name for name in before if not torch.equal(after[name], before[name])}
        heavy = {name for name in moved if before[name].ndim > 1}
        assert heavy == {"head.weight"} and len(moved) > 10

    held_out = scenes.items["validation"]
    of_device = [clip for clip in held_out if recorded[clip.id] == "a"]
    loader = Loader(of_device, scenes.mel, CLASSES, 32)
    answers = predict(made.devices["a"].int8["ptq"], CLASSES, loader)
    assert all(np.array_equal(made.answers[id], row) for id, row in answers.items())
    others = [clip.id for clip in held_out if recorded[clip.id] == "unknown"]
    assert all(np.array_equal(made.answers[id], general.answers[id]) for id in others)

    for form, model in made.models().items():
        checkpoint.save_weights(tmp_path / f"seed-0{form}.safetensors", model.state_dict())
    weights = [tmp_path / "seed-0.safetensors"]
    asked = (MOBILE, CLASSES, scenes.mel, held_out, weights)
    (alone,), (found,) = student_answers(*asked), student_answers(*asked, recorded)
    in_float = predict(made.devices["a"].student, CLASSES, loader)
    assert all(np.array_equal(found[id], row) for id, row in in_float.items())
    assert all(np.array_equal(found[id], alone[id]) for id in others)
    assert any(not np.array_equal(found[clip.id], alone[clip.id]) for clip in of_device)


def test_a_device_that_no_file_can_be_called_after_is_told_before_training(scenes, tmp_path):
    recorded = dict.fromkeys((clip.id for clip in scenes.asked), "../x")
    with pytest.raises(ValueError, match="device '../x': a file is named by"):
        learn(scenes, tmp_path / "scratch", HARD, qat=None, recorded=recorded)
    assert not (tmp_path / "scratch").exists()


def test_models_of_devices_lie_beside_the_general_one(tmp_path):
    names = ("seed-1", "seed-1.device-a", "seed-1.device-s1", "seed-10.device-b", "seed-1.ptq")
    for name in (*names, "seed-1.device-a.ptq"):
        (tmp_path / f"{name}.safetensors").touch()
    found = beside(tmp_path / "seed-1.safetensors")
    assert {device: file.stem for device, file in found.items()} == {
        "a": "seed-1.device-a",
        "s1": "seed-1.device-s1",
    }
    assert beside(tmp_path / "seed-1.ptq.safetensors").keys() == {"a"}


def spied(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """Return what will be the weights after each epoch."""
    after, validate = [], distillation.validate
    monkeypatch.setattr(
        distillation,
        "validate",
        lambda model, loader: after.append(copied(model)) or validate(model, loader),
    )
    return after


def test_alone_epochs_leave_all_but_the_front_end_where_it_was(scenes, tmp_path, monkeypatch):
    after = spied(monkeypatch)
    alone = SCENE.model_copy(update={"front": Front(weight=0.2, alone=2)})
    learn(scenes, tmp_path, alone, epochs=3, qat=None)
    torch.manual_seed(0)
    begun = copied(STUDENTS["mobilenet"](MOBILE, SceneWorld.MELS, CLASSES))
    moments = ("running_mean", "running_var", "num_batches_tracked")
    learned = {name for name in begun if not name.endswith(moments)}
    front = {name for name in learned if name.startswith(("front.", "stem."))}
    moved = [
        {name for name in learned if not torch.equal(weights[name], begun[name])}
        for weights in after
    ]
    assert moved == [front, front, learned]


def test_the_temperature_falls_over_both_phases(scenes, tmp_path, monkeypatch):
    steps, temperature = [], losses.temperature
    monkeypatch.setattr(
        losses,
        "temperature",
        lambda step, *settings: steps.append(step) or temperature(step, *settings),
    )
    learn(scenes, tmp_path)
    passes = len(Loader(scenes.asked, scenes.mel, CLASSES, 8))
    # all epochs but the one that the front end has alone
    assert steps == list(range((3 - 1 + 2) * passes))


def test_layers_are_chosen_anew_at_the_start_of_each_epoch(scenes, tmp_path, monkeypatch):
    routed, used, route, layered_kd = [], [], LayeredTerm.route, losses.layered_kd

    def watched(term, student, batches):
        listened = list(batches)
        assert {view for batch in listened for view in batch.views} == {0}
        assert {clip.id for batch in listened for clip in batch.items} == {
            clip.id for clip in scenes.items["fewshot"]
        }
        route(term, student, listened)
        routed.append((copied(student), term.similarity, term.routes))

    monkeypatch.setattr(LayeredTerm, "route", watched)
    monkeypatch.setattr(
        losses, "layered_kd", lambda *given: used.append(given[2]) or layered_kd(*given)
    )
    made = learn(scenes, tmp_path, epochs=4)
    # the first epoch is the front end's; one for the student as it is kept
    assert len(routed) == 3 + 1 + 2
    passes = len(Loader(scenes.asked, scenes.mel, CLASSES, 8))
    epochs = [*routed[:3], *routed[4:]]
    assert len(used) == len(epochs) * passes
    for number, (_, _, routes) in enumerate(epochs):
        assert all(
            torch.equal(each, routes) for each in used[number * passes : (number + 1) * passes]
        )
    assert len({tuple(similarity.flatten().tolist()) for _, similarity, _ in routed}) == 6
    assert (
        same(routed[3][0], copied(made.student))
        and made.routing["similarity"] == routed[3][1].tolist()
    )


def test_scenes_of_a_seed_start_alike_and_end_alike(scenes, tmp_path, monkeypatch):
    one, two, other = (
        learn(scenes, tmp_path / str(n), epochs=2, seed=seed) for n, seed in enumerate((0, 0, 1))
    )
    assert same(copied(one.student), copied(two.student)) and not same(
        copied(one.student), copied(other.student)
    )
    for form in ("ptq", "qat"):
        assert same(copied(one.int8[form]), copied(two.int8[form]))
    assert one.routing == two.routing
    begun = []
    monkeypatch.setattr(
        Distillation, "fit", lambda _, student, *__, **___: begun.append(copied(student)) or 0.0
    )
    monkeypatch.setattr(Distillation, "route", lambda *_: {})
    learn(scenes, tmp_path / "a", qat=None)
    learn(scenes, tmp_path / "b", HARD, 5, ["fewshot"], qat=None)
    assert same(*begun)


@pytest.mark.parametrize(
    "killed_after", [0, 1, 2, 3], ids=["front", "float", "last of float", "qat"]
)
@pytest.mark.parametrize("within", [False, True], ids=["between epochs", "within an epoch"])
def test_killed_in_either_phase_it_ends_in_the_same_bytes(
    scenes, tmp_path, monkeypatch, straight, killed_after, within
):
    whole, expected = straight

    def on_epoch(epoch, _):
        if epoch == killed_after:
            if not within:
                raise KeyboardInterrupt
            forward, calls = Objective.forward, []

            def fails(objective, output, batch):
                calls.append(1)
                if len(calls) == 3:
                    raise KeyboardInterrupt
                return forward(objective, output, batch)

            monkeypatch.setattr(Objective, "forward", fails)

    with pytest.raises(KeyboardInterrupt):
        learn(scenes, tmp_path, on_epoch=on_epoch)
    monkeypatch.undo()
    history = []
    resumed = learn(scenes, tmp_path, on_epoch=lambda *seen: history.append(seen))
    assert history == expected
    assert same(copied(resumed.student), copied(whole.student))
    assert resumed.int8.keys() == whole.int8.keys() == {"ptq", "qat"}
    for form, model in whole.int8.items():
        assert same(copied(resumed.int8[form]), copied(model)), form
    assert resumed.routing == whole.routing
    assert {id: row.tolist() for id, row in resumed.answers.items()} == {
        id: row.tolist() for id, row in whole.answers.items()
    }
    again = learn(scenes, tmp_path)  # nothing is left to do
    assert (
        same(copied(again.int8["qat"]), copied(whole.int8["qat"]))
        and again.routing == whole.routing
    )


@pytest.fixture(scope="module")
def straight(scenes, tmp_path_factory) -> tuple[Distilled, list]:
    history = []
    return learn(
        scenes, tmp_path_factory.mktemp("straight"), on_epoch=lambda *seen: history.append(seen)
    ), history


# the validation labels given back


def refitted(scenes: SceneWorld, scratch, refit: bool, steps: int, validation=None):
    """Return what `distil` makes of nine labels, and the curve."""
    recipe = Recipe(track="scenes", data=["fewshot"], steps=steps, terms=HARD, qat=TWO)
    held_out, history = validation or scenes.items["validation"], []
    settings = Distill(batch=4, learning_rate=1e-2, refit=refit)
    told = (recipe, MOBILE, settings, CLASSES, scenes.mel, scenes.items["fewshot"], held_out)
    training = Distillation(*told, scenes.cache, 0, scratch, noting(history))
    return distil(training), history


def test_a_refit_takes_as_many_updates_on_the_validation_labels_too(scenes, tmp_path, monkeypatch):
    batches, step = [], Trainer._step

    def watched(trainer, number, batch):
        batches.append((str(trainer.scratch.relative_to(tmp_path)), batch))
        return step(trainer, number, batch)

    monkeypatch.setattr(Trainer, "_step", watched)
    monkeypatch.setattr(loop, "choose", lambda scores, _: (1, "told so"))
    _, curve = refitted(scenes, tmp_path, True, steps=20)
    assert [epoch for epoch, _ in curve] == list(range(12))  # ten and two, whichever is chosen
    seen = {phase: [b for name, b in batches if name == phase] for phase, _ in batches}
    # nine labels are batches of four and five: two epochs are four updates, in both phases
    updates = {phase: len(of_phase) for phase, of_phase in seen.items()}
    assert updates == {"float": 20, "qat": 4, "refit/float": 4, "refit/qat": 4}
    labelled = {
        phase: {clip.id for batch in of_phase for clip in batch.items}
        for phase, of_phase in seen.items()
    }
    given = {clip.id for clip in scenes.items["fewshot"]}
    held_out = {clip.id for clip in scenes.items["validation"]}
    assert labelled["float"] == labelled["qat"] == given
    assert labelled["refit/float"] & held_out and labelled["refit/float"] <= given | held_out


def test_a_refit_answers_validation_as_the_fit_before_did(scenes, tmp_path):
    plain, curve = refitted(scenes, tmp_path / "plain", False, steps=12)
    again, same_curve = refitted(scenes, tmp_path / "again", True, steps=12)
    assert curve == same_curve
    assert plain.answers.keys() == again.answers.keys()
    assert all(np.array_equal(plain.answers[id], again.answers[id]) for id in plain.answers)
    assert not same(copied(plain.student), copied(again.student))
    assert not same(copied(plain.int8["qat"]), copied(again.int8["qat"]))
