"""TAU Urban Acoustic Scenes 2022 Mobile as it lies on disk, the subset lists of DCASE 2024 and
2025, and anything laid out so.

Clips of the training list are split `pool`, but for those of some locations, which are
`validation`; `test` keeps the order of the test list. A corpus without lists has its locations
dealt out. Clips that no list names are left out.
"""

import csv
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from earshot.corpora import archives, delimited
from earshot.features import audio, responses
from earshot.params import TAU2022
from earshot.runtime import parallel
from earshot.runtime.files import atomic
from earshot.tables.manifest import Clip, CorpusError

COLUMNS = ("filename", "scene_label", "identifier", "source_label")
SUBSETS = (5, 10, 25, 50, 100)
# The first that is there: DCASE 2025 hands out split25.csv alone.
TRAIN = ("fold1_train.csv", *(f"split{percent}.csv" for percent in reversed(SUBSETS)))
TEST = ("test.csv", "fold1_test.csv", "fold1_evaluate.csv")
MAIN_DEVICE = "a"


def build(params: TAU2022, folder: Path, seed: int) -> Iterator[Clip]:
    """Yield training and validation clips in the order of the training list, then the test's in
    that of its list.

    The parts of `params.download` are brought to the root first. `seed` deals locations to
    validation, and to the test where there is no list. Clips played through the responses of
    `params.simulated` are written to `folder` and follow those of their split. Raises CorpusError,
    naming file and clip, for whatever is missing, unknown or contradictory, and what
    `archives.provide` raises.
    """
    if params.download:
        archives.provide(params)
    root = Path(params.root)
    meta = _meta(root / params.meta)
    train, test, origin = _split(params, meta, root, seed)
    _check_files(root, pd.concat([train, test])["filename"], root / params.meta)
    train = train.assign(subset=_subsets(root, train, meta))
    held_out = validation_locations(train, params.validation_share, seed, origin)
    train = train.assign(split=np.where(train["identifier"].isin(held_out), "validation", "pool"))
    test = test.assign(split="test", subset=None)
    seen = [device for device in params.simulated if device not in params.unseen_devices]
    for table, devices in ((train, seen), (test, list(params.simulated))):
        yield from _clips(table, root)
        yield from _simulated(params, table, devices, root, folder, set(meta.index))


def files(params: TAU2022) -> list[Path]:
    """Return the table of clips, the lists, and the responses of simulated devices."""
    root = Path(params.root)
    lists = [*sorted(root.glob("*.csv")), *sorted((root / "evaluation_setup").glob("*.csv"))]
    table = [Path(params.download.table)] if params.download and params.download.table else []
    responses = [Path(file) for file in params.simulated.values()]
    return [*dict.fromkeys([root / params.meta, *lists]), *table, *responses]


def validation_locations(
    train: pd.DataFrame, share: float, seed: int, origin: str | Path
) -> set[str]:
    """Return the identifiers of the training locations that are for validation: in each class
    `share` of them, at least one.

    `train` has columns `scene_label` and `identifier`. Raises CorpusError naming `origin` and a
    class at one location only.
    """
    return _deal(train, share, np.random.default_rng([seed, 0]), "validation_share", origin)


def _deal(
    table: pd.DataFrame, share: float, rng: np.random.Generator, name: str, origin: str | Path
) -> set[str]:
    places = {
        label: sorted(group.unique()) for label, group in table.groupby("scene_label")["identifier"]
    }
    dealt: set[str] = set()
    for label, of_class in places.items() if share > 0 else ():
        wanted = min(max(1, int(share * len(of_class) + 0.5)), len(of_class) - 1)
        for place in rng.permutation(of_class).tolist():
            # A place may have several classes; none of them may lose its last one.
            spared = all(set(rest) - dealt - {place} for rest in places.values() if place in rest)
            if spared and len(dealt.intersection(of_class)) < wanted:
                dealt.add(place)
        if not dealt.intersection(of_class):
            only = f"{label!r} is at one location only ({of_class[0]})"
            raise CorpusError(f"{origin}: {only}; {name}={share} needs another")
    return dealt


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    table = delimited.read(path, columns, COLUMNS, csv.QUOTE_MINIMAL)
    return delimited.once(path, table, "filename")


def _meta(path: Path) -> pd.DataFrame:
    """Return the table of all clips, indexed by their id, with `passage`: the recording that a clip
    was cut from.
    """
    table = _read(path, COLUMNS)[list(COLUMNS)]
    ids = table["filename"].str.rsplit("/", n=1).str[-1].str.rsplit(".", n=1).str[0]
    fields = ids.str.rsplit("-", n=2, expand=True)
    wrong = (
        fields[2] != table["source_label"] if fields.shape[1] == 3 else pd.Series(True, table.index)
    )
    if wrong.any():
        row = table[wrong].iloc[0]
        device = f"its device being {row['source_label']!r}"
        raise CorpusError(f"{path}: {row['filename']!r} does not end in -CLIP-DEVICE, {device}")
    table = table.set_index(ids).assign(passage=fields[0].to_numpy())
    if (twice := table.index.duplicated()).any():
        raise CorpusError(f"{path}: two files are called {table.index[twice][0]!r}")
    return table


def _list(root: Path, *names: str) -> Path | None:
    """Return the first of some lists that lies in the corpus' folder or its evaluation_setup, or
    None.
    """
    return next(
        (p for n in names for p in (root / n, root / "evaluation_setup" / n) if p.is_file()), None
    )


def _listed(path: Path, meta: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `meta` that a list names, in its order; CorpusError where the two
    disagree.
    """
    table = _read(path, ("filename",))
    position = pd.Index(meta["filename"]).get_indexer(table["filename"])
    if (position < 0).any():
        raise CorpusError(
            f"{path}: {table['filename'][position < 0].iloc[0]!r} is not in the table of clips"
        )
    rows = meta.iloc[position]
    if "scene_label" in table:
        labels, known = table["scene_label"].to_numpy(), rows["scene_label"].to_numpy()
        if (differ := labels != known).any():
            first = int(np.argmax(differ))
            problem = (
                "conflicts with" if labels[first] in set(meta["scene_label"]) else "is unknown;"
            )
            name = table["filename"].iloc[first]
            other = f"{known[first]!r} in the table of clips"
            raise CorpusError(f"{path}: {name!r}: label {labels[first]!r} {problem} {other}")
    return rows


def _split(
    params: TAU2022, meta: pd.DataFrame, root: Path, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, Path]:
    """Return the training and the test clips, and the file that says so."""
    paths = {name: path for name in (*TRAIN, *TEST) if (path := _list(root, name))}
    if not paths:
        origin = root / params.meta
        dealt = _deal(
            meta, params.test_share, np.random.default_rng([seed, 1]), "test_share", origin
        )
        tested = meta["identifier"].isin(dealt)
        return (
            meta[~tested & ~meta["source_label"].isin(params.unseen_devices)],
            meta[tested],
            origin,
        )
    for wanted in (TRAIN, TEST):
        if not paths.keys() & set(wanted):
            raise CorpusError(
                f"{root}: {next(iter(paths))} is there, but none of {', '.join(wanted)}"
            )
    listed = {
        name: _listed(path, meta) for name, path in paths.items()
    }  # all of them must agree with the table
    of_train, of_test = (next(name for name in names if name in paths) for names in (TRAIN, TEST))
    train, test = listed[of_train], listed[of_test]
    if (unseen := train["source_label"].isin(params.unseen_devices)).any():
        row = train[unseen].iloc[0]
        device = f"{row['source_label']!r}, which is for the test alone"
        raise CorpusError(f"{paths[of_train]}: {row['filename']!r} is of device {device}")
    if both := sorted(set(train["identifier"]) & set(test["identifier"])):
        raise CorpusError(
            f"{paths[of_train]}: location {both[0]!r} is also in {of_test} ({len(both)} such)"
        )
    if strange := sorted(set(test["scene_label"]) - set(train["scene_label"])):
        raise CorpusError(f"{paths[of_test]}: label {strange[0]!r} is unknown in {of_train}")
    return train, test, paths[of_train]


def _subsets(root: Path, train: pd.DataFrame, meta: pd.DataFrame) -> np.ndarray:
    """Return for each training clip the smallest subset (percent) that lists it, or None, as
    objects `(N,)`.
    """
    smallest = np.full(len(train), None, dtype=object)
    segments = (train["passage"] + "-" + train["source_label"]).to_numpy()
    previous, inside = None, np.zeros(len(train), dtype=bool)
    for percent in SUBSETS:
        if (path := _list(root, f"split{percent}.csv")) is None:
            continue
        rows = _listed(path, meta)
        if not (known := rows.index.isin(train.index)).all():
            raise CorpusError(
                f"{path}: {rows['filename'][~known].iloc[0]!r} is not a training clip"
            )
        listed = train.index.isin(rows.index)
        if (lost := inside & ~listed).any():
            name = train["filename"][lost].iloc[0]
            raise CorpusError(f"{path}: {name!r} is missing, though {previous.name} has it")
        cut = np.intersect1d(segments[listed], segments[~listed])
        if len(cut):
            raise CorpusError(
                f"{path}: segment {cut[0]!r} is cut in two: only some of its clips are listed"
            )
        smallest[listed & ~inside] = percent
        previous, inside = path, listed
    return smallest


def _check_files(root: Path, names: pd.Series, origin: Path) -> None:
    present = {
        folder: {entry.name for entry in os.scandir(root / folder)}
        if (root / folder).is_dir()
        else set()
        for folder in names.str.rpartition("/")[0].unique()
    }
    absent = [
        name for name in names if name.rpartition("/")[2] not in present[name.rpartition("/")[0]]
    ]
    if absent:
        count = f"{len(absent)} of {len(names)} are missing"
        raise CorpusError(f"{origin}: {root / absent[0]}: no such file ({count})")


def _clips(table: pd.DataFrame, root: Path) -> Iterator[Clip]:
    columns = (
        "filename",
        "scene_label",
        "identifier",
        "source_label",
        "passage",
        "split",
        "subset",
    )
    for id, name, label, place, device, passage, split, subset in zip(
        table.index, *(table[c].tolist() for c in columns), strict=True
    ):
        path = root / name
        yield Clip(
            id,
            str(path),
            *audio.header(path),
            speaker=place,
            split=split,
            text=None,
            passage=passage,
            label=label,
            device=device,
            location=place,
            subset=subset,
        )


def _simulated(
    params: TAU2022,
    table: pd.DataFrame,
    devices: list[str],
    root: Path,
    folder: Path,
    taken: set[str],
) -> Iterator[Clip]:
    """Write the main device's clips again as each simulated device would have recorded them, and
    yield them.
    """
    source = table[table["source_label"] == MAIN_DEVICE]
    if devices and not len(source):
        raise CorpusError(
            f"{root}: simulated devices {', '.join(devices)} need clips of device {MAIN_DEVICE!r}"
        )
    for device in devices:
        ids = [f"{id.rpartition('-')[0]}-{device}" for id in source.index]
        if clash := taken.intersection(ids):
            raise CorpusError(
                f"{root / params.meta}: simulated.{device}: {min(clash)!r} is a recorded clip"
            )
        names = [f"audio/{id}.wav" for id in ids]
        try:
            responses.load(params.simulated[device], 16_000)  # said once, before any work
            tasks = list(
                zip(
                    [root / name for name in source["filename"]],
                    [folder / name for name in names],
                    strict=True,
                )
            )
            for _ in parallel.run(
                partial(_convolve, params.simulated[device]),
                tasks,
                f"device {device}",
                unit="clip",
                chunk=16,
            ):
                pass
        except (responses.ResponseError, audio.AudioError) as error:
            raise CorpusError(f"simulated.{device}: {error}") from None
        yield from _clips(
            source.set_index(pd.Index(ids)).assign(filename=names, source_label=device), folder
        )


def _convolve(response: str, paths: tuple[Path, Path]) -> None:
    source, target = paths
    rate = audio.header(source)[1] or 16_000
    samples = responses.convolve(audio.decode(source, rate), responses.load(response, rate))
    with atomic(target) as partial_file:
        soundfile.write(partial_file, samples, rate, format="WAV", subtype="PCM_24")
