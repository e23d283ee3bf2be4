"""Writes a video: frames encoded, sound and subtitles copied from the source, complete or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipstyler.output_files import part_of
from clipstyler.video.containers import ENCODINGS, OPTIONS
from clipstyler.video.reading import TimedFrame, VideoError, VideoInfo, chroma_interpolation, opened

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


_BT709, _LIMITED = 1, 1  # ITU-T H.273


def encoder_for(path: Path) -> str:
    """Return the encoder for a file of this suffix.

    Raises
    ------
    VideoError
        There is none in the installed PyAV.
    """
    from av.codec import codecs_available

    encoding = ENCODINGS[path.suffix.lower()]
    found = next((name for name in encoding.encoders if name in codecs_available and _can_encode(name)), None)
    if found is None:
        raise VideoError(
            f"cannot become {path.suffix}: the installed PyAV has none of the encoders {', '.join(encoding.encoders)}"
        )
    return found


def even(size: tuple[int, int]) -> tuple[int, int]:
    """Return a width and height as encoders need them: even, by leaving out the last column or row."""
    return size[0] // 2 * 2, size[1] // 2 * 2


def left_out(source: Path, path: Path) -> list[str]:
    """Return short sentences on the streams of a source that a file of this suffix cannot hold."""
    with opened(source) as container, _scratch(path) as output:
        return [
            f"the {stream.type} stream {stream.index} ({_codec(stream)}) cannot be stored in {path.suffix}: "
            "it is left out"
            for stream in _others(container)
            if _copied(output, stream) is None
        ]


def write_video(
    path: Path, info: VideoInfo, size: tuple[int, int], frames: Iterator[TimedFrame], source: Path
) -> Iterator[int]:
    """Encode frames and copy the other streams of their source, interleaved by time.

    The same frames give the same bytes on the same machine.

    Parameters
    ----------
    path
        Where it appears once it is complete; its suffix decides how it is written.
    info
        Of the source.
    size
        Width and height of the frames, both even.
    frames
        At least one.
    source
        Sound, subtitles and metadata are copied from it.

    Yields
    ------
    Frames written, after each.

    Raises
    ------
    OSError, VideoError
        It cannot be written.
    """
    with part_of(path) as part, opened(source) as container, _output(part, path) as output:
        video = _video(output, path, info, size)
        packets = _CopiedPackets(container, output)
        output.metadata.update(_kept_metadata(container))
        for count, (picture, time) in enumerate(frames, 1):
            packets.write_until(float(time * info.time_base))
            output.mux(video.encode(_encodable(picture, time, info)))
            yield count
        output.mux(video.encode(None))
        packets.write_until(float("inf"))


class _CopiedPackets:
    """Copies streams of a source as they are, in step with the frames."""

    def __init__(self, source: InputContainer, output: OutputContainer) -> None:
        pairs = [(stream, _copied(output, stream)) for stream in _others(source)]
        self._outputs = {stream.index: copy for stream, copy in pairs if copy is not None}
        self._output = output
        streams = [stream for stream, copy in pairs if copy is not None]
        self._packets = source.demux(streams) if streams else iter(())
        self._next = next(self._packets, None)

    def write_until(self, seconds: float) -> None:
        """Write every packet up to a time."""
        while self._next is not None:
            packet = self._next
            if packet.dts is not None:
                if float(packet.dts * packet.time_base) > seconds:
                    return
                packet.stream = self._outputs[packet.stream.index]
                self._output.mux(packet)
            self._next = next(self._packets, None)


def _output(part: Path, path: Path) -> OutputContainer:
    import av
    from av.container.core import Flags

    options = {"movflags": "+faststart"} if ENCODINGS[path.suffix.lower()].container in {"mp4", "mov"} else {}
    output = av.open(str(part), "w", format=ENCODINGS[path.suffix.lower()].container, container_options=options)
    bitexact: Any = Flags.bitexact  # no random identifiers, no version
    output.flags |= bitexact.value
    return output


def _scratch(path: Path) -> OutputContainer:
    """Return an output in memory, to ask what it can hold."""
    import io

    import av

    return av.open(io.BytesIO(), "w", format=ENCODINGS[path.suffix.lower()].container)


def _video(output: OutputContainer, path: Path, info: VideoInfo, size: tuple[int, int]) -> VideoStream:
    name = encoder_for(path)
    found: Any = output.add_stream(name, rate=info.rate, options=dict(OPTIONS[name]), time_base=info.time_base)
    stream: VideoStream = found
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.time_base = info.time_base
    context = stream.codec_context
    context.sample_aspect_ratio = info.pixel_aspect
    context.thread_count = 1  # bytes may depend on the number
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED
    return stream


def _encodable(picture: Any, time: int, info: VideoInfo) -> VideoFrame:
    from av.video.frame import VideoFrame

    frame = VideoFrame.from_ndarray(picture.rgb, format="rgb24")
    frame = frame.reformat(
        format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED, interpolation=chroma_interpolation()
    )
    frame.pts, frame.time_base = time, info.time_base
    return frame


def _others(container: InputContainer) -> list[Stream]:
    """Return sound and subtitles."""
    return [*container.streams.audio, *container.streams.subtitles]


def _copied(output: OutputContainer, stream: Stream) -> Stream | None:
    """Add a stream like one of the source; None if the container cannot hold it."""
    if stream.codec_context is None or stream.codec_context.name not in output.supported_codecs:
        return None
    try:
        return output.add_stream_from_template(stream)
    except ValueError:
        return None


def _kept_metadata(container: InputContainer) -> dict[str, str]:
    names = ("title", "artist", "album", "comment", "copyright", "creation_time", "date")
    return {name: container.metadata[name] for name in names if name in container.metadata}


def _codec(stream: Stream) -> str:
    return stream.codec_context.name if stream.codec_context else "unknown codec"


def _can_encode(name: str) -> bool:
    from av.codec import Codec
    from av.error import FFmpegError

    try:
        return bool(Codec(name, "w").is_encoder)
    except (FFmpegError, ValueError):
        return False
