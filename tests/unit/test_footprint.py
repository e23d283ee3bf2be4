"""The estimate of a job's memory: close above what was measured, and naming the option that matters."""

from __future__ import annotations

import pytest

from clipstyler.config import Border, Calibration, resolve
from clipstyler.encoders import registry
from clipstyler.footprint import footprint
from clipstyler.pocket.calibration import CALIBRATION

MIB = 2**20
POCKET = registry.load("pocket").describe().view_bytes
VIT = 27 * MIB
# Peaks over the loaded encoders on a CPU, in MiB: size, patches, crop (0: the calibration's), view, measured. Those of
# `pocket` with its own crops are with the acceleration `memory`, which takes most.
MEASURED = [
    (256, 16, 0, POCKET, 373),
    (512, 16, 0, POCKET, 1277),
    (512, 64, 0, POCKET, 1611),
    (1024, 16, 0, POCKET, 1567),
    (2048, 16, 0, POCKET, 2256),
    (512, 16, 512, POCKET, 1326),
    (512, 64, 512, POCKET, 2370),
    (256, 16, 0, VIT, 655),
    (512, 16, 0, VIT, 1457),
    (256, 64, 0, VIT, 1954),
    (256, 64, 256, VIT, 2150),
]


@pytest.mark.parametrize(("size", "patches", "crop", "view_bytes", "measured"), MEASURED)
def test_the_estimate_is_close_to_what_was_measured(
    size: int, patches: int, crop: int, view_bytes: int, measured: int
) -> None:
    calibration = CALIBRATION if view_bytes == POCKET else Calibration()
    config = resolve(calibration, size=size, patches=patches, crop_size=crop or None, border=Border.ZERO)
    estimated = footprint(config, size, size, view_bytes).total / MIB
    assert 0.9 < estimated / measured < 1.35


def test_a_gpu_that_has_no_bands_takes_more_and_the_same_below_and_above() -> None:
    for size, more in ((512, False), (1024, True), (2048, True), (4096, False)):
        config = resolve(CALIBRATION, size=size)
        cpu, gpu = (footprint(config, size, size, POCKET, device_type=kind).image for kind in ("cpu", "cuda"))
        assert (gpu > cpu) == more


def test_a_mirrored_border_takes_what_was_measured_more() -> None:
    """99 MiB at 256 px with `pocket`."""
    zero, mirror = (
        footprint(resolve(CALIBRATION, size=256, patches=16, border=border), 256, 256, POCKET).total / MIB
        for border in Border
    )
    assert 0.9 < (mirror - zero) / 99 < 1.35


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"size": 1024, "patches": 4}, "size"),
        ({"size": 256, "patches": 256}, "patches"),
        ({"size": 1024, "patches": 64, "crop_size": 1024}, "crop_size"),
        ({"size": 64, "patches": 1024, "weight_patch": 0}, "size"),
    ],
)
def test_the_option_that_takes_most_is_named(options: dict[str, int], named: str) -> None:
    config = resolve(CALIBRATION, **options)
    assert footprint(config, config.size, config.size, POCKET).option == named


def test_a_result_that_is_larger_than_the_size_counts_by_its_pixels() -> None:
    config = resolve(CALIBRATION, size=256, patches=16)
    draft = footprint(config, 256, 171, POCKET)
    assert footprint(config, 256, 171, POCKET, (256, 171)) == draft
    large = footprint(config, 256, 171, POCKET, (6000, 4000))
    assert (large.option, large.image, large.patches) == ("output_size", draft.image, draft.patches)
    assert draft.total < large.total == large.result < 1024 * MIB


@pytest.mark.parametrize(("width", "height", "measured"), [(1732, 1155, 556), (4242, 2828, 735), (6000, 4000, 956)])
def test_the_estimate_of_a_result_is_above_what_was_measured(width: int, height: int, measured: int) -> None:
    config = resolve(CALIBRATION, size=256, patches=16)
    assert 1 < footprint(config, 256, 171, POCKET, (width, height)).result / MIB / measured < 1.15


def test_the_size_of_the_photo_counts_and_not_that_of_the_request() -> None:
    config = resolve(CALIBRATION, size=512)
    assert footprint(config, 512, 50, POCKET).image == pytest.approx(footprint(config, 512, 512, POCKET).image / 10.24)


def test_a_larger_photo_never_needs_less() -> None:
    config = resolve(CALIBRATION, size=1024)
    images = [footprint(config, width, 1024, POCKET).image for width in range(128, 4097, 8)]
    assert images == sorted(images)
