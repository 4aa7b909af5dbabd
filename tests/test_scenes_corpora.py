"""Scene corpora: TAU's layout from disk, and the embedded one made in it."""

import os
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from earshot.corpora import CORPORA, tau2022
from earshot.corpora.synthetic import scenes as synthetic_scenes
from earshot.corpora.synthetic.waves import Place
from earshot.features.responses import Curve
from earshot.params import TAU2022, SyntheticScenes
from earshot.tables.manifest import Clip, CorpusError, read_manifest, write_manifest

SHARED = Path(os.environ.get("EARSHOT_RECORDINGS", Path(__file__).parents[2] / "shared/data"))
CLASSES = (
    "airport bus metro metro_station park public_square "
    "shopping_mall street_pedestrian street_traffic tram"
).split()
SEEN, UNSEEN = set("a b c s1 s2 s3".split()), {"s4", "s5", "s6"}


def frame(clips: list[Clip]) -> pd.DataFrame:
    return pd.DataFrame([vars(clip) for clip in clips])


# the embedded corpus

SMALL = SyntheticScenes(
    name="synthetic_scenes",
    segments={"train": 6, "test": 2},
    clips={"train": 2, "test": 1},
    validation_share=0.3,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, tuple[Path, list[Clip]]]:
    """The embedded corpus made by one process, and by two."""
    built = {}
    with pytest.MonkeyPatch.context() as patch:
        for workers in ("1", "2"):
            patch.setenv("EARSHOT_WORKERS", workers)
            folder = tmp_path_factory.mktemp("scenes")
            built[workers] = (folder, list(CORPORA["synthetic_scenes"](SMALL, folder, 3)))
    return built


@pytest.fixture(scope="module")
def folder(made) -> Path:
    return made["1"][0]


@pytest.fixture(scope="module")
def scenes(made) -> pd.DataFrame:
    return frame(made["1"][1])


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


@pytest.mark.slow
def test_scenes_have_the_same_bytes_whatever_the_workers(made):
    one, two = (digests(folder) for folder, _ in made.values())
    assert one == two and len(set(one.values())) > 250
    names = [[(c.id, c.split, c.subset) for c in clips] for _, clips in made.values()]
    assert names[0] == names[1]


def test_scenes_lie_as_tau_does(folder, scenes):
    lists = {f"split{n}.csv" for n in (5, 10, 25, 50, 100)}
    others = {"audio", "evaluation_setup", "meta.csv", "test.csv"}
    assert {p.name for p in folder.iterdir()} == lists | others
    assert sorted(p.name for p in (folder / "evaluation_setup").iterdir()) == [
        "fold1_evaluate.csv", "fold1_test.csv", "fold1_train.csv"
    ]  # fmt: skip
    meta = pd.read_csv(folder / "meta.csv", sep="\t")
    assert list(meta.columns) == ["filename", "scene_label", "identifier", "source_label"]
    assert sorted(meta["filename"]) == sorted(
        f"audio/{p.name}" for p in (folder / "audio").iterdir()
    )
    fields = meta["filename"].str.extract(
        r"^audio/([a-z_]+)-([a-z]+-\d+)-(\d+)-(\d)-([abc]|s[1-6])\.wav$"
    )
    assert (fields[0] == meta["scene_label"]).all() and (fields[1] == meta["identifier"]).all()
    assert (fields[4] == meta["source_label"]).all()
    test = pd.read_csv(folder / "test.csv", sep="\t")
    assert list(pd.read_csv(folder / "evaluation_setup/fold1_test.csv", sep="\t").columns) == [
        "filename"
    ]
    assert (
        test["filename"].map(lambda n: Path(n).stem).tolist()
        == scenes[scenes["split"] == "test"]["id"].tolist()
    )


def test_scenes_read_back(scenes, tmp_path):
    assert Counter(scenes["split"]) == {
        "pool": 10 * 4 * 2,
        "validation": 10 * 2 * 2,
        "test": 10 * 2 * 9,
    }
    assert sorted(set(scenes["label"])) == CLASSES and set(scenes["seconds"]) == {1.0}
    assert all(
        count == 18 for count in Counter(scenes[scenes["split"] == "test"]["label"]).values()
    )
    parts = scenes["id"].str.extract(r"^((.+?)-(.+-\d+)-\d+)-\d-(\w+)$")
    for column, part in (
        ("passage", 0),
        ("label", 1),
        ("location", 2),
        ("speaker", 2),
        ("device", 3),
    ):
        assert (scenes[column] == parts[part]).all()
    assert scenes["text"].isna().all() and all(scenes["path"].map(lambda p: Path(p).is_file()))
    write_manifest(
        [
            Clip(**row)
            for row in scenes.astype(object).where(scenes.notna(), None).to_dict("records")
        ],
        tmp_path / "m",
    )
    assert read_manifest(tmp_path / "m")["subset"].tolist()[-1] is None


def test_scene_splits_share_no_location(scenes):
    places = {split: set(group) for split, group in scenes.groupby("split")["location"]}
    assert sum(map(len, places.values())) == len(set.union(*places.values()))
    for split in ("pool", "validation"):
        assert set(scenes[scenes["split"] == split]["label"]) == set(CLASSES)


def test_unseen_devices_are_in_the_test_alone(scenes):
    trained = scenes[scenes["split"] != "test"]
    assert set(trained["device"]) <= SEEN and 0.5 < (trained["device"] == "a").mean() < 0.9
    assert (trained.groupby("passage")["device"].nunique() == 1).all()
    heard = scenes[scenes["split"] == "test"].groupby("passage")["device"].agg(set)
    assert all(devices == SEEN | UNSEEN for devices in heard)


def test_labelled_subsets_are_nested_whole_and_balanced(folder, scenes):
    trained = scenes[scenes["split"] != "test"].set_index("id")
    previous: set[str] = set()
    for percent, segments in ((5, 1), (10, 1), (25, 2), (50, 3), (100, 6)):
        listed = {
            Path(n).stem for n in pd.read_csv(folder / f"split{percent}.csv", sep="\t")["filename"]
        }
        assert previous <= listed
        rows = trained.loc[sorted(listed)]
        assert set(rows.groupby("label")["passage"].nunique()) == {segments}
        assert (rows.groupby("passage").size() == 2).all()
        assert set(rows[rows["split"] == "pool"]["label"]) == set(
            CLASSES
        )  # something to train on, of each class
        assert set(trained.index[trained["subset"] <= percent]) == listed
        previous = listed
    assert previous == set(trained.index)


def test_scenes_sound_like_something(scenes):
    levels = []
    for row in scenes.itertuples():
        samples, rate = soundfile.read(row.path, dtype="float32")
        assert (len(samples), rate) == (16_000, 16_000) and np.abs(samples).max() < 0.99
        levels.append(20 * np.log10(np.sqrt(np.mean(samples**2))))
    assert soundfile.info(scenes["path"][0]).subtype == "PCM_16"
    by_class = pd.Series(levels).groupby(scenes["label"])
    assert min(levels) > -65 and (by_class.max() - by_class.min() > 4).all()
    assert np.ptp(by_class.mean()) < 12  # the level alone tells little


def test_a_test_clip_is_the_same_sound_on_all_devices(scenes):
    group = scenes[
        scenes["passage"] == scenes[scenes["split"] == "test"]["passage"].iloc[0]
    ].set_index("device")["path"]
    envelopes = {}
    for device, path in group.items():
        spectrum = (
            np.abs(np.fft.rfft(soundfile.read(path)[0].reshape(50, -1) * np.hanning(320))) ** 2
        )
        envelopes[device] = np.log(spectrum[:, 10:50].sum(1))  # 0.5 to 2.5 kHz
    assert all(np.corrcoef(envelopes["a"], envelopes[device])[0, 1] > 0.7 for device in group.index)


def test_a_location_keeps_its_traits():
    here, there = (Place(100, 16_000, "bus", (1, n)).traits("engine").random() for n in (1, 2))
    assert here == Place(900, 32_000, "bus", (1, 1)).traits("engine").random() != there
    typical = [
        Place(100, 16_000, kind, (1, 1), own=0).traits("engine").random()
        for kind in ("bus", "bus", "tram")
    ]
    assert typical[0] == typical[1] != typical[2]


def test_device_curves_of_the_test_stand_out():
    hertz = np.geomspace(100, 7_000, 60)

    def differs(curve: Curve) -> float:
        return float(
            np.std(curve.decibels(hertz) - synthetic_scenes.DEVICES["a"].curve.decibels(hertz))
        )

    spread = {name: differs(device.curve) for name, device in synthetic_scenes.DEVICES.items()}
    assert set(spread) == SEEN | UNSEEN
    assert min(spread[d] for d in UNSEEN) > np.mean([spread[d] for d in SEEN - {"a"}])


def test_unlabelled_clips(monkeypatch):
    heard = []
    for workers in ("1", "2"):
        monkeypatch.setenv("EARSHOT_WORKERS", workers)
        heard.append(list(synthetic_scenes.unlabelled(25, 16_000, 3)))
    assert all(
        x.shape == (16_000,) and x.dtype == np.int16 and np.abs(x).max() > 10 for x in heard[0]
    )
    assert len(heard[0]) == 25 and all(map(np.array_equal, *heard))
    plans = {
        split: synthetic_scenes.plan(split, 40, 2, 3) for split in ("train", "test", "pretrain")
    }
    for key in ("identifier", "number"):
        sets = [{getattr(segment, key) for segment in segments} for segments in plans.values()]
        assert sum(map(len, sets)) == len(set.union(*sets))
    assert {d for segment in plans["pretrain"] for d in segment.devices} == SEEN


# TAU's layout, by hand


def row(label: str, place: str, segment: int, clip: int, device: str = "a") -> dict[str, str]:
    name = f"audio/{label}-{place}-{segment}-{clip}-{device}.wav"
    return {"filename": name, "scene_label": label, "identifier": place, "source_label": device}


def tabular(path: Path, rows: list[dict], *columns: str) -> None:
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows)[list(columns)].to_csv(path, sep="\t", index=False)


@pytest.fixture
def tau(tmp_path) -> Path:
    """Two classes, three training locations each of one segment of two clips, and one test location
    on two devices.
    """
    train = [
        row(
            label,
            f"lyon-{100 * kind + place}",
            4000 + 10 * kind + place,
            clip,
            "s1" if place == 2 else "a",
        )
        for kind, label in enumerate(("bus", "park"))
        for place in range(3)
        for clip in range(2)
    ]
    test = [
        row(label, f"paris-{500 + kind}", 9000 + kind, 0, d)
        for kind, label in ((1, "park"), (0, "bus"))
        for d in ("a", "s4")
    ]
    left = [row("bus", "paris-900", 9900, 0)]  # in no list
    root = tmp_path / "tau"
    tabular(root / "meta.csv", train + test + left, *tau2022.COLUMNS)
    setup = root / "evaluation_setup"
    tabular(setup / "fold1_train.csv", train, "filename", "scene_label")
    tabular(setup / "fold1_evaluate.csv", test, "filename", "scene_label")
    tabular(setup / "fold1_test.csv", test[::-1], "filename")
    tabular(
        root / "split10.csv",
        [r for r in train if "-4000-" in r["filename"] or "-4010-" in r["filename"]],
        "filename",
    )
    tabular(
        root / "split50.csv",
        [r for r in train if r["source_label"] == "a"],
        "filename",
        "scene_label",
    )
    tabular(setup / "split100.csv", train, "filename", "scene_label")
    (root / "audio").mkdir()
    rng = np.random.default_rng(0)
    for each in train + test + left:
        soundfile.write(
            root / each["filename"], 0.1 * rng.standard_normal(4_410), 44_100, subtype="PCM_24"
        )
    return root


def load(root: Path, folder: str = "unused", seed: int = 1, **more) -> list[Clip]:
    return list(
        CORPORA["tau2022"](
            TAU2022(name="tau2022", root=str(root), **more), root.parent / folder, seed
        )
    )


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_lists_of_dcase_2025(tau):
    """Its training list is the quarter, and it is handed out alone with `test.csv`."""
    setup = tau / "evaluation_setup"
    (setup / "fold1_evaluate.csv").rename(tau / "test.csv")
    (tau / "split50.csv").rename(tau / "split25.csv")
    for other in (*setup.glob("*.csv"), tau / "split10.csv"):
        other.unlink()
    clips = load(tau, validation_share=0)
    trained = [clip for clip in clips if clip.split == "pool"]
    assert {(clip.device, clip.subset) for clip in trained} == {("a", 25)}
    assert len(trained) == 8
    assert {clip.device for clip in clips if clip.split == "test"} == {"a", "s4"}


def test_tau_tree(tau):
    clips = load(tau, validation_share=0)
    assert [c.id for c in clips[-4:]] == [
        "bus-paris-500-9000-0-s4",
        "bus-paris-500-9000-0-a",
        "park-paris-501-9001-0-s4",
        "park-paris-501-9001-0-a",
    ]
    assert Counter(c.split for c in clips) == {"pool": 12, "test": 4}
    assert clips[0] == Clip(
        "bus-lyon-0-4000-0-a",
        str(tau / "audio/bus-lyon-0-4000-0-a.wav"),
        0.1,
        44_100,
        "lyon-0",
        "pool",
        None,
        "bus-lyon-0-4000",
        label="bus",
        device="a",
        location="lyon-0",
        subset=10,
    )
    assert [c.subset for c in clips] == 2 * [10, 10, 50, 50, 100, 100] + 4 * [None]


def test_the_submission_list_decides_the_order_of_the_test(tau):
    names = ["park-paris-501-9001-0-a", "bus-paris-500-9000-0-a", "park-paris-501-9001-0-s4"]
    tabular(tau / "test.csv", [{"filename": f"audio/{name}.wav"} for name in names], "filename")
    assert [c.id for c in load(tau) if c.split == "test"] == names


def test_validation_takes_whole_locations_of_each_class(tau):
    dealt = set()
    for seed in range(8):
        clips = load(tau, seed=seed)
        of_class = {(c.split, c.label): c.location for c in clips if c.split == "validation"}
        assert set(of_class) == {("validation", "bus"), ("validation", "park")}
        assert Counter(c.split for c in clips) == {"pool": 8, "validation": 4, "test": 4}
        assert not {c.location for c in clips if c.split == "pool"} & set(of_class.values())
        assert load(tau, seed=seed) == clips
        dealt.add(of_class["validation", "bus"])
    assert len(dealt) > 1
    assert (
        sum(c.split == "validation" for c in load(tau, validation_share=0.9)) == 8
    )  # a location is always left


def test_a_location_of_two_classes_is_dealt_once():
    table = pd.DataFrame(
        {"scene_label": ["bus", "bus", "park", "park"], "identifier": ["x", "y", "x", "z"]}
    )
    for seed in range(10):
        dealt = tau2022.validation_locations(table, 0.1, seed, "list")
        assert dealt in ({"x"}, {"y", "z"})


def test_a_corpus_without_lists_is_dealt_out(tau):
    for path in [*tau.glob("split*.csv"), *(tau / "evaluation_setup").iterdir()]:
        path.unlink()
    clips = load(tau, test_share=0.3)  # 1.5 of five locations with buses, 1.2 of four with parks
    places = {
        split: {c.location for c in clips if c.split == split}
        for split in ("pool", "validation", "test")
    }
    assert Counter(
        p in {c.location for c in clips if c.label == "bus"} for p in places["test"]
    ) == {True: 2, False: 1}
    assert len(places["validation"]) == 2
    assert sum(map(len, places.values())) == len(set.union(*places.values()))
    assert all(c.device != "s4" for c in clips if c.split != "test") and all(
        c.subset is None for c in clips
    )
    assert {c.label for c in clips if c.split == "test"} == {"bus", "park"}


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("\n".join(change(lines(path))))


FAULTS = {
    "meta": (lambda t: (t / "meta.csv").unlink(), r"meta\.csv: no such file"),
    "binary": (
        lambda t: (t / "meta.csv").write_bytes(b"\xff\xfe\x00"),
        r"meta\.csv: not a tab-separated table",
    ),
    "column": (
        lambda t: edit(t / "meta.csv", "source_label", "device"),
        r"meta\.csv: missing column source_label",
    ),
    "blank": (
        lambda t: edit(t / "meta.csv", "\tbus\t", "\t\t"),
        r"meta\.csv: line 2, row 1: scene_label is blank",
    ),
    "twice": (
        lambda t: rewrite(t / "meta.csv", lambda rows: [*rows, rows[1].replace("\tbus", "\tx")]),
        r"meta\.csv: line 19: 'audio/bus-lyon-0-4000-0-a\.wav' stands there twice, .* line 2; keep",
    ),
    "device": (
        lambda t: edit(t / "meta.csv", "lyon-0\ta", "lyon-0\tb"),
        r"'audio/bus-lyon-0-4000-0-a\.wav' does not end in -CLIP-DEVICE, its device being 'b'",
    ),
    "audio": (
        lambda t: (t / "audio/bus-lyon-0-4000-1-a.wav").unlink(),
        r"bus-lyon-0-4000-1-a\.wav: no such file \(1 of 16 are missing\)",
    ),
    "conflict": (
        lambda t: edit(t / "evaluation_setup/fold1_evaluate.csv", "\tpark", "\tbus"),
        r"fold1_evaluate\.csv: '\S+501-9001-0-a\.wav': label 'bus' conflicts with 'park'",
    ),
    "label": (
        lambda t: edit(t / "split50.csv", "\tbus", "\tbuss"),
        r"split50\.csv: 'audio/bus-lyon-0-4000-0-a\.wav': label 'buss' is unknown; 'bus'",
    ),
    "clip": (
        lambda t: edit(t / "evaluation_setup/fold1_test.csv", "501-9001", "501-9002"),
        r"fold1_test\.csv: 'audio/park-paris-501-9002-0-s4\.wav' is not in the table",
    ),
    "one list": (
        lambda t: [p.unlink() for p in (t / "evaluation_setup").glob("fold1_[te][ev]*")] and None,
        r"tau: fold1_train\.csv is there, but none of test\.csv, fold1_test\.csv",
    ),
    "unlearnt": (
        lambda t: rewrite(t / "evaluation_setup/fold1_train.csv", lambda rows: rows[:7]),
        r"fold1_test\.csv: label 'park' is unknown in fold1_train\.csv",
    ),
    "not a training clip": (
        lambda t: edit(t / "split10.csv", "bus-lyon-0-4000-0-a", "bus-paris-500-9000-0-a"),
        r"split10\.csv: 'audio/bus-paris-500-9000-0-a\.wav' is not a training clip",
    ),
    "nesting": (
        lambda t: rewrite(t / "split50.csv", lambda rows: [r for r in rows if "-4010-" not in r]),
        r"split50\.csv: 'audio/park-lyon-100-4010-0-a\.wav' is missing, though split10\.csv has it",
    ),
    "segment": (
        lambda t: edit(t / "split10.csv", "audio/bus-lyon-0-4000-1-a.wav\n", ""),
        r"split10\.csv: segment 'bus-lyon-0-4000-a' is cut in two",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_tau_faults_are_named(tau, fault):
    spoil, message = FAULTS[fault]
    spoil(tau)
    with pytest.raises(CorpusError, match=message) as error:
        load(tau)
    assert "\n" not in str(error.value)


def test_what_is_for_the_test_is_not_in_training(tau):
    train = tau / "evaluation_setup/fold1_train.csv"
    with pytest.raises(
        CorpusError,
        match=r"fold1_train\.csv: 'audio/bus-lyon-2-\S+-s1\.wav' is of device 's1', which is for",
    ):
        load(tau, unseen_devices=["s1"])
    text = (tau / "meta.csv").read_text()
    (tau / "meta.csv").write_text(text.replace("\tparis-500\t", "\tlyon-0\t"))
    with pytest.raises(
        CorpusError,
        match=r"fold1_train\.csv: location 'lyon-0' is also in fold1_test\.csv \(1 such\)",
    ):
        load(tau)
    (tau / "meta.csv").write_text(
        text.replace("\tlyon-100\t", "\tlyon-101\t").replace("\tlyon-102\t", "\tlyon-101\t")
    )
    with pytest.raises(
        CorpusError,
        match=r"fold1_train\.csv: 'park' is at one location only \(lyon-101\); validation_share",
    ):
        load(tau)
    assert train.is_file()


def test_an_unreadable_clip_stays_in_the_manifest(tau):
    (tau / "audio/bus-lyon-0-4000-0-a.wav").write_bytes(b"not audio")
    bad = next(c for c in load(tau) if c.id == "bus-lyon-0-4000-0-a")
    assert (bad.seconds, bad.sample_rate) == (0.0, 0)


# simulated devices


@pytest.fixture
def simulated(tmp_path) -> dict[str, str]:
    """Two recorded responses: one that removes the treble, one the bass."""
    for name, curve in (
        ("s2", Curve(high_cut=1500, steepness=4)),
        ("s5", Curve(low_cut=4000, steepness=4)),
    ):
        soundfile.write(
            tmp_path / f"{name}.wav", 0.3 * curve.response(44_100), 44_100, subtype="FLOAT"
        )
    return {name: str(tmp_path / f"{name}.wav") for name in ("s2", "s5")}


def test_simulated_devices(tau, simulated):
    clips = load(tau, "out", simulated=simulated)
    table = frame(clips)
    assert table["id"].is_unique
    new = table[table["device"].isin(["s2", "s5"])]
    assert Counter(zip(new["device"], new["split"], strict=True)) == {
        ("s2", "pool"): Counter(table[table["device"] == "a"]["split"])["pool"],
        ("s2", "validation"): Counter(table[table["device"] == "a"]["split"])["validation"],
        ("s2", "test"): 2,
        ("s5", "test"): 2,
    }
    assert {p.name for p in (tau.parent / "out/audio").iterdir()} == set(new["id"] + ".wav")
    real = table.set_index("id")
    for clip in new.itertuples():
        origin = real.loc[clip.id.rpartition("-")[0] + "-a"]
        assert (clip.label, clip.location, clip.passage, clip.split) == (
            origin["label"], origin["location"], origin["passage"], origin["split"]
        )  # fmt: skip
        assert (
            clip.subset == origin["subset"]
            or (clip.subset is None and origin["subset"] is None)
            or clip.split == "test"
        )
        (before, rate), (after, again) = (
            soundfile.read(path) for path in (origin["path"], clip.path)
        )
        assert rate == again and len(before) == len(after)
        assert np.sqrt(np.mean(after**2)) == pytest.approx(np.sqrt(np.mean(before**2)), rel=0.01)
        power = np.abs(np.fft.rfft(after)) ** 2
        treble = power[len(power) // 8 :].sum() / power.sum()  # above 2.8 kHz
        assert treble < 0.1 if clip.device == "s2" else treble > 0.9
    before = digests(tau.parent / "out")
    assert (
        frame(load(tau, "out", simulated=simulated)).equals(table)
        and digests(tau.parent / "out") == before
    )


def test_simulated_devices_that_cannot_be(tau, simulated, tmp_path):
    with pytest.raises(CorpusError, match=r"simulated\.s2: \S+absent\.wav: no such file"):
        load(tau, simulated={"s2": str(tmp_path / "absent.wav")})
    with pytest.raises(
        CorpusError, match=r"simulated\.s4: 'bus-paris-500-9000-0-s4' is a recorded clip"
    ):
        load(tau, "out", simulated={"s4": simulated["s5"]})


# recordings


@pytest.mark.parametrize(("meta", "classes"), [("meta_coarse9.csv", 9), ("meta.csv", 45)])
def test_booth_recordings(tmp_path, meta, classes):
    root, response = SHARED / "scenes_booth", SHARED / "device_irs/Toshiba_BK5.wav"
    if not root.is_dir() or not response.is_file():
        pytest.skip("no recordings in ../shared/data/scenes_booth and device_irs")
    params = TAU2022(name="tau2022", root=str(root), meta=meta, simulated={"s4": str(response)})
    table = frame(list(CORPORA["tau2022"](params, tmp_path, 1)))
    assert (table["device"] == "a").sum() == 425 and table["id"].is_unique
    assert set(table[table["device"] == "s4"]["split"]) == {"test"}
    for split in ("pool", "validation", "test"):
        assert table[table["split"] == split]["label"].nunique() == classes
    assert (table.groupby("location")["split"].nunique() == 1).all()
