"""Encoders that guide a stylization: two protocols, their implementations, and a registry of names."""
