"""Writes a video: frames encoded, sound and subtitles copied from the source, complete or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipstyler.output_files import part_of
from clipstyler.video.containers import ENCODINGS, OPTIONS
from clipstyler.video.reading import TimedFrame, VideoError, VideoInfo, chroma_interpolation, opened

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
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
    with opened(source) as container:
        return [
            f"the {stream.type} stream {stream.index} ({_codec(stream)}) cannot be stored in {path.suffix}: "
            "it is left out"
            for stream in _others(container)
            if not _can_hold(path, stream)
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
        packets = _CopiedPackets(container, output, path)
        output.metadata.update(_kept_metadata(container))
        for count, (picture, time) in enumerate(frames, 1):
            packets.write_until(float(time * info.time_base))
            output.mux(video.encode(_encodable(picture, time, info)))
            yield count
        output.mux(video.encode(None))
        packets.write_until(float("inf"))


class _CopiedPackets:
    """Copies streams of a source as they are, in step with the frames.

    Times only grow, as those of frames do: a recording may begin anew in the middle. Damaged packets are left out.
    """

    def __init__(self, source: InputContainer, output: OutputContainer, path: Path) -> None:
        streams = [stream for stream in _others(source) if _can_hold(path, stream)]
        self._outputs = {stream.index: output.add_stream_from_template(stream) for stream in streams}
        self._output = output
        self._latest: dict[int, tuple[int, int]] = {}  # when the latest packet of each begins and ends
        self._packets = map(self._later, source.demux(streams) if streams else iter(()))
        self._next = next(self._packets, None)

    def write_until(self, seconds: float) -> None:
        """Write every packet up to a time."""
        while self._next is not None:
            packet = self._next
            if packet.dts is not None:
                if float(packet.dts * packet.time_base) > seconds:
                    return
                self._write(packet)
            self._next = next(self._packets, None)

    def _later(self, packet: Packet[Stream]) -> Packet[Stream]:
        """Move a packet whose time does not grow right behind the one before it in its stream."""
        if packet.dts is None:
            return packet
        is_subtitle = packet.stream.type == "subtitle"  # several may begin at once
        last, following = self._latest.get(packet.stream.index, (None, 0))
        if last is not None and packet.dts < last + (not is_subtitle):
            delay = 0 if packet.pts is None else packet.pts - packet.dts
            packet.dts, packet.pts = following, following + delay
        length = 0 if is_subtitle else max(1, packet.duration or 0)
        self._latest[packet.stream.index] = packet.dts, packet.dts + length
        return packet

    def _write(self, packet: Packet[Stream]) -> None:
        from av.error import InvalidDataError, PatchWelcomeError

        packet.stream = self._outputs[packet.stream.index]
        with suppress(InvalidDataError, PatchWelcomeError):
            self._output.mux(packet)


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


def _can_hold(path: Path, stream: Stream) -> bool:
    """Return whether a file of this suffix can hold a stream like one of the source: some fail at their header only."""
    from av.error import FFmpegError

    with _scratch(path) as output:
        if stream.codec_context is None or stream.codec_context.name not in output.supported_codecs:
            return False
        try:
            output.add_stream_from_template(stream)
            output.start_encoding()
        except (FFmpegError, ValueError):
            return False
        return True


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
