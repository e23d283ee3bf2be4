"""Weights on disk: their sources, their digests, and their download."""
