"""The teacher: tuned on labelled items, asked about the rest, its signals kept."""
