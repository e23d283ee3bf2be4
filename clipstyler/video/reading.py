"""Reads a video: what it is, and its frames one after the other, upright and in sRGB's code values."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
_LEAST_MISSING = Fraction(3, 2)  # frames that a video is shorter than declared: ends are rounded
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_PICTURE_BYTES = 64 * 2**20
_DEFAULT_RATE = Fraction(25)


class VideoError(ValueError):
    """A video that cannot be used; the message says why."""


def _unheard(_warning: str) -> None:
    """Let a warning pass."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video is.

    Attributes
    ----------
    width, height
        Of its frames in pixels, upright.
    quarter_turns
        Counter-clockwise, by which decoded frames are turned to be upright, once they are mirrored.
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
    is_mirrored
        Whether left and right of decoded frames are exchanged, as some phones ask for the camera in front.
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
    is_mirrored: bool = False


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
            is_mirrored=_is_mirrored(first),
        )


def read_frames(path: Path, info: VideoInfo, warn: Callable[[str], None] = _unheard) -> Iterator[TimedFrame]:
    """Yield every frame of a video; one of them is in memory at a time.

    Parameters
    ----------
    path, info
        The video.
    warn
        Called with a short sentence after the last frame, if the file declares more of them.

    Raises
    ------
    VideoError
        It is damaged, or the size of its frames changes.
    """
    with opened(path) as container:
        count, last, end = 0, None, Fraction(0)
        stream = video_stream(container)
        frames = container.decode(stream)
        while True:
            try:
                frame = next(frames, None)
            except _errors() as error:
                raise VideoError(f"is damaged after {count} frames ({_reason(error)})") from error
            if frame is None:
                declared = _declared_end(container, stream, count)
                if declared and (declared - end) * info.rate > _LEAST_MISSING:
                    warn(f"ends at {float(end):.2f} s of {float(declared):.2f}: the rest is missing or damaged")
                return
            picture = _picture(frame, info)
            if (picture.width, picture.height) != (info.width, info.height):
                raise VideoError(
                    f"changes its size at frame {count + 1}, from {info.width} x {info.height} to "
                    f"{picture.width} x {picture.height} px: convert it to one size first"
                )
            last = _time(frame, last, info)
            end = last * info.time_base + max(1 / info.rate, (frame.duration or 0) * info.time_base)
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


def _declared_end(container: InputContainer, stream: VideoStream, frames: int) -> Fraction | None:
    """Return when a video ends, in seconds, by what its file declares; None if nothing but its frames can say that.

    Numbers of frames alone do not: files may hide some of theirs (MP4), or count those that were left out (AVI).
    """
    if stream.frames > frames and stream.duration is not None and stream.time_base:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    clock = _CLOCK.match(stream.metadata.get("DURATION", ""))  # of Matroska and WebM
    if clock is None or container.duration is None:
        return None
    hours, minutes, seconds = map(Fraction, clock.groups())
    return min(3600 * hours + 60 * minutes + seconds, Fraction(container.duration, 10**6))


def _quarter_turns(frame: VideoFrame) -> tuple[int, tuple[str, ...]]:
    """Return how often a frame is turned, counter-clockwise, to be upright, once it is mirrored if it is to be."""
    if frame.rotation % 90:
        return 0, (f"is turned by {frame.rotation} degrees, which is not kept: only quarter turns are",)
    # FFmpeg takes what is mirrored, left and right, for turned by half.
    return (frame.rotation // 90 + 2 * _is_mirrored(frame)) % 4, ()


def _is_mirrored(frame: VideoFrame) -> bool:
    """Return whether the display matrix of a frame mirrors it, whatever it turns."""
    from av.sidedata.sidedata import Type

    found: Any = frame.side_data
    matrix = found.get(Type.DISPLAYMATRIX)
    if matrix is None:
        return False
    right_x, right_y, _, down_x, down_y, *_ = struct.unpack("=9i", bytes(matrix))
    return bool(right_x * down_y < right_y * down_x)


def _color_warnings(frame: VideoFrame) -> Iterator[str]:
    if frame.color_trc in _HDR:
        yield f"is HDR ({_HDR[frame.color_trc]}): its colors are taken for SDR and look flat"
    if frame.interlaced_frame:
        yield "is interlaced: its fields are not separated"


def _picture(frame: VideoFrame, info: VideoInfo) -> Picture:
    """Convert a frame to 8-bit RGB by its own matrix and range, upright."""
    matrix = frame.colorspace
    if matrix == _UNSPECIFIED and not frame.format.is_rgb:
        matrix = _BT709 if frame.height >= _HD_HEIGHT else _BT601
    pixels = frame.to_ndarray(
        format="rgb24", src_colorspace=matrix, src_color_range=frame.color_range, interpolation=chroma_interpolation()
    )
    seen = pixels[:, ::-1] if info.is_mirrored else pixels
    return Picture(np.ascontiguousarray(np.rot90(seen, info.quarter_turns)).astype(np.uint8, copy=False))


def _time(frame: VideoFrame, last: int | None, info: VideoInfo) -> int:
    """Return the time stamp of a frame; one that is missing or does not grow is made up from the rate."""
    step = max(1, round(1 / (info.rate * info.time_base)))
    if last is None:
        return frame.pts or 0
    return frame.pts if frame.pts is not None and frame.pts > last else last + step
