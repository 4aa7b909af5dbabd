"""Files, processes and progress; nothing here changes a result."""
