"""Clips and their views by key: the samples that teacher and features hear."""

import numpy as np
import pytest
from learning import clips

from earshot.features import audio
from earshot.features import views as augment
from earshot.features.recordings import Recordings
from earshot.params import Views

SECONDS = {"u0": 0.3, "u1": 0.35, "u2": 0.4}  # by devices a, b, a


@pytest.fixture
def manifest(tmp_path):
    table = clips(tmp_path, SECONDS)
    table.loc[table["id"] == "u2", "split"] = "test"
    return table


def test_view_zero_is_the_clip_itself(manifest):
    recordings = Recordings(manifest, Views(count=2), seed=3)
    for id, path in zip(manifest["id"], manifest["path"], strict=True):
        assert np.array_equal(recordings[id, 0], audio.decode(path, 16_000))
        assert np.array_equal(Recordings(manifest)[id, 0], recordings[id, 0])
    assert len(Recordings(manifest, sample_rate=8_000)["u0", 0]) == 2_400


def test_other_views_are_those_the_features_have(manifest):
    views = Views(count=2)
    recordings = Recordings(manifest, views, seed=3)
    path = manifest["path"][0]
    heard = [recordings["u0", view] for view in range(3)]
    for view in (1, 2):
        assert np.array_equal(heard[view], augment.decode(path, "u0", view, 16_000, views, 3))
        assert np.abs(heard[view] - heard[0]).max() > 0.01
    assert np.abs(heard[1] - heard[2]).max() > 0.01
    assert not np.array_equal(Recordings(manifest, views, seed=4)["u0", 1], heard[1])


def test_it_knows_which_views_there_are(manifest):
    assert Recordings(manifest).views == {"u0": [0], "u1": [0], "u2": [0]}
    # u2 is tested
    two = Recordings(manifest, Views(count=2)).views
    assert two == {"u0": [0, 1, 2], "u1": [0, 1, 2], "u2": [0]}
    of_one = Recordings(manifest, Views(count=1, devices=["a"])).views
    assert of_one == {"u0": [0, 1], "u1": [0], "u2": [0]}
    expected = [(id, view) for id, own in two.items() for view in own]
    assert expected == augment.keys(manifest, Views(count=2))


def test_without_views_a_manifest_needs_no_more_than_paths(manifest):
    assert Recordings(manifest[["id", "path"]]).views.keys() == set(SECONDS)


def test_an_unknown_clip_is_named(manifest):
    with pytest.raises(KeyError, match="u9"):
        Recordings(manifest)["u9", 0]
