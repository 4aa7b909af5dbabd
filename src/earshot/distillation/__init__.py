"""Distillation: a student learns what its recipe says."""
