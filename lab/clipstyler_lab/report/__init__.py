"""Writes sections as Markdown, JSON and one self-contained page."""
