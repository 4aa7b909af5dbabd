"""What is committed hangs together: outputs written whole, Parquet read with its schema, lock and
plots in order.
"""

import ast
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from pipeline_graph import paths

SOURCES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "stages").glob("*.py")])
# Where a call that writes takes its path: −1 is the object whose method it is.
WRITERS = {
    "to_csv": 0, "to_parquet": 0, "savefig": 0, "ParquetWriter": 0, "imsave": 0, "open": 0,
    "soundfile.write": 0, "np.save": 0, "np.savez": 0, "write_text": -1, "write_bytes": -1,
    "write_table": 1, "save_file": 1, "copyfile": 1, "copy": 1, "copy2": 1, "torch.save": 1,
    "onnx.save": 1, "quantize_dynamic": 1, "quantize_static": 1,
}  # fmt: skip
# Not outputs, or appended to on purpose.
ALLOWED = {
    ("fetch.py", "locked"): "a lock holds nothing",
    ("partial.py", "__init__"): "a download goes on where it was cut, and is checked at its end",
    ("partial.py", "restart"): "a note beside a download that is not whole",
    ("int8.py", "quantize"): "in a temporary folder",
    ("conditions.py", "mp3"): "in memory",
    ("sequences.py", "_parquet_writer"): "its callers give it a temporary name",
    ("declared.py", "run"): "a lock holds nothing",
    ("clone.py", "alone"): "a lock holds nothing",
    ("trial.py", "_train"): "what an experiment prints",
    ("clone.py", "make"): "in a clone that is thrown away",
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call with the name of the function that it stands in."""

    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            inner = child.name if isinstance(child, ast.FunctionDef) else name
            if isinstance(child, ast.Call):
                yield inner, child
            yield from walk(child, inner)

    return walk(tree, "")


def written(call: ast.Call) -> str | None:
    """Return the path that a call writes to, as it stands there; None when it writes no file."""
    name = ast.unparse(call.func)
    short = name.split(".")[-1]
    place = WRITERS.get(name, WRITERS.get(short) if short not in ("save", "copy", "open") else None)
    if name == "open":
        modes = [*call.args[1:2], *(word.value for word in call.keywords if word.arg == "mode")]
        if not modes or not re.search("[wax+]", ast.unparse(modes[0])):
            return None
    if place is None or len(call.args) <= place:
        return None
    return ast.unparse(call.func.value if place == -1 else call.args[place])


def bare_writes(file: Path) -> dict[tuple[str, str], str]:
    """Return what a file writes under names that are not temporary: {(file, function): path}."""
    found = ((inner, written(call)) for inner, call in calls(ast.parse(file.read_text())))
    temporary = r"^(str\()?partial\b|^partial_\w+|content$"  # `content` is a BytesIO
    return {
        (file.name, inner): path for inner, path in found if path and not re.search(temporary, path)
    }


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_file_is_written_under_a_temporary_name(file: Path):
    assert {place: path for place, path in bare_writes(file).items() if place not in ALLOWED} == {}


def test_a_bare_write_is_caught(tmp_path: Path):
    file = tmp_path / "bad.py"
    lines = ["open(path, 'w')", "open(path, mode='xb')", "Path(path).write_text('')"]
    lines += ["table.to_csv(path)", "pq.write_table(table, path)", "torch.save(weights, path)"]
    for line in [*lines, "soundfile.write(path, samples, 1)"]:
        file.write_text(f"def inner():\n    {line}\n")
        assert list(bare_writes(file)) == [("bad.py", "inner")], line
    harmless = ["open(path)", "open(path, 'rb')", "open(partial, 'w')", "images.copy()"]
    for line in [*harmless, "table.to_csv(partial_file)"]:
        file.write_text(line)
        assert bare_writes(file) == {}, line


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_parquet_table_is_read_with_its_columns_checked(file: Path):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef):
            said = ast.unparse(node)
            if "pq.read_table(" in said:
                assert re.search(r"schema\.equals\(SCHEMA\)|column_names", said), (
                    f"{file.name}: {node.name}"
                )
            assert "read_parquet(" not in said, f"{file.name}: {node.name}: pandas checks no schema"


# dvc.lock


def expanded() -> dict[str, dict]:
    """Return every stage instance of dvc.yaml, filled in: {`distill@listening-kd`: its block}."""
    blocks, params = (
        yaml.safe_load((ROOT / name).read_text()) for name in ("dvc.yaml", "params.yaml")
    )
    made = {}
    for name, block in blocks["stages"].items():
        for key, item in params[block["foreach"].strip("${}")].items():
            text = json.dumps(block["do"]).replace("${key}", key)
            text = text.replace("${item.track}", str(item.get("track")))
            made[f"{name}@{key}"] = json.loads(text)
    return made


LOCK = yaml.load((ROOT / "dvc.lock").read_text(), yaml.CSafeLoader)["stages"]
STAGES = expanded()


def test_the_lock_has_no_stage_that_the_pipeline_has_not():
    assert set(LOCK) - set(STAGES) == set()


@pytest.mark.parametrize("stage", STAGES)
def test_what_the_lock_records_of_a_stage_is_declared(stage: str):
    declared, locked = STAGES[stage], LOCK[stage]
    assert locked["cmd"] == declared["cmd"] and "$" not in declared["cmd"]
    outs = set().union(*(paths(declared.get(part, [])) for part in ("outs", "metrics", "plots")))
    assert {out["path"] for out in locked["outs"]} - outs == set()
    assert set(locked["params"]["params.yaml"]) - set(declared["params"]) == set()


# metrics


def faults(value: object, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from faults(inner, f"{name}.{key}")
    elif type(value) not in (int, float) or not math.isfinite(value):
        yield f"{name}={value!r}"


def test_metrics_are_finite_numbers_without_lists():
    for file in sorted((ROOT / "metrics").rglob("*.json")):
        content = json.loads(file.read_text())
        assert isinstance(content, dict) and content, file
        assert list(faults(content, str(file))) == []
