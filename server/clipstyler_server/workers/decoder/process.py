"""The decoder process: parses headers and pixels of images from outside, one after the other.

It needs Pillow and NumPy only, and starts in a moment. The system bounds its memory.
"""

from __future__ import annotations

import faulthandler
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from clipstyler.allocator import return_unused_memory
from clipstyler.encoders.inference import image_of
from clipstyler.encoders.onnx.preprocess import views
from clipstyler.imaging import ImageError, decode_fitted, read_header
from clipstyler.masking import mask_digest, read_mask
from clipstyler.style import StyleError, digest_of, load_style
from clipstyler_server.observability import logs
from clipstyler_server.spool import write_mask, write_pixels
from clipstyler_server.workers.decoder.messages import (
    Answer,
    Decode,
    Decoded,
    DecoderReady,
    Extract,
    Extracted,
    Inspect,
    Inspected,
    MaskExtracted,
    MaskRead,
    ReadMask,
    ReadStyle,
    Request,
    Result,
    Source,
    StyleRead,
    Unavailable,
    Undecodable,
    View,
    Viewed,
)
from clipstyler_server.workers.ending_signals import leave_to_the_front
from clipstyler_server.workers.messages import Shutdown
from clipstyler_server.workers.startup import is_transient

# A larger image is fitted to this before it is resized to a view, which is much smaller.
_LARGEST_SIDE = 2048


def main(connection: Connection[Any, Any], memory_bytes: int, log_level: str, log_format: str) -> None:
    """Run the process until the front process exits."""
    logs.configure(log_level, log_format, "decoder")
    leave_to_the_front()
    faulthandler.enable()
    _bound_memory(memory_bytes)
    try:
        connection.send(DecoderReady())
        while not isinstance(message := connection.recv(), Shutdown):
            with logs.in_context(message.log_context):
                connection.send(_answer(message.request))
            del message
            return_unused_memory()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _bound_memory(memory_bytes: int) -> None:
    """Bound what images may take besides what the process has now."""
    in_use = _data_bytes()
    if in_use:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (in_use + memory_bytes, hard))


def _data_bytes() -> int:
    """Return the bytes of private memory that the system counts for this process; 0 if it does not tell."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(lines["VmData"].split()[0]) * 1024


def _answer(request: Request) -> Answer:
    try:
        return _done(request)
    except (ImageError, StyleError) as error:
        return Undecodable(request.number, str(error))
    except MemoryError:
        return Undecodable(request.number, "the image does not fit into memory: send a smaller one")
    except FileNotFoundError:
        return Undecodable(request.number, "is no longer stored here: send it again")
    except OSError as error:
        if not is_transient(error):
            raise
        return Unavailable(request.number, error.strerror or str(error))


def _done(request: Request) -> Result:
    match request:
        case Inspect(number, source, limits):
            return Inspected(number, read_header(_bytes(source), limits))
        case Decode():
            return _decoded(request)
        case Extract(number, source, limits, size, enlarge, target):
            picture = decode_fitted(_bytes(source), size, enlarge, limits)
            return Extracted(number, write_pixels(picture, target))
        case ReadMask():
            return _mask(request)
        case View(number, source, limits, side):
            picture = decode_fitted(_bytes(source), _LARGEST_SIDE, limits=limits)
            return Viewed(number, views(image_of(picture.rgb), side))
        case ReadStyle(number, source):
            data = _bytes(source)
            return StyleRead(number, digest_of(data), load_style(data).description)


def _decoded(request: Decode) -> Decoded:
    begun = time.monotonic()
    data = _bytes(request.source)
    header = read_header(data, request.limits)
    picture = decode_fitted(data, request.size, request.enlarge, request.limits)
    return Decoded(request.number, picture, header, time.monotonic() - begun)


def _mask(request: ReadMask) -> MaskRead | MaskExtracted:
    data = _bytes(request.source)
    levels = read_mask(data, request.photo, request.size, request.limits)
    if request.target is None:
        return MaskRead(request.number, levels, mask_digest(data))
    return MaskExtracted(request.number, write_mask(levels, request.target))


def _bytes(source: Source) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()
