"""Several teachers: their logits averaged, nothing else mixed, and no more of them than needed."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import ROOT
from dvc.repo import Repo
from learning import CLASSES, SceneWorld, cache_by_hand, same, scene

from earshot.distillation import terms
from earshot.distillation.distill import Distillation
from earshot.evaluation.ask import mean_of_logits
from earshot.params import AVERAGED, CPMobile, Distill, Recipe, Terms
from earshot.params.recipes import LABELS
from earshot.runtime.files import write_json
from earshot.tables.signals import Averaged, SignalError, check_taught, made_by

CLIPS = [scene("one", 0), scene("two", 1, "pool")]


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def taught_by_hand(folder, *logits: dict[str, np.ndarray]) -> Averaged:
    """Return the signals of teachers a, b, …, each with a vector of its own beside its logits."""
    teachers = {}
    for name, of in zip("abc", logits, strict=False):
        known = {(id, 0): {"logits": row, "hidden": np.ones((1, 4))} for id, row in of.items()}
        teachers[name] = cache_by_hand(folder / name, CLIPS, known)
    return Averaged(teachers)


def test_logits_are_averaged_before_the_softmax(tmp_path):
    first = {"one": column(1, 3, 2), "two": column(0, 0, 9)}
    second = {"one": column(3, -1, 0), "two": column(0, 3, 0)}
    both = taught_by_hand(tmp_path, first, second)
    assert both["logits", "one", 0].tolist() == [[2], [1], [1]]
    assert both["logits", "two", 0].tolist() == [[0], [1.5], [4.5]]
    assert both["logits", "one", 0].dtype == np.float32
    with pytest.raises(KeyError):
        both["logits", "three", 0]


def test_other_signals_come_from_one_teacher_or_are_refused_by_name(tmp_path):
    logits = {clip.id: column(1, 2, 3) for clip in CLIPS}
    alone = taught_by_hand(tmp_path / "alone", logits)
    assert alone["hidden", "one", 0].tolist() == [[1, 1, 1, 1]]
    both = taught_by_hand(tmp_path / "both", logits, logits)
    with pytest.raises(SignalError, match=r"signal 'hidden' .* one teacher.*\['a', 'b'\]"):
        both["hidden", "one", 0]
    with pytest.raises(SignalError, match=r"signal 'front' .*none of \['a', 'b'\]"):
        both["front", "one", 0]


def test_what_teachers_answer_together_has_their_mean_logits():
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
    answers = [{"one": torch.tensor(row).softmax(-1).numpy()} for row in logits]
    expected = torch.tensor(logits.mean(0)).softmax(-1)
    assert mean_of_logits(answers)["one"] == pytest.approx(expected.numpy(), abs=1e-12)


def test_students_of_another_teacher_than_there_is_now_are_refused(tmp_path):
    who = {"width": 4}
    students, teachers = tmp_path / "students", tmp_path / "teachers"
    write_json(teachers / "a/identity.json", who)
    write_json(students / "teachers.json", {"a": json.dumps(who)})
    assert check_taught(students, teachers) == ["a"]
    write_json(teachers / "a/identity.json", who | {"width": 5})
    with pytest.raises(SignalError, match=r"students: taught by another a than there is now"):
        check_taught(students, teachers)
    with pytest.raises(SignalError, match=r"incomplete cache, no readable index.json"):
        made_by(tmp_path)


def test_terms_that_teachers_may_share_are_those_that_read_logits_alone():
    alone = {name for name, term in terms.TERMS.items() if not term.needs}
    shared = {name for name, term in terms.TERMS.items() if term.needs == ("logits",)}
    assert (alone, shared) == (LABELS, AVERAGED)


def test_a_recipe_waits_for_the_teachers_that_it_names_and_no_other(tmp_path, content):
    """As DVC itself sees dvc.yaml."""
    shutil.copyfile(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    content["teachers"]["more"] = content["teachers"]["scenes"]
    two = {"teachers": ["scenes", "more"], "needs": "cache"}
    content["recipes"]["scenes-two"] = content["recipes"]["scenes-kd"] | two
    (tmp_path / "params.yaml").write_text(json.dumps(content))  # which is YAML too
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        graph = repo.index.graph
        stages = {stage.name: stage for stage in repo.index.stages}

        def before(name: str) -> set[str]:
            waiting, found = [stages[name]], set()
            while waiting:
                for stage in graph.successors(waiting.pop()):
                    found.add(stage.name)
                    waiting.append(stage)
            return found

        hard, kd = before("distill@scenes-hard"), before("distill@scenes-kd")
        both = before("distill@scenes-two")
    data = {f"{stage}@scenes" for stage in ("inputs", "download", "features", "fewshot")}
    assert hard == data
    asked = {"pretrain@scenes", "teacher@scenes", "cache@scenes"}
    assert kd == data | asked
    assert both == data | asked | {"teacher@more", "cache@more"}


def test_students_of_two_teachers_are_those_of_one_with_their_mean(tmp_path):
    world = SceneWorld(tmp_path, pool=9, validation=6, test=3)
    rng = np.random.default_rng(1)
    keys = [(clip.id, view) for clip in world.asked for view in world.mel.views()[clip.id]]
    drawn = {key: rng.integers(-8, 9, (2, 3, 1)).astype(np.float32) for key in keys}
    logits = {"a": {}, "b": {}, "mean": {}}
    for key, (one, other) in drawn.items():
        logits["a"][key] = {"logits": one}
        logits["b"][key] = {"logits": other}
        logits["mean"][key] = {"logits": (one + other) / 2}
    teachers = {
        name: cache_by_hand(tmp_path / name, world.asked, known) for name, known in logits.items()
    }

    def weights(*names: str) -> dict[str, torch.Tensor]:
        recipe = Recipe(
            track="scenes",
            teachers=list(names),
            data=["fewshot", "pool"],
            epochs=1,
            terms=Terms(kd={"weight": 1.0, "temperature": 2.0}),
        )
        distilled = Distillation(
            recipe,
            CPMobile(name="cp_mobile", base_channels=8),
            Distill(batch=8),
            CLASSES,
            world.mel,
            world.asked,
            world.items["validation"],
            Averaged({name: teachers[name] for name in names}),
            0,
            tmp_path / "scratch" / "-".join(names),
            lambda epoch, scores: None,
        ).run()
        return distilled.student.state_dict()

    both = weights("a", "b")
    assert same(both, weights("mean"))
    assert not same(both, weights("a"))
