"""Recordings in the shapes of other tools: read as their documentation shows them, roles dealt, and
what is wrong named by file and line.
"""

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from earshot.corpora import recordings
from earshot.corpora.shapes import SHAPES
from earshot.params import OwnRecordings
from earshot.tables.manifest import CorpusError, read_dealt

RATE = 8000


def record(path: Path, seconds: float = 0.2, start: float = 0.0) -> None:
    """Write a ramp, in which every sample says where it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, start + np.arange(int(RATE * seconds)) / RATE / 10, RATE)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def jsonl(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def audiofolder(root: Path) -> None:
    """As https://huggingface.co/docs/datasets/audio_dataset shows it."""
    for name in ("train/0001.mp3.wav", "train/0002.wav", "test/0001.wav"):
        record(root / name)
    write(
        root / "train/metadata.csv", "file_name,transcription\n0001.mp3.wav,One two\n0002.wav,x\n"
    )
    write(root / "test/metadata.jsonl", jsonl({"file_name": "0001.wav", "transcription": "three"}))


def folders(root: Path) -> None:
    """As Speech Commands."""
    for name in ("yes/a_nohash_0", "yes/b_nohash_0", "no/a_nohash_0", "_background_noise_/hum"):
        record(root / f"{name}.wav")
    write(root / "validation_list.txt", "yes/b_nohash_0.wav\n")
    write(root / "testing_list.txt", "no/a_nohash_0.wav\n")


def kaldi(root: Path) -> None:
    """As https://kaldi-asr.org/doc/data_prep.html shows it."""
    record(root / "train/sw02001.wav", 3.0)
    write(root / "train/wav.scp", "sw02001-A sw02001.wav\n")
    write(root / "train/segments", "sw02001-A_1 sw02001-A 0.50 1.25\nsw02001-A_2 sw02001-A 2 -1\n")
    write(root / "train/text", "sw02001-A_1 HI UM YEAH\nsw02001-A_2 OKAY\n")
    write(root / "train/utt2spk", "sw02001-A_1 2001-A\nsw02001-A_2 2001-A\n")


def nemo(root: Path) -> None:
    """As NVIDIA's page on speech recognition's data shows it."""
    record(root / "audio/a.wav", 2.0)
    one = {"audio_filepath": "audio/a.wav", "duration": 0.5, "offset": 0.25, "text": "the cat"}
    write(root / "train_manifest.json", jsonl(one, one | {"offset": 1.0, "text": "a dog"}))
    two = {"audio_filepath": "audio/a.wav", "duration": 2.0, "command": "stop"}
    write(root / "dev_manifest.json", jsonl(two))


def lhotse(root: Path) -> None:
    """A MonoCut, as `CutSet.to_file` writes it."""
    record(root / "rec-1.wav", 2.0)
    sources = [{"type": "file", "channels": [0], "source": "rec-1.wav"}]
    cut = {
        "id": "cut-1",
        "start": 0.5,
        "duration": 1.0,
        "channel": 0,
        "supervisions": [
            {
                **{"id": "s", "recording_id": "rec-1", "start": 0.0, "duration": 1.0},
                **{"channel": 0, "text": "well well", "language": "English", "speaker": "ann"},
            }
        ],
        "recording": {"id": "rec-1", "sources": sources, "sampling_rate": RATE},
        "type": "MonoCut",
    }
    with gzip.open(root / "cuts_train.jsonl.gz", "wt") as file:
        file.write(jsonl(cut))


def ljspeech(root: Path) -> None:
    """As its README says: ID, transcription, and that with numbers and abbreviations in words."""
    record(root / "wavs/LJ001-0001.wav")
    record(root / "wavs/LJ001-0002.wav")
    text = 'LJ001-0001|In 1455, he "ran"|In fourteen fifty-five, he "ran"\nLJ001-0002|so\n'
    write(root / "metadata.csv", text)


def table(root: Path) -> None:
    """As ESC-50's, with recordings beside the table's folder."""
    for name in ("1-100032-A-0.wav", "1-100038-A-14.wav"):
        record(root / "audio" / name)
    header = "filename,fold,target,category,esc10,src_file,take\n"
    lines = "1-100032-A-0.wav,1,0,dog,True,100032,A\n1-100038-A-14.wav,1,14,bird,False,100038,A\n"
    write(root / "meta/esc50.csv", header + lines)


READ = {  # (path, text, label, speaker, group, language, split, begin, seconds) by recording
    audiofolder: [
        ("train/0001.mp3.wav", "One two", None, None, None, None, "train", 0, None),
        ("train/0002.wav", "x", None, None, None, None, "train", 0, None),
        ("test/0001.wav", "three", None, None, None, None, "test", 0, None),
    ],
    folders: [
        ("no/a_nohash_0.wav", None, "no", "a", None, None, "test", 0, None),
        ("yes/a_nohash_0.wav", None, "yes", "a", None, None, "train", 0, None),
        ("yes/b_nohash_0.wav", None, "yes", "b", None, None, "validation", 0, None),
    ],
    kaldi: [
        ("train/sw02001.wav", "HI UM YEAH", None, "2001-A", "sw02001-A", None, "train", 0.5, 0.75),
        ("train/sw02001.wav", "OKAY", None, "2001-A", "sw02001-A", None, "train", 2, None),
    ],
    nemo: [
        ("audio/a.wav", None, "stop", None, None, None, "validation", 0, 2),
        ("audio/a.wav", "the cat", None, None, None, None, "train", 0.25, 0.5),
        ("audio/a.wav", "a dog", None, None, None, None, "train", 1, 0.5),
    ],
    lhotse: [("rec-1.wav", "well well", None, "ann", "rec-1", "English", "train", 0.5, 1)],
    ljspeech: [
        (
            *("wavs/LJ001-0001.wav", 'In fourteen fifty-five, he "ran"'),
            *(None, None, None, None, None, 0, None),
        ),
        ("wavs/LJ001-0002.wav", "so", None, None, None, None, None, 0, None),
    ],
    table: [
        ("audio/1-100032-A-0.wav", None, "dog", None, "100032", None, None, 0, None),
        ("audio/1-100038-A-14.wav", None, "bird", None, "100038", None, None, 0, None),
    ],
}


@pytest.mark.parametrize("shape", READ, ids=lambda made: made.__name__)
def test_a_shape_is_read_as_its_documentation_shows_it(tmp_path, shape):
    shape(tmp_path)
    reader = SHAPES[shape.__name__]
    found = [
        (
            *(row.path.resolve().relative_to(tmp_path.resolve()).as_posix(), row.text, row.label),
            *(row.speaker, row.group, row.language, row.split, row.begin, row.seconds),
        )
        for row in reader.read(tmp_path)
    ]
    assert found == READ[shape]
    assert all(path.exists() for path in reader.files(tmp_path))


BAD = [
    (audiofolder, "train/metadata.csv", "file_name\n0001.wav\n", "neither label nor text"),
    (
        audiofolder,
        "train/metadata.csv",
        "file_name,text\nx.wav,a\n",
        "csv: line 2: .*x.wav: no such",
    ),
    (audiofolder, "test/metadata.jsonl", "{}\n[1]\n", "jsonl: line 2: list, not an object"),
    (table, "meta/esc50.csv", "category\ndog\n", "no column of recordings .*its columns: category"),
    (table, "meta/esc50.csv", "path,label\na,b,c\n", "line 2: 3 fields, where the header has 2"),
    (table, "meta/esc50.csv", "path,label\n,b\n", "line 2: path is blank"),
    (
        *(table, "meta/esc50.csv", "path,label,split\n1-100032-A-0.wav,b,later\n"),
        "line 2: split 'later' is not one of train, validation, test, teacher, pool, fewshot",
    ),
    (table, "meta/esc50.csv", "path;label\na;b\n", "separated by ';'; write commas instead"),
    (ljspeech, "metadata.csv", "LJ001-0001\n", "csv: line 1: no . in it; ID.text wanted"),
    (ljspeech, "metadata.csv", "LJ1|a\n", "csv: line 1: .*wavs/LJ1.wav: no such file"),
    (table, "other.csv", "path,label\n", "2 tables .meta/esc50.csv, other.csv.; name one"),
    (
        kaldi,
        "train/wav.scp",
        "sw02001-A sph2pipe x.sph |\n",
        "wav.scp: line 1: a pipe, which is no",
    ),
    (kaldi, "train/wav.scp", "sw02001-A raw.ark:17\n", "line 1: a place in an archive"),
    (
        kaldi,
        "train/wav.scp",
        "other sw02001.wav\n",
        "segments: line 1: recording 'sw02001-A' is no",
    ),
    (kaldi, "train/segments", "a sw02001-A 2.0\n", "line 1: 3 fields; UTTERANCE RECORDING BEGIN"),
    (kaldi, "train/segments", "a sw02001-A 2.0 1.0\n", "line 1: ends at 1.0 s, before it begins"),
    (kaldi, "train/text", "a x\nb y\na z\n", "text: line 3: 'a' stands there twice"),
    (nemo, "dev_manifest.json", "\n{'a': 1}\n", "json: line 2: no JSON"),
    (nemo, "dev_manifest.json", jsonl({"text": "a"}), "line 1: no audio_filepath"),
    (
        *(nemo, "dev_manifest.json", jsonl({"audio_filepath": "audio/a.wav", "offset": "later"})),
        "line 1: offset='later' is no number of seconds",
    ),
    (
        lhotse,
        "a_cuts.jsonl",
        jsonl({"type": "MixedCut", "tracks": []}),
        "line 1: a MixedCut without",
    ),
    (
        *(lhotse, "a_cuts.jsonl", jsonl({"id": "c", "recording": {}, "supervisions": []})),
        "line 1: 0 supervisions in cut 'c'; one is wanted: cuts.trim_to_supervisions",
    ),
    (
        *(lhotse, "a_cuts.jsonl"),
        jsonl({"supervisions": [{}], "recording": {"sources": [{"type": "command"}]}}),
        "line 1: a recording of type 'command'",
    ),
]


@pytest.mark.parametrize(("shape", "file", "text", "told"), BAD)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path, shape, file, text, told):
    shape(tmp_path)
    write(tmp_path / file, text)
    with pytest.raises(CorpusError, match=told) as error:
        list(SHAPES[shape.__name__].read(tmp_path))
    assert "\n" not in str(error.value)


def test_paths_may_be_as_seen_from_where_their_tool_ran(tmp_path):
    nemo(tmp_path)
    manifest = tmp_path / "data/manifests/train_manifest.json"
    write(manifest, (tmp_path / "train_manifest.json").read_text())
    found = [row.path.resolve() for row in SHAPES["nemo"].read(manifest)]
    assert found == [(tmp_path / "audio/a.wav").resolve()] * 2
    write(manifest, jsonl({"audio_filepath": "a.wav", "text": "any other a.wav will not do"}))
    record(tmp_path / "data/a.wav")
    with pytest.raises(CorpusError, match="manifests/a.wav: no such file"):
        list(SHAPES["nemo"].read(manifest))


def test_recordings_of_the_library_datasets_in_parquet(tmp_path):
    record(tmp_path / "a.wav")
    audio = {"path": "a.wav", "bytes": None}
    pd.DataFrame({"audio": [audio], "sentence": ["x"]}).to_parquet(tmp_path / "own.parquet")
    (row,) = SHAPES["table"].read(tmp_path)
    assert row.path.resolve() == (tmp_path / "a.wav").resolve()
    within = audio | {"bytes": b"RIFF"}
    pd.DataFrame({"audio": [within], "sentence": ["x"]}).to_parquet(tmp_path / "own.parquet")
    with pytest.raises(CorpusError, match="row 1: audio holds the sound itself"):
        list(SHAPES["table"].read(tmp_path))


def built(root: Path, shape: str, **changes) -> pd.DataFrame:
    params = OwnRecordings(name="recordings", root=str(root), shape=shape, **changes)
    clips = list(recordings.build(params, root.parent / "made", 5))
    return pd.DataFrame([vars(clip) for clip in clips]).set_index("id")


def test_parts_are_cut_out_of_recordings(tmp_path):
    kaldi(tmp_path / "data")
    for number in range(2, 5):
        record(tmp_path / f"data/train/{number}.wav", 3.0)
    more = "".join(f"{number} {number}.wav\n" for number in range(2, 5))
    scp = tmp_path / "data/train/wav.scp"
    write(scp, scp.read_text() + more)
    segments = "".join(f"{number}-x {number} 0.5 1\n" for number in range(2, 5))
    at = tmp_path / "data/train/segments"
    write(at, at.read_text() + segments)
    texts = "".join(f"{number}-x word {number}\n" for number in range(2, 5))
    at = tmp_path / "data/train/text"
    write(at, at.read_text() + texts)
    table = built(tmp_path / "data", "kaldi", fewshot=0.9)
    assert list(table.index) == ["sw02001-A_1", "sw02001-A_2", "2-x", "3-x", "4-x"]
    samples, rate = soundfile.read(table["path"]["sw02001-A_1"])
    assert rate == RATE and len(samples) == 6000  # from 0.5 s on, 0.75 s
    assert samples[0] == pytest.approx(0.05, abs=1e-4)
    assert table["seconds"].tolist() == [0.75, 1.0, 0.5, 0.5, 0.5]
    assert table["split"]["sw02001-A_1"] == table["split"]["sw02001-A_2"]  # of one recording
    assert {"test", "validation", "fewshot"} <= set(table["split"])
    assert sum(read_dealt(tmp_path / "made")["dealt"].values()) == 5


def many(root: Path, speakers: int = 10, each: int = 3, split: str | None = None) -> None:
    """A table of transcripts: each speaker's own sentences but for one, which another says too."""
    rows = []
    for speaker in range(speakers):
        for number in range(each):
            record(root / f"{speaker}/{number}.wav")
            said = f"sentence {speaker} of number {number}"
            rows.append({"path": f"{speaker}/{number}.wav", "sentence": said, "client_id": speaker})
    rows[0]["sentence"] = rows[-1]["sentence"]
    table = pd.DataFrame(rows)
    if split:
        table["split"] = ["train"] * (len(rows) - each) + [split] * each
    table.to_csv(root / "clips.csv", index=False)


def test_roles_are_dealt_in_groups_and_so_again(tmp_path):
    many(tmp_path / "own")
    table = built(tmp_path / "own", "table", test=0.2, validation=0.1, fewshot=0.2)
    assert "0/1.wav" in table.index  # a relative path
    assert table.groupby("speaker")["split"].nunique().max() == 1
    assert table["split"]["0/0.wav"] == table["split"]["9/2.wav"]  # the same sentence
    groups = table.groupby("speaker")["split"].first()
    # nine groups, of which two speakers are one: 2 of them test, 1 validation, 1 labelled
    assert {"test", "validation", "fewshot", "pool"} == set(groups)
    pd.testing.assert_frame_equal(table, built(tmp_path / "own", "table", test=0.2, fewshot=0.2))
    told = read_dealt(tmp_path / "made")
    assert told == {"given": {"none": 30}, "dealt": dict(Counter(table["split"]))}


def test_splits_that_are_given_stay_and_their_groups_are_apart(tmp_path):
    many(tmp_path / "own", split="test")
    table = built(tmp_path / "own", "table", fewshot=0.2, teacher=0.3)
    test = table[table["split"] == "test"]
    assert set(test["speaker"]) == {"9"}
    assert not set(table["speaker"]) & {"0"}  # says a sentence of the test
    assert set(table["split"]) == {"test", "validation", "fewshot", "teacher", "pool"}
    assert read_dealt(tmp_path / "made")["dealt"]["left_out"] == 3


def test_classes_are_all_in_every_role_and_may_share_names(tmp_path):
    for label in ("dog", "cat"):
        for number in range(8):
            record(tmp_path / f"own/{label}/{number:03}.wav")
    table = built(tmp_path / "own", "folders")
    assert len(table) == 16 and {"dog/001.wav", "cat/001.wav"} <= set(table.index)
    counts = table.groupby(["label", "split"]).size()
    assert (
        counts["dog"].to_dict()
        == counts["cat"].to_dict()
        == {"pool": 5, "test": 2, "validation": 1}
    )


@pytest.mark.parametrize(
    ("make", "changes", "told"),
    [
        (lambda root: many(root, speakers=2), {}, "has 1 group.s. of recordings, and at least 3"),
        (lambda root: many(root, speakers=1, split="test"), {}, "nothing is left for validation"),
        (lambda root: root.mkdir(), {"shape": "nemo"}, "no recordings in the shape of nemo"),
        (lambda root: None, {}, "own: no such file or folder"),
    ],
)
def test_a_corpus_that_cannot_be_dealt_is_refused(tmp_path, make, changes, told):
    make(tmp_path / "own")
    with pytest.raises(CorpusError, match=told):
        built(tmp_path / "own", **{"shape": "table"} | changes)


def test_one_reader_of_all_counts_clip_by_clip(tmp_path):
    many(tmp_path / "own", speakers=1, each=12)
    table = built(tmp_path / "own", "table", speakers="clip")
    assert len(set(table["speaker"])) == 12 and set(table["split"]) > {"test", "validation"}
