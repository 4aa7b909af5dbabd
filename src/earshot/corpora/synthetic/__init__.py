"""The embedded corpora: speech and scenes made on this machine."""
