"""The table of tasks: what is said about models that answer the test items."""

from earshot.evaluation import choice, classes

SCORES = {"choice": choice, "classes": classes}
