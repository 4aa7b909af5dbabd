"""Multiple-choice items about passages: generated from transcripts, or asked of unlabelled audio.

Generated items come in sets: C passages share the same C options, and each option is the answer of
exactly one of them. Whoever does not listen is therefore right once in C times, whatever
regularities the options have.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import log, log2
from types import MappingProxyType

import numpy as np

from earshot.items import languages
from earshot.items.authored import authored
from earshot.items.languages import words
from earshot.items.passages import Passage
from earshot.items.references import names_others
from earshot.params import FewShot
from earshot.tables.items import UNKNOWN, Item, ItemError
from earshot.text import canonical, reading, same

WORDINGS = {
    "detail": (
        "Which of these words do you hear?",
        "Which word is mentioned?",
        "What is being talked about?",
    ),
    "main_idea": ("Which words fit the passage best?", "Which words sum up what was said?"),
    "inference": ("Which sentence comes next?", "What follows from this?"),
}
NEEDED = ("teacher", "pool", "fewshot", "validation", "test")
_FILL = f"the pipeline needs recordings in {', '.join(NEEDED[:-1])} and {NEEDED[-1]}"
Asked = Callable[[Passage], list[str]]  # the words of a passage that details may ask for
KEYWORDS = 3
LOOK_AHEAD = 200  # how far a set may reach for options of similar length and frequency


@dataclass(frozen=True)
class Candidate:
    """A possible answer: its text and the passage it is true of."""

    passage: Passage
    text: str
    frequency: float = 0.0

    @property
    def likeness(self) -> tuple[int, int]:
        """What a distractor must match: magnitude of frequency, then length."""
        return round(2 * log2(self.frequency + 1)), len(self.text)


def _true_of(skill: str, text: str, passage: Passage) -> bool:
    """Whether an option could pass for an answer about a passage: then it cannot be a
    distractor.
    """
    if skill == "detail":
        return text in passage.every_word
    if skill == "main_idea":
        return len(set(words(text, passage.language)) & set(passage.words)) > 1
    return passage.next is not None and text.lower() == passage.next.lower()


def content(passage: Passage) -> list[str]:
    """Return the content words of a passage, in order of appearance."""
    return passage.words


def askable(passages: Sequence[Passage], params: FewShot) -> Asked:
    """Return what tells a passage's words that details may ask for: content words or any, of which
    at least `least_passages` of these passages have each.
    """
    words_of = {"content": content, "any": lambda passage: passage.every_word}[params.words]
    if params.least_passages == 1:
        return words_of
    spread = Counter(word for passage in passages for word in words_of(passage))
    known = {word for word, having in spread.items() if having >= params.least_passages}
    return lambda passage: [word for word in words_of(passage) if word in known]


def candidates(
    skill: str,
    passages: Sequence[Passage],
    details: int,
    rng: np.random.Generator,
    asked: Asked = content,
) -> list[Candidate]:
    """Return the answers that transcribed passages offer for a skill: as details words that are
    `asked`.
    """
    if skill == "inference":  # whole sentences: no word needs to be found
        return [Candidate(passage, passage.next) for passage in passages if passage.next]
    spread = Counter(word for passage in passages for word in passage.every_word)
    found: list[Candidate] = []
    for passage in passages:
        spoken = passage.words
        if skill == "detail" and (details_of := asked(passage)):
            picked = rng.choice(details_of, size=min(details, len(details_of)), replace=False)
            found += [Candidate(passage, str(word), spread[str(word)]) for word in picked]
        elif skill == "main_idea" and len(spoken) >= KEYWORDS:
            # tf-idf with the term frequency of the passage; ties fall to a random order, not to one
            # part of the sentence
            text = canonical(passage.text).lower()
            weight = {
                word: text.count(word) * log((1 + len(passages)) / spread[word]) for word in spoken
            }
            best = sorted(rng.permutation(spoken), key=lambda word: -weight[word])[:KEYWORDS]
            rarest = min(spread[word] for word in best)
            found.append(
                Candidate(passage, ", ".join(word for word in spoken if word in best), rarest)
            )
    return found


def option_sets(
    skill: str, found: list[Candidate], size: int, rng: np.random.Generator
) -> list[list[Candidate]]:
    """Group candidates of similar frequency and length into sets, no option true of another's
    passage; rests are dropped.
    """
    order = [found[i] for i in rng.permutation(len(found))]
    order.sort(key=lambda c: c.likeness)
    free, sets = dict(enumerate(order)), []
    while free:
        first, *rest = free
        group = [first]
        for other in rest[:LOOK_AHEAD]:
            if len(group) < size and all(_compatible(skill, order[i], order[other]) for i in group):
                group.append(other)
        if len(group) == size:
            sets.append([order[i] for i in group])
        for i in group if len(group) == size else [first]:
            del free[i]
    return sets


def _compatible(skill: str, a: Candidate, b: Candidate) -> bool:
    one_language = a.passage.language == b.passage.language
    return (
        one_language
        and reading(a.text) != reading(b.text)
        and not (_true_of(skill, a.text, b.passage) or _true_of(skill, b.text, a.passage))
    )


def _item(
    role: str,
    skill: str,
    passage: Passage,
    number: int,
    answer: str,
    others: list[str],
    position: int,
    rng: np.random.Generator,
) -> Item:
    """Put `answer` at `position` among the shuffled others."""
    options = [str(o) for o in rng.permutation(others)]
    options.insert(position, answer)
    return Item(
        id=f"{role}/{passage.id}/{skill}-{number}",
        role=role,
        skill=skill,
        passage=passage.id,
        utterances=passage.utterances,
        question=str(rng.choice(WORDINGS[skill])),
        options=tuple(options),
        answer=position,
        wording=passage.wording,
    )


def generate(
    role: str,
    passages: Sequence[Passage],
    params: FewShot,
    rng: np.random.Generator,
    rounds: int = 1,
    asked: Asked = content,
) -> list[Item]:
    """Return items of every skill about transcribed passages, in balanced option sets and balanced
    answer positions.

    Each round asks all passages again, with other answers and other options beside them. Details
    are words that are `asked`. Raises ItemError for a language whose words cannot be told apart.
    """
    _check_languages(passages, params)
    items: list[Item] = []
    numbers, positions = Counter[tuple[str, str]](), count()
    for skill in params.skills * rounds:
        found = candidates(skill, passages, params.details_per_passage, rng, asked)
        for group in option_sets(skill, found, params.options, rng):
            for one in group:
                others = [c.text for c in group if c is not one]
                number = numbers[one.passage.id, skill]
                numbers[one.passage.id, skill] += 1
                items.append(
                    _item(
                        role,
                        skill,
                        one.passage,
                        number,
                        one.text,
                        others,
                        next(positions) % params.options,
                        rng,
                    )
                )
    return items


def _check_languages(passages: Sequence[Passage], params: FewShot) -> None:
    """Raise ItemError unless there are words to ask for, where words are asked for."""
    if set(params.skills) == {"inference"}:
        return
    texts: dict[str | None, list[str]] = {}
    for passage in passages:
        texts.setdefault(passage.language, []).append(passage.text)
    for language, of_language in texts.items():
        languages.check(of_language, language)


def few_shot(
    passages: Sequence[Passage],
    params: FewShot,
    rng: np.random.Generator,
    asked: Asked = content,
) -> list[Item]:
    """Return the labelled set, one question a passage, and the same questions on the passages'
    other segments.

    The question is about the first segments (role `fewshot`); the `paper_share` last ones (role
    `paper`) carry the paper's protocol, which tests on segments of the very passages it trains on.
    Raises ItemError when passages are short.
    """
    if len(passages) < params.questions:
        raise ItemError(
            f"fewshot.questions={params.questions} must be at most the transcribed few-shot "
            f"passages, {len(passages)}"
        )
    _check_languages(passages, params)
    items: list[Item] = []
    chosen = [passages[i] for i in sorted(rng.permutation(len(passages))[: params.questions])]
    for number, passage in enumerate(chosen):
        length = len(passage.utterances)
        kept = max(1, length - round(params.paper_share * length))
        shown, position = passage.part(0, kept), number % params.options
        for skill in [
            params.skills[(number + shift) % len(params.skills)]
            for shift in range(len(params.skills))
        ]:
            bank = candidates(skill, chosen, 99, rng, asked)
            answers = candidates(skill, [shown], 99, rng, asked)
            if answers and (
                others := _matched(skill, answers[0], passage, bank, params.options - 1)
            ):
                question = _item("fewshot", skill, shown, 0, answers[0].text, others, position, rng)
                items.append(question)
                if skill != "inference" or shown.next == passage.next:
                    rest = range(kept, length)
                    items += [_repeat(question, passage, segment) for segment in rest]
                break
        else:
            raise ItemError(
                f"no question can be made about few-shot passage {passage.id}: too few distractors"
            )
    return items


def _matched(
    skill: str, answer: Candidate, passage: Passage, bank: list[Candidate], size: int
) -> list[str]:
    """Return the `size` distractors most like the answer; none when there are too few."""
    allowed = {
        reading(c.text): c
        for c in bank
        if c.passage.language == passage.language
        and reading(c.text) != reading(answer.text)
        and not _true_of(skill, c.text, passage)
    }
    frequency = max((c.frequency for c in bank if c.text == answer.text), default=answer.frequency)
    target = Candidate(answer.passage, answer.text, frequency).likeness
    near = sorted(
        allowed.values(),
        key=lambda c: sum(abs(a - b) for a, b in zip(c.likeness, target, strict=True)),
    )
    return [c.text for c in near[:size]] if len(near) >= size else []


def _repeat(question: Item, passage: Passage, segment: int) -> Item:
    other = passage.part(segment, segment + 1)
    fields = vars(question) | {
        "id": f"paper/{passage.id}/{segment}",
        "role": "paper",
        "utterances": other.utterances,
    }
    return Item(**fields)


def pool_items(
    pool: Sequence[Passage], bank: dict[str, list[str]], params: FewShot, rng: np.random.Generator
) -> list[Item]:
    """Return questions about unlabelled audio: options drawn from `bank`, which other passages'
    transcripts filled.

    Nothing is known about the audio, so the options are many and the answer is UNKNOWN; the teacher
    will say.
    """
    items: list[Item] = []
    skills = [skill for skill in params.skills if len(bank[skill]) >= 2]
    for passage in pool if skills else ():
        for number in range(params.pool.questions):
            skill = skills[number % len(skills)]
            size = min(params.pool.options, len(bank[skill]))
            options = [
                bank[skill][i] for i in rng.choice(len(bank[skill]), size=size, replace=False)
            ]
            item = _item("pool", skill, passage, number, options[0], options[1:], 0, rng)
            items.append(Item(**(vars(item) | {"answer": UNKNOWN})))
    return items


def option_bank(items: Iterable[Item], skills: Iterable[str]) -> dict[str, list[str]]:
    """Return the distinct options of labelled items, by skill, sorted: of the same words one, and
    none that names others.
    """
    bank: dict[str, set[str]] = {skill: set() for skill in skills}
    for item in items:
        if item.skill in bank:
            bank[item.skill] |= {option for option in item.options if not names_others(option)}
    return {skill: _distinct(sorted(texts)) for skill, texts in bank.items()}


def _distinct(texts: list[str]) -> list[str]:
    """Return texts without those that have the same words as one before."""
    again = {place for group in same(texts) for place in group[1:]}
    return [text for place, text in enumerate(texts) if place not in again]


def build(
    by_split: Callable[[str], list[Passage]],
    params: FewShot,
    seed: int,
    groups: Mapping[str, str] = MappingProxyType({}),
) -> list[Item]:
    """Return every item of a corpus; authored roles replace generated ones.

    `groups` names the passage that an utterance belongs to: authored items about one passage are
    right or wrong together. Raises ItemError for a role that no authored item has and whose split
    has no passage, or none of which a question can be made.
    """

    def rng(role: str) -> np.random.Generator:
        return np.random.default_rng([seed, *role.encode()])

    def transcribed(split: str) -> list[Passage]:
        return [p for p in by_split(split) if p.texts is not None]

    written = authored(params.authored) if params.authored else []
    items = [replace(item, passage=groups.get(item.passage, item.passage)) for item in written]
    roles = {item.role for item in items}
    for role in NEEDED:
        if role not in roles and not by_split(role):
            raise ItemError(f"split {role!r} has no recordings that can be used: {_FILL}")
    asked = askable(transcribed("teacher"), params)
    for role in {"teacher", "validation", "test"} - roles:
        rounds = params.teacher_rounds if role == "teacher" else 1
        items += generate(role, transcribed(role), params, rng(role), rounds, asked)
    if "fewshot" not in roles:
        items += few_shot(transcribed("fewshot"), params, rng("fewshot"), asked)
    bank = option_bank([item for item in items if item.role == "teacher"], params.skills)
    if not any(bank.values()):
        count = len(transcribed("teacher"))
        reason = "the corpus has no transcribed passages in split 'teacher'"
        if count:
            reason = f"too little is said in the {count} transcribed passages of split 'teacher'"
        raise ItemError(f"no labelled teacher items: {reason}")
    items += pool_items(by_split("pool"), bank, params, rng("pool"))
    for role in NEEDED:
        if not any(item.role == role for item in items):
            raise ItemError(
                f"split {role!r}: no question can be made about its {len(by_split(role))} "
                f"passages, {len(transcribed(role))} of them transcribed"
            )
    return sorted(items, key=lambda item: item.id)
