"""A made-up scene corpus: a manifest without audio, every device with all classes, places apart
between splits.
"""

from typing import Any

import numpy as np
import pandas as pd

LABELS = ("airport", "bus", "metro", "park")
SEEN, UNSEEN = ("a", "b", "s1"), ("s4", "s5")
COLUMNS = (
    "id path seconds sample_rate speaker split text passage wording label language device location "
    "subset"
).split()


def clip(id: str, **changes: Any) -> dict[str, Any]:
    """A row of the manifest: a labelled training clip of one second, in which nothing is said."""
    given = {
        "id": id,
        "path": f"{id}.wav",
        "seconds": 1.0,
        "sample_rate": 16_000,
        "split": "pool",
        **changes,
    }
    given.setdefault("passage", id)
    given.setdefault("speaker", given.get("location") or given["passage"])
    return dict.fromkeys(COLUMNS) | given


def manifest(segments: int = 20, clips: int = 2, test: int = 4, **changes: Any) -> pd.DataFrame:
    """Per class: training `segments` of so many clips by turns on the seen devices, one for
    validation, `test` on all.
    """
    rows = []
    for label in LABELS:
        sizes = {"pool": segments, "validation": 1, "test": test}
        for split, number in sizes.items():
            for segment in range(number):
                location = f"{split}-{segment % 4}"
                passage = f"{label}-{location}-{segment}"
                devices = (*SEEN, *UNSEEN) if split == "test" else (SEEN[segment % 3],)
                rows += [
                    clip(
                        f"{passage}-{n}-{device}",
                        split=split,
                        label=label,
                        device=device,
                        location=location,
                        passage=passage,
                    )
                    for device in devices
                    for n in range(clips)
                ]
    return frame([row | changes for row in rows])


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A manifest as `read_manifest` returns it: None where nothing is known."""
    types = {"seconds": "float64", "sample_rate": "int32"}
    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=types.get(name, object))
            for name in COLUMNS
        }
    )


def certain(answers: np.ndarray, options: int = 3, top: float = 0.8) -> np.ndarray:
    """Probabilities `(…, C)` with `top` on each answer and the rest shared."""
    return np.where(np.eye(options)[np.asarray(answers)] == 1, top, (1 - top) / (options - 1))
