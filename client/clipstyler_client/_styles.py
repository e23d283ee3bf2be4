"""Styles: their plain values, and the messages of their calls."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import NamedTuple, TypedDict

from clipstyler.v1 import style_pb2
from clipstyler.v1 import style_service_pb2 as pb
from clipstyler.v1.image_pb2 import ImageMetadata
from clipstyler_client._codec import Photo, format_number, format_word, photo_bytes
from clipstyler_client._errors import BrokenResultError, StylizeError, from_message
from clipstyler_client._events import EncoderModel
from clipstyler_client._jobs import JobImage, Upload
from clipstyler_client._options import encoded, fill, several

Photos = Iterable[Photo | Upload]
"""Photos of a call, each read when it is due."""


class StyleControls(TypedDict, total=False):
    """How a style is applied: strength (0 to 2), kept colors (0 to 1), share of a second style, longest side."""

    strength: float
    preserve_color: float
    mix: float
    output_size: int


@dataclass(frozen=True, kw_only=True)
class Style:
    """A style as it is on the server.

    Attributes
    ----------
    name
        `styles/{sha256}`.
    style_text, source_text, encoder_set, models, seed
        What it was fitted to, and what guided the fit.
    size, steps, photos
        Longest side of the photos that it was fitted to, optimizer steps, and how many photos.
    size_bytes
        Of its file.
    created
        When it was stored there; None if it is bundled.
    bundled
        Whether it comes with the server.
    thumbnail
        A small PNG; empty in lists.
    """

    name: str
    style_text: str
    source_text: str
    encoder_set: str
    models: tuple[EncoderModel, ...]
    seed: int
    size: int
    steps: int
    photos: int
    versions: dict[str, str]
    size_bytes: int
    created: datetime | None
    bundled: bool
    thumbnail: bytes = field(repr=False)


class StylePage(NamedTuple):
    """Styles, bundled ones first, and the token of the next page; "" on the last one."""

    styles: tuple[Style, ...]
    next_token: str


@dataclass(frozen=True)
class StyledPhoto:
    """What became of one photo of a call: an image, or the error why there is none."""

    index: int
    image: JobImage | None
    error: StylizeError | None = None

    def save(self, path: str | Path) -> Path:
        """Write the encoded bytes to a file and return its path; raises the error if there is no image."""
        if self.image is None:
            raise self.error or BrokenResultError("DATA_LOSS", "there is no image", "BROKEN_RESULT")
        return self.image.save(path)


def style_name(name: str) -> str:
    """Complete a bare SHA-256 to a resource name; what is no text is refused as the field of its request."""
    return f"styles/{name}" if isinstance(name, str) and "/" not in name else name


def style(message: style_pb2.Style) -> Style:
    """Translate a style."""
    return Style(
        name=message.name,
        style_text=message.style_text,
        source_text=message.source_text,
        encoder_set=message.encoder_set,
        models=tuple(EncoderModel(model.name, model.digest) for model in message.models),
        seed=message.seed,
        size=message.size,
        steps=message.step_count,
        photos=message.photo_count,
        versions=dict(message.versions),
        size_bytes=message.size_bytes,
        created=message.create_time.ToDatetime(UTC) if message.HasField("create_time") else None,
        bundled=message.bundled,
        thumbnail=message.thumbnail,
    )


def style_page(response: pb.ListStylesResponse) -> StylePage:
    """Translate a page."""
    return StylePage(tuple(map(style, response.styles)), response.next_page_token)


def application(
    style: str, second_style: str, controls: StyleControls, result_format: str | None
) -> pb.StyleApplication:
    """Build what says how photos are stylized; raises `OptionError`."""
    return encoded(
        pb.StyleApplication,
        style=style_name(style) if style else "",
        second_style=style_name(second_style) if second_style else "",
        controls=fill(style_pb2.StyleControls(), controls),
        result_format=format_number(result_format),
    )


def style_photo(photo: Photo | Upload) -> pb.StylePhoto:
    """Build what names a photo."""
    return pb.StylePhoto(upload=photo.name) if isinstance(photo, Upload) else pb.StylePhoto(image=photo_bytes(photo))


class ApplyMessages:
    """The messages of a call; each photo is read when it is due. One that cannot be read is the end of them.

    gRPC would cancel the call instead, without the photos that are being drawn, and without telling why. Until the
    first answer, photos are kept, so that the call can begin again.

    Attributes
    ----------
    is_answered
        Whether the server answered anything: the call cannot begin again, and nothing more is kept.
    """

    def __init__(self, how: pb.StyleApplication, photos: Photos) -> None:
        self._how = how
        self._photos = iter(several("photos", photos, str, bytes, Upload))
        self._error: Exception | None = None
        self._lock = Lock()  # gRPC reads messages in a thread of each call
        self._calls = 0
        self._sent: list[Photo | Upload] = []
        self._again: deque[Photo | Upload] = deque()
        self.is_answered = False

    def begin(self) -> Iterator[pb.ApplyStyleRequest]:
        """Return the messages of a call, from the first one on; those of calls before are no longer read."""
        with self._lock:
            self._calls += 1
            self._again.extendleft(reversed(self._sent))
            self._sent.clear()
            return self._messages(self._calls)

    def answered(self) -> None:
        """Record that the server answered."""
        if not self.is_answered:
            self.is_answered = True
            self._sent.clear()

    def end(self) -> None:
        """Raise what the photos raised, if anything."""
        if self._error:
            raise self._error

    def _messages(self, call: int) -> Iterator[pb.ApplyStyleRequest]:
        yield pb.ApplyStyleRequest(application=self._how)
        try:
            for photo in self._due(call):
                yield pb.ApplyStyleRequest(photo=style_photo(photo))
        except Exception as error:  # noqa: BLE001 - whatever the caller's photos raise, `end` raises
            self._error = error

    def _due(self, call: int) -> Iterator[Photo | Upload]:
        """Yield the photos of a call until another one begins."""
        while True:
            with self._lock:
                if call != self._calls:
                    return
                try:
                    photo = self._again.popleft() if self._again else next(self._photos)
                except StopIteration:
                    return
                if not self.is_answered:
                    self._sent.append(photo)
            yield photo


class StyledAssembly:
    """Joins the parts of the photos of a call."""

    def __init__(self) -> None:
        self._metadata: ImageMetadata | None = None
        self._data = bytearray()

    def add(self, part: pb.ApplyStyleResponse) -> StyledPhoto | None:
        """Add the next part; returns a photo once it is complete.

        Raises
        ------
        BrokenResultError
            The bytes are not those that were announced.
        """
        kind = part.WhichOneof("part")
        if kind == "error":
            return StyledPhoto(part.photo_index, None, from_message(part.error))
        image = self.add_part(part)
        return None if image is None else StyledPhoto(part.photo_index, image)

    def add_part(self, part: pb.ApplyStyleResponse | pb.RenderStyleResponse) -> JobImage | None:
        """Add the next part of an image; returns it once it is complete, and raises as `add`."""
        if part.WhichOneof("part") == "metadata":
            self._metadata, self._data = part.metadata, bytearray()
            return None
        self._data += part.data
        metadata = self._metadata
        if metadata is None:
            raise broken_image()
        if len(self._data) < metadata.size_bytes:
            return None
        data, self._metadata = bytes(self._data), None
        if len(data) != metadata.size_bytes or hashlib.sha256(data).digest() != metadata.sha256:
            raise broken_image()
        return JobImage(data, format_word(metadata.format), metadata.width_px, metadata.height_px)

    def end(self) -> None:
        """Check that no image is incomplete when no more parts come; raises as `add`."""
        if self._metadata is not None:
            raise broken_image()


def broken_image() -> BrokenResultError:
    """Make the error of an image, or a style, that did not arrive as it was announced."""
    return BrokenResultError("DATA_LOSS", "it arrived broken; request it again", "BROKEN_RESULT")


def checked_file(name: str, data: bytes) -> bytes:
    """Return the file of a style if it is the one that the name stands for; raises `BrokenResultError`."""
    if hashlib.sha256(data).hexdigest() != name.rpartition("/")[2]:
        raise broken_image()
    return data
