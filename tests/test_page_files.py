"""What the page is built from: modules joined, packages pinned, clips chosen fairly, what fits."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from server import Server

from earshot.corpora.partial import FetchError
from earshot.runtime import yaml_file
from earshot.tables.items import Item
from earshot.workbench import page
from earshot.workbench.page import contents, npm, scripts

SOURCES = Path(page.__file__).parent


def modules(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.js").write_text(text)
    return folder


def test_modules_become_one_script_with_names_of_their_own(tmp_path):
    modules(
        tmp_path,
        low="const own = 1;\nexport const one = () => own;\nexport class Two {}\n",
        high="import {one} from './low.js';\nconst own = 2;\nexport function sum() {}\n",
        main="import {sum} from './high.js';\nimport {one as it, Two} from './low.js';\nsum();\n",
    )
    text = scripts.bundle(tmp_path, "main")
    places = [text.index(f"const from_{name} =") for name in ("low", "high", "main")]
    assert places == sorted(places) and text.count("const from_low =") == 1
    assert "const {one: it, Two} = from_low;" in text and "return {one, Two};" in text
    assert not re.search("^(import|export) ", text, re.M)
    module = scripts.module(tmp_path, {"high": ("sum",)})
    assert module.endswith("export const {sum} = from_high;\n") and "from_main" not in module


def test_modules_in_a_circle_are_refused(tmp_path):
    modules(tmp_path, a="import {b} from './b.js';\n", b="import {a} from './a.js';\n")
    with pytest.raises(ValueError, match="a circle of imports, a → b → a"):
        scripts.bundle(tmp_path, "a")


@pytest.mark.parametrize("entry", ["app", "worker"])
def test_the_pages_own_modules_are_all_found(entry):
    text = scripts.bundle(SOURCES / "js", entry)
    assert "</script" not in text and not re.search("^(import|export) ", text, re.M)


def test_every_text_is_there_in_both_languages_and_used():
    texts = yaml_file.read(SOURCES / "texts.yaml")
    for name, text in texts.items():
        assert set(text) == {"en", "zh"}, name
        places = [set(re.findall(r"\{(\w+)\}", one)) for one in text.values()]
        assert places[0] == places[1], name
    code = "".join(one.read_text() for one in sorted((SOURCES / "js").glob("*.js")))
    code += (SOURCES / "page.html").read_text()
    assert set(re.findall(r"\bt\('([^']+)'", code)) <= set(texts)
    assert set(re.findall(r'data-(?:text|label)="([^"]+)"', code)) <= set(texts)
    assert set(re.findall(r"new Refused\('([^']+)'", code)) <= set(texts)


def test_the_registry_is_the_one_that_npm_is_told(monkeypatch):
    monkeypatch.setenv("npm_config_registry", "https://example.org/npm/")
    assert npm.registry() == "https://example.org/npm"
    monkeypatch.delenv("npm_config_registry")
    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    assert npm.registry() == npm.REGISTRY


def test_a_package_is_fetched_once_and_must_be_the_pinned_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    content = b"an archive"
    sums = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()
    package = npm.Package("some", "1.0.0", len(content), *sums)
    with Server({"/some/-/some-1.0.0.tgz": content}) as server:
        monkeypatch.setenv("npm_config_registry", server.url())
        for _ in range(2):
            (file,) = npm.provide(package)
            assert file.read_bytes() == content
        assert len(server.log) == 1
        with pytest.raises(FetchError, match=r"not the archive that is pinned \(SHA-256\)"):
            npm.provide(package._replace(sha256="0" * 64))
    monkeypatch.setenv("EARSHOT_OFFLINE", "1")
    with pytest.raises(FetchError, match="EARSHOT_OFFLINE is set"):
        npm.provide(package._replace(name="other"))


def test_the_first_clips_are_a_fair_choice():
    skills = ("detail", "detail", "inference", "main_idea")
    items = [
        Item(f"p{passage}/{n}", "test", skill, f"p{passage}", (f"p{passage}",))
        for passage in range(6)
        for n, skill in enumerate(skills)
    ]
    chosen = contents._fair(items, contents.GROUPS["choice"])
    assert sorted(one.id for one in chosen) == sorted(one.id for one in items)
    assert set(Counter(one.skill for one in chosen[:3]).values()) == {1}
    assert contents._fair(items[::-1], contents.GROUPS["choice"]) == chosen


def test_a_run_without_students_and_an_unknown_track_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"metrics: no <track>/quality\.json"):
        contents.students(tmp_path)
    quality = {"teacher": {"accuracy": 0.5}, "kd": {"accuracy": 0.5}, "kd_int8": {"accuracy": 0.5}}
    (tmp_path / "metrics/listening").mkdir(parents=True)
    (tmp_path / "metrics/listening/quality.json").write_text(json.dumps(quality))
    with pytest.raises(ValueError, match="no student of any track here; run `make repro` first"):
        contents.students(tmp_path)
    with pytest.raises(ValueError, match="track music: no student here"):
        contents.students(tmp_path, ["music"])
