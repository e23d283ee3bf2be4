"""Containers that a video is written to, and how. No other module is needed for this."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Encoding(NamedTuple):
    """How frames are written.

    Attributes
    ----------
    container
        FFmpeg's name of it.
    encoders
        FFmpeg's names, in the order in which they are tried.
    """

    container: str
    encoders: tuple[str, ...]


_H264 = ("libx264", "mpeg4")
_VP9 = ("libvpx-vp9", "libvpx")
ENCODINGS: Mapping[str, Encoding] = {
    ".mp4": Encoding("mp4", _H264),
    ".m4v": Encoding("mp4", _H264),
    ".mov": Encoding("mov", _H264),
    ".mkv": Encoding("matroska", _H264),
    ".webm": Encoding("webm", _VP9),
}
"""By the suffix of a file."""
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"crf": "18", "preset": "medium"},
    "mpeg4": {"qscale": "3"},
    "libvpx-vp9": {"crf": "28", "b": "0", "cpu-used": "4"},
    "libvpx": {"crf": "8", "b": "8M"},
}
"""Of each encoder: hardly visible losses, which strokes of a style need more than films do."""
