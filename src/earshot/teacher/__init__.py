"""The teacher: tuned on labelled items; its signals of them and of the pool are kept."""
