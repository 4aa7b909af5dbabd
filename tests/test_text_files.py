"""Transcripts and tables as people save them: read, or refused with file, line and remedy."""

import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earshot.corpora import CORPORA
from earshot.params import TAU2022, CommonVoice, LibriSpeech, Manifest
from earshot.tables.manifest import Clip, CorpusError, read_manifest, write_manifest

TONE = np.sin(np.arange(4800) / 9) / 5


def write_tone(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, TONE, 16_000)


def clips(params) -> list[Clip]:
    return list(CORPORA[params.name](params, Path("unused"), 1))


# LibriSpeech's transcripts

TEXTS = ["DON'T GO", "DÉJÀ VU", "चलो चलें"]
PUBLISHED = "".join(f"8-1-000{place} {text}\n" for place, text in enumerate(TEXTS))


@pytest.fixture
def transcribed(tmp_path):
    """Return what reads three utterances whose transcripts are these bytes."""

    def read(raw: bytes) -> list[str | None]:
        for place in range(3):
            write_tone(tmp_path / f"dev/8/1/8-1-000{place}.flac")
        (tmp_path / "dev/8/1/8-1.trans.txt").write_bytes(raw)
        params = LibriSpeech(name="librispeech", root=str(tmp_path), splits={"dev": "test"})
        return [clip.text for clip in clips(params)]

    return read


@pytest.mark.parametrize(
    "raw",
    [
        PUBLISHED.encode(),
        PUBLISHED.replace("\n", "\r\n").encode(),
        PUBLISHED.encode("utf-8-sig"),
        PUBLISHED.encode("utf-16"),
        PUBLISHED.encode("utf-32"),
        "".join(f"8-1-000{place}\t{text}\n" for place, text in enumerate(TEXTS)).encode(),
        PUBLISHED.replace(" ", "  ", 1).replace("VU", "VU \t").encode(),
        PUBLISHED.replace("\n", "\n\n").encode(),
    ],
    ids=["published", "CRLF", "BOM", "UTF-16", "UTF-32", "tabs", "spaces", "blank lines"],
)
def test_transcripts_are_read_however_they_were_saved(transcribed, raw):
    assert transcribed(raw) == [text.lower() for text in TEXTS]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (PUBLISHED[:30].encode("latin-1"), "line 2: byte 0xc9 is not UTF-8; save the file as"),
        (PUBLISHED.encode("utf-16-le"), "line 1: a NUL: no text, or UTF-16 without its mark"),
        (PUBLISHED.replace("0001 ", "0001,").encode(), "line 2: '8-1-0001,DÉJÀ' is no id"),
        (PUBLISHED.replace("8-1-0002", "0002").encode(), "line 3: '0002' is no id .* 8-1-NUMBER"),
        (PUBLISHED.replace("0002", "0001").encode(), "line 3: '8-1-0001' stands there twice"),
    ],
)
def test_transcripts_that_cannot_be_read_are_named(transcribed, raw, message):
    with pytest.raises(CorpusError, match=rf"8-1\.trans\.txt: {message}"):
        transcribed(raw)


def test_no_text_is_lost_in_silence(transcribed, caplog):
    caplog.set_level(logging.WARNING)
    assert transcribed(b"8-1-0000 GO\n8-1-0002\n8-1-0009 STAY\n") == ["go", None, None]
    first, second = (record.getMessage() for record in caplog.records)
    assert first.endswith("8-1.trans.txt: no text of 2 utterance(s): 8-1-0001, 8-1-0002")
    assert second.endswith("8-1.trans.txt: no recording of 1 utterance(s): 8-1-0009")


# tables


def common_voice(tmp_path: Path, *rows: str, encoding: str = "utf-8") -> list[Clip]:
    release = tmp_path / "en"
    for name in "ab":
        write_tone(release / f"clips/{name}.wav")
    lines = ["client_id\tpath\tsentence_id\tsentence\tlocale", *rows]
    (release / "test.tsv").write_text("\n".join(lines) + "\n", encoding=encoding)
    params = {"name": "common_voice", "root": str(release), "splits": {"test": "test"}}
    return clips(CommonVoice(**params, language="en"))


GOOD = "s\ta.wav\t1\tNone\ten"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_is_read_in_its_encoding(tmp_path, encoding):
    rows = (GOOD, "t\tb.wav\t2\tHe said \"I'm café\ten\t")
    found = [clip.text for clip in common_voice(tmp_path, *rows, encoding=encoding)]
    assert found == ["None", "He said \"I'm café"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("t\tb.wav\t2\tHere is\ta tab.\ten", "6 fields, where the header has 5: a tab too many"),
        ("t\tb.wav\t2 A tab is missing.\ten", "4 fields, where the header has 5: a tab is missing"),
    ],
)
@pytest.mark.parametrize("line", [2, 4])
def test_a_row_with_another_number_of_fields_is_named(tmp_path, row, message, line):
    rows = [row] if line == 2 else ["", GOOD, row]
    with pytest.raises(CorpusError, match=rf"test\.tsv: line {line}: {message}; write one tab"):
        common_voice(tmp_path, *rows)


def tau(tmp_path: Path, *rows: tuple[str, str], end: str = "") -> list[Clip]:
    lines = ["filename\tscene_label\tidentifier\tsource_label"]
    for label, place in rows:
        name = f"audio/{label}-{place}-0-a.wav"
        write_tone(tmp_path / name)
        lines.append(f"{name}\t{label}\t{place}\ta{end}")
    (tmp_path / "meta.csv").write_text("\n".join(lines) + "\n")
    return clips(TAU2022(name="tau2022", root=str(tmp_path)))


@pytest.mark.parametrize("label", ["None", "NA", "nan", "null", "-", "1.0"])
def test_no_label_or_place_is_a_missing_value(tmp_path, label):
    found = tau(tmp_path, *[(one, place) for one in (label, "bus") for place in ("NA", "o", "r")])
    assert {clip.label for clip in found} == {label, "bus"}
    assert {clip.location for clip in found} == {"NA", "o", "r"}


def test_a_tab_at_the_end_of_each_row_shifts_nothing(tmp_path):
    rows = [(label, place) for label in ("park", "bus") for place in ("l", "o", "r")]
    assert {clip.label for clip in tau(tmp_path, *rows, end="\t")} == {"park", "bus"}


HEADER = "path,speaker,split,text"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path;speaker;split;text\na.wav;s;test;hi\n", "by semicolons; separate them by commas"),
        ("path\tspeaker\tsplit\ttext\na.wav\ts\ttest\thi\n", "by tabs; separate them by commas"),
        ("Path, SPEAKER,split,text\n", "line 1: write the column 'Path' as 'path', 'SPEAKER' as"),
        (f"{HEADER},text\n", "line 1: 2 columns are called 'text'; keep one"),
        (f'{HEADER}\na.wav,s,test,"hi\n\nho"\na.wav,s,dev,hi\n', "line 5, row 2: split 'dev'"),
        (f"{HEADER}\na.wav,s,test,hi,ho\n", "line 2, row 1: more fields than columns; quote"),
        (f'{HEADER}\na.wav,s,test,"hi\nho\n', "line 2: .*close the quotation"),
    ],
)
def test_a_table_of_ones_own_says_what_to_write(tmp_path, content, message):
    write_tone(tmp_path / "a.wav")
    (tmp_path / "mine.csv").write_text(content)
    with pytest.raises(CorpusError, match=rf"mine\.csv: .*{message}"):
        clips(Manifest(name="manifest", path=str(tmp_path / "mine.csv")))


def test_a_table_in_latin_1_is_refused_with_its_line(tmp_path):
    (tmp_path / "mine.csv").write_bytes(f"{HEADER}\na.wav,s,test,café\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"mine\.csv: .*line 2: byte 0xe9 is not UTF-8; save"):
        clips(Manifest(name="manifest", path=str(tmp_path / "mine.csv")))


def test_names_are_composed_and_paths_are_as_on_disk(tmp_path):
    name = unicodedata.normalize("NFD", "café")
    made = Clip(name, f"{name}.wav", 1.0, 8000, name, "test", name, name, label=name)
    write_manifest([made], tmp_path / "manifest.parquet")
    row = read_manifest(tmp_path / "manifest.parquet").iloc[0]
    assert {row[column] for column in ("id", "speaker", "text", "passage", "label")} == {"café"}
    assert row["path"] == f"{name}.wav"
