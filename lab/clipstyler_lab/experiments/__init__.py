"""The experiments: which trials each needs, and which tables and pictures it makes of their outcomes."""
