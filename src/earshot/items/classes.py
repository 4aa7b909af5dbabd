"""The labelled subset of the training clips, the unlabelled pool and the test: items whose options
are the classes.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from earshot.items import leaks
from earshot.params import Labels
from earshot.tables import items
from earshot.tables.items import CLASS_SKILL, UNKNOWN, Item, ItemError

ROLES = ("fewshot", "pool", "validation", "test")
SPLITS = ("pool", "validation", "test")
LABELLED = ("fewshot", "validation", "test")


def build(manifest: pd.DataFrame, accepted: Iterable[str], params: Labels, seed: int) -> list[Item]:
    """Return an item per accepted clip, in the manifest's order; its options are the classes, in
    alphabetical order.

    Of the training clips (split `pool`) those in `params.share` percent get the role `fewshot` and
    keep their label; the rest is the pool, whose labels are not passed on. Subsets are the corpus'
    lists, or else drawn (`drawn`).

    Raises ItemError, naming clip or class, for a labelled clip without label, a label that no
    training clip has, a class that a labelled role lacks, and another split.
    """
    clips = manifest[manifest["id"].isin(set(accepted))].reset_index(drop=True)
    for row in clips[~clips["split"].isin(SPLITS)].itertuples():
        raise ItemError(f"clip {row.id}: split {row.split!r} is not one of {', '.join(SPLITS)}")
    for split in SPLITS:
        if not (clips["split"] == split).any():
            raise ItemError(
                f"split {split!r} has no recordings that can be used: the pipeline needs some in "
                f"{', '.join(SPLITS)}"
            )
    training = clips["split"] == "pool"
    labelled = _labelled(manifest, clips[training], params.share, seed)
    roles = clips["split"].mask(labelled.reindex(clips.index, fill_value=False), "fewshot")
    classes = sorted(clips["label"][training].dropna().unique())
    _check_labels(clips, roles, classes)
    code = {label: number for number, label in enumerate(classes)}
    return [
        Item(
            id=row.id,
            role=role,
            skill=CLASS_SKILL,
            passage=row.location or row.passage,
            utterances=(row.id,),
            question="",
            options=tuple(classes),
            answer=UNKNOWN if role == "pool" else code[row.label],
        )
        for row, role in zip(clips.itertuples(), roles, strict=True)
    ]


def _labelled(manifest: pd.DataFrame, training: pd.DataFrame, share: int, seed: int) -> pd.Series:
    """Return whether each training clip keeps its label."""
    given = sorted(manifest["subset"].dropna().astype(int).unique().tolist())
    if not given:
        return drawn(training, share, seed)
    if share not in given:
        raise ItemError(
            f"fewshot.share={share}: the corpus has no list of that share (of TAU 2022: "
            f"split{share}.csv), but of {', '.join(map(str, given))} percent"
        )
    return pd.to_numeric(training["subset"]) <= share  # NaN, in none, is false


def _check_labels(clips: pd.DataFrame, roles: pd.Series, classes: Sequence[str]) -> None:
    """Raise ItemError unless labelled clips have known labels, and their roles all classes."""
    for row in clips[roles.isin(LABELLED) & clips["label"].isna()].itertuples():
        raise ItemError(f"clip {row.id}: no label, though its role is {roles[row.Index]}")
    for row in clips[roles.isin(LABELLED) & ~clips["label"].isin(classes)].itertuples():
        raise ItemError(
            f"clip {row.id}: label {row.label!r} is not that of any training clip "
            f"({', '.join(classes)})"
        )
    for role in LABELLED:
        missing = sorted(set(classes) - set(clips["label"][roles == role]))
        if missing:
            raise ItemError(
                f"class {missing[0]}: no {role} clip ({len(missing)} of {len(classes)} classes "
                "lack one)"
            )


def drawn(training: pd.DataFrame, share: int, seed: int) -> pd.Series:
    """Return whether each training clip is in a drawn subset of `share` percent; a larger share
    holds a smaller one.

    Whole segments (`passage`) are drawn, class by class: every class gets equally many clips, as
    near as its segments come to that and as far as it has so many. Clips without label are never
    drawn.
    """
    known = training[training["label"].notna()]
    sizes = known.groupby("label").size()
    quota = _quota(sizes.tolist(), share / 100 * len(known))
    chosen = pd.Series(False, training.index)
    for label, clips in known.groupby("label"):
        segments = clips.groupby("passage").size()
        order = segments.iloc[
            np.random.default_rng([seed, *str(label).encode()]).permutation(len(segments))
        ]
        distance = (order.cumsum() - quota).abs().to_numpy()
        taken = order.index[: 1 + int(distance.argmin())]
        chosen[clips.index[clips["passage"].isin(taken)]] = True
    return chosen


def _quota(sizes: list[int], total: float) -> float:
    """Return q with Σ min(size, q) = total: what each class gives when those that have too little
    give all.
    """
    for taken, size in enumerate(sorted(sizes)):
        equal = total / (len(sizes) - taken)
        if size >= equal:
            return equal
        total -= size
    return float(max(sizes, default=0))


def check(every: Sequence[Item], manifest: pd.DataFrame) -> dict[str, Any]:
    """Raise ItemError where something leaks into the test; return each role's items by class and
    device, and minutes.
    """
    items.check_options(every, (CLASS_SKILL,))
    leaks.check_splits(every, manifest)
    devices = items.devices(every, manifest)
    report: dict[str, Any] = {"items": {}, "devices": {}}
    for role in ROLES:
        of_role = [item for item in every if item.role == role]
        known = [item.options[item.answer] for item in of_role if item.answer != items.UNKNOWN]
        report["items"][role] = {"all": len(of_role), **Counter(known)}
        report["devices"][role] = dict(Counter(devices[item.id] for item in of_role))
    return report | {"minutes": items.minutes(every, manifest, ROLES)}
