"""Teachers that only transcribe: their transcripts, those that cannot be right set aside."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np

from earshot.features.recordings import Recordings
from earshot.models import accelerator
from earshot.params import Cache
from earshot.runtime.progress import chunks, workers
from earshot.tables.items import Item
from earshot.tasks.task import Task
from earshot.tasks.transcript import transcript_signals
from earshot.teacher.frames import Rows
from earshot.teacher.whisper import Hypothesis, Whisper
from earshot.text import alphabet
from earshot.training.batches import Group, by_audio

CHUNK = 64  # clips in memory
TOGETHER = 16  # clips that a GPU writes at once; a core is as fast with one
FASTEST = 7  # words a second, as fast as anyone speaks
PACE = 4.0  # tokens a second of speech, about
TIMES = 4  # so often in a row nobody says the same
SHOWN = 120  # characters of a transcript in the log
SURE = 0.8  # a language's probability above which a clip is in it
_log = logging.getLogger(__name__)


def transcribed(
    teacher: Whisper, recordings: Recordings, groups: Iterable[Group]
) -> Iterator[tuple[Group, Hypothesis, float]]:
    """Yield each passage, what the teacher writes of it, and its seconds; a chunk is in memory.

    On all cores, a clip on each, or several together on the GPU.
    """

    def samples(group: Group) -> np.ndarray:
        audio, view, _ = group
        return np.concatenate([recordings[utterance, view] for utterance in audio])

    # Threads do, as torch leaves the GIL while it computes.
    with accelerator.hosting(teacher), ThreadPoolExecutor(workers()) as pool:
        gpu = accelerator.on_gpu()
        every, size = (map, TOGETHER) if gpu else (pool.map, 1)
        for some in chunks(groups, CHUNK):
            clips = list(pool.map(samples, some))
            hypotheses = chain.from_iterable(every(teacher.transcribe, chunks(clips, size)))
            for group, clip, hypothesis in zip(some, clips, hypotheses, strict=True):
                yield group, hypothesis, len(clip) / recordings.sample_rate


def signals(
    teacher: Whisper,
    task: Task,
    recordings: Recordings,
    params: Cache,
    groups: Iterable[Group],
) -> Iterator[Rows]:
    """Yield passage by passage rows of `symbols` and `confidence`, as `transcript_signals`.

    A transcript with a `fault` is set aside, which leaves a blank of it; each is named in the log,
    and at the end how many of which kind there are.
    """
    faults: Counter[str] = Counter()
    total = 0
    for (_, view, items), hypothesis, seconds in transcribed(teacher, recordings, groups):
        rows: Rows = {"symbols": [], "confidence": []}
        for item in items:
            total += 1
            language = item.language or teacher.language
            wrong = fault(hypothesis, seconds, item.options, language)
            if wrong:
                faults[wrong] += 1
                of_view = f" in view {view}" if view else ""
                _log.warning(
                    "clip %s%s: its transcript %s: %r",
                    item.id,
                    of_view,
                    wrong,
                    hypothesis.text[:SHOWN],
                )
            text = alphabet.normalised(hypothesis.text, item.options, item.language)
            ids = [] if wrong else alphabet.encode(text, item.options)
            for name, values in transcript_signals(ids, hypothesis.confidence).items():
                rows[name].append((item.id, view, values))
        yield rows
    if faults:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(faults.items()))
        _log.warning("%d of %d transcripts are set aside: %s", faults.total(), total, kinds)


def fault(
    hypothesis: Hypothesis, seconds: float, symbols: Sequence[str], language: str | None = None
) -> str | None:
    """Return why nobody should learn from what was written of so many seconds; None where it may be
    right. Recognisers that write token by token go astray in silence and noise.
    """
    text = alphabet.normalised(hypothesis.text, symbols, language)
    words = text.split()
    if not words:
        return "has no words"
    if language and another(hypothesis.languages, language):
        return "is of another language"
    if alphabet.foreign(text, symbols):
        return "has characters that the alphabet lacks"
    if repeats(words):
        return "repeats itself"
    if not hypothesis.ended:
        return "comes to no end"
    if len(words) > 1 + FASTEST * seconds:
        return "has more words than its seconds can hold"
    return None


def another(languages: Mapping[str, float], language: str) -> bool:
    """Return whether a clip is in another language than this tag's, by the probabilities of those
    that a teacher tells apart.

    >>> another({"de": 0.9, "en": 0.1}, "en-GB")
    True
    """
    tag = language.partition("-")[0]
    return any(share > SURE for name, share in languages.items() if name != tag)


def repeats(words: Sequence[str], times: int = TIMES) -> bool:
    """Return whether the same words follow one another so many times.

    >>> repeats("and so and so and so and so on".split())
    True
    """
    for size in range(1, len(words) // times + 1):
        run = 0
        for place in range(size, len(words)):
            run = run + 1 if words[place] == words[place - size] else 0
            if run == size * (times - 1):
                return True
    return False


def answers(
    teacher: Whisper, task: Task, recordings: Recordings, items: Sequence[Item]
) -> dict[str, np.ndarray]:
    """Return a path `(T,)`, int16, that writes what the teacher does, by item id; nothing is set
    aside.

    Of a word the characters that the alphabet lacks are left out.
    """
    groups = [(audio, 0, group) for audio, group in by_audio(items).items()]
    found = {}
    for (_, _, about), hypothesis, _ in transcribed(teacher, recordings, groups):
        for item in about:
            text = alphabet.normalised(hypothesis.text, item.options, item.language)
            foreign = str.maketrans("", "", "".join(alphabet.foreign(text, item.options)))
            ids = alphabet.encode(text.translate(foreign), item.options)
            found[item.id] = np.array(alphabet.path(ids), np.int16)
    return found


def respond(teacher: Whisper, task: Task, samples: np.ndarray, item: Item) -> None:
    """Write `PACE` tokens a second of samples `(N,)`, whatever they hold; costs are of this."""
    teacher.transcribe([samples], PACE)
