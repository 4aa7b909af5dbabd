"""The report: what it says is what the metrics say, it needs nothing else, and the one in docs/ is
not out of date.
"""

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
import soundfile
from conftest import ROOT

from earshot.cli import main
from earshot.tables import answers, items
from earshot.tables.items import Item
from earshot.tables.manifest import Clip, write_manifest
from earshot.workbench import report
from earshot.workbench.integrity.hashes import md5
from earshot.workbench.report import (
    blocks,
    data,
    figures,
    hardest,
    page,
    players,
    provenance,
    scatter,
    svg,
)
from earshot.workbench.report.texts import TEXTS

PAGES = {"en": ROOT / "docs/report.html", "zh": ROOT / "docs/report.zh-CN.html"}
VOID = {"meta", "br", "img", "link", "input", "hr", "source"}
PARAMS, TRACKS = ROOT / "params.yaml", data.read(ROOT)


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


def without(text: str, *parts: str) -> str:
    """Cut what stands between the marks of parts out of a page."""
    for part in parts:
        text = re.sub(
            rf"<!-- {part} -->.*?<!-- end of {part} -->", f"<!-- {part} -->", text, flags=re.S
        )
    return text


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with this one's metrics, whose one track with sound has two test items, one of them
    hostile.
    """
    for name in ("metrics", "plots", "params.yaml", "dvc.yaml", "dvc.lock", "requirements.lock"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    rng = np.random.default_rng(0)
    rows = []
    for place in range(2):
        path = tmp_path / f"data/listening/corpus/{place}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, 16_000).astype(np.float32), 16_000)
        name, spoken = str(path.relative_to(tmp_path)), "<i>said</i>"
        clip = Clip(
            f"u{place}", name, 1.0, 16_000, f"s{place}", "test", text=spoken, passage=f"p{place}"
        )
        rows.append(clip)
    write_manifest(rows, tmp_path / "data/listening/manifest.parquet")
    evil = "<script>alert(1)</script>"
    asked = [
        Item(
            f"i{place}",
            "test",
            "detail",
            f"p{place}",
            (f"u{place}",),
            question,
            (evil, "two", "three"),
            place,
        )
        for place, question in enumerate((f"What? {evil}", "Which?"))
    ]
    items.write(asked, tmp_path / "data/listening/items.parquet")
    said = {
        "i0": np.array([0.2, 0.7, 0.1], np.float32),
        "i1": np.array([0.5, 0.1, 0.4], np.float32),
    }
    answers.write(
        tmp_path / "models/listening/answers.parquet",
        asked,
        {"teacher": [said], "kd_pool_int8": [said, said]},
    )
    record(tmp_path)
    return tmp_path


def record(root: Path) -> None:
    """Let dvc.lock say what listening's single files are now."""
    lock = (root / "dvc.lock").read_text()
    for out in provenance.outputs(root):
        if out.track == "listening" and (root / out.path).is_file():
            lock = lock.replace(out.md5, md5(root / out.path))
    (root / "dvc.lock").write_text(lock)


@pytest.mark.parametrize("language", PAGES)
def test_the_committed_page_is_that_of_the_committed_metrics(language: str):
    other = next(path.name for one, path in PAGES.items() if one != language)
    committed = PAGES[language].read_text()
    named = re.search(r": <code>([0-9a-f]{40})</code>", committed)
    commit = named and named[1]
    fresh = page.render(ROOT, PARAMS, TRACKS, {}, language, other, commit)
    parts = ("hardest", "versions")  # the one needs data, the other is no result
    shown = dict(
        re.findall(
            r'<th scope="row" class="mono">([^<]+)</th><td class="text mono">([0-9a-f]{64})</td>',
            committed,
        )
    )
    assert shown == dict(data.hashes(TRACKS, ROOT, PARAMS)), (
        "docs/report.html is out of date: run `make report`"
    )
    assert without(committed, *parts) == without(fresh, *parts), (
        "docs/report.html is out of date: run `make report`"
    )


def test_the_committed_figures_are_those_of_the_committed_metrics(tmp_path: Path):
    written = figures.write(tmp_path, TRACKS, ("en", "zh"))
    assert len(written) == 4 * len(TRACKS)
    for path in written:
        assert (ROOT / "docs/figures" / path.name).read_text() == path.read_text(), (
            "run `make report`"
        )
        ElementTree.parse(path)


@pytest.mark.parametrize("language", PAGES)
def test_a_page_is_whole_and_needs_nothing_else(language: str):
    text = PAGES[language].read_text()
    read = Reader(text)
    assert not read.faults
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(image.get("alt") for image in read.all("img"))
    assert all(
        picture.get("aria-label") and picture["role"] == "img" for picture in read.all("svg")
    )
    assert {
        link["href"].removeprefix("#") for link in read.all("a") if link["href"].startswith("#")
    } <= set(ids)
    assert not read.all("script") and not read.all("link")
    assert all(one["src"].startswith("data:") for tag in ("img", "audio") for one in read.all(tag))
    assert not re.search(r"url\(|@import", text)
    outside = set(re.findall(r"https?://[^\s\"'<]+", text)) - {"http://www.w3.org/2000/svg"}
    assert not outside
    assert len(text.encode()) < report.LIMIT
    assert text.count("<caption>") == text.count("<table")
    assert len(read.all("audio")) == len(read.all("img")) == hardest.COUNT * len(TRACKS)


def test_the_values_are_those_of_the_metrics():
    text = PAGES["en"].read_text()
    for track in TRACKS:
        own = text.split(f'<section id="{track.name}-results">')[1].split("</section>")[0]
        quality = json.loads((ROOT / f"metrics/{track.name}/quality.json").read_text())
        rows = {
            cells[0]: cells[1:]
            for row in re.findall(r"<tr.*?</tr>", own)
            if (cells := re.findall(r">([^<]*)</t[hd]>", row))
        }
        assert set(quality) - {"gain"} <= set(rows)
        for model, scores in quality.items():
            if model != "gain":
                low, high = (f"{100 * scores[f'accuracy_{end}']:.1f}" for end in ("low", "high"))
                assert rows[model][:2] == [f"{100 * scores['accuracy']:.1f}", f"{low}–{high}"]
        gained = text.split(f'<section id="{track.name}-gains">')[1].split("</section>")[0]
        for pair, gain in quality["gain"].items():
            for metric in ("accuracy", "device_drop"):
                assert (
                    metric not in gain
                    or f"{pair.replace('_vs_', ' − ')} {blocks.points(gain[metric])} (" in gained
                )


def test_both_languages_say_the_same_things():
    assert set(TEXTS["en"]) == set(TEXTS["zh"])
    for name, text in TEXTS["en"].items():
        assert set(re.findall(r"\{(\w+)", text)) == set(
            re.findall(r"\{(\w+)", TEXTS["zh"][name])
        ), name
    assert set(provenance.versions(ROOT)) >= {"torch", "jinja2", "dvc"}


def test_equal_inputs_give_equal_bytes_and_texts_are_escaped(project: Path):
    written = report.write(
        project / "a.html",
        ("en", "zh"),
        project,
        project / "params.yaml",
        folder=project / "figures",
    )
    again = report.write(project / "b.html", ("en",), project, project / "params.yaml")
    assert [path.name for path in written[:2]] == ["a.html", "a.zh-CN.html"]
    text = written[0].read_text()
    assert text.replace('<a href="a.zh-CN.html" lang="zh-CN">中文</a>', "") == again[0].read_text()
    assert "<script" not in text and "<i>said" not in text
    assert "What? &lt;script&gt;alert(1)&lt;/script&gt;" in text and "&lt;i&gt;said" in text
    assert not Reader(text).faults
    assert text.count("<audio") == 2 and "10.0%" in text  # of i1, the harder one, which comes first
    assert text.index("Which?") < text.index("What?")


def test_items_of_other_results_are_not_shown(project: Path):
    items.write(
        items.read(project / "data/listening/items.parquet")[:1],
        project / "data/listening/items.parquet",
    )
    text = report.write(project / "page.html", ("en",), project, project / "params.yaml")[
        0
    ].read_text()
    assert "<audio" not in text and not Reader(text).faults


def test_the_commit_is_named_while_nothing_has_changed_since(tmp_path: Path):
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(
            ("git", *who, *words), cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    assert provenance.commit(tmp_path, Path("params.yaml")) is None
    git("init", "--quiet")
    for name in ("params.yaml", "README.md"):
        (tmp_path / name).write_text("a: 1")
        git("add", name)
        git("commit", "--quiet", "--message", name)
    assert provenance.commit(tmp_path, Path("params.yaml")) == git("rev-parse", "HEAD~1")
    (tmp_path / "params.yaml").write_text("a: 2")
    assert provenance.commit(tmp_path, Path("params.yaml")) is None


def test_what_is_missing_is_said_and_the_rest_is_there(project: Path):
    shutil.rmtree(project / "plots")
    (project / "data/listening/corpus/0.wav").unlink()
    (project / "metrics/scenes/cost.json").unlink()
    for name in ("dvc.lock", "dvc.yaml", "params.yaml", "requirements.lock"):
        (project / name).unlink()
    text = report.write(project / "page.html", ("en",), project, project / "params.yaml")[
        0
    ].read_text()
    assert not Reader(text).faults
    for missing in (
        "plots/scenes/test/curves.csv",
        "plots/listening/test/confusion.csv",
        "metrics/scenes/cost.json",
        "dvc.yaml",
    ):
        assert f"Not here: {missing} is missing" in text
    assert text.count(TEXTS["en"]["hardest_missing"]) == 2
    assert "kd_pool − hard +" in text


def test_a_track_of_another_kind_needs_no_code(tmp_path: Path):
    scores = {"wer": 0.08, "wer_low": 0.07, "wer_high": 0.09, "items": 5}
    quality = {
        "teacher": scores,
        "student": scores | {"language": {"de": scores, "en": scores}},
        "gain": {},
    }
    (tmp_path / "metrics/asr").mkdir(parents=True)
    (tmp_path / "metrics/asr/quality.json").write_text(json.dumps(quality))
    text = report.write(tmp_path / "page.html", ("en",), tmp_path, tmp_path / "params.yaml")[
        0
    ].read_text()
    assert "word error rate" in text and "By language" in text and "8.0 (7.0–9.0)" in text


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
    with pytest.raises(ValueError, match=r"page.html: .* MB, more than"):
        report.write(project / "page.html", ("en",), project, project / "params.yaml")
    assert not (project / "page.html").exists()


def test_the_hardest_items_are_ranked_by_mean_over_seeds_then_models():
    asked = [
        Item(name, "test", "detail", passage, ("u",), "?", ("a", "b"), 0)
        for name, passage in ("ax", "bx", "cy", "dz")
    ]
    table = pd.DataFrame(
        [
            (item, model, seed, 0, [right, 1 - right])
            for item, model, seed, right in [
                *(
                    ("a", "m", seed, 0.2) for seed in range(4)
                ),  # 0.2 and 0.8: 0.5; by rows it would be 0.32
                *(("a", "n", 0, 0.8), ("b", "m", 0, 0.6), ("c", "m", 0, 0.4), ("d", "m", 0, 0.9)),
            ]
        ],
        columns=["item", "model", "seed", "answer", "probabilities"],
    )
    ranked = hardest.rank(asked, table, 3)
    assert [item.id for item, _ in ranked] == ["c", "a", "d"]  # b is of a's passage
    assert [value for _, value in ranked] == pytest.approx([0.4, 0.5, 0.9])


def test_labels_of_models_that_cost_the_same_do_not_lie_on_one_another():
    points = [
        scatter.Point(f"model_{n}", 1e5, 0.5 + n / 200, 0.45, 0.55, n, False) for n in range(7)
    ]
    places, frame = [(150.0, 100.0 + 3 * n) for n in range(7)], scatter.Box(40, 20, 340, 280)
    found = scatter.labels(points, places, [scatter.Box(148, 60, 152, 160)], frame)
    assert all(
        one.overlap(other) == 0 for place, one in enumerate(found) for other in found[:place]
    )
    assert all(one.left >= frame.left and one.right <= frame.right for one in found)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.07, 0.44), (0.31, 0.33), (0, 12.4)])
def test_ticks_are_few_round_and_inside(low: float, high: float):
    found = svg.ticks(low, high, 5)
    assert 2 <= len(found) <= 11
    assert low - 1e-9 <= found[0] and found[-1] <= high + 1e-9
    assert np.allclose(np.diff(found), found[1] - found[0])


def test_a_clip_sounds_as_it_did(tmp_path: Path):
    import base64

    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000).astype(np.float32)
    path = tmp_path / "clip.mp3"
    path.write_bytes(base64.b64decode(players.mp3(tone, 16_000).split(",")[1]))
    heard, rate = soundfile.read(path)
    assert rate == 16_000 and len(heard) / rate == pytest.approx(2, abs=0.15)
    spectrum = np.abs(np.fft.rfft(heard))
    assert np.argmax(spectrum) * rate / len(heard) == pytest.approx(440, abs=2)
    with pytest.raises(ValueError, match="sample_rate=12345"):
        players.mp3(tone, 12_345)
