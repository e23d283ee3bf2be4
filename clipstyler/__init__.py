"""CLIPstyler: text-conditioned image stylization without a style image (Kwon & Ye, CVPR 2022).

>>> import clipstyler
>>> clipstyler.stylize("photo.jpg", "fire").save("fire.png")

The package is light to import: PyTorch is loaded when a stylization begins or encoders are loaded.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipstyler.front_door import Region, Stylization, available_encoders, load_encoders, stylize
    from clipstyler.imaging import Picture

__all__ = ["Picture", "Region", "Stylization", "__version__", "available_encoders", "load_encoders", "stylize"]

__version__ = version("clipstyler")

_HOMES = {
    "Picture": "clipstyler.imaging",
    "Region": "clipstyler.front_door",
    "Stylization": "clipstyler.front_door",
    "available_encoders": "clipstyler.front_door",
    "load_encoders": "clipstyler.front_door",
    "stylize": "clipstyler.front_door",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
