"""Checkpoints of the hub: a local server plays it, with its faults; the weights are real, if few."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from earshot.models import hub
from earshot.models.wav2vec2 import CheckpointError, load_backbone

COMMIT = "1234567890abcdef1234567890abcdef12345678"
TINY = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
    "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """Small encoders of both architectures, as transformers saves them, and one with pickled
    weights alone.
    """
    folders = {
        name: tmp_path_factory.mktemp("hub") / name
        for name in ("wav2vec2", "hubert", "pickled", "headless")
    }
    torch.manual_seed(0)
    for name, model in (
        ("wav2vec2", Wav2Vec2Model(Wav2Vec2Config(**TINY))),
        ("hubert", HubertModel(HubertConfig(**TINY))),
    ):
        model.save_pretrained(folders[name])
        Wav2Vec2FeatureExtractor(do_normalize=name == "hubert").save_pretrained(folders[name])
        (folders[name] / "pytorch_model.bin").write_bytes(b"never to be fetched")
        (folders[name] / "vocab.json").write_text("{}")
    for name in ("pickled", "headless"):
        folders[name].mkdir()
        for file in ("config.json", "preprocessor_config.json"):
            (folders[name] / file).write_bytes((folders["hubert"] / file).read_bytes())
    (folders["pickled"] / "pytorch_model.bin").write_bytes(b"never to be fetched")
    (folders["headless"] / "model.safetensors").write_bytes(
        (folders["hubert"] / "model.safetensors").read_bytes()
    )
    (folders["headless"] / "preprocessor_config.json").unlink()
    return folders


class Hub(ThreadingHTTPServer):
    """The endpoints of the hub that its client asks, for folders by id, each at the one commit
    there is.

    `faults` are {(method, name of a file or "tree"): [status or "cut", …]}, each happening once, in
    order.
    """

    daemon_threads = True

    def __init__(self, folders: dict[str, Path], commits: dict[str, str] | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits = dict.fromkeys(folders, COMMIT) | (commits or {})
        self.folders, self.faults, self.requests = (
            folders,
            dict[tuple[str, str], list[Any]](),
            list[str](),
        )
        self.ranges: list[str] = []
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.server.requests.append(f"{self.command} {path}")
        _, _, rest = path.rpartition("api/models/")
        parts = (rest if path.startswith("api/") else path).split("/")
        if len(parts) < 4:
            return self._send(404, b"")
        owner, name, kind, commit, *file = parts
        wanted = "tree" if kind == "tree" else "/".join(file)
        fault = next(iter(self.server.faults.get((self.command, wanted), [])), None)
        if fault is not None:
            self.server.faults[self.command, wanted].pop(0)
        if isinstance(fault, int):
            return self._send(fault, b"busy")
        id = f"{owner}/{name}"
        if id not in self.server.folders:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if commit != self.server.commits[id]:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        folder = self.server.folders[id]
        if wanted == "tree":
            return self._send(
                200, json.dumps([_described(one) for one in sorted(folder.iterdir())]).encode()
            )
        if not (folder / wanted).is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = (folder / wanted).read_bytes()
        headers = {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if wanted.endswith(".safetensors"):
            own = hashlib.sha256(content).hexdigest()
            headers |= {
                "X-Linked-Etag": f'"{own}"',
                "X-Linked-Size": str(len(content)),
                "X-Xet-Hash": own,
            }
            headers["Link"] = f'<{self.server.url}/api/nothing>; rel="xet-auth"'
        status, first = 200, 0
        if asked := self.headers.get("Range"):
            self.server.ranges.append(asked)
            status, first = 206, int(asked.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._send(status, content[first:], headers, cut=fault == "cut")

    def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, cut: bool = False
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = self.close_connection or cut


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _described(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    described = {"type": "file", "path": path.name, "size": len(content), "oid": _blob(content)}
    if path.suffix == ".safetensors":
        own = hashlib.sha256(content).hexdigest()
        described |= {"lfs": {"oid": own, "size": len(content), "pointerSize": 134}, "xetHash": own}
    return described


@pytest.fixture
def server(checkpoints, monkeypatch):
    monkeypatch.setattr(hub, "WAIT", 0.01)
    served = Hub({f"someone/{name}": folder for name, folder in checkpoints.items()})
    yield served
    served.shutdown()
    served.server_close()


def get(server: Hub, name: str, cache: Path, revision: str = COMMIT) -> Path:
    return hub.folder(f"someone/{name}", revision, str(cache), server.url)


@pytest.mark.parametrize("name", ["wav2vec2", "hubert"])
def test_the_weights_are_those_of_the_local_folder(server, checkpoints, tmp_path, name):
    found = get(server, name, tmp_path)
    (fetched, unit), (local, same) = (
        load_backbone(str(folder), None) for folder in (found, checkpoints[name])
    )
    assert unit is same is (name == "hubert")
    for (key, one), (other_key, other) in zip(
        fetched.state_dict().items(), local.state_dict().items(), strict=True
    ):
        assert key == other_key and torch.equal(one, other)


def test_only_what_is_needed_is_fetched_and_nothing_twice(server, checkpoints, tmp_path):
    found = get(server, "hubert", tmp_path)
    needed = {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert {path.name for path in found.iterdir()} == needed
    assert not any("bin" in request or "vocab" in request for request in server.requests)
    bytes_needed = sum((checkpoints["hubert"] / name).stat().st_size for name in needed)
    assert hub.size("someone/hubert", COMMIT, str(tmp_path)) == bytes_needed
    assert hub.cached("someone/hubert", COMMIT, str(tmp_path)) == found
    asked = len(server.requests)
    assert get(server, "hubert", tmp_path) == found and len(server.requests) == asked


def test_a_cache_that_lost_a_file_is_completed(server, tmp_path):
    found = get(server, "hubert", tmp_path)
    (found / "model.safetensors").unlink()
    assert hub.cached("someone/hubert", COMMIT, str(tmp_path)) is None
    assert (get(server, "hubert", tmp_path) / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "request_", [("GET", "tree"), ("HEAD", "config.json"), ("GET", "config.json")]
)
def test_a_busy_server_is_asked_again(server, checkpoints, tmp_path, request_):
    server.faults[request_] = [503]
    found = get(server, "wav2vec2", tmp_path)
    assert (found / "config.json").read_bytes() == (
        checkpoints["wav2vec2"] / "config.json"
    ).read_bytes()
    assert server.faults[request_] == []


def test_a_connection_cut_once_goes_on_where_it_was(server, checkpoints, tmp_path, monkeypatch):
    monkeypatch.setattr(hub.constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # what is lost at most
    whole = (checkpoints["wav2vec2"] / "model.safetensors").read_bytes()
    server.faults["GET", "model.safetensors"] = ["cut"]
    assert (get(server, "wav2vec2", tmp_path) / "model.safetensors").read_bytes() == whole
    assert server.ranges == [f"bytes={len(whole) // 2 // 4096 * 4096}-"]


def test_pickled_weights_are_not_even_fetched(server, tmp_path):
    with pytest.raises(
        hub.HubError, match=r"^has pytorch_model.bin but no model.safetensors at 1234.*pull request"
    ):
        get(server, "pickled", tmp_path)
    assert not any("bin" in request for request in server.requests)


def test_a_commit_without_a_feature_extractor_is_refused(server, tmp_path):
    with pytest.raises(hub.HubError, match=f"^lacks preprocessor_config.json at {COMMIT}$"):
        get(server, "headless", tmp_path)


@pytest.mark.parametrize("revision", ["main", "refs/pr/3", COMMIT[:10], COMMIT.upper()])
def test_only_a_commit_is_a_pin(server, tmp_path, revision):
    with pytest.raises(
        hub.HubError, match=r"^needs a commit of 40 hexadecimal digits as revision, not "
    ):
        get(server, "hubert", tmp_path, revision)
    assert server.requests == []


def test_an_unknown_id_or_commit_is_said_to_be_so(server, tmp_path):
    with pytest.raises(hub.HubError, match=r"^is not on the hub"):
        get(server, "hubbub", tmp_path)
    with pytest.raises(hub.HubError, match=rf"^has no commit {'f' * 40} on the hub"):
        get(server, "hubert", tmp_path, "f" * 40)
    with pytest.raises(hub.HubError, match=r"^is neither a local folder nor a hub id"):
        hub.folder("checkpoints/of/mine", COMMIT, str(tmp_path), server.url)


def test_a_disk_that_cannot_be_written_to_is_named(server, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(hub.HubError, match=r"^cannot be written to .*cache.*: "):
        get(server, "hubert", tmp_path / "cache")


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "EARSHOT_OFFLINE"])
def test_offline_the_cache_serves_and_nothing_is_asked(server, tmp_path, variable):
    """In a process of its own, as the client reads its settings once."""
    get(server, "hubert", tmp_path / "full")
    asked = len(server.requests)
    code = (
        "import sys; from earshot.models.teacher import CheckpointError, load_backbone\n"
        f"print(sum(p.numel() for p in load_backbone('someone/hubert', '{COMMIT}', sys.argv[1])[0].parameters()))\n"
        f"try: load_backbone('someone/hubert', '{COMMIT}', sys.argv[2])\n"
        "except CheckpointError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "full"), str(tmp_path / "empty")],
        env=os.environ
        | {variable: "1", "HF_ENDPOINT": server.url, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    weights, error = done.stdout.splitlines()
    assert int(weights) > 0 and len(server.requests) == asked
    assert error.startswith(
        "teacher.checkpoint='someone/hubert' is not in the cache, and the environment forbids"
    )
    assert f"{server.url}/someone/hubert/tree/{COMMIT}" in error


def test_without_a_network_one_line_says_what_to_fetch(checkpoints, tmp_path, monkeypatch):
    import huggingface_hub.utils._http as client

    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    with pytest.raises(hub.HubError) as raised:
        hub.folder("someone/hubert", COMMIT, str(tmp_path), "http://127.0.0.1:9")
    message = str(raised.value)
    assert message.startswith("cannot be fetched (") and "\n" not in message
    assert (
        f"model.safetensors from https://huggingface.co/someone/hubert/tree/{COMMIT} into a folder"
        in message
    )


def test_a_local_folder_needs_no_revision_and_no_network(checkpoints):
    assert hub.folder(str(checkpoints["hubert"]), None) == checkpoints["hubert"]
    with pytest.raises(
        CheckpointError,
        match=r"'someone/hubert' is no local folder, and a hub id needs teacher.revision",
    ):
        load_backbone("someone/hubert", None)
    with pytest.raises(
        CheckpointError, match=r"^teacher.checkpoint='someone/hubert' needs a commit .*, not 'main'"
    ):
        load_backbone("someone/hubert", "main")
