"""The table of tasks: how models are scored that answer the test items."""

from earshot.evaluation import choice, classes

SCORES = {"choice": choice, "classes": classes}
