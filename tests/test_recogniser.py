"""A teacher with a CTC head: taken from a checkpoint as it is, or tuned; nothing is padded."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from learning import LAYERS, clips, noise, noting, same, teacher_params, tiny_checkpoint
from transcribed import SYMBOLS, recogniser, spoken

from earshot.evaluation import transcripts
from earshot.features.recordings import Recordings
from earshot.params import Cache
from earshot.tables import items, signals
from earshot.tasks.transcript import Transcript
from earshot.teacher import ask, cache, frames, saved
from earshot.teacher.tune import tune
from earshot.teacher.wav2vec2 import CheckpointError, Teacher
from earshot.text import alphabet

TASK = Transcript(None, SYMBOLS)
SECONDS = {"fewshot-0": 1.2, "fewshot-1": 0.7, "pool-0": 0.9, "pool-1": 0.5}
CLOSE = 0.02  # of log-posteriors: hidden states of frozen layers are handed on as float16


def as_it_is(folder, **changes):
    return teacher_params(str(folder), **{"text": None, "epochs": 0} | changes)


@pytest.mark.parametrize("style", ["group", "layer", "hubert"])
def test_its_own_head_says_what_the_whole_checkpoint_says_of_each_clip_alone(tmp_path, style):
    model = recogniser(tmp_path / "checkpoint", style=style)
    teacher = Teacher(as_it_is(tmp_path / "checkpoint"), TASK).eval()
    table = clips(tmp_path / "clips", SECONDS)
    asked = [spoken(*id.split("-")[:1], int(id[-1])) for id in SECONDS]
    recordings = Recordings(table)
    kept = Cache(part=8)
    groups = [(item.utterances, 0, [item]) for item in asked]
    (rows,) = frames.signals(teacher, TASK, recordings, kept, groups)  # four clips, one batch
    outputs = [0, 4, 5, 6]  # blank, word end, a, b
    kept = (rows[name] for name in ("posteriors", "confidence", "symbols"))
    for (id, _, posteriors), (_, _, sure), (_, _, written) in zip(*kept, strict=True):
        wave = torch.from_numpy(recordings[id, 0])
        wave = (wave - wave.mean()) / (wave.var(unbiased=False) + 1e-7).sqrt()
        with torch.inference_mode():
            alone = model(wave[None]).logits[0, :, outputs].log_softmax(-1).numpy()  # (T, V)
        assert posteriors.shape == alone.shape
        assert np.abs(posteriors - alone).max() < CLOSE
        assert sure.item() == pytest.approx(alone.max(-1).mean(), abs=CLOSE)
        assert written[:, 0].tolist() == (alphabet.collapsed(posteriors.argmax(-1).tolist()) or [0])


def test_a_teacher_taken_as_it_is_needs_no_labels(tmp_path):
    recogniser(tmp_path / "checkpoint")
    params = as_it_is(tmp_path / "checkpoint")
    recordings = Recordings(clips(tmp_path / "clips", {"validation-0": 1.0}))
    held_out = [spoken("validation", 0)]
    folder, unused = tmp_path / "teacher", tmp_path / "scratch"
    seen = []
    seconds = tune(params, "transcript", recordings, [], held_out, 0, unused, folder, noting(seen))
    teacher, task = saved.load(params, "transcript", folder)
    assert seconds == 0 and not unused.exists() and task.labels == SYMBOLS
    assert same(teacher.state_dict(), Teacher(params, TASK).state_dict())
    answers = ask.answers(teacher, task, recordings, held_out)
    score = task.score_all(answers, held_out)  # its curve is of one epoch, which was not
    assert seen == [(0, {"validation": score.value, "validation_loss": score.loss})]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "vocab.json").unlink(), "has a CTC head, but no vocab.json"),
        (lambda folder: (folder / "vocab.json").write_text("["), "vocab.json is not readable"),
        (lambda folder: (folder / "vocab.json").write_text("[1]"), "no table of symbols"),
        (lambda folder: vocabulary(folder, A=9), "is not that of its CTC head"),
        (lambda folder: vocabulary(folder, a=3), "has capital letters beside small ones"),
        (lambda folder: vocabulary(folder, Q=3), 'differ in q; write fewshot.alphabet: "abq"'),
        (lambda folder: configured(folder, pad_token_id=None), "no pad_token_id in config.json"),
    ],
)
def test_a_head_that_cannot_write_the_transcripts_is_refused(tmp_path, spoil, told):
    recogniser(tmp_path)
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=told):
        Teacher(as_it_is(tmp_path), TASK)


def vocabulary(folder, **more: int) -> None:
    path = folder / "vocab.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def configured(folder, **more) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_an_encoder_without_a_head_must_be_tuned(tmp_path):
    tiny_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="has no CTC head of its own.* at least 1"):
        Teacher(as_it_is(tmp_path), TASK)
    Teacher(as_it_is(tmp_path, epochs=1), TASK)


def test_tuned_from_frozen_states_it_is_cached_as_it_answers(tmp_path):
    tiny_checkpoint(tmp_path / "encoder", style="layer")
    params = teacher_params(str(tmp_path / "encoder"), text=None, epochs=2, tuned_layers=1)
    built = [spoken(role, n) for role in ("fewshot", "pool", "validation") for n in range(5)]
    seconds = {item.id: 1.0 + 0.1 * n for n, item in enumerate(built)}
    items.write(built, tmp_path / "items.parquet")
    read = partial(items.read, tmp_path / "items.parquet")
    recordings = Recordings(clips(tmp_path / "clips", seconds))
    history, folder = [], tmp_path / "teacher"
    settings = (recordings, read("fewshot"), read("validation"), 3, tmp_path / "scratch", folder)
    tune(params, "transcript", *settings, noting(history))
    assert {"loss", "validation", "validation_loss"} <= set(history[-1][1])
    assert history[-1][1]["loss"] < history[0][1]["loss"]

    asked, kept = read("fewshot", "pool"), Cache(part=4, layers=[0, 2], states=True)
    asker = ask.Asker(params, "transcript", folder, recordings, kept)
    identity = signals.identity(folder)
    cache.write(tmp_path / "cache", asker, identity, asked, recordings.views, kept)
    known = (tmp_path / "cache", asked, identity, kept.model_dump(), recordings.views)
    taught = signals.Signals(*known)
    teacher, task = saved.load(params, "transcript", folder)
    answers = ask.answers(teacher, task, recordings, asked)
    for item in asked:
        frames, states = taught["posteriors", item.id, 0], taught["states", item.id, 0]
        assert frames.dtype == states.dtype == np.float16
        assert frames.shape == (len(answers[item.id]), len(SYMBOLS))
        assert states.shape == (len(frames), 2 * teacher.width)
        assert np.allclose(np.exp(frames.astype(float)).sum(1), 1, atol=5e-3)
        means = states.astype(float).mean(0).reshape(2, -1)
        assert np.allclose(taught["hidden", item.id, 0], means, atol=5e-3)
        clear = np.sort(frames)[:, -1] - np.sort(frames)[:, -2] > 0.01
        assert (frames.argmax(1) == answers[item.id])[clear].all()
    assert len(teacher.backbone.encoder.layers) == LAYERS
    scores = transcripts.validation([answers], read("fewshot"), 0)
    assert scores["accuracy"] == 1 - scores["wer"]


def test_padding_would_change_what_a_group_norm_says(tmp_path):
    """Why the clips of a batch are heard one by one."""
    recogniser(tmp_path)
    teacher = Teacher(as_it_is(tmp_path), TASK).eval()
    short = noise(1, 0.4)
    alone = teacher.lower(short).states[-1]
    padded = teacher.lower(np.pad(short, (0, 25_600))).states[-1][: len(alone)]
    assert (padded - alone).abs().max() > 0.05
