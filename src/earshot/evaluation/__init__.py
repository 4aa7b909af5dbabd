"""Evaluation: what models answer, how good that is, what it costs."""
