"""Artifacts of a run besides its result: previews in a directory, a contact sheet, an animation."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from clipstyler_client import Draft, Preview, Result
from PIL import Image, ImageDraw, ImageFont

from clipstyler.output_files import Output, write_whole
from clipstyler_cli.files import ANIMATION_SUFFIXES, Delivery
from clipstyler_cli.labels import label
from clipstyler_cli.pixels import opened
from clipstyler_cli.terminal import printable

_MARGIN = 16
_CAPTION, _CAPTION_LETTERS = 26, 15
_TITLE, _TITLE_LETTERS = 44, 22
_TILE = 256
_COLUMNS = 4
_PAPER, _INK, _FAINT, _EMPTY = "#ffffff", "#1c1c1e", "#6e6e73", "#e5e5ea"
_FRAME_MS, _LAST_FRAME_MS = 120, 2000

PREVIEW_NAME = re.compile(r"step-\d+\.\w+")
"""Names of previews in their directory."""


class Artifacts:
    """Collects the previews of one run and writes the requested artifacts."""

    def __init__(
        self, delivery: Delivery, previews_directory: Output | None = None, draft: Output | None = None
    ) -> None:
        self._delivery = delivery
        self._directory = previews_directory
        self._draft = draft
        self._has_draft = False
        self.previews: list[Preview] = []

    def add(self, preview: Preview) -> None:
        """Add a preview, and write it to the directory if there is one, which the first preview creates."""
        self.previews.append(preview)
        if self._directory is None:
            return
        suffix = {"jpeg": ".jpg"}.get(preview.format, f".{preview.format}")
        try:
            self._directory.path.mkdir(parents=True, exist_ok=True)
            write_whole(self._directory.path / f"step-{preview.step:04d}{suffix}", preview.image)
        except OSError as error:
            self._delivery.fail(self._directory, f"{error.strerror or error}; further previews are not written")
            self._directory = None

    def write_draft(self, draft: Draft) -> None:
        """Write the draft, if a file for it is asked for."""
        if self._draft:
            self._delivery.write(self._draft, draft.image)
            self._has_draft = True

    def lacks_draft(self) -> bool:
        """Return whether a file for a draft is asked for, and there was none."""
        return self._draft is not None and not self._has_draft

    def write_contact_sheet(self, output: Output, photo: bytes, result: Result) -> None:
        """Write the photo, evenly spaced previews and the result side by side, with the text as title."""
        chosen = _evenly(self.previews, 2 * _COLUMNS - 2)
        tiles = [("photo", opened(photo))]
        tiles += [(f"step {preview.step}" if preview.step else "start", opened(preview.image)) for preview in chosen]
        tiles += [("result", opened(result.image))]
        self._delivery.write(output, _drawn_sheet(result.spec.style_text, tiles))

    def write_animation(self, output: Output, photo: bytes, result: Result) -> None:
        """Write photo, previews and result as frames of one size; the last frame is shown longer."""
        shown = [(photo, 4 * _FRAME_MS), *((preview.image, _FRAME_MS) for preview in self.previews)]
        decoded = [(opened(data), duration) for data, duration in [*shown, (result.image, _LAST_FRAME_MS)]]
        images = [(image, duration) for image, duration in decoded if image]
        if not images:
            self._delivery.fail(output, "no image of this run can be read here")
            return
        size = (self.previews[-1].width, self.previews[-1].height) if self.previews else images[-1][0].size
        frames = [image.resize(size, Image.Resampling.LANCZOS) for image, _ in images]
        buffer = io.BytesIO()
        frames[0].save(
            buffer,
            format=ANIMATION_SUFFIXES[output.path.suffix.lower()],
            save_all=True,
            append_images=frames[1:],
            duration=[duration for _, duration in images],
            loop=0,
        )
        self._delivery.write(output, buffer.getvalue())


def sheet_of(title: str, images: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a contact sheet of images with their captions, as PNG; one image at a time is in memory at its size."""
    return _drawn_sheet(title, [(printable(caption), _tile(opened(data))) for caption, data in images])


def _drawn_sheet(title: str, tiles: list[tuple[str, Image.Image | None]]) -> bytes:
    buffer = io.BytesIO()
    _sheet(printable(title), tiles).save(buffer, format="PNG")
    return buffer.getvalue()


def _evenly(previews: list[Preview], most: int) -> list[Preview]:
    if len(previews) <= most:
        return previews
    return [previews[round(index * (len(previews) - 1) / (most - 1))] for index in range(most)]


def _sheet(title: str, tiles: list[tuple[str, Image.Image | None]]) -> Image.Image:
    fitted = [(caption, _tile(image)) for caption, image in tiles]
    columns = min(_COLUMNS, len(fitted))
    rows = -(-len(fitted) // columns)
    tile_height = max(image.height for _, image in fitted)
    width = _MARGIN + columns * (_TILE + _MARGIN)
    sheet = Image.new("RGB", (width, _TITLE + rows * (tile_height + _CAPTION + _MARGIN)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    label(title, _TITLE_LETTERS, width - 2 * _MARGIN).draw(draw, (_MARGIN, _MARGIN), _INK)
    for index, (caption, image) in enumerate(fitted):
        row, column = divmod(index, columns)
        x = _MARGIN + column * (_TILE + _MARGIN)
        y = _TITLE + row * (tile_height + _CAPTION + _MARGIN) + _MARGIN // 2
        sheet.paste(image, (x + (_TILE - image.width) // 2, y))
        label(caption, _CAPTION_LETTERS, _TILE).draw(draw, (x, y + tile_height + 4), _FAINT)
    return sheet


def _tile(image: Image.Image | None) -> Image.Image:
    """Fit an image into a tile; however narrow it is, a line of it is seen."""
    image = image or _unreadable()
    scale = _TILE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height))


def _unreadable() -> Image.Image:
    """Return the tile of an image that this install cannot decode."""
    tile = Image.new("RGB", (_TILE, _TILE), _EMPTY)
    words = 'not readable here:\npip install "clipstyler[local]"'
    ImageDraw.Draw(tile).text((_MARGIN, _TILE // 2), words, fill=_FAINT, font=ImageFont.load_default(14))
    return tile
