"""Clips made by a camera that pans and zooms over a photo: real texture, and motion that is known exactly."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipstyler.imaging import Picture

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Camera:
    """Pans and zooms once over a photo, slowly at both ends.

    Attributes
    ----------
    photo
        What it films.
    width, height
        Of a frame.
    frames
        In all.
    """

    photo: Picture
    width: int
    height: int
    frames: int

    def film(self) -> Iterator[Picture]:
        """Yield every frame."""
        image = Image.fromarray(self.photo.rgb)
        for number in range(self.frames):
            frame = image.resize((self.width, self.height), Image.Resampling.BICUBIC, box=self._view(number))
            yield Picture(np.asarray(frame))

    def flow(self, number: int) -> Floats:
        """Return where each pixel of a frame lies in the frame before it: (H, W, 2), pixels to the right and down."""
        left, top, right, bottom = self._view(number)
        before_left, before_top, before_right, before_bottom = self._view(number - 1)
        rows, columns = np.indices((self.height, self.width), np.float64) + 0.5
        x = left + columns * (right - left) / self.width
        y = top + rows * (bottom - top) / self.height
        there = (
            (x - before_left) * self.width / (before_right - before_left) - columns,
            (y - before_top) * self.height / (before_bottom - before_top) - rows,
        )
        return np.stack(there, axis=-1).astype(np.float32)

    def _view(self, number: int) -> tuple[float, float, float, float]:
        """Return the part of the photo in a frame: left, top, right, bottom."""
        along = 0.5 - 0.5 * math.cos(math.pi * number / max(1, self.frames - 1))
        aspect = self.width / self.height
        widest = min(self.photo.width, self.photo.height * aspect)
        width = widest * (0.85 - 0.3 * along)
        height = width / aspect
        left = (self.photo.width - width) * (0.1 + 0.75 * along)
        top = (self.photo.height - height) * (0.2 + 0.5 * along)
        return left, top, left + width, top + height


def write_clip(
    path: Path,
    frames: Iterable[Picture],
    rate: int = 24,
    *,
    codec: str = "libx264",
    tone: str | None = None,
    times: Iterable[int] | None = None,
) -> Path:
    """Write frames as a video.

    Parameters
    ----------
    path
        Its suffix decides the container.
    frames
        Of one even size.
    rate
        Frames per second.
    codec
        Encoder of the frames.
    tone
        Encoder of a tone that is as long as the frames; None: no sound.
    times
        When each frame is shown, in thousandths of a second; by default evenly.
    """
    with av.open(str(path), "w") as container:
        video: Any = None
        base = Fraction(1, 1000 * rate)
        sound: Any = container.add_stream(tone, rate=48000) if tone else None
        stamps = iter(times) if times is not None else None
        count = 0
        for count, picture in enumerate(frames, 1):
            if video is None:
                video = container.add_stream(codec, rate=rate, time_base=base)
                video.width, video.height, video.pix_fmt = picture.width, picture.height, "yuv420p"
                context = video.codec_context
                context.colorspace, context.color_range, context.thread_count = 1, 1, 1
            frame = av.VideoFrame.from_ndarray(picture.rgb, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1)
            frame.pts, frame.time_base = rate * next(stamps) if stamps else 1000 * (count - 1), base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound:
            _write_tone(container, sound, count / rate)
    return path


def _write_tone(container: Any, stream: Any, seconds: float) -> None:
    samples = 0.2 * np.sin(np.arange(round(seconds * 48000), dtype=np.float32) * 2 * np.pi * 440 / 48000)
    resampler = av.AudioResampler(format=stream.codec_context.format, layout="stereo", rate=48000, frame_size=1024)
    for start in range(0, len(samples) - 1023, 1024):
        frame = av.AudioFrame.from_ndarray(
            np.tile(samples[start : start + 1024], (2, 1)), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        for part in resampler.resample(frame):
            container.mux(stream.encode(part))
    container.mux(stream.encode(None))
