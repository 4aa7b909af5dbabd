"""Presets of params.yaml: each applies, each goes back to the very bytes."""

from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from earshot import cli
from earshot.params import ParameterError, parse
from earshot.runtime import yaml_file
from earshot.workbench import profile
from earshot.workbench.comparison.figures import leaves

FOLDER = ROOT / "profiles"
NAMES = profile.available(FOLDER)


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """params.yaml as it is, which is as `embedded` has it."""
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes())
    return path


@pytest.fixture(scope="module")
def applied(tmp_path_factory) -> dict[str, bytes]:
    """params.yaml under each profile, each applied to the file as it is."""
    path, contents = tmp_path_factory.mktemp("applied") / "params.yaml", {}
    for name in NAMES:
        path.write_bytes((ROOT / "params.yaml").read_bytes())
        changes = profile.apply(FOLDER / f"{name}.yaml", path)
        contents[name] = path.read_bytes()
        assert bool(changes) == (contents[name] != (ROOT / "params.yaml").read_bytes())
    return contents


def test_the_profiles_are_there_and_params_yaml_is_one_of_them(applied):
    assert {"embedded", "mini", "paper", "full"} <= set(NAMES)
    assert applied["embedded"] == (ROOT / "params.yaml").read_bytes(), (
        "commit params.yaml as `make profile NAME=embedded`"
    )
    assert len(set(applied.values())) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_applies_once_and_embedded_goes_back_to_the_very_bytes(params, applied, name):
    before = params.read_bytes()
    params.write_bytes(applied[name])
    parse(yaml.safe_load(applied[name]))
    assert profile.apply(FOLDER / f"{name}.yaml", params) == []
    assert params.read_bytes() == applied[name]
    assert bool(profile.apply(FOLDER / "embedded.yaml", params)) == (name != "embedded")
    assert params.read_bytes() == before


def test_the_order_of_profiles_leaves_no_trace(params, applied):
    for name in reversed(NAMES):  # each on what the one before left
        profile.apply(FOLDER / f"{name}.yaml", params)
        assert params.read_bytes() == applied[name], name


def test_embedded_sets_back_whatever_a_profile_sets():
    base = dict(leaves(yaml.safe_load((FOLDER / "embedded.yaml").read_text())))
    for name in NAMES:
        for key, _ in leaves(yaml.safe_load((FOLDER / f"{name}.yaml").read_text())):
            if ".corpus." not in key and ".student." not in key:  # sections replaced whole
                # one of the two may be null where the other is a section
                above = {key.rsplit(".", depth)[0] for depth in range(key.count("."))}
                below = {one for one in base if one.startswith(f"{key}.")}
                assert above & base.keys() or below, f"{name}: {key}"


def test_what_else_the_user_changed_stays(params):
    mine = params.read_text().replace("seed: 2026", "seed: 7 # mine")
    mine = mine.replace("resamples: 2000", "resamples: 500")
    params.write_text(mine)
    profile.apply(FOLDER / "full.yaml", params)
    changed = params.read_text()
    assert "seed: 7 # mine\n" in changed and changed.count("resamples: 500") == 4
    profile.apply(FOLDER / "embedded.yaml", params)
    assert params.read_text() == mine


def test_a_section_of_another_kind_is_replaced_whole_and_told(params):
    changes = profile.apply(FOLDER / "mini.yaml", params)
    corpus = yaml.safe_load(params.read_text())["tracks"]["listening"]["corpus"]
    assert corpus["name"] == "librispeech" and "passages" not in corpus
    assert "tracks.listening.corpus.name: synthetic_speech → librispeech" in changes
    assert "tracks.listening.corpus.passages.pool: 1800 → –" in changes
    assert any(line.startswith("tracks.listening.corpus.root: – → ") for line in changes)


def test_the_papers_settings_are_the_papers(applied):
    paper = parse(yaml.safe_load(applied["paper"]))
    listening, scenes = paper.tracks["listening"], paper.tracks["scenes"]
    assert (listening.student.hidden, listening.student.stack) == (512, 1)
    assert (listening.distill.learning_rate, listening.distill.batch) == (1e-4, 8)
    epochs = {recipe.epochs for recipe in paper.recipes.values() if recipe.track == "listening"}
    assert epochs == {50}
    speech, teacher = paper.tracks["transcripts"], paper.teachers["transcripts"]
    splits = {"train-clean-5": "fewshot", "test-clean": "test", "dev-clean": "validation"}
    assert splits.items() <= speech.corpus.splits.items() and teacher.data == "teacher"
    assert (speech.student.layers, speech.student.width) == (3, 256)
    assert paper.recipes["transcripts-kd"].terms.ctc.weight == 0.5  # α
    front = scenes.features
    sizes = (front.sample_rate, front.n_fft, front.win_length, front.n_mels)
    assert sizes == (32_000, 4096, 3072, 256)
    assert "audio" in scenes.corpus.download.parts  # all sixteen


@pytest.mark.parametrize("name", NAMES)
def test_hub_checkpoints_are_pinned(applied, name):
    settings = parse(yaml.safe_load(applied[name]))
    pairs = [(one.checkpoint, one.revision) for one in settings.teachers.values()]
    for track in settings.tracks.values():
        if start := getattr(track.pretrain, "start", None):
            pairs.append((start, track.pretrain.revision))
    for checkpoint, revision in pairs:
        assert (ROOT / checkpoint).is_dir() or len(bytes.fromhex(revision)) == 20


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("seeed: 1", "seeed: no such key"),
        ("seed: -1", "seed=-1"),
        (
            "tracks: {listening: {corpus: {name: librispeech}}}",
            "tracks.listening.corpus.root is missing",
        ),
        ("teachers: {listening: {epoch: 3}}", "teachers.listening.epoch: no such key"),
    ],
)
def test_a_profile_that_does_not_apply_leaves_the_file_alone(params, tmp_path, content, complaint):
    before = params.read_bytes()
    (tmp_path / "wrong.yaml").write_text(content)
    with pytest.raises(ParameterError, match=complaint):
        profile.apply(tmp_path / "wrong.yaml", params)
    assert params.read_bytes() == before


def test_values_are_written_and_taken_out_by_dotted_key(params):
    before = yaml_file.read(params)
    profile.write({"seed": 7, "~recipes.listening-kd.augment": "gone"}, params)
    del before["recipes"]["listening-kd"]["augment"]
    assert yaml_file.read(params) == before | {"seed": 7}


def test_a_wrong_name_is_told_the_right_ones(params, tmp_path, monkeypatch, capsys):
    with pytest.raises(ParameterError, match=f"no such profile; there are {', '.join(NAMES)}"):
        profile.apply(FOLDER / "ful.yaml", params)
    (tmp_path / "profiles").symlink_to(FOLDER)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["profile", "ful"]) == 2
    complaint = f"profiles/ful.yaml: no such profile; there are {', '.join(NAMES)}"
    assert capsys.readouterr().err == f"earshot: {complaint}\n"
    assert cli.main(["profile", "full"]) == 0
    assert "tracks.scenes.distill.seeds: 3 → 10\n" in capsys.readouterr().out
