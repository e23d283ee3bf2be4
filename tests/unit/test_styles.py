"""A style as a file: what goes in comes out, and nothing else is read."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load

from clipstyler.events import Warning
from clipstyler.imaging import ImageFormat, Picture, decode, encode
from clipstyler.optimization import optimize
from clipstyler.options import ConfigError
from clipstyler.prompts import MOST_CHARACTERS
from clipstyler.spec import SpecLimits, SpecRequest, StylizationSpec, resolve_spec
from clipstyler.style import (
    FORMAT_VERSION,
    MAX_BYTES,
    MAX_PHOTOS,
    Style,
    StyleError,
    digest_of,
    dump_description,
    dump_style,
    load_description,
    load_style,
)
from clipstyler.style_applying import LoadedStyle, apply_style
from clipstyler.style_controls import StyleControls
from clipstyler.style_fitting import fit_style
from tests.tiny_encoders import tiny_encoders


def photo(width: int = 80, height: int = 64, seed: int = 1, *, alpha: bool = False) -> Picture:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9 + p) + np.cos(y / 7 + p) for p in rng.uniform(0, 6, 3)], axis=-1)
    rgb = ((waves + 2) / 4 * 255).astype(np.uint8)
    return Picture(rgb, rng.integers(0, 256, (height, width), dtype=np.uint8) if alpha else None)


def spec(**options: object) -> StylizationSpec:
    asked = {"size": 64, "steps": 2, "patches": 2, "seed": 3, "border": "mirror", "start": "photo"}
    asked |= {"input_noise": 0.05, "noise_octaves": 3, "contrast": 1.2}
    encoders = tiny_encoders()
    request = SpecRequest("a tiny look", options=asked | options)
    return resolve_spec(request, {encoders.name: encoders.calibration}, SpecLimits())


def fitted(*photos: Picture, **options: object) -> Style:
    events = fit_style(photos or (photo(),), spec(**options), tiny_encoders())
    return ended(events)


def ended(events):
    try:
        while True:
            next(events)
    except StopIteration as end:
        return end.value


def applied(style: Style, picture: Picture, **controls: object) -> Picture:
    second = controls.pop("second", None)
    loaded = LoadedStyle.of(second) if second else None
    return ended(apply_style(LoadedStyle.of(style), picture, StyleControls(**controls), second=loaded))


@pytest.fixture(scope="module")
def style() -> Style:
    return fitted()


@pytest.fixture(scope="module")
def data(style: Style) -> bytes:
    return dump_style(style)


def rewritten(data: bytes, change) -> bytes:
    """The file with its metadata changed."""
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    described = json.loads(header["__metadata__"]["clipstyler.style"])
    change(described)
    header["__metadata__"]["clipstyler.style"] = json.dumps(described, sort_keys=True, separators=(",", ":"))
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def test_a_style_survives_its_file(style, data):
    read = load_style(data, digest_of(data))
    assert read.description == style.description
    assert dump_style(read) == data
    assert load_description(dump_description(style.description)) == style.description
    for name, array in style.weights.items():
        assert np.abs(read.weights[name] - array).max() <= np.abs(array).max() / 1000  # half precision


def test_the_longest_texts_and_the_path_of_an_encoder_set_survive_a_file(style):
    long = "\U0001f525" * MOST_CHARACTERS
    changes = {"style_text": long, "source_text": long, "encoder_set": "/encoders" * 400}
    changes["thumbnail"] = style.description.thumbnail.ljust(128 * 1024, b"\0")
    described = replace(style.description, **changes)
    assert load_style(dump_style(Style(described, style.weights))).description == described


def test_the_file_is_one_of_safetensors_and_small(style, data):
    tensors = load(data)
    assert set(style.weights) == set(tensors)
    assert tensors["stem.weight"].dtype == np.float16
    assert len(data) < 1.4 * 2**20


def test_bytes_take_half_the_room_and_hardly_change_a_picture(style, data):
    small = dump_style(Style(replace(style.description, precision="byte"), style.weights))
    assert len(small) < 0.55 * len(data)
    assert dump_style(load_style(small)) == small
    assert load(small)["stem.weight"].dtype == np.int8
    picture = photo(100, 90)
    full, coarse = (applied(load_style(file), picture).rgb.astype(int) for file in (data, small))
    assert 0 < np.abs(full - coarse).mean() < 1


def test_a_file_without_one_of_its_tensors_is_refused(style):
    weights = {name: array for name, array in style.weights.items() if name != "stem.bias"}
    with pytest.raises(StyleError, match="lacks"):
        load_style(dump_style(Style(style.description, weights)))


def test_one_flipped_bit_is_refused_by_name(data):
    digest, rng = digest_of(data), random.Random(1)
    places = [*range(8), 64, *(rng.randrange(8 * len(data)) for _ in range(24))]
    for place in places:
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(StyleError, match=digest):
            load_style(bytes(damaged), digest)
        with pytest.raises(StyleError):
            load_style(bytes(damaged))


def test_a_file_of_a_newer_version_is_refused(data):
    newer = rewritten(data, lambda described: described.update(version=FORMAT_VERSION + 1))
    with pytest.raises(StyleError, match=f"version {FORMAT_VERSION + 1}.*reads {FORMAT_VERSION}.*newer"):
        load_style(newer)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"no style at all",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        b"\0" * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_style_is_refused(broken):
    with pytest.raises(StyleError):
        load_style(broken)


@pytest.mark.parametrize("broken", ["{", "[]", "null", "{}", "[" * 200_000])
def test_what_does_not_describe_a_style_is_refused(broken):
    with pytest.raises(StyleError):
        load_description(broken)


def test_nothing_is_read_that_this_program_would_not_have_written(data):
    with pytest.raises(StyleError):
        load_style(data + b"\0")
    with pytest.raises(StyleError):
        load_style(rewritten(data, lambda described: described.update(more=1)))
    with pytest.raises(StyleError):
        load_style(rewritten(data, lambda described: described["description"].update(seed="3")))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 10**6),
        ("border", "none"),
        ("noise_octaves", 99),
        ("style_text", ""),
        ("photos", 0),
        ("precision", "double"),
        ("thumbnail", b"x"),
        ("steps", 2**31),
        ("source_text", "\ud800"),
        ("input_noise", float("nan")),
    ],
)
def test_values_out_of_bounds_are_refused(style, field, value):
    with pytest.raises(StyleError):
        load_style(dump_style(Style(replace(style.description, **{field: value}), style.weights)))


def test_weights_that_are_not_finite_are_refused(style):
    weights = dict(style.weights) | {"stem.bias": np.full(16, np.nan, np.float16)}
    with pytest.raises(StyleError, match=r"stem\.bias"):
        load_style(dump_style(Style(style.description, weights)))


def test_weights_of_another_shape_are_refused(style):
    weights = dict(style.weights) | {"stem.bias": np.zeros(17, np.float16)}
    with pytest.raises(StyleError, match=r"stem\.bias"):
        load_style(dump_style(Style(style.description, weights)))


def test_a_job_keeps_the_style_that_it_fitted_if_it_is_asked_to():
    *_, without = optimize(photo(), spec(), tiny_encoders())
    *_, result = optimize(photo(), spec(keep_style=True), tiny_encoders())
    assert without.style == b""
    assert (result.image.rgb == without.image.rgb).all()
    kept = load_style(result.style)
    assert kept.description.style_text == "a tiny look"
    assert (kept.description.steps, kept.description.photos) == (2, 1)
    # What it makes of the same photo is the result, apart from other noise and half precision.
    distance = np.abs(applied(kept, photo()).rgb.astype(int) - result.image.rgb)
    assert distance.mean() < 12


@pytest.mark.parametrize(("widths", "size"), [([90, 150], 128), ([90, 70], 90), ([40], 64)])
def test_the_size_of_a_style_is_that_of_the_largest_photo_as_it_was_fitted(widths, size):
    photos = [photo(width, 40) for width in widths]
    assert fitted(*photos, size=128, steps=1, crop_size=32).description.size == size


def test_the_same_photos_give_the_same_bytes(data):
    assert dump_style(fitted()) == data


def test_photos_take_turns():
    one, two = photo(seed=1), photo(96, 48, seed=2)
    both = fitted(one, two, steps=4)
    assert both.description.photos == 2
    for other in (fitted(one, steps=4), fitted(two, one, steps=4)):
        assert any((both.weights[name] != weights).any() for name, weights in other.weights.items())


@pytest.mark.parametrize("count", [0, MAX_PHOTOS + 1])
def test_photos_are_counted(count):
    with pytest.raises(ConfigError, match=f"1 to {MAX_PHOTOS}"):
        next(fit_style([photo()] * count, spec(), tiny_encoders()))


def test_a_fit_warns_as_a_stylization_does():
    damaged, encoders = replace(photo(), warnings=("lacks its end",)), tiny_encoders()
    encoders = replace(encoders, calibration=replace(encoders.calibration, weak_patch_loss=0.0))
    asked = spec(threshold_rejection=False)
    expected = [event for event in optimize(damaged, asked, encoders) if isinstance(event, Warning)]
    heard = []
    ended(fit_style([damaged], asked, encoders, warn=heard.append))
    assert heard == expected
    assert [warning.code for warning in heard] == ["PHOTO_DAMAGED", "WEAK_RESULT"]


def test_a_damaged_photo_among_several_is_named():
    heard = []
    damaged = replace(photo(), warnings=("lacks its end",))
    ended(fit_style([photo(), damaged], spec(), tiny_encoders(), warn=heard.append))
    assert [warning.message for warning in heard] == ["photo 2 of 2: lacks its end"]


def test_a_fit_stops_within_a_step():
    class StopError(Exception):
        pass

    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise StopError

    with pytest.raises(StopError):
        ended(fit_style([photo()], spec(steps=1000), tiny_encoders(), check=check))


@pytest.mark.parametrize(("width", "height"), [(80, 64), (200, 150), (33, 9), (1, 1)])
def test_a_style_is_applied_at_the_size_of_the_photo(style, width, height):
    picture = photo(width, height, alpha=True)
    result = applied(style, picture)
    assert result.rgb.shape == (height, width, 3)
    assert (result.alpha == picture.alpha).all()


def test_the_same_bytes_come_out(style):
    picture = photo(150, 140)
    assert (applied(style, picture).rgb == applied(style, picture).rgb).all()


def test_the_output_size_shrinks_and_never_enlarges(style):
    assert applied(style, photo(200, 100), output_size=80).rgb.shape == (40, 80, 3)
    assert applied(style, photo(60, 30), output_size=80).rgb.shape == (30, 60, 3)


def test_without_strength_a_transparent_photo_is_itself_in_a_file_too(style):
    rgba = Image.new("RGBA", (70, 70), (255, 0, 0, 128))
    file = io.BytesIO()
    rgba.save(file, "PNG")
    data = encode(applied(style, decode(file.getvalue()), strength=0), ImageFormat.PNG)
    assert np.abs(np.asarray(Image.open(io.BytesIO(data))).astype(int) - np.asarray(rgba)).max() <= 1


def test_strength_leads_from_the_photo_to_the_style_and_beyond(style):
    picture = photo(100, 90)
    full = applied(style, picture).rgb.astype(int)
    assert (applied(style, picture, strength=0).rgb == picture.rgb).all()
    assert (applied(style, picture, strength=1).rgb == full).all()
    half = applied(style, picture, strength=0.5).rgb
    assert np.abs(half - (full + picture.rgb) / 2).max() <= 0.5
    beyond = applied(style, picture, strength=1.5).rgb
    expected = np.clip(picture.rgb + 1.5 * (full - picture.rgb), 0, 255)
    assert np.abs(beyond - expected).max() <= 0.5


def test_kept_colors_are_those_of_the_photo_under_the_light_of_the_style(style):
    weights = np.array([0.299, 0.587, 0.114])
    picture = photo(90, 90)
    gray = Picture(np.full((90, 90, 3), 128, np.uint8) + (picture.rgb // 64))
    full, kept = applied(style, gray).rgb.astype(float), applied(style, gray, preserve_color=1).rgb.astype(float)
    inside = (kept.min(axis=-1) > 0) & (kept.max(axis=-1) < 255)
    assert inside.mean() > 0.5
    assert np.abs(full @ weights - kept @ weights)[inside].max() < 1
    chroma = kept - (kept @ weights)[..., None]
    wanted = gray.rgb - (gray.rgb @ weights)[..., None]
    assert np.abs(chroma - wanted)[inside].max() < 2


def test_two_styles_are_mixed(style):
    other = fitted(photo(seed=9), seed=8, steps=3)
    picture = photo(100, 90)
    one, two = (applied(found, picture).rgb.astype(int) for found in (style, other))
    mixed = applied(style, picture, second=other, mix=0.25).rgb
    assert np.abs(mixed - (0.75 * one + 0.25 * two)).max() <= 1
    assert (applied(style, picture, second=other, mix=0).rgb == one).all()
    assert (applied(style, picture, second=other, mix=1).rgb == two).all()


@pytest.mark.parametrize(
    "controls", [{"strength": 3.0}, {"preserve_color": -0.1}, {"mix": 1.5}, {"output_size": -1}, {"strength": "much"}]
)
def test_controls_have_bounds(controls):
    with pytest.raises(ConfigError, match=next(iter(controls))):
        StyleControls(**controls)


def test_applying_stops_within_the_network(style):
    class StopError(Exception):
        pass

    def stopping() -> Iterator[None]:
        yield from [None] * 8
        raise StopError

    calls = stopping()
    with pytest.raises(StopError):
        ended(apply_style(LoadedStyle.of(style), photo(300, 300), StyleControls(), check=lambda: next(calls)))


def test_every_style_is_alone(style):
    """A loaded style is not changed by being applied."""
    loaded = LoadedStyle.of(style)
    before = {name: tensor.clone() for name, tensor in loaded.net.state_dict().items()}
    ended(apply_style(loaded, photo(120, 120), StyleControls()))
    assert all(torch.equal(before[name], tensor) for name, tensor in loaded.net.state_dict().items())
