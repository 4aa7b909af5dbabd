"""The table of tasks: how items are built, and checked for leaks."""

from earshot.items import choice, classes, transcripts

ITEMS = {"choice": choice, "classes": classes, "transcript": transcripts}
