"""The step to real corpora as a user takes it: a profile, a base address, `dvc repro`; a local
server plays the hosts.
"""

import pytest
import yaml
from conftest import ROOT
from repository import ABSENT, SHRUNK, Project, ran
from served import Part, checksums, scene_parts, speech_parts, tree
from server import Server
from test_hub import Hub, checkpoints  # noqa: F401 (a fixture)

from earshot.corpora import CORPORA
from earshot.params import SyntheticScenes, SyntheticSpeech

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SPEECH = SyntheticSpeech(
    name="synthetic_speech",
    passages={"teacher": 110, "pool": 60, "fewshot": 20, "validation": 12, "test": 40},
    fewshot_retellings=2,
)
SCENES = SyntheticScenes(
    name="synthetic_scenes",
    segments={"train": 4, "test": 2},
    clips={"train": 3, "test": 1},
    validation_share=0.25,
)
SPLITS = {"train-clean-5": {"teacher", "pool", "fewshot", "validation"}, "dev-clean-2": {"test"}}
MINI, PAPER = (
    yaml.safe_load((ROOT / f"profiles/{name}.yaml").read_text())["teachers"]
    for name in ("mini", "paper")
)
TEACHERS = {"wav2vec2": MINI["listening"], "hubert": PAPER["scenes"]}
PINNED = {one["checkpoint"]: (kind, one["revision"]) for kind, one in TEACHERS.items()}
TARGETS = ("evaluate@listening", "evaluate@scenes")  # transcripts: test_real_transcripts.py
KEPT = (
    "epochs cache distill.seeds quantize resamples robustness latency terms qat student.hidden"
).split()
FEWER = {  # of the others the same stages run
    "tracks.listening.evaluate.recipes": ["hard", "kd_pool"],
    "tracks.listening.evaluate.gains": ["kd_pool_vs_hard"],
    "recipes.listening-kd": ABSENT,
    "tracks.scenes.evaluate.recipes": ["layered"],
    "tracks.scenes.evaluate.gains": ["layered_vs_teacher"],
    **{f"recipes.scenes-{recipe}": ABSENT for recipe in ("hard", "kd", "layered_plain")},
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> dict[str, dict[str, Part]]:
    """The embedded corpora, packed as the real ones are, by track."""
    root = tmp_path_factory.mktemp("served")
    clips = list(CORPORA["synthetic_speech"](SPEECH, root / "spoken", 1))
    tree(root / "LibriSpeech", clips, SPLITS)
    list(CORPORA["synthetic_scenes"](SCENES, root / "scenes", 1))
    return {
        "listening": speech_parts(root / "LibriSpeech"),
        "scenes": scene_parts(root / "scenes"),
    }


@pytest.fixture(scope="module")
def served(packed) -> dict[str, bytes]:
    return dict(file for parts in packed.values() for file in parts.values())


@pytest.fixture(scope="module")
def hosts(served):
    with Server({f"/{name}": content for name, content in served.items()}) as server:
        yield server


@pytest.fixture(scope="module")
def hub(checkpoints):  # noqa: F811
    folders = {id: checkpoints[kind] for id, (kind, _) in PINNED.items()}
    commits = {id: commit for id, (_, commit) in PINNED.items()}
    with Hub(folders, commits) as server:
        yield server


@pytest.fixture(scope="module")
def project(tmp_path_factory, packed, hosts, hub) -> Project:
    """A fresh copy: listening's corpus and teacher as in `mini`, scenes' as in `paper`, but for
    addresses and sizes.
    """
    own = {key: SHRUNK[key] for key in SHRUNK if ".listening" in key or ".scenes" in key}
    shrunk = {key: own[key] for key in own if any(part in key for part in KEPT)}
    made = Project(tmp_path_factory.mktemp("real"), shrunk)
    made.environment |= {"HF_ENDPOINT": hub.url(), "HF_HOME": str(made.root / "hub")}
    made.earshot("profile", "mini")
    mini = yaml.safe_load((made.root / "params.yaml").read_text())
    made.earshot("profile", "paper")
    paper = yaml.safe_load((made.root / "params.yaml").read_text())
    made.git("checkout", "--quiet", "params.yaml")
    for name in ("corpus", "fewshot"):
        made.set(f"tracks.listening.{name}", mini["tracks"]["listening"][name])
    made.set("tracks.scenes.corpus", paper["tracks"]["scenes"]["corpus"])
    made.set("tracks.scenes.fewshot.share", 50)
    made.set("recipes.scenes-layered.terms.layered.top", 2)  # of two layers
    made.set("tracks.listening.distill.seeds", 1)
    made.change(FEWER)
    for track, profile in (("listening", mini), ("scenes", paper)):
        for name in ("checkpoint", "revision"):
            made.set(f"teachers.{track}.{name}", profile["teachers"][track][name])
        checksums(made.root / f"{track}.yaml", packed[track])
        made.set(f"tracks.{track}.corpus.download.mirrors", [hosts.url("/")])
        made.set(f"tracks.{track}.corpus.download.table", f"{track}.yaml")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "real corpora")
    return made


def test_from_nothing_to_metrics(project, served, hosts, hub):
    project.dvc("repro", *TARGETS)
    listening, scenes = {"teacher", "hard", "kd_pool_int8"}, {"teacher", "layered_int8"}
    assert listening <= set(project.load("metrics/listening/quality.json"))
    assert scenes <= set(project.load("metrics/scenes/quality.json"))
    identity = project.load("models/scenes/teachers/scenes/identity.json")
    assert identity["checkpoint"] == "facebook/hubert-base-ls960"
    assert len(identity["revision"]) == 40
    for name, content in served.items():
        assert hosts.sent(f"/{name}") == len(content), name  # once, and nothing twice


def test_a_second_run_asks_no_one(project, hosts, hub):
    asked = len(hosts.log), len(hub.log)
    assert ran(project.dvc("repro", *TARGETS)) == set()
    project.run("dvc", "repro", "--force", "--single-item", "teacher@scenes")
    assert (len(hosts.log), len(hub.log)) == asked
