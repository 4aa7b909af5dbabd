"""Several corpora as one: two releases, a folder of LibriSpeech and a table, each of a language."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earshot.corpora import CORPORA, files
from earshot.items import transcripts
from earshot.params import Languages, Transcripts
from earshot.tables.manifest import Clip, CorpusError, read_manifest, write_manifest

HEADER = "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tlocale\tsegment"
GERMAN = {
    "train": [("kai", 1, 'Er rief "Halt!'), ("lea", 2, "Die Straße ist naß."), ("uwe", 3, "")],
    "dev": [("max", 4, "Was kostet ein großes Brot?")],
    "test": [("ida", 5, "Übung macht den Meister.")],
}
TURKISH = {
    "train": [("ece", 1, "ILIK bir gün."), ("ida", 2, "Her şey yolunda."), ("max", 3, "İyi.")],
    "dev": [("can", 4, "Işık yandı.")],
    "test": [("efe", 5, "Kapı açık.")],
}


def recorded(path: Path, kind: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(32_000) / 5), 16_000, format=kind)
    return path


def release(root: Path, language: str, tables: dict[str, list]) -> None:
    for name, rows in tables.items():
        lines = [
            f"{who}\tcv_{number}.mp3\t0a\t{sentence}\t\t2\t{language}\t"
            for who, number, sentence in rows
        ]
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.tsv").write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
        for _, number, _ in rows:
            recorded(root / f"clips/cv_{number}.mp3", "MP3")


@pytest.fixture(scope="module")
def params(tmp_path_factory) -> Languages:
    root = tmp_path_factory.mktemp("several")
    release(root / "cv/de", "de", GERMAN)
    release(root / "cv/tr", "tr", TURKISH)
    for part, speaker in (("dev-clean", 7), ("test-clean", 8)):
        chapter = root / f"LibriSpeech/{part}/{speaker}/1"
        recorded(chapter / f"{speaker}-1-0001.flac", "FLAC")
        (chapter / f"{speaker}-1.trans.txt").write_text(f"{speaker}-1-0001 IT IS I\n")
    recorded(root / "own/cv_1.wav", "WAV")
    table = root / "own/table.csv"
    table.write_text("path,speaker,split,text,language\ncv_1.wav,ida,pool,,ru\n")
    splits = {"dev-clean": "fewshot", "test-clean": "test"}
    voices = {"train": "fewshot", "dev": "validation", "test": "test"}
    voice = {"name": "common_voice", "root": str(root / "cv"), "splits": voices}
    of_language = {
        "de": voice | {"language": "de"},
        "tr": voice | {"language": "tr"},
        "en": {"name": "librispeech", "root": str(root / "LibriSpeech"), "splits": splits},
        "ru": {"name": "manifest", "path": str(table)},
    }
    return Languages(name="languages", corpora=of_language)


def build(params: Languages) -> list[Clip]:
    return list(CORPORA["languages"](params, Path("unused"), 1))


def test_clips_have_their_language_and_ids_of_their_own(params, tmp_path):
    clips = build(params)
    assert write_manifest(clips, tmp_path / "m.parquet") == len(clips)
    found = {clip.id: (clip.language, clip.split, clip.speaker, clip.text) for clip in clips}
    assert found == {
        "de-cv_5": ("de", "test", "ida", "Übung macht den Meister."),
        "de-cv_4": ("de", "validation", "max", "Was kostet ein großes Brot?"),
        "de-cv_1": ("de", "fewshot", "kai", 'Er rief "Halt!'),
        "de-cv_2": ("de", "fewshot", "lea", "Die Straße ist naß."),
        "tr-cv_5": ("tr", "test", "efe", "Kapı açık."),
        "tr-cv_4": ("tr", "validation", "can", "Işık yandı."),
        "tr-cv_1": ("tr", "fewshot", "ece", "ILIK bir gün."),
        "en-7-1-0001": ("en", "fewshot", "7", "it is i"),
        "en-8-1-0001": ("en", "test", "8", "it is i"),
    }
    assert {clip.passage for clip in clips} >= {"de-cv_1", "tr-cv_1", "en-7-1"}


def test_speakers_of_the_test_are_in_no_other_language(params, caplog):
    clips = build(params)
    assert Counter(clip.speaker for clip in clips)["ida"] == 1
    assert "left out for a speaker of test or validation" in caplog.messages[-1]
    assert "2 of fewshot in tr, 1 of pool in ru" in caplog.messages[-1]
    assert any("left out, no sentence: 1 row(s), line 4 first" in one for one in caplog.messages)


def test_transcripts_are_in_the_small_letters_of_their_language(params, tmp_path):
    write_manifest(build(params), tmp_path / "m.parquet")
    table = read_manifest(tmp_path / "m.parquet")
    letters = "abcdefghijklmnopqrstuvwxyzßçöüışğ"
    section = Transcripts(source="transcripts", alphabet=letters)
    built = {item.id: item for item in transcripts.build(table, table["id"], section, 1)}
    assert built["tr-cv_1"].transcript == "ılık bir gün"
    assert (built["en-7-1-0001"].transcript, built["en-7-1-0001"].language) == ("it is i", "en")
    assert built["de-cv_2"].transcript == "die straße ist naß"


def test_what_is_read_beside_recordings_is_listed(params):
    names = Counter(path.name for path in files(params))
    assert names["train.tsv"] == names["dev.tsv"] == 2 and names["table.csv"] == 1


def test_a_clip_of_another_language_is_named(params):
    wrong = {"en": params.corpora["ru"]}
    with pytest.raises(CorpusError, match="clip cv_1 is of language 'ru', in the corpus of 'en'"):
        build(Languages(name="languages", corpora=wrong))
    with pytest.raises(ValueError, match=r"corpora.nl.language='de' must be 'nl'"):
        Languages(name="languages", corpora={"nl": params.corpora["de"]})


def test_few_missing_clips_are_left_out_and_many_stop(params, tmp_path, caplog):
    rows = [(f"voice {number}", number, f"Satz Nummer {number} ist kurz.") for number in range(60)]
    tables = {"train": rows[:58], "dev": rows[58:59], "test": rows[59:]}
    release(tmp_path / "de", "de", tables)
    of_language = {"de": params.corpora["de"].model_copy(update={"root": str(tmp_path)})}
    one = Languages(name="languages", corpora=of_language)
    (tmp_path / "de/clips/cv_7.mp3").unlink()
    assert len(build(one)) == 59
    assert "cv_7.mp3: no such file; left out: 1 of 60 clips are missing" in caplog.text
    (tmp_path / "de/clips/cv_8.mp3").unlink()
    with pytest.raises(CorpusError, match=r"cv_7.mp3: no such file \(2 of 60 clips are missing\)"):
        build(one)
