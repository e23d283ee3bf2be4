"""What lies beyond the border of a photo: zeros, as in the paper, or its mirror image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clipstyler_server.jobs.stored_forms import dump_spec, load_spec
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.borders import BAND, PHOTOS, draw, marks
from benchmarks.random_checkpoints import TINY_CLIP, write_encoders
from clipstyler import patches
from clipstyler.acceleration import Accelerations
from clipstyler.config import AugmentFill, Border, Calibration, Start
from clipstyler.encoders import registry
from clipstyler.encoders.mirrored import mirrored as mirrored_layers
from clipstyler.imaging import Picture
from clipstyler.photo_cache import PhotoCache
from clipstyler.run_state import RunState
from clipstyler.seen_photo import SeenPhoto
from clipstyler.spec import SpecLimits, SpecRequest, resolve_spec
from clipstyler.starting import show
from clipstyler.stylenet import Arithmetic, StyleNet
from clipstyler.stylizer import step
from tests.running import text_direction
from tests.tiny_encoders import TinyClip, tiny_encoders
from tests.unit.test_stylizer import photo, quick, run


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(*, mirrored: bool) -> StyleNet:
    return StyleNet.initialize(generator(), mirrored=mirrored)


def noise(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator(1))


def coverage(image: Tensor, window: Tensor) -> Tensor:
    """How often each pixel of an image is in a window of it."""
    (counts,) = torch.autograd.grad(window.sum(), image)
    return counts


def border_beside_inside(model: StyleNet, seed: int) -> float:
    """How far the outermost colors of a noisy gray photo are from those inside, in deviations of the latter."""
    with torch.no_grad():
        (shown,) = model(0.4 + 0.06 * torch.randn(1, 3, 96, 96, generator=generator(seed)))
    y, x = (torch.minimum(torch.arange(n), torch.arange(n).flip(0)) for n in shown.shape[-2:])
    distance = torch.minimum(y[:, None], x)
    border, inside = shown[:, distance < 4], shown[:, distance >= 16]
    return float(((border.mean(dim=1) - inside.mean(dim=1)).abs() / inside.std(dim=1)).mean())


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_mirrored_network_does_not_know_where_the_border_is(channels_last: bool) -> None:
    seen = {}
    for mirrored in (False, True):
        models = [
            StyleNet.initialize(generator(s), mirrored=mirrored, arithmetic=Arithmetic(channels_last)) for s in range(4)
        ]
        seen[mirrored] = sum(border_beside_inside(model, seed) for seed, model in enumerate(models)) / 4
    assert seen[False] > 0.4
    assert seen[True] < 0.2


def test_every_spatial_convolution_is_the_paper_s_on_a_mirrored_map() -> None:
    """Exact within rounding: 1e-5."""
    model = net(mirrored=True)
    seen: dict[nn.Conv2d, tuple[Tensor, Tensor]] = {}
    spatial = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    for layer in spatial:
        layer.register_forward_hook(lambda m, inputs, out: seen.__setitem__(m, (inputs[0], out)))
    with torch.no_grad():
        model(noise(1, 3, 48, 64))
    assert len(seen) == len(spatial) == 21
    for layer, (entered, out) in seen.items():
        expected = F.conv2d(F.pad(entered, (1, 1, 1, 1), "reflect"), layer.weight, layer.bias, layer.stride)
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_both_borders_have_the_same_weights_and_the_default_is_the_papers() -> None:
    paper, mirrored = (net(mirrored=m).state_dict() for m in (False, True))
    assert all(torch.equal(paper[name], mirrored[name]) for name in paper)
    image = noise(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(StyleNet.initialize(generator())(image), net(mirrored=False)(image))


def test_the_smallest_canvas_can_be_mirrored() -> None:
    assert torch.isfinite(net(mirrored=True)(noise(1, 3, 16, 16))).all()


def test_the_start_in_closed_form_shows_what_a_mirrored_network_returns() -> None:
    model, image = net(mirrored=True), noise(1, 3, 32, 48)
    with torch.no_grad():
        shown = show(model, image, image)
        torch.testing.assert_close(model(image), shown)


@pytest.mark.parametrize(
    ("x", "y", "height", "width"), [(0, 0, 7, 9), (-4, 3, 6, 8), (5, -7, 9, 12), (-20, 15, 40, 50)]
)
def test_a_window_shows_the_plane_that_an_image_tiles_with_its_mirror_images(
    x: int, y: int, height: int, width: int
) -> None:
    image = noise(2, 3, 7, 9)
    plane = np.pad(image.numpy(), ((0, 0), (0, 0), (60, 60), (60, 60)), mode="symmetric")
    cut = plane[..., 60 + y : 60 + y + height, 60 + x : 60 + x + width]
    assert np.array_equal(patches.window(image, x, y, height, width).numpy(), cut)


def test_mirrored_crops_extend_beyond_the_border_at_every_place() -> None:
    origins = patches.sample_origins(6000, 8, 10, 9, generator(), 4, mirrored=True)
    assert sorted(set(map(tuple, origins.int().tolist()))) == [(x, y) for x in range(-4, 6) for y in range(-4, 7)]


@pytest.mark.parametrize(("side", "width"), [(20, 60), (30, 40), (21, 21)])
def test_an_overhang_of_half_a_side_shows_every_mirrored_pixel_equally_often(side: int, width: int) -> None:
    image, overhang = torch.zeros(1, 1, 1, width, requires_grad=True), side // 2
    places = range(-overhang, width - side + overhang + 1)
    counts = sum(coverage(image, patches.window(image, x, 0, 1, side)) for x in places)
    assert isinstance(counts, Tensor)
    assert counts.max() - counts.min() <= 1


def test_moving_an_image_shows_every_pixel_equally_often_and_puts_its_border_anywhere() -> None:
    image = torch.zeros(1, 1, 12, 16, requires_grad=True)
    draws, whole, corners = generator(), torch.zeros(1, 1, 12, 16), set()
    numbers = torch.arange(12 * 16.0).view(1, 1, 12, 16)
    for _ in range(4000):
        before = draws.get_state()
        whole += coverage(image, patches.moved(image, patches.sample_move(12, 16, draws)))
        draws.set_state(before)
        corners.add(int(patches.moved(numbers, patches.sample_move(12, 16, draws))[0, 0, 0, 0]))
    assert whole.min() / whole.max() > 0.9
    assert {corner // 16 for corner in corners} == set(range(7))
    assert {corner % 16 for corner in corners} == set(range(9))


@pytest.mark.parametrize("fill", list(AugmentFill))
def test_a_warped_crop_beyond_the_border_shows_the_mirror_image(fill: AugmentFill) -> None:
    """As one of an explicitly mirrored image: within rounding, 1e-4."""
    image, side = noise(1, 3, 40, 56), 24
    origins = torch.tensor([[-12.0, -9.0], [44.0, 5.0], [10.0, 28.0], [50.0, 30.0]], dtype=torch.float64)
    views = patches.perspectives(patches.sample_quadrilaterals(len(origins), side, generator()), side)
    found = patches.warp(image, origins, views, side, 24, fill, mirrored=True)
    plane = patches.window(image, -40, -40, 120, 136)
    around = patches.warp(plane, origins + 40, views, side, 24, fill)
    torch.testing.assert_close(found, around, atol=1e-4, rtol=0)


def test_mirroring_changes_no_crop_inside_the_image() -> None:
    image, side = noise(1, 3, 40, 56), 24
    origins = patches.sample_origins(8, side, 40, 56, generator())
    views = patches.perspectives(patches.sample_quadrilaterals(8, side, generator()), side)
    plain, mirrored = (patches.warp(image, origins, views, side, 24, mirrored=m) for m in (False, True))
    torch.testing.assert_close(plain, mirrored, atol=1e-5, rtol=0)


def state(**overrides: Any) -> RunState:
    encoders = tiny_encoders()
    config = quick(encoders, **overrides)
    return RunState(photo(64, 48), text_direction(encoders, "fire", "a Photo", "plain"), encoders, config, 1)


def test_an_option_decides_what_network_crops_and_content_see() -> None:
    results = [run(border=border, crop_overhang=0.5).image.rgb.tobytes() for border in Border]
    assert len(set(results)) == 2
    paper, mirrored = (state(border=border) for border in Border)
    modes = {m.padding_mode for m in mirrored.net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)}
    assert modes == {"reflect"}
    assert paper.content_features[0].shape != mirrored.content_features[0].shape
    assert step([mirrored])[0].losses.content > 0


def test_the_global_view_of_a_mirrored_photo_is_moved_and_that_of_the_paper_is_not() -> None:
    views = []
    for border in Border:
        one = state(border=border, weight_patch=0.0)
        clip = one.encoders.clip
        assert isinstance(clip, TinyClip)
        image = one.photo[..., :48, :64]
        views.append([one.views(image, one.choose_views()) for _ in range(2)])
    (first, second), (moved, again) = views
    assert torch.equal(first, second)
    assert not torch.equal(moved, again)


def test_a_photo_keeps_its_own_content_either_way() -> None:
    for border in Border:
        one = state(border=border)
        image = one.photo[..., :48, :64]
        assert float(one.content_term(image)) == 0


def test_features_of_both_borders_are_cached_apart() -> None:
    seen = SeenPhoto(photo(64, 48), noise(1, 3, 48, 64), tiny_encoders(), PhotoCache(2**20))
    (plain,), (beyond,) = seen.features(), seen.features(mirrored=True)
    assert plain.shape != beyond.shape
    assert torch.equal(seen.features()[0], plain)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoders(tmp_path_factory.mktemp("encoders") / "tiny", TINY_CLIP)


@pytest.mark.parametrize("bf16", [False, True])
def test_mirrored_features_do_not_know_the_border(vgg: Path, bf16: bool) -> None:
    """Of a photo in one color every map is one value, within rounding; zeros beyond the border show in all of them."""
    image = torch.full((1, 3, 48, 64), 0.8)
    for name in ("pocket", str(vgg)):
        content = registry.load(name, accelerations=Accelerations(bf16=bf16)).content
        for plain, beyond in zip(content.features(image), content.features(image, mirrored=True), strict=True):
            assert plain.shape == beyond.shape
            spreads = [float((m - m.mean(dim=(2, 3), keepdim=True)).abs().max()) for m in (plain, beyond)]
            assert spreads[1] < 0.05 * spreads[0]


def test_mirrored_layers_share_the_parameters_of_the_plain_ones() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1)).eval()
    beyond = mirrored_layers(layers)
    for one, other in zip(
        layers.state_dict(keep_vars=True).values(), beyond.state_dict(keep_vars=True).values(), strict=True
    ):
        assert one is other
    assert [m.padding_mode for m in (layers[0], beyond[0], beyond[2])] == ["zeros", "replicate", "zeros"]
    nn.ModuleList([layers, beyond]).double()
    assert beyond(torch.ones(1, 3, 1, 1, dtype=torch.float64)).dtype == torch.float64


def test_a_job_that_was_stored_before_the_option_existed_keeps_the_border_of_the_paper() -> None:
    encoders = {"pocket": Calibration(border=Border.MIRROR, start=Start.PHOTO)}
    stored = json.loads(dump_spec(resolve_spec(SpecRequest("fire"), encoders, SpecLimits())))
    assert stored["config"].pop("border") == "mirror"
    assert load_spec(json.dumps(stored)).config.border is Border.ZERO


def framed(picture: Picture, color: int, texture: float) -> Picture:
    """Draw a band of another color, or of more texture, along the border."""
    y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in picture.rgb.shape[:2])
    band = (np.minimum(y[:, None], x) < BAND)[..., None]
    grain = np.random.default_rng(3).normal(0, 5, (*picture.rgb.shape[:2], 1))
    levels = picture.rgb + grain * np.where(band, texture, 1) + color * band
    return Picture(levels.round().clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("name", list(PHOTOS))
def test_the_benchmark_finds_a_frame_that_is_drawn_and_none_besides(name: str) -> None:
    drawn = draw(name, 128)
    own, plain, colored, rough = (
        marks(p, drawn.plain)
        for p in (drawn.picture, *(framed(drawn.picture, c, t) for c, t in ((0, 1), (-30, 1), (0, 2))))
    )
    assert plain.color == pytest.approx(own.color, abs=1.5)
    assert plain.frame == pytest.approx(own.frame, abs=1)
    assert plain.texture == pytest.approx(1, abs=0.1)
    assert colored.color == pytest.approx(30 + own.color, abs=1.5)
    assert colored.frame > own.frame + 5
    assert rough.texture == pytest.approx(2, abs=0.2)
