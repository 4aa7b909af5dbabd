"""Corpora and their manifest."""

from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from conftest import python

from earshot.corpora import CORPORA, librispeech
from earshot.corpora.synthetic import speech, world
from earshot.corpora.synthetic.espeak import Voice, speak
from earshot.params import LibriSpeech, Manifest, SyntheticSpeech
from earshot.tables.manifest import SCHEMA, Clip, CorpusError, read_manifest
from earshot.tables.manifest import write_manifest as write

RECORDINGS = Path(__file__).parents[2] / "shared/data/LibriSpeech"


def clip(id: str, **changes) -> Clip:
    known = {"path": f"{id}.flac", "seconds": 1.0, "sample_rate": 16_000, "speaker": "s"}
    return Clip(id=id, **known | changes)


def record(path: Path, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(int(16_000 * seconds), 0.1), 16_000)
    return path


# the manifest


def test_manifest_comes_back_as_written(tmp_path):
    clips = [
        clip("a", split="test", text="hello", passage="p", wording="unseen"),
        clip("b", split="pool", text=None, passage="p", device="s1", language="en"),
        clip("c", split="pool", text=None, passage="p", label="park", subset=10),
    ]
    assert write(iter(clips), tmp_path / "m.parquet") == 3
    table = read_manifest(tmp_path / "m.parquet")
    assert list(table.columns) == SCHEMA.names
    assert [Clip(**row) for row in table.to_dict("records")] == clips
    assert table["text"].iloc[1] is None and table["seconds"].dtype == np.float64


def test_manifest_refuses_nothing_and_duplicates(tmp_path):
    with pytest.raises(CorpusError, match="empty"):
        write([], tmp_path / "m.parquet")
    twice = [
        clip("a", split="test", text="x", passage="p", path=path)
        for path in ("one/a.flac", "two/a.flac")
    ]
    with pytest.raises(CorpusError, match="duplicate id 'a': one/a.flac and two/a.flac"):
        write(twice, tmp_path / "m.parquet")
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_no_manifest(tmp_path):
    (tmp_path / "text").write_text("id,path")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other")
    for name in ("text", "other", "absent"):
        with pytest.raises(CorpusError, match=f"{name}: not a"):
            read_manifest(tmp_path / name)


# synthetic speech

SPLITS = ("teacher", "pool", "fewshot", "validation", "test", "pretrain")


@pytest.fixture(scope="module")
def scripts():
    return {
        split: list(speech.script(split, 300, 4 if split == "fewshot" else 1, seed=3))
        for split in SPLITS
    }


def test_speakers_and_passages_are_disjoint(scripts):
    groups = [["teacher", "pool", "pretrain"], ["fewshot"], ["validation"], ["test"]]
    speakers = [{u.speaker for split in group for u in scripts[split]} for group in groups]
    assert sum(map(len, speakers)) == len(set.union(*speakers))
    closings = set(world.PLACES.values())
    told = [{u.text for u in script if u.text not in closings} for script in scripts.values()]
    assert sum(map(len, told)) == len(set.union(*told))
    buckets = [set(span) for span in speech.BUCKETS.values()]
    assert sum(map(len, buckets)) == len(set.union(*buckets))


def test_unseen_wordings_occur_in_test_alone(scripts):
    wordings = {split: Counter(u.wording for u in script) for split, script in scripts.items()}
    assert all(set(count) == {"seen"} for split, count in wordings.items() if split != "test")
    assert 0.3 < wordings["test"]["unseen"] / wordings["test"].total() < 0.5
    unseen = {u.text for u in scripts["test"] if u.wording == "unseen"} - set(world.PLACES.values())
    assert all(t.startswith(("The ", "Do you remember how ", "Near our ")) for t in unseen)


def test_retellings_share_voice_and_passage(scripts):
    passage = [u for u in scripts["fewshot"] if u.passage == "fewshot-00007"]
    assert [u.id for u in passage] == [f"fewshot-00007-{n:02d}" for n in range(5)]
    assert len({u.voice for u in passage}) == 1 and len({u.text for u in passage}) == 5


SMALL = SyntheticSpeech(
    name="synthetic_speech",
    passages={"teacher": 3, "pool": 3, "fewshot": 2, "validation": 2, "test": 3},
    fewshot_retellings=2,
)


def build(folder: Path, seed: int = 1) -> tuple[list[Clip], str]:
    clips = list(CORPORA["synthetic_speech"](SMALL, folder, seed))
    return clips, sha256(b"".join(Path(c.path).read_bytes() for c in clips)).hexdigest()


def test_speech_has_the_same_bytes_on_every_run(tmp_path, monkeypatch):
    built = []
    for workers in ("1", "3", "3"):
        monkeypatch.setenv("EARSHOT_WORKERS", workers)
        built.append(build(tmp_path / "speech"))
    assert built[0] == built[1] == built[2]
    assert build(tmp_path / "speech", seed=2)[1] != built[0][1]


def test_speech_is_what_its_manifest_says(tmp_path):
    clips, _ = build(tmp_path / "speech")
    expected = {"teacher": 6, "pool": 3, "fewshot": 6, "validation": 4, "test": 6}
    assert Counter(c.split for c in clips) == expected
    files = {str(path) for path in (tmp_path / "speech").rglob("*") if path.is_file()}
    assert {c.path for c in clips} == files
    for c in clips:
        info = soundfile.info(c.path)
        assert (info.samplerate, info.subtype, info.channels) == (c.sample_rate, "PCM_16", 1)
        assert info.frames == c.seconds * 16_000 > 8_000
        assert Path(c.path).stem == c.id and c.text and c.id.startswith(c.passage)


def test_an_utterance_is_the_same_in_every_process():
    code = """
from hashlib import sha256
from earshot.corpora.synthetic.espeak import Voice, speak
text = "Julia went to the harbor on a snowy day and painted a guitar."
print(sha256(speak(text, Voice("en-gb-x-gbcwmd+Andrea", 151, 61)).tobytes()).hexdigest())
"""
    hashes = {python("-c", code, PADDING="x" * 1000 * number).stdout for number in range(4)}
    assert len(hashes) == 1 and "" not in hashes


def test_a_breathy_voice_is_the_same_whatever_was_spoken_before():
    voices = [Voice(f"en-us+{name}") for name in ("Reed", "caleb", "f3")]
    first = [speak("Julia painted a guitar.", voice) for voice in voices]
    again = [speak("Julia painted a guitar.", voice) for voice in reversed(voices)]
    assert all(map(np.array_equal, first, reversed(again)))


# LibriSpeech


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "LibriSpeech"
    for chapter in ("dev/1/10", "dev/1/11", "dev/2/20", "dev-clean/3/30", "train/4/40"):
        _, speaker, number = chapter.split("/")
        for utterance in (1, 0):
            record(root / chapter / f"{speaker}-{number}-{utterance:04d}.flac", 0.5 + utterance)
    (root / "dev/1/10/1-10.trans.txt").write_text("1-10-0000 HELLO THERE\n1-10-0009 NOT HERE\n")
    (root / "dev/1/10/notes.txt").write_text("no audio")
    return root


def librispeech_clips(root: Path, splits: dict, seed: int = 1, **more) -> list[Clip]:
    params = LibriSpeech(name="librispeech", root=str(root), splits=splits, **more)
    return list(CORPORA["librispeech"](params, Path("unused"), seed))


def test_librispeech_tree(tree):
    clips = librispeech_clips(
        tree, {"dev": "test", "dev/1/11": "validation", "dev/1": "fewshot", "train": "pool"}
    )
    chapters = {"1-10": "fewshot", "1-11": "validation", "2-20": "test", "4-40": "pool"}
    expected = [(f"{name}-000{n}", split) for name, split in chapters.items() for n in range(2)]
    assert [(c.id, c.split) for c in clips] == expected
    path = str(tree / "dev/1/10/1-10-0000.flac")
    known = ("1-10-0000", path, 0.5, 16_000, "1", "fewshot", "hello there", "1-10")
    assert clips[0] == Clip(*known)
    assert all(c.text is None for c in clips[1:])


def test_librispeech_keeps_unreadable_files(tree):
    (tree / "train/4/40/4-40-0000.flac").write_text("not audio")
    bad, good = librispeech_clips(tree, {"train": "pool"})
    assert (bad.id, bad.seconds, bad.sample_rate) == ("4-40-0000", 0.0, 0) and good.seconds == 1.5


def test_an_utterance_of_two_subsets_is_used_under_the_prefix_that_stands_first(tree, caplog):
    name = "4/40/4-40-0000.flac"
    record(tree / "train-5" / name)
    splits = {"train-5": "fewshot", "train": "pool"}
    clips = {one.id: one for one in librispeech_clips(tree, splits)}
    assert {id: one.split for id, one in clips.items()} == {
        "4-40-0000": "fewshot",
        "4-40-0001": "pool",
    }
    assert "1 utterance(s) lie in several subsets" in caplog.text
    turned = librispeech_clips(tree, dict(reversed(splits.items())))
    assert {one.split for one in turned} == {"pool"} and len(turned) == 2


def test_librispeech_errors(tree):
    with pytest.raises(CorpusError, match=r"no \.flac file under 'test' "):
        librispeech_clips(tree, {"dev": "test", "test": "pool"})
    with pytest.raises(CorpusError, match=r"no \.flac file under 'trai' "):
        librispeech_clips(tree, {"trai": "pool"})
    with pytest.raises(CorpusError, match="absent: no such folder"):
        librispeech_clips(tree / "absent", {"dev": "test"})


def test_auto_deals_whole_speakers_in_shares():
    speakers = {str(n) for n in range(200)}
    shares = {"teacher": 2.0, "pool": 1.0, "test": 1.0}
    dealt = librispeech.deal(speakers, shares, seed=1)
    assert Counter(dealt.values()) == {"teacher": 100, "pool": 50, "test": 50}
    assert dealt == librispeech.deal(
        set(sorted(speakers, reverse=True)), dict(reversed(shares.items())), seed=1
    )
    assert dealt != librispeech.deal(speakers, shares, seed=2)


def test_auto_in_a_tree(tree):
    clips = librispeech_clips(
        tree, {".": "auto", "train": "pool"}, auto={"test": 1.0, "teacher": 2.0}
    )
    of_speaker = {speaker: {c.split for c in clips if c.speaker == speaker} for speaker in "1234"}
    assert all(len(splits) == 1 for splits in of_speaker.values()) and of_speaker["4"] == {"pool"}
    assert Counter(next(iter(of_speaker[s])) for s in "123") == {"teacher": 2, "test": 1}


def test_librispeech_recordings(tmp_path):
    if not RECORDINGS.is_dir():
        pytest.skip("no recordings in ../shared/data/LibriSpeech")
    clips = librispeech_clips(
        RECORDINGS, {"train-clean-100": "pool", "dev-clean": "test", "test-other": "validation"}
    )
    assert Counter(c.split for c in clips) == {"pool": 251, "test": 29, "validation": 50}
    first = next(c for c in clips if c.id == "84-121123-0000")
    assert (first.speaker, first.passage, first.sample_rate) == ("84", "84-121123", 16_000)
    assert first.text.islower() and all((c.text is None) == (c.split == "pool") for c in clips)
    assert write(clips, tmp_path / "m.parquet") == 330


# the user's own table

COLUMNS = "path,speaker,split,text,label"


def table_clips(path: Path) -> list[Clip]:
    params = Manifest(name="manifest", path=str(path))
    return list(CORPORA["manifest"](params, Path("unused"), 1))


def own_clips(folder: Path, *lines: str, columns: str = COLUMNS) -> list[Clip]:
    (folder / "mine.csv").write_text("\n".join([columns, *lines]) + "\n", encoding="utf-8-sig")
    return table_clips(folder / "mine.csv")


def test_own_csv(tmp_path):
    record(tmp_path / "audio/one.wav")
    elsewhere = record(tmp_path / "elsewhere/two.flac")
    one, two, three = own_clips(
        tmp_path,
        'audio/one.wav,ann,test,"Yes, please",',
        f"{elsewhere},bob,teacher,,park",
        "audio/gone.wav,bob,pool,,",
    )
    assert one == Clip(
        "one", str(tmp_path / "audio/one.wav"), 0.5, 16_000, "ann", "test", "Yes, please", "ann"
    )
    assert (two.path, two.label, two.text, two.passage) == (str(elsewhere), "park", None, "bob")
    assert (three.seconds, three.sample_rate, three.text, three.label) == (0.0, 0, None, None)


def test_own_parquet_with_every_column(tmp_path):
    record(tmp_path / "x.wav")
    row = {"path": "x.wav", "speaker": 7, "split": "test", "text": "hi", "id": 12, "passage": "p"}
    row |= {"language": "en", "device": "a", "location": "hall"}
    pd.DataFrame([row]).to_parquet(tmp_path / "mine.parquet")
    (c,) = table_clips(tmp_path / "mine.parquet")
    found = (c.id, c.speaker, c.passage, c.language, c.device, c.location)
    assert found == ("12", "7", "p", "en", "a", "hall")


def test_own_labelled_training_clips(tmp_path):
    columns = "path,speaker,split,label,device,location,subset"
    lines = (
        "a.wav,ann,pool,park,a,oslo-1,10",
        "b.wav,ann,pool,bus,a,oslo-1,",
        "c.wav,bob,test,bus,s4,oslo-2,",
    )
    one, two, three = own_clips(tmp_path, *lines, columns=columns)
    assert (one.label, one.device, one.location, one.subset) == ("park", "a", "oslo-1", 10)
    assert (two.split, two.label, two.subset, three.subset) == ("pool", "bus", None, None)
    # 10 beside blanks is 10.0 there
    pd.read_csv(tmp_path / "mine.csv").to_parquet(tmp_path / "mine.parquet")
    assert table_clips(tmp_path / "mine.parquet") == [one, two, three]
    with pytest.raises(CorpusError, match="row 1: subset '15' is not one of 5, 10, 25, 50, 100"):
        own_clips(tmp_path, "a.wav,ann,pool,park,a,oslo-1,15", columns=columns)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.wav,ann,dev,hi,", "row 1: split 'dev' is not one of teacher, pool, fewshot, valid"),
        ("a.wav,ann,test,hi,park", "row 1: both text and label"),
        ("a.wav,ann,test, ,", "row 1: neither text nor label"),
        ("a.wav,,test,hi,", "row 1: speaker is blank"),
        (",ann,test,hi,", "row 1: path is blank"),
        ("a.wav", "row 1: speaker is blank"),
        ("a.wav,ann,test,hi,\nb/a.wav,ann,test,ho,", "line 3, row 2: 'a' stands there twice"),
    ],
)
def test_own_table_errors(tmp_path, line, message):
    with pytest.raises(CorpusError) as error:
        own_clips(tmp_path, line)
    found = str(error.value)
    assert message in found and "mine.csv" in found and "\n" not in found


def test_own_table_needs_its_columns(tmp_path):
    with pytest.raises(CorpusError, match="missing column speaker, split"):
        own_clips(tmp_path, "a.wav,hi", columns="path,text")
    with pytest.raises(CorpusError, match="missing column text or label"):
        own_clips(tmp_path, "a.wav,ann,test", columns="path,speaker,split")
    with pytest.raises(CorpusError, match="not a readable CSV or Parquet"):
        table_clips(tmp_path / "absent.csv")
