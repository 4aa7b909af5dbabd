"""Ray's workers make the same files, byte for byte, and their errors are as short."""

import os
import sys

import psutil
import pytest
from learning import clips, teacher_params
from test_signals import CLIPS, SECONDS, Setting, contents

from earshot.features import extract
from earshot.params import Features, Views
from earshot.runtime import parallel, ray_workers
from earshot.runtime.ray_workers import EngineError
from earshot.teacher import cache
from earshot.teacher.ask import Asker

MEL = Features(sample_rate=16000, n_fft=400, win_length=400, hop_length=160, min_seconds=0.1)


def test_without_ray_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"engine=ray: .*pip install 'earshot\[ray\]'") as error:
        list(parallel.run(str, [1], "numbers", engine="ray"))
    assert "\n" not in str(error.value)
    assert list(parallel.run(str, [], "numbers", engine="ray")) == []


def test_a_space_in_the_interpreters_path_is_named(two_workers, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(sys, "executable", "/home/a b/.venv/bin/python")
    with pytest.raises(EngineError, match=r"with a space, '/home/a b/.venv/bin/python'; move"):
        list(parallel.run(str, [1], "numbers", engine="ray"))


@pytest.mark.slow
def test_a_worker_that_never_begins_is_named(two_workers, monkeypatch):
    monkeypatch.setattr(ray_workers, "PATIENCE", 0.001)
    with pytest.raises(EngineError, match=r"no worker began within 0.001 seconds"):
        list(parallel.run(str, [1], "numbers", engine="ray"))


def test_a_cluster_that_wants_a_token_is_named(monkeypatch):
    ray = pytest.importorskip("ray")
    wanted = ray.exceptions.AuthenticationError("Token authentication is enabled\nbut no token")

    def refuse(**settings):
        raise wanted

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    with pytest.raises(EngineError, match="Token authentication is enabled.*RAY_AUTH_TOKEN") as why:
        list(parallel.run(str, [1], "numbers", engine="ray"))
    assert "\n" not in str(why.value)


def fail(number: int) -> int:
    if number == 2:
        raise ValueError("two is refused")
    return number * number


def square(number: int) -> tuple[int, set[str]]:
    """Return a number's square, and where this machine's processes of Ray listen."""
    raylet = psutil.Process().parent()
    family = [raylet, *raylet.children(), *raylet.parent().children()]
    listening = (
        one
        for process in family
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    )
    return number * number, {one.laddr.ip.removeprefix("::ffff:") for one in listening}


@pytest.fixture
def two_workers(monkeypatch):
    monkeypatch.setenv("EARSHOT_WORKERS", "2")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.slow
def test_ray_keeps_the_order_and_raises_what_a_worker_raised(two_workers):
    numbers = [7, 3, 5, 4, 6, 1]
    squares, addresses = zip(*parallel.run(square, numbers, "squares", engine="ray"), strict=True)
    assert list(squares) == [n * n for n in numbers] and set.union(*addresses) == {"127.0.0.1"}
    with pytest.raises(ValueError, match="^two is refused$"):
        list(parallel.run(fail, [1, 2, 3], "squares", engine="ray"))
    import ray

    assert not ray.is_initialized()


@pytest.mark.slow
def test_ray_makes_the_same_features_and_the_same_cache(tmp_path, monkeypatch, two_workers):
    monkeypatch.setattr(extract, "PART", 3)
    setting = Setting(tmp_path, layered=True)
    params = teacher_params(str(tmp_path / "encoder"), text=None, auxiliary=True)
    manifest = clips(tmp_path / "clips", SECONDS)
    for engine in ("local", "ray"):
        out = tmp_path / engine
        paths = (out / "mel.parquet", out / "bad.csv", tmp_path / f"scratch-{engine}")
        extract.extract(manifest, MEL, Views(), 0, *paths, engine)
        asker = Asker(params, "classes", tmp_path / "teacher", setting.recordings, setting.params)
        views = setting.recordings.views
        cache.write(out / "cache", asker, setting.identity, CLIPS, views, setting.params, engine)
    one, other = ((tmp_path / name / "mel.parquet").read_bytes() for name in ("local", "ray"))
    assert one == other
    assert contents(tmp_path / "local/cache") == contents(tmp_path / "ray/cache")
