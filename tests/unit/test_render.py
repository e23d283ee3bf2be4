"""Rendering at any size: tiles agree with the whole, and nothing depends on where they lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from clipstyler.events import Rendering
from clipstyler.imaging import Picture
from clipstyler.pixels import adjust_contrast, mean_gray, padded, to_pixels
from clipstyler.render import (
    Drawing,
    FittedStyle,
    fix_style,
    match_coarse,
    render,
)
from clipstyler.stylenet import Arithmetic, StyleNet
from clipstyler.tiling import HALO, spans, tiles_of

WHOLE = 4096


def photo(width: int, height: int, *, alpha: bool = False) -> Picture:
    rng = np.random.default_rng(width * height)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9 + phase) + np.cos(y / 7 + phase) for phase in rng.uniform(0, 6, 3)], axis=-1)
    rgb = ((waves + 2) / 4 * 255).astype(np.uint8)
    return Picture(rgb, rng.integers(0, 256, (height, width), dtype=np.uint8) if alpha else None)


def network(padding: str = "zeros", *, channels_last: bool = False) -> StyleNet:
    """A network whose output is not gray: its head is larger than what is drawn."""
    net = StyleNet.initialize(torch.Generator().manual_seed(3), arithmetic=Arithmetic(channels_last))
    with torch.no_grad():
        net.head.weight.mul_(4)
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and any(module.padding):
            module.padding_mode = padding
    return net


def thumbnail(width: int = 64, height: int = 48) -> Tensor:
    return padded(photo(width, height), (height, width))


def fitted(net: StyleNet | None = None, **changes: float) -> FittedStyle:
    options = {"input_noise": 0.0, "noise_octaves": 6, "contrast": 1.0, "seed": 1} | changes
    return fix_style(net or network(), thumbnail(), (48, 64), **options)


def rendered(style: FittedStyle, picture: Picture, tile_side: int = WHOLE) -> Picture:
    tiles = render(style, picture, tile_side)
    try:
        while True:
            next(tiles)
    except StopIteration as end:
        return end.value


def drawn(style: FittedStyle, picture: Picture, tile_side: int = WHOLE) -> Picture:
    """One pass of the network over a photo."""
    values = np.empty(picture.rgb.shape, np.uint8)
    drawing = Drawing(style, picture.rgb, values)
    for tile in tiles_of(picture.rgb.shape, tile_side):
        drawing.draw(tile)
    return Picture(values)


def distance(one: Picture, other: Picture) -> int:
    return int(np.abs(one.rgb.astype(int) - other.rgb).max())


@torch.no_grad()
def plain_formula(net: StyleNet, seen: Tensor, image: Tensor) -> Tensor:
    """The network on an image, each normalization with its own mean and deviation on a thumbnail."""
    inputs: list[Tensor] = []
    norms = [module for module in net.modules() if isinstance(module, nn.InstanceNorm2d)]
    hooks = [norm.register_forward_pre_hook(lambda _, args: inputs.append(args[0].clone())) for norm in norms]
    net(seen)
    for hook in hooks:
        hook.remove()
    statistics = iter([(x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)) for x in inputs])

    def fixed(_norm: nn.Module, args: tuple[Tensor], _output: Tensor) -> Tensor:
        mean, variance = next(statistics)
        return (args[0] - mean) / torch.sqrt(variance + 1e-5)

    hooks = [norm.register_forward_hook(fixed) for norm in norms]
    output = net(image)
    for hook in hooks:
        hook.remove()
    return output


@pytest.mark.parametrize("channels_last", [False, True])
def test_on_its_thumbnail_the_style_is_the_network(channels_last: bool) -> None:
    net = network(channels_last=channels_last)
    with torch.no_grad():
        expected = adjust_contrast(net(thumbnail()), 1.5)
    torch.testing.assert_close(fitted(net, contrast=1.5).stylize(thumbnail()), expected, atol=1e-4, rtol=0)


def test_fitting_a_style_leaves_the_network_as_it_was() -> None:
    net = network()
    before = net(thumbnail())
    fitted(net)
    assert torch.equal(before, net(thumbnail()))
    assert all(parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize(("width", "height"), [(304, 248), (301, 243)])
@pytest.mark.parametrize("tile_side", [64, 136, WHOLE])
def test_tiles_are_the_plain_formula_on_the_whole_within_one_level(
    width: int, height: int, tile_side: int, padding: str
) -> None:
    picture, net = photo(width, height), network(padding)
    expected = plain_formula(net, thumbnail(), padded(picture, (height, width)))
    assert expected.std() > 0.02
    whole = Picture(to_pixels(expected)[:height, :width])
    assert distance(drawn(fitted(net), picture, tile_side), whole) <= 1


def test_contrast_blends_with_the_gray_of_the_thumbnail() -> None:
    picture, net = photo(200, 120), network()
    image = plain_formula(net, thumbnail(), padded(picture, (120, 200)))
    with torch.no_grad():
        gray = mean_gray(net(thumbnail()))
    assert abs(float(gray - mean_gray(image))) > 1 / 255
    whole = Picture(to_pixels(adjust_contrast(image, 1.5, gray))[:120, :200])
    assert distance(drawn(fitted(net, contrast=1.5), picture, 64), whole) <= 1


def test_noise_does_not_depend_on_the_tiles() -> None:
    picture = photo(530, 300)
    whole = drawn(fitted(input_noise=0.1), picture)
    assert distance(drawn(fitted(input_noise=0.1), picture, 104), whole) <= 1
    assert distance(drawn(fitted(), picture), whole) > 3
    assert distance(drawn(fitted(input_noise=0.1, seed=2), picture), whole) > 3


def test_a_narrower_halo_would_show_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, style = photo(304, 248), fitted()
    whole = drawn(style, picture)
    monkeypatch.setattr("clipstyler.tiling.HALO", 16)
    assert distance(drawn(style, picture, 64), whole) > 1


def test_no_pixel_depends_on_one_beyond_the_halo() -> None:
    style = fitted()
    image = torch.rand(1, 3, 8, 3 * HALO + 96, generator=torch.Generator().manual_seed(0), requires_grad=True)
    middle = image.shape[-1] // 2
    style.net(image.expand(1, 3, 8, -1))[..., middle].sum().backward()
    assert image.grad is not None
    (reached,) = torch.nonzero(image.grad[0].abs().amax(dim=(0, 1)), as_tuple=True)
    assert (reached - middle).abs().max() <= HALO - 8  # tiles are aligned to 8


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize(("width", "height"), [(1, 700), (700, 1), (9, 5), (17, 400)])
def test_thin_and_tiny_photos_are_drawn(width: int, height: int, padding: str) -> None:
    picture, style = photo(width, height), fitted(network(padding), input_noise=0.05)
    tiled = drawn(style, picture, 96)
    assert tiled.rgb.shape == (height, width, 3)
    assert distance(tiled, drawn(style, picture)) <= 1


def test_a_thin_photo_is_rendered_through_all_levels() -> None:
    seen = padded(photo(1, 64), (64, 16))
    style = fix_style(network(), seen, (64, 1), input_noise=0.05, noise_octaves=6, contrast=1.5, seed=1)
    assert style.optimized.shape == (64, 1, 3)
    assert rendered(style, photo(2, 300), 96).rgb.shape == (300, 2, 3)


@pytest.mark.parametrize(("width", "height"), [(304, 228), (301, 226)])
def test_a_result_does_not_depend_on_its_tiles(width: int, height: int) -> None:
    picture, style = photo(width, height), fitted(input_noise=0.05, contrast=1.5)
    whole = rendered(style, picture)
    for tile_side in (64, 136):
        assert distance(rendered(style, picture, tile_side), whole) <= 1


def test_the_same_style_and_photo_give_the_same_bytes_and_alpha_is_kept() -> None:
    picture = photo(180, 90, alpha=True)
    first, second = (rendered(fitted(input_noise=0.05), picture, 64) for _ in range(2))
    assert np.array_equal(first.rgb, second.rgb)
    assert np.array_equal(first.alpha, picture.alpha)


def test_progress_comes_before_the_first_tile_and_after_each_of_all_levels() -> None:
    assert list(render(fitted(), photo(300, 60), 64)) == [Rendering(n, 5) for n in range(6)]  # 100, 173 and 300 px wide


def shrunk(picture: Picture, style: FittedStyle) -> np.ndarray:
    size = (style.optimized.shape[1], style.optimized.shape[0])
    return np.asarray(Image.fromarray(picture.rgb).resize(size, Image.Resampling.BOX)).astype(float)


def test_a_result_looks_from_afar_as_the_optimized_image_and_is_sharp() -> None:
    picture, style = photo(256, 192), fitted()
    result, single = rendered(style, picture), drawn(style, picture)
    off, single_off = (np.abs(shrunk(image, style) - style.optimized).mean() for image in (result, single))
    assert off < 0.4 * single_off
    soft = np.asarray(Image.fromarray(style.optimized).resize((256, 192), Image.Resampling.BILINEAR))

    def fine(pixels: np.ndarray) -> float:
        return float(np.abs(np.diff(pixels.astype(float), axis=1)).mean())

    assert fine(result.rgb) > 2 * fine(soft)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize(("height", "width"), [(7, 10), (1, 40), (9, 9)])
def test_matching_a_coarse_image_adds_what_is_missing_and_works_in_strips(
    height: int, width: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(100, 120, (height, width, 3)).astype(kind)
    size = ((width + 1) // 2, (height + 1) // 2)
    coarse = np.asarray(Image.fromarray(values.astype(np.uint8)).resize(size, Image.Resampling.BOX)) + np.uint8(50)
    expected = values + kind(50)
    monkeypatch.setattr("clipstyler.render._STRIP_PIXELS", 2 * width)
    match_coarse(values, coarse)
    np.testing.assert_allclose(values, expected, atol=0 if kind is np.uint8 else 1)  # the averages are rounded here


def test_colors_that_do_not_exist_are_not_drawn() -> None:
    values = np.full((8, 8, 3), 250, np.uint8)
    match_coarse(values, np.full((2, 2, 3), 255, np.uint8))
    assert values.min() == 255
    values[::2] = 245
    match_coarse(values, np.full((2, 2, 3), 255, np.uint8))
    assert values.min() == 250


@pytest.mark.parametrize(
    ("length", "most", "count"),
    [(8, 64, 1), (224, 64, 1), (232, 64, 2), (1000, 128, 7), (4000, 512, 8), (6000, 512, 12), (4008, 640, 7)],
)
def test_spans_cover_a_side_and_see_as_much_each(length: int, most: int, count: int) -> None:
    parts = spans(length, most)
    assert len(parts) == count
    kept = [place for part in parts for place in range(length)[part.kept]]
    assert kept == list(range(length))
    (seen,) = {part.seen.stop - part.seen.start for part in parts}
    assert seen % 8 == 0
    assert seen <= most + 2 * HALO
    for part in parts:
        assert 0 <= part.seen.start <= part.kept.start < part.kept.stop <= part.seen.stop <= length
        assert part.seen.start % 8 == 0
        assert part.kept.start == 0 or part.kept.start - part.seen.start >= HALO
        assert part.kept.stop == length or part.seen.stop - part.kept.stop >= HALO
