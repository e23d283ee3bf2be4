"""Randomly initialized checkpoints in the real formats, for tests and benchmarks without a download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
import torchvision
from safetensors.torch import save_file

# A CLIP of open_clip's layout small enough for unit tests.
TINY_CLIP: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def write_clip(directory: Path, model_config: dict[str, Any], seed: int = 0) -> Path:
    """Write a model directory as open_clip publishes them, its weights random; returns the checkpoint's path."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_config, "preprocess_cfg": {}}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**model_config)
    checkpoint = directory / "open_clip_model.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, checkpoint)
    return checkpoint


def write_vgg19(path: Path, seed: int = 0) -> Path:
    """Write VGG19's convolutions with torchvision's names, random: safetensors or a PyTorch state dictionary."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = torchvision.models.vgg19().features
    state = {f"features.{name}": value.half() for name, value in layers.state_dict().items()}
    state["classifier.6.bias"] = torch.zeros(1000)  # the real file has a classifier, which is not used
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def write_encoders(directory: Path, model_config: dict[str, Any], seed: int = 0) -> Path:
    """Write a directory that `clipstyler.encoders.registry.load` takes by its path."""
    write_clip(directory, model_config, seed)
    write_vgg19(directory / "vgg19.safetensors", seed)
    return directory
