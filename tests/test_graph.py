"""dvc.yaml says what the stages do: files they import, parameters and data they read; the library
knows nothing of DVC.
"""

import ast
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from pipeline_graph import imports, parameters_read, stages

STAGES = stages()
OUTSIDE = ("data", "models", "metrics", "plots", "checkpoints")


def pattern(text: str) -> str:
    """Put `*` for what is filled in: `${key}` in dvc.yaml, `{track}` in a script."""
    return re.sub(r"\$?\{[^}]*\}", "*", text)


def names(entries: list) -> list[str]:
    """Return the paths of a list of deps, outs, metrics or plots, options left out."""
    return [path for entry in entries for path in (entry if isinstance(entry, dict) else [entry])]


def declared_files(stage: dict, root: Path = ROOT) -> tuple[set[str], set[str]]:
    """Return the project's files in `deps`, and those of them that stand there as part of a folder."""
    own = [dep for dep in stage["deps"] if dep.startswith(("src/", "stages/"))]
    folders = [root / dep for dep in own if (root / dep).is_dir()]
    inside = {str(file.relative_to(root)) for folder in folders for file in folder.rglob("*.py")}
    return {dep for dep in own if not (root / dep).is_dir()} | inside, inside


def difference(stage: dict, script: Path) -> dict[str, set[str]]:
    """Return the files that a script needs and `deps` leaves out, and those that it names in vain."""
    declared, inside = declared_files(stage)
    needed = imports(script).union(inside, *(imports(ROOT / file) for file in inside))
    return {"missing": needed - declared, "superfluous": declared - needed}


def uncovered(keys: set[str], by: set[str]) -> set[str]:
    """Return the dotted keys that are neither in `by` nor below one of its keys."""
    return {key for key in keys if not any(key == one or key.startswith(f"{one}.") for one in by)}


def paths_used(script: Path) -> set[str]:
    """Return the patterns of data paths in a script, those put together with `/` from a variable
    included.
    """
    tree, bound = ast.parse(script.read_text()), dict[str, str]()

    def text(node: ast.AST) -> str | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.JoinedStr):
            return "".join(
                part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Path" and node.args:
            return text(node.args[0])
        if isinstance(node, ast.Name):
            return bound.get(node.id)
        if (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Div)
            and (left := text(node.left))
        ):
            return f"{left}/{text(node.right) or '{}'}"
        return None

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            for name, one in (
                zip(target.elts, value.elts, strict=True) if several else [(target, value)]
            ):
                if isinstance(name, ast.Name) and (path := text(one)):
                    bound[name.id] = path
    pieces = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    pieces |= {id(node.left) for node in ast.walk(tree) if isinstance(node, ast.BinOp)}
    joined = {
        node.left.id
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.left, ast.Name)
    }
    # only ever the beginning of another path
    whole = {bound[name] for name in joined if name in bound}
    found = {path for node in ast.walk(tree) if id(node) not in pieces and (path := text(node))}
    return {
        pattern(path)
        for path in found - whole
        if path.startswith(tuple(f"{folder}/" for folder in OUTSIDE))
    }


def below(path: str, folders: set[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def undeclared_paths(stage: dict, script: Path) -> set[str]:
    """Return the paths in a script that are no dependency or output; a folder may stand for outputs
    in it.
    """
    outputs = {
        pattern(path)
        for part in ("outs", "metrics", "plots")
        for path in names(stage.get(part, []))
    }
    declared = outputs | {pattern(path) for path in stage["deps"]}
    # read by its folder's name
    inside = outputs | {pattern(dep) for dep in stage["deps"] if dep.endswith(".json")}
    used = paths_used(script)
    return {
        path
        for path in used
        if not below(path, declared) and not any(below(one, {path}) for one in inside)
    }


def test_every_stage_has_its_script_and_every_script_its_stage():
    scripts = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert set(STAGES) == scripts - {"declared"}
    for name, stage in STAGES.items():
        assert stage["cmd"] == f"PYTHONPATH=src python stages/{name}.py ${{key}}"
        assert len(stage["desc"]) > 20


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_files_it_imports_and_no_others(name):
    assert difference(STAGES[name], ROOT / f"stages/{name}.py") == {
        "missing": set(),
        "superfluous": set(),
    }
    assert [dep for dep in STAGES[name]["deps"] if STAGES[name]["deps"].count(dep) > 1] == []


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_the_parameters_it_reads_and_no_others(name):
    declared = {pattern(key) for key in STAGES[name]["params"]}
    read = parameters_read(ROOT / f"stages/{name}.py")
    assert uncovered(read, declared) == set()
    assert declared - read == set()


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_touches_no_data_that_it_does_not_declare(name):
    script = ROOT / f"stages/{name}.py"
    assert len(paths_used(script)) >= 2
    assert undeclared_paths(STAGES[name], script) == set()


@pytest.mark.parametrize("name", STAGES)
def test_outputs_lie_where_outputs_belong_and_small_ones_are_in_git(name):
    stage = STAGES[name]
    outputs = {part: stage.get(part, []) for part in ("outs", "metrics", "plots")}
    places = tuple(f"{folder}/" for folder in OUTSIDE)
    assert [
        path for part in outputs.values() for path in names(part) if not path.startswith(places)
    ] == []
    small = [
        *outputs["metrics"],
        *outputs["plots"],
        *(o for o in outputs["outs"] if names([o])[0].startswith("metrics/")),
    ]
    for entry in small:
        assert isinstance(entry, dict) and all(
            options["cache"] is False for options in entry.values()
        ), entry
    for path in names([*outputs["metrics"], *outputs["plots"]]):
        assert path.startswith(("metrics/", "plots/"))
    deps = {dep for dep in stage["deps"] if not dep.startswith(("src/", "stages/"))}
    assert [dep for dep in deps if not dep.startswith(places)] == []


def test_every_dependency_is_some_stages_output():
    parts = [
        stage.get(part, []) for stage in STAGES.values() for part in ("outs", "metrics", "plots")
    ]
    made = {pattern(path) for part in parts for path in names(part)}
    wanted = {
        pattern(dep)
        for s in STAGES.values()
        for dep in s["deps"]
        if not dep.startswith(("src/", "stages/"))
    }
    assert {
        path
        for path in wanted
        if not below(path, made) and not any(below(one, {path}) for one in made)
    } == set()


def test_stages_run_over_tracks_and_recipes_with_text_for_keys(content):
    blocks = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {block["foreach"] for block in blocks.values()} == {"${tracks}", "${recipes}"}
    for part in ("tracks", "recipes"):
        assert content[part] and all(
            type(key) is str and re.fullmatch(r"[\w-]+", key) for key in content[part]
        )


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
    assert [name for name, stage in STAGES.items() if stage.get("frozen")] == ["pretrain"]


# the checks above catch what they are for


def test_an_undeclared_import_is_caught(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline_graph.ROOT", tmp_path)
    script = tmp_path / "stage.py"
    script.write_text('"""A stage."""\n\ndef stage():\n    from earshot import files\n')
    monkeypatch.setattr("pipeline_graph.SOURCE", tmp_path / "src")
    for name in ("__init__", "files", "hidden"):
        (tmp_path / "src/earshot").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"src/earshot/{name}.py").write_text(
            "from earshot.hidden import x\n" if name == "files" else ""
        )
    found = {"stage.py", *(f"src/earshot/{name}.py" for name in ("__init__", "files", "hidden"))}
    assert imports(script) == found


def test_a_wrong_list_of_files_is_caught():
    deps = [dep for dep in STAGES["features"]["deps"] if dep != "src/earshot/store.py"]
    wrong = difference({"deps": [*deps, "src/earshot/text.py"]}, ROOT / "stages/features.py")
    assert wrong == {"missing": {"src/earshot/store.py"}, "superfluous": {"src/earshot/text.py"}}


def test_what_the_files_of_a_folder_import_is_needed():
    deps = [dep for dep in STAGES["download"]["deps"] if dep != "src/earshot/audio.py"]
    wrong = difference({"deps": deps}, ROOT / "stages/download.py")
    assert wrong == {"missing": {"src/earshot/audio.py"}, "superfluous": set()}


def test_an_undeclared_parameter_is_caught(tmp_path):
    script = tmp_path / "stage.py"
    script.write_text(
        'a, b = (read(f"tracks.{track}.{part}") for part in ("teacher", "cache"))\nc = read("seed")\n'
    )
    assert parameters_read(script) == {"tracks.*.teacher", "tracks.*.cache", "seed"}
    assert uncovered(parameters_read(script), {"tracks.*.teacher", "seed"}) == {"tracks.*.cache"}
    assert uncovered({"recipes.*.track"}, {"recipes.*"}) == set() and uncovered(
        {"seeds"}, {"seed"}
    ) == {"seeds"}


def test_an_undeclared_path_is_caught(tmp_path):
    script = tmp_path / "stage.py"
    script.write_text(
        'table, models = f"data/{track}/items.parquet", Path(f"models/{track}")\n'
        'read(table, models / "teacher", models / f"students/{key}/seed-{seed}.safetensors")\n'
        'write_json(f"metrics/{track}/quality.json", {})\n'
    )
    used = {
        "data/*/items.parquet",
        "models/*/teacher",
        "models/*/students/*/seed-*.safetensors",
        "metrics/*/quality.json",
    }
    assert paths_used(script) == used
    metrics = [{"metrics/${key}/quality.json": {"cache": False}}]
    stage = {"deps": ["data/${key}/items.parquet", "models/${key}/students"], "metrics": metrics}
    assert undeclared_paths(stage, script) == {"models/*/teacher"}


# the library


def faults(file: Path) -> list[str]:
    """Return the lines of a library file that know DVC, read params.yaml or print."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        bad = any(module.split(".")[0] in ("dvc", "dvclive") for module in modules)
        if isinstance(node, ast.Call):
            bad |= (
                ast.unparse(node.func) in ("print", "sys.stdout.write")
                and file.parent.name != "cli"
            )
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            bad |= (
                Path(node.value).name == "params.yaml"
                and " " not in node.value
                and file.parent.name != "cli"
            )
        if bad:
            found.append(f"{file.name}:{node.lineno}")
    return found


@pytest.mark.parametrize(
    "file", sorted((ROOT / "src/earshot").rglob("*.py")), ids=lambda file: file.stem
)
def test_the_library_knows_no_dvc_reads_no_params_and_prints_nothing(file):
    assert faults(file) == []


def test_a_library_file_that_breaks_the_rule_is_caught(tmp_path):
    lines = [
        "import dvclive",
        "from dvc.api import params_show",
        "open('params.yaml').read()",
        "print(1)",
        "'params'",
    ]
    (tmp_path / "bad.py").write_text("\n".join(lines))
    assert sorted(faults(tmp_path / "bad.py")) == ["bad.py:1", "bad.py:2", "bad.py:3", "bad.py:4"]
