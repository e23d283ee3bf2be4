"""CLIPstyler: text-conditioned image stylization without a style image (Kwon & Ye, CVPR 2022).

The package is light to import: what needs PyTorch lives in submodules and is imported when it is used::

    from clipstyler.config import StylizeConfig
    from clipstyler.encoders.registry import load
    from clipstyler.stylizer import stylize
"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("clipstyler")
