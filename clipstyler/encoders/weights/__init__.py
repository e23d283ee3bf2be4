"""Weights on disk: where they come from, whether they are what was published, and how they get here."""
