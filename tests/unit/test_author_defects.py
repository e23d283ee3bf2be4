"""One test for each known defect of the authors' public code: none of them may appear here."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from clipstyler.config import Preset, TvForm, resolve
from clipstyler.encoders import vgg
from clipstyler.events import Preparing, Progress, Result
from clipstyler.fitted_net import HALVING_PERIOD
from clipstyler.imaging import Picture, decode
from clipstyler.losses import total_variation
from clipstyler.prompts import fill_template, templates
from clipstyler.stylizer import step
from tests.running import stylize
from tests.tiny_encoders import TinyClip, tiny_encoders
from tests.unit.test_stylizer import new_state, photo, quick, run


def test_1_the_learning_rate_is_halved_after_a_hundred_updates_and_every_update_counts() -> None:
    encoders = tiny_encoders()
    state = new_state(encoders, size=64, patches=1, steps=HALVING_PERIOD + 1)
    rates = []
    for _ in range(HALVING_PERIOD + 1):
        rates.append(state.optimizer.param_groups[0]["lr"])
        step([state])
    first = state.config.learning_rate
    assert rates == [first] * HALVING_PERIOD + [first / 2]
    before = state.picture().rgb
    with torch.no_grad():
        state.render()
    assert (before != state.picture().rgb).any()  # the last update reaches the output


def test_2_the_result_is_that_of_the_last_step_whatever_it_is() -> None:
    results = [run(steps=steps).image.rgb for steps in (5, 6, 7)]
    assert all((a != b).any() for a, b in pairwise(results))


def test_3_encoders_are_frozen_and_vgg_ends_at_its_last_content_layer(tmp_path: object) -> None:
    from pathlib import Path

    from benchmarks.random_checkpoints import TINY_CLIP, write_encoders
    from clipstyler.encoders.registry import load

    assert isinstance(tmp_path, Path)
    encoders = load(str(write_encoders(tmp_path / "tiny", TINY_CLIP)))
    for encoder in (encoders.clip, encoders.content):
        assert isinstance(encoder, torch.nn.Module)
        assert not encoder.training
        assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert isinstance(encoders.content, vgg.Vgg19Content)
    assert len(encoders.content.layers) == 32  # conv5_2 and its ReLU are 30 and 31; nothing follows


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "1"])
def test_4_every_kind_of_image_is_stylized_in_its_own_aspect(mode: str) -> None:
    image = Image.fromarray(photo(80, 50).rgb).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    buffer = io.BytesIO()
    image.save(buffer, format="TIFF" if mode == "CMYK" else "PNG")
    encoders = tiny_encoders()
    *_, result = stylize(decode(buffer.getvalue()), "fire", encoders, quick(encoders, steps=1), seed=1)
    assert isinstance(result, Result)
    assert result.image.rgb.shape == (40, 64, 3)


def test_5_every_run_starts_fresh_from_its_seed() -> None:
    encoders = tiny_encoders()
    first = run("fire", encoders=encoders).image.rgb
    run("water", encoders=encoders, steps=10)
    assert np.array_equal(first, run("fire", encoders=encoders).image.rgb)


def test_6_the_forms_of_total_variation_are_distinguished_and_their_scale_is_known() -> None:
    """The norm form grows with the side of the image, the squared form with its area: both are stated."""
    noise = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    small = noise[..., :128, :128]
    assert (total_variation(noise, TvForm.NORM) / total_variation(small, TvForm.NORM)).item() == pytest.approx(
        2, rel=0.05
    )
    squared = total_variation(noise, TvForm.SQUARED) / total_variation(small, TvForm.SQUARED)
    assert squared.item() == pytest.approx(4, rel=0.05)


def test_7_no_article_is_doubled() -> None:
    for text in ("a Photo", "an oil painting", "The Great Wave"):
        for template in templates("openai-imagenet"):
            words = fill_template(template, text).lower().split()
            assert not any(a in {"a", "an", "the"} and b in {"a", "an", "the"} for a, b in pairwise(words)), words


def test_8_all_crops_of_a_step_go_through_clip_in_one_batch() -> None:
    encoders = tiny_encoders()
    assert isinstance(encoders.clip, TinyClip)
    run(encoders=encoders, steps=2, patches=5)
    assert [len(views) for views in encoders.clip.seen] == [1, 6, 6]


def test_9_colors_are_not_stretched_on_saving() -> None:
    """A network that paints a flat gray gives that gray, not black or white."""
    encoders = tiny_encoders()
    state = new_state(encoders)
    with torch.no_grad():
        state.net.head.weight.zero_()
        state.net.head.bias.zero_()
        state.render()
    assert set(state.picture().rgb.flatten().tolist()) == {128}


def test_the_preset_paper_is_not_changed_by_any_of_this() -> None:
    encoders = tiny_encoders()
    config = resolve(encoders.calibration, Preset.PAPER, size=64, patches=1)
    assert config.steps == 200
    events = stylize(Picture(photo().rgb), "fire", encoders, config, seed=1)
    assert isinstance(next(event for event in events if not isinstance(event, Preparing)), Progress)
