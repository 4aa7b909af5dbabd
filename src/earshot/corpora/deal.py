"""Roles for recordings: those that a corpus gives, or dealt in groups in a fixed hash order."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from earshot.corpora.shapes.row import Row
from earshot.params import OwnRecordings
from earshot.tables.manifest import CorpusError
from earshot.text.sentences import compared

HELD_OUT = ("test", "validation")


def roles(
    rows: Sequence[Row], names: Sequence[str], params: OwnRecordings, seed: int
) -> list[str | None]:
    """Return the role of each row; None where it is left out, for it is of a group held out.

    `names` are the rows' ids. Rows of one speaker, place, longer recording or sentence are a group,
    which is never divided. Of groups without a split the shares `test` and `validation` are held
    out, of each class apart. Of what is for training and has a text, the shares `fewshot` and
    `teacher` are labelled, and the rest is the pool; with labels all of it is the pool, of which
    the items draw (`fewshot.share`). CorpusError where there are too few groups, and for a row of
    test or validation that says neither text nor label.
    """
    groups = _groups(rows, names, params)
    given = [row.split for row in rows]
    missing = [role for role in HELD_OUT if role not in given]
    dealt: list[str | None] = [split or "train" for split in given]
    _keep_apart(dealt, groups)
    for stratum in _strata(rows, groups, dealt) if missing else ():
        order = _ordered(stratum, seed)
        shares = [getattr(params, role) for role in missing]
        _require(order, rows, groups, len(missing))
        for role, members in zip(missing, _taken(order, shares), strict=True):
            dealt = [
                role if group in members and was == "train" else was
                for was, group in zip(dealt, groups, strict=True)
            ]
    labelled = {
        group
        for group, row, role in zip(groups, rows, dealt, strict=True)
        if role == "train" and row.text
    }
    order = [] if "fewshot" in given else _ordered(labelled, seed)
    parts = _taken(order, [params.fewshot, params.teacher]) if order else [set(), set()]
    for name, members in zip(("fewshot", "teacher"), parts, strict=True):
        dealt = [
            name if role == "train" and group in members and row.text else role
            for role, group, row in zip(dealt, groups, rows, strict=True)
        ]
    found = ["pool" if role == "train" else role for role in dealt]
    _check(rows, found)
    return found


def _groups(rows: Sequence[Row], names: Sequence[str], params: OwnRecordings) -> list[str]:
    """Return the name of each row's group: the first of the rows that hang together with it."""
    first: dict[tuple[str, str], int] = {}
    parent = list(range(len(rows)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for place, row in enumerate(rows):
        speaker = row.speaker if params.speakers == "named" else None
        sentence = compared(row.text) if row.text else None
        for kind, trait in (("speaker", speaker), ("group", row.group), ("text", sentence)):
            if trait is not None:
                other = root(first.setdefault((kind, trait), place))
                one = root(place)
                parent[max(one, other)] = min(one, other)
    return [names[root(place)] for place in range(len(rows))]


def _keep_apart(dealt: list[str | None], groups: Sequence[str]) -> None:
    """Leave out what is in the group of a row of the test, or else of validation."""
    for place, role in enumerate(HELD_OUT):
        of_role = {group for group, was in zip(groups, dealt, strict=True) if was == role}
        held = HELD_OUT[: place + 1]
        for row, (group, was) in enumerate(zip(groups, dealt, strict=True)):
            if was is not None and was not in held and group in of_role:
                dealt[row] = None


def _strata(
    rows: Sequence[Row], groups: Sequence[str], dealt: Sequence[str | None]
) -> list[set[str]]:
    """Return the groups of what is for training, by class; those of several classes together."""
    labels: dict[str, set[str | None]] = {}
    for row, group, role in zip(rows, groups, dealt, strict=True):
        if role == "train" and (row.label or row.text):
            labels.setdefault(group, set()).add(row.label)
    strata: dict[str | None, set[str]] = {}
    for group, of_group in labels.items():
        strata.setdefault(next(iter(of_group)) if len(of_group) == 1 else None, set()).add(group)
    return [strata[label] for label in sorted(strata, key=str)]


def _ordered(groups: Iterable[str], seed: int) -> list[str]:
    return sorted(groups, key=lambda name: hashlib.sha256(f"{seed}|{name}".encode()).digest())


def _taken(order: Sequence[str], shares: Sequence[float]) -> list[set[str]]:
    """Return what each share takes of the order, one after the other: at least one where it is
    above 0.
    """
    parts, begin = [], 0
    for share in shares:
        count = max(1, round(share * len(order))) if share else 0
        parts.append(set(order[begin : begin + count]))
        begin += count
    return parts


def _require(
    order: Sequence[str], rows: Sequence[Row], groups: Sequence[str], missing: int
) -> None:
    if len(order) > missing:
        return
    place = groups.index(order[0])
    of_class = f"class {rows[place].label!r}" if rows[place].label else "the corpus"
    raise CorpusError(
        f"{rows[place].where}: {of_class} has {len(order)} group(s) of recordings, and at least "
        f"{missing + 1} are needed; with corpus.speakers=clip a clip counts as a speaker's own"
    )


def _check(rows: Sequence[Row], found: Sequence[str | None]) -> None:
    counts = Counter(found)
    for role in (*HELD_OUT, "pool"):
        if not counts[role] and not (role == "pool" and counts["fewshot"]):
            raise CorpusError(
                f"{rows[0].where}: nothing is left for {role}: {counts[None]} recording(s) are of "
                "a speaker, place or sentence of the test or validation; with corpus.speakers=clip "
                "a clip counts as a speaker's own"
            )
    for row, role in zip(rows, found, strict=True):
        if role in HELD_OUT and row.text is None and row.label is None:
            raise CorpusError(f"{row.where}: neither text nor label, though it is for {role}")
