"""The teacher: a published network, tuned on labelled items; its signals of them and of the pool
are kept.
"""
