"""Which stages DVC would run: those that changed, and all that follow from them."""

import logging
from dataclasses import dataclass


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
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import plan_repro

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    found: dict[str, Stage] = {}
    try:
        with Repo() as repo:
            changed, graph = repo.status(), repo.index.graph
            for stage in plan_repro(graph):  # what a stage depends on comes first
                before = [found[other.addressing] for other in graph.successors(stage)]
                first = next((one.name for one in before if one.reason), None)
                reason = "changed" if stage.addressing in changed else first and f"after {first}"
                frozen = bool(stage.frozen)
                name = stage.addressing
                found[name] = Stage(name, frozen, None if frozen else reason)
    except DvcException as error:
        raise PipelineError(f"dvc: {error}") from None
    return found
