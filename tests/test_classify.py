"""Classifying recordings of any length, from Python and from the command line; the tables of
results.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from conftest import ROOT
from test_predict import earshot

from earshot import cli, predict
from earshot.predict import Classifier, PredictError, Student, load, softmax

LABELS = ["airport", "street_traffic", "park"]


def write_classifier(path: Path, samples: int | str = "samples", **metadata: str) -> Path:
    """A classifier that hears an airport in what is loud, a park in samples above zero on
    average.
    """
    nodes = f"""student (float[{samples}] waveform) => (float[classes] logits) {{
        absolute = Abs(waveform)
        level = ReduceMean(absolute)
        above = ReduceMean(waveform)
        nothing = Sub(level, level)
        heard = Concat<axis=0>(level, nothing, above)
        logits = Mul(heard, scale)
    }}"""
    graph = onnx.parser.parse_graph(nodes)
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([10], np.float32), "scale"))
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10
    )
    limits = json.dumps({"min_seconds": 0.2, "min_rms": 1e-6})
    known = {"task": "classes", "sample_rate": "16000", "features": limits}
    known |= {"labels": json.dumps(LABELS)}
    onnx.helper.set_model_props(model, known | metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    """A tiny classifier, where the command line looks for it."""
    return write_classifier(tmp_path_factory.mktemp("scenes") / cli.classify.CLASSIFIER)


def levels(*values: float, last: float = 1.0) -> np.ndarray:
    """A second of each value, the last one shorter or longer, with a faint tone over it: a
    constant is silence.
    """
    lengths = [16_000] * (len(values) - 1) + [int(16_000 * last)]
    tone = np.resize(np.array([1e-3, -1e-3], np.float32), sum(lengths))
    return np.repeat(np.array(values, np.float32), lengths) + tone


def expected(*means: float) -> np.ndarray:
    """What the tiny classifier says about windows of these means, none of which changes its
    sign.
    """
    return softmax(10 * np.array([[abs(mean), 0, mean] for mean in means]))


def test_a_recording_is_classified_second_by_second_and_all_in_all(classifier):
    found = Classifier(classifier).classify(levels(0.5, -0.2, 0.1))
    assert found.labels == tuple(LABELS) and found.starts.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.windows, expected(0.5, -0.2, 0.1), rtol=1e-3)
    np.testing.assert_allclose(found.pooled, expected(0.5, -0.2, 0.1).mean(0), rtol=1e-3)
    assert 0 < found.milliseconds < 10_000


@pytest.mark.parametrize(
    ("samples", "starts", "means"),
    [
        (levels(0.5, last=0.3), [0], [0.5]),  # repeated to a second
        (levels(0.5, last=1.1), [0], [0.5]),  # the rest is too short to be judged
        (levels(0.2, 0.6, last=0.5), [0, 0.5], [0.2, 0.4]),  # moved back by half a second
        (levels(0.2, 0.4, last=1.0), [0, 1], [0.2, 0.4]),
    ],
)
def test_windows_cover_a_recording_of_any_length(classifier, tmp_path, samples, starts, means):
    for path in (classifier, write_classifier(tmp_path / "fixed.onnx", 16_000)):
        found = Classifier(path).classify(samples)
        assert found.starts.tolist() == starts
        np.testing.assert_allclose(found.windows, expected(*means), rtol=1e-3)


@pytest.mark.parametrize("last", [0.1, 0.5, 1.0])
def test_a_long_recording_in_blocks_is_classified_as_in_one(classifier, monkeypatch, last):
    samples = levels(*np.linspace(-0.5, 0.5, 12), last=last)
    whole = Classifier(classifier).classify(samples)
    monkeypatch.setattr(predict.classifier, "_WINDOWS", 2)
    blocks = (samples[start : start + 7000] for start in range(0, len(samples), 7000))
    found = Classifier(classifier).classify(blocks)
    np.testing.assert_array_equal(found.starts, whole.starts)
    np.testing.assert_array_equal(found.windows, whole.windows)
    assert found.seconds == whole.seconds == len(samples) / 16_000


def test_a_file_that_takes_clips_of_one_length_sets_the_window(tmp_path):
    found = Classifier(write_classifier(tmp_path / "two.onnx", 32_000)).classify(
        levels(0.2, 0.4, 0.1, 0.3)
    )
    assert found.starts.tolist() == [0, 2]
    np.testing.assert_allclose(found.windows, expected(0.3, 0.2), rtol=1e-3)


def test_a_file_is_loaded_as_what_it_is(classifier, tmp_path):
    choice = write_classifier(tmp_path / "choice.onnx", task="choice", buckets="64")
    assert type(load(choice)) is Student and type(load(classifier)) is Classifier
    assert load(classifier).inputs([]) == ()
    for kind, path, known in (
        (Classifier, choice, "classification, task='choice'"),
        (Student, classifier, "multiple choice, task='classes'"),
    ):
        with pytest.raises(PredictError, match=f"not an Earshot student for {known}"):
            kind(path)
    with pytest.raises(PredictError, match=r"none\.onnx: no such file"):
        load(tmp_path / "none.onnx")


@pytest.mark.parametrize(
    "metadata", [{"labels": "airport"}, {"labels": '["park"]'}, {"sample_rate": "0"}]
)
def test_damaged_metadata_are_named(tmp_path, metadata):
    path = write_classifier(tmp_path / "bad.onnx", **metadata)
    with pytest.raises(PredictError, match=r"bad\.onnx: its metadata are damaged"):
        Classifier(path).classify(levels(0.5))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(0, np.float32), "too short"),
        (levels(0.5, last=0.19), "too short"),
        (np.zeros(16_000, np.float32), "silent"),
        (np.full(16_000, 0.5, np.float32), "silent"),
        (levels(np.nan), "non-finite"),
    ],
)
def test_what_cannot_be_classified(classifier, samples, message):
    with pytest.raises(PredictError, match=f"^the audio is {message}$"):
        Classifier(classifier).classify(samples)


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("street") / "street.wav"
    soundfile.write(path, levels(0.5, -0.2, 0.1), 16_000, subtype="FLOAT")
    return path


def test_command_line_classifies_without_torch(classifier, street):
    code = """
import sys, earshot.cli
status = earshot.cli.main()
print(sorted({"torch", "transformers", "librosa"} & set(sys.modules)), file=sys.stderr)
raise SystemExit(status)
"""
    done = earshot("classify", street, "--top", "2", folder=classifier.parents[4], code=code)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    *lines, last = done.stdout.splitlines()
    pooled = 100 * expected(0.5, -0.2, 0.1).mean(0)
    assert lines[0] == f"> airport         {pooled[0]:5.1f}%"
    assert lines[1] == f"  park            {pooled[2]:5.1f}%"
    assert lines[2] == ""
    best = 100 * expected(0.5, -0.2, 0.1).max(1)
    labels = ("airport", "airport", "airport")
    assert lines[3:] == [f"{n:7.2f} s {labels[n]:14}  {best[n]:5.1f}%" for n in range(3)]
    assert last.startswith("classified in ") and last.endswith(" ms, 3.00 s of audio")


def test_classes_as_json(classifier, street, capsys):
    assert cli.main(["classify", str(street), "--model", str(classifier), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["label"] == "airport" and list(found["probabilities"]) == LABELS
    assert list(found["probabilities"].values()) == pytest.approx(
        expected(0.5, -0.2, 0.1).mean(0).tolist(), rel=1e-3
    )
    assert [window["start"] for window in found["windows"]] == [0, 1, 2]
    assert list(found["windows"][1]["probabilities"].values()) == pytest.approx(
        expected(-0.2)[0].tolist(), rel=1e-3
    )
    assert found["seconds"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.wav"], "none.wav: no such file"),
        (["silent.wav"], "silent.wav: the audio is silent"),
        (["plain.wav", "--top", "0"], "--top 0: at least 1 is needed"),
        (["plain.wav", "--model", "none.onnx"], "none.onnx: no such file"),
        (["plain.wav", "--device", "z"], "student.int8.onnx has models of none"),
    ],
)
def test_a_fault_in_classifying_is_one_line_and_exit_code_2(
    classifier, tmp_path, arguments, message, capsys
):
    clip, *others = arguments
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    soundfile.write(tmp_path / "plain.wav", levels(0.5), 16_000)
    given = others if "--model" in others else [*others, "--model", str(classifier)]
    assert cli.main(["classify", str(tmp_path / clip), *given]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert output.err.startswith("earshot: ") and message in output.err


def test_a_device_has_a_model_of_its_own(tmp_path, street, capsys):
    general = write_classifier(tmp_path / "student.int8.onnx", recipe="hard")
    turned = {"labels": json.dumps(LABELS[::-1])}
    write_classifier(tmp_path / "student.device-a.int8.onnx", recipe="hard", **turned)
    told = []
    for more in ([], ["--device", "a"]):
        chosen = ["classify", str(street), "--json", "--model", str(general), *more]
        assert cli.main(chosen) == 0
        told.append(json.loads(capsys.readouterr().out)["probabilities"])
    assert list(told[0].values()) == list(told[1].values()) and told[0] != told[1]


def test_without_a_classifier_it_says_what_to_do(street, tmp_path):
    done = earshot("classify", street, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "make repro" in done.stderr and str(cli.classify.CLASSIFIER) in done.stderr


def test_tables_are_of_every_track_with_results_or_of_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    assert cli.main(["table"]) == 0 and capsys.readouterr().out == ""
    interval = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}
    drop = {"device_drop": 0.05, "device_drop_low": -0.01, "device_drop_high": 0.1}
    unseen = {"device_group": {"unseen": {"accuracy": 0.45}}, "class": {}}
    scores = interval | drop | unseen | {"nll": 1.234}
    quality = {
        "teacher": scores,
        "hard": scores,
        "hard_int8": scores,
        "gain": {"hard_int8_vs_hard": interval | drop},
    }
    int8 = {"parameters": 61_148, "parameter_bytes": 65_432, "macs": 29_400_000}
    latency = {"teacher": {"latency_median_ms": 0.123}, "hard_int8": {"latency_median_ms": 0.1}}
    times = {"teacher@scenes": {"train_minutes": 2.0}, "evaluate@scenes": {"latency": latency}}
    folder = tmp_path / "metrics/scenes"
    folder.mkdir(parents=True)
    (folder / "quality.json").write_text(json.dumps(quality))
    (folder / "cost.json").write_text(
        json.dumps({"teacher": {"parameters": 3.2e6, "macs": 2e8}, "hard_int8": int8})
    )
    (folder / "timing").mkdir()
    for stage, content in times.items():
        (folder / f"timing/{stage}.json").write_text(json.dumps(content))
    assert cli.main(["table"]) == 0
    shown = capsys.readouterr().out
    assert "1-s clip, 1 thread" in shown and shown.startswith("scenes\n\n| model |")
    assert (
        "| `teacher` | 50.0 (40.0–60.0) | 1.23 | 50.0 | 45.0 | 5.0 (-1.0 to 10.0) | 3.20 M |  "
        "| 200.0 | 0.12 ms | 2.0 min |" in shown
    )
    assert (
        "| `hard_int8` | 50.0 (40.0–60.0) | 1.23 | 50.0 | 45.0 | 5.0 (-1.0 to 10.0) | 61.1 k | "
        "65.4 | 29.4 | 0.10 ms |  |" in shown
    )
    assert "| `hard_int8` − `hard` | +50.0 (+40.0 to +60.0) | +5.0 (-1.0 to +10.0) |" in shown
    assert cli.main(["table", "--track", "opera"]) == 2
    assert "--track opera: params.yaml has listening, scenes" in capsys.readouterr().err
    readme = tmp_path / "README.zh-CN.md"
    readme.write_text("<!-- results:scenes:begin --><!-- results:scenes:end -->")
    assert cli.main(["table", "--write", str(readme)]) == 0
    assert "未见设备" in readme.read_text() and "1 秒音频" in readme.read_text()
