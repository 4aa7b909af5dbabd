"""Earshot distils large self-supervised speech models into small students, reproducibly."""
