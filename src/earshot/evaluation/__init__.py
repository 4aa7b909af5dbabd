"""Evaluation: what models answer, how good that is, what it costs."""

from earshot.evaluation import choice, classes

# by task: what is said about models that answer its items
SCORES = {"choice": choice, "classes": classes}
