"""Students of several languages: telling them apart, being told, adapting, and balance."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning import copied, mel_store, noting, same
from test_transcript_students import BILSTM, CONFORMER, CONVNEXT, TASK, World
from transcribed import frames, spoken

from earshot.distillation.distill import Distillation, distil
from earshot.distillation.objective import Objective
from earshot.distillation.terms import TERMS, Setting
from earshot.models.ctc import LEAST_SHARE, MultilingualHead
from earshot.models.students import STUDENTS
from earshot.params import CTC, Adapt, Distill, Frames, Language, LayerPairs, Pair, Recipe, Terms
from earshot.tables.answers import language_of
from earshot.tasks.transcript import Transcript
from earshot.training.batches import Loader, collate
from earshot.training.loop import predict
from earshot.training.output import Output, run

KNOWN = ("de", "en", "el")
PARAMS = {"bilstm": BILSTM, "conformer": CONFORMER, "convnext": CONVNEXT}


def made(params, language=None, seed=0) -> torch.nn.Module:
    torch.manual_seed(seed)
    spoken = {"languages": list(KNOWN), "language": language}
    params = type(params)(**params.model_dump() | spoken)
    return STUDENTS[params.name](params, 8, TASK).eval()


def heard(languages, texts=("ab", "abba ab b")):
    """A batch of a clip a language, of different lengths."""
    rng, groups, mel = np.random.default_rng(0), [], {}
    for number, (language, text) in enumerate(zip(languages, texts, strict=True)):
        item = replace(spoken("test", number, text), language=language)
        mel[item.id, 0] = frames(text, rng).astype(np.float16)
        groups.append((item.utterances, 0, [item]))
    return collate(groups, mel, TASK)


def test_languages_are_compared_by_cross_entropy_of_those_that_are_known():
    batch = heard(["en", None, "el", "fr"], ["ab"] * 4)
    scores = [[0.0, 1.0, 2.0], [5.0, 0.0, 0.0], [1.0, 1.0, 1.0], [7.0, 0.0, 0.0]]
    output = Output({"language": torch.tensor(scores)}, None, [], KNOWN)
    term = TERMS["language"](None, Setting(TASK, None, batch, [], None, 0))
    of_en = np.log(1 + np.e + np.e**2) - 1  # −ln softmax(0, 1, 2)₁
    assert term(output, batch).item() == pytest.approx((of_en + np.log(3)) / 2)


def test_a_language_writes_its_letters_and_those_that_no_transcript_has():
    def transcribed(language, text):
        return replace(spoken("fewshot", 0, text), language=language)

    clips = [transcribed("de", "ab"), transcribed("en", "a"), transcribed("el", None)]
    task = Transcript.of(None, [replace(one, options=("", "|", *"abc")) for one in clips])
    letters = task.letters(KNOWN)
    of_each = [[1, 1, 1, 1, 1], [1, 1, 1, 0, 1], [1, 1, 1, 1, 1]]  # of Greek nothing is known
    assert letters.tolist() == of_each

    head = MultilingualHead(4, letters, KNOWN)
    prior = head.log_prior(torch.tensor([[0.0, 0.75, 0.25], [0.0, 1.0, 0.0]]))
    assert prior[:, 3].tolist() == pytest.approx([np.log(0.25), np.log(LEAST_SHARE)])
    assert prior[:, [0, 1, 2, 4]].abs().max() < 1e-6


@pytest.mark.parametrize("name", PARAMS)
def test_a_clip_is_written_in_the_letters_of_its_language(name):
    model, batch = made(PARAMS[name]), heard(["de", "en"])
    model.head.letters[:, 2:] = 0  # "a" and "b"
    model.head.letters[KNOWN.index("de"), 2] = 1
    model.head.letters[KNOWN.index("en"), 3] = 1
    for language, letter in (("de", 2), ("en", 3)):
        with torch.no_grad():
            model.head.bias[2:] = 5
            model.head.language.weight.zero_()
            model.head.language.bias.copy_(40 * model.head.one_hot([language])[0])
        best = run(model, TASK, batch)[1].logits["frames"].argmax(-1)
        assert best.unique().tolist() == [letter]


def test_each_pair_of_layers_counts_by_its_weight():
    batch = heard(["de", "en"], ["ab"] * 2)
    frames_of = batch.sequences.shape[1]
    batch.signals = {
        "states": torch.full((2, frames_of, 2), 3.0),
        "states_lengths": batch.lengths,
    }
    pairs = [Pair(teacher=0, student=1, weight=0.5), Pair(teacher=0, student=2, weight=2.0)]
    setting = Setting(TASK, made(BILSTM), batch, [24, 24], None, 0, [0])
    term = TERMS["hidden"](LayerPairs(weight=1.0, pairs=pairs), setting)
    for value, project in zip((1.0, 2.0), term.project, strict=True):
        torch.nn.init.zeros_(project.weight)
        torch.nn.init.constant_(project.bias, value)
    _, output = run(made(BILSTM), TASK, batch)
    # (0.5 · (3 − 1)² + 2 · (3 − 2)²) / 2
    assert term(output, batch).item() == pytest.approx(2.0)


@pytest.mark.parametrize("language", [None, "given", "predicted"])
@pytest.mark.parametrize("name", PARAMS)
def test_padding_changes_neither_symbols_nor_the_language(name, language):
    model, batch = made(PARAMS[name], language), heard(["de", "el"])
    _, output = run(model, TASK, batch)
    batch.sequences[0, batch.lengths[0] :] = 7.0
    _, again = run(model, TASK, batch)
    assert torch.allclose(output.logits["language"], again.logits["language"], atol=1e-5)
    count = output.logits["frame_counts"][0]
    one, other = (each.logits["frames"][0, :count] for each in (output, again))
    assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", PARAMS)
def test_what_a_student_is_told_changes_what_it_hears_but_not_its_guess(name):
    model = made(PARAMS[name], "given")
    told = {one: run(model, TASK, heard([one, "el"]))[1].logits for one in ("de", "en")}
    assert torch.equal(told["de"]["language"], told["en"]["language"])
    changed = (told["de"]["frames"] - told["en"]["frames"]).abs().amax((1, 2))
    assert changed[0] > 1e-3 and changed[1] == 0
    # of a clip whose language nobody knows its own probabilities are what it is told
    unknown = run(model, TASK, heard([None, "el"]))[1].logits
    guessing = made(PARAMS[name], "predicted")
    own = run(guessing, TASK, heard(["de", "en"]))[1].logits
    assert torch.equal(unknown["frames"][0], own["frames"][0])


def test_the_vector_of_a_language_is_added_to_every_frame():
    model, batch = made(CONFORMER, "given"), heard(["de", "el"])
    shares = torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5]])
    pooled, _ = model.encode(batch.sequences, batch.lengths, shares)
    vectors = model.language.weight.T  # (K, D)
    added = torch.stack([vectors[0], (vectors[1] + vectors[2]) / 2])
    first = model.blocks[0].forward
    model.blocks[0].forward = lambda frames, real: first(frames + added[:, None], real)
    assert torch.allclose(model.encode(batch.sequences, batch.lengths)[0], pooled, atol=1e-6)


def test_with_balance_small_languages_come_more_often(tmp_path):
    sizes = {"de": 36, "en": 9, "el": 4}
    items = [
        replace(spoken("pool", 100 * place + number), language=language)
        for place, (language, size) in enumerate(sizes.items())
        for number in range(size)
    ]
    mel = mel_store(tmp_path / "mel.parquet", {one.id: np.zeros((10, 8), "f2") for one in items})

    def epochs(balance: float) -> list[list[str]]:
        loader = Loader(items, mel, TASK, 7, balance=balance)
        drawn = [[*loader.shuffled(1, epoch)] for epoch in range(2)]
        assert [len(one) for one in drawn] == [len(loader)] * 2
        return [[item.id for batch in one for item in batch.items] for one in drawn]

    plain = [*Loader(items, mel, TASK, 7).shuffled(1, 0)]
    assert epochs(1.0)[0] == [item.id for batch in plain for item in batch.items]
    # √36 : √9 : √4 = 6 : 3 : 2 of 49
    language = {item.id: item.language for item in items}
    first, second = epochs(0.5)
    assert first != second and epochs(0.5) == [first, second]
    counts = {one: [language[id] for id in first].count(one) for one in sizes}
    assert counts == {"de": 27, "en": 13, "el": 9}
    times = [first.count(item.id) for item in items if item.language == "el"]
    assert {*times} == {2, 3} and max(map(first.count, language)) == 3
    assert all(first.count(item.id) <= 1 for item in items if item.language == "de")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    """Clips of two languages: in one the bands are quieter."""
    return World(tmp_path_factory.mktemp("world"))


def named(items, every=2):
    """The items, each second one in another language."""
    return [replace(item, language=KNOWN[n % every]) for n, item in enumerate(items)]


ADAPT = Adapt(
    epochs=2,
    learning_rate=0.01,
    terms=Terms(ctc=CTC(weight=0.5), language=Language(weight=1.0)),
    data=["fewshot"],
)


def learn(world, scratch, adapt=ADAPT, on_epoch=lambda *_: None):
    spoken = {"languages": list(KNOWN), "language": "predicted"}
    params = BILSTM.model_copy(update=spoken)
    terms = Terms(frames=Frames(weight=1.0, select="symmetric", around=1))
    recipe = Recipe(track="any", data=["pool"], epochs=2, terms=terms, adapt=adapt, balance=0.5)
    items = named(world.items["pool"][:12]) + named(world.items["fewshot"])
    told = (world.mel, items, named(world.items["validation"][:4]), world.signals, 0)
    settings = Distill(batch=6, learning_rate=0.02)
    return Distillation(recipe, params, settings, TASK, *told, scratch, on_epoch).run()


def test_it_adapts_behind_its_epochs_and_killed_ends_in_the_same_bytes(
    world, tmp_path, monkeypatch
):
    expected = []
    whole = learn(world, tmp_path / "whole", on_epoch=noting(expected))
    assert [epoch for epoch, _ in expected] == [0, 1, 2, 3]
    assert [{*scores} >= {"language", "ctc"} for _, scores in expected] == [0, 0, 1, 1]
    assert [{*scores} >= {"frames"} for _, scores in expected] == [1, 1, 0, 0]
    assert whole.answers[language_of("validation-0")].item() in KNOWN

    for last in (1, 2):

        def killed(*_):
            raise KeyboardInterrupt

        def on_epoch(epoch, _, last=last):
            if epoch == last:
                monkeypatch.setattr(Objective, "forward", killed)

        scratch = tmp_path / f"killed-{last}"
        with pytest.raises(KeyboardInterrupt):
            learn(world, scratch, on_epoch=on_epoch)
        monkeypatch.undo()
        history = []
        resumed = learn(world, scratch, on_epoch=noting(history))
        assert history == expected
        assert same(copied(resumed.student), copied(whole.student))


def test_told_the_validation_labels_it_trains_and_adapts_again(world, tmp_path):
    """As many updates as before, of clips that are half as many again; the answers stay."""
    spoken = {"languages": list(KNOWN), "language": "given"}
    params, terms = BILSTM.model_copy(update=spoken), Terms(ctc=CTC(weight=1.0))
    recipe = Recipe(track="any", data=["fewshot"], epochs=2, terms=terms, adapt=ADAPT)
    items, held_out = named(world.items["fewshot"][:8]), named(world.items["validation"][:4])
    told = (world.mel, items, held_out, world.signals, 0)
    settings = Distill(batch=4, learning_rate=0.02, refit=True)
    history = []
    first = Distillation(recipe, params, settings, TASK, *told, tmp_path / "1", noting(history))
    alone = first.run()
    assert {phase: steps for phase, (steps, _) in first.reached.items()} == {
        "float": 4,
        "adapted": 4,
    }
    expected = []
    training = Distillation(recipe, params, settings, TASK, *told, tmp_path / "2", noting(expected))
    again = distil(training)
    assert history == expected and again.answers.keys() == alone.answers.keys()
    assert all((again.answers[id] == alone.answers[id]).all() for id in alone.answers)
    assert not same(copied(again.student), copied(alone.student))


def test_it_learns_to_tell_languages_apart(tmp_path):
    rng, items, mel = np.random.default_rng(3), [], {}
    for number in range(36):
        role = "fewshot" if number < 24 else "validation"
        item = replace(spoken(role, number), language=KNOWN[number % 3])
        tilt = np.linspace(-1, 1, 8) * (number % 3 - 1)
        mel[item.id] = (frames(item.transcript, rng) + tilt).astype(np.float16)
        items.append(item)
    store, held_out = mel_store(tmp_path / "mel.parquet", mel), items[24:]
    terms = Terms(language=Language(weight=1.0))
    recipe = Recipe(track="any", data=["fewshot"], epochs=10, terms=terms)
    params = BILSTM.model_copy(update={"languages": list(KNOWN)})
    told = (store, items[:24], held_out, None, 0, tmp_path, lambda *_: None)
    settings = Distill(batch=6, learning_rate=0.02)
    training = Distillation(recipe, params, settings, TASK, *told[:3], Nothing, *told[4:])
    student = training.run().student
    answers = predict(student, TASK, Loader(held_out, store, TASK, 5))
    right = [answers[language_of(item.id)].item() == item.language for item in held_out]
    assert np.mean(right) > 0.9


class Nothing:
    """No teacher's signals."""

    settings = {}
