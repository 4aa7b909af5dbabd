"""Scores of transcripts by hand: rates, edits, intervals over speakers, gains, the control."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from transcribed import SYMBOLS, spoken

from earshot.evaluation import hypotheses, plots, transcripts
from earshot.evaluation.kinds import SCORES
from earshot.params import Evaluate
from earshot.tables import answers as answer_table
from earshot.tasks.transcript import Transcript
from earshot.text import alphabet
from earshot.training.loop import rank

PARAMS = Evaluate(recipes=["hard", "kd"], gains=["kd_vs_hard"], resamples=200)
TASK = Transcript(None, SYMBOLS)
TEST = [
    replace(spoken("test", 0, "ab ba"), wording="unseen"),
    spoken("test", 1, "a b ab"),
    spoken("test", 2, "bb aa ba ab b a"),
    replace(spoken("test", 3, "abba"), passage="test-voice-0"),
]
MANIFEST = pd.DataFrame(
    {"id": [item.id for item in TEST], "path": [f"/d/{i.id}.wav" for i in TEST]}
)


def path(text: str) -> np.ndarray:
    """What a recogniser answers that writes this text, blanks between all symbols."""
    ids = alphabet.encode(text, SYMBOLS) if text else []
    return np.array([0, *(one for id in ids for one in (id, 0))], np.int16)


def answers(*texts: str) -> dict[str, np.ndarray]:
    return {item.id: path(text) for item, text in zip(TEST, texts, strict=True)}


SAID = [item.transcript for item in TEST]
# one word replaced, one left out, two added; characters: b→a, "b " gone, "a " and " a" added
KD = answers("ab ba", "a ab", "bb aa aa ab b a a", "a abba")
HARD = answers("", "", "", "")


def test_intervals_of_one_speaker_are_over_clips():
    items = [replace(item, passage="one voice") for item in TEST]
    scores = transcripts.model_score(
        transcripts.count(transcripts.hypotheses([KD], items), items), items, 200, 0
    )
    assert scores["wer_low"] < scores["wer"] < scores["wer_high"]


def test_rates_by_hand():
    scores = transcripts.model_score(
        transcripts.count(transcripts.hypotheses([KD], TEST), TEST), TEST, 200, 0
    )
    assert scores["wer"] == 4 / 12
    assert (scores["substitutions"], scores["deletions"], scores["insertions"]) == (
        1 / 12,
        1 / 12,
        2 / 12,
    )
    assert scores["cer"] == pytest.approx((2 + 1 + 2 + 2) / (5 + 6 + 15 + 4))
    assert (scores["items"], scores["words"], scores["seeds"]) == (4, 12, 1)
    assert scores["wording"]["unseen"]["wer"] == 0 and scores["wording"]["seen"]["wer"] == 4 / 10
    assert scores["length"]["to_5_words"]["items"] == 3
    assert scores["length"]["to_10_words"]["wer"] == 2 / 6
    assert scores["speaker"]["test-voice-0"]["items"] == 2
    assert scores["wer_low"] <= scores["wer"] <= scores["wer_high"]


def test_nothing_written_is_a_rate_of_one_and_said_loudly():
    (line,) = SCORES["transcript"].doubts({"hard": [answers(*SAID), HARD]}, TEST)
    assert line == "hard, seed 1: writes nothing but blanks; train it for longer"
    same = SCORES["transcript"].doubts({"kd": [answers("a", "a", "a", "a")]}, TEST)
    assert same == ["kd, seed 0: writes 'a' of every clip"]
    scores = transcripts.validation([HARD], TEST, 0)
    assert scores["wer"] == scores["cer"] == 1 and scores["accuracy"] == 0
    assert scores["accuracy_low"] <= 0 <= scores["accuracy_high"]


def test_the_score_of_training_counts_characters():
    score = TASK.score_all(KD, TEST)
    assert score.value == pytest.approx(1 - 7 / 30)
    assert score.loss == pytest.approx(4 / 12)
    residuals = np.array([0, 2, 3, 2]) - np.array([5, 6, 15, 4]) * 7 / 30
    assert score.error == pytest.approx(np.sqrt((residuals**2).sum() * 4 / 3) / 30)
    assert TASK.score_all(answers(*SAID), TEST) == (1, 0, 0)


def test_where_all_words_are_wrong_the_epoch_that_writes_nothing_does_not_win():
    wrong = answers(*("".join(said.split()) + " a b a" for said in SAID))
    assert transcripts.validation([wrong], TEST, 0)["wer"] > 1
    assert rank(TASK.score_all(wrong, TEST)) > rank(TASK.score_all(HARD, TEST))


def test_intervals_are_over_speakers_and_gains_are_paired():
    models = {"teacher": [answers(*SAID)], "hard": [HARD, KD], "kd": [KD, answers(*SAID)]}
    models["kd_int8"] = models["kd"]
    quality = transcripts.quality(models, [], TEST, MANIFEST, PARAMS, 3)
    gain = quality["gain"]["kd_vs_hard"]
    assert gain["wer"] == pytest.approx((4 / 12 + 0) / 2 - (1 + 4 / 12) / 2)
    assert gain["wer_low"] <= gain["wer"] <= gain["wer_high"]
    # the mean over seeds of 1 − (4/12) / 1 and 1 − 0 / (4/12)
    assert gain["relative_reduction"] == pytest.approx((8 / 12 + 1) / 2)
    assert quality["gain"]["kd_int8_vs_kd"]["wer"] == 0
    control = quality["audio_exchanged"]
    assert control["wer"] > 0.8 > quality["kd"]["wer"] and control["seeds"] == 1


def test_a_test_that_can_be_guessed_is_refused():
    guessed = [spoken("test", n, "ab ba ab" if n % 2 else "ab ba aa") for n in range(6)]
    right = {item.id: path(item.transcript) for item in guessed}
    with pytest.raises(transcripts.ControlError, match="^leak: what kd writes of other clips"):
        transcripts.quality({"kd": [right]}, [], guessed, MANIFEST, PARAMS, 0)


def test_conditions_are_compared_with_clean():
    clean = {"teacher": answers(*SAID), "kd": KD}
    noisy = {"noise": {"teacher": KD, "kd": HARD}}
    table = transcripts.standing(clean, noisy, TEST, 200, 0)
    assert table["items"] == 4 and table["teacher"]["clean"]["wer"] == 0
    assert table["teacher"]["noise"]["gain"]["wer"] == 4 / 12
    assert table["kd"]["noise"]["wer"] == 1


def test_what_was_written_is_kept_and_drawn(tmp_path):
    models = {"teacher": [answers(*SAID)], "kd": [KD, KD], "kd_int8": [KD, KD]}
    hypotheses.hand_in(tmp_path, TEST, MANIFEST, models, KD)
    table = answer_table.read(tmp_path / "answers.parquet")
    assert (
        len(table) == 4 * 5
        and table["text"][0] == "ab ba"
        and table["text"][6] == "bb aa aa ab b a a"
    )
    handed = pd.read_csv(tmp_path / "answers.csv", sep="\t")
    assert handed["filename"].tolist() == [f"test-{n}.wav" for n in range(4)]
    assert handed["errors"].tolist() == [0, 1, 2, 1]

    params = PARAMS.model_copy(update={"gains": ["kd_vs_teacher"]})
    quality = transcripts.quality(models, [], TEST, MANIFEST, params, 3)
    standing = transcripts.standing({"kd": KD}, {"hall": {"kd": HARD}}, TEST, 200, 0)
    curves = tmp_path / "curves"
    curves.mkdir()
    (curves / "seed-0.csv").write_text("epoch,loss,validation\n1,2.0,-0.1\n2,1.0,0.6\n")
    about = plots.Evaluation(quality, models, TEST, "kd_int8", {"kd": curves}, {}, {}, standing)
    for folder in ("one", "two"):
        hypotheses.draw(tmp_path / folder, about)
    names = {file.name for file in (tmp_path / "one").iterdir()}
    pictures = {"wer", "gains", "curves", "robustness"}
    assert names == {f"{n}.svg" for n in pictures} | {f"{n}.csv" for n in pictures - {"gains"}}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    table = pd.read_csv(tmp_path / "one/wer.csv", index_col="model")
    assert table.loc["kd", "wer"] == 4 / 12 and "audio_exchanged" in table.index
