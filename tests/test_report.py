"""The report: it shows what the metrics say, in both languages, and needs nothing else."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import results
import soundfile
import yaml

from earshot.cli import main
from earshot.tables import items
from earshot.tables.items import Item
from earshot.workbench import report
from earshot.workbench.report import hardest, players, provenance, scatter
from earshot.workbench.report import page as drawn
from earshot.workbench.results import read

TEXTS = {language: drawn.texts(language) for language in ("en", "zh")}
VOID = {"meta", "br", "img", "link", "input", "hr", "source"}


class Reader(HTMLParser):
    """Elements with their attributes, and what is wrong with their nesting."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.faults, self._open = [], [], []
        self.feed(text)
        self.faults += [f"{tag} is never closed" for tag in self._open]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return results.write(tmp_path)


def page(root: Path, language: str = "en") -> str:
    """Write the page of a project; return it, with its elements in order."""
    (file,) = report.write(root / "page.html", (language,), root, root / "params.yaml")
    text = file.read_text()
    assert not Reader(text).faults
    return text


def section(text: str, name: str) -> str:
    return text.split(f'<section id="{name}">')[1].split("</section>")[0]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = results.write(tmp_path_factory.mktemp("project"))
    files = report.write(root / "a.html", ("en", "zh"), root, root / "params.yaml", "c0ffee")
    assert [file.name for file in files] == ["a.html", "a.zh-CN.html"]
    return {name: file.read_text() for name, file in zip(("en", "zh"), files, strict=True)}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_page_is_whole_and_needs_nothing_else(pages: dict[str, str], language: str):
    text = pages[language]
    read = Reader(text)
    assert not read.faults
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [link["href"] for link in read.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert [link for link in links if not link.startswith("#")] == [
        "a.zh-CN.html" if language == "en" else "a.html"
    ]
    assert all(image.get("alt") for image in read.all("img"))
    drawn = read.all("svg")
    assert drawn and all(one.get("aria-label") and one["role"] == "img" for one in drawn)
    assert not read.all("script") and not read.all("link")
    assert all(one["src"].startswith("data:") for tag in ("img", "audio") for one in read.all(tag))
    assert set(re.findall(r"url\((.)", text)) <= {"#"} and "@import" not in text
    outside = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert outside == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert text.count("<caption>") == text.count("<table")
    assert "c0ffee" in text and "data/listening/items.parquet" in text


def test_its_numbers_are_those_of_the_metrics(pages: dict[str, str]):
    shown = section(pages["en"], "listening-results")
    rows = [re.findall(r">([^<]*)</t[hd]>", row) for row in re.findall(r"<tr.*?</tr>", shown)]
    cells = {row[0]: row[1:] for row in rows}
    assert set(results.MODELS) <= set(cells)
    scores = ["69.0", "64.0–74.0", "69.0", "1.25", "3.1"]
    assert cells["kd_int8"] == [*scores, "1.0", "90 MB", "4.56", ""]
    assert cells["kd"][-1] == "1.5" and cells["teacher"][-1] == "7.5"
    assert "kd − hard +30.0 (+10.0 … +40.0)" in section(pages["en"], "listening-gains")
    assert "90 MB · 4.56 ms" in pages["en"]  # the card of the shipped student
    assert "detail: teacher 90.0" in section(pages["en"], "listening-by-skill")


def test_both_languages_have_the_same_texts():
    assert set(TEXTS["en"]) == set(TEXTS["zh"])
    for name, text in TEXTS["en"].items():
        fields = [set(re.findall(r"\{(\w+)", one)) for one in (text, TEXTS["zh"][name])]
        assert fields[0] == fields[1], name


def test_equal_inputs_give_equal_bytes_and_texts_are_escaped(project: Path):
    text = page(project)
    assert text == page(project)
    assert "<script" not in text and "<i>spoken" not in text
    assert "What? &lt;script&gt;alert(1)&lt;/script&gt;" in text and "&lt;i&gt;spoken" in text
    shown = section(text, "listening-hardest")
    assert shown.count("<audio") == 2 and "10.0%" in shown
    assert shown.index("Which?") < shown.index("What?")  # the harder one comes first


def test_items_of_other_results_are_not_shown(project: Path):
    track, content = read(project)[0], yaml.safe_load((project / "params.yaml").read_text())
    file = project / "data/listening/items.parquet"
    items.write(items.read(file)[:1], file)
    assert hardest.find(project, track, content) == []
    results.record(project)
    (found,) = hardest.find(project, track, content)
    assert found.item.id == "i0" and found.answers[1] == ("kd_int8", "two", "0/2", "20.0%")


def test_what_is_missing_is_named_and_the_rest_is_there(project: Path):
    shutil.rmtree(project / "plots")
    (project / "data/listening/corpus/0.wav").unlink()
    (project / "metrics/scenes/cost.json").unlink()
    for track in ("listening", "scenes"):
        shutil.rmtree(project / f"metrics/{track}/timing")
    for name in ("dvc.lock", "params.yaml"):
        (project / name).unlink()
    text = page(project)
    missing = ("plots/scenes/test/curves.csv", "plots/listening/test/confusion.csv")
    for path in (*missing, "metrics/scenes/cost.json", "params.yaml"):
        assert f"Not here: {path} is missing" in text
    assert text.count(TEXTS["en"]["hardest_missing"]) == 2
    assert "kd − hard +" in text and TEXTS["en"]["head_latency_ms"] not in text
    assert "69.0% <small>64.0–74.0</small>" in text  # the best on validation items


def test_a_track_of_another_kind_needs_no_code(tmp_path: Path):
    scores = {"wer": 0.08, "wer_low": 0.07, "wer_high": 0.09, "items": 5}
    lengths = dict.fromkeys(("from_21_words", "to_10_words", "to_5_words"), scores)
    student = scores | {"language": {"de": scores, "en": scores}, "length": lengths}
    file = tmp_path / "metrics/asr/quality.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"teacher": scores, "student": student, "gain": {}}))
    text = page(tmp_path)
    assert "word error rate" in text and "By language" in text and "8.0 (7.0–9.0)" in text
    assert "with its 95% interval; lower is better" in text
    assert "dashed: chance" not in text and "confusion.csv" not in text  # it has neither
    heads = re.findall("to 5 words|to 10 words|from 21 words", section(text, "asr-by-length"))
    assert list(dict.fromkeys(heads)) == ["to 5 words", "to 10 words", "from 21 words"]


def test_tracks_come_as_in_the_parameters_and_unknown_ones_last(tmp_path: Path):
    scores = {"wer": 0.08, "wer_low": 0.07, "wer_high": 0.09, "items": 5}
    for name in ("a", "b", "c", "d"):
        file = tmp_path / f"metrics/{name}/quality.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"teacher": scores, "gain": {}}))
    (tmp_path / "params.yaml").write_text("tracks: {d: {}, b: {}, c: {}}")
    found = re.findall('<article id="(.)"', page(tmp_path))
    assert found == ["d", "b", "c", "a"]


def test_the_command_writes_pages_and_main_charts(project: Path, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["report", "--figures", "figures"]) == 0
    assert "docs/report.zh-CN.html  0." in capsys.readouterr().out
    files = sorted((project / "figures").iterdir())
    names = {f"{track}-{kind}" for track in ("listening", "scenes") for kind in ("results", "cost")}
    assert {file.name for file in files} == {
        f"{name}{end}.svg" for name in names for end in ("", ".zh-CN")
    }
    for file in files:
        assert "prefers-color-scheme" in file.read_text()
        ElementTree.parse(file)


def test_the_commit_is_named_while_nothing_has_changed_since(tmp_path: Path):
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        command = ("git", *who, *words)
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert provenance.commit(tmp_path, Path("params.yaml")) is None
    git("init", "--quiet")
    for name in ("params.yaml", "README.md"):
        (tmp_path / name).write_text("a: 1")
        git("add", name)
        git("commit", "--quiet", "--message", name)
    assert provenance.commit(tmp_path, Path("params.yaml")) == git("rev-parse", "HEAD~1")
    (tmp_path / "params.yaml").write_text("a: 2")
    assert provenance.commit(tmp_path, Path("params.yaml")) is None


def test_no_results_or_damaged_ones_are_named(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report"]) == 2
    assert "no <track>/quality.json; run `make repro`" in capsys.readouterr().err
    (tmp_path / "metrics/x").mkdir(parents=True)
    for content, complaint in (("{", "not JSON"), ('{"teacher": {"f1": 1}}', "accuracy, wer")):
        (tmp_path / "metrics/x/quality.json").write_text(content)
        assert main(["report"]) == 2
        assert complaint in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()


def test_a_page_too_large_is_refused(project: Path, monkeypatch):
    monkeypatch.setattr(report, "LIMIT", 1000)
    shutil.rmtree(project / "plots")  # is drawn sooner
    with pytest.raises(ValueError, match=r"page.html: .* MB, more than"):
        page(project)
    assert not (project / "page.html").exists()


def test_attention_is_drawn_to_scale():
    """Frames stand in the middle of their share of the box, weights 23 of its 24 high."""
    drawn = players.lines(np.array([[0.0, 1.0], [0.5, 0.5]]))
    assert drawn == ["25.0,24.0 75.0,1.0", "25.0,12.5 75.0,12.5"]


def test_the_hardest_items_are_ranked_by_mean_over_seeds_then_models():
    passages = {"a": "x", "b": "x", "c": "y", "d": "z"}
    asked = [
        Item(name, "test", "detail", passage, ("u",), "?", ("a", "b"), 0)
        for name, passage in passages.items()
    ]
    right = [("a", "m", seed, 0.2) for seed in range(4)]  # with 0.8: 0.5; by rows 0.32
    right += [("a", "n", 0, 0.8), ("b", "m", 0, 0.6), ("c", "m", 0, 0.4), ("d", "m", 0, 0.9)]
    rows = [(item, model, seed, 0, [share, 1 - share]) for item, model, seed, share in right]
    columns = ["item", "model", "seed", "answer", "probabilities"]
    ranked = hardest.rank(asked, pd.DataFrame(rows, columns=columns), 3)
    assert [item.id for item, _ in ranked] == ["c", "a", "d"]  # b is of a's passage
    assert [value for _, value in ranked] == pytest.approx([0.4, 0.5, 0.9])


def test_labels_of_models_that_cost_the_same_do_not_lie_on_one_another():
    names = [f"model_{n}" for n in range(7)]
    marks = np.array([(150.0, 100.0 + 3 * n) for n in range(7)])
    frame, bars = np.array([40, 20, 340, 280.0]), np.array([[148.0, 60, 152, 160]])
    found = scatter.labels(names, marks, bars, frame)
    left, bottom, right, top = found.T
    apart = (left[:, None] >= right) | (right[:, None] <= left)
    apart |= (bottom[:, None] >= top) | (top[:, None] <= bottom)
    assert (apart | np.eye(7, dtype=bool)).all()
    assert (left >= 40).all() and (right <= 340).all()
    assert (bottom >= 20).all() and (top <= 280).all()


def test_a_clip_sounds_as_it_did(tmp_path: Path):
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000).astype(np.float32)
    path = tmp_path / "clip.mp3"
    path.write_bytes(base64.b64decode(players.mp3(tone, 16_000).split(",")[1]))
    samples, rate = soundfile.read(path)
    assert rate == 16_000 and len(samples) / rate == pytest.approx(2, abs=0.15)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * rate / len(samples) == pytest.approx(440, abs=2)
    with pytest.raises(ValueError, match="sample_rate=12345"):
        players.mp3(tone, 12_345)


def test_transcripts_are_ranked_by_words_right_and_show_their_errors():
    asked = [
        Item(name, "test", "transcript", name, ("u",), options=("", "|", "a"), transcript=text)
        for name, text in {"a": "the old boat", "b": "a lamp"}.items()
    ]
    texts = [("a", "kd", 0, "the odd boat"), ("a", "kd", 1, ""), ("b", "kd", 0, "a lamp")]
    rows = [(item, model, seed, -1, [], text) for item, model, seed, text in texts]
    columns = ["item", "model", "seed", "answer", "probabilities", "text"]
    table = pd.DataFrame(rows, columns=columns)
    ranked = hardest.rank(asked, table, 2)
    assert [(item.id, value) for item, value in ranked] == [("a", pytest.approx(1 / 3)), ("b", 1.0)]
    (shown,) = hardest.written(table[table["item"] == "a"], asked[0], ["teacher", "kd"])
    marks = [("the", ""), ("old", "del"), ("odd", "ins"), ("boat", "")]
    assert shown == hardest.Written("kd", 1, 3, marks)
