"""Experiments beside one another: the stage `distill` under other parameters, each in a clone.

`task` says what is trained, `trial` what one experiment is, `snapshot` what clones start from,
`pool` runs them, `engine` carries out a plan (`grid` or `search`), `report` shows what came out.
Each ends as a DVC experiment. DVC's own queue is not used: see `pool`.
"""
