"""Observability: metrics, logs, health and the HTTP pages for them."""
