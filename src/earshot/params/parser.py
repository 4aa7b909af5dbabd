"""From the content of params.yaml to parameters, or to one line that names what is wrong."""

from typing import Any

from pydantic import BaseModel, ValidationError

from earshot.params.models import TAG, TEACHERS
from earshot.params.whole import Params


class ParameterError(ValueError):
    """A parameter that cannot be used; the message names key, value and allowed range."""


# What tells one kind of section from another stands in its key's place in pydantic's errors, not in
# params.yaml. Names that users give are none of them.
_NAMED = {"tracks", "teachers", "recipes"}
_KINDS = {
    *("synthetic_speech", "librispeech", "common_voice", "synthetic_scenes", "tau2022", "manifest"),
    *("ctc", "hubert"),
    *("generated", "authored", "librisqa", "labels"),
    *("bilstm", "mobilenet", "cp_mobile", "image"),
    *("transcripts", "conformer", "convnext", "open_speech"),
    *("open_languages", "languages", "ctc_languages", "recordings"),
    *map(TAG.format, TEACHERS),
}


# What stood elsewhere in older files: where it is now, by section and last key.
_MOVED = {
    ("tracks", "teacher"): "it stands in the section teachers now; write teachers: "
    "{{{row}: {{track: {row}, …the same}}}}",
}


def parse(content: dict[str, Any]) -> Params:
    """Check the content of params.yaml; raise ParameterError with one line per offence joined by ';
    '.
    """
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise ParameterError("; ".join(map(_line, error.errors()))) from None


def _line(error: Any) -> str:
    parts = error["loc"]
    kinds = {n for n in range(1, len(parts)) if parts[n] in _KINDS and parts[n - 1] not in _NAMED}
    key = ".".join(str(part) for place, part in enumerate(parts) if place not in kinds)
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "bool_type":
        message += ", true or false"
    if error["type"] == "missing":
        return f"params.yaml: {key} is missing"
    if error["type"] == "extra_forbidden":
        moved = _MOVED.get((parts[0], parts[-1]), "no such parameter").format(
            row="".join(map(str, parts[1:2]))
        )
        return f"params.yaml: {key}={error['input']!r}: {moved}"
    value = "" if isinstance(error["input"], (dict, BaseModel)) else f"={error['input']!r}"
    return f"params.yaml: {key}{value}: {message}" if key else f"params.yaml: {message}"
