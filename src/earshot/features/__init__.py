"""Features: recordings and their views as log-mel frames."""
