"""What tests of videos film."""

from __future__ import annotations

from pathlib import Path

PHOTO = Path(__file__).parents[2] / "examples" / "cat.jpg"
