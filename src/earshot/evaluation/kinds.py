"""The table of tasks: how models are scored that answer the test items."""

from earshot.evaluation import choice, classes, transcripts

SCORES = {"choice": choice, "classes": classes, "transcript": transcripts}
