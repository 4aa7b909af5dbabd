"""What a run would cost: bytes exactly, work as it turns out, stages as DVC says, times within a
factor where measured.
"""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from earshot import cli
from earshot.corpora import archives
from earshot.params import Params, parse
from earshot.workbench import plan, profile
from earshot.workbench.plan import pipeline, stages, storage, work

SPEEDS = {
    "cores": 2, "start_light": 2.0, "start_heavy": 8.0, "make": 0.01, "mel": 0.001, "items": 0.001, "lower": 0.01,
    "judge": 0.002, "tune": 0.004, "auxiliary": 0.01, "cache": 0.005, "answers": 0.005, "export": 1.0, "agree": 0.005,
    "int8": 0.002, "quality": 0.001, "bytes": {"float": 3_000_000, "int8": 800_000},
}  # fmt: skip


def speeds(params: Params, track: str) -> dict:
    keys = [key for key, recipe in params.recipes.items() if recipe.track == track]
    return SPEEDS | {
        "recipes": {key: {"judge": 0.001, "step": 0.002, "qat": 0.005} for key in keys}
    }


@pytest.fixture
def at(tmp_path: Path, monkeypatch):
    """Return a maker of parameters of a profile, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage.hub, "cached", lambda *_: None)
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")

    def make(name: str) -> Params:
        Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
        profile.apply(ROOT / f"profiles/{name}.yaml", Path("params.yaml"))
        return parse(yaml.safe_load(Path("params.yaml").read_text()))

    return make


def made(params: Params, **changes) -> plan.Plan:
    return plan.make(
        params,
        list(params.tracks),
        lambda track: speeds(params, track),
        changes.get("status", dict),
    )


def test_the_embedded_profile_fetches_nothing(at):
    drawn = made(at("embedded"))
    assert drawn.downloads == [] and drawn.totals()["download_bytes"] == 0
    assert "Download: nothing" in plan.render(drawn)


def test_bytes_to_fetch_are_exact(at):
    drawn = made(at("paper"))
    audio = [
        archive.bytes
        for part, archive in archives.TAU2022_PARTS.items()
        if part.startswith("audio.")
    ]
    known = sum(audio) + 1_538_781 + 6_387_309_499 + 337_926_286 + 346_663_984 + 377_609_656
    totals = drawn.totals()
    assert len(audio) == 16 and totals["download_bytes"] == known
    unknown = sorted(piece.name for piece in drawn.downloads if piece.bytes is None)
    assert unknown == sorted([*archives.GROUPS["subsets"], "facebook/hubert-base-ls960"])
    assert totals["downloads_of_unknown_size"] == 7
    assert f"to fetch: {known:,} bytes, and 7 of unknown size" in plan.render(drawn)


def test_what_is_here_or_half_here_is_not_fetched_again(at, monkeypatch):
    monkeypatch.setattr(storage.hub, "cached", lambda *_: Path("hub"))
    params = at("paper")
    root = Path(params.tracks["listening"].corpus.root)
    folder = root / archives.ARCHIVES
    folder.mkdir(parents=True)
    (folder / ".dev-clean.tar.gz.partial").write_bytes(bytes(1000))
    (folder / "test-clean.tar.gz").write_bytes(b"whole")
    pieces = {
        piece.name: piece for piece in storage.downloads("listening", params.tracks["listening"])
    }
    assert pieces["dev-clean"].left == 337_926_286 - 1000
    assert pieces["test-clean"].there and pieces["test-clean"].left == 0
    assert pieces["facebook/wav2vec2-base-960h"].left == 0
    assert pieces["train-clean-100"].left == 6_387_309_499


def test_work_before_a_corpus_is_there_is_what_it_turns_out_to_be(at):
    params = at("embedded")
    for track in params.tracks:
        report = json.loads((ROOT / f"metrics/{track}/items.json").read_text())
        drawn = work.count(track, params.tracks[track], params.seed)
        assert drawn.basis == "the parameters"
        for role in report["minutes"]:
            assert drawn.roles[role].seconds / 60 == pytest.approx(
                report["minutes"][role], rel=0.26
            )
            assert drawn.roles[role].items == pytest.approx(report["items"][role]["all"], rel=0.26)


@pytest.mark.parametrize("name", ["mini", "paper", "full"])
def test_real_corpora_have_work_and_every_stage_a_line(at, name):
    params = at(name)
    drawn = made(params)
    assert all(
        of.seconds > 0 and of.passages > 0
        for track in params.tracks.items()
        # fmt: skip
        for of in work.count(track[0], track[1], params.seed).roles.values()
        if of.clips
    )
    assert len(drawn.stages) == 2 * 6 + 2 * len(params.recipes)
    real = {
        f"download@{track}"
        for track, one in params.tracks.items()
        if getattr(one.corpus, "download", None)
    }
    assert real and {line.stage for line in drawn.stages if line.seconds is None} == real
    assert drawn.totals()["disk_bytes"] > 2 * 10**9
    assert "as fast as the network" in plan.render(drawn)


def test_the_users_own_table_is_unknown_before_it_is_read(at):
    content = at("embedded").model_dump()
    content["tracks"]["listening"]["corpus"] = {"name": "manifest", "path": "mine.csv"}
    params = parse(content)
    drawn = made(params)
    lines = {line.stage: line for line in drawn.stages}
    assert (
        lines["teacher@listening"].seconds is None and "unknown" in lines["teacher@listening"].work
    )
    assert lines["teacher@scenes"].seconds > 0
    assert drawn.totals()["disk_of_unknown_size"] == 1


def test_a_stage_runs_when_it_changed_or_follows_one_that_did():
    said = {
        "pretrain@a": {"frozen": True, "changed": True, "after": []},
        "download@a": {"frozen": False, "changed": False, "after": []},
        "features@a": {"frozen": False, "changed": True, "after": ["download@a"]},
        "teacher@a": {"frozen": False, "changed": False, "after": ["features@a", "pretrain@a"]},
        "other@a": {"frozen": False, "changed": False, "after": ["pretrain@a"]},
    }
    found = pipeline.follow(said)
    assert {name: stage.reason for name, stage in found.items()} == {
        "pretrain@a": None,
        "download@a": None,
        "features@a": "changed",
        "teacher@a": "after features@a",
        "other@a": None,
    }
    assert [name for name, stage in found.items() if stage.frozen] == ["pretrain@a"]


def test_only_what_runs_counts(at):
    params = at("embedded")
    all_of_it = made(params)

    def status():
        names = [line.stage for line in all_of_it.stages]
        runs = {name: "changed" if name == "evaluate@scenes" else None for name in names}
        return {name: pipeline.Stage(name, False, reason) for name, reason in runs.items()}

    one = made(params, status=status)
    seconds = next(line.seconds for line in all_of_it.stages if line.stage == "evaluate@scenes")
    assert one.totals()["stages"] == 1 and one.totals()["seconds"] == pytest.approx(
        seconds, abs=0.1
    )


def test_without_dvc_the_plan_says_so(at):
    params = at("embedded")

    def status():
        raise pipeline.PipelineError("dvc: at work")

    drawn = made(params, status=status)
    assert all(line.runs is None for line in drawn.stages) and drawn.totals()["stages"] == len(
        drawn.stages
    )
    assert "Which stages will run is unknown (dvc: at work)." in plan.render(drawn)
    json.dumps(drawn.as_json(), allow_nan=False)


def test_a_pool_that_doubles_doubles_its_time(at):
    params = at("embedded")
    track, recipes = (
        params.tracks["listening"],
        {"listening-kd_pool": params.recipes["listening-kd_pool"]},
    )
    todo = work.count("listening", track, params.seed)
    bare = SPEEDS | {
        "recipes": {"listening-kd_pool": {"judge": 0.0, "step": 0.002}},
        "start_light": 0.0,
        "start_heavy": 0.0,
    }
    more = work.Work(
        todo.corpus,
        todo.roles | {"pool": work.Amount(3600, 2 * todo.roles["pool"].seconds)},
        todo.basis,
    )
    few = todo.roles["fewshot"].seconds
    taken = [
        stages.expected("listening", track, recipes, each, bare)[
            "distill@listening-kd_pool"
        ].seconds
        - stages.DVC
        for each in (todo, more)
    ]
    rounds = 2  # four seeds on two cores
    assert taken[0] == pytest.approx(rounds * 12 * (todo.roles["pool"].seconds + few) * 0.002)
    assert taken[1] - taken[0] == pytest.approx(rounds * 12 * todo.roles["pool"].seconds * 0.002)


def test_dvc_is_asked_about_a_real_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pipeline.PipelineError, match=r"^dvc: .*not inside of a DVC repository"):
        pipeline.stages()
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    Path("dvc.yaml").write_text(
        "stages:\n  one: {cmd: cp in out, deps: [in], outs: [out]}\n  two: {cmd: cp out end, deps: [out], outs: [end]}\n"
        "  ice: {cmd: 'true', frozen: true}\n"
    )
    Path("in").write_text("1")
    found = pipeline.stages()
    assert found["one"].reason == "changed" and found["two"].reason and found["ice"].frozen
    subprocess.run(["dvc", "repro", "-q"], check=True)
    assert {stage.reason for stage in pipeline.stages().values()} == {None}
    Path("in").write_text("2")
    assert {name: stage.reason for name, stage in pipeline.stages().items()} == {
        "one": "changed",
        "two": "after one",
        "ice": None,
    }


def test_the_command_names_the_tracks_there_are(at, capsys):
    at("embedded")
    assert cli.main(["plan", "--track", "asr"]) == 2
    assert capsys.readouterr().err == "earshot: --track asr: params.yaml has listening, scenes\n"


@pytest.mark.slow
@pytest.mark.parametrize("track", ["listening", "scenes"])
def test_speeds_are_measured_and_make_a_whole_plan(at, track, capsys):
    """The real thing, on this machine: nothing but its form and its order of magnitude can be held."""
    at("embedded")
    assert cli.main(["plan", "--track", track, "--json"]) == 0
    drawn = json.loads(capsys.readouterr().out)
    seconds = {line["stage"]: line["seconds"] for line in drawn["stages"]}
    assert all(0 < value < 3600 for value in seconds.values())
    assert 120 < drawn["totals"]["seconds"] < 4 * 3600
