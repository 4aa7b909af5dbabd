"""The step from the embedded transcripts to LibriSpeech's and a recogniser of the hub, as the
profile `mini` makes it; a local server plays the hosts, and weights of that size are random.
"""

import json

import pytest
import torch
import yaml
from repository import SHRUNK, Project, ran
from served import checksums, speech_parts, tree
from server import Server
from test_hub import Hub
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from earshot.corpora import CORPORA
from earshot.params import OpenSpeech

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TRACK = "transcripts"
CLIPS = {"fewshot": 8, "pool": 4, "validation": 4, "test": 6}
SUBSETS = {
    "train-clean-5": {"fewshot"},
    "train-clean-100": {"fewshot", "pool"},  # all of train-clean-5 lies in it
    "dev-clean-2": {"validation"},
    "test-clean": {"test"},
}
TOKENS = [
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "|",
    *"ETAONIHSRDLUMWCFGYPBVK'XJQZ",
]  # wav2vec2-base-960h
RECIPES = ("hard", "kd_pool")  # of the others the same stages run
KEPT = "cache distill.seeds quantize student resamples latency_clips epochs".split()


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory):
    """A folder with a recogniser as large as wav2vec2-base-960h, and its vocabulary."""
    folder = tmp_path_factory.mktemp("recogniser")
    torch.manual_seed(1)
    config = Wav2Vec2Config(vocab_size=len(TOKENS), pad_token_id=0)  # base is the default
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A minute of embedded speech, packed as Mini LibriSpeech and LibriSpeech are."""
    root = tmp_path_factory.mktemp("served")
    spoken = OpenSpeech(name="open_speech", clips=CLIPS, salad_share=0.2)
    tree(root / "LibriSpeech", list(CORPORA["open_speech"](spoken, root / "spoken", 1)), SUBSETS)
    return speech_parts(root / "LibriSpeech")


@pytest.fixture(scope="module")
def hosts(parts):
    with Server({f"/{name}": content for name, content in parts.values()}) as server:
        yield server


def prepared(root, parts, hosts) -> Project:
    """A fresh copy with the profile, but for addresses and sizes."""
    project = Project(root, {})
    project.earshot("profile", "mini")
    shrunk = {key: SHRUNK[key] for key in SHRUNK if any(part in key for part in KEPT)}
    for key, value in shrunk.items():
        if f".{TRACK}" in key and key != f"teachers.{TRACK}.epochs":
            project.set(key, value)
    project.set(f"tracks.{TRACK}.distill.seeds", 1)
    project.set(f"tracks.{TRACK}.evaluate.robustness_passages", 1)
    project.set(f"tracks.{TRACK}.evaluate.reference_seconds", 2.0)
    project.set(f"tracks.{TRACK}.evaluate.recipes", list(RECIPES))
    project.set(f"tracks.{TRACK}.evaluate.gains", ["kd_pool_vs_hard"])
    content = yaml.safe_load((root / "params.yaml").read_text())
    kept = {f"{TRACK}-{recipe}" for recipe in RECIPES}
    others = {key: row for key, row in content["recipes"].items() if row["track"] != TRACK}
    project.set("recipes", others | {key: content["recipes"][key] for key in sorted(kept)})
    checksums(root / "parts.yaml", parts)
    project.set(f"tracks.{TRACK}.corpus.download.mirrors", [hosts.url("/")])
    project.set(f"tracks.{TRACK}.corpus.download.table", "parts.yaml")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "real corpora")
    return project


def test_from_nothing_to_metrics(tmp_path, recogniser, parts, hosts):
    project = prepared(tmp_path, parts, hosts)
    teacher = yaml.safe_load((tmp_path / "params.yaml").read_text())["teachers"][TRACK]
    assert teacher["epochs"] == 0
    id, commit = teacher["checkpoint"], teacher["revision"]
    with Hub({id: recogniser}, {id: commit}) as hub:
        project.environment |= {"HF_ENDPOINT": hub.url(), "HF_HOME": str(tmp_path / "hub")}
        project.dvc("repro", f"evaluate@{TRACK}")
        asked = len(hosts.log), len(hub.log)
        assert ran(project.dvc("repro", f"evaluate@{TRACK}")) == set()
        assert (len(hosts.log), len(hub.log)) == asked

    quality = project.load(f"metrics/{TRACK}/quality.json")
    assert {"teacher", *RECIPES, "kd_pool_int8"} <= set(quality)
    assert quality["teacher"]["items"] == CLIPS["test"] and quality["teacher"]["wer"] > 0
    items = project.load(f"metrics/{TRACK}/items.json")
    assert {role: items["items"][role]["all"] for role in CLIPS} == CLIPS  # each clip once
    cost = project.load(f"metrics/{TRACK}/cost.json")
    assert cost["teacher"]["parameters"] > 90_000_000
    identity = project.load(f"models/{TRACK}/teachers/{TRACK}/identity.json")
    assert (identity["checkpoint"], identity["revision"]) == (id, commit)
    for name, content in parts.values():
        assert hosts.sent(f"/{name}") == len(content), name  # once
