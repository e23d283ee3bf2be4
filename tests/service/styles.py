"""Files of styles without meaning, made in a moment."""

from __future__ import annotations

import numpy as np

from clipstyler.encoders.description import EncoderModel
from clipstyler.imaging import ImageFormat, Picture, encode
from clipstyler.style import Style, StyleDescription, dump_style, expected_tensors


def style_file(text: str = "a scripted look", seed: int = 1, **changes: object) -> bytes:
    """A file whose weights are all 0."""
    arrays = {name: np.zeros(tensor.shape, np.float16) for name, tensor in expected_tensors("half").items()}
    values = {
        "style_text": text,
        "source_text": "a Photo",
        "template_set": "plain",
        "encoder_set": "scripted",
        "models": (EncoderModel("scripted", "ab" * 32),),
        "seed": seed,
        "size": 64,
        "steps": 3,
        "photos": 1,
        "input_noise": 0.0,
        "noise_octaves": 1,
        "contrast": 1.0,
        "border": "mirror",
        "precision": "half",
        "versions": {"scripted": "1"},
        "thumbnail": encode(Picture(np.full((8, 8, 3), 99, np.uint8)), ImageFormat.PNG),
    }
    return dump_style(Style(StyleDescription(**(values | changes)), arrays))
