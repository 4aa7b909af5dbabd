"""What a run would cost, before anything is fetched: bytes to come, room on the disk, and times."""

from earshot.workbench.plan.estimate import Line, Plan, make, record
from earshot.workbench.plan.text import render

__all__ = ["Line", "Plan", "make", "record", "render"]
