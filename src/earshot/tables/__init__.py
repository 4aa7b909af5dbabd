"""What stages hand on to one another: clips, items, sequences, answers."""
