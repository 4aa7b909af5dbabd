"""The embedded corpus of a recogniser: open text, unseen words and voices, the same bytes."""

import hashlib
from pathlib import Path

import pytest

from earshot.corpora import CORPORA, open_speech
from earshot.corpora.synthetic import speech, world
from earshot.params import OpenSpeech
from earshot.text.alphabet import normalised

SIZES = {"fewshot": 40, "pool": 200, "validation": 40, "test": 120}


@pytest.fixture(scope="module")
def lines() -> dict[str, list[open_speech.Line]]:
    return {name: list(open_speech.script(name, size, 0.5, 7)) for name, size in SIZES.items()}


def words(said) -> set[str]:
    return {word for line in said for word in normalised(line.text).split()}


def test_unseen_words_are_said_in_the_test_alone(lines):
    unseen = set(open_speech.UNSEEN_WORDS)
    known = words(speech.script("pretrain", 2_000, 1, 7))
    for name, said in lines.items():
        assert bool(words(said) & unseen) == (name == "test")
    assert not unseen & (known | set(world.EVERYDAY))
    marked = [line for line in lines["test"] if words([line]) & unseen]
    assert marked and all(line.wording == "unseen" for line in marked)
    assert {line.wording for line in lines["pool"]} == {"seen"}


def test_voices_of_validation_and_test_are_their_own(lines):
    voices = {
        name: {line.voice.name.split("+")[1] for line in said} for name, said in lines.items()
    }
    assert voices["fewshot"] <= set(speech.VARIANTS["pool"])
    for name in ("validation", "test"):
        others = set().union(*(voices[other] for other in voices if other != name))
        assert not voices[name] & others


def test_no_sentence_of_the_test_is_said_elsewhere(lines):
    said = {name: {normalised(line.text) for line in some} for name, some in lines.items()}
    assert not said["test"] & (said["fewshot"] | said["pool"] | said["validation"])
    assert len(said["pool"]) > 0.95 * SIZES["pool"]


def test_clips_are_the_same_bytes_and_the_pool_has_no_text(tmp_path: Path):
    params = OpenSpeech(name="open_speech", clips={"fewshot": 2, "pool": 2}, salad_share=0.5)
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        clips = list(CORPORA["open_speech"](params, folder, 3))
        digests = [hashlib.sha256(Path(clip.path).read_bytes()).hexdigest() for clip in clips]
        made.append(digests)
        assert [clip.text is None for clip in clips] == [False, False, True, True]
        assert all(1 < clip.seconds < 10 for clip in clips)
    assert made[0] == made[1] and len(set(made[0])) == 4
