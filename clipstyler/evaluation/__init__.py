"""Evaluation: text directions and their cache, zero-shot classification and quality metrics, without PyTorch."""
