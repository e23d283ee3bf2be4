"""Styles through both clients and the command: on a server, and on this machine."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import json
import re
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clipstyler_cli import files as files_module
from clipstyler_cli.local_styles import ended, fit_here, spreads_here
from clipstyler_cli.main import app
from clipstyler_cli.style_files import slug
from clipstyler_client import AsyncClient, BrokenResultError, Client, InvalidRequestError, OptionError, StylizeError
from clipstyler_client._styles import StyledAssembly, checked_file
from PIL import Image
from typer.testing import CliRunner

from clipstyler.encoders import registry
from clipstyler.evaluation.consistency import spread
from clipstyler.imaging import Picture, decode
from clipstyler.style import load_style
from clipstyler.style_applying import LoadedStyle, apply_style
from clipstyler.style_controls import StyleControls
from clipstyler.style_library import bundled_styles
from clipstyler.v1 import style_service_pb2 as pb
from tests.clients.server_process import Server, module_server
from tests.service.harness import noise_photo, photo
from tests.service.styles import style_file

server = module_server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.target) as connected:
        yield connected


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A style of this test alone."""
    path = tmp_path / "look.style"
    path.write_bytes(style_file("a look", int(hashlib.sha256(request.node.name.encode()).hexdigest()[:12], 16)))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    for path, data in zip(paths, (photo(90, 60), noise_photo(64, 48)), strict=True):
        path.write_bytes(data)
    return paths


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_a_style_goes_to_a_server_and_comes_back(client: Client, file: Path) -> None:
    style = client.styles.upload(file)
    assert style.name == f"styles/{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert (style.style_text, style.bundled, style.photos) == ("a look", False, 1)
    assert style.name in [found.name for found in client.styles.list()]
    assert client.styles.get(style.name.rpartition("/")[2]) == style
    assert client.styles.download(style.name) == file.read_bytes()
    client.styles.delete(style.name)
    with pytest.raises(StylizeError) as error:
        client.styles.get(style.name)
    assert error.value.reason == "STYLE_NOT_FOUND"


def test_a_job_becomes_a_style(client: Client) -> None:
    job = client.jobs.create(photo(), "kept", size=64, steps=2, patches=2, seed=5, keep_style=True)
    client.jobs.watch(job.name).result()
    style = client.styles.create(job.name)
    assert style.style_text == "kept"
    image = client.styles.render(job=job.name)
    assert (pixels(image.data) == 255 - pixels(photo())).all()


LITTLE = {"size": 64, "steps": 2, "patches": 2}


def test_a_style_is_fitted_and_waited_for(client: Client, photos: list[Path]) -> None:
    style = client.styles.create(photos=[*photos, client.jobs.upload(photo(80, 80))], style_text="waited for", **LITTLE)
    assert (style.style_text, style.photos, style.steps) == ("waited for", 3, 3)
    assert client.styles.get(style.name) == style


def test_a_fit_is_a_job(client: Client, photos: list[Path]) -> None:
    job = client.styles.fit(photos, "watched", source_text="a cat", priority="high", timeout_s=60, seed=4, **LITTLE)
    assert (job.fitted_photos, job.spec.source_text, job.priority) == (2, "a cat", "high")
    result = client.jobs.watch(job.name).result()
    assert (result.width, result.height) == (64, 43)
    assert client.jobs.get(job.name).style == result.style == client.styles.get(result.style).name


def test_the_asynchronous_client_fits_as_well(server: Server) -> None:
    async def fitted() -> int:
        async with AsyncClient(server.target) as client:
            return (await client.styles.create(style_text="a text alone", **LITTLE)).photos

    assert asyncio.run(fitted()) == 3


def test_the_command_fits_a_style(server: Server, client: Client, photos: list[Path]) -> None:
    asked = ("--text", "by command", "--steps", 2, "--size", 64, "--server", server.target)
    outcome = run("styles", "create", "--photos", *photos, *asked)
    assert outcome.exit_code == 0, outcome.output
    style = client.styles.get(outcome.stdout.strip())
    assert (style.style_text, style.photos) == ("by command", 2)
    assert "2 steps" in outcome.stderr
    assert client.styles.get(run("styles", "create", *asked, "--quiet").stdout.strip()).photos == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "JOB: name one finished job"),
        (("a", "b"), "JOB: name one finished job"),
        (("--photos", "a.png"), "--text: say what the photos should look like"),
        (("--text", "x", "--photos", "nowhere.png"), "--photos: nowhere.png"),
        (("--text", ""), "--text: "),
        (("--text", "x", "--steps", "-1"), "--steps: "),
    ],
)
def test_a_fit_that_cannot_be_is_explained(server: Server, words: tuple[str, ...], message: str) -> None:
    outcome = run("styles", "create", *words, "--server", server.target)
    assert (outcome.exit_code, message in outcome.stderr) == (2, True), outcome.stderr


def test_a_photo_that_cannot_be_used_is_named_by_its_place(server: Server, photos: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    outcome = run("styles", "create", "--text", "x", "--photos", photos[0], bad, "--server", server.target)
    assert (outcome.exit_code, "--photos[1]: " in outcome.stderr) == (2, True), outcome.stderr
    many = run("styles", "create", "--text", "x", *[photos[0]] * 17, "--server", server.target)
    assert "--photos: must be at most 16, got 17" in many.stderr


def test_photos_are_yielded_as_they_are_done(client: Client, file: Path, photos: list[Path]) -> None:
    style = client.styles.upload(file)
    read: list[int] = []

    def slowly() -> Iterator[bytes]:
        for number, path in enumerate(photos):
            read.append(number)
            yield path.read_bytes()
        yield b"no image"

    done = list(client.styles.apply(style.name, slowly(), result_format="webp", output_size=40))
    assert [styled.index for styled in done] == [0, 1, 2]
    assert [styled.image and (styled.image.format, styled.image.width) for styled in done[:2]] == [("webp", 40)] * 2
    assert isinstance(done[2].error, InvalidRequestError)
    with pytest.raises(InvalidRequestError):
        done[2].save("nowhere.png")


async def test_the_asynchronous_client_does_the_same(server: Server, file: Path, photos: list[Path]) -> None:
    async with AsyncClient(server.target) as client:
        style = await client.styles.upload(file)
        done = [styled async for styled in client.styles.apply(style.name, photos)]
        for styled, path in zip(done, photos, strict=True):
            assert (pixels(styled.image.data) == 255 - pixels(path.read_bytes())).all()
        image = await client.styles.render(photos[0], style=style.name, second_style=style.name)
        assert (image.width, image.height) == (90, 60)
        async for _ in client.styles.apply(style.name, photos):
            break  # leaving ends the call
        await asyncio.sleep(0)


async def test_a_style_that_is_not_there_is_named_however_much_is_sent(server: Server, photos: list[Path]) -> None:
    """A call that the server ends while the client sends has the server's status, not that of the failed message."""
    nowhere, many = "0" * 64, photos[:1] * 40
    for _ in range(5):
        with Client(server.target) as client, pytest.raises(StylizeError) as known:
            list(client.styles.apply(nowhere, many))
        async with AsyncClient(server.target) as client:
            with pytest.raises(StylizeError) as known_too:
                _ = [styled async for styled in client.styles.apply(nowhere, many)]
        for caught in (known.value, known_too.value):
            assert (caught.code, caught.reason) == ("NOT_FOUND", "STYLE_NOT_FOUND")


async def test_a_file_that_cannot_be_read_is_raised_after_the_photos_before_it(
    server: Server, file: Path, photos: list[Path], tmp_path: Path
) -> None:
    with Client(server.target) as client:
        style = client.styles.upload(file).name
        applied = client.styles.apply(style, [photos[0], tmp_path / "none.png", photos[1]])
        assert next(applied).image
        with pytest.raises(FileNotFoundError):
            next(applied)
    async with AsyncClient(server.target) as client:
        applied = client.styles.apply(style, [photos[0], tmp_path / "none.png", photos[1]])
        assert (await anext(applied)).image
        with pytest.raises(FileNotFoundError):
            await anext(applied)


def test_what_cannot_be_sent_is_refused_at_once(client: Client) -> None:
    with pytest.raises(OptionError, match="result_format"):
        client.styles.render(b"", style="x", result_format="gif")
    with pytest.raises(OptionError, match="strong"):
        list(client.styles.apply("x", [], strong=1))


def test_an_image_that_arrives_broken_is_refused() -> None:
    assembly = StyledAssembly()
    part = pb.ApplyStyleResponse()
    part.metadata.size_bytes, part.metadata.sha256 = 3, hashlib.sha256(b"abc").digest()
    assert assembly.add(part) is None
    with pytest.raises(BrokenResultError):
        assembly.end()
    with pytest.raises(BrokenResultError):
        assembly.add(pb.ApplyStyleResponse(data=b"xyz"))
    with pytest.raises(BrokenResultError):
        assembly.add(pb.ApplyStyleResponse(data=b"no metadata before it"))
    assert assembly.add(part) is None
    assert assembly.add(pb.ApplyStyleResponse(data=b"abc")).image.data == b"abc"
    assembly.end()
    with pytest.raises(BrokenResultError):
        checked_file(f"styles/{'0' * 64}", b"other bytes")


def test_the_command_keeps_styles_on_a_server(server: Server, file: Path, tmp_path: Path) -> None:
    there = ("--server", server.target)
    uploaded = run("styles", "upload", file, *there)
    assert uploaded.exit_code == 0, uploaded.stderr
    name = uploaded.stdout.strip()
    listed = json.loads(run("styles", "list", *there, "--json").stdout)
    (mine,) = [found for found in listed if found["style"] == name]
    assert {"name": "a-look", "text": "a look", "bundled": False}.items() <= mine.items()
    assert "a look" in run("styles", "list", *there).stdout
    shown = run("styles", "show", name, *there, "--json", "--thumbnail", tmp_path / "small.png")
    assert json.loads(shown.stdout)["name"] == name
    assert Image.open(tmp_path / "small.png").format == "PNG"
    out = tmp_path / "back.style"
    assert run("styles", "download", name, "-o", out, *there).exit_code == 0
    assert out.read_bytes() == file.read_bytes()
    assert run("styles", "delete", name, *there).exit_code == 0
    gone = run("styles", "delete", name, *there)
    assert (gone.exit_code, "there is no" in gone.stderr) == (1, True)


def test_only_apply_stores_a_file_on_a_server(server: Server, client: Client, file: Path, tmp_path: Path) -> None:
    there = ("--server", server.target)
    for words in (("show", file), ("download", file, "-o", tmp_path / "back.style"), ("delete", file)):
        assert "there is no" in run("styles", *words, *there).stderr
    client.styles.upload(file)
    assert run("styles", "show", file, *there).exit_code == 0


def test_a_style_is_named_by_the_digest_that_a_list_shows(
    server: Server, client: Client, file: Path, tmp_path: Path
) -> None:
    there, digest = ("--server", server.target), client.styles.upload(file).name.partition("/")[2]
    assert digest[:12] in run("styles", "list", *there).stdout
    out = tmp_path / "back.style"
    assert run("styles", "download", digest[:12], "-o", out, *there).exit_code == 0
    assert out.read_bytes() == file.read_bytes()
    assert run("styles", "show", digest[:11], *there).exit_code == 2
    bundled = json.loads(run("styles", "list", "--json").stdout)[0]["style"]
    shown = run("styles", "show", bundled.partition("/")[2][:12], "--json")
    assert json.loads(shown.stdout)["name"] == bundled


def test_a_style_is_named_by_its_text_too(server: Server, client: Client, tmp_path: Path) -> None:
    for seed in (1, 2):
        client.styles.upload(style_file("Twice there!", seed))
    client.styles.upload(style_file("Once there!", 3))
    out = tmp_path / "x.style"
    assert run("styles", "download", "once-there", "-o", out, "--server", server.target).exit_code == 0
    several = run("styles", "download", "twice-there", "-o", out, "--server", server.target)
    assert (several.exit_code, "several styles" in several.stderr) == (2, True)
    assert "by its digest" in several.stderr
    none = run("styles", "download", "never-there", "-o", out, "--server", server.target)
    assert (none.exit_code, "no style" in none.stderr) == (2, True)


def test_the_command_applies_a_style_on_a_server(server: Server, file: Path, photos: list[Path]) -> None:
    out = file.parent / "styled"
    outcome = run("apply", file, *photos, "-o", out, "--server", server.target)
    assert outcome.exit_code == 0, outcome.stderr
    assert "2 of 2 photos" in outcome.stderr
    for path in photos:
        assert (pixels((out / path.name).read_bytes()) == 255 - pixels(path.read_bytes())).all()


def test_the_command_applies_a_style_here(file: Path, photos: list[Path]) -> None:
    out = file.parent / "styled"
    outcome = run("apply", file, *photos, "-o", out, "--format", "jpeg", "--output-size", 40, "--strength", 0)
    assert outcome.exit_code == 0, outcome.stderr
    image = Image.open(out / "one.jpg")
    assert (image.format, image.size) == ("JPEG", (40, 27))


def test_a_photo_that_cannot_be_read_does_not_stop_the_others(file: Path, photos: list[Path]) -> None:
    photos[0].write_bytes(b"no image")
    outcome = run("apply", file, *photos, "-o", file.parent / "styled", "-q")
    assert outcome.exit_code == 1
    assert "one.png" in outcome.stderr
    assert (file.parent / "styled" / "two.png").is_file()


def test_a_photo_that_is_too_long_for_the_format_does_not_stop_the_others(file: Path, photos: list[Path]) -> None:
    Image.new("RGB", (17_000, 8)).save(photos[0])
    outcome = run("apply", file, *photos, "-o", file.parent / "styled", "--format", "webp", "--strength", 0)
    assert (outcome.exit_code, f"error: {photos[0]}: photo: 17000 x 8 px are too many" in outcome.stderr) == (1, True)
    assert (file.parent / "styled" / "two.webp").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "one.png", "-o", "out"], "neither a file nor a bundled style"),
        (["look.style", "none.png", "-o", "out"], "no such file: none.png"),
        (["look.style", "one.png", "one.png", "-o", "out"], "several would be written to one.png"),
        (["look.style", "one.png", "-o", "out", "--format", "gif"], "--format: 'gif' is unknown"),
        (["look.style", "one.png", "-o", "."], "is an input too"),
        (["one.png", "two.png", "-o", "out"], "STYLE: one.png: the file is no style"),
        (["look.style", "one.png", "-o", "out", "--mix-with", "two.png"], "--mix-with: two.png: the file is no style"),
        (["look.style", "one.png", "-o", "out", "--mix", "0.3"], "--mix: needs a second style"),
        (["look.style", "one.png", "-o", "two.png"], "error: --out: two.png is a file; name a directory\n"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    file: Path, photos: list[Path], arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    outcome = run("apply", *arguments)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert {path.name for path in file.parent.iterdir()} == {file.name, *(path.name for path in photos)}


def test_everything_that_cannot_be_used_is_named_at_once(
    file: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    outcome = run("apply", "nowhere", "none.png", *photos, photos[0], "-o", "out", "--format", "gif", "--mix", 0.3)
    named = [line.removeprefix("error:").split(":")[0].strip() for line in outcome.stderr.splitlines()]
    assert (outcome.exit_code, named) == (2, ["--format", "PHOTOS", "PHOTOS", "--mix", "STYLE"])


def test_a_server_s_refusal_names_the_arguments_of_the_command(
    server: Server, file: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    words = ["one.png", "-o", "out", "--server", server.target]
    several = run("apply", "styles/zz", *words, "--output-size", 20_000)
    assert several.exit_code == 2
    assert "STYLE: styles/zz: must be styles/" in several.stderr
    assert "\n       --output-size: must be at least 0" in several.stderr
    second = run("apply", "look.style", *words, "--mix-with", "two.png")
    assert (second.exit_code, "--mix-with: two.png: the file is no style" in second.stderr) == (2, True)
    assert not (file.parent / "out").exists()
    assert "STYLE: styles/zz: must be styles/" in run("styles", "show", "styles/zz", "--server", server.target).stderr
    missing = run("styles", "upload", "none.style", "--server", server.target)
    assert (missing.exit_code, "FILE: none.style: No such file" in missing.stderr) == (2, True)


def test_a_damaged_file_is_shown_as_such(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    outcome = run("styles", "show", file)
    assert outcome.exit_code == 2
    assert re.match(rf"error: STYLE: {re.escape(str(file))}: the style .* is damaged", outcome.stderr)


def test_the_bundled_styles_are_small_whole_and_ready(photos: list[Path], tmp_path: Path) -> None:
    styles = bundled_styles()
    assert sum(style.size_bytes for style in styles) <= 8 * 2**20
    listed = json.loads(run("styles", "list", "--json").stdout)
    assert [style["name"] for style in listed] == [style.name for style in styles]
    for style in styles:
        assert style.name == slug(style.description.style_text)
        assert style.description.precision == "byte"
        assert style.name in run("styles", "list").stdout
    outcome = run("apply", styles[0].name, photos[0], "-o", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    assert (pixels((tmp_path / "out" / "one.png").read_bytes()) != pixels(photos[0].read_bytes())).mean() > 0.9


def test_a_server_has_the_bundled_styles_and_keeps_them(client: Client) -> None:
    styles = bundled_styles()
    found = [style for style in client.styles.list() if style.bundled]
    assert [style.name for style in found] == [f"styles/{style.digest}" for style in styles]
    first = found[0].name
    assert client.styles.download(first) == styles[0].data()
    assert client.styles.get(first).created is None
    assert client.styles.upload(styles[0].path).bundled
    assert client.styles.render(photo(), style=first).width == 96
    with pytest.raises(StylizeError) as error:
        client.styles.delete(first)
    assert error.value.reason == "STYLE_BUNDLED"


def test_an_album_has_one_look(photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "album"
    words = ["album", *photos, "stained glass", "-o", out, "--size", 64, "--steps", 2, "--sample", 2, "--seed", 1]
    outcome = run(*words, "--score")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout.count("if fitted separately") == 3
    names = {"one.png", "two.png", "stained-glass.style", "album-sheet.png"}
    assert {path.name for path in out.iterdir()} == names
    shown = json.loads(run("styles", "show", out / "stained-glass.style", "--json").stdout)
    assert (shown["photos"], shown["steps"], shown["style_text"]) == (2, 2, "stained glass")
    again = run("apply", out / "stained-glass.style", photos[0], "-o", tmp_path / "again")
    assert again.exit_code == 0
    assert (tmp_path / "again" / "one.png").read_bytes() == (out / "one.png").read_bytes()


def test_what_is_worth_knowing_of_the_fit_of_an_album_is_said(photos: list[Path], tmp_path: Path) -> None:
    words = ["zorblax quvintle", "-o", tmp_path / "album", "--size", 64, "--steps", 1, "--seed", 1, "--score"]
    outcome = run("album", *photos, *words, "-q")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stderr.count("do not know 'zorblax quvintle'") == 1


def test_the_score_of_an_album_has_one_photo_at_a_time_in_memory(
    photos: list[Path], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[weakref.ref[Picture]] = []

    def counted(data: bytes) -> Picture:
        assert all(picture() is None for picture in seen)
        picture = decode(data)
        seen.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr("clipstyler.imaging.decode", counted)
    options = {"size": 64, "steps": 2, "seed": 1}
    found = spreads_here(file.read_bytes(), photos, "fire", options, {})
    assert len(seen) == 3 * len(photos)  # drawn in the one style; fitted separately, and drawn

    monkeypatch.undo()
    pictures = [decode(path.read_bytes()) for path in photos]
    own = [fit_here([path], "fire", options, lambda _step, _steps: None) for path in photos]
    for spread_found, files in zip(found, ([file.read_bytes()] * len(photos), own), strict=True):
        styles = [LoadedStyle.of(load_style(data)) for data in files]
        pairs = [
            (ended(apply_style(style, picture, StyleControls(output_size=512))), picture)
            for style, picture in zip(styles, pictures, strict=True)
        ]
        assert spread_found == pytest.approx(spread(pairs, registry.load(registry.BUNDLED)), rel=1e-6)


def test_the_score_of_an_album_is_that_of_its_controls(photos: list[Path], file: Path) -> None:
    options = {"size": 64, "steps": 2, "seed": 1}
    together, separate = spreads_here(file.read_bytes(), photos, "fire", options, {"strength": 0})
    assert together == separate  # of the photos as they are


def test_an_albums_results_come_as_near_in_color_as_asked_for(photos: list[Path], tmp_path: Path) -> None:
    words = ["album", *photos, "fire", "--size", 64, "--steps", 1, "--sample", 1, "--seed", 1, "--score"]
    plain = run(*words, "-o", tmp_path / "plain")
    near = run(*words, "-o", tmp_path / "near", "--harmonize", 1)
    assert plain.exit_code == near.exit_code == 0, plain.stderr + near.stderr

    def distance(folder: str) -> float:
        one, two = (pixels((tmp_path / folder / name).read_bytes()) for name in ("one.png", "two.png"))
        return float(np.abs(one.mean(axis=(0, 1)) - two.mean(axis=(0, 1))).max())

    assert distance("near") < 2 < distance("plain")
    assert score_of(near.stdout, "colors") < score_of(plain.stdout, "colors") / 2


def score_of(stdout: str, name: str) -> float:
    """Return the spread of an album in what its score prints."""
    return float(stdout.partition(f"spread of {name}: ")[2].partition(",")[0])


def test_an_unreadable_photo_is_left_out_of_the_common_colors(photos: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    words = ["--size", 64, "--steps", 1, "--sample", 1, "--seed", 1, "--harmonize", 1]
    outcome = run("album", *photos, broken, "fire", "-o", tmp_path / "with", *words)
    assert outcome.exit_code == 1
    assert outcome.stderr.count(f"error: {broken}: ") == 1
    assert run("album", *photos, "fire", "-o", tmp_path / "without", *words).exit_code == 0
    for name in ("one.png", "two.png"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def test_an_album_names_every_photo_that_it_cannot_be_fitted_to(photos: list[Path], tmp_path: Path) -> None:
    for path in photos:
        path.write_bytes(b"no image")
    outcome = run("album", *photos, "fire", "-o", tmp_path / "album", "--steps", 0)
    assert outcome.exit_code == 2
    assert "--steps: " in outcome.stderr
    assert all(f"PHOTOS: {path}: the bytes are no readable image" in outcome.stderr for path in photos)
    assert not (tmp_path / "album").exists()


def test_a_broken_photo_takes_nothing_from_an_album(photos: list[Path], tmp_path: Path) -> None:
    out, broken = tmp_path / "album", tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    out.mkdir()
    (out / "broken.png").write_bytes(photo(64, 64))  # of an album before it was broken
    words = ["album", broken, *photos, "fire", "-o", out, "--size", 64, "--steps", 1, "--sample", 1, "--seed", 1]
    outcome = run(*words, "--score")
    assert outcome.exit_code == 1
    assert f"error: {broken}: photo: the bytes are no readable image" in outcome.stderr
    assert outcome.stdout.count("if fitted separately") == 3
    assert Image.open(out / "album-sheet.png").width == 16 + 2 * (256 + 16)


def test_an_album_is_whole_though_a_result_is_elsewhere(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "album"
    write_whole = files_module.write_whole

    def failing(path: Path, data: bytes) -> None:
        if path == out / "one.png":
            raise OSError(errno.EACCES, "Permission denied")
        write_whole(path, data)

    monkeypatch.setattr(files_module, "write_whole", failing)
    words = ["album", *photos, "fire", "-o", out, "--size", 64, "--steps", 1, "--sample", 1, "--score"]
    outcome = run(*words)
    assert outcome.exit_code == 1
    assert "one.png: Permission denied; written to" in outcome.stderr
    assert outcome.stdout.count("if fitted separately") == 3
    assert (out / "album-sheet.png").is_file()


def test_an_album_of_one_photo_that_can_be_used_has_no_score(photos: list[Path], tmp_path: Path) -> None:
    photos[0].write_bytes(b"no image")
    words = ["album", *photos, "fire", "-o", tmp_path / "album", "--size", 64, "--steps", 1, "--sample", 1, "--score"]
    outcome = run(*words)
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert "error: --score: there is nothing to compare" in outcome.stderr


def test_a_quiet_album_shows_no_progress_on_a_terminal(photos: list[Path], tmp_path: Path) -> None:
    words = ["album", *photos, "fire", "-o", tmp_path / "album", "--size", 64, "--steps", 1, "--harmonize", 1, "-q"]
    outcome = CliRunner().invoke(app, [str(word) for word in words], env={"FORCE_COLOR": "1", "TERM": "xterm"})
    assert (outcome.exit_code, "\x1b" in outcome.stderr) == (0, False)
    assert all(line.startswith("warning: ") for line in outcome.stderr.splitlines())


def test_a_slug_is_short_and_plain() -> None:
    assert slug("  Starry Night, by van Gogh!") == "starry-night-by-van-gogh"
    assert slug("?!") == "style"
    assert len(slug("x" * 300)) == 60
