"""dvc.yaml says what the stages do: code they import, parameters they read, where outputs lie.

That they open no data but what is declared, `test_pipeline.py` sees by inotify.
"""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, python
from pipeline_graph import imports, parameters_read, paths, stages

STAGES = stages()
OUTSIDE = ("data/", "models/", "metrics/", "plots/", "checkpoints/")
LINKS = "data/${key}/inputs/named.json"
FROZEN = "pretrain"  # its lock keeps the run that made the checkpoint
# They change no result, or stand whole in params.yaml.
FREE = {"src/earshot/__init__.py", "src/earshot/runtime", "src/earshot/params"}


def below(path: str, folders: set[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def code(stage: dict) -> set[str]:
    """Return the project's own files and folders in `deps`."""
    return {dep for dep in stage["deps"] if dep.startswith(("src/", "stages/"))}


def is_empty(file: str) -> bool:
    """Return whether a file is an `__init__` with nothing but a docstring: it changes nothing."""
    body = ast.parse((ROOT / file).read_text()).body
    return Path(file).name == "__init__.py" and all(isinstance(node, ast.Expr) for node in body)


def reached(declared: set[str], script: Path) -> set[str]:
    """Return the files that a script and all files of declared folders import.

    A table may load what it lists by name, which no import shows.
    """
    files = {file for one in declared for file in (ROOT / one).rglob("*.py")}
    return set().union(*map(imports, {script, *files}))


def undeclared(declared: set[str], script: Path) -> set[str]:
    """Return the files that are imported and nothing declared names or holds."""
    files = reached(declared, script)
    return {file for file in files if not below(file, declared | FREE) and not is_empty(file)}


def needless(declared: set[str], script: Path) -> set[str]:
    """Return the declared code of which nothing is imported."""
    files = reached(declared, script)
    return {one for one in declared if not any(below(file, {one}) for file in files)}


def uncovered(keys: set[str], by: set[str]) -> set[str]:
    """Return the dotted keys that are neither in `by` nor below one of its keys."""
    return {key for key in keys if not any(key == one or key.startswith(f"{one}.") for one in by)}


def test_every_stage_has_its_script_and_every_script_its_stage():
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert set(STAGES) == scripts - {"declared"}
    for name, stage in STAGES.items():
        frozen = f"PYTHONPATH=src python stages/{name}.py ${{key}}"  # as in its lock
        assert stage["cmd"] == (frozen if name == FROZEN else f"sh stages/run {name} ${{key}}")
        assert len(stage["desc"]) > 20


@pytest.mark.parametrize("name", sorted(set(STAGES) - {FROZEN}))
def test_a_stage_depends_on_the_code_that_it_imports_and_no_other(name):
    script, deps = ROOT / f"stages/{name}.py", STAGES[name]["deps"]
    assert len(set(deps)) == len(deps)
    assert undeclared(code(STAGES[name]), script) == set()
    assert needless(code(STAGES[name]), script) == set()


def test_wrong_dependencies_are_caught():
    script, declared = ROOT / "stages/features.py", code(STAGES["features"])
    missing = "src/earshot/tables/sequences.py"
    assert undeclared(declared - {missing}, script) == {missing}
    other = "src/earshot/teacher/hub.py"
    assert needless(declared | {other}, script) == {other}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_the_parameters_it_reads_and_no_others(name):
    declared = {re.sub(r"\$\{[^}]*\}", "*", key) for key in STAGES[name]["params"]}
    read = parameters_read(ROOT / f"stages/{name}.py")
    assert uncovered(read, declared) == set()
    assert {
        key for key in declared if not any(uncovered({one}, {key}) == set() for one in read)
    } == set()


def test_an_undeclared_parameter_is_caught(tmp_path):
    script = tmp_path / "stage.py"
    script.write_text('a = read(f"tracks.{track}.cache")\nb = read("seed")\n')
    assert parameters_read(script) == {"tracks.*.cache", "seed"}
    assert uncovered({"tracks.*.cache", "seed"}, {"tracks.*.task", "seed"}) == {"tracks.*.cache"}
    assert uncovered({"recipes.*.track"}, {"recipes.*"}) == set()
    assert uncovered({"seeds"}, {"seed"}) == {"seeds"}


@pytest.mark.parametrize("name", STAGES)
def test_what_people_compare_is_in_git_and_the_rest_is_dvcs(name):
    stage = STAGES[name]
    outputs = [entry for part in ("outs", "metrics", "plots") for entry in stage.get(part, [])]
    for entry in outputs:
        (path,) = paths([entry])
        in_git = path.startswith("metrics/") or name == FROZEN
        assert path.startswith(OUTSIDE)
        if path == LINKS:  # links are made anew, never brought back from a cache
            assert entry[path] == {"cache": False, "persist": True}
            continue
        assert isinstance(entry, dict) == in_git, path
        assert not in_git or entry[path]["cache"] is False
        filled = re.sub(r"\$\{[^}]*\}", "x", path)
        ignored = subprocess.run(["git", "check-ignore", "-q", filled], cwd=ROOT)
        assert (ignored.returncode == 0) != in_git, path
    assert all(dep.startswith(OUTSIDE) for dep in set(stage["deps"]) - code(stage))


def test_what_comes_before_training_loads_no_torch_and_a_front_end_no_librosa():
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT / 'stages'}"
    lazy = "earshot.corpora.synthetic.speech, earshot.pretraining.clips"
    script = f"import sys, download, features, fewshot, {lazy}; sys.exit('torch' in sys.modules)"
    assert python("-c", script, PYTHONPATH=path).returncode == 0
    script = "import sys, features, earshot.export.front_end; sys.exit('librosa' in sys.modules)"
    assert python("-c", script, PYTHONPATH=path).returncode == 0


def test_stages_run_over_sections_with_text_for_keys(content):
    blocks = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    sections = {block["foreach"].strip("${}") for block in blocks.values()}
    assert sections == {"tracks", "teachers", "recipes"}
    for part in sections:
        assert content[part] and all(re.fullmatch(r"[\w-]+", key) for key in content[part])


@pytest.mark.parametrize(
    "file",
    ["params.yaml", *sorted(str(f.relative_to(ROOT)) for f in (ROOT / "profiles").glob("*.yaml"))],
)
def test_no_parameter_has_a_name_that_dvcs_run_cache_overlooks(file):
    """DVC leaves `size` and `nfiles` out of a run's key at any depth: another value would bring
    back the old outputs.
    """

    def keys(node) -> set[str]:
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        return set(node if isinstance(node, dict) else ()).union(*map(keys, inner))

    assert keys(yaml.safe_load((ROOT / file).read_text())) & {"size", "nfiles"} == set()


def test_only_pretraining_is_frozen():
    assert [name for name, stage in STAGES.items() if stage.get("frozen")] == [FROZEN]


# the library


def faults(file: Path) -> list[str]:
    """Return the lines of a library file that know DVC, read params.yaml or print."""
    found = []
    speaks = file.parent.name == "cli"
    reads = speaks or "workbench" in file.parts
    for node in ast.walk(ast.parse(file.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        bad = not reads and any(module.split(".")[0] == "dvc" for module in modules)
        if isinstance(node, ast.Call):
            bad |= ast.unparse(node.func) in ("print", "sys.stdout.write") and not speaks
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = Path(node.value).name == "params.yaml" and " " not in node.value
            bad |= named and not reads
        if bad:
            found.append(f"{file.name}:{node.lineno}")
    return found


def test_the_library_knows_no_dvc_reads_no_params_and_prints_nothing():
    files = sorted((ROOT / "src/earshot").rglob("*.py"))
    assert [fault for file in files for fault in faults(file)] == []


def test_a_library_file_that_breaks_the_rule_is_caught(tmp_path):
    lines = [
        "import dvc.api",
        "from dvc.api import params_show",
        "open('params.yaml').read()",
        "print(1)",
        "'params'",
    ]
    (tmp_path / "bad.py").write_text("\n".join(lines))
    assert sorted(faults(tmp_path / "bad.py")) == ["bad.py:1", "bad.py:2", "bad.py:3", "bad.py:4"]
