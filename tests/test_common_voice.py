"""Common Voice: a release's tables and clips, from its folder or its tarball."""

import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from conftest import ROOT

from earshot.corpora import CORPORA
from earshot.features import audio
from earshot.params import CommonVoice
from earshot.tables.manifest import Clip, CorpusError, write_manifest

SPLITS = {"validated": "pool", "train": "teacher", "dev": "validation", "test": "test"}
# client, clip, sentence; validated.tsv lists them all
TRAIN = [
    ("ann", 1, "The boat is old."),
    ("ann", 2, 'She said "no'),
    ("bob", 3, "Ten green bottles."),
]
DEV = [("cleo", 4, "Where is the key?")]
TEST = [("dora", 5, "A bird sings here."), ("dora", 6, "Yes!")]
OTHER = [
    ("eve", 7, "Nobody was at home."),
    ("cleo", 8, "The wind is cold."),  # a speaker of validation
    ("dora", 9, "It may rain soon."),  # a speaker of the test
    ("eve", 10, "a bird sings HERE"),  # a sentence of the test
    ("eve", 11, "yes"),  # too short to be one
]


def tabulate(path: Path, rows: list[tuple[str, int, str]], locale: str = "en") -> None:
    lines = ["client_id\tpath\tsentence\tup_votes\tlocale"]
    lines += [
        f"{client}\tcommon_voice_en_{number}.mp3\t{sentence}\t2\t{locale}"
        for client, number, sentence in rows
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def release(tmp_path) -> Path:
    root = tmp_path / "cv-corpus-17.0/en"
    (root / "clips").mkdir(parents=True)
    for name, rows in (
        ("train", TRAIN),
        ("dev", DEV),
        ("test", TEST),
        ("validated", [*OTHER, *TEST, *TRAIN, *DEV]),
    ):
        tabulate(root / f"{name}.tsv", rows)
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 48_000)
    for number in range(1, 12):
        soundfile.write(root / f"clips/common_voice_en_{number}.mp3", tone, 48_000, format="MP3")
    return root


def load(root: Path, language: str = "en", splits: dict | None = None) -> list[Clip]:
    params = CommonVoice(
        name="common_voice",
        root=str(root),
        language=language,
        splits=SPLITS if splits is None else splits,
    )
    return list(CORPORA["common_voice"](params, Path("unused"), 1))


def splits(clips: list[Clip]) -> dict[int, str]:
    return {int(clip.id.rpartition("_")[2]): clip.split for clip in clips}


def test_a_release_is_read(release, tmp_path):
    clips = load(release)
    numbers = {"teacher": (1, 2, 3), "validation": (4,), "test": (5, 6), "pool": (7, 11)}
    assert splits(clips) == {n: split for split, some in numbers.items() for n in some}
    (one,) = (clip for clip in clips if clip.id == "common_voice_en_2")
    known = ("ann", 'She said "no', "en", one.id)
    assert (one.speaker, one.text, one.language, one.passage) == known
    assert one.path == str(release / "clips/common_voice_en_2.mp3")
    assert one.sample_rate == 48_000 and one.seconds == pytest.approx(0.5, abs=0.1)
    assert len(audio.decode(one.path, 16_000)) == pytest.approx(16_000 * one.seconds, abs=2)
    order = ["test"] * 2 + ["validation"] + ["teacher"] * 3 + ["pool"] * 2
    assert [clip.split for clip in clips] == order
    assert write_manifest(clips, tmp_path / "m.parquet") == 8


def test_what_the_test_keeps_to_itself_is_counted(release, caplog):
    load(release)
    assert caplog.messages == [
        f"{release}: left out for a speaker or sentence of test or validation: 3 of pool"
    ]
    tabulate(release / "dev.tsv", [*DEV, ("dora", 9, "It may rain soon.")])
    expected = {"teacher": 3, "validation": 1, "test": 2, "pool": 2}
    assert Counter(splits(load(release)).values()) == expected
    assert "1 of validation" in caplog.messages[-1]


def test_where_one_reader_reads_all_each_clip_is_a_speaker(release):
    for table in release.glob("*.tsv"):
        table.write_text(re.sub(r"^(?!client_id)\w+", "kerstin", table.read_text(), flags=re.M))
    assert set(splits(load(release)).values()) == {"test"}
    params = {"name": "common_voice", "root": str(release), "language": "en", "splits": SPLITS}
    clips = list(CORPORA["common_voice"](CommonVoice(**params, speakers="clip"), Path("unused"), 1))
    found = Counter(clip.split for clip in clips)  # but for the sentence of the test
    assert found == {"teacher": 3, "validation": 1, "test": 2, "pool": 4}
    assert len({clip.speaker for clip in clips}) == len(clips)


def test_a_sentence_of_the_test_is_left_out_in_any_script(release):
    test, other = "今天天气很好，我们去公园散步吧", "今天天气很好我们去公园散步吧。"
    tabulate(release / "test.tsv", [("dora", 5, test)])
    tabulate(release / "validated.tsv", [("eve", 7, other), ("eve", 10, "नमस्ते")])
    assert [number for number, split in splits(load(release)).items() if split == "pool"] == [10]


def roles(root: Path, pages: tuple[str, ...]) -> list[dict[str, int]]:
    """Return the clips of each role in a release, as the example of each page assigns them."""
    found = []
    for page in pages:
        (block,) = re.findall(r"^corpus: {name: common_voice.*}$", (ROOT / page).read_text(), re.M)
        example = yaml.safe_load(block)["corpus"] | {"root": str(root), "language": "en"}
        clips = CORPORA["common_voice"](CommonVoice(**example), Path("unused"), 1)
        found.append(Counter(clip.split for clip in clips))
    return found


def test_the_documented_assignment_fills_every_role(release):
    """A release as it is: every speaker in one table, all of them in `validated`."""
    tables = {name: [] for name in ("train", "dev", "test")}
    for number, name in enumerate(["train"] * 8 + ["dev", "test", "other"], 1):
        row = (f"speaker {number}", number, f"Number {number} carried a heavy basket.")
        tables.get(name, []).append(row)
    for name, rows in tables.items():
        tabulate(release / f"{name}.tsv", rows)
    tabulate(release / "validated.tsv", [row for rows in tables.values() for row in rows])
    pages = ("docs/corpora.md", "docs/corpora.zh-CN.md")
    found = roles(release, pages)
    expected = {"teacher": 4, "pool": 3, "fewshot": 1, "validation": 1, "test": 1}
    assert found == [expected, expected]
    defaults = CommonVoice(name="common_voice", root=str(release), language="en")
    clips = list(CORPORA["common_voice"](defaults, Path("unused"), 1))
    assert Counter(clip.split for clip in clips) == expected
    with_pool = load(release, splits=SPLITS | {"train": "auto"})
    assert Counter(clip.split for clip in with_pool) == expected  # nothing but the tables' clips


def test_a_clip_of_several_tables_is_used_once(release):
    tabulate(release / "train.tsv", [*TRAIN, *DEV, *TEST])
    tabulate(release / "dev.tsv", [*DEV, *TEST])
    assert splits(load(release))[5] == "test" and splits(load(release))[4] == "validation"
    everything = load(release, splits={"validated": "teacher"})
    assert len(everything) == 11 and {clip.split for clip in everything} == {"teacher"}


def test_every_way_to_name_a_release(release, tmp_path, monkeypatch):
    found = load(release)
    assert load(release.parent) == found and load(release.parents[1]) == found
    archive = tmp_path / "downloads/cv-corpus-17.0-en.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(release, "cv-corpus-17.0/en")
    unpacked = load(archive)
    assert [clip.id for clip in unpacked] == [clip.id for clip in found] and archive.is_file()
    assert unpacked[0].path == str(
        tmp_path / "downloads/cv-corpus-17.0-en/cv-corpus-17.0/en/clips" / Path(found[0].path).name
    )
    before = Path(unpacked[0].path).stat().st_mtime_ns
    assert load(archive) == unpacked and Path(unpacked[0].path).stat().st_mtime_ns == before


def test_old_tables_leave_the_suffix_out(release):
    for table in release.glob("*.tsv"):
        table.write_text(table.read_text().replace(".mp3", "").replace("\tlocale", "\tcountry"))
    assert len(load(release)) == 8


FAULTS = {
    "table": (lambda r: (r / "dev.tsv").unlink(), r"en/dev\.tsv: no such file"),
    "column": (
        lambda r: (r / "dev.tsv").write_text("path\tsentence\n"),
        r"en/dev\.tsv: missing column client_id \(",
    ),
    "blank": (
        lambda r: tabulate(r / "dev.tsv", [*DEV, ("", 9, "x")]),
        r"en/dev\.tsv: line 3, row 2: client_id is blank",
    ),
    "binary": (
        lambda r: (r / "dev.tsv").write_bytes(b"\xff\xfe\x00"),
        r"en/dev\.tsv: not a tab-separated table",
    ),
    "locale": (
        lambda r: tabulate(r / "dev.tsv", DEV, "de"),
        r"en/dev\.tsv: locale 'de' is not language='en'",
    ),
    "clip": (
        lambda r: (r / "clips/common_voice_en_4.mp3").unlink(),
        r"clips/common_voice_en_4\.mp3: no such file \(1 of 8 clips are missing\)",
    ),
    "clips": (
        lambda r: (r / "clips").rename(r / "audio"),
        r"en: no folder clips in it, in en or in cv-corpus-\*/en",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(release, fault):
    spoil, message = FAULTS[fault]
    spoil(release)
    with pytest.raises(CorpusError, match=message) as error:
        load(release)
    assert "\n" not in str(error.value)


def test_a_root_that_is_not_there_is_named(tmp_path):
    for name in ("absent", "absent.tar.gz"):
        with pytest.raises(
            CorpusError, match=rf"{name}: no such folder or \.tar\.gz \(common_voice root\)"
        ):
            load(tmp_path / name)


def test_an_unreadable_clip_stays_in_the_manifest(release):
    (release / "clips/common_voice_en_4.mp3").write_bytes(b"not audio")
    bad = next(clip for clip in load(release) if clip.id == "common_voice_en_4")
    assert (bad.seconds, bad.sample_rate) == (0.0, 0)
