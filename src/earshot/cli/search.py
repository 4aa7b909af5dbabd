"""`earshot search`: Optuna looks for a recipe's best parameters, every trial a DVC experiment."""

import argparse
from pathlib import Path
from typing import Any

from earshot.cli.shared import positive


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "search",
        help="look for the best parameters of a recipe",
        description="Look through `search.ranges` in params.yaml with Optuna's TPE, every "
        "trial a DVC experiment, judged on "
        "validation items, never on the test; hopeless trials end early. Run again, it "
        "continues the same study.",
    )
    command.add_argument("--trials", type=positive, help="how many in all (default: search.trials)")
    command.add_argument(
        "--workers",
        type=positive,
        help="trials at a time (default: so many that all cores are busy)",
    )
    command.add_argument(
        "--name", default="search", help="what experiments' names begin with (default: search)"
    )
    command.add_argument(
        "--apply", action="store_true", help="run nothing: apply the best trial to the workspace"
    )
    command.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Search, or apply what a search found; print and write what came out. Return 1 when no trial
    succeeded.
    """
    from importlib.util import find_spec

    from earshot.cli import experiments
    from earshot.runtime import progress
    from earshot.workbench.experiments import report, search, session

    if find_spec("optuna") is None:
        raise ValueError("search needs Optuna: pip install 'earshot[search]'")
    params, content, folder = experiments.prepare(chosen.name)
    task = session.task(Path().resolve(), folder, "search", params, content)
    plan = search.Plan(
        task, params.search, chosen.name, chosen.trials or params.search.trials, params.seed
    )
    if chosen.apply:
        return _apply(plan, content)
    workers = chosen.workers or max(1, progress.workers() // plan.seeds)
    experiments.tell(
        f"{plan.trials} trials of {task.stage}, {workers} at a time, {plan.seeds} seeds each"
    )
    with experiments.View(plan.trials, workers) as view:
        outcomes = search.run(plan, workers, plan.seeds, view.tell, view.watch)
    varied = tuple(params.search.ranges)
    report.write(folder, outcomes, varied, {"recipe": task.recipe, "fixed": params.search.fixed})
    report.draw(
        folder / "accuracy.png",
        outcomes,
        varied,
        f"{task.recipe}: validation accuracy",
        history=True,
    )
    print(f"{report.table(outcomes, varied)}\n\n{report.verdict(outcomes)}")
    code = experiments.end(folder, outcomes)
    if code == 0:
        print("or: earshot search --apply, which takes the best")
    return code


def _apply(plan: Any, content: dict[str, Any]) -> int:
    import yaml

    from earshot.workbench.comparison.changes import changes
    from earshot.workbench.experiments import report, search

    best = search.best(plan)
    search.apply(plan.task, best)
    after = yaml.safe_load(Path("params.yaml").read_text())
    print(f"applied {best.name}: validation accuracy {report.percent(best.scores)}%")
    changed = changes(content, after).changed
    lines = [f"{key}: {old} → {new}" for key, (old, new) in changed.items()]
    print("\n".join(lines) or "params.yaml says so already")
    if fixed := {key: one for key, one in changed.items() if key in plan.section.fixed}:
        was = ", ".join(f"{key}: {old}" for key, (old, _) in fixed.items())
        print(
            "search.fixed made trials short; to train the best in full, put back "
            f"before dvc repro: {was}"
        )
    print(
        "next: dvc repro, which trains what follows and scores it on the test; git "
        "checkout . && dvc checkout goes back"
    )
    return 0
