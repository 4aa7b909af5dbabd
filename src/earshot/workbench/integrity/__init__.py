"""Whether outputs, and their copies in DVC's cache, still are what dvc.lock records."""

from earshot.workbench.integrity.outputs import Fault, Report, recorded, verify

__all__ = ["Fault", "Report", "recorded", "verify"]
