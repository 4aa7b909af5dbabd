"""Tables of a track that is judged by its word error rate: lower is better."""

import json

from earshot.workbench import results, table


def score(rate: float) -> dict:
    ends = {"wer": rate, "wer_low": rate - 0.05, "wer_high": rate + 0.05}
    return ends | {"cer": rate / 3}


def written(folder) -> results.Track:
    """Metrics of a track, the teacher's student better than it."""
    rates = {"teacher": 0.47, "hard": 0.83, "hard_int8": 0.84, "kd": 0.44, "kd_int8": 0.45}
    quality = {
        name: score(rate) | {"wording": {"unseen": score(0.6)}} for name, rate in rates.items()
    }
    gain = {"wer": -0.39, "wer_low": -0.45, "wer_high": -0.31}
    gain |= {
        "relative_reduction": 0.46,
        "relative_reduction_low": 0.4,
        "relative_reduction_high": 0.5,
    }
    quality |= {"audio_exchanged": score(0.98), "gain": {"kd_vs_hard": gain}}
    hall = score(0.7) | {"gain": {"wer": 0.26, "wer_low": 0.2, "wer_high": 0.3}}
    contents = {
        "quality": quality,
        "cost": {"kd_int8": {"bytes": 559_329}},
        "robustness": {"items": 9, "kd": {"clean": score(0.44), "hall": hall}},
    }
    metrics = folder / "metrics/talk"
    metrics.mkdir(parents=True)
    for name, content in contents.items():
        (metrics / f"{name}.json").write_text(json.dumps(content))
    (track,) = results.read(folder)
    return track


def test_the_best_is_the_one_with_the_fewest_errors(tmp_path):
    track = written(tmp_path)
    assert track.metric == "wer"
    few = ["teacher", "hard", "kd", "kd_int8", "audio_exchanged"]
    assert table.few_models(track) == few
    short = table.short(track)
    assert "| `kd_int8` | 45.0 (40.0–50.0) | 0.56 MB |" in short
    assert short.splitlines()[0].startswith("| model | word error rate, % (95% interval)")


def test_gains_and_conditions_are_of_error_rates(tmp_path):
    full = table.full(written(tmp_path), 10.0)
    assert "| `kd` − `hard` | -39.0 (-45.0 to -31.0) | +46.0 (+40.0 to +50.0) |" in full
    assert "condition; word error rate" in full and "70.0: +26.0 (+20.0 to +30.0)" in full
    assert "60.0 (55.0–65.0)" in full  # unseen wordings


def test_several_languages_have_a_table_of_their_own(tmp_path):
    track = written(tmp_path)
    for name in track.models:
        track.quality[name]["languages"] = {"de": score(0.4), "ru": score(0.5)}
    named = {"accuracy": 0.99, "accuracy_low": 0.98, "accuracy_high": 1.0}
    track.quality["kd"]["identification"] = {"from_2_s": named}
    full = table.full(track, 10.0)
    assert "| model | word error rate, mean over languages, % (95% interval)" in full
    row = "| `kd` | 40.0 (35.0–45.0) | 50.0 (45.0–55.0) | 99.0 (98.0–100.0) |"
    assert row in full and "| `audio_exchanged` | 40.0" not in full
    assert "各语言词错误率" in table.full(track, 10.0, "zh")


def test_teachers_of_a_language_each_took_their_time_and_all_together_its_sum(tmp_path):
    track = written(tmp_path)
    timing = tmp_path / "metrics/talk/timing"
    timing.mkdir()
    for key, minutes in (("talk-de", 1.5), ("talk-ru", 0.25)):
        told = json.dumps({"seconds": 1, "train_minutes": minutes})
        (timing / f"teacher@{key}.json").write_text(told)
    noted = {"latency": {}, "teachers": {"talk-de": "teacher_de", "talk-ru": "teacher_ru"}}
    (timing / "evaluate@talk.json").write_text(json.dumps(noted))
    cost = results.read_track(tmp_path, track.name).cost
    names = ("teacher_de", "teacher_ru", "teacher")
    assert [cost[name]["train_minutes"] for name in names] == [1.5, 0.25, 1.75]
