"""What differs by task: how items are built and checked, and what is said about models that answer them."""

from earshot.tasks import choice, classes

TASKS = {"choice": choice, "classes": classes}
