"""Passages: runs of consecutive utterances, the last one withheld so that one can ask what comes
next.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import nan

import pandas as pd

from earshot.items.languages import every_word, words


@dataclass(frozen=True)
class Passage:
    """The audio (`utterances`, `text`) and the sentence that follows; `text` is None where
    nobody transcribed it.
    """

    id: str
    split: str
    speaker: str
    wording: str
    utterances: tuple[str, ...]
    texts: tuple[str, ...] | None
    next: str | None
    language: str | None = None

    @property
    def text(self) -> str:
        """The text of the audio; empty where it is unknown."""
        return " ".join(self.texts or ())

    @property
    def words(self) -> list[str]:
        """The content words of the text, each once, in order of appearance."""
        return words(self.text, self.language)

    @property
    def every_word(self) -> list[str]:
        """The words of the text, stop words among them, each once, in order of appearance."""
        return every_word(self.text, self.language)

    def part(self, start: int, stop: int) -> "Passage":
        """Return the passage restricted to some of its utterances.

        What follows is the first sentence behind them, unless those left out there say nothing
        new, as retellings do: then it is what follows the passage.
        """
        if self.texts is None:
            return replace(self, utterances=self.utterances[start:stop])
        texts, rest = self.texts[start:stop], self.texts[stop:]
        new = set(words(" ".join(rest), self.language)) - set(words(" ".join(texts), self.language))
        return replace(
            self,
            utterances=self.utterances[start:stop],
            texts=texts,
            next=rest[0] if new else self.next,
        )


def passages(manifest: pd.DataFrame, accepted: Iterable[str], seconds: float) -> list[Passage]:
    """Cut the manifest's groups into passages of at most `seconds`, using only accepted clips.

    The utterances of a group stay in order, and a passage ends where a clip between two others is
    missing or not accepted. Of a transcribed run of two or more, the last is withheld as `next`.
    """
    placed = manifest.assign(place=_places(manifest))
    rows = placed[placed["id"].isin(set(accepted))]
    cut: list[Passage] = []
    for (split, group), clips in rows.groupby(["split", "passage"], sort=True):
        runs = _runs(clips["place"].tolist(), clips["seconds"].tolist(), seconds)
        for number, run in enumerate(runs):
            taken = clips.iloc[run]
            transcribed = taken["text"].notna().all()
            withheld = transcribed and len(taken) > 1
            kept = taken.iloc[:-1] if withheld else taken
            cut.append(
                Passage(
                    id=f"{group}" if len(runs) == 1 else f"{group}/{number}",
                    split=str(split),
                    speaker=str(taken["speaker"].iloc[0]),
                    wording="unseen" if (taken["wording"] == "unseen").any() else "seen",
                    utterances=tuple(kept["id"]),
                    texts=tuple(kept["text"]) if transcribed else None,
                    next=str(taken["text"].iloc[-1]) if withheld else None,
                    language=taken["language"].iloc[0] if "language" in taken else None,
                )
            )
    return cut


def _places(manifest: pd.DataFrame) -> pd.Series:
    """Return the place of each clip in its group: neighbours differ by one.

    Where ids are the group's name and a number, as LibriSpeech's, that number shows which are
    missing; elsewhere the order of the rows is all there is.
    """
    pairs = zip(manifest["id"], manifest["passage"], strict=True)
    numbers = pd.Series([_number(id, group) for id, group in pairs], manifest.index, float)
    groups = manifest["passage"]
    numbered = numbers.notna().groupby(groups).transform("all")
    return numbers.where(numbered, manifest.groupby("passage").cumcount()).astype(int)


def _number(id: str, group: str) -> float:
    """Return the number behind the group's name in an id; NaN where there is none."""
    name, _, number = id.rpartition("-")
    return float(number) if name == group and number.isdecimal() else nan


def _runs(places: Sequence[int], lengths: Sequence[float], seconds: float) -> list[list[int]]:
    """Return the positions of clips by run: neighbours in the corpus, of at most `seconds`."""
    runs: list[list[int]] = []
    total = 0.0
    for position, length in enumerate(lengths):
        after = position > 0 and places[position] == places[position - 1] + 1
        if not after or total + length > seconds:
            runs.append([])
            total = 0.0
        runs[-1].append(position)
        total += length
    return runs
