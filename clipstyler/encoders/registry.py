"""Encoders by name. Looking a name up is light; loading imports PyTorch and the encoders' own libraries.

A name is one of the catalog's, `ARCH:PRETRAINED` with an architecture of open_clip and a pretrained tag or a
checkpoint file, or a local directory: a model directory in open_clip's layout, with `vgg19.safetensors` (or
`vgg19.pth`; otherwise torchvision's is used) and an optional `calibration.json` beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipstyler.acceleration import NAMES_BY_DEVICE, NONE, Accelerations
from clipstyler.config import Calibration, ConfigError
from clipstyler.input_files import is_directory, is_file
from clipstyler.pocket.calibration import CALIBRATION as POCKET_CALIBRATION

if TYPE_CHECKING:
    import torch

    from clipstyler.encoders.base import EncoderSet
    from clipstyler.encoders.weights.sources import Weights
    from clipstyler.encoders.weights.store import Store

BUNDLED = "pocket"
VGG_WEIGHTS = "IMAGENET1K_V1"
_PAPER = ("ViT-B-32-quickgelu", "openai")
_VGG_FILES = ("vgg19.safetensors", "vgg19.pth")


@dataclass(frozen=True)
class EncoderSpec:
    """Describes an encoder set before it is loaded."""

    name: str
    description: str
    calibration: Calibration


_CATALOG = (
    EncoderSpec(
        BUNDLED,
        "Small robust towers trained by this project, bundled: no download, runs on a CPU",
        POCKET_CALIBRATION,
    ),
    EncoderSpec("vit-b-32", "CLIP ViT-B/32 with OpenAI's weights and torchvision's VGG19: the paper's", Calibration()),
)


def catalog() -> tuple[EncoderSpec, ...]:
    """List encoder sets with a name of their own, the bundled default first."""
    return _CATALOG


def spec(name: str) -> EncoderSpec:
    """Look up a name without loading anything.

    Raises
    ------
    ConfigError
        The name matches none of the three forms.
    """
    for entry in _CATALOG:
        if entry.name == name:
            return entry
    if _is_directory(name):
        directory = Path(name)
        return EncoderSpec(name, f"CLIP and VGG19 from the directory {directory.name}", _calibration_in(directory))
    if _is_pretrained(name):
        return EncoderSpec(name, "A CLIP of open_clip, with torchvision's VGG19", Calibration())
    known = ", ".join(entry.name for entry in _CATALOG)
    raise ConfigError("encoder_set", f"{name!r} is unknown: use {known}, ARCH:PRETRAINED of open_clip, or a directory")


def load(
    name: str,
    device: str | torch.device = "cpu",
    vgg_weights: str = VGG_WEIGHTS,
    store: Store | None = None,
    accelerations: Accelerations = NONE,
) -> EncoderSet:
    """Load encoders, frozen, onto a device.

    Parameters
    ----------
    name
        See the module.
    device
        "cpu", "cuda", "cuda:1", ...
    vgg_weights
        Name of torchvision's VGG19 weights, or a local file. `pocket` and most directories include their own.
    store
        Of downloaded weights; by default in the user's cache.
    accelerations
        Applied where the encoders support them; see `clipstyler.acceleration_choice`.

    Raises
    ------
    ConfigError
        The name is unknown, or there is no such device.
    EncoderUnavailableError
        The weights cannot be obtained or do not fit.
    """
    from clipstyler.encoders.base import accelerated

    return accelerated(_load(spec(name), place(device), vgg_weights, store), accelerations)


def weights(name: str) -> tuple[Weights, ...]:
    """Published weights that loading these encoders needs: none if they are bundled, or all in a directory.

    Raises
    ------
    ConfigError
        The name is unknown.
    EncoderUnavailableError
        The architecture or tag is unknown.
    """
    known = spec(name)
    if name == BUNDLED:
        return ()
    from clipstyler.encoders import open_clip, vgg

    if _is_directory(name):
        return () if _vgg_file_in(Path(name)) else (vgg.weights_of(VGG_WEIGHTS),)
    architecture, pretrained = _architecture(known)
    clip = () if is_file(pretrained) else (open_clip.weights_of(architecture, pretrained),)
    return (*clip, vgg.weights_of(VGG_WEIGHTS))


def fetch_tokenizer(name: str, store: Store) -> str:
    """Have the store keep the tokenizer that loading these encoders needs; returns its name, "" if they include it.

    Raises
    ------
    ConfigError
        The name is unknown.
    EncoderUnavailableError
        It cannot be obtained.
    """
    known = spec(name)
    if name == BUNDLED or _is_directory(name):
        return ""
    from clipstyler.encoders import hub_tokenizer

    architecture, _ = _architecture(known)
    if found := hub_tokenizer.name_of(architecture):
        hub_tokenizer.load(architecture, store)
    return found


def _load(known: EncoderSpec, device: torch.device, vgg_weights: str, store: Store | None) -> EncoderSet:
    if known.name == BUNDLED:
        return _load_pocket(known, device)

    from clipstyler.encoders.weights.store import Store, default_directory

    build = _load_directory if _is_directory(known.name) else _load_pretrained
    return build(known, device, vgg_weights, store or Store(default_directory()))


def _is_directory(name: str) -> bool:
    """Whether a name is that of a directory: those of the catalog come first, whatever folders are here."""
    return bool(name) and name not in {entry.name for entry in _CATALOG} and is_directory(name)


def _is_pretrained(name: str) -> bool:
    architecture, _, pretrained = name.partition(":")
    return bool(architecture and pretrained)


def _architecture(known: EncoderSpec) -> tuple[str, str]:
    if not _is_pretrained(known.name):
        return _PAPER
    architecture, _, pretrained = known.name.partition(":")
    return architecture, pretrained


def place(device: str | torch.device) -> torch.device:
    """Return a device that is here.

    Raises
    ------
    ConfigError
        There is no such device.
    """
    import torch  # keeps this module light

    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise ConfigError("device", f"{device!r} is unknown: use cpu, cuda, cuda:1, ...") from None
    if found.type not in NAMES_BY_DEVICE:
        raise ConfigError("device", f"{str(device)!r} cannot be used: use cpu, cuda, cuda:1, ...")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ConfigError("device", f"{str(device)!r} is not available here: use cpu, or check the CUDA driver")
    return found


def _load_pocket(known: EncoderSpec, device: torch.device) -> EncoderSet:
    from clipstyler.encoders.base import EncoderSet
    from clipstyler.pocket import model

    clip, content = model.load(device)
    return EncoderSet(known.name, known.description, known.calibration, clip, content, device)


def _load_pretrained(known: EncoderSpec, device: torch.device, vgg_weights: str, store: Store) -> EncoderSet:
    from clipstyler.encoders import open_clip, vgg
    from clipstyler.encoders.base import EncoderSet

    clip = open_clip.load_pretrained(*_architecture(known), device, store)
    content = vgg.load(vgg_weights, device, store)
    return EncoderSet(known.name, known.description, known.calibration, clip, content, device)


def _load_directory(known: EncoderSpec, device: torch.device, vgg_weights: str, store: Store) -> EncoderSet:
    from clipstyler.encoders import open_clip, vgg
    from clipstyler.encoders.base import EncoderSet

    directory = Path(known.name)
    clip = open_clip.load_directory(directory, device)
    content = vgg.load(_vgg_file_in(directory) or vgg_weights, device, store)
    return EncoderSet(known.name, known.description, known.calibration, clip, content, device)


def _vgg_file_in(directory: Path) -> Path | None:
    return next((directory / name for name in _VGG_FILES if (directory / name).is_file()), None)


def _calibration_in(directory: Path) -> Calibration:
    path = directory / "calibration.json"
    if not path.is_file():
        return Calibration()
    try:
        return Calibration(**json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise ConfigError("encoder_set", f"{path} is no calibration: {error}") from error
