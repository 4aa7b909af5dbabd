"""params.yaml: what it may say, and one line about what it may not."""

import shutil

import pytest
import yaml
from conftest import ROOT, python
from pydantic import BaseModel, ValidationError

from earshot.params import NetworkTeacher, ParameterError, parse

TRACK, KD = "tracks.listening", "recipes.listening-kd.terms.kd"
KD_POOL = "recipes.listening-kd_pool.terms.kd"


def spoil(content: dict, key: str, value: object) -> None:
    """Set a dotted key."""
    *path, last = key.split(".")
    for part in path:
        content = content[part]
    content[last] = value


def sections(value: object) -> list[BaseModel]:
    if isinstance(value, BaseModel):
        return [value, *(s for _, inner in value for s in sections(inner))]
    return (
        [s for inner in value.values() for s in sections(inner)] if isinstance(value, dict) else []
    )


def without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def test_every_value_stands_in_the_file(content):
    """So no default of the code can change a result, and stages need not depend on it."""
    assert parse(content).model_dump(exclude_none=True) == without_nulls(content)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (f"{TRACK}.features.mels", 64, [f"{TRACK}.features.mels=64", "no such parameter"]),
        ("speed", 3, ["speed=3", "no such parameter"]),
        (f"{TRACK}.teacher", {}, ["it stands in the section", "write teachers: {listening: "]),
        (f"{TRACK}.features.n_mels", "40", [f"{TRACK}.features.n_mels='40'", "valid integer"]),
        (f"{TRACK}.features.n_mels", 40.0, [f"{TRACK}.features.n_mels=40.0", "valid integer"]),
        (f"{TRACK}.distill.seeds", True, [f"{TRACK}.distill.seeds=True", "valid integer"]),
        (f"{TRACK}.distill.learning_rate", "5e-4",
         [f"{TRACK}.distill.learning_rate='5e-4'", "valid number"]),
        ("seed", -1, ["seed=-1", "greater than or equal to 0"]),
        (f"{KD}.temperature", 0, [f"{KD}.temperature=0", "greater than 0"]),
        (f"{KD}.temperature", -2.0, [f"{KD}.temperature=-2.0", "greater than 0"]),
        (f"{KD}.temperature", float("inf"), [f"{KD}.temperature=inf", "finite"]),
        (f"{KD}.weight", float("nan"), [f"{KD}.weight=nan"]),
        (f"{KD}.weight", -0.1, [f"{KD}.weight=-0.1", "greater than or equal to 0"]),
        ("recipes.listening-hard.terms.ce.weight", 0.0,
         ["recipes.listening-hard.terms", "weights are zero", "> 0"]),
        ("recipes.listening-hard.terms", {},
         ["recipes.listening-hard.terms", "weights are zero", "> 0"]),
        ("recipes.listening-hard.data", ["pool"],
         ["recipes.listening-hard", "data=['pool']", "kd, feature or layered"]),
        ("recipes.listening-hard.data", ["test"],
         ["recipes.listening-hard.data.0='test'", "'fewshot' or 'pool'"]),
        ("recipes.listening-hard.epochs", 0,
         ["recipes.listening-hard.epochs=0", "greater than or equal to 1"]),
        ("recipes.listening-hard.epochs", None,
         ["recipes.listening-hard", "epochs=None and steps=None", "one of the two"]),
        ("recipes.listening-hard.steps", 100,
         ["recipes.listening-hard", "epochs=12 and steps=100", "one of the two"]),
        ("recipes.scenes-layered.qat.steps", 100,
         ["recipes.scenes-layered.qat", "epochs=2 and steps=100"]),
        (f"{TRACK}.distill.average", 0.0, [f"{TRACK}.distill.average=0.0", "greater than 0"]),
        ("recipes.listening-hard.track", "asr",
         ["recipes.listening-hard", "track='asr'", "['languages', 'listening', 'scenes', "]),
        ("recipes.listening-hard.track", "scenes",
         ["recipes.listening-hard", "begin with its track, scenes-"]),
        ("teachers.listening.track", "asr",
         ["teachers.listening.track='asr'", "['languages', 'listening', 'scenes', "]),
        ("teachers.listening.track", "scenes", ["tracks.listening: needs a teacher"]),
        ("recipes.scenes-kd.teachers", ["scene"],
         ["recipes.scenes-kd.teachers: 'scene'", "one of its track's: ['scenes']"]),
        ("recipes.scenes-kd.teachers", ["listening"],
         ["recipes.scenes-kd.teachers: 'listening'", "one of its track's: ['scenes']"]),
        ("recipes.scenes-kd.teachers", ["scenes", "scenes"], ["'scenes' is there twice"]),
        ("recipes.scenes-kd.teachers", [],
         ["recipes.scenes-kd.teachers=[]", "terms ['kd'] need", "['scenes']"]),
        ("recipes.scenes-hard.teachers", ["scenes"],
         ["recipes.scenes-hard.teachers=['scenes']", "write []"]),
        ("recipes.scenes-hard.needs", "cache",
         ["recipes.scenes-hard.needs='cache'", "'inputs/named.json' for teachers=[]"]),
        ("recipes.scenes-kd.needs", "cache",
         ["recipes.scenes-kd.needs='cache'", "'cache/scenes' for teachers=['scenes']"]),
        ("tracks.scenes.task", "sing", ["tracks.scenes", "task='sing'", "choice, classes"]),
        (f"{TRACK}.fewshot.questions", 11,
         ["fewshot.questions=11", "at most", f"{TRACK}.corpus.passages.fewshot=10"]),
        (f"{TRACK}.fewshot.paper_share", 1.5,
         [f"{TRACK}.fewshot.paper_share=1.5", "less than or equal to 1"]),
        (f"{TRACK}.features.max_bad_share", -0.1,
         [f"{TRACK}.features.max_bad_share=-0.1", "greater than or equal to 0"]),
        (f"{TRACK}.fewshot.options", 1,
         [f"{TRACK}.fewshot.options=1", "greater than or equal to 2"]),
        (f"{TRACK}.fewshot.skills", [], [f"{TRACK}.fewshot.skills=[]", "at least 1"]),
        (f"{TRACK}.fewshot.source", "authored",
         [f"{TRACK}.fewshot", "authored must name a YAML file"]),
        (f"{TRACK}.corpus.name", "tau",
         [f"{TRACK}.corpus", "'tau'", "'synthetic_scenes', 'tau2022', 'manifest'"]),
        ("tracks.scenes.student.stem", 0,
         ["tracks.scenes.student.stem=0", "greater than or equal to 1"]),
        ("tracks.scenes.student.blocks", [1],
         ["tracks.scenes.student", "blocks=[1]", "equally long"]),
        ("tracks.scenes.pretrain.clips", None,
         ["tracks.scenes.pretrain", "either clips", "or manifest"]),
        ("tracks.scenes.fewshot.share", 20,
         ["tracks.scenes.fewshot.share=20", "5, 10, 25, 50 or 100"]),
        ("tracks.scenes.task", "choice",
         ["tracks.scenes", "fewshot.source='labels'", "task='choice'"]),
        ("teachers.scenes.text", {"buckets": 64, "dim": 8},
         ["teachers.scenes", "teacher.text", "task='classes'"]),
        ("teachers.scenes.auxiliary", False,
         ["tracks.scenes.cache.layered needs teachers.scenes.auxiliary"]),
        ("tracks.scenes.cache.layered", False,
         ["recipes.scenes-layered.terms", "tracks.scenes.cache.layered"]),
        ("recipes.scenes-layered.terms.front.alone", 7,
         ["recipes.scenes-layered", "alone=7", "less than epochs=7"]),
        ("recipes.scenes-layered.terms.layered.t_min", 9.0,
         ["terms.layered", "t_min=9.0", "at most t_max=8.0"]),
        ("recipes.listening-hard.augment.mixup", {"p": 0.5},
         ["recipes.listening-hard.augment.mixup", "task='choice'"]),
        ("recipes.scenes-hard.augment.roll", {"frames": 0},
         ["recipes.scenes-hard.augment.roll.frames=0", "equal to 1"]),
        ("recipes.listening-hard.qat", {"epochs": 1},
         ["recipes.listening-hard.qat", "quantized dynamically"]),
        ("recipes.listening-hard.prune", {"share": 1.0, "epochs": 1},
         ["recipes.listening-hard.prune.share=1.0", "less than 1"]),
        ("recipes.listening-hard.prune", {"share": 0.0, "epochs": 1},
         ["recipes.listening-hard.prune.share=0.0", "greater than 0"]),
        ("recipes.listening-hard.prune", {"share": 0.5},
         ["recipes.listening-hard.prune", "epochs=None and steps=None"]),
        ("recipes.scenes-hard.prune", {"share": 0.5, "epochs": 1},
         ["recipes.scenes-hard.prune", "out of a mobilenet", "leave prune out"]),
        ("recipes.scenes-layered.prune", {"share": 0.5, "epochs": 1},
         ["recipes.scenes-layered", "qat and prune: give one of the two"]),
        (f"{TRACK}.corpus.passages.dev", 5,
         [f"{TRACK}.corpus", "passages.dev", "'validation' or 'test'"]),
        (f"{TRACK}.student.dropout", 1.0, [f"{TRACK}.student.dropout=1.0", "less than 1"]),
        (f"{TRACK}.features.win_length", 401,
         [f"{TRACK}.features", "win_length=401", "at most n_fft=400"]),
        (f"{TRACK}.features.fmax", 8001.0, [f"{TRACK}.features", "fmax=8001.0", "8000.0"]),
        (f"{TRACK}.evaluate.recipes", ["hard", "kd"],
         ["evaluate.recipes=['hard', 'kd']", "['hard', 'kd', 'kd_pool']"]),
        (f"{TRACK}.evaluate.gains", ["kd_over_hard"],
         [f"{TRACK}.evaluate.gains", "'kd_over_hard'", "A_vs_B", "'teacher'"]),
        (f"{TRACK}.evaluate.gains", ["kd_vs_best"],
         ["evaluate.gains", "'kd_vs_best'", "'kd_pool', 'teacher'"]),
        (f"{TRACK}.evaluate.gains", ["kd_vs_hard_vs_kd"],
         [f"{TRACK}.evaluate.gains", "'kd_vs_hard_vs_kd'"]),
        ("tracks.transcripts.cache.layered", True, ["cache.layered", "task='transcript'"]),
        ("tracks.transcripts.fewshot.alphabet", "abC", ["alphabet='abC'", "lower case"]),
        ("tracks.transcripts.fewshot.source", "labels", ["tracks.transcripts.fewshot"]),
        ("tracks.scenes.student", {"name": "conformer"},
         ["tracks.scenes", "'conformer' does not go with task='classes'"]),
        ("tracks.transcripts.student", {"name": "mobilenet"},
         ["tracks.transcripts", "'mobilenet' must be bilstm, conformer or convnext"]),
        ("tracks.transcripts.student", {"name": "conformer", "width": 30, "heads": 4},
         ["tracks.transcripts.student", "width=30", "heads"]),
        ("tracks.transcripts.student", {"name": "conformer", "kernel": 4},
         ["tracks.transcripts.student.kernel=4", "must be odd"]),
        ("teachers.transcripts.auxiliary", True, ["teachers.transcripts.auxiliary", "frames"]),
        ("teachers.scenes.epochs", 0, ["teachers.scenes.epochs=0", "at least 1"]),
        ("recipes.transcripts-hard.terms.ce", {"weight": 1.0},
         ["recipes.transcripts-hard.terms.ce does not go with task='transcript'"]),
        ("recipes.listening-hard.terms.ctc", {"weight": 1.0},
         ["recipes.listening-hard.terms.ctc does not go with task='choice'"]),
        ("recipes.transcripts-kd.terms.frames.select", "symmetric",
         ["recipes.transcripts-kd.terms.frames", "around=None", "symmetric"]),
        ("recipes.transcripts-kd.augment.roll", {"frames": 2},
         ["recipes.transcripts-kd.augment.roll", "frames in order"]),
        ("recipes.transcripts-kd.terms.hidden",
         {"weight": 1.0, "pairs": [{"teacher": 0, "student": 1}]},
         ["recipes.transcripts-kd.terms.hidden needs tracks.transcripts.cache.states"]),
        ("recipes.transcripts-kd.terms.attention",
         {"weight": 1.0, "pairs": [{"teacher": 0, "student": 1}]},
         ["recipes.transcripts-kd.terms.attention needs tracks.transcripts.cache.states"]),
        ("recipes.scenes-kd.terms.hidden",
         {"weight": 1.0, "pairs": [{"teacher": 0, "student": 1}]},
         ["recipes.scenes-kd.terms.hidden needs a student with layers"]),
        ("sweep.recipe", "listening-k", ["sweep.recipe='listening-k'", "'listening-kd'"]),
        ("sweep.grid", {}, ["sweep.grid", "at least 1"]),
        ("sweep.grid", {"seed": []}, ["sweep.grid.seed=[]", "at least 1"]),
        ("sweep.fixed", {f"{KD_POOL}.temperature": 1.0},
         ["sweep", f"{KD_POOL}.temperature: in fixed and in grid"]),
        ("search.fixed", {f"{KD_POOL}.weight": 1.0},
         ["search", f"{KD_POOL}.weight: in fixed and in ranges"]),
        ("search.ranges", {"seed": {"low": 3, "high": 3}},
         ["search.ranges.seed", "low=3 must be below high=3"]),
        ("search.ranges", {"seed": {"low": 0, "high": 3, "log": True}},
         ["search.ranges.seed", "low=0 must be above 0"]),
        ("search.ranges", {"seed": {"low": 3}},
         ["search.ranges.seed", "either low and high, or choices"]),
        ("search.ranges", {"seed": {"low": 3, "choices": [1]}},
         ["search.ranges.seed", "either low and high, or choices"]),
        ("search.ranges", {"seed": {"choices": []}},
         ["search.ranges.seed.choices=[]", "at least 1"]),
        ("guard", {"listening.quality.kd.accuracy": -0.1},
         ["guard.listening.quality.kd.accuracy=-0.1", "equal to 0"]),
    ],
)  # fmt: skip
def test_one_line_names_key_value_and_range(content, key, value, told):
    spoil(content, key, value)
    with pytest.raises(ParameterError) as raised:
        parse(content)
    message = str(raised.value)
    assert "\n" not in message and message.startswith("params.yaml: ")
    assert [part for part in told if part not in message] == []


def test_several_teachers_can_teach_logits_and_no_other_signal(content):
    content["teachers"]["more"] = content["teachers"]["scenes"] | {"control": False}
    content["recipes"]["scenes-kd"] |= {"teachers": ["scenes", "more"], "needs": "cache"}
    gains = content["tracks"]["scenes"]["evaluate"]["gains"]
    gains += ["kd_vs_kd_teachers", "kd_teachers_vs_teacher_more"]
    parse(content)
    content["recipes"]["scenes-kd"]["terms"]["feature"] = {"weight": 0.1}
    told = r"terms.feature learns from one teacher, or one a language, there are \['scenes"
    with pytest.raises(ParameterError, match=told):
        parse(content)
    del content["recipes"]["scenes-kd"]["terms"]["feature"]
    content["teachers"]["more"]["auxiliary"] = False
    layered = content["recipes"]["scenes-layered"]
    layered |= {"teachers": ["more"], "needs": "cache/more"}
    told = r"scenes-layered.terms.\w+ learns from one teacher with auxiliary, there are \[\]"
    with pytest.raises(ParameterError, match=told):
        parse(content)
    layered |= {"teachers": ["scenes", "more"], "needs": "cache"}  # layers of the one that has them
    parse(content)


def test_epochs_alone_need_epochs(content):
    spoil(content, "recipes.scenes-layered.epochs", None)
    spoil(content, "recipes.scenes-layered.steps", 100)
    with pytest.raises(
        ParameterError, match=r"scenes-layered: .*alone=2 counts epochs: give epoch"
    ):
        parse(content)


def network_teacher(content: dict, **changes) -> dict:
    """Add a network as teacher, with some of its row changed."""
    features = dict(content["tracks"]["scenes"]["features"])
    row = {"track": "scenes", "network": {"name": "cp_mobile"}, "features": features, "epochs": 3}
    content["teachers"]["net"] = row | changes
    return content


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network": {"name": "cp_mobil"}}, ["teachers.net.network", "'cp_mobil'", "'image'"]),
        ({"features": {"n_mels": 0}}, ["teachers.net.features.n_mels=0", "equal to 1"]),
        ({"epochs": 0}, ["teachers.net: epochs=0 without weights", "give either"]),
        ({"tuned_layers": 2}, ["teachers.net.tuned_layers=2", "no such parameter"]),
        ({"augment": {"mixup": {"p": 0.5}}, "features": {"norm": "mean"}},
         ["teachers.net.augment.mixup adds powers", "teachers.net.features.norm='mean'"]),
        ({"network": {"name": "bilstm", "text": {}}}, ["teachers.net", "task='classes'"]),
    ],
)  # fmt: skip
def test_a_network_that_cannot_teach_is_one_line(content, changes, told):
    assert isinstance(parse(network_teacher(content)).teachers["net"], NetworkTeacher)
    with pytest.raises(ParameterError) as raised:
        parse(network_teacher(content, **changes))
    assert [part for part in told if part not in str(raised.value)] == []


def test_two_models_are_never_called_alike(content):
    content["teachers"]["scratch"] = content["teachers"]["scenes"] | {"control": False}
    with pytest.raises(ParameterError, match="scenes: results would call two models 'teacher_scr"):
        parse(content)


def test_a_last_fit_cannot_count_epochs(content):
    spoil(content, "tracks.scenes.distill.refit", True)
    with pytest.raises(ParameterError, match="layered.*alone=2 counts epochs, which a last fit"):
        parse(content)


def test_a_teacher_is_told_by_the_key_that_it_has(content):
    content = network_teacher(content)
    del content["teachers"]["net"]["network"]
    with pytest.raises(ParameterError, match="net: one of checkpoint or network must be given"):
        parse(content)
    spoil(network_teacher(content), "tracks.scenes.cache.layers", [0, 1])
    with pytest.raises(ParameterError, match=r"scenes.cache.layers=\[0, 1\] must be \[0\]"):
        parse(content)


def test_mixup_adds_powers(content):
    spoil(content, "recipes.scenes-kd.augment.mixup", {"p": 0.5})
    parse(content)
    spoil(content, "tracks.scenes.features.norm", "mean")
    with pytest.raises(ParameterError, match=r"^[^\n]*scenes-kd.augment.mixup[^\n]*norm='mean'"):
        parse(content)


def test_what_is_missing_is_named(content):
    del content["teachers"]["listening"]["epochs"]
    with pytest.raises(
        ParameterError, match=r"^params.yaml: teachers.listening.epochs is missing$"
    ):
        parse(content)


def test_what_dvc_reads_has_to_stand_there(content):
    del content["recipes"]["scenes-hard"]["needs"]
    told = r"scenes-hard\.needs=None must be 'inputs/named\.json' for teachers=\[\]"
    with pytest.raises(ParameterError, match=told):
        parse(content)


@pytest.mark.parametrize("other", [None, [], "seed", {}])
def test_content_that_is_no_parameters_is_one_line(other):
    with pytest.raises(ParameterError, match=r"^params.yaml: [^\n]+$"):
        parse(other)


def test_several_offences_are_all_named_on_one_line(content):
    spoil(content, "seed", -1)
    spoil(content, f"{KD}.temperature", 0)
    with pytest.raises(
        ParameterError,
        match=r"^params.yaml: seed=-1[^\n]*; params.yaml: [^\n]*temperature=0[^\n]*$",
    ):
        parse(content)


def test_nothing_can_be_set_afterwards(content):
    found = sections(parse(content))
    assert len(found) > 15
    for section in found:
        for name in type(section).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(section, name, None)


def test_a_stage_prints_that_line_alone_and_fails(content, tmp_path):
    for name in ("src", "stages"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    spoil(content, f"{KD}.temperature", 0)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    own = {"PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"}
    done = python("stages/features.py", "listening", folder=tmp_path, **own)
    line = f"features@listening: params.yaml: {KD}.temperature=0: Input should be greater than 0\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)
    assert not (tmp_path / "data").exists() and not (tmp_path / "metrics").exists()
