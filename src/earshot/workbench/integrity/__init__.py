"""Whether outputs, and their copies in DVC's cache, still are what dvc.lock records."""

from earshot.workbench.integrity.outputs import Fault, Report, edited, recorded, verify

__all__ = ["Fault", "Report", "edited", "recorded", "verify"]
