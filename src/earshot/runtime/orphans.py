"""Processes that end with the one that started them."""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PARENT_DEATH_SIGNAL = 1  # of Linux's prctl


def die_with_parent(parent: int | None = None) -> None:
    """End this process with the one that started it, `parent` if known, or now where that is gone.

    A `dvc repro` that was killed would leave its stage running, beside the stage of the next one.
    """
    if sys.platform != "linux":
        return
    begun_by = parent or os.getppid()
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    # Orphans are adopted by process 1, which starts stages itself only where it is `dvc`.
    adopted = begun_by == 1 and b"dvc" not in Path("/proc/1/cmdline").read_bytes()
    if adopted or os.getppid() != begun_by:
        os._exit(1)
