"""LibriSQA Part II as a source of questions: multiple choice about utterances of LibriSpeech, made
by a language model.

Zhao et al., "LibriSQA: a novel dataset and framework for spoken question answering with large
language models" (2023). Its two files are JSON arrays (or an object a line) with the keys
`speech_path`, `question_and_option` and `answer`, a letter. The train part is about
train-clean-360, the test part about test-clean.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise, product
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from earshot.items.references import names_others
from earshot.params import FewShot
from earshot.tables.items import UNKNOWN, Item, ItemError
from earshot.tables.rows import TwiceError, once

FILES = {"train": "LibriSQA-PartII-train.json", "test": "LibriSQA-PartII-test.json"}
FIELDS = ("speech_path", "question_and_option", "answer")
LETTERS = "ABCD"
SKILL = "detail"  # the files do not tell skills apart
MALFORMED = 0.01  # of a file's questions may be left out as malformed: a language model wrote them
ID = "librisqa"
_log = logging.getLogger(__name__)
# A. or A) or (A) or A: before each option, the same way in all of a question
_MARKER = re.compile(
    r"(?P<gap>\n\s*|\s)(?P<open>\(?)(?P<letter>[A-D])(?P<close>[.):])(?=(?P<after>\s?))"
)
_ANSWER = re.compile(r"\(?([A-D])(?:[.):\s](?!\s*(?:and|or|&|,)\W*[A-D]\b)(.*))?", re.DOTALL)
_INITIAL = re.compile(r"(?:^|\s)(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Prof|Capt|Col|Gen|Rev|Messrs)\.$")
_ENDS = ("?", ".", "!", ":", "…", "_", '"', "”")


class Question(NamedTuple):
    """A row of a file: its part and number, the utterance's id, the question, its options, the
    answer from 0.
    """

    id: str
    utterance: str
    text: str
    options: tuple[str, ...]
    answer: int


def build(
    manifest: pd.DataFrame, accepted: Iterable[str], params: FewShot, seed: int
) -> list[Item]:
    """Return the questions about accepted clips of a corpus whose ids are LibriSpeech's.

    A question of the train part has the role of its clip's split, asked of the pool without its
    answer; of the few-shot clips `params.questions` are asked about, once each. Questions of the
    test part are those of split test. Options are shuffled and answers are balanced over the
    positions. Questions about other clips are left out, counted and logged. Raises ItemError for a
    file that cannot be used and a role without questions.
    """
    folder = Path(params.librisqa)
    clips = manifest[manifest["id"].isin(set(accepted))].set_index("id")[["split", "passage"]]
    places = {id: (str(split), str(passage)) for id, split, passage in clips.itertuples()}
    found: dict[str, list[Question]] = {
        "teacher": [],
        "fewshot": [],
        "validation": [],
        "test": [],
        "pool": [],
    }
    for part, name in FILES.items():
        questions, fits = (
            read(folder / name, part),
            {"test"} if part == "test" else set(found) - {"test"},
        )
        left_out = []
        for question in questions:
            role = places.get(question.utterance, ("", ""))[0]
            (found[role] if role in fits else left_out).append(question)
        _log_file(folder / name, len(questions), left_out, fits)
    for role in found:
        if not found[role]:
            raise ItemError(f"{folder}: no question is about a clip of split {role!r}")
    found["fewshot"] = _few(found["fewshot"], params.questions, seed)
    items = [
        _item(role, places[question.utterance][1], question)
        for role, questions in found.items()
        for question in _shuffled(questions, seed, role)
    ]
    return sorted(items, key=lambda item: item.id)


def read(path: Path, part: str) -> list[Question]:
    """Return the questions of a file, the train or the test part, but for the malformed ones.

    What is asked twice is kept once, and logged. Raises ItemError, naming file and row, where
    malformed ones are more than MALFORMED of all, where one question has two answers, and where
    nothing can be read.
    """
    questions: list[tuple[str, Question]] = []
    faults: list[str] = []
    for row, entry in enumerate(_entries(path), 1):
        try:
            questions.append((f"row {row}", _question(f"{ID}/{part}/{row:06d}", entry)))
        except ItemError as fault:
            faults.append(f"row {row}: {fault}")
    if faults and len(faults) > MALFORMED * (len(faults) + len(questions)):
        raise ItemError(
            f"{path}: {faults[0]} ({len(faults)} of {len(faults) + len(questions)} rows are "
            "malformed)"
        )
    if faults:
        _log.warning(
            "%s: %d malformed row(s) left out: %s", path, len(faults), "; ".join(faults[:3])
        )
    return _once(path, questions)


def _once(path: Path, questions: list[tuple[str, Question]]) -> list[Question]:
    """Return questions, each with its place, without those that ask the same again."""
    first: dict[str, Question] = {}
    rows = []
    for place, one in questions:
        options = " / ".join(sorted(map(_plain, one.options)))
        question = f"{one.utterance}: {one.text} {options}"
        first.setdefault(question, one)
        rows.append((place, question, _plain(one.options[one.answer])))
    try:
        return [first[question] for question in once(path, rows)]
    except TwiceError as error:
        raise ItemError(str(error)) from None


def _entries(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        entries = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else list(map(json.loads, text.splitlines()))
        )
    except (OSError, ValueError) as error:
        raise ItemError(
            f"{path}: not a readable JSON file ({' '.join(str(error).split())})"
        ) from None
    if not entries:
        raise ItemError(f"{path}: no questions")
    return entries


def _question(id: str, entry: Any) -> Question:
    """Return one question; ItemError that says what is wrong with it."""
    if not isinstance(entry, dict) or not all(
        isinstance(entry.get(field), str) for field in FIELDS
    ):
        raise ItemError(f"needs the texts {', '.join(FIELDS)}")
    speech, content, answer = (entry[field] for field in FIELDS)
    letter = _ANSWER.fullmatch(answer.strip())
    if letter is None:
        raise ItemError(f"answer={answer!r} is not one of {', '.join(LETTERS)}")
    place, answered = LETTERS.index(letter[1]), _plain(letter[2] or "")
    readings = _readings(content)
    if not readings:
        raise ItemError(f"question_and_option={content!r} has no options A to D")
    fitting = [one for one in readings if answered and _plain(one.options[place]) == answered]
    readings = fitting or readings
    if len(readings) > 1:
        raise ItemError(f"question_and_option={content!r} can be read in {len(readings)} ways")
    text, options = readings[0]
    distinct = {_plain(option) for option in options}
    if not all(re.search(r"\w", option) for option in options) or len(distinct) < len(options):
        raise ItemError(
            f"question_and_option={content!r} has an option without words, or one twice"
        )
    if answered in distinct - {_plain(options[place])}:
        raise ItemError(f"answer={answer!r} has the letter of one option and the text of another")
    return Question(id, PurePosixPath(speech).stem, text, options, place)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .")


class _Reading(NamedTuple):
    """One way to split a text into a question and its four options."""

    text: str
    options: tuple[str, ...]


def _readings(content: str) -> list[_Reading]:
    """Return the likeliest ways to read a text: options on lines of their own before others, and
    those in which no initial or title is taken for an option.
    """
    markers = list(_MARKER.finditer(content))
    on_lines = [marker for marker in markers if "\n" in marker["gap"]]
    ways = _ways(content, on_lines) or _ways(content, markers)
    tests = (
        lambda way: not any(_INITIAL.search(part) for part in (way.text, *way.options[:-1])),
        lambda way: way.text.endswith(_ENDS),
    )
    for test in tests:
        ways = [way for way in ways if test(way)] or ways
    return ways


def _ways(content: str, markers: list[re.Match]) -> list[_Reading]:
    """Return every way to take one marker a letter, in order and alike in style."""
    by_letter = [[one for one in markers if one["letter"] == letter] for letter in LETTERS]
    found = []
    for chosen in product(*by_letter):
        ordered = all(one.end() <= two.start() for one, two in pairwise(chosen))
        alike = {(one["open"], one["close"], bool(one["after"])) for one in chosen}
        if not ordered or len(alike) > 1:
            continue
        ends = [*(one.start() for one in chosen), len(content)]
        begins = [0, *(one.end() for one in chosen)]
        parts = [content[begin:end] for begin, end in zip(begins, ends, strict=True)]
        text, *options = (" ".join(part.split()) for part in parts)
        if text:
            found.append(_Reading(text, tuple(options)))
    return found


def _shuffled(questions: list[Question], seed: int, role: str) -> Iterator[Question]:
    """Yield questions with their options in random order, every position the answer's equally
    often.

    Where an option names others all stay where their author put them.
    """
    rng = np.random.default_rng([seed, *role.encode()])
    number = 0
    for question in questions:
        if any(map(names_others, question.options)):
            yield question
            continue
        options = list(question.options)
        answer = options.pop(question.answer)
        options = [str(option) for option in rng.permutation(options)]
        position = number % len(LETTERS)
        number += 1
        options.insert(position, answer)
        yield question._replace(options=tuple(options), answer=position)


def _item(role: str, passage: str, question: Question) -> Item:
    return Item(
        id=question.id,
        role=role,
        skill=SKILL,
        passage=passage,
        utterances=(question.utterance,),
        question=question.text,
        options=question.options,
        answer=UNKNOWN if role == "pool" else question.answer,
    )


def _few(questions: list[Question], number: int, seed: int) -> list[Question]:
    """Return `number` questions, each about another utterance; ItemError when there are too few."""
    once = list({question.utterance: question for question in questions}.values())
    if len(once) < number:
        raise ItemError(
            f"fewshot.questions={number} must be at most the few-shot clips with a LibriSQA "
            f"question, {len(once)}"
        )
    return [
        once[place] for place in np.random.default_rng([seed, 0]).permutation(len(once))[:number]
    ]


def _log_file(path: Path, number: int, left_out: list[Question], splits: set[str]) -> None:
    if left_out:
        some = ", ".join(question.utterance for question in left_out[:3])
        where = f"{number} questions are about no clip of split {', '.join(sorted(splits))}"
        _log.warning("%s: %d of %s, and left out: %s", path, len(left_out), where, some)
