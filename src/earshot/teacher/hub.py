"""Checkpoints of the Hugging Face hub: a pinned commit's safetensors, fetched once, then read from
the cache alone.

Files come by plain HTTPS, which every proxy and mirror understands, not by Xet. Pickled weights are
never fetched.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import constants, get_cached_repo_tree, snapshot_download
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    FileMetadataError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars, httpx, logging

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
FILES = ("config.json", "preprocessor_config.json", *WEIGHTS, "vocab.json")
FILES += ("generation_config.json", "tokenizer.json")  # of `WRITERS`
WRITERS = ("whisper",)  # `model_type` of recognisers that only transcribe, token by token
PICKLED = (".bin", ".pt", ".pth", ".h5", ".msgpack")
COMMIT = re.compile("[0-9a-f]{40}")
OFFLINE = "EARSHOT_OFFLINE"
ATTEMPTS = 4  # for what the hub's client does not ask again itself, such as 503
WAIT = 1.0  # seconds before the second attempt, then doubled
PASSING = (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    FileMetadataError,
    httpx.HTTPError,
    OSError,
)
# Bytes of FILES at commits that profiles pin, as published; the hub knows those of others.
SIZES = {("facebook/wav2vec2-base-960h", "22aad52d435eb6dbaf354bdad9b0da84ce7d6156"): 377_609_947}


class HubError(ValueError):
    """A checkpoint that cannot be had; the message is one line, to be read after its name, and says
    what would help.
    """


def folder(
    checkpoint: str, revision: str | None, cache: str | None = None, endpoint: str | None = None
) -> Path:
    """Return the local folder of a checkpoint: a folder as it is, a hub id as fetched at the commit
    `revision`.

    `cache` is where fetched files are kept, null where the hub's own client keeps them (`HF_HOME`).
    What the cache has whole is used without asking anyone; with `HF_HUB_OFFLINE=1` or
    `EARSHOT_OFFLINE=1` nothing is asked in any case. Raises HubError for a revision that is no
    commit, an unknown id or commit, one without safetensors, and without network.
    """
    if Path(checkpoint).is_dir():
        return Path(checkpoint)
    pinned = _pinned(checkpoint, revision)
    found = cached(checkpoint, pinned, cache)
    if found is not None:
        return found
    if _offline():
        reason = "is not in the cache, and the environment forbids the network"
        raise HubError(f"{reason}; {_by_hand(checkpoint, pinned)}")
    found = _fetched(checkpoint, pinned, cache, endpoint)
    if not _is_whole(found):
        raise HubError(_lack(checkpoint, pinned, cache))
    return found


def cached(checkpoint: str, revision: str, cache: str | None = None) -> Path | None:
    """Return the folder of a commit's files, None where they were not fetched; no request."""
    wanted = {"revision": revision, "cache_dir": cache, "allow_patterns": list(FILES)}
    try:
        found = Path(snapshot_download(checkpoint, **wanted, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return found if _is_whole(found) else None


def family(folder: Path) -> str | None:
    """Return what a folder's config.json says that it is, None where it does not say."""
    try:
        content = json.loads((folder / "config.json").read_bytes())
        return content["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def size(checkpoint: str, revision: str, cache: str | None = None) -> int | None:
    """Return the bytes of the files that a commit's checkpoint consists of, None if unknown."""
    files = _listing(checkpoint, revision, cache)
    if not files:
        return SIZES.get((checkpoint, revision))
    wanted = [name for name in files if any(fnmatch(name, pattern) for pattern in FILES)]
    return sum(files[name] for name in wanted)


def _pinned(checkpoint: str, revision: str | None) -> str:
    if revision is None:
        commit = "teacher.revision, a commit of 40 hexadecimal digits"
        raise HubError(f"is no local folder, and a hub id needs {commit}")
    if not COMMIT.fullmatch(revision):
        reason = f"as revision, not {revision!r}: a branch or tag may change"
        raise HubError(f"needs a commit of 40 hexadecimal digits {reason}")
    return revision


def _offline() -> bool:
    return constants.HF_HUB_OFFLINE or os.environ.get(OFFLINE, "0") not in ("", "0")


def _fetched(checkpoint: str, revision: str, cache: str | None, endpoint: str | None) -> Path:
    wanted = {"revision": revision, "cache_dir": cache, "allow_patterns": list(FILES)}
    for attempt in range(ATTEMPTS):
        try:
            with _plainly():
                return Path(snapshot_download(checkpoint, **wanted, endpoint=endpoint))
        except HFValidationError:
            raise HubError("is neither a local folder nor a hub id (OWNER/NAME)") from None
        except RevisionNotFoundError:
            raise HubError(f"has no commit {revision} on the hub") from None
        except RepositoryNotFoundError:
            raise HubError("is not on the hub, or not for everyone") from None
        except PASSING as error:
            reason = " ".join(str(error.__cause__ or error).split())
            if isinstance(error, OSError) and error.errno is not None:  # the disk, not the network
                place = error.filename or cache or constants.HF_HUB_CACHE
                raise HubError(f"cannot be written to {place}: {error.strerror}") from None
            if _is_unreachable(error) or attempt == ATTEMPTS - 1:
                by_hand = _by_hand(checkpoint, revision)
                raise HubError(f"cannot be fetched ({reason[:120]}); {by_hand}") from None
            time.sleep(WAIT * 2**attempt)
    raise AssertionError


def _is_unreachable(error: BaseException) -> bool:
    """Return whether nobody answers at all: the client has tried for long by then."""
    while error is not None:
        if isinstance(error, (httpx.ConnectError, httpx.ProxyError)):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _plainly() -> Iterator[None]:
    """Let the client fetch by HTTPS, without Xet and its warnings; its bar shows on terminals."""
    xet, loud = constants.HF_HUB_DISABLE_XET, logging.get_verbosity()
    constants.HF_HUB_DISABLE_XET = True
    logging.set_verbosity_error()
    if not os.isatty(2):
        disable_progress_bars()
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = xet
        logging.set_verbosity(loud)
        if constants.HF_HUB_DISABLE_PROGRESS_BARS is None:
            enable_progress_bars()


def _is_whole(found: Path) -> bool:
    return all((found / name).is_file() for name in FILES[:2]) and any(
        (found / name).is_file() for name in WEIGHTS[:2]
    )


def _listing(checkpoint: str, revision: str, cache: str | None) -> dict[str, int]:
    """Return the bytes of each file of a commit, as the hub listed them; empty if it never did."""
    try:
        tree = get_cached_repo_tree(checkpoint, revision=revision, cache_dir=cache)
        return {file.path: file.size for file in tree}
    except (CachedRepoTreeNotFoundError, HFValidationError):
        return {}


def _lack(checkpoint: str, revision: str, cache: str | None) -> str:
    """Return what a commit's files lack."""
    names = _listing(checkpoint, revision, cache)
    if names.keys() & set(WEIGHTS[:2]):
        missing = ", ".join(name for name in FILES[:2] if name not in names)
        return f"lacks {missing} at {revision}"
    pickled = [name for name in names if name.endswith(PICKLED)]
    return (
        f"has {', '.join(pickled) or 'no weights'} but no {WEIGHTS[0]} at {revision}: pin a commit"
        " that has it, as that of the checkpoint's conversion pull request may; pickled weights are"
        " never loaded"
    )


def _by_hand(checkpoint: str, revision: str) -> str:
    place = f"{constants.ENDPOINT}/{checkpoint}/tree/{revision}"
    files = f"{FILES[0]}, {FILES[1]} and {WEIGHTS[0]}"
    return f"fetch {files} from {place} into a folder and name that folder instead"
