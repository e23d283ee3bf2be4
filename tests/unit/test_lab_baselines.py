"""The laboratory's baselines and measures, each held against its formula on small tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from clipstyler_lab.baselines.global_loss import color_statistics, global_loss, pixel_optimization, recolor
from clipstyler_lab.baselines.pixels import optimize_pixels
from clipstyler_lab.baselines.style_image import adain, gatys, gram, relative_error, retrieve, statistics_matching
from clipstyler_lab.measures import Seen, difference, new_texture, over_stylization, spread
from clipstyler_lab.style_features import VGG_STYLE_LAYERS, channel_statistics, style_features
from torch.nn import functional as F
from torchvision.models.vgg import make_layers

from clipstyler import patches
from clipstyler.encoders.vgg import Vgg19Content
from clipstyler.evaluation.metrics import EmbeddedViews, ssim
from tests.tiny_encoders import DIMENSION, TinyClip, TinyContent


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_gram_matrices_are_products_of_channels_per_position() -> None:
    maps = drawn(2, 3, 4, 5)
    wanted = torch.stack([torch.stack([torch.stack([(a * b).mean() for b in one]) for a in one]) for one in maps])
    assert torch.allclose(gram(maps), wanted, atol=1e-6)


def test_adain_gives_content_the_statistics_of_the_style() -> None:
    content, style = drawn(1, 3, 8, 8), 5 + 2 * drawn(1, 3, 6, 7, seed=1)
    made = adain(content, style)
    for found, wanted in zip(channel_statistics(made), channel_statistics(style), strict=True):
        assert torch.allclose(found, wanted, atol=1e-4)
    # Within a channel only scale and offset changed.
    correlation = torch.corrcoef(torch.stack([made[0, 0].flatten(), content[0, 0].flatten()]))[0, 1]
    assert float(correlation) == pytest.approx(1, abs=1e-5)


def test_channel_statistics_are_those_of_the_population() -> None:
    maps = drawn(1, 2, 3, 3)
    mean, deviation = channel_statistics(maps)
    assert torch.allclose(mean.flatten(), maps.mean(dim=(0, 2, 3)))
    assert torch.allclose(deviation.flatten(), maps.flatten(2).std(dim=2, correction=0).flatten(), atol=1e-4)


def test_a_relative_error_does_not_depend_on_the_scale() -> None:
    found, wanted = drawn(4), drawn(4, seed=1)
    assert float(relative_error(100 * found, 100 * wanted)) == pytest.approx(float(relative_error(found, wanted)))
    assert float(relative_error(torch.zeros(4), wanted)) == pytest.approx(1)


def test_retrieval_takes_the_style_image_with_the_largest_cosine() -> None:
    gallery = np.eye(4, dtype=np.float32)
    assert retrieve(np.array([0.1, 0.2, 0.9, 0.3], np.float32), gallery) == 2


def test_pixels_reach_the_minimum_of_a_loss_and_stay_in_range() -> None:
    wanted = drawn(1, 3, 4, 4)
    found = optimize_pixels(torch.full_like(wanted, 0.5), lambda image: F.mse_loss(image, wanted), 400, 0.1)
    assert torch.allclose(found, wanted, atol=0.02)
    beyond = optimize_pixels(torch.full_like(wanted, 0.5), lambda image: -image.sum(), 200, 0.5)
    assert float(beyond.max()) <= 1


def test_the_global_loss_is_one_minus_the_cosine_of_the_directions() -> None:
    clip, photo, image = TinyClip(), drawn(1, 3, 32, 40), drawn(1, 3, 32, 40, seed=1)
    direction = drawn(DIMENSION, seed=2) - 0.5
    start, end = (F.normalize(clip.encode_image(patches.resize(part, clip.image_size))) for part in (photo, image))
    wanted = 1 - F.cosine_similarity(end - start, direction[None])
    assert float(global_loss(clip, photo, direction)(image)) == pytest.approx(float(wanted), abs=1e-6)


def test_pixels_and_colors_move_in_the_direction_of_the_text() -> None:
    clip, photo = TinyClip(), drawn(1, 3, 32, 32)
    red = photo * torch.tensor([1.0, 0.3, 0.3]).view(1, 3, 1, 1)
    embedded = [F.normalize(clip.encode_image(patches.resize(part, clip.image_size))) for part in (photo, red)]
    direction = (embedded[1] - embedded[0])[0]
    loss = global_loss(clip, photo, direction)
    colors = color_statistics(clip, photo, direction, 30)
    assert float(loss(colors)) < 0.2
    assert float(loss(pixel_optimization(clip, photo, direction, 30))) < 0.2
    # Colors are mapped by one affine map, wherever they are not cut off.
    before, after = (part[0].flatten(1).T for part in (photo, colors))
    inside = ((after > 0) & (after < 1)).all(dim=1)
    known = torch.cat([before, torch.ones(len(before), 1)], dim=1)[inside]
    fitted = known @ torch.linalg.lstsq(known, after[inside]).solution
    assert torch.allclose(fitted, after[inside], atol=1e-4)
    assert int(inside.sum()) > 100


def test_recoloring_maps_colors_around_their_mean() -> None:
    photo = 0.4 + 0.2 * drawn(1, 3, 5, 5)
    assert torch.allclose(recolor(photo, torch.eye(3), torch.zeros(3)), photo, atol=1e-6)
    gray = recolor(photo, torch.zeros(3, 3), torch.tensor([0.1, 0.0, -0.1]))
    wanted = photo.mean(dim=(2, 3)) + torch.tensor([[0.1, 0.0, -0.1]])
    assert torch.allclose(gray, wanted[..., None, None].expand_as(gray), atol=1e-6)


@pytest.mark.parametrize("transfer", [gatys, statistics_matching])
def test_a_style_image_pulls_the_statistics_and_leaves_the_layout(transfer: object) -> None:
    encoder, photo = TinyContent(), drawn(1, 3, 16, 16)
    style = 0.1 * drawn(1, 3, 24, 24, seed=1)
    result = transfer(encoder, photo, style, 60)
    assert result.shape == photo.shape

    def mean(image: torch.Tensor) -> float:
        return float(channel_statistics(encoder.features(image)[0])[0].mean())

    assert abs(mean(result) - mean(style)) < 0.5 * abs(mean(photo) - mean(style))
    kept = torch.corrcoef(torch.stack([part.mean(dim=1).flatten() for part in (photo, result)]))[0, 1]
    assert float(kept) > 0.4


def test_style_maps_of_vgg_are_the_first_rectified_ones_of_each_scale() -> None:
    plan = [2, 2, "M", 2, 2, "M", 2, 2, 2, 2, "M", 2, 2, 2, 2, "M", 2, 2, 2, 2, "M"]  # VGG19 with two channels
    encoder = Vgg19Content("test", "0", make_layers(plan))
    image = drawn(1, 3, 32, 32)
    maps = style_features(encoder, image)
    assert [part.shape[-1] for part in maps] == [32, 16, 8, 4, 2]
    x = (image - encoder.mean) / encoder.std
    for index, found in zip(VGG_STYLE_LAYERS, maps, strict=True):
        before = encoder.layers[index - 2] if index > 1 else None
        assert before is None or isinstance(before, torch.nn.MaxPool2d)
        assert torch.allclose(found, encoder.layers[: index + 1](x))
        assert float(found.min()) >= 0


def test_new_texture_is_what_the_photos_detail_does_not_explain() -> None:
    rng = np.random.default_rng(0)
    photo = rng.random((1, 3, 64, 64), dtype=np.float32)
    assert new_texture(photo, photo) == pytest.approx(0, abs=1e-6)
    assert new_texture(photo, 0.5 * photo + 0.2) == pytest.approx(0, abs=1e-6)  # paler, but nothing new
    noise = rng.random((1, 3, 64, 64), dtype=np.float32)
    little, much = (new_texture(photo, photo + share * noise) for share in (0.1, 0.4))
    assert 0.01 < little < much
    flat = np.full_like(photo, 0.5)
    assert new_texture(flat, noise) > 0.05


def test_over_stylization_is_the_structure_lost_where_the_text_is_matched_best() -> None:
    rng = np.random.default_rng(0)
    before = rng.random((1, 3, 64, 64), dtype=np.float32)
    after = before.copy()
    after[:, :, :32, :32] = rng.random((1, 3, 32, 32), dtype=np.float32)  # the photo is gone here only
    crops = [(0, 0, 32), *((32, y, 32) for y in range(0, 33, 4))]
    direction, start = np.array([3.0, 0.0], np.float32), np.zeros(2, np.float32)
    embeddings = np.array([[1, 0.1]] + [[0.1, 1]] * 9, np.float32)
    views = EmbeddedViews(before, after, start, start, embeddings, crops)
    wanted = 1 - ssim(before[:, :, :32, :32], after[:, :, :32, :32])
    assert over_stylization(views, direction) == pytest.approx(wanted, abs=1e-5)
    assert wanted > 0.7
    elsewhere = views._replace(patches=embeddings[::-1])
    assert over_stylization(elsewhere, direction) == pytest.approx(0, abs=1e-5)


def seen(pixel: float, embedding: tuple[float, float], style: float, content: float) -> Seen:
    one = np.ones(1, np.float32)
    return Seen(np.full((3, 2, 2), pixel), np.array(embedding), [style * one], [content * one, 2 * content * one])


def test_a_spread_is_the_mean_over_all_pairs() -> None:
    one, two, three = seen(0, (1, 0), 1, 0), seen(0.3, (0, 1), 3, 1), seen(0, (1, 0), 1, 0)
    found = difference(one, two)
    assert found == pytest.approx((0.3, 1, 1, 5))  # style: |1 - 3| / mean(1, 3); content: 1 + 4
    assert spread([one, two, three]) == pytest.approx([2 / 3 * value for value in found])
    with pytest.raises(ValueError, match="two images"):
        spread([one])
