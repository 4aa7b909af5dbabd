"""Students, and what teachers share with them: heads, checkpoints, where models run."""
