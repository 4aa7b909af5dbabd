"""Two rows for one clip, utterance or question: kept once where they are the same, else refused."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from earshot.corpora import CORPORA
from earshot.items import librisqa
from earshot.items.authored import authored
from earshot.params import TAU2022, CommonVoice, LibriSpeech, Manifest

Rows = list[tuple[str, ...]]


def write_tone(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.sin(np.arange(4800) / 9) / 5, 16_000)


def clips(params) -> Rows:
    found = CORPORA[params.name](params, Path("unused"), 1)
    return [(clip.id, clip.speaker, clip.text or clip.label) for clip in found]


def own(path: Path) -> Rows:
    for name in "ab":
        write_tone(path.with_name(f"{name}.wav"))
    return clips(Manifest(name="manifest", path=str(path)))


def own_csv(folder: Path, *rows: str) -> Rows:
    lines = ["path,speaker,split,text", *(f"{one[0]}.wav,s,test,{one[2:]}" for one in rows)]
    (folder / "table.csv").write_text("\n".join(lines))
    return own(folder / "table.csv")


def own_parquet(folder: Path, *rows: str) -> Rows:
    columns = {"path": [f"{one[0]}.wav" for one in rows], "text": [one[2:] for one in rows]}
    columns |= {"speaker": ["s"] * len(rows), "split": ["test"] * len(rows)}
    pq.write_table(pa.table(columns), folder / "table.parquet")
    return own(folder / "table.parquet")


def librispeech(folder: Path, *rows: str) -> Rows:
    for name in "ab":
        write_tone(folder / f"dev/8/1/8-1-{name}.flac")
    lines = [f"8-1-{one[0]} {one[2:]}" for one in rows]
    (folder / "dev/8/1/8-1.trans.txt").write_text("\n".join(lines))
    return clips(LibriSpeech(name="librispeech", root=str(folder), splits={"dev": "test"}))


def common_voice(folder: Path, *rows: str) -> Rows:
    for name in "ab":
        write_tone(folder / f"clips/{name}.wav")
    lines = ["client_id\tpath\tsentence", *(f"s\t{one[0]}.wav\t{one[2:]}" for one in rows)]
    (folder / "test.tsv").write_text("\n".join(lines))
    params = {"root": str(folder), "language": "en", "splits": {"test": "test"}}
    return clips(CommonVoice(name="common_voice", **params))


def scenes(folder: Path, *rows: str) -> Rows:
    tested = [(f"{one[0]}-rome-1-0-a.wav", one[2:], "rome-1", "a") for one in rows]
    trained = [(f"{label}-oslo-2-0-a.wav", label, "oslo-2", "a") for label in ("one", "two")]
    lines = ["\t".join(row) for row in [*tested, *trained]]
    (folder / "meta.csv").write_text(
        "\n".join(["filename\tscene_label\tidentifier\tsource_label", *lines])
    )
    for name, listed in (("fold1_train.csv", trained), ("test.csv", tested)):
        names = sorted({row[0] for row in listed})
        (folder / name).write_text("\n".join(["filename", *names]))
        for file in names:
            write_tone(folder / file)
    params = TAU2022(name="tau2022", root=str(folder), validation_share=0.0)
    return [clip for clip in clips(params) if "rome" in clip[0]]


def questions(folder: Path, *rows: str) -> Rows:
    """A question a line, to which the text is the first option."""
    entry = "{{id: {}, skill: detail, utterances: [u], question: Q, options: [{}, x], answer: 0}}"
    lines = [f"- {entry.format(one[0], one[2:])}" for one in rows]
    (folder / "questions.yaml").write_text("\n".join(["# by hand", *lines]))
    return [(item.id, item.options[0]) for item in authored(folder / "questions.yaml")]


def librisqa_part(folder: Path, *rows: str) -> Rows:
    """Rows that ask the same of an utterance; the text is the letter of the answer."""
    asked = "What is heard?\nA. one\nB. two\nC. three\nD. four"
    letters = {"one": "A", "two": "B"}
    keys = librisqa.FIELDS
    entries = [dict(zip(keys, (one[0], asked, letters[one[2:]]), strict=True)) for one in rows]
    (folder / "part.json").write_text(json.dumps(entries))
    found = librisqa.read(folder / "part.json", "test")
    return [(one.utterance, one.options[one.answer]) for one in found]


READERS: dict[str, tuple[Callable, str, str]] = {
    # reader, and how it names rows 2 and 3 of three
    "own table": (own_csv, "line 3, row 2", "line 4, row 3"),
    "own Parquet": (own_parquet, "row 2", "row 3"),
    "LibriSpeech": (librispeech, "line 2", "line 3"),
    "Common Voice": (common_voice, "line 3", "line 4"),
    "TAU": (scenes, "line 3", "line 4"),
    "questions": (questions, "line 3", "line 4"),
    "LibriSQA": (librisqa_part, "row 2", "row 3"),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_row_that_stands_there_twice_is_kept_once_and_counted(kind, tmp_path, caplog):
    read, first, second = READERS[kind]
    with caplog.at_level(logging.WARNING):
        twice = read(tmp_path, "a one", "b two", "b two")
    said = [one.getMessage() for one in caplog.records if "twice" in one.getMessage()]
    assert len(said) == 1 and "1 row(s) stand there twice, kept once" in said[0]
    assert f"in {first} and {second}" in said[0] and str(tmp_path) in said[0]
    caplog.clear()
    assert twice == read(tmp_path, "a one", "b two")
    assert not [one for one in caplog.records if "twice" in one.getMessage()]


@pytest.mark.parametrize("kind", READERS)
def test_two_rows_that_differ_are_refused_with_both_places(kind, tmp_path):
    read, first, second = READERS[kind]
    with pytest.raises(ValueError, match="keep one of the two") as error:
        read(tmp_path, "a one", "b one", "b two")
    assert f"{second}: " in str(error.value) and f" in {first}" in str(error.value)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_a_list_of_dcase_may_name_a_clip_twice_but_not_with_two_labels(tmp_path, caplog):
    scenes(tmp_path, "a one", "b one")
    rows = ["filename\tscene_label", "a-rome-1-0-a.wav\tone", "a-rome-1-0-a.wav\tone"]
    (tmp_path / "test.csv").write_text("\n".join(rows))
    params = TAU2022(name="tau2022", root=str(tmp_path), validation_share=0.0)
    with caplog.at_level(logging.WARNING):
        tested = [clip[0] for clip in clips(params) if "rome" in clip[0]]
    assert tested == ["a-rome-1-0-a"]
    assert "test.csv: 1 row(s) stand there twice" in caplog.text
    (tmp_path / "test.csv").write_text("\n".join(rows).replace("one", "two", 1))
    with pytest.raises(ValueError, match=r"test\.csv: line 3: .* otherwise in line 2; keep one"):
        clips(params)


def test_two_tables_of_common_voice_may_list_a_clip_but_not_with_two_sentences(tmp_path):
    common_voice(tmp_path, "a One", "b Two")
    head = "client_id\tpath\tsentence\n"
    params = {"root": str(tmp_path), "language": "en"}
    splits = {"test": "test", "validated": "pool"}
    params = CommonVoice(name="common_voice", splits=splits, **params)
    (tmp_path / "validated.tsv").write_text(head + "s\ta.wav\tOne\ns\tb.wav\tTwo\n")
    assert clips(params) == [("a", "s", "One"), ("b", "s", "Two")]
    (tmp_path / "validated.tsv").write_text(head + "s\ta.wav\tOne\ns\tb.wav\tToo\n")
    places = r"validated\.tsv: line 3: 'b\.wav' .* than in test\.tsv: line 3; keep one"
    with pytest.raises(ValueError, match=places):
        clips(params)


def test_one_recording_has_one_text_whatever_its_ids(tmp_path):
    for name in "ab":
        write_tone(tmp_path / f"{name}.wav")
    table = tmp_path / "table.csv"
    head = "id,path,speaker,split,text\n"
    table.write_text(head + "1,a.wav,s,test,one\n2,b.wav,s,test,two\n3,./a.wav,s,test,three\n")
    places = r"line 4, row 3: .*a\.wav has another text or label in line 2, row 1; keep one"
    with pytest.raises(ValueError, match=places):
        clips(Manifest(name="manifest", path=str(table)))
