"""Evaluation: what models answer, how good that is, what it costs."""

from earshot.evaluation import choice, classes

SCORES = {
    "choice": choice,
    "classes": classes,
}  # by task: what is said about models that answer its items
