"""Checkpoints of the hub: a local server plays it, with its faults; weights are real, if few."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import python
from learning import copied, same, tiny_checkpoint
from server import Fault, Handler, Server

from earshot.teacher import hub
from earshot.teacher.wav2vec2 import CheckpointError, load_backbone

COMMIT = "1234567890abcdef1234567890abcdef12345678"
NEEDED = ("config.json", "preprocessor_config.json", "model.safetensors", "vocab.json")
MODELS = {"wav2vec2": "group", "hubert": "hubert"}  # by name: style


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """Small encoders as transformers saves them, and two that lack something."""
    root = tmp_path_factory.mktemp("hub")
    for name, style in MODELS.items():
        tiny_checkpoint(root / name, style, unit_variance=name == "hubert", num_hidden_layers=2)
        (root / name / "pytorch_model.bin").write_bytes(b"never to be fetched")
        (root / name / "vocab.json").write_text("{}")
    files = {"pickled": [*NEEDED[:2], "pytorch_model.bin"], "headless": [NEEDED[0], NEEDED[2]]}
    for name, kept in files.items():
        (root / name).mkdir()
        for file in kept:
            (root / name / file).write_bytes((root / "hubert" / file).read_bytes())
    return {path.name: path for path in root.iterdir()}


class Hub(Server):
    """The endpoints that the hub's client asks, for folders by id, each at its one commit."""

    def __init__(self, folders: dict[str, Path], commits: dict[str, str] | None = None):
        super().__init__()
        self.folders, self.commits = folders, dict.fromkeys(folders, COMMIT) | (commits or {})
        self.routes["/"] = self.answer

    def answer(self, handler: Handler) -> None:
        parts = handler.asked.path.removeprefix("/api/models").strip("/").split("/")
        if len(parts) < 4:
            return handler.reply(404)
        owner, name, kind, commit, *file = parts
        id, wanted = f"{owner}/{name}", "/".join(file)
        if id not in self.folders:
            return handler.reply(404, headers={"X-Error-Code": "RepoNotFound"})
        if commit != self.commits[id]:
            return handler.reply(404, headers={"X-Error-Code": "RevisionNotFound"})
        folder = self.folders[id]
        if kind == "tree":
            tree = [_described(path) for path in sorted(folder.iterdir())]
            return handler.reply(200, json.dumps(tree).encode())
        if not (folder / wanted).is_file():
            return handler.reply(404, headers={"X-Error-Code": "EntryNotFound"})
        content = (folder / wanted).read_bytes()
        headers = {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": commit}
        if wanted.endswith(".safetensors"):
            digest = hashlib.sha256(content).hexdigest()
            headers["X-Linked-Etag"] = f'"{digest}"'
            headers["X-Linked-Size"] = str(len(content))
            headers["X-Xet-Hash"] = digest
            headers["Link"] = f'<{self.url("/api/nothing")}>; rel="xet-auth"'
        handler.send(content, headers, handler.fault)


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _described(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    described = {"type": "file", "path": path.name, "size": len(content), "oid": _blob(content)}
    if path.suffix == ".safetensors":
        digest = hashlib.sha256(content).hexdigest()
        pointer = {"oid": digest, "size": len(content), "pointerSize": 134}
        described |= {"lfs": pointer, "xetHash": digest}
    return described


@pytest.fixture
def server(checkpoints, monkeypatch):
    monkeypatch.setattr(hub, "WAIT", 0.01)
    with Hub({f"someone/{name}": folder for name, folder in checkpoints.items()}) as served:
        yield served


def get(server: Hub, name: str, cache: Path, revision: str = COMMIT) -> Path:
    return hub.folder(f"someone/{name}", revision, str(cache), server.url())


def path_of(name: str, file: str) -> str:
    return f"/someone/{name}/resolve/{COMMIT}/{file}"


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_are_those_of_the_local_folder(server, checkpoints, tmp_path, name):
    fetched, extractor = load_backbone(str(get(server, name, tmp_path)), None)
    local, _ = load_backbone(str(checkpoints[name]), None)
    assert extractor.do_normalize is (name == "hubert")
    assert same(copied(fetched), copied(local))


def test_only_what_is_needed_is_fetched_and_nothing_twice(server, checkpoints, tmp_path):
    found = get(server, "hubert", tmp_path)
    assert sorted(path.name for path in found.iterdir()) == sorted(NEEDED)
    paths = [request.path for request in server.log]
    assert not any("bin" in path for path in paths)
    size = sum((checkpoints["hubert"] / name).stat().st_size for name in NEEDED)
    assert hub.size("someone/hubert", COMMIT, str(tmp_path)) == size
    assert hub.cached("someone/hubert", COMMIT, str(tmp_path)) == found
    assert get(server, "hubert", tmp_path) == found and len(server.log) == len(paths)
    (found / NEEDED[2]).unlink()
    assert hub.cached("someone/hubert", COMMIT, str(tmp_path)) is None
    assert (get(server, "hubert", tmp_path) / NEEDED[2]).is_file()


BUSY = Fault(status=503)


@pytest.mark.parametrize(
    ("path", "faults"),
    [
        (f"/api/models/someone/wav2vec2/tree/{COMMIT}", [BUSY]),
        (path_of("wav2vec2", "config.json"), [BUSY]),  # HEAD
        (path_of("wav2vec2", "config.json"), [Fault(), BUSY]),  # GET
    ],
)
def test_a_busy_server_is_asked_again(server, checkpoints, tmp_path, path, faults):
    server.faults[path] = list(faults)
    config = get(server, "wav2vec2", tmp_path) / "config.json"
    assert config.read_bytes() == (checkpoints["wav2vec2"] / "config.json").read_bytes()
    assert server.faults[path] == []


def test_a_connection_cut_once_goes_on_where_it_was(server, checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(hub.constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # what is lost at most
    whole = (checkpoints["wav2vec2"] / NEEDED[2]).read_bytes()
    path, half = path_of("wav2vec2", NEEDED[2]), len(whole) // 2
    server.faults[path] = [Fault(), Fault(cut=half)]
    assert (get(server, "wav2vec2", tmp_path) / NEEDED[2]).read_bytes() == whole
    starts = [request.start for request in server.log if request.path == path]
    assert starts[-1] == half // 4096 * 4096


@pytest.mark.parametrize(
    ("name", "commit", "message"),
    [
        ("pickled", COMMIT, "has pytorch_model.bin but no model.safetensors at .*pull request"),
        ("headless", COMMIT, f"lacks preprocessor_config.json at {COMMIT}$"),
        ("hubbub", COMMIT, "is not on the hub"),
        ("hubert", "f" * 40, f"has no commit {'f' * 40} on the hub"),
        ("of/mine", COMMIT, "is neither a local folder nor a hub id"),
        ("hubert", "main", "needs a commit of 40 hexadecimal digits as revision, not 'main'"),
        ("hubert", COMMIT[:10], "needs a commit of 40 hexadecimal digits as revision, not "),
    ],
)
def test_what_cannot_be_had_is_said_to_be_so(server, tmp_path, name, commit, message):
    with pytest.raises(hub.HubError, match=f"^{message}"):
        get(server, name, tmp_path, commit)
    assert not any("bin" in request.path for request in server.log)
    assert len(commit) == 40 or server.log == []


def test_a_disk_that_cannot_be_written_to_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(hub.HubError, match=r"^cannot be written to .*cache.*: "):
        get(server, "hubert", tmp_path / "cache")


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "EARSHOT_OFFLINE"])
def test_offline_the_cache_serves_and_nothing_is_asked(server, tmp_path, variable):
    """In a process of its own, as the client reads its settings once."""
    get(server, "hubert", tmp_path / "full")
    asked = len(server.log)
    code = f"""
import sys
from earshot.teacher import hub
print(hub.folder("someone/hubert", "{COMMIT}", sys.argv[1]))
try: hub.folder("someone/hubert", "{COMMIT}", sys.argv[2])
except hub.HubError as error: print(error)
"""
    settings = {variable: "1", "HF_ENDPOINT": server.url()}
    done = python("-c", code, tmp_path / "full", tmp_path / "empty", **settings)
    found, error = done.stdout.splitlines()
    assert Path(found, NEEDED[2]).is_file() and len(server.log) == asked
    assert error.startswith("is not in the cache, and the environment forbids the network")
    assert f"{server.url()}/someone/hubert/tree/{COMMIT}" in error


def test_without_a_network_one_line_says_what_to_fetch(tmp_path, monkeypatch):
    import huggingface_hub.utils._http as client

    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    with pytest.raises(hub.HubError, match=r"^cannot be fetched \(") as raised:
        hub.folder("someone/hubert", COMMIT, str(tmp_path), "http://127.0.0.1:9")
    place = f"https://huggingface.co/someone/hubert/tree/{COMMIT} into a folder"
    assert f"model.safetensors from {place}" in str(raised.value) and "\n" not in str(raised.value)


def test_a_local_folder_needs_no_revision_and_no_network(checkpoints):
    assert hub.folder(str(checkpoints["hubert"]), None) == checkpoints["hubert"]
    messages = {None: "is no local folder", "main": "needs a commit .*, not 'main'"}
    for revision, message in messages.items():
        with pytest.raises(CheckpointError, match=f"'someone/hubert' {message}"):
            load_backbone("someone/hubert", revision)
