"""Small files that ask much of whoever reads them: many parts, large announcements, bombs and endless animations."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable

from PIL import Image, ImageCms

from tests.service.harness import noise_photo

SIDE = 8000
"""64 megapixels: the most that the server allows."""
_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST_FILE = 15 * 2**20
_MEANINGFUL_TAGS = {34_665, 34_853, 40_965, 48_129}
"""Directories within a directory, and a sign of another format."""


def png_chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, color: int, chunks: Iterable[bytes]) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return _PNG + header + b"".join(chunks) + png_chunk(b"IEND")


def _pixels(data: bytes = b"\0" * 4) -> bytes:
    return png_chunk(b"IDAT", zlib.compress(data, 9))


def zeros(size: int) -> bytes:
    """Compress zeros, a piece at a time."""
    packer = zlib.compressobj(9)
    pieces = [packer.compress(bytes(2**20)) for _ in range(size >> 20)]
    return b"".join((*pieces, packer.compress(bytes(size & 0xFFFFF)), packer.flush()))


def _side(scale: float) -> int:
    """Return the side of a square of that share of the most pixels."""
    return int(SIDE * scale**0.5)


def png_profiles(scale: float) -> bytes:
    """Thousands of compressed color profiles of 1 MiB each."""
    profile = png_chunk(b"iCCP", b"p\0\0" + zeros(2**20 - 64))
    return png(1, 1, 8, 2, [profile] * int(_LARGEST_FILE * scale // len(profile)) + [_pixels()])


def png_empty_chunks(scale: float) -> bytes:
    """Hundreds of thousands of chunks without a body."""
    return png(1, 1, 8, 2, [png_chunk(b"prVt") * int(1_300_000 * scale), _pixels()])


def png_texts(scale: float) -> bytes:
    """Compressed texts that together fill a gigabyte."""
    text = png_chunk(b"zTXt", b"k\0\0" + zeros(2**20 - 64))
    return png(1, 1, 8, 2, [text] * int(1000 * scale) + [_pixels()])


def png_text_bomb(scale: float) -> bytes:
    """One compressed text of hundreds of megabytes."""
    return png(1, 1, 8, 2, [png_chunk(b"zTXt", b"k\0\0" + zeros(int(2**29 * scale))), _pixels()])


def png_pixel_bomb(scale: float) -> bytes:
    """Far more compressed pixels than the header announces."""
    return png(16, 16, 8, 2, [png_chunk(b"IDAT", zeros(int(2**30 * scale)))])


def png_of_64_megapixels(scale: float) -> bytes:
    """All its pixels are there, in 200 kB."""
    side = _side(scale)
    return png(side, side, 8, 2, [png_chunk(b"IDAT", zeros(side * (1 + 3 * side)))])


def png_of_16_bits(scale: float) -> bytes:
    """Many megapixels of four channels of 16 bits."""
    side = _side(scale)
    return png(side, side, 16, 6, [png_chunk(b"IDAT", zeros(side * (1 + 8 * side)))])


def png_announcement(scale: float) -> bytes:
    """Announces 64 megapixels and holds four bytes."""
    return png(_side(scale), _side(scale), 16, 6, [_pixels()])


def png_interlaced(scale: float) -> bytes:
    """64 megapixels in seven passes, without their end."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", _side(scale), _side(scale), 8, 2, 0, 0, 1))
    return _PNG + header + png_chunk(b"IDAT", zeros(2**20)) + png_chunk(b"IEND")


def apng_frames(scale: float) -> bytes:
    """Many thousands of frames."""
    count = int(100_000 * scale)
    control = struct.pack(">IIIIHHBB", 1, 1, 0, 0, 1, 100, 0, 0)
    body = zlib.compress(b"\0" * 4)
    frames = (
        png_chunk(b"fcTL", struct.pack(">I", 2 * n) + control) + png_chunk(b"fdAT", struct.pack(">I", 2 * n + 1) + body)
        for n in range(count)
    )
    return png(1, 1, 8, 2, [png_chunk(b"acTL", struct.pack(">II", count, 0)), _pixels(), *frames])


def jpeg_markers(scale: float) -> bytes:
    """As many segments without a body as fit into a file, before a good picture."""
    good = _saved(Image.new("RGB", (8, 8)), "JPEG")
    return good[:2] + b"\xff\xef\0\2" * int(4_000_000 * scale) + good[2:]


def jpeg_comments(scale: float) -> bytes:
    """As above, of comments with a body."""
    good = _saved(Image.new("RGB", (8, 8)), "JPEG")
    return good[:2] + (b"\xff\xfe\0\x22" + b"c" * 32) * int(400_000 * scale) + good[2:]


def jpeg_of_cmyk(scale: float) -> bytes:
    """Many megapixels of four channels."""
    side = _side(scale)
    return _saved(Image.new("CMYK", (side, side), (10, 200, 30, 40)), "JPEG")


def jpeg_scans(scale: float) -> bytes:
    """A progressive picture whose last scan is repeated thousands of times."""
    good = _saved(Image.open(io.BytesIO(noise_photo(128, 128))), "JPEG", progressive=True)
    last = good.rindex(b"\xff\xda")
    return good[:last] + good[last:-2] * min(int(4000 * scale), _LARGEST_FILE // len(good[last:-2])) + good[-2:]


def tiff_tags(scale: float) -> bytes:
    """As many tags as there can be, in a chain of directories."""
    picture = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 16, 279: 256}
    tags = picture | {tag: 0 for tag in range(1000, 65_536) if tag not in _MEANINGFUL_TAGS}
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 3, 1, tags[tag]) for tag in tags)
    count = max(1, int(20 * scale))
    nexts = (8 + number * (len(directory) + 4) for number in range(1, count))
    return b"II*\0" + struct.pack("<I", 8) + b"".join(directory + struct.pack("<I", at) for at in (*nexts, 0))


def tiff_loop(scale: float) -> bytes:
    """A directory that names itself as the next one."""
    return tiff({256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 16, 279: 256}, following=8)


def tiff_tile(scale: float) -> bytes:
    """One tile of 676 megapixels around a picture of 16 px, in less than 1 kB."""
    tile = {322: 26_000, 323: 26_000, 324: 400, 325: 100}
    return tiff({256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1} | tile) + zeros(10_000)


def tiff_announcement(scale: float) -> bytes:
    """Announces 64 megapixels in one strip."""
    strip = {273: 400, 277: 1, 278: _side(scale), 279: 100}
    return tiff({256: _side(scale), 257: _side(scale), 258: 16, 259: 8, 262: 1} | strip) + zeros(10_000)


def tiff(tags: dict[int, int], following: int = 0) -> bytes:
    """Encode one directory of whole numbers."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(400, b"\0")


def webp_announcement(scale: float) -> bytes:
    """Announces 64 megapixels in 34 bytes; what little data there is repeats one pixel."""
    width, height = 16_000, max(1, int(4000 * scale))
    bits = (width - 1) | (height - 1) << 14
    body = b"\x2f" + struct.pack("<I", bits) + b"\x88\x88\x08"
    chunk = b"VP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def webp_of_64_megapixels(scale: float) -> bytes:
    """All its pixels are there."""
    return _saved(Image.new("RGB", (16_000, max(1, int(4000 * scale)))), "WEBP", lossless=True, method=0, quality=0)


def gif_announcement(scale: float) -> bytes:
    """Announces 64 megapixels and holds one byte of data."""
    side = _side(scale)
    frame = b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\2\1\x44\0"
    return _gif_header(side) + frame + b";"


def gif_frames(scale: float) -> bytes:
    """Hundreds of thousands of frames."""
    frame = b"!\xf9\4\0\1\0\0\0," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
    return _gif_header(1) + frame * int(600_000 * scale) + b";"


def gif_comments(scale: float) -> bytes:
    """Comments without an end before the first frame."""
    return _gif_header(1) + b"!\xfe" + (b"\xff" + b"c" * 255) * int(60_000 * scale)


def bmp_announcement(scale: float) -> bytes:
    """Announces 64 megapixels, compressed, and holds no more than their end."""
    size = struct.pack("<IiiHHIIiiII", 40, _side(scale), _side(scale), 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 2000, 0, 0, 14 + 40 + 1024) + size + bytes(1024) + b"\xff\x01" * 10 + b"\0\1"


def _gif_header(side: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"


def _saved(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


CONSTRUCTED: tuple[Callable[[float], bytes], ...] = (
    png_profiles,
    png_empty_chunks,
    png_texts,
    png_text_bomb,
    png_pixel_bomb,
    png_of_64_megapixels,
    png_of_16_bits,
    png_announcement,
    png_interlaced,
    apng_frames,
    jpeg_markers,
    jpeg_comments,
    jpeg_of_cmyk,
    jpeg_scans,
    tiff_tags,
    tiff_loop,
    tiff_tile,
    tiff_announcement,
    webp_announcement,
    webp_of_64_megapixels,
    gif_announcement,
    gif_frames,
    gif_comments,
    bmp_announcement,
)


def good_images() -> list[bytes]:
    """Return small good images of every format in many modes, to be mutated."""
    color = Image.merge("RGB", [Image.linear_gradient("L").resize((40, 30)).rotate(angle) for angle in (0, 90, 180)])
    gray, clear = color.convert("L"), color.convert("RGBA")
    clear.putalpha(gray)
    deep = Image.new("I;16", (40, 30), 40_000)
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    moving = {"save_all": True, "append_images": [color.rotate(angle) for angle in (90, 180)], "duration": 10}
    kinds: list[tuple[Image.Image, str, dict[str, object]]] = [
        (color, "JPEG", {"exif": exif, "icc_profile": profile}),
        (color, "JPEG", {"progressive": True}),
        (color.convert("CMYK"), "JPEG", {}),
        (gray, "JPEG", {}),
        (color, "PNG", {"icc_profile": profile}),
        (clear, "PNG", {}),
        (color.convert("P"), "PNG", {"transparency": 3}),
        (gray.convert("1"), "PNG", {}),
        (deep, "PNG", {}),
        (color, "PNG", moving),
        (color, "WEBP", {}),
        (clear, "WEBP", {"lossless": True, "exif": exif}),
        (color, "WEBP", moving),
        (color, "TIFF", {"compression": "tiff_lzw"}),
        (color, "TIFF", {"compression": "jpeg"}),
        (gray, "TIFF", {"compression": "tiff_deflate"}),
        (deep, "TIFF", {}),
        (gray.convert("F"), "TIFF", {}),
        (color.convert("CMYK"), "TIFF", {}),
        (gray.convert("1"), "TIFF", {"compression": "group4"}),
        (color, "BMP", {}),
        (color.convert("P"), "BMP", {}),
        (color, "GIF", moving),
        (gray, "GIF", {}),
    ]
    return [_saved(image, image_format, **options) for image, image_format, options in kinds]
