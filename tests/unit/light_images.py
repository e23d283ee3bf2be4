"""Run by `make test-light` beside the tests of images, in an environment that reads photos and does nothing else."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version


def test_this_is_the_oldest_supported_set() -> None:
    assert importlib.util.find_spec("torch") is None
    assert (version("pillow"), version("pi-heif"), version("numpy")) == ("13.0.0", "1.4.0", "1.26.0")
