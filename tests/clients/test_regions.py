"""Regions through the Python client, sync and async, and through the command."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import numpy as np
import pytest
from clipstyler_client import AsyncClient, Box, Client, OptionError, Region, RegionSpec, Upload
from clipstyler_client._codec import spec
from clipstyler_client._regions import region_message
from PIL import Image

from clipstyler.v1 import region_pb2, stylization_pb2
from tests.clients.scripted_server import picture, serving
from tests.clients.test_command import call

PHOTO = picture("gray")
BOX = (0.25, 0.1, 0.5, 0.8)
_Region = region_pb2.Region
_Box = region_pb2.Region.Box


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "mask.png"
    pixels = np.zeros((96, 128), np.uint8)
    pixels[:, :64] = 255
    Image.fromarray(pixels).save(path)
    return path


def test_a_region_is_sent_by_both_clients(mask: Path) -> None:
    region = Region(mask=mask, boxes=[BOX], text="gold", feather=0.02)
    expected = _Region(
        mask=mask.read_bytes(),
        boxes=[_Box(x=0.25, y=0.1, relative_width=0.5, relative_height=0.8)],
        text="gold",
        feather=0.02,
    )

    async def asynchronously(target: str) -> None:
        async with AsyncClient(target) as client:
            await client.stylize(PHOTO, "fire", region=region).result()

    with serving() as server:
        with Client(server.target) as client:
            client.stylize(PHOTO, "fire", region=region).result()
            client.stylize(PHOTO, "fire").result()
        asyncio.run(asynchronously(server.target))
    sent = [request.spec for request in server.requests]
    assert [message.HasField("region") for message in sent] == [True, False, True]
    assert sent[0].region == sent[2].region == expected


def test_what_is_left_out_is_not_sent_and_a_mask_may_be_an_upload() -> None:
    assert region_message(None) is None
    plain = region_message(Region(boxes=[BOX]))
    assert plain is not None
    assert not plain.HasField("text")
    assert not plain.HasField("feather")
    assert plain.WhichOneof("source") is None
    uploaded = region_message(Region(mask=Upload("uploads/abc")))
    assert uploaded is not None
    assert uploaded.upload == "uploads/abc"


@pytest.mark.parametrize(
    ("region", "field"),
    [
        (Region(boxes=[BOX, (0, 0, 1)]), "region.boxes[1]"),
        (Region(boxes=[("a", 0, 1, 1)]), "region.boxes[0]"),
        (Region(boxes=[BOX], feather="wide"), "region"),
    ],
)
def test_what_does_not_fit_is_named(region: Region, field: str) -> None:
    with pytest.raises(OptionError) as caught:
        region_message(region)
    assert caught.value.field == field


def test_a_mask_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        region_message(Region(mask="nowhere.png"))


def test_a_resolved_region_is_read() -> None:
    message = stylization_pb2.StylizationSpec(
        region=_Region(
            boxes=[_Box(x=0.25, y=0.1, relative_width=0.5, relative_height=0.8)], feather=0.02, mask_digest="ab" * 32
        )
    )
    assert spec(message).region == RegionSpec((Box(*BOX),), None, 0.02, "ab" * 32)
    assert spec(stylization_pb2.StylizationSpec()).region is None


def test_the_command_keeps_what_a_mask_and_boxes_cover(photo: Path, mask: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out.png", ["--size", 64, "--steps", 1, "--patches", 2, "--feather", 0]
    outcome = call(
        "stylize", photo, "fire", "-o", out, *work, "--keep", mask, "--keep-box", "0.75,0,0.25,0.5", "--json"
    )
    assert outcome.exit_code == 0, outcome.output
    with Image.open(photo) as before, Image.open(out) as after:
        difference = np.abs(np.asarray(before).astype(int) - np.asarray(after))
    assert difference[:, :32].max() == 0
    assert difference[:24, 48:].max() == 0
    assert difference[24:, 48:].max() > 0
    region = json.loads(outcome.stdout)["region"]
    assert region["boxes"] == [[0.75, 0, 0.25, 0.5]]
    assert (region["text"], region["feather"], len(region["mask_digest"])) == (None, 0, 64)


def test_the_command_sends_a_second_text_to_a_server(photo: Path, mask: Path, tmp_path: Path) -> None:
    with serving() as server:
        outcome = call(
            "stylize", photo, "fire", "-o", tmp_path / "out.png", "--server", server.target,
            "--keep", mask, "--region-text", "gold",
        )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert server.requests[0].spec.region == _Region(mask=mask.read_bytes(), text="gold")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep-box", "0,0,1"], "--keep-box[0]: must be four fractions"),
        (["--keep-box", "a,0,1,1"], "--keep-box[0]: x must be a number, got 'a'"),
        (["--keep-box", "0.5,0,0.6,1"], "--keep-box[0]: ends outside the photo"),
        (["--keep-box", "0,0,1,1"], "--keep-box: covers the whole photo"),
        (["--region-text", "gold"], "--region-text: there is no region"),
        (["--keep-box", "0,0,.5,1", "--region-text", "Fire"], "--region-text: is the same as the style text"),
        (["--keep-box", "0,0,.5,1", "--feather", "2"], "--feather: must be at least 0 and at most 0.1"),
        (["--keep-box", "0,0,.9,1", "--crop-size", "40"], "--crop-size: a crop of 40 px is larger than the rest"),
        (["--keep", "none.png"], "--keep: none.png: No such file"),
        (["--feather", "0"], "--keep: there is no region"),
    ],
)
def test_a_bad_region_is_named_as_it_was_typed(photo: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    outcome = call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--size", 64, *arguments)
    assert outcome.exit_code == 2
    assert message in outcome.stderr


def test_a_mask_of_another_shape_is_named_as_it_was_typed(photo: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (48, 64)).save(buffer, "PNG")
    wrong = tmp_path / "wrong.png"
    wrong.write_bytes(buffer.getvalue())
    outcome = call("stylize", photo, "fire", "-o", tmp_path / "out.png", "--keep", wrong)
    assert outcome.exit_code == 2
    assert "--keep: the mask has 48 x 64 px, and seems to be turned" in outcome.stderr


def test_a_result_never_overwrites_its_mask(photo: Path, mask: Path) -> None:
    before = mask.read_bytes()
    outcome = call("stylize", photo, "fire", "-o", mask, "--keep", mask, "--steps", 1)
    assert outcome.exit_code == 2
    assert mask.read_bytes() == before
