"""Which stages DVC would run: those that changed, and all that follow from them."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

# In a process of its own: DVC's messages and its lock stay there.
_ASK = """
import json, logging
from dvc.repo import Repo
logging.disable(logging.CRITICAL)
with Repo() as repo:
    changed = repo.status()
    stages = {
        stage.addressing: {
            "frozen": stage.frozen,
            "changed": stage.addressing in changed,
            "after": [other.addressing for other in repo.index.graph.successors(stage)],
        }
        for stage in repo.index.stages
    }
print(json.dumps(stages))
"""


class PipelineError(ValueError):
    """DVC cannot say what it would run; one line says why."""


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline: whether it is frozen, and why it will run (None: it will not)."""

    name: str
    frozen: bool
    reason: str | None


def stages() -> dict[str, Stage]:
    """Return every stage of the pipeline in the folder, by name (`download@listening`), in the
    order of their running.

    Raises PipelineError where there is no pipeline, or DVC is at work.
    """
    asked = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True)
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["no answer"])[-1]
        raise PipelineError(f"dvc: {last.partition(': ')[2] or last}")
    return follow(json.loads(asked.stdout))


def follow(status: Mapping[str, Mapping]) -> dict[str, Stage]:
    """Return the stages in order, with the reason why each will run: it changed, or one before it
    does.
    """
    found: dict[str, Stage] = {}

    def visit(name: str) -> Stage:
        if name not in found:
            before = [visit(other) for other in status[name]["after"] if other in status]
            first = next((one.name for one in before if one.reason), None)
            reason = "changed" if status[name]["changed"] else first and f"after {first}"
            frozen = status[name]["frozen"]
            found[name] = Stage(name, frozen, None if frozen else reason)
        return found[name]

    for name in status:
        visit(name)
    return found
