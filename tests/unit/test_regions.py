"""Stylizations with a region: what stays is the photo's to the byte, and a second text has the region to itself."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import clipstyler
from clipstyler.composition import Composition, Guide
from clipstyler.config import ConfigError, StylizeConfig, resolve
from clipstyler.encoders.base import EncoderSet
from clipstyler.events import Optimized, Preparing, Preview, Progress, Rendering, Result
from clipstyler.image_format import ImageFormat
from clipstyler.imaging import Picture, decode_fitted, encode, fit
from clipstyler.losses import protection_loss
from clipstyler.masking import select
from clipstyler.optimization import optimize
from clipstyler.preparation import preparation_parts, prepare
from clipstyler.region import Box, Region
from clipstyler.run_state import Part, RunState
from clipstyler.stylizer import step
from tests.running import spec_of, text_direction
from tests.tiny_encoders import tiny_encoders

QUICK = {"size": 64, "steps": 2, "patches": 4, "seed": 3}
LEFT = Region(boxes=(Box(0, 0, 0.5, 1),), feather=0)


def photo(width: int = 64, height: int = 48, seed: int = 0) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def config_of(encoders: EncoderSet, **overrides: object) -> StylizeConfig:
    return resolve(encoders.calibration, **{"size": 64, "steps": 2, "patches": 4, **overrides})


def run(picture: Picture, region: Region | None, mask: np.ndarray | None = None, **overrides: object) -> list:
    encoders = tiny_encoders()
    every = int(overrides.pop("every_steps", 0))
    spec = replace(
        spec_of("fire", encoders, config_of(encoders, **overrides), seed=1, every_steps=every), region=region
    )
    return list(optimize(picture, spec, encoders, mask=mask))


def result(*given: object, **overrides: object) -> np.ndarray:
    last = run(*given, **overrides)[-1]
    assert isinstance(last, Result)
    return last.image.rgb


def random_mask(seed: int, width: int, height: int) -> np.ndarray:
    """Blobs of random sizes, never empty and never everything."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((rng.integers(2, 9), rng.integers(2, 9)))
    smooth = np.asarray(Image.fromarray((coarse * 255).astype(np.uint8)).resize((width, height)))
    return np.where(smooth > np.quantile(smooth, rng.uniform(0.2, 0.8)), 255, 0).astype(np.uint8)


@pytest.mark.parametrize("seed", range(50))
def test_protected_pixels_are_those_of_the_photo(seed: int) -> None:
    """50 random masks, feathers and sizes of the photo: as it is optimized, larger, smaller, enlarged."""
    rng = np.random.default_rng([seed, 1])
    width, height = int(rng.integers(40, 120)), int(rng.integers(40, 120))
    picture = photo(width, height, seed)
    region = Region(has_mask=True, feather=float(rng.uniform(0, 0.1)))
    overrides = [{}, {"output_size": 48}, {"output_size": 130, "enlarge": True}][seed % 3]
    mask = random_mask(seed, width, height)
    stylized = result(picture, region, mask, steps=1, patches=2, **overrides)

    size = (stylized.shape[1], stylized.shape[0])
    shown = fit(picture, max(size), enlarge=True).rgb
    kept = select(region, mask, size)
    assert 0 < kept.sum() < kept.size
    difference = np.abs(stylized.astype(int) - shown)
    assert difference[kept].max() == 0
    assert difference[~kept].max() > 0


def test_protected_pixels_of_a_file_are_those_that_decoding_it_gives(tmp_path: Path) -> None:
    """Through the front door, at the size of the file and scaled, with alpha."""
    rgba = np.dstack([photo(90, 70).rgb, np.full((70, 90), 200, np.uint8)])
    file = tmp_path / "photo.png"
    Image.fromarray(rgba).save(file)
    mask = tmp_path / "mask.png"
    Image.fromarray(random_mask(5, 180, 140)).save(mask)
    region = clipstyler.Region(mask=mask, feather=0.05)
    encoders = tiny_encoders()
    for output_size in (0, 40):
        found = clipstyler.stylize(
            file, "fire", region=region, encoders=encoders, output_size=output_size, **QUICK
        ).result()
        expected = decode_fitted(file.read_bytes(), output_size or 90)
        levels = decode_fitted(mask.read_bytes(), output_size or 90).rgb[..., 0]
        kept = levels >= 128
        assert np.array_equal(found.image.rgb[kept], expected.rgb[kept])
        assert np.array_equal(found.image.alpha, expected.alpha)
        assert found.spec.region.mask_digest


def test_a_saved_png_has_the_pixels_of_the_photo(tmp_path: Path) -> None:
    picture = photo(80, 60)
    file, target = tmp_path / "photo.png", tmp_path / "fire.png"
    Image.fromarray(picture.rgb).save(file)
    region = clipstyler.Region(boxes=[(0.25, 0.25, 0.5, 0.5)])
    clipstyler.stylize(file, "fire", region=region, encoders=tiny_encoders(), **QUICK).save(target)
    saved = np.asarray(Image.open(target))
    assert np.array_equal(saved[15:45, 20:60], picture.rgb[15:45, 20:60])


def test_without_a_region_a_run_is_what_its_steps_are() -> None:
    """The plain loop of a single run, which knows no regions, gives the same bytes."""
    encoders = tiny_encoders()
    config = config_of(encoders, output_size=64, input_noise=0.1, crop_overhang=0.5, border="mirror")
    plain = RunState(photo(), text_direction(encoders, "fire", "a Photo", "plain"), encoders, config, 1)
    for _ in prepare(plain):
        pass
    for _ in range(config.steps):
        step([plain])
    with torch.no_grad():
        plain.render()
    spec = spec_of("fire", encoders, config, seed=1)
    assert spec.region is None
    *_, last = optimize(photo(), spec, encoders)
    assert np.array_equal(last.image.rgb, plain.picture().rgb)


@pytest.mark.parametrize("region", [LEFT, replace(LEFT, text="gold", feather=0.05)])
def test_the_same_request_and_seed_give_the_same_bytes(region: Region) -> None:
    first, again = (result(photo(100, 80), region) for _ in range(2))
    assert np.array_equal(first, again)


def test_previews_and_what_is_measured_are_joined_too() -> None:
    events = run(photo(), LEFT, every_steps=1, output_size=64)
    shown = [event.image.rgb for event in events if isinstance(event, Preview | Optimized)]
    assert len(shown) == 4  # the start, two steps, the end
    assert all(np.array_equal(image[:, :32], photo().rgb[:, :32]) for image in shown)
    assert all((image[:, 32:] != photo().rgb[:, 32:]).any() for image in shown)


def test_crops_show_the_rest_and_what_stays_pulls_the_network_to_the_photo() -> None:
    encoders = tiny_encoders()
    direction = text_direction(encoders, "fire", "a Photo", "plain")
    inside = select(LEFT, None, (64, 48))
    state = RunState(photo(), direction, encoders, config_of(encoders), 1, part=Part(~inside, kept=inside))
    assert state.places is not None
    assert state.places.draw(200, torch.Generator())[:, 0].min() >= 24  # crops of 16 px
    flat = torch.full((1, 3, 48, 64), 0.5)
    target = torch.from_numpy(photo().rgb[:, :32].copy()).permute(2, 0, 1) / 255
    assert float(state.protection_term(flat)) == pytest.approx(float((target - 0.5).square().mean()), rel=1e-5)

    free = RunState(photo(), direction, encoders, config_of(encoders), 1)
    assert float(free.protection_term(flat)) == 0


def test_the_crops_of_a_region_that_stays_are_those_of_the_rest() -> None:
    encoders = tiny_encoders()
    guide = Guide(text_direction(encoders, "fire", "a Photo", "plain"), None)
    spec = replace(spec_of("fire", encoders, config_of(encoders), seed=1), region=LEFT)

    def columns(run: RunState) -> Tensor:
        assert run.places is not None
        return run.places.draw(200, torch.Generator())[:, 0]

    (kept,) = Composition(photo(), [guide], encoders, spec).runs
    assert kept.kept is not None
    assert columns(kept).min() >= 24
    spec = replace(spec, region=replace(LEFT, text="gold"))
    outside, inside = Composition(photo(), [guide, guide], encoders, spec).runs
    assert outside.kept is inside.kept is None
    assert columns(outside).min() >= 24
    assert columns(inside).max() <= 24


def test_the_protection_term_is_optimized_and_part_of_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    def network_of(weight: float) -> tuple[float, list[float]]:
        monkeypatch.setattr("clipstyler.stylizer.WEIGHT_PROTECTION", weight)
        encoders = tiny_encoders()
        direction, inside = text_direction(encoders, "fire", "a Photo", "plain"), select(LEFT, None, (64, 48))
        state = RunState(photo(), direction, encoders, config_of(encoders), 1, part=Part(~inside, kept=inside))
        totals = [step([state])[0].losses.total for _ in range(8)]
        with torch.no_grad():
            return float(state.protection_term(state.render())), totals

    (free, low), (pulled, high) = network_of(0), network_of(1e6)
    assert pulled < free
    assert high[0] > low[0] + 1e3


def test_the_protection_term_is_a_mean_over_what_stays() -> None:
    kept = torch.zeros(1, 1, 4, 4)
    kept[..., :2] = 1
    image = torch.ones(1, 3, 4, 4, requires_grad=True)
    loss = protection_loss(image, torch.zeros(1, 3, 4, 4), kept)
    loss.backward()
    assert float(loss.detach()) == 1
    assert image.grad[..., 2:].abs().max() == 0
    assert (image.grad[..., :2] > 0).all()


def test_a_second_text_has_the_region_to_itself() -> None:
    """Each half comes from a run of its own: changing one text leaves the other half nearly as it was."""
    gold, silver = (result(photo(), replace(LEFT, text=text), output_size=64) for text in ("gold", "silver"))
    assert np.abs(gold[:, :32].astype(int) - silver[:, :32]).max() > 0
    assert np.array_equal(gold[:, 32:], silver[:, 32:])


def test_both_runs_share_the_crops_by_the_sizes_of_their_parts() -> None:
    shown: list[int] = []
    encoders = tiny_encoders()
    config = config_of(encoders, steps=1, patches=8, output_size=64)
    for width in (0.5, 0.25, 0.05):
        region = Region(boxes=(Box(0, 0, width, 1),), text="gold")
        encoders.clip.seen.clear()
        list(optimize(photo(), replace(spec_of("fire", encoders, config, seed=1), region=region), encoders))
        shown.append(max(len(views) for views in encoders.clip.seen))
    assert shown == [10, 10, 10]  # eight crops and two global views, however they are shared


def test_progress_of_two_runs_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    events = run(photo(100, 80), replace(LEFT, text="gold"))
    encoders = tiny_encoders()
    steps = [event for event in events if isinstance(event, Progress)]
    assert [event.step for event in steps] == [1, 2]
    parts = [event for event in events if isinstance(event, Preparing)]
    assert [event.step for event in parts] == list(range(preparation_parts(config_of(encoders), 2) + 1))
    assert {event.steps for event in parts} == {preparation_parts(config_of(encoders), 2)}
    tiles = [(event.tile, event.tiles) for event in events if isinstance(event, Rendering)]
    assert tiles == [(0, 2), (1, 2), (1, 2), (2, 2)]


def test_a_second_text_works_at_any_size() -> None:
    for overrides in ({}, {"output_size": 40}, {"output_size": 64}):
        joined = result(photo(100, 80), replace(LEFT, text="gold"), **overrides)
        assert joined.shape[1] == (overrides.get("output_size") or 100)


def test_a_single_crop_is_enough_for_two_runs() -> None:
    assert result(photo(), replace(LEFT, text="gold"), patches=1, output_size=64).shape == (48, 64, 3)


def test_crops_of_a_small_region_are_small_and_those_of_the_rest_are_not() -> None:
    encoders = tiny_encoders()
    guide = Guide(text_direction(encoders, "fire", "a Photo", "plain"), None)
    small = Region(boxes=(Box(0, 0, 0.2, 0.2),), text="gold")
    spec = replace(spec_of("fire", encoders, config_of(encoders), seed=1), region=small)
    outside, inside = Composition(photo(), [guide, guide], encoders, spec).runs
    assert (outside.crop_side, inside.crop_side) == (16, 11)  # the region has 13 x 10 px


def test_crops_are_no_larger_than_the_rest_unless_they_were_asked_for() -> None:
    narrow = Region(boxes=(Box(0, 0, 0.9, 1),), feather=0)  # leaves 6 x 48 px
    assert result(photo(), narrow, output_size=64).shape == (48, 64, 3)
    with pytest.raises(ConfigError, match="use at most 16") as caught:
        run(photo(), narrow, crop_size=24)
    assert caught.value.field == "crop_size"


def test_a_small_photo_is_mirrored_with_its_region() -> None:
    region = Region(boxes=(Box(0, 0, 0.5, 1),), feather=0)
    stylized = result(photo(40, 12), region)
    assert np.array_equal(stylized[:, :20], photo(40, 12).rgb[:, :20])


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (png(np.zeros((48, 64), np.uint8)), "covers no pixel"),
        (png(np.full((48, 64), 255, np.uint8)), "nothing is left"),
        (png(np.zeros((48, 65), np.uint8)[:, :50]), "another shape"),
        (b"no image", "image"),
    ],
)
def test_a_mask_that_cannot_be_used_is_refused_before_the_work(mask: bytes, words: str) -> None:
    encoders = tiny_encoders()
    data = encode(photo(), ImageFormat.PNG)
    stylization = clipstyler.stylize(data, "fire", region=clipstyler.Region(mask=mask), encoders=encoders, **QUICK)
    with pytest.raises(ConfigError, match=words) as caught:
        next(iter(stylization))
    assert caught.value.field == "region.mask"
    assert encoders.clip.seen == []


def test_a_text_of_a_region_that_means_the_same_as_the_source_is_named() -> None:
    region = clipstyler.Region(boxes=[(0, 0, 0.5, 1)], text="the photo")
    for text, field in (("fire", "region.text"), ("a photo.", "style_text")):
        with pytest.raises(ConfigError, match=rf"^{field}: means the same as the source text 'a Photo'"):
            clipstyler.stylize(photo(), text, region=region, **QUICK).result()


def test_every_bad_field_of_a_region_is_named_before_the_photo_is_read() -> None:
    region = clipstyler.Region(mask="nowhere.png", boxes=[(0, 0, 2, 1)], text="", feather=1)
    with pytest.raises(ConfigError) as caught:
        clipstyler.stylize("nowhere.jpg", "fire", region=region, steps=0)
    named = {violation.field for violation in caught.value.violations}
    assert named == {
        "photo",
        "steps",
        "region.mask",
        "region.boxes[0]",
        "region.text",
        "region.feather",
    }
