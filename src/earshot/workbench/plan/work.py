"""How much there is to do: clips, seconds, passages and items of each role; counted, or derived
where no corpus is yet.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from earshot.corpora import archives
from earshot.corpora.synthetic import scenes, speech
from earshot.features import views as augment
from earshot.params import TAU2022, LibriSpeech, SyntheticScenes, SyntheticSpeech, Track
from earshot.tables import items
from earshot.tables.manifest import read_manifest

LETTER = 0.051  # seconds a letter of the embedded speech takes
# Hours and utterances as the corpus' own tables have them (Panayotov et al. 2015); Mini
# LibriSpeech's are in its names.
LIBRISPEECH = {
    "train-clean-100": (100.6, 28_539), "train-clean-360": (363.6, 104_014), "train-other-500": (496.7, 148_688),
    "dev-clean": (5.4, 2_703), "dev-other": (5.3, 2_864), "test-clean": (5.4, 2_620), "test-other": (5.1, 2_939),
    "train-clean-5": (5.0, 1_519), "dev-clean-2": (2.0, 1_089),
}  # fmt: skip
TAU_TRAIN, TAU_TEST, TAU_MAIN = (
    139_620,
    29_680,
    0.73,
)  # clips of a second, and the share of training's that device a has


@dataclass(frozen=True)
class Amount:
    """Recordings: how many, how long together, in how many versions each (itself included), how
    many passages and items.
    """

    clips: float = 0.0
    seconds: float = 0.0
    views: float = 1.0
    passages: float = 0.0
    items: float = 0.0

    @property
    def heard(self) -> float:
        """Seconds of audio in all views."""
        return self.seconds * self.views


@dataclass(frozen=True)
class Work:
    """What a track's stages work through: the corpus, the items' roles, and where the figures come
    from.
    """

    corpus: Amount
    roles: Mapping[str, Amount]
    basis: str

    def of(self, *roles: str) -> Amount:
        """Return the roles' amounts together."""
        return _sum(self.roles[role] for role in roles if role in self.roles)


def count(name: str, track: Track, seed: int, stale: Iterable[str] = ()) -> Work | None:
    """Return a track's work; None where nobody can know it before the corpus is there.

    `stale` names the stages that will run (`download@listening`): what they write is not counted
    on.
    """
    manifest, asked = Path(f"data/{name}/manifest.parquet"), Path(f"data/{name}/items.parquet")
    stale = set(stale)
    if manifest.is_file() and f"download@{name}" not in stale:
        table = read_manifest(manifest)
        corpus = _amount(table, track)
        if asked.is_file() and f"fewshot@{name}" not in stale:
            return Work(corpus, _counted(items.read(asked), table, track), "counted")
        splits = {str(split): _amount(rows, track) for split, rows in table.groupby("split")}
        return Work(corpus, _roles(splits, track, seed), "the manifest")
    splits = _splits(track, seed)
    return splits and Work(_sum(splits.values()), _roles(splits, track, seed), "the parameters")


def _sum(amounts: Iterable[Amount]) -> Amount:
    some = list(amounts)
    seconds = sum(one.seconds for one in some)
    views = sum(one.heard for one in some) / seconds if seconds else 1.0
    totals = {
        field: sum(getattr(one, field) for one in some) for field in ("clips", "passages", "items")
    }
    return Amount(seconds=seconds, views=views, **totals)


def _amount(table: pd.DataFrame, track: Track) -> Amount:
    views = len(_keys(table, track)) / max(1, len(table))
    return Amount(len(table), float(table["seconds"].sum()), views)


def _keys(table: pd.DataFrame, track: Track) -> list[tuple[str, int]]:
    try:
        return augment.keys(table, track.views)
    except augment.ViewError:  # of a split without such devices
        return [(id, 0) for id in table["id"]]


def _counted(asked: list[items.Item], table: pd.DataFrame, track: Track) -> dict[str, Amount]:
    seconds = dict(zip(table["id"], table["seconds"], strict=True))
    views = pd.Series([id for id, _ in _keys(table, track)]).value_counts()
    roles = {}
    for role in {item.role for item in asked}:
        mine = [item for item in asked if item.role == role]
        passages = {item.utterances for item in mine}
        heard = {utterance for passage in passages for utterance in passage}
        long = sum(seconds[id] for id in heard)
        seen = (
            sum(seconds[id] * views[id] for id in heard) / long
            if role in ("fewshot", "pool", "teacher")
            else 1.0
        )
        roles[role] = Amount(len(heard), long, seen, len(passages), len(mine))
    return roles


def _splits(track: Track, seed: int) -> dict[str, Amount] | None:
    """Return the amounts of a corpus' splits, from what makes or describes it."""
    corpus = track.corpus
    if isinstance(corpus, SyntheticSpeech):
        return {
            split: _spoken(split, number, corpus, seed) for split, number in corpus.passages.items()
        }
    if isinstance(corpus, SyntheticScenes):
        train = 10 * corpus.segments["train"] * corpus.clips["train"]
        test = 10 * corpus.segments["test"] * corpus.clips["test"] * len(scenes.DEVICES)
        return _scenes(train, test, corpus.validation_share, track, scenes.MAIN_SHARE)
    if isinstance(corpus, TAU2022):
        share = _share_of_audio(corpus)
        return _scenes(
            share * TAU_TRAIN, share * TAU_TEST, corpus.validation_share, track, TAU_MAIN
        )
    if isinstance(corpus, LibriSpeech):
        return _librispeech(corpus)
    return None


def _spoken(
    split: str, passages: int, corpus: SyntheticSpeech, seed: int, closings: bool = True
) -> Amount:
    told = corpus.fewshot_retellings if split == "fewshot" else 1
    lines = speech.script(split, passages, told, seed)
    letters = [len(line.text) for line in lines if closings or int(line.id[-2:]) < told]
    return Amount(len(letters), LETTER * sum(letters), passages=passages)


def _scenes(
    train: float, test: float, validation_share: float, track: Track, main: float
) -> dict[str, Amount]:
    more = track.views.count * (main if track.views.devices else 1.0)
    held_out = train * validation_share
    return {
        "pool": Amount(train - held_out, train - held_out, 1 + more),
        "validation": Amount(held_out, held_out),
        "test": Amount(test, test),
    }


def _share_of_audio(corpus: TAU2022) -> float:
    """Return the share of the corpus' clips that the chosen archives hold, by their bytes."""
    table = archives.TAU2022_PARTS
    audio = {part: archive.size for part, archive in table.items() if part.startswith("audio")}
    chosen = {part.name for part in archives.plan(corpus)} & set(audio)
    return sum(audio[part] for part in chosen) / sum(audio.values()) if chosen else 1.0


def _librispeech(corpus: LibriSpeech) -> dict[str, Amount] | None:
    splits: dict[str, list[Amount]] = {}
    for prefix, split in corpus.splits.items():
        if prefix not in LIBRISPEECH:  # some speakers alone: which and how many is not known before
            return None
        hours, clips = LIBRISPEECH[prefix]
        total = sum(corpus.auto.values())
        dealt = (
            {one: part / total for one, part in corpus.auto.items()}
            if split == "auto"
            else {split: 1.0}
        )
        for one, share in dealt.items():
            splits.setdefault(one, []).append(Amount(share * clips, share * 3600 * hours))
    return {split: _sum(amounts) for split, amounts in splits.items()}


def _roles(splits: Mapping[str, Amount], track: Track, seed: int) -> dict[str, Amount]:
    if track.task == "classes":
        share, train = track.fewshot.share / 100, splits["pool"]
        parts = {"fewshot": (train, share), "pool": (train, 1 - share)}
        parts |= {
            split: (splits[split], 1.0) for split in ("validation", "test") if split in splits
        }
        return {
            role: Amount(
                part * of.clips, part * of.seconds, of.views, part * of.clips, part * of.clips
            )
            for role, (of, part) in parts.items()
        }
    roles = {split: _asked(split, amount, track, seed) for split, amount in splits.items()}
    if "fewshot" in roles:
        roles |= _few(roles["fewshot"], splits["fewshot"], track)
    return roles


def _asked(split: str, of: Amount, track: Track, seed: int) -> Amount:
    """Return a split as passages: of each the last utterance is withheld, where it has more than
    one.
    """
    asked, each = track.fewshot, of.seconds / max(1.0, of.clips)
    questions = asked.details_per_passage * ("detail" in asked.skills) + len(
        set(asked.skills) - {"detail"}
    )
    items = (
        asked.pool.questions
        if split == "pool"
        else questions * (asked.teacher_rounds if split == "teacher" else 1)
    )
    if isinstance(track.corpus, SyntheticSpeech):
        number = track.corpus.passages[split]
        heard = _spoken(split, number, track.corpus, seed, closings=False)
        return Amount(heard.clips, heard.seconds, of.views, number, number * items)
    passages = of.seconds / max(each, asked.passage_seconds - each / 2)
    clips = max(passages, of.clips - passages)
    return Amount(clips, clips * each, of.views, passages, passages * items)


def _few(few: Amount, split: Amount, track: Track) -> dict[str, Amount]:
    """Return the few questions' passages, and the rest of the same passages, a segment each
    (`paper`).
    """
    number = min(track.fewshot.questions, few.passages)
    clips, each = number * few.clips / max(1.0, few.passages), split.seconds / max(1.0, split.clips)
    rest = number * round(track.fewshot.paper_share * clips / number) if number else 0.0
    return {
        "fewshot": Amount(clips - rest, (clips - rest) * each, few.views, number, number),
        "paper": Amount(rest, rest * each, 1.0, rest, rest),
    }
