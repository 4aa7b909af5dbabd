"""A teacher that writes token by token: as transformers does, alone or beside others, and what of
it nobody should learn.
"""

import logging

import numpy as np
import pytest
import torch
from learning import clips, noise, teacher_params, tiny_checkpoint
from transcribed import SYMBOLS, spoken
from transformers import WhisperFeatureExtractor, WhisperTokenizer
from written import (
    BANDS,
    DE,
    EN,
    END,
    LONGEST,
    ONE,
    PLAIN,
    SPACE,
    START,
    TRANSCRIBE,
    WINDOW,
    configured,
    writer,
)

from earshot.distillation.objective import check_known
from earshot.evaluation import costs
from earshot.features.recordings import Recordings
from earshot.params import CTC, Cache, Evaluate, Frames, LayerPairs, Pair, Pseudo, Terms
from earshot.tables import signals
from earshot.tasks.transcript import Transcript
from earshot.teacher import ask, cache, hub, kinds, saved, transcripts
from earshot.teacher.wav2vec2 import CheckpointError
from earshot.teacher.whisper import Hypothesis, Whisper
from earshot.text import alphabet

TASK = Transcript(None, SYMBOLS)
RANDOM = [4, 10, 13]  # networks that write something else of each clip, with and without an end
HEARD = [noise(1, 0.4), noise(2, 1.2), np.zeros(8000, np.float32), noise(5, 1.9), noise(3, 1.0)]


def as_it_is(folder, **changes):
    return teacher_params(str(folder), **{"text": None, "epochs": 0, "language": "en"} | changes)


def built(folder, seed: int = 10, **changes) -> Whisper:
    writer(folder, seed=seed)
    return kinds.build(as_it_is(folder, **changes), TASK).eval()


@pytest.mark.parametrize("seed", RANDOM)
def test_a_clips_text_is_what_transformers_writes_and_thinks_of_it(tmp_path, seed):
    network = writer(tmp_path, seed=seed)
    network.generation_config.suppress_tokens += [ONE]
    teacher = kinds.build(as_it_is(tmp_path), TASK).eval()
    features = WhisperFeatureExtractor.from_pretrained(tmp_path)
    words = WhisperTokenizer.from_pretrained(tmp_path)
    assert isinstance(teacher, Whisper)
    for samples in HEARD:
        mel = features(samples, sampling_rate=16_000, return_tensors="pt").input_features
        ids = network.generate(mel, language="en", task="transcribe", return_timestamps=False)
        (said,) = teacher.transcribe([samples])
        assert said.text == words.decode(ids[0], skip_special_tokens=True).strip()
        prompt = torch.tensor([[START, EN, TRANSCRIBE, PLAIN]])
        assert said.ended == (len(ids[0]) < LONGEST - len(prompt[0]))  # transformers drops the end
        ids = torch.cat([ids, torch.tensor([[END]])], 1) if said.ended else ids
        with torch.no_grad():
            logits = network(mel, decoder_input_ids=torch.cat([prompt, ids], 1)).logits[0, 3:-1]
        logits[:, [ONE, *range(START, PLAIN + 1)]] = -torch.inf  # never written
        logits[0, [SPACE, END]] = -torch.inf  # nor at the beginning
        chosen = logits.log_softmax(-1).gather(1, ids[0, :, None])
        assert said.confidence == pytest.approx(chosen.mean().item(), abs=1e-5)
        with torch.no_grad():
            first = network(mel, decoder_input_ids=torch.tensor([[START]])).logits[0, 0]
        shares = first[[EN, DE]].softmax(-1).tolist()
        assert said.languages == pytest.approx(dict(zip(("en", "de"), shares, strict=True)))


def test_digits_are_written_where_the_alphabet_has_them_alone(tmp_path):
    network = writer(tmp_path)
    network.proj_out.weight.data[ONE] *= 3  # louder than the others
    network.save_pretrained(tmp_path)
    with_digits = Transcript(None, alphabet.alphabet("ab1"))
    for task, kept in ((with_digits, True), (TASK, False)):
        teacher = kinds.build(as_it_is(tmp_path), task).eval()
        assert any("1" in said.text for said in teacher.transcribe(HEARD)) == kept


@pytest.mark.parametrize("seed", RANDOM)
def test_beside_others_a_clip_is_written_as_alone(tmp_path, seed):
    teacher = built(tmp_path, seed)
    together = teacher.transcribe(HEARD)
    assert len({said.text for said in together}) > 1
    for said, samples in zip(together, HEARD, strict=True):
        (alone,) = teacher.transcribe([samples])
        assert (said.text, said.ended) == (alone.text, alone.ended)
        assert said.confidence == pytest.approx(alone.confidence, abs=1e-5)


def test_a_clip_longer_than_a_window_is_cut_where_it_is_quiet(tmp_path):
    teacher = built(tmp_path)
    parts = noise(1, 1.5), np.zeros(4000, np.float32), noise(2, 1.6)
    (whole,) = teacher.transcribe([np.concatenate(parts)])
    half = np.zeros(160, np.float32)  # 10 ms: the middle of the first quiet 20
    begin = np.concatenate([parts[0], half])
    end = np.concatenate([parts[1][160:], parts[2]])
    first, last = teacher.transcribe([begin, end])
    assert whole.text == f"{first.text} {last.text}" and whole.ended
    assert min(first.confidence, last.confidence) < whole.confidence
    assert whole.confidence < max(first.confidence, last.confidence)


@pytest.mark.parametrize(
    ("said", "seconds", "told"),
    [
        (Hypothesis("Ab, ba.", -0.1, True), 1.0, None),
        (Hypothesis(" ... ", -0.1, True), 1.0, "has no words"),
        (Hypothesis("ab 1 ba", -0.1, True), 1.0, "has characters that the alphabet lacks"),
        (Hypothesis("b a ab a ab a ab a ab", -0.1, True), 9.0, "repeats itself"),
        (Hypothesis("a a a b b b a a a", -0.1, True), 9.0, None),
        (Hypothesis("ab ba", -0.1, False), 9.0, "comes to no end"),
        (Hypothesis("ab ba a b ab", -0.1, True), 0.5, "has more words than its seconds can hold"),
        (Hypothesis("ab ba a b ab", -0.1, True), 0.6, None),
        (Hypothesis("ab", -0.1, True, {"de": 0.85, "en": 0.15}), 1.0, "is of another language"),
        (Hypothesis("ab", -0.1, True, {"de": 0.75, "en": 0.25}), 1.0, None),  # nobody can tell
        (Hypothesis("ab", -0.1, True, {"de": 0.05, "en": 0.95}), 1.0, None),
    ],
)
def test_what_nobody_should_learn_from(said, seconds, told):
    assert transcripts.fault(said, seconds, SYMBOLS, "en-GB") == told


class Parrot(torch.nn.Module):
    """A teacher that writes what it was told to, clip by clip."""

    def __init__(self, texts):
        super().__init__()
        self.texts, self.language = iter(texts), None

    def transcribe(self, clips):
        return [Hypothesis(next(self.texts), -0.25, True) for _ in clips]


def test_transcripts_are_kept_and_those_set_aside_are_counted(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("EARSHOT_WORKERS", "1")
    texts = ["Abb, a!", "b 1", "ab ab ab ab", "a" * 9]
    asked = [spoken("pool", number) for number in range(4)]
    recordings = Recordings(clips(tmp_path, {item.id: 1.0 for item in asked}))
    groups = [(item.utterances, 0, [item]) for item in asked]
    with caplog.at_level(logging.WARNING):
        rows = list(transcripts.signals(Parrot(texts), TASK, recordings, Cache(), groups))
    kept = [of_clip["symbols"][0][2] for of_clip in rows]
    assert [one[:, 0].tolist() for one in kept] == [[2, 3, 3, 1, 2], [0], [0], [2] * 9]
    assert all(of_clip["confidence"][0][2] == np.float32(-0.25) for of_clip in rows)
    assert caplog.messages == [
        "clip pool-1: its transcript has characters that the alphabet lacks: 'b 1'",
        "clip pool-2: its transcript repeats itself: 'ab ab ab ab'",
        "2 of 4 transcripts are set aside: 1 × has characters that the alphabet lacks, "
        "1 × repeats itself",
    ]
    # scored with all its faults
    answers = transcripts.answers(Parrot(texts), TASK, recordings, asked)
    read = [alphabet.decode(answers[item.id].tolist(), SYMBOLS) for item in asked]
    assert read == ["abb a", "b", "ab ab ab ab", "a" * 9]


def test_no_more_than_a_chunk_of_clips_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(transcripts, "CHUNK", 2)
    asked = [spoken("pool", number) for number in range(6)]
    table = clips(tmp_path, {item.id: 0.2 for item in asked})
    read = []

    class Listening(Recordings):
        def __getitem__(self, key):
            read.append(key)
            return super().__getitem__(key)

    groups = [(item.utterances, 0, [item]) for item in asked]
    listening = Listening(table)
    written = transcripts.transcribed(Parrot("abcdef"), listening, groups)
    assert [len(read) for _ in written] == [2, 2, 4, 4, 6, 6]


def test_its_cache_holds_transcripts_alone_and_says_so(tmp_path):
    params = as_it_is(tmp_path / "checkpoint")
    writer(tmp_path / "checkpoint")
    asked = [spoken("pool", number) for number in range(5)]
    recordings = Recordings(clips(tmp_path / "clips", {item.id: 1.0 for item in asked}))
    folder = tmp_path / "teacher"
    saved.save(kinds.build(params, TASK), TASK, params, folder)
    settings, identity = Cache(part=2), signals.identity(folder)
    asker = ask.Asker(params, "transcript", folder, recordings, settings)
    cache.write(tmp_path / "cache", asker, identity, asked, recordings.views, settings)
    assert signals.kept(tmp_path / "cache") == {"symbols", "confidence"}
    known = (tmp_path / "cache", asked, identity, settings.model_dump(), recordings.views)
    assert signals.Signals(*known)["symbols", "pool-0", 0].dtype == np.int16
    configured(tmp_path / "checkpoint", "generation_config", max_length=7)
    with pytest.raises(CheckpointError, match="not the checkpoint"):
        saved.load(params, "transcript", folder)


TERMS = {
    "frames": Frames(weight=1.0, select="all"),
    "hidden": LayerPairs(weight=1.0, pairs=[Pair(teacher=0, student=1)]),
}


@pytest.mark.parametrize("term", TERMS)
def test_terms_that_it_cannot_teach_are_refused_by_key(term):
    known = {"big": {"symbols", "confidence"}}
    check_known("talk-kd", Terms(ctc=CTC(weight=0.5), pseudo=Pseudo(weight=1.0)), known)
    told = rf"^recipes\.talk-kd\.terms\.{term} learns from \w+, which teachers\.big did not give"
    with pytest.raises(ValueError, match=f"{told}; what it gave teaches pseudo$"):
        check_known("talk-kd", Terms(**{term: TERMS[term]}), known)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"auxiliary": True},
            "only transcribes with teacher.epochs=0: teacher.auxiliary=True must be False",
        ),
        ({"control": True}, "teacher.control=True must be False"),
        ({"language": "xx"}, "teacher.language='xx' must be one of de, en, or null"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path, changes, told):
    with pytest.raises(CheckpointError, match=told):
        built(tmp_path, **changes)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda at: (at / "tokenizer.json").unlink(), "no tokenizer.json in it"),
        (lambda at: (at / "generation_config.json").unlink(), "no generation_config.json in it"),
        (lambda at: (at / "model.safetensors").rename(at / "model.bin"), "are not read"),
        (lambda at: (at / "model.safetensors").write_bytes(b"no"), "model.safetensors is damaged"),
        (lambda at: configured(at, "preprocessor_config", feature_size=9), "network takes 8"),
        (lambda at: configured(at, decoder_layers=2), "does not describe it: [0-9]+ missing"),
        (lambda at: configured(at, vocab_size=5), "mismatched|size mismatch|shape"),
    ],
)
def test_a_checkpoint_that_cannot_serve_is_named(tmp_path, spoil, told):
    writer(tmp_path)
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=f"^teacher.checkpoint=.*{told}"):
        kinds.build(as_it_is(tmp_path), TASK)


def test_one_language_is_told_none_and_many_are_told_apart(tmp_path):
    writer(tmp_path / "one", many=False)
    assert kinds.build(as_it_is(tmp_path / "one"), TASK).prompt == {}
    for folder in ("one", "many"):
        writer(tmp_path / folder, many=folder == "many")
        teacher = kinds.build(as_it_is(tmp_path / folder, language=None), TASK).eval()
        assert len(teacher.transcribe(HEARD[:2])) == 2
    tiny_checkpoint(tmp_path / "encoder")
    assert hub.family(tmp_path / "encoder") == "wav2vec2"


def test_its_costs_are_of_a_window_and_the_tokens_of_speech(tmp_path):
    teacher = built(tmp_path, seed=8)
    settings = Evaluate(recipes=["any"], reference_seconds=1.0, latency_clips=1)
    bill = costs.teacher_costs("teacher", teacher, TASK, spoken("test", 0), settings)
    weights = sum(one.numel() for one in teacher.parameters())
    cost = bill.cost["teacher"]
    assert cost["parameters"] == weights and cost["bytes"] == 4 * weights
    frames = 100 * WINDOW
    front = frames * 3 * BANDS * 32 + frames // 2 * 3 * 32 * 32  # two convolutions
    layer = frames // 2 * (4 * 32 * 32 + 2 * 32 * 48) + 2 * (frames // 2) ** 2 * 32
    assert cost["macs"] > front + layer  # however short what is heard
    more = settings.model_copy(update={"reference_seconds": 2.0})  # four tokens more
    twice = costs.teacher_costs("teacher", teacher, TASK, spoken("test", 0), more)
    matrices = 32 * (6 * 32 + 2 * 48 + 11)
    attention = 2 * 32 * (4 * frames // 2 + 8 + 9 + 10 + 11)  # of four: all heard, all written
    assert twice.cost["teacher"]["macs"] - cost["macs"] == 4 * matrices + attention


def test_the_shortest_path_writes_its_symbols():
    ids = [2, 2, 3, 1, 3, 3]
    assert alphabet.path(ids) == [2, 0, 2, 3, 1, 3, 0, 3]
    assert alphabet.collapsed(alphabet.path(ids)) == ids
    assert alphabet.collapsed([0, 2, 2, 0, 2, 3, 1, 1, 0]) == [2, 2, 3, 1]
    assert alphabet.path([]) == []
