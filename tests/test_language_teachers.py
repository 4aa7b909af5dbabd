"""Teachers of one language each: what they hear, what they write, and what students learn of it."""

from dataclasses import replace
from math import log
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from learning import cache_by_hand, clips, noting, teacher_params, tiny_checkpoint
from transcribed import recogniser, spoken

from earshot.distillation import lessons
from earshot.distillation.terms import TERMS, Setting
from earshot.features.recordings import Recordings
from earshot.models.heads import ABSENT
from earshot.params import Cache, Frames
from earshot.tables import signals
from earshot.tables.items import ItemError, in_language
from earshot.tasks.transcript import Transcript, transcript_signals
from earshot.teacher import ask, cache, saved
from earshot.teacher.languages import alphabet_of
from earshot.teacher.tune import tune
from earshot.teacher.wav2vec2 import CheckpointError
from earshot.text import alphabet
from earshot.training import losses
from earshot.training.output import Output

SYMBOLS = alphabet.alphabet("abжш")  # of two languages with nothing but spaces in common
OWN = {"en": alphabet.alphabet("ab"), "ru": alphabet.alphabet("жш")}
TASK = Transcript(None, SYMBOLS)
RUSSIAN = str.maketrans("ab", "жш")


def told(role: str, number: int, language: str | None) -> object:
    """A clip of a language; Russian is written ж for a and ш for b."""
    one = spoken(role, number)
    text = one.transcript and one.transcript.translate(RUSSIAN if language == "ru" else {})
    id = f"{language}-{one.id}"
    known = {"id": id, "utterances": (id,), "options": SYMBOLS, "language": language}
    return replace(one, transcript=text, **known)


BOTH = [told(role, n, language) for role in ("fewshot", "pool") for n in (0, 1) for language in OWN]


def test_a_teacher_hears_the_clips_of_its_language():
    odd = [replace(BOTH[0], language=tag) for tag in ("de", "de-CH", "en", "den", None)]
    assert [item.language for item in in_language(odd, "de")] == ["de", "de-CH", None]
    assert in_language(odd, None) == odd and in_language([], "de") == []
    with pytest.raises(ItemError, match="no clip is in the teacher's language 'fr'; .* en, ru"):
        in_language(BOTH, "fr")


def test_posteriors_and_transcripts_are_told_in_the_alphabet_of_the_track():
    task, item = Transcript(None, OWN["ru"]), told("pool", 0, "ru")
    shares = [[0.5, 0.25, 0.125, 0.125], [0.1, 0.1, 0.1, 0.7]]  # blank, word end, ж, ш
    output = SimpleNamespace(
        logits={"frames": torch.tensor([shares]).log(), "frame_counts": torch.tensor([2])}
    )
    batch = SimpleNamespace(items=[item], views=[0])
    rows = task.signals(output, batch)
    (_, _, frames), (_, _, written) = rows["posteriors"][0], rows["symbols"][0]
    assert np.exp(frames).tolist() == [
        pytest.approx([0.5, 0.25, 0, 0, 0.125, 0.125]),
        pytest.approx([0.1, 0.1, 0, 0, 0.1, 0.7]),
    ]
    assert (frames[:, 2:4] == ABSENT).all() and np.float16(ABSENT) == ABSENT
    assert written[:, 0].tolist() == [5]  # ш
    assert task.decode(output, batch)[item.id].tolist() == [0, 5]
    right = replace(item, transcript="ш")
    assert task.score_all({item.id: np.array([0, 5])}, [right]).value == 1
    assert task.targets([right])["symbols"].tolist() == [[3]]  # in its own alphabet
    other = replace(item, transcript="шa")  # of a test clip: it is asked, and learns nothing
    assert task.targets([right, other])["symbol_counts"].tolist() == [1, 0]


def test_kl_leaves_out_what_the_teacher_does_not_know_by_hand():
    # of six equal logits four count: ln 4 − H(½, ¼, ⅛, ⅛) = 2 ln 2 − 1¾ ln 2
    teacher = torch.tensor([[[0.5, 0.25, 0, 0, 0.125, 0.125]]], dtype=torch.float64).log()
    teacher = teacher.clamp(min=ABSENT)
    student = torch.zeros(1, 1, 6, dtype=torch.float64, requires_grad=True)
    value = losses.frame_kl(student, teacher, torch.ones(1, 1, dtype=torch.bool))
    value.backward()
    assert value.item() == pytest.approx(0.25 * log(2), rel=1e-9)
    expected = [0.25 - 0.5, 0, 0, 0, 0.125, 0.125]  # p_S − p_T
    assert student.grad.flatten().tolist() == pytest.approx(expected, abs=1e-12)


def test_mse_of_logits_knows_no_constant_and_leaves_out_what_the_teacher_does_not_know():
    posteriors = torch.tensor([[[0.5, 0.25, 0, 0.25]]], dtype=torch.float64)
    teacher = posteriors.log().clamp(min=ABSENT)
    student = torch.zeros(1, 1, 4, dtype=torch.float64, requires_grad=True)
    value = losses.logit_mse(student, teacher, torch.ones(1, 1, dtype=torch.bool))
    value.backward()
    # z_T less its mean is ln 2 · (2, −1, −1) / 3
    assert value.item() == pytest.approx(log(2) ** 2 * (4 + 1 + 1) / 9 / 3)
    assert student.grad[0, 0, 2] == 0 and student.grad[0, 0, 0] < 0 < student.grad[0, 0, 1]
    same = torch.where(teacher > ABSENT, teacher + 7.0, 3.0)
    assert losses.logit_mse(same, teacher, torch.ones(1, 1).bool()).item() == pytest.approx(0)


def learned(posteriors: torch.Tensor, distance: str) -> torch.Tensor:
    """Return how far the rows of a student's head move, by symbol, that learns from frames."""
    torch.manual_seed(1)
    head, states = torch.nn.Linear(5, len(SYMBOLS)), torch.randn(2, 7, 5)
    before = torch.cat([head.weight.T, head.bias[None]]).detach().clone()  # (6, V)
    params = Frames(weight=1.0, select="all", distance=distance)
    term = TERMS["frames"](params, Setting(TASK, head, None, [], None, 0))
    counts = torch.tensor([7, 5])
    batch = SimpleNamespace(signals={"posteriors": posteriors, "posteriors_lengths": counts})
    optimizer = torch.optim.SGD(head.parameters(), 0.5)
    for _ in range(20):
        logits = {"frames": head(states), "frame_counts": counts}
        optimizer.zero_grad()
        term(Output(logits, states[:, 0], [states]), batch).backward()
        optimizer.step()
    return (torch.cat([head.weight.T, head.bias[None]]) - before).abs().sum(0)


@pytest.mark.parametrize("distance", ["kl", "mse"])
def test_of_disjoint_alphabets_nothing_is_learned_about_one_from_the_frames_of_the_other(distance):
    own = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    places = alphabet.places(OWN["ru"], SYMBOLS)
    mapped = torch.full((2, 7, len(SYMBOLS)), ABSENT)
    mapped[..., places] = own
    moved = learned(mapped, distance)
    assert (moved[2:4] == 0).all() and (moved[places] > 0.01).all()  # not a bit of a and b
    merely_filled = torch.full_like(mapped, -30.0)  # no mass either, but a gradient
    merely_filled[..., places] = own
    assert (learned(merely_filled, distance)[2:4] > 0.01).all()
    unmapped = torch.full_like(mapped, ABSENT)
    unmapped[..., :4] = own  # by place: what is said of ж is learned of a
    assert (learned(unmapped, distance)[2:4] > 0.01).all()


def test_a_clip_that_no_teacher_heard_has_no_frames_to_learn_from(tmp_path):
    rng = np.random.default_rng(0)
    english = [item for item in BOTH if item.language == "en"]
    frames = {item.id: rng.normal(size=(6, len(SYMBOLS))) for item in english}
    known = {
        (id, 0): {
            "posteriors": rows - np.log(np.exp(rows).sum(1, keepdims=True)),
            **transcript_signals([2], 0.0),
        }
        for id, rows in frames.items()
    }
    taught = signals.Averaged({"en": cache_by_hand(tmp_path / "en", english, known)})
    batch = SimpleNamespace(items=BOTH[:2], views=[0, 0])
    names = ("posteriors", "symbols", "confidence")
    batch.signals = lessons.lesson(batch, taught, names)
    assert batch.signals["posteriors_lengths"].tolist() == [6, 0]
    assert batch.signals["confidence"].flatten().exp().tolist() == [1, 0]
    assert batch.signals["symbols"].tolist() == [[2], [0]]
    logits = torch.randn(2, 6, len(SYMBOLS), requires_grad=True)
    output = SimpleNamespace(
        logits={"frames": logits, "frame_counts": torch.tensor([6, 6])}, pooled=logits
    )
    term = TERMS["frames"](
        Frames(weight=1.0, select="all"), Setting(TASK, None, batch, [], None, 0)
    )
    term(output, batch).backward()
    assert logits.grad[0].abs().sum() > 0 and not logits.grad[1].any()
    alone = SimpleNamespace(items=BOTH[1:2], views=[0])
    alone.signals = lessons.lesson(alone, taught, names)
    assert term(output, alone).item() == 0
    with pytest.raises(KeyError):
        taught["posteriors", BOTH[1].id, 0]


def test_each_is_tuned_and_cached_on_its_own_clips_and_together_they_teach_all(tmp_path):
    tiny_checkpoint(tmp_path / "encoder", style="layer")
    held_out = [told("validation", n, language) for n in (0, 1) for language in OWN]
    every = [*BOTH, *held_out]
    recordings = Recordings(clips(tmp_path / "clips", {item.id: 0.8 for item in every}))
    kept, caches = Cache(part=2, states=True), {}
    for language, letters in OWN.items():
        params = teacher_params(
            str(tmp_path / "encoder"), text=None, epochs=1, tuned_layers=0, language=language
        )
        folder = tmp_path / language
        labelled = [item for item in BOTH if item.role == "fewshot"]
        some = [in_language(items, language) for items in (labelled, held_out)]
        scratch = tmp_path / f"scratch-{language}"
        tune(params, "transcript", recordings, *some, 0, scratch, folder, noting([]))
        assert saved.load(params, "transcript", folder)[1].labels == letters
        identity = signals.identity(folder)
        asked = signals.for_teacher(BOTH, identity)
        assert {item.language for item in asked} == {language}
        asker = ask.Asker(params, "transcript", folder, recordings, kept)
        at = tmp_path / f"cache-{language}"
        cache.write(at, asker, identity, asked, recordings.views, kept)
        known = (at, asked, identity, kept.model_dump(), recordings.views)
        caches[language] = signals.Signals(*known)
    together = signals.Averaged(caches)
    for item in BOTH:
        frames = together["posteriors", item.id, 0].astype(float)
        others = [place for place, one in enumerate(SYMBOLS) if one not in OWN[item.language]]
        assert np.allclose(np.exp(frames).sum(1), 1, atol=5e-3)
        assert (frames[:, others] == ABSENT).all() and len(others) == 2
        assert together["states", item.id, 0].shape == (len(frames), 32)
    both = signals.Averaged({"one": caches["en"], "other": caches["en"]})
    with pytest.raises(signals.SignalError, match=r"'posteriors' must come from one teacher"):
        both["posteriors", BOTH[0].id, 0]


def test_a_head_brings_its_alphabet_and_clips_that_it_cannot_write_are_named(tmp_path, caplog):
    recogniser(tmp_path / "one", "AB")
    params = teacher_params(str(tmp_path / "one"), text=None, epochs=0, language="en")
    recordings = Recordings(clips(tmp_path, {item.id: 0.5 for item in BOTH}))
    odd = replace(told("fewshot", 0, "en"), transcript="aж")
    held_out = [odd, told("fewshot", 1, "en")]
    seen = []
    known = (recordings, [], held_out, 0, tmp_path / "s", tmp_path / "teacher", noting(seen))
    tune(params, "transcript", *known)
    assert caplog.messages == ["clip en-fewshot-0: the teacher cannot write ж; left out"]
    assert len(seen) == 1 and alphabet_of(params, held_out) == OWN["en"]
    recogniser(tmp_path / "more", "ABQ")
    with pytest.raises(CheckpointError, match='it writes q, .* write fewshot.alphabet: "abqжш"'):
        alphabet_of(params.model_copy(update={"checkpoint": str(tmp_path / "more")}), held_out)
