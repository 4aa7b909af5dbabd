"""The embedded corpus of several languages: worlds that agree, what the test keeps to itself."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from earshot.corpora import CORPORA, open_languages, worlds
from earshot.corpora.synthetic.speech import BUCKETS
from earshot.params import CTCLanguagesPretrain, OpenLanguages
from earshot.text.alphabet import normalised
from earshot.workbench.plan import work

SIZES = {"pretrain": 300, "fewshot": 40, "pool": 200, "validation": 40, "test": 120}


def said(language: str) -> dict[str, list[open_languages.Line]]:
    return {
        split: list(open_languages.script(language, split, size, 0.3, 7))
        for split, size in SIZES.items()
    }


def words(lines) -> set[str]:
    return {word for line in lines for word in normalised(line.text, None, line.language).split()}


@pytest.mark.parametrize("language", worlds.LANGUAGES)
def test_the_test_has_words_voices_and_sentences_of_its_own(language):
    lines = said(language)
    own = {word.lower() for word in worlds.world(language).own}
    for split, some in lines.items():
        assert bool(words(some) & own) == (split == "test")
        assert {line.wording for line in some} == (
            {"seen", "unseen"} if split == "test" else {"seen"}
        )
    voices = {split: {line.speaker for line in some} for split, some in lines.items()}
    assert voices["fewshot"] <= voices["pool"]
    apart = ("pretrain", "pool", "validation", "test")
    for split in apart:
        others = set().union(*(voices[other] for other in apart if other != split))
        assert not voices[split] & others
    texts = {split: {line.text for line in some} for split, some in lines.items()}
    for split in SIZES:
        others = set().union(*(texts[other] for other in SIZES if other != split))
        assert not texts[split] & others


@pytest.mark.parametrize("language", worlds.LANGUAGES)
def test_texts_are_written_in_the_letters_of_their_language_and_need_all(language):
    world = worlds.world(language)
    used = {split: set("".join(words(lines))) for split, lines in said(language).items()}
    assert used["pretrain"] == set(world.letters)
    assert used["test"] <= set(world.letters)
    assert list(world.letters) == sorted(world.letters)


def test_letters_of_several_languages_are_their_union_in_one_order():
    both = worlds.letters(["ru", "de"])
    assert both == worlds.letters(["de", "ru"])
    assert both[:30] == worlds.world("de").letters and both[30:] == worlds.world("ru").letters


def told(language: str, wording: str, **parts: str) -> str:
    """Return the sentence of these words, called by their first form."""
    world = worlds.world(language)
    facts = {part: some[0] for part, some in world.parts.items()}
    for part, form in parts.items():
        (facts[part],) = (word for word in world.parts[part] if word.forms[0] == form)
    return worlds._told(world, wording, facts)


def test_words_agree():
    agreed = {
        ("de", "Koffer", "grün"): "Ida fand einen grünen Koffer: der grüne Koffer, den",
        ("de", "Uhr", "weiß"): "Ida fand eine weiße Uhr: die weiße Uhr, die",
        ("de", "Zelt", "groß"): "Ida fand ein großes Zelt: das große Zelt, das",
        ("es", "reloj", "rojo"): "Hugo perdió un reloj rojo: el reloj rojo que",
        ("es", "llave", "roja"): "Hugo perdió una llave roja: la llave roja que",
        ("ru", "ключ", "синий"): "Олег нашёл синий ключ: синий ключ, который",
        ("ru", "шуба", "синий"): "Анна нашла синюю шубу: синяя шуба, которую",
        ("ru", "перо", "синий"): "Анна нашла синее перо: синее перо, которое",
        ("en", "drum", "red"): "Ruth found a red drum: the red drum that",
    }
    actions = {"fand", "perdió", "нашёл", "found"}
    for (language, thing, quality), expected in agreed.items():
        world = worlds.world(language)
        action = next(one.forms[0] for one in world.parts["action"] if one.forms[0] in actions)
        known = {form: word.forms[0] for word in world.parts["quality"] for form in word.forms}
        facts = {"name": expected.split()[0], "action": action, "thing": thing}
        facts["quality"] = known[quality]
        assert told(language, "{name} {action} {a}: {the}", **facts) == expected


def test_a_sentence_begins_with_a_capital_and_its_facts_have_one_bucket():
    rng = np.random.default_rng(1)
    spanish = worlds.world("es")
    questions = {worlds.sentence(spanish, rng, True, BUCKETS["test"]) for _ in range(40)}
    assert any(one.startswith("¿Sabes") for one in questions)
    facts = {part: some[0] for part, some in spanish.parts.items()}
    buckets = [worlds._bucket(spanish, wording, facts) for wording in spanish.seen]
    assert buckets[0] == buckets[1] == buckets[2] == buckets[3]
    assert buckets[4] == buckets[5] != buckets[0]
    other = facts | {"quality": spanish.parts["quality"][1]}
    assert worlds._bucket(spanish, spanish.seen[0], other) != buckets[0]


PARAMS = {
    "name": "open_languages",
    "languages": ["de", "ru"],
    "clips": {"fewshot": 10, "pool": 2},
    "labelled_share": {"ru": 0.1},
}


def test_clips_are_the_same_bytes_with_their_language_and_the_labels_asked_for(tmp_path: Path):
    made = []
    for name in ("one", "two"):
        clips = list(CORPORA["open_languages"](OpenLanguages(**PARAMS), tmp_path / name, 3))
        made.append([hashlib.sha256(Path(clip.path).read_bytes()).hexdigest() for clip in clips])
        assert [clip.language for clip in clips] == ["de"] * 12 + ["ru"] * 3
        assert [clip.text is None for clip in clips] == [
            *[False] * 10,
            True,
            True,
            False,
            True,
            True,
        ]
        assert all(1 < clip.seconds < 10 for clip in clips)
        assert {clip.speaker[:3] for clip in clips} == {"de-", "ru-"}
    assert made[0] == made[1] and len(set(made[0])) == 15


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"languages": ["de", "de"]}, "names a language twice"),
        ({"labelled_share": {"es": 0.1}}, "labelled_share.es must be one of"),
        ({"languages": ["xx"]}, "'de', 'en', 'es' or 'ru'"),
    ],
)
def test_odd_languages_are_named(changes, told):
    with pytest.raises(ValueError, match=told):
        OpenLanguages(**PARAMS | changes)


def test_the_plan_counts_the_clips_of_all_languages():
    hours = work._corpus_hours(OpenLanguages(**PARAMS))
    clips = {"fewshot": 10 + 1, "pool": 2 + 2}
    assert hours == {split: number * work.SENTENCE / 3600 for split, number in clips.items()}


def test_every_world_can_be_asked_for():
    for section in (OpenLanguages, CTCLanguagesPretrain):
        schema = section.model_json_schema()["properties"]["languages"]["items"]
        assert tuple(schema["enum"]) == worlds.LANGUAGES
