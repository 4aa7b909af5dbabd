"""A packed folder on the Hugging Face hub: what would go there, and the going."""

from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi, ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import httpx, validate_repo_id


class Push(NamedTuple):
    """What a push sends, and where to: files with their bytes."""

    endpoint: str
    name: str
    files: dict[str, int]


def plan(folder: Path, name: str) -> Push:
    """Return what `send` would do; nothing is connected to. ValueError for a name that is none, or
    a card whose head huggingface_hub cannot read.
    """
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"--push {name}: {error}") from None
    if name.count("/") != 1:
        raise ValueError(f"--push {name}: OWNER/NAME is wanted")
    ModelCard.load(folder / "README.md")
    files = {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return Push(constants.ENDPOINT, name, files)


def send(folder: Path, push: Push) -> str:
    """Make the repository where it is not there, and send the folder; return its address.

    ValueError says what the hub refused, its check of the card included.
    """
    api = HfApi(endpoint=push.endpoint)
    try:
        ModelCard.load(folder / "README.md").validate()
        api.create_repo(push.name, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=push.name, folder_path=folder, commit_message="A student of Earshot"
        )
    except (HfHubHTTPError, httpx.HTTPError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"--push {push.name}: {push.endpoint} refuses it ({reason})") from None
    return f"{push.endpoint}/{push.name}"
