"""A student's file says by which version of the text encoder it was taught to read."""

import pytest

from earshot.models import checkpoint
from earshot.models.students import STUDENTS, load_student, metadata
from earshot.params import BiLSTM, Text
from earshot.tasks import TASKS


def student(version: int) -> BiLSTM:
    text = Text(buckets=64, dim=4, version=version)
    return BiLSTM(name="bilstm", layers=1, hidden=4, text=text)


def test_a_file_of_another_version_is_refused_by_name(tmp_path):
    params = student(2)
    task = TASKS["choice"](params.text, ())
    made, path = STUDENTS["bilstm"](params, 8, task), tmp_path / "seed-0.safetensors"
    checkpoint.save_weights(path, made.state_dict(), metadata(params))
    assert checkpoint.read_metadata(path) == {"text_version": "2"}
    loaded = load_student(params, 8, task, path).state_dict()
    assert all((loaded[name] == tensor).all() for name, tensor in made.state_dict().items())
    refusal = r"seed-0\.safetensors: .* by version 2, .* text\.version=1; distil it again"
    with pytest.raises(checkpoint.WeightsError, match=refusal):
        load_student(student(1), 8, task, path)


def test_a_file_from_before_there_were_versions_has_the_first(tmp_path):
    params = student(1)
    task = TASKS["choice"](params.text, ())
    path = tmp_path / "seed-0.safetensors"
    checkpoint.save_weights(path, STUDENTS["bilstm"](params, 8, task).state_dict())
    load_student(params, 8, task, path)
    with pytest.raises(checkpoint.WeightsError, match="by version 1"):
        load_student(student(2), 8, task, path)
