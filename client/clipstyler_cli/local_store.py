"""Downloaded weights on this machine, as the environment configures it, for commands that need no server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipstyler.encoders.weights.store import Store

DIRECTORY = "CLIPSTYLER_MODELS"
OFFLINE = "CLIPSTYLER_OFFLINE"
_YES = {"1", "true", "yes", "on"}


def local_store() -> Store:
    """Return the store at `CLIPSTYLER_MODELS`, else in the user's cache; `CLIPSTYLER_OFFLINE=1` uses no network."""
    from clipstyler.encoders.weights.store import Store, default_directory  # not in a light install

    named = os.environ.get(DIRECTORY)
    offline = os.environ.get(OFFLINE, "").strip().lower() in _YES
    return Store(Path(named) if named else default_directory(), offline)
