"""What a run would cost: bytes exactly, stages as DVC says, times by what was recorded."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from earshot import cli
from earshot.corpora import archives
from earshot.params import ParameterError, Params, parse
from earshot.workbench import plan, profile
from earshot.workbench.plan import pipeline, storage, work
from earshot.workbench.plan.text import render


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


def made(params: Params, status=dict) -> plan.Plan:
    return plan.make(params, list(params.tracks), status)


def line(drawn: plan.Plan, stage: str) -> plan.Line:
    return next(one for one in drawn.stages if one.stage == stage)


def timing(stage: str, track: str, seconds: float) -> None:
    path = Path(f"metrics/{track}/timing/{stage}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seconds": seconds}))


def test_bytes_to_fetch_are_exact(at):
    assert "Download: nothing" in render(made(at("embedded")))
    drawn = made(at("paper"))
    parts = archives.TAU2022_PARTS.items()
    audio = [archive.bytes for part, archive in parts if part.startswith("audio.")]
    speech = 6_387_309_499 + 337_926_286 + 346_663_984
    known = sum(audio) + 1_538_781 + 2 * speech + 377_609_947  # two tracks, each in its own folder
    totals = drawn.totals()
    assert len(audio) == 16 and totals["download_bytes"] == known
    unknown = sorted(piece.name for piece in drawn.downloads if piece.bytes is None)
    rounded = [*archives.GROUPS["subsets"], "train-clean-5", "facebook/hubert-base-ls960"]
    assert unknown == sorted(rounded)  # the checkpoint once, though two tracks begin with it
    assert f"to fetch: {known:,} bytes, and 8 of unknown size" in render(drawn)


def test_what_is_here_or_half_here_is_not_fetched_again(at, monkeypatch):
    monkeypatch.setattr(storage.hub, "cached", lambda *_: Path("hub"))
    params = at("paper")
    folder = Path(params.tracks["listening"].corpus.root) / archives.ARCHIVES
    folder.mkdir(parents=True)
    (folder / ".dev-clean.tar.gz.partial").write_bytes(bytes(1000))
    (folder / "test-clean.tar.gz").write_bytes(b"whole")
    drawn = made(params).downloads
    left = {piece.name: piece.left for piece in drawn if piece.track == "listening"}
    assert left["dev-clean"] == 337_926_286 - 1000 and left["test-clean"] == 0
    assert left["facebook/wav2vec2-base-960h"] == 0 and left["train-clean-100"] == 6_387_309_499


def test_hours_before_a_corpus_is_there_are_what_they_turn_out_to_be(at):
    params = at("embedded")
    for name, track in params.tracks.items():
        minutes = json.loads((ROOT / f"metrics/{name}/items.json").read_text())["minutes"]
        hours = work.split_hours(name, track)
        for role in set(minutes) & set(hours) - {"fewshot"}:
            found = 60 * work.role_hours(track, hours, [role])
            assert found == pytest.approx(minutes[role], rel=0.26), (name, role)


BY_HAND = ("paper", "languages")  # profile and track: what is fetched by hand is not there yet


@pytest.mark.parametrize("name", ["embedded", "mini", "paper", "full"])
def test_every_profile_has_a_range_for_every_stage_but_downloads(at, name):
    params = at(name)
    drawn = made(params)
    of_models = 2 * len(params.teachers) + len(params.recipes)
    assert len(drawn.stages) == 5 * len(params.tracks) + of_models
    unknown = {one.stage for one in drawn.stages if one.low is None}
    unread = {one for one in unknown if (name, re.split("[@-]", one)[1]) == BY_HAND}
    assert bool(unread) == (name == BY_HAND[0])
    unknown -= unread
    tracks = params.tracks.items()
    assert unknown == {f"download@{key}" for key, one in tracks if hasattr(one.corpus, "download")}
    assert all(0 < one.low < one.high for one in drawn.stages if one.low is not None)
    assert drawn.totals()["disk_bytes"] > 10**9
    assert "Time, estimated" in render(drawn)
    json.dumps(drawn.as_json(), allow_nan=False)


def test_the_users_own_table_is_unknown_before_it_is_read(at):
    content = at("embedded").model_dump()
    content["tracks"]["listening"]["corpus"] = {"name": "manifest", "path": "mine.csv"}
    drawn = made(parse(content))
    assert line(drawn, "teacher@listening").low is None
    assert line(drawn, "teacher@scenes").low > 0
    assert drawn.totals()["disk_of_unknown_size"] == 1


def test_the_last_run_here_is_scaled_by_what_changed_since(at):
    params = at("embedded")
    stage = "distill@listening-kd_pool"
    timing(stage, "listening", plan.START + 100)
    reference = {"tracks.listening.distill": params.tracks["listening"].distill.model_dump()}
    reference |= {"recipes.listening-kd_pool": params.recipes["listening-kd_pool"].model_dump()}
    lock = {"stages": {stage: {"params": {"params.yaml": reference}}}}
    text = yaml.safe_dump(lock)
    rate = f"learning_rate: {params.tracks['listening'].distill.learning_rate}"
    assert rate in text  # DVC writes YAML 1.2, where 4e-3 is a number
    Path("dvc.lock").write_text(text.replace(rate, f"{rate[:-5]}4e-3"))
    content = params.model_dump()
    content["recipes"]["listening-kd_pool"]["epochs"] *= 3
    for changed, seconds in (params, 100), (parse(content), 300):
        found = line(made(changed), stage)
        assert found.low == pytest.approx((plan.START + seconds) / plan.LIKELY)
        assert found.high == pytest.approx((plan.START + seconds) * plan.LIKELY)


def test_every_phase_counts_and_steps_are_as_many_passes_as_the_items_allow(at):
    content = at("embedded").model_dump()
    hours = work.split_hours("scenes", parse(content).tracks["scenes"])["pool"]
    batches = round(3600 * hours / 32)  # of clips of a second
    recipe = content["recipes"]["scenes-kd"]
    recipe |= {"epochs": None, "steps": 7 * batches + 1}  # of the eighth pass a batch
    found = work.amounts(parse(content))["distill@scenes-kd"]
    assert found.what == f"3 seeds × 8 epochs of {hours:,.2f} h"
    recipe["qat"] = {"steps": 1}
    content["tracks"]["scenes"]["distill"]["refit"] = True
    for layered in ("scenes-layered", "scenes-layered_plain"):
        content["recipes"][layered]["terms"]["front"]["alone"] = 0
    found = work.amounts(parse(content))["distill@scenes-kd"]
    assert found.what == f"3 seeds × 18 epochs of {hours:,.2f} h"
    content["recipes"]["listening-hard"] |= {"epochs": 5, "prune": {"share": 0.5, "epochs": 2}}
    found = work.amounts(parse(content))["distill@listening-hard"]
    assert found.what.startswith("3 seeds × 7 epochs")


def test_recorded_times_become_the_reference(at, monkeypatch, capsys):
    at("embedded")
    monkeypatch.setattr(plan, "REFERENCE", Path("reference.json"))
    Path("reference.json").write_text('{"cache": {"choice": {"seconds": 1.0, "size": 1.0}}}')
    timing("features@scenes", "scenes", plan.START + 60)
    assert cli.main(["plan", "--record"]) == 0
    assert "reference.json: 1 rates" in capsys.readouterr().out
    table = json.loads(Path("reference.json").read_text())
    assert table["cache"]["choice"]["seconds"] == 1.0
    assert table["features"]["classes"]["seconds"] == pytest.approx(60 / 2.87, rel=0.01)


def test_a_teacher_that_writes_keeps_no_frames_and_fills_every_clip_up_to_a_window(at):
    content = at("embedded").model_dump()
    content["teachers"]["transcripts"] |= {"checkpoint": "whisper", "epochs": 0}
    Path("whisper").mkdir()
    described = {"model_type": "whisper", "d_model": 512, "encoder_layers": 6}
    Path("whisper/config.json").write_text(json.dumps(described))
    with pytest.raises(ParameterError, match=r"recipes.transcripts-kd.terms.frames: teachers"):
        made(parse(content))
    for recipe in ("kd", "kd_pool"):
        content["recipes"][f"transcripts-{recipe}"]["terms"] = {"pseudo": {"weight": 0.5}}
    params = parse(content)
    found, hours = (
        work.amounts(params),
        work.split_hours("transcripts", params.tracks["transcripts"]),
    )
    heard = hours["fewshot"] + hours["pool"]
    asked = found["cache@transcripts"]
    windows = 3 * heard  # of clips of ten seconds, as is reckoned before they are there
    assert asked == ("transcripts", "written", pytest.approx(windows), asked.what, 6 * 512**2)
    assert asked.what == f"{heard:,.2f} h answered, in windows of {windows:,.2f} h"
    drawn = made(params)
    assert line(drawn, "cache@transcripts").low > 60
    assert line(drawn, "teacher@transcripts").high < 60
    rooms = {room.what: room.bytes for room in drawn.disk if room.track == "transcripts"}
    assert rooms["the teacher's frames"] == 0 and "the teacher's posteriors" not in rooms


def test_only_what_runs_counts_and_without_dvc_the_plan_says_so(at):
    params = at("embedded")

    def one():
        names = [one.stage for one in made(params).stages]
        reasons = {name: "changed" if name == "evaluate@scenes" else None for name in names}
        return {name: pipeline.Stage(name, False, reason) for name, reason in reasons.items()}

    drawn = made(params, one)
    assert drawn.totals()["stages"] == 1
    high = line(drawn, "evaluate@scenes").high
    assert drawn.totals()["seconds_high"] == pytest.approx(high, abs=0.1)

    def busy():
        raise pipeline.PipelineError("dvc: at work")

    drawn = made(params, busy)
    assert all(one.runs is None for one in drawn.stages)
    assert "Which stages will run is unknown (dvc: at work)." in render(drawn)


def test_dvc_is_asked_about_a_real_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pipeline.PipelineError, match=r"^dvc: .*not inside of a DVC repository"):
        pipeline.stages()
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    Path("dvc.yaml").write_text(
        "stages:\n  one: {cmd: cp in out, deps: [in], outs: [out]}\n"
        "  two: {cmd: cp out end, deps: [out], outs: [end]}\n"
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
    there = "listening, scenes, transcripts, languages"
    assert capsys.readouterr().err == f"earshot: --track asr: params.yaml has {there}\n"
