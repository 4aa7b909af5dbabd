"""The watcher that test_pipeline puts beside the stages notes what they open, and their children
and C libraries too.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT

STAGE = """
import subprocess, sys
import pyarrow.parquet as pq
pq.read_table("data/a/table.parquet")
open("models/.made.txt.partial-12", "w").close()
subprocess.run([sys.executable, "-c", "open('metrics/child.json')"], check=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_every_opening_is_noted(tmp_path: Path):
    for folder in ("data/a", "models", "metrics", "src", "stages"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "src/sitecustomize.py").write_bytes((ROOT / "tests/watch.py").read_bytes())
    (tmp_path / "stages/make.py").write_text(STAGE)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "data/a/table.parquet")
    for name in ("data/a/not.txt", "metrics/child.json"):
        (tmp_path / name).write_text("{}")
    environment = os.environ | {"PYTHONPATH": "src", "EARSHOT_WATCH": str(tmp_path / "notes")}
    subprocess.run(
        [sys.executable, "stages/make.py", "a"], cwd=tmp_path, env=environment, check=True
    )
    (note,) = (tmp_path / "notes").iterdir()
    assert note.name == "make@a.json"
    assert json.loads(note.read_text()) == [
        "data/a/table.parquet",
        "metrics/child.json",
        "models/made.txt",
    ]
