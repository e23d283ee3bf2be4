"""Encoders that guide a stylisation: two protocols, their implementations, and a registry of names."""
