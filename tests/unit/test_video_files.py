"""Videos as files: frames, times, colors, rotation and sound survive, and what is no video is refused clearly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from benchmarks.moving_clip import Camera, write_clip
from clipstyler.imaging import Picture, decode
from clipstyler.video import reading
from clipstyler.video.reading import TimedFrame, VideoError, read_frames, read_info
from clipstyler.video.writing import encoder_for, even, left_out, write_video
from tests.unit.video_pictures import PHOTO


@pytest.fixture(scope="module")
def frames() -> list[Picture]:
    return list(Camera(decode(PHOTO.read_bytes()), 48, 32, 12).film())


@pytest.fixture(scope="module")
def clip(frames: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames, tone="aac")


def flat(color: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> Picture:
    return Picture(np.full((size[1], size[0], 3), color, np.uint8))


def written(path: Path, source: Path, frames: list[Picture] | None = None) -> Path:
    info = read_info(source)
    read = list(read_frames(source, info))
    if frames is not None:
        read = [TimedFrame(picture, frame.time) for picture, frame in zip(frames, read, strict=True)]
    size = even((info.width, info.height))
    assert list(write_video(path, info, size, iter(read), source)) == list(range(1, len(read) + 1))
    return path


def raw(path: Path, pix_fmt: str, planes: tuple[int, int, int], **tags: int) -> Path:
    """A lossless video of one color, given as code values, with tags of its matrix and range."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for _ in range(3):
            frame = av.VideoFrame(64, 48, pix_fmt)
            for plane, value in zip(frame.planes, planes, strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            for name, value in tags.items():
                setattr(frame, name, value)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def delay_of_sound(path: Path) -> float:
    """Seconds from the first frame to the first sound."""
    starts = []
    for kind in ("audio", "video"):
        with av.open(str(path)) as container:
            packet = next(container.demux(**{kind: 0}))
            starts.append(float(packet.pts * packet.time_base))
    return starts[0] - starts[1]


def packets_of(path: Path, kind: str) -> tuple[int, float]:
    """How many packets a stream has, and seconds from the first to the last."""
    with av.open(str(path)) as container:
        times = [float(p.pts * p.time_base) for p in container.demux(**{kind: 0}) if p.size]
    return len(times), max(times) - min(times)


def mean_color(path: Path) -> list[int]:
    first = next(read_frames(path, read_info(path))).picture
    return first.rgb.reshape(-1, 3).mean(axis=0).round().astype(int).tolist()


def test_what_a_video_is(clip: Path) -> None:
    info = read_info(clip)
    assert (info.width, info.height, info.quarter_turns, info.codec) == (48, 32, 0, "h264")
    assert (info.rate, info.frames, info.pixel_aspect, info.warnings) == (24, 12, 1, ())


def test_frames_come_in_order_with_their_times(clip: Path, frames: list[Picture]) -> None:
    info = read_info(clip)
    read = list(read_frames(clip, info))
    assert len(read) == 12
    seconds = [float(frame.time * info.time_base) for frame in read]
    assert np.abs(np.diff(seconds) - 1 / 24).max() < 0.001
    for frame, original in zip(read, frames, strict=True):
        assert np.abs(frame.picture.rgb.astype(int) - original.rgb).mean() < 12  # color is coarse at this size


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_video_that_is_written_has_frames_times_and_sound(clip: Path, tmp_path: Path, suffix: str) -> None:
    tone = {".webm": "libopus"}.get(suffix)
    source = (
        write_clip(tmp_path / "source.mkv", [f.picture for f in read_frames(clip, read_info(clip))], tone=tone)
        if tone
        else clip
    )
    out = written(tmp_path / f"out{suffix}", source)
    info, was = read_info(out), read_info(source)
    assert (info.width, info.height) == (was.width, was.height)
    times, before = (
        np.array([float(f.time * i.time_base) for f in read_frames(path, i)])
        for path, i in ((out, info), (source, was))
    )
    assert np.abs(np.diff(times) - np.diff(before)).max() < 0.002
    assert abs(delay_of_sound(out) - delay_of_sound(source)) < 0.002
    assert left_out(source, out) == []
    with av.open(str(out)) as container, av.open(str(source)) as original:
        copied, sound = ([bytes(p) for p in c.demux(audio=0) if p.size] for c in (container, original))
    assert copied == sound
    assert len(copied) > 5
    assert not list(tmp_path.glob(".clipstyler*"))


def test_a_recording_that_begins_anew_keeps_its_sound(frames: list[Picture], tmp_path: Path) -> None:
    part = write_clip(tmp_path / "part.ts", frames, tone="aac").read_bytes()
    source = tmp_path / "joined.ts"
    source.write_bytes(2 * part)
    for suffix in (".mp4", ".mkv"):
        out = written(tmp_path / f"out{suffix}", source)
        (pictures, video), (sounds, audio) = (packets_of(path, kind) for path, kind in ((out, "video"), (out, "audio")))
        assert (pictures, sounds) == (2 * len(frames), packets_of(source, "audio")[0])
        assert abs(audio - video) < 0.1
        assert video == pytest.approx((2 * len(frames) - 1) / 24, abs=0.01)


def test_damaged_sound_is_left_out(frames: list[Picture], tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.ts", 3 * frames, tone="aac").read_bytes()
    for sixteenth in range(4, 15):
        at = sixteenth * len(whole) // 16
        source = tmp_path / "broken.ts"
        source.write_bytes(whole[:at] + bytes(400) + whole[at + 400 :])
        assert packets_of(written(tmp_path / "out.mp4", source), "audio")[0] >= packets_of(source, "audio")[0] - 3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_the_same_frames_give_the_same_bytes(frames: list[Picture], tmp_path: Path, suffix: str) -> None:
    source = write_clip(tmp_path / "source.mp4", frames)
    one, two = (written(tmp_path / f"{name}{suffix}", source).read_bytes() for name in ("one", "two"))
    assert one == two


def test_uneven_times_are_kept(frames: list[Picture], tmp_path: Path) -> None:
    times = [0, 40, 100, 180, 190, 300, 420, 421, 500, 750, 751, 1000]
    source = write_clip(tmp_path / "source.mkv", frames, times=times)
    for out in (source, written(tmp_path / "out.mp4", source), written(tmp_path / "out.mkv", source)):
        info = read_info(out)
        found = [float(frame.time * info.time_base) for frame in read_frames(out, info)]
        assert np.abs(np.array(found) - np.array(times) / 1000).max() < 0.0011


def test_sound_that_fails_at_the_header_only_is_left_out_with_a_warning(frames: list[Picture], tmp_path: Path) -> None:
    source, out = write_clip(tmp_path / "source.webm", frames, codec="libvpx-vp9", tone="libopus"), tmp_path / "out.mov"
    assert left_out(source, out) == ["the audio stream 0 (opus) cannot be stored in .mov: it is left out"]
    written(out, source)


def test_sound_that_a_container_cannot_hold_is_left_out_with_a_warning(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.webm"
    assert left_out(clip, out) == ["the audio stream 0 (aac) cannot be stored in .webm: it is left out"]
    written(out, clip)
    with av.open(str(out)) as container:
        assert not container.streams.audio
        assert sum(1 for _ in container.decode(video=0)) == 12


# Luma and color differences of a brown, by matrix (1: BT.709, 5: BT.601) and range (1: limited, 2: full).
@pytest.mark.parametrize(
    ("planes", "colorspace", "color_range"),
    [
        ((118, 100, 174), 1, 1),
        ((124, 96, 175), 5, 1),
        ((118, 97, 180), 1, 2),
        ((125, 91, 181), 5, 2),
    ],
)
def test_colors_are_read_by_their_matrix_and_range(
    tmp_path: Path, planes: tuple[int, int, int], colorspace: int, color_range: int
) -> None:
    path = raw(tmp_path / "brown.mkv", "yuv444p", planes, colorspace=colorspace, color_range=color_range)
    assert np.abs(np.array(mean_color(path)) - [200, 100, 60]).max() <= 3


@pytest.mark.parametrize("color", [(255, 0, 0), (20, 200, 90), (250, 250, 250), (5, 5, 5), (40, 60, 220)])
def test_colors_survive_and_are_tagged(tmp_path: Path, color: tuple[int, int, int]) -> None:
    source = write_clip(tmp_path / "source.mp4", [flat(color)] * 3)
    out = written(tmp_path / "out.mp4", source, [flat(color)] * 3)
    assert np.abs(np.array(mean_color(out)) - color).max() <= 3
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)
        assert (context.color_primaries, context.color_trc) == (1, 1)


def copied(plain: Path, path: Path, options: dict[str, str], delay: int = 0) -> Path:
    """The same frames in another file, so much later."""
    with av.open(str(plain)) as source, av.open(str(path), "w", options=options) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.dts, packet.pts, packet.stream = packet.dts + delay, packet.pts + delay, stream
                container.mux(packet)
    return path


def shown_as(plain: Path, path: Path, degrees: int, **flips: bool) -> Path:
    """The same video with a display matrix."""
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(degrees, **flips)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return path


def test_a_video_on_its_side_becomes_upright(frames: list[Picture], tmp_path: Path) -> None:
    plain = write_clip(tmp_path / "plain.mp4", frames)
    turned = shown_as(plain, tmp_path / "turned.mp4", 90)
    info = read_info(turned)
    assert (info.width, info.height, info.quarter_turns) == (32, 48, 1)
    upright = next(read_frames(turned, info)).picture.rgb
    lying = next(read_frames(plain, read_info(plain))).picture.rgb
    assert (upright == np.rot90(lying)).all()
    again = read_info(written(tmp_path / "out.mp4", turned))
    assert (again.width, again.height, again.quarter_turns) == (32, 48, 0)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(("flip", "axis"), [("hflip", 1), ("vflip", 0)])
def test_a_mirrored_video_is_shown_mirrored(
    frames: list[Picture], tmp_path: Path, degrees: int, flip: str, axis: int
) -> None:
    plain = write_clip(tmp_path / "plain.mp4", frames[:2])
    mirrored = shown_as(plain, tmp_path / "mirrored.mp4", degrees, **{flip: True})
    stored = next(read_frames(plain, read_info(plain))).picture.rgb
    shown = next(read_frames(mirrored, read_info(mirrored))).picture.rgb
    assert (shown == np.flip(np.rot90(stored, degrees // 90), axis)).all()


def test_wide_pixels_stay_wide(frames: list[Picture], tmp_path: Path) -> None:
    source = tmp_path / "source.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for picture in frames[:3]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.rgb, format="rgb24")))
        container.mux(stream.encode(None))
    assert read_info(source).pixel_aspect == Fraction(4, 3)
    assert read_info(written(tmp_path / "out.mp4", source)).pixel_aspect == Fraction(4, 3)


def test_sizes_become_even() -> None:
    assert even((7, 4)) == (6, 4)


def problem(path: Path) -> str:
    with pytest.raises(VideoError) as error:
        for _ in read_frames(path, read_info(path)):
            pass
    return str(error.value)


def test_what_is_no_video_is_refused(tmp_path: Path, frames: list[Picture]) -> None:
    picture, text, sound = tmp_path / "photo.png", tmp_path / "text.mp4", tmp_path / "tone.avi"
    Image.fromarray(frames[0].rgb).save(picture)
    text.write_text("no video at all\n" * 100)
    assert "is a picture" in problem(picture)
    assert "MP4, MOV, MKV" in problem(text)
    assert problem(tmp_path / "nothing.mp4") == "there is no such file"
    assert problem(tmp_path) == "is a directory"
    with av.open(str(sound), "w") as container:
        container.add_stream("pcm_s16le", rate=8000)
        container.start_encoding()
    assert problem(sound) == "has no video stream"


def test_a_playlist_opens_nothing(tmp_path: Path, clip: Path) -> None:
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n")
    assert "is no video that can be read" in problem(playlist)
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile '{clip}'\n")
    assert "is no video that can be read" in problem(tmp_path / "concat.mp4")


def test_a_damaged_video_is_refused_with_the_frame(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) // 2])
    assert "is no video that can be read" in problem(cut) or "damaged" in problem(cut)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx-vp9")])
def test_a_video_that_was_cut_off_is_read_with_a_warning(
    frames: list[Picture], tmp_path: Path, suffix: str, codec: str
) -> None:
    whole, cut = write_clip(tmp_path / f"whole{suffix}", 4 * frames, codec=codec), tmp_path / f"cut{suffix}"
    if suffix == ".mp4":  # with its index in front
        whole = copied(whole, tmp_path / "streamed.mp4", {"movflags": "faststart"})
    heard: list[str] = []
    assert sum(1 for _ in read_frames(whole, read_info(whole), heard.append)) == 48
    assert heard == []
    with av.open(str(whole)) as container:
        *_, end = (packet.pos for packet, _ in zip(container.demux(video=0), range(31), strict=False))
    cut.write_bytes(whole.read_bytes()[:end])
    assert 26 < sum(1 for _ in read_frames(cut, read_info(cut), heard.append)) <= 30
    (warning,) = heard
    assert re.fullmatch(r"ends at 1\.\d\d s of 2\.00: the rest is missing or damaged", warning)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
def test_a_whole_video_has_no_such_warning(frames: list[Picture], tmp_path: Path, suffix: str) -> None:
    slow = write_clip(tmp_path / f"slow{suffix}", frames[:4], times=[0, 2000, 2040, 9000])
    toned = write_clip(tmp_path / "toned.mp4", frames, tone="aac")
    late, early = (
        copied(toned, tmp_path / f"{delay}{suffix}", {"avoid_negative_ts": "disabled"}, delay)
        for delay in (48000, -6000)
    )
    for path in (slow, late, early):
        assert list(read_frames(path, read_info(path), pytest.fail))


def test_a_picture_that_stays_is_no_missing_one(frames: list[Picture], tmp_path: Path) -> None:
    path = tmp_path / "still.gif"
    first, *others = (Image.fromarray(frame.rgb) for frame in frames[:3])
    first.save(path, save_all=True, append_images=others, duration=[100, 100, 5000])
    assert len(list(read_frames(path, read_info(path), pytest.fail))) == 3


def test_an_unknown_codec_is_named(clip: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(clip.read_bytes().replace(b"avc1", b"zzz1").replace(b"avcC", b"zzzC"))
    assert "no decoder" in problem(odd)


def test_a_huge_frame_is_refused_before_it_is_decoded(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PIXELS", 48 * 32 - 1)
    assert "has frames of 48 x 32 px" in problem(clip)


def test_a_video_whose_size_changes_is_refused(tmp_path: Path) -> None:
    parts = [write_clip(tmp_path / f"{size}.ts", [flat((90, 90, 90), (size, 32))] * 12) for size in (48, 64)]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert "changes its size" in problem(both)


def test_a_missing_encoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av.codec, "codecs_available", {"aac"})
    with pytest.raises(VideoError, match=r"cannot become \.webm.*libvpx-vp9, libvpx"):
        encoder_for(Path("out.webm"))


def test_a_file_that_cannot_be_finished_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    info = read_info(clip)

    def failing() -> Iterator[TimedFrame]:
        yield next(read_frames(clip, info))
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        list(write_video(tmp_path / "out.mp4", info, (48, 32), failing(), clip))
    assert list(tmp_path.iterdir()) == []
