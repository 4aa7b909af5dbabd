"""Experiments beside one another: the stage `distill` under other parameters, each in a clone.

`task` says what is trained, `clone` where, `trial` trains one, `study` decides which and keeps what
came of them, `report` shows it. Each ends as a DVC experiment.

Why not DVC's queue (3.67): a task whose worker is killed says "Running" for ever, after `dvc queue
kill` "Success" though there is no experiment, and its folder stays; `dvc queue start` runs whatever
else is queued, and outlives the command; with two workers tasks can fail without a log (its issue
10673). Nor `--temp`: it stashes the workspace and writes params.yaml there, and a kill in those
seconds leaves it so.
"""
