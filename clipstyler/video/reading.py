"""Reads a video: what it is, and its frames one after the other, upright and in sRGB's code values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clipstyler.imaging import ImageError, Picture, read_header

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# FFmpeg's names. Others, such as playlists, open further files that they name.
_CONTAINERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif"
_SHOWN = "MP4, MOV, MKV, WebM, AVI, MPEG, FLV, Ogg, WMV or GIF"
MAX_PIXELS = 8192 * 4608
"""Of a frame; a larger one is refused before it is decoded."""
_HD_HEIGHT = 720  # from here on a video that names no matrix is BT.709, as players take it; below it is BT.601
_HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics (ITU-T H.273)
_BT601, _BT709 = 5, 1  # of the matrix; swscale and H.273 agree
_UNSPECIFIED = 2
_PICTURE_BYTES = 64 * 2**20
_DEFAULT_RATE = Fraction(25)


class VideoError(ValueError):
    """A video that cannot be used; the message says why."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video is.

    Attributes
    ----------
    width, height
        Of its frames in pixels, upright.
    quarter_turns
        Counter-clockwise, by which decoded frames are turned to be upright.
    pixel_aspect
        Width of a pixel by its height, upright.
    rate
        Frames per second, on average.
    time_base
        Seconds per unit of time stamps.
    frames
        How many there are, if the file says so; else an estimate, 0 if there is none.
    codec
        FFmpeg's name of it.
    warnings
        Short sentences on what is not kept.
    """

    width: int
    height: int
    quarter_turns: int
    pixel_aspect: Fraction
    rate: Fraction
    time_base: Fraction
    frames: int
    codec: str
    warnings: tuple[str, ...] = ()


class TimedFrame(NamedTuple):
    """A frame, and when it is shown, in units of the video's time base; time stamps only grow."""

    picture: Picture
    time: int


def read_info(path: Path) -> VideoInfo:
    """Read what a video is; its first frame is decoded.

    Raises
    ------
    VideoError
        It is none, or one that cannot be used.
    """
    with opened(path) as container:
        stream = video_stream(container)
        try:
            first = next(container.decode(stream), None)
        except _errors() as error:
            raise VideoError(f"is damaged: its first frame cannot be decoded ({_reason(error)})") from error
        if first is None:
            raise VideoError("has no frames")
        turns, warnings = _quarter_turns(first)
        width, height = (first.height, first.width) if turns % 2 else (first.width, first.height)
        rate = Fraction(stream.average_rate or stream.guessed_rate or _DEFAULT_RATE)
        aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
        return VideoInfo(
            width=width,
            height=height,
            quarter_turns=turns,
            pixel_aspect=1 / aspect if turns % 2 else aspect,
            rate=rate,
            time_base=Fraction(stream.time_base or 1 / rate),
            frames=stream.frames or _estimated_frames(container, rate),
            codec=stream.codec_context.name,
            warnings=(*warnings, *_color_warnings(first)),
        )


def read_frames(path: Path, info: VideoInfo) -> Iterator[TimedFrame]:
    """Yield every frame of a video; one of them is in memory at a time.

    Raises
    ------
    VideoError
        It is damaged, or the size of its frames changes.
    """
    with opened(path) as container:
        count, last = 0, None
        frames = container.decode(video_stream(container))
        while True:
            try:
                frame = next(frames, None)
            except _errors() as error:
                raise VideoError(f"is damaged after {count} frames ({_reason(error)})") from error
            if frame is None:
                return
            picture = _picture(frame, info.quarter_turns)
            if (picture.width, picture.height) != (info.width, info.height):
                raise VideoError(
                    f"changes its size at frame {count + 1}, from {info.width} x {info.height} to "
                    f"{picture.width} x {picture.height} px: convert it to one size first"
                )
            last = _time(frame, last, info)
            yield TimedFrame(picture, last)
            count += 1


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a video for reading.

    Raises
    ------
    VideoError
        It is no file, or none of a known container.
    """
    import av

    if not path.is_file():
        raise VideoError("is a directory" if path.is_dir() else "there is no such file")
    bounds = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    try:
        container = av.open(f"file:{os.path.abspath(path)}", container_options=bounds)  # noqa: PTH100 - no link resolved
    except _errors() as error:
        raise VideoError(_unopened(path, error)) from error
    with container:
        yield container


def video_stream(container: InputContainer) -> VideoStream:
    """Return the video in a container: the first that is no cover picture.

    Raises
    ------
    VideoError
        There is none, it cannot be decoded here, or its frames are too large.
    """
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise VideoError("has no video stream")
    context = streams[0].codec_context
    if context is None:
        raise VideoError("cannot be decoded: the installed PyAV has no decoder for its codec")
    if context.width * context.height > MAX_PIXELS:
        raise VideoError(
            f"has frames of {context.width} x {context.height} px: at most {MAX_PIXELS / 1e6:.0f} megapixels are read"
        )
    context.options["max_pixels"] = str(MAX_PIXELS)
    return streams[0]


def chroma_interpolation() -> int:
    """Return how colors of half the resolution are resampled: smoothly. FFmpeg's default repeats and drops pixels.

    That would be most of the warping error of a saturated style.
    """
    from av.video.reformatter import Interpolation

    return int(
        Interpolation.BILINEAR
        | Interpolation.FULL_CHR_H_INP
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.ACCURATE_RND
    )


def _errors() -> tuple[type[Exception], ...]:
    from av.error import FFmpegError

    return (FFmpegError, ValueError)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _unopened(path: Path, error: Exception) -> str:
    try:
        if path.stat().st_size <= _PICTURE_BYTES:
            read_header(path.read_bytes())
            return "is a picture, not a video: use `clipstyler apply` or `clipstyler stylize`"
    except (ImageError, OSError):
        pass
    return f"is no video that can be read ({_reason(error)}): use {_SHOWN}"


def _estimated_frames(container: InputContainer, rate: Fraction) -> int:
    return round(container.duration / 1e6 * rate) if container.duration else 0


def _quarter_turns(frame: VideoFrame) -> tuple[int, tuple[str, ...]]:
    """Return how often a frame is turned, counter-clockwise, to be upright."""
    if frame.rotation % 90:
        return 0, (f"is turned by {frame.rotation} degrees, which is not kept: only quarter turns are",)
    return frame.rotation // 90 % 4, ()


def _color_warnings(frame: VideoFrame) -> Iterator[str]:
    if frame.color_trc in _HDR:
        yield f"is HDR ({_HDR[frame.color_trc]}): its colors are taken for SDR and look flat"
    if frame.interlaced_frame:
        yield "is interlaced: its fields are not separated"


def _picture(frame: VideoFrame, turns: int) -> Picture:
    """Convert a frame to 8-bit RGB by its own matrix and range, upright."""
    matrix = frame.colorspace
    if matrix == _UNSPECIFIED and not frame.format.is_rgb:
        matrix = _BT709 if frame.height >= _HD_HEIGHT else _BT601
    pixels = frame.to_ndarray(
        format="rgb24", src_colorspace=matrix, src_color_range=frame.color_range, interpolation=chroma_interpolation()
    )
    return Picture(np.ascontiguousarray(np.rot90(pixels, turns)).astype(np.uint8, copy=False))


def _time(frame: VideoFrame, last: int | None, info: VideoInfo) -> int:
    """Return the time stamp of a frame; one that is missing or does not grow is made up from the rate."""
    step = max(1, round(1 / (info.rate * info.time_base)))
    if last is None:
        return frame.pts or 0
    return frame.pts if frame.pts is not None and frame.pts > last else last + step
