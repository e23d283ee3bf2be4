"""Masks: how they are read, which pixels they cover at any size, and how pictures are joined along them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from clipstyler import masking
from clipstyler.imaging import ImageError, Picture
from clipstyler.masking import feathered, join, mask_digest, picture_mask, pixels_left, read_mask, select
from clipstyler.options import ConfigError
from clipstyler.region import Box, Region

KEPT = Region(has_mask=True)


def encoded(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def half(width: int, height: int) -> Image.Image:
    """White on the left, black on the right."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, : width // 2] = 255
    return Image.fromarray(pixels)


def test_white_is_the_region_and_a_mask_of_the_photos_size_is_exact() -> None:
    selected = select(KEPT, read_mask(encoded(half(10, 6)), (10, 6), (10, 6)), (10, 6))
    assert np.array_equal(selected, np.asarray(half(10, 6)) > 0)


@pytest.mark.parametrize("size", [(20, 12), (5, 3), (100, 60)])
def test_a_mask_of_the_photos_shape_is_resized(size: tuple[int, int]) -> None:
    selected = select(KEPT, read_mask(encoded(half(100, 60)), (10, 6), size), size)
    assert selected.shape == size[::-1]
    assert np.abs(selected.sum(axis=1) - size[0] / 2).max() <= 0.5


def test_masks_are_divided_at_middle_gray_so_that_lossy_ones_work() -> None:
    grays = Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8))
    assert select(KEPT, read_mask(encoded(grays), (4, 1), (4, 1)), (4, 1)).tolist() == [[False, False, True, True]]
    lossy = read_mask(encoded(half(60, 32), "JPEG", quality=30), (60, 32), (60, 32))
    assert set(np.unique(lossy).tolist()) != {0, 255}
    assert np.array_equal(select(KEPT, lossy, (60, 32)), np.asarray(half(60, 32)) > 0)


def test_transparent_parts_of_a_mask_are_black_and_colors_count_by_their_light() -> None:
    pixels = np.zeros((1, 5, 4), np.uint8)
    pixels[0, :, :] = [(255, 255, 255, 255), (255, 255, 255, 0), (0, 0, 0, 0), (255, 255, 0, 255), (0, 0, 255, 255)]
    found = read_mask(encoded(Image.fromarray(pixels)), (5, 1), (5, 1))
    assert select(KEPT, found, (5, 1)).tolist() == [[True, False, False, True, False]]
    assert found[0, 1] == 0


def test_a_mask_is_turned_upright_by_its_own_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: displayed, it is 6 wide and 10 high
    turned = encoded(half(10, 6), "JPEG", exif=exif, quality=100)
    selected = select(KEPT, read_mask(turned, (6, 10), (6, 10)), (6, 10))
    assert selected[:5].all()
    assert not selected[5:].any()


@pytest.mark.parametrize("shape", [(10, 8), (6, 10), (1000, 610)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"{shape[0]} x {shape[1]} px.*another shape than the photo of 10 x 6 px"):
        read_mask(encoded(half(*shape)), (10, 6), (10, 6))


def test_a_mask_that_lies_on_its_side_is_called_turned() -> None:
    with pytest.raises(ImageError, match="seems to be turned"):
        read_mask(encoded(half(6, 10)), (10, 6), (10, 6))


@pytest.mark.parametrize("photo", [(4000, 3001), (1333, 1000), (17, 9)])
def test_sides_that_were_rounded_are_no_other_shape(photo: tuple[int, int]) -> None:
    for longest in (16, 100, 999, 5000):
        scale = longest / photo[0]
        masking.check_shape((longest, max(1, round(photo[1] * scale))), photo)


def test_a_mask_may_be_a_picture() -> None:
    picture = Picture(np.asarray(half(10, 6).convert("RGB")))
    assert np.array_equal(picture_mask(picture, (10, 6), (10, 6)), np.asarray(half(10, 6)))
    with pytest.raises(ImageError):
        picture_mask(picture, (10, 8), (10, 8))
    assert len(mask_digest(picture)) == len(mask_digest(b"")) == 64
    assert mask_digest(picture) != mask_digest(Picture(picture.rgb[:, ::-1]))


def test_white_strokes_on_transparency_are_told_apart_by_their_digests() -> None:
    white, alpha = np.full((6, 10, 3), 255, np.uint8), np.asarray(half(10, 6))
    strokes = [Picture(white, alpha), Picture(white, 255 - alpha), Picture(white)]
    assert len(set(map(mask_digest, strokes))) == 3


@pytest.mark.parametrize(
    ("box", "columns", "rows"),
    [
        (Box(0, 0, 0.5, 0.5), (0, 5), (0, 3)),
        (Box(0.3, 0.5, 0.3, 0.5), (3, 6), (3, 6)),  # 0.3 + 0.3 is a little above 0.6
        (Box(0.1, 0.7, 0.9, 0.3), (1, 10), (4, 6)),
        (Box(0.55, 0, 0.01, 1), (5, 6), (0, 6)),  # all that it touches
        (Box(0.999999, 0, 0.000001, 1), (9, 10), (0, 6)),
    ],
)
def test_a_box_covers_every_pixel_that_it_touches(box: Box, columns: tuple[int, int], rows: tuple[int, int]) -> None:
    expected = np.zeros((6, 10), bool)
    expected[slice(*rows), slice(*columns)] = True
    assert np.array_equal(select(Region(boxes=(box,)), None, (10, 6)), expected)


def test_mask_and_boxes_cover_together() -> None:
    region = Region(has_mask=True, boxes=(Box(0.8, 0, 0.2, 1),))
    assert (
        select(region, np.asarray(half(10, 6)), (10, 6)).all(axis=0).tolist() == [True] * 5 + [False] * 3 + [True] * 2
    )


@pytest.mark.parametrize("feather", [0, 1, 2, 7, 30])
def test_a_feather_lies_outside_the_region_and_ends(feather: int) -> None:
    selected = np.zeros((60, 90), bool)
    selected[20:40, 30:50] = True
    weights = feathered(selected, feather)
    assert (weights[selected] == 255).all()
    near = np.zeros_like(selected)
    reach = 2 * (feather // 2)
    near[max(0, 20 - reach) : 40 + reach, max(0, 30 - reach) : 50 + reach] = True
    assert (weights[~near] == 0).all()
    assert (np.diff(weights[30, 50:].astype(int)) <= 0).all()
    assert ((weights > 0) & (weights < 255)).any() == (feather > 1)


def test_a_feather_is_the_same_on_every_side() -> None:
    selected = np.zeros((41, 41), bool)
    selected[20, 20] = True
    weights = feathered(selected, 12)
    assert np.array_equal(weights, weights[::-1, ::-1])
    assert np.abs(weights.astype(int) - weights.T).max() <= 1  # rounded after each direction
    assert weights[20, :8].max() == 0
    assert 0 < weights[20, 9] < weights[20, 14] < weights[20, 19] < 255


def test_a_feather_does_not_depend_on_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    selected = np.random.default_rng(0).random((200, 50)) > 0.995
    whole = feathered(selected, 8)
    monkeypatch.setattr(masking, "_STRIP_PIXELS", 50)
    assert np.array_equal(feathered(selected, 8), whole)


def test_joined_pictures_are_exact_inside_and_beyond_the_feather() -> None:
    rng = np.random.default_rng(0)
    inside, outside = (rng.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(2))
    region = Region(boxes=(Box(0.25, 0.25, 0.25, 0.5),), feather=0.1)
    selected = select(region, None, (60, 40))
    weights = feathered(selected, 6)
    joined = join(region, None, inside, outside)
    assert np.array_equal(joined[selected], inside[selected])
    assert np.array_equal(joined[weights == 0], outside[weights == 0])
    low, high = np.minimum(inside, outside), np.maximum(inside, outside)
    assert ((low <= joined) & (joined <= high)).all()


def test_every_pair_of_bytes_survives_a_join() -> None:
    """In float32, where shares are 0 and 1."""
    inside, outside = (np.repeat(plane[..., None], 3, axis=2).astype(np.uint8) for plane in np.mgrid[:256, :256])
    for box, expected in ((Box(0, 0, 1, 1), inside), (Box(0, 0, 1 / 256, 1 / 256), outside)):
        joined = join(Region(boxes=(box,), feather=0), None, inside, outside)
        assert np.array_equal(joined[1:], expected[1:])


@pytest.mark.parametrize(
    ("region", "level", "field", "words"),
    [
        (KEPT, 0, "region.mask", "covers no pixel"),
        (KEPT, 255, "region.mask", "nothing is left to be stylized"),
        (Region(has_mask=True, text="gold"), 255, "region.mask", "use its text as the style text"),
        (Region(boxes=(Box(0, 0, 1, 1),)), None, "region.boxes", "so nothing is left to be stylized$"),
        (Region(has_mask=True, boxes=(Box(0, 0, 1, 1),)), 0, "region", "covers the whole photo"),
        (Region(boxes=(Box(0, 0, 1, 0.95),)), None, "region.boxes", "leaves only 40 of the photo's pixels"),
        (Region(boxes=(Box(0, 0, 0.1, 0.2),), text="gold"), None, "region.boxes", "covers only 16"),
    ],
)
def test_a_region_of_nothing_or_everything_is_refused(
    region: Region, level: int | None, field: str, words: str
) -> None:
    mask = None if level is None else np.full((20, 40), level, np.uint8)
    with pytest.raises(ConfigError, match=words) as caught:
        pixels_left(region, mask, (40, 20))
    assert caught.value.field == field


def test_what_is_left_to_the_style_text_is_the_rest() -> None:
    box = (Box(0, 0, 0.25, 1),)
    assert pixels_left(Region(boxes=box), None, (40, 20)) == 600
    assert pixels_left(Region(boxes=box, text="gold"), None, (40, 20)) == 600
    assert pixels_left(None, None, (40, 20)) is None
