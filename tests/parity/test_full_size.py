"""ViT-B/32 and VGG19 at full size, randomly initialized, from files in the real formats through the real code."""

from __future__ import annotations

import math
from pathlib import Path

import open_clip
import pytest
import torch
from torch.nn import functional as F

from benchmarks.random_checkpoints import write_clip, write_vgg19
from clipstyler.config import resolve
from clipstyler.encoders import registry
from clipstyler.encoders.onnx.encoders import OnnxEncoders
from clipstyler.encoders.onnx.export import export
from clipstyler.encoders.onnx.parity import check_parity
from clipstyler.encoders.onnx.providers import SessionOptions
from clipstyler.encoders.torch_encoders import TorchEncoders
from clipstyler.events import Progress, Result
from clipstyler.imaging import decode
from tests.running import stylize

PHOTO = Path(__file__).parents[2] / "examples" / "cat.jpg"


@pytest.mark.full_size
@pytest.mark.timeout(600)
def test_the_papers_encoders_stylize_at_full_size(tmp_path: Path) -> None:
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    checkpoint = write_clip(tmp_path / "clip", config)
    vgg = write_vgg19(tmp_path / "vgg19.pth")
    encoders = registry.load(f"ViT-B-32-quickgelu:{checkpoint}", vgg_weights=str(vgg))

    model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=str(checkpoint)).eval()
    assert sum(p.numel() for p in model.parameters()) == 151_277_313
    with torch.no_grad():
        texts = ["a photo of fire.", "stained glass"]
        torch.testing.assert_close(
            F.normalize(encoders.clip.encode_text(texts), dim=1),
            F.normalize(model.encode_text(open_clip.tokenize(texts)), dim=1),
        )

    for half in (False, True):
        export(encoders, tmp_path / "onnx", half=half)
        exported = OnnxEncoders(tmp_path / "onnx", SessionOptions(("cpu",)))
        assert check_parity(TorchEncoders(encoders), exported).holds
        assert (exported.image_size, exported.embedding_dim) == (224, 512)

    draft = resolve(encoders.calibration, steps=2, patches=4)
    first, second, result = stylize(decode(PHOTO.read_bytes()), "fire", encoders, draft, seed=1)
    for event in (first, second):
        assert isinstance(event, Progress)
        assert math.isfinite(event.losses.total)
    assert isinstance(result, Result)
    assert result.image.rgb.shape == (170, 256, 3)
    assert [len(model.digest) for model in result.models] == [64, 64]
