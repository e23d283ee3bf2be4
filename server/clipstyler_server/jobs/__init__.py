"""Jobs: what waits, what runs, and who is told about it."""
