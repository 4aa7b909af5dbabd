"""Experiments beside one another: the stage `distill` under other parameters, each in a clone of
its own.

`grid` says which, `snapshot` what they start from, `pool` runs them, `search` chooses the next,
`report` shows what came out. Each ends as a DVC experiment. DVC's own queue is not used: see
`pool`.
"""
