"""Passages: runs of consecutive utterances, the last one withheld so that one can ask what comes
next.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from earshot.items.languages import words


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

    def part(self, start: int, stop: int) -> "Passage":
        """Return the passage restricted to some of its utterances; what follows it is then
        unknown.
        """
        texts = self.texts and self.texts[start:stop]
        return Passage(
            self.id,
            self.split,
            self.speaker,
            self.wording,
            self.utterances[start:stop],
            texts,
            self.next,
            self.language,
        )


def passages(manifest: pd.DataFrame, accepted: Iterable[str], seconds: float) -> list[Passage]:
    """Cut the manifest's groups into passages of at most `seconds`, using only accepted clips.

    The utterances of a group stay in order. Of a transcribed run of two or more, the last is
    withheld as `next`.
    """
    rows = manifest[manifest["id"].isin(set(accepted))]
    cut: list[Passage] = []
    for (split, group), clips in rows.groupby(["split", "passage"], sort=True):
        runs: list[list[int]] = [[]]
        total = 0.0
        for position, length in enumerate(clips["seconds"]):
            if runs[-1] and total + length > seconds:
                runs.append([])
                total = 0.0
            runs[-1].append(position)
            total += length
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
