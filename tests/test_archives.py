"""Corpora from the network: the real layouts, served by a local server, come to lie where the
loaders look.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import soundfile
import yaml
from conftest import ROOT, python
from served import Part, checksums, scene_parts, speech_parts, tree
from server import Server

from earshot.corpora import CORPORA, archives
from earshot.corpora.fetch import FetchError
from earshot.params import (
    TAU2022,
    CommonVoice,
    LibriSpeech,
    LibriSpeechDownload,
    Manifest,
    ParameterError,
    SyntheticScenes,
    SyntheticSpeech,
    TAU2022Download,
    parse,
)
from earshot.tables.manifest import Clip, CorpusError, read_manifest

SPEECH = SyntheticSpeech(
    name="synthetic_speech",
    passages={"teacher": 3, "pool": 2, "fewshot": 1, "validation": 1, "test": 2},
    fewshot_retellings=2,
)
SCENES = SyntheticScenes(
    name="synthetic_scenes", segments={"train": 3, "test": 1}, clips={"train": 1, "test": 1}
)
SUBSETS = {
    "train-clean-5": {"teacher", "pool", "fewshot"},
    "dev-clean": {"validation"},
    "test-clean": {"test"},
}


# what is served


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    """The embedded speech in LibriSpeech's layout."""
    root = tmp_path_factory.mktemp("speech") / "LibriSpeech"
    made = CORPORA["synthetic_speech"](SPEECH, tmp_path_factory.mktemp("made"), 1)
    tree(root, list(made), SUBSETS)
    return root


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """The embedded scenes, which lie as TAU does."""
    root = tmp_path_factory.mktemp("scenes")
    list(CORPORA["synthetic_scenes"](SCENES, root, 1))
    (root / "README.md").write_text("scenes")
    return root


@pytest.fixture(scope="module")
def packed(speech, scenes) -> dict[str, dict[str, Part]]:
    """Each part's file, by corpus."""
    question = {
        "speech_path": "a/1-2-0003.flac",
        "question_and_option": "Who? A. a B. b C. c D. d",
        "answer": "A",
    }
    librisqa = ("LibriSQA-PartII-test.json", yaml.safe_dump([question]).encode())
    spoken = speech_parts(speech) | {"librisqa-test": librisqa}
    return {"librispeech": spoken, "tau2022": scene_parts(scenes)}


@pytest.fixture
def server(packed):
    files = {}
    for corpus, parts in packed.items():
        files |= {f"/{corpus}/{name}": body for name, body in parts.values()}
    with Server(files) as server:
        yield server


@pytest.fixture
def librispeech(server, packed, tmp_path) -> Callable[..., LibriSpeech]:
    """Return a maker of a section whose mirror is the local server."""

    def make(
        parts: tuple[str, ...] = tuple(SUBSETS), mirrors: tuple[str, ...] = (), **more
    ) -> LibriSpeech:
        settings = {"table": checksums(tmp_path / "table.yaml", packed["librispeech"])} | more
        mirrors = list(mirrors) or [server.url("/librispeech/")]
        download = LibriSpeechDownload(parts=list(parts), mirrors=mirrors, **settings)
        splits = {"train-clean-5": "pool", "dev-clean": "validation", "test-clean": "test"}
        chosen = {part: splits[part] for part in parts if part in splits} or splits
        return LibriSpeech(
            name="librispeech", root=str(tmp_path / "root"), splits=chosen, download=download
        )

    return make


@pytest.fixture
def tau(server, packed, tmp_path) -> Callable[..., TAU2022]:
    def make(**more) -> TAU2022:
        settings = {"table": checksums(tmp_path / "table.yaml", packed["tau2022"])} | more
        download = TAU2022Download(mirrors=[server.url("/tau2022")], **settings)
        return TAU2022(
            name="tau2022", root=str(tmp_path / "root"), validation_share=0.3, download=download
        )

    return make


def clips(corpus: LibriSpeech | TAU2022) -> list[Clip]:
    """The corpus' clips, their paths relative to its root."""
    found = CORPORA[corpus.name](corpus, Path("unused"), 1)
    return [replace(clip, path=str(Path(clip.path).relative_to(corpus.root))) for clip in found]


def elsewhere(corpus: LibriSpeech | TAU2022, root: Path) -> LibriSpeech | TAU2022:
    """The same corpus, from a folder alone."""
    return corpus.model_copy(update={"root": str(root), "download": None})


# LibriSpeech


@pytest.mark.parametrize("keep", [True, False])
def test_librispeech_comes_as_it_lies(librispeech, speech, server, tmp_path, keep):
    corpus = librispeech(keep_archives=keep)
    assert [(p.name, p.there) for p in archives.plan(corpus)] == [(part, False) for part in SUBSETS]
    assert not (tmp_path / "root").exists()
    found = clips(corpus)
    assert found == clips(elsewhere(corpus, speech)) and len({clip.split for clip in found}) == 3
    kept = {file.name for file in (tmp_path / "root/archives").glob("*.tar.gz")}
    assert kept == ({f"{part}.tar.gz" for part in SUBSETS} if keep else set())
    asked = len(server.log)
    assert asked == 3 and clips(corpus) == found and len(server.log) == asked
    assert all(part.there for part in archives.plan(corpus))


def test_archives_kept_before_go_when_they_are_no_longer_wanted(librispeech, tmp_path, server):
    clips(librispeech(keep_archives=True))
    clips(librispeech())
    assert list((tmp_path / "root/archives").glob("*.tar.gz")) == [] and len(server.log) == 3


def test_a_folder_of_the_users_is_used(librispeech, speech, server, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/dev-clean").symlink_to(speech / "dev-clean")
    corpus = librispeech()
    assert [part.there for part in archives.plan(corpus)] == [False, True, False]
    assert clips(corpus) == clips(elsewhere(corpus, speech))
    asked = {request.path for request in server.log}
    assert asked == {f"/librispeech/{part}.tar.gz" for part in ("train-clean-5", "test-clean")}


def test_a_folder_that_lacks_utterances_is_named(librispeech, tmp_path, server):
    chapter = tmp_path / "root/dev-clean/1/2"
    chapter.mkdir(parents=True)
    soundfile.write(chapter / "1-2-0000.flac", [0.1] * 1600, 16_000)
    (chapter / "1-2.trans.txt").write_text("1-2-0000 YES\n1-2-0001 NO\n")
    line = r"root/dev-clean: 1-2-0001\.flac is missing \(1 of 2 such\); remove the folder"
    with pytest.raises(CorpusError, match=line):
        clips(librispeech(["dev-clean"]))
    (chapter / "1-2.trans.txt").unlink()
    line = "root/dev-clean: 1 utterances, not 2703; remove .* take 'dev-clean' out of"
    with pytest.raises(CorpusError, match=line):
        clips(librispeech(["dev-clean"], table=None))
    assert server.log == []
    assert len(clips(librispeech(["dev-clean"]))) == 1  # nothing is known of it


def test_unpacking_that_was_interrupted_is_finished(librispeech, speech, server, tmp_path):
    corpus = librispeech(["dev-clean"], keep_archives=True)
    found = clips(corpus)
    root = tmp_path / "root"
    next((root / ".unpacked").glob("*.json")).unlink()
    next(root.glob("dev-clean/*/*/*.flac")).unlink()
    assert clips(corpus) == found and len(server.log) == 1


def test_a_folder_that_was_taken_away_is_fetched_again(librispeech, server, tmp_path):
    corpus = librispeech(["dev-clean"])
    found = clips(corpus)
    (tmp_path / "root/dev-clean").rename(tmp_path / "away")
    assert not archives.plan(corpus)[0].there
    assert clips(corpus) == found and len(server.log) == 2


def test_librisqa_comes_beside_the_speech(librispeech, packed, tmp_path):
    corpus = librispeech(["dev-clean", "librisqa-test"])
    assert clips(corpus) and archives.plan(corpus)[1].there
    name, body = packed["librispeech"]["librisqa-test"]
    assert (tmp_path / "root" / name).read_bytes() == body


# TAU


@pytest.mark.parametrize("keep", [True, False])
def test_tau_comes_as_it_lies(tau, scenes, server, tmp_path, keep):
    corpus = tau(keep_archives=keep)
    found = clips(corpus)
    assert found == clips(elsewhere(corpus, scenes))
    assert {clip.subset for clip in found} > {5, 50, 100}
    assert len(server.log) == 23 and clips(corpus) == found and len(server.log) == 23
    assert len(list((tmp_path / "root/archives").glob("*.zip"))) == (17 if keep else 0)
    assert all(part.there for part in archives.plan(corpus)) and len(archives.plan(corpus)) == 23


def test_a_whole_tau_of_the_users_is_used(tau, scenes, server, tmp_path):
    lists = (f"split{n}.csv" for n in (5, 10, 25, 50, 100))
    (tmp_path / "root").mkdir()
    for name in ("audio", "evaluation_setup", "meta.csv", "README.md", *lists):
        (tmp_path / "root" / name).symlink_to(scenes / name)
    corpus = tau(parts=["doc", "meta", "audio", "subsets"])
    assert [part.name for part in archives.plan(corpus) if not part.there] == ["test.csv"]
    assert clips(corpus) == clips(elsewhere(corpus, scenes))
    assert [request.path for request in server.log] == ["/tau2022/test.csv"]


def test_a_list_with_too_few_rows_is_named(tau, tmp_path, server):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/split5.csv").write_text("filename\nx.wav\n")
    line = r"root/split5\.csv: 1 rows, not 6980; remove it to have it fetched"
    with pytest.raises(CorpusError, match=line):
        clips(tau(parts=["split5.csv"], table=None))
    assert server.log == []


# faults


def test_the_built_in_checksum_guards_against_other_files(librispeech, server):
    with pytest.raises(FetchError, match=r"archives/dev-clean\.tar\.gz: .*337926286"):
        clips(librispeech(["dev-clean"], table=None))


def test_an_archive_of_something_else_is_named(librispeech, server, packed, tmp_path):
    body = packed["librispeech"]["test-clean"][1]
    server.files["/librispeech/dev-clean.tar.gz"] = body
    table = checksums(tmp_path / "other.yaml", {"dev-clean": ("", body)})
    line = r"dev-clean\.tar\.gz: brought no 'dev-clean' to .*root \(download part 'dev-clean'\)"
    with pytest.raises(CorpusError, match=line):
        clips(librispeech(["dev-clean"], table=table))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dev: {bytes: 1}", r"'dev' is not one of train-clean-100, .*librisqa-test"),
        ("dev-clean: {sha256: x}", "dev-clean: may have md5 and bytes, nothing else"),
        ("dev-clean: {md5: 12}", r"dev-clean: md5='12' is not 32 hexadecimal digits"),
        ("dev-clean: {bytes: -1}", r"dev-clean: bytes='-1' is no number of bytes"),
        ("[dev-clean]", "expected {part: {md5, bytes}}"),
        ("a: [", "line 1: expected"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(librispeech, tmp_path, content, message):
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(CorpusError, match=rf"^\S*mine\.yaml: {message}") as error:
        archives.plan(librispeech(table=str(tmp_path / "mine.yaml")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("track", "corpus", "told"),
    [
        ("listening", {"name": "librispeech", "splits": {"dev-clean": "test"}}, "'librisqa-test'"),
        ("scenes", {"name": "tau2022"}, "'doc', 'meta', 'audio', .* or 'test.csv'"),
    ],
)
def test_parts_that_do_not_exist_are_named(content, track, corpus, told):
    for parts, fault in (
        (["dev"], rf"parts\.0='dev': .*{told}"),
        ([], r"parts=\[\]: .*at least 1"),
    ):
        content["tracks"][track]["corpus"] = corpus | {"root": "x", "download": {"parts": parts}}
        with pytest.raises(ParameterError, match=rf"tracks\.{track}\.corpus\.download\.{fault}"):
            parse(content)


# the stage


def test_the_stage_fetches_what_the_parameters_say(librispeech, speech, server, content, tmp_path):
    corpus = librispeech()
    content["tracks"]["listening"]["corpus"] = corpus.model_dump()
    content["tracks"]["listening"]["fewshot"]["questions"] = 1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    stage = partial(python, ROOT / "stages/download.py", "listening", folder=tmp_path)
    for _ in range(2):
        assert stage().returncode == 0
    assert len(server.log) == 3
    table = read_manifest(tmp_path / "data/listening/manifest.parquet")
    assert table["id"].tolist() == [clip.id for clip in clips(elsewhere(corpus, speech))]
    (tmp_path / "table.yaml").write_text(f"dev-clean: {{md5: '{'0' * 32}'}}")
    (tmp_path / "root/dev-clean").rename(tmp_path / "away")
    failed = stage()
    assert failed.returncode == 1 and len(failed.stderr.strip().splitlines()) == 1
    assert re.match(r"download@listening: \S+dev-clean\.tar\.gz: ", failed.stderr)


# the tables


@pytest.mark.parametrize(
    ("name", "download"), [("librispeech", LibriSpeechDownload), ("tau2022", TAU2022Download)]
)
def test_every_part_has_addresses_and_what_is_published_of_it(name, download):
    table = archives.TABLES[name]
    allowed = get_args(get_args(download.model_fields["parts"].annotation)[0])
    assert set(allowed) == set(table) | (set(archives.GROUPS) if name == "tau2022" else set())
    for part, archive in table.items():
        for url in archive.urls:
            assert re.match(r"https://[^ ]+/", url) and archive.name in url
        assert re.fullmatch("[0-9a-f]{32}", archive.md5 or "") or archive.plain, part
        assert archive.urls and archive.size > 0, part
    sums = [archive.md5 for archive in table.values() if archive.md5]
    assert len(set(sums)) == len(sums)
    if name == "tau2022":
        assert sum(table[part].bytes for part in archives.GROUPS["audio"]) // 10**8 == 275


def test_what_unpacking_needs():
    def need(keep: bool, *parts: str) -> int:
        download = LibriSpeechDownload(parts=list(parts), keep_archives=keep)
        corpus = LibriSpeech(
            name="librispeech", root="nowhere", splits={".": "pool"}, download=download
        )
        return archives._need([archives.LIBRISPEECH_PARTS[part] for part in parts], corpus)

    first, second = (archives.LIBRISPEECH_PARTS[part].bytes for part in ("dev-clean", "test-clean"))
    grown = pytest.approx
    assert need(True, "dev-clean", "test-clean") == grown(1.12 * (first + second), abs=2)
    unpacked = 1.12 * second + 0.12 * (first + second)
    assert need(False, "dev-clean", "test-clean") == grown(unpacked, abs=2)
    # its size is not known exactly
    assert need(True, "dev-clean-2") == grown(2.12 * 126_000_000, abs=2)
    assert need(True, "librisqa-test") == 2_600_000


def test_other_corpora_have_nothing_to_fetch():
    corpora = (SPEECH, SCENES, Manifest(name="manifest", path="x.csv"))
    corpora += (CommonVoice(name="common_voice", root="x.tar.gz", language="en"),)
    corpora += (LibriSpeech(name="librispeech", root="nowhere", splits={"dev-clean": "test"}),)
    assert [archives.plan(corpus) for corpus in corpora] == [[]] * 5
