"""A style as a file: a fitted StyleNet and all that its pictures depend on besides the photo. No PyTorch here.

One safetensors file holds the weights, in half precision or in bytes, and a description. Its SHA-256 is its identity.
It also carries a digest of its own contents, so that damage is found in a file whose name is not known; and it is
written in one way only, so that nothing can hide in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipstyler.config import Border
from clipstyler.encoders.description import EncoderModel
from clipstyler.prompts import MOST_CHARACTERS

FORMAT_VERSION = 1
MAX_BYTES = 4 * 2**20
"""No style file is larger; one has 1.3 MB."""
MAX_PHOTOS = 16
"""That a style may be fitted to."""
SMALLEST_SIZE = 64
"""Of a style, pixels."""
SUFFIX = ".style"
THUMBNAIL_SIDE = 128

_KEY = "clipstyler.style"
_SCALE = ".scale"
_LARGEST_BYTE = 127
_HEADER_BYTES = 2**20  # the longest texts, each character as 14, and the largest thumbnail
_THUMBNAIL_BYTES = 128 * 1024
_NAME_CHARACTERS = 4096  # an encoder set may be a path
_LARGEST_COUNT = 2**31 - 1
_PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR"
_PLAIN: Mapping[str, Any] = {"int": int, "float": (int, float), "str": str}

Array = NDArray[Any]


class Precision(StrEnum):
    """How a file holds the weights."""

    HALF = "half"  # float16
    BYTE = "byte"  # kernels as 8-bit integers with a float16 scale per output; half the size


class Tensor(NamedTuple):
    """Type and shape of a tensor."""

    kind: str
    shape: tuple[int, ...]


class StyleError(ValueError):
    """A style file that cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True)
class StyleDescription:
    """What describes a style, without its weights.

    Attributes
    ----------
    style_text, source_text, template_set
        What it was fitted to.
    encoder_set, models
        What guided the fit, with the digests of its weights.
    seed
        Of its start, its crops, and the noise on its input.
    size
        Longest side in pixels of a photo as the network was fitted to it, the largest of several, at least 64; larger
        ones are drawn from there on.
    steps, photos
        Optimizer steps completed, and photos that it was fitted to.
    input_noise, noise_octaves, contrast, border
        The options that its pictures depend on.
    precision
        Of the weights in the file.
    versions
        Of the libraries that fitted it, by name.
    thumbnail
        What it makes of a photo: a PNG, at most 128 px wide and high.
    """

    style_text: str
    source_text: str
    template_set: str
    encoder_set: str
    models: tuple[EncoderModel, ...]
    seed: int
    size: int
    steps: int
    photos: int
    input_noise: float
    noise_octaves: int
    contrast: float
    border: str
    precision: str
    versions: Mapping[str, str]
    thumbnail: bytes


@dataclass(frozen=True)
class Style:
    """A style in memory; `dump_style` makes a file of it.

    Attributes
    ----------
    description
        What describes it.
    weights
        Of StyleNet by their names.
    """

    description: StyleDescription
    weights: Mapping[str, Array]


def digest_of(data: bytes) -> str:
    """Return the identity of a style file: its SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def dump_style(style: Style) -> bytes:
    """Return the file of a style; the same style always gives the same bytes."""
    return _file(_stored(style.weights, style.description.precision), _described(style.description))


def load_style(data: bytes, digest: str | None = None) -> Style:
    """Read a style file, and refuse whatever `dump_style` would not have written.

    Parameters
    ----------
    data
        The bytes of the file.
    digest
        Identity that it must have.

    Raises
    ------
    StyleError
        It is no style, a damaged or too large one, or one of a newer version.
    """
    if len(data) > MAX_BYTES:
        raise StyleError(f"the style has {len(data)} bytes, at most {MAX_BYTES} are read")
    if digest is not None and digest_of(data) != digest:
        raise StyleError(f"the style {digest} is damaged: its bytes have another SHA-256, {digest_of(data)}")
    header, start = _header(data)
    described = _metadata(header)
    expected = expected_tensors(str(described["description"].get("precision")))
    tensors = {name: _tensor(data, start, name, entry, expected) for name, entry in header.items()}
    if tensors.keys() != expected.keys():
        raise StyleError("the style is damaged: it lacks tensors")
    found = _contents_digest(tensors, described["description"])
    if described["contents"] != found:
        raise StyleError(f"the style {described['contents']} is damaged: its contents have the digest {found}")
    style = Style(_description(described["description"]), _restored(tensors))
    if dump_style(style) != data:
        raise StyleError("the style was not written by this program: its bytes are not in their only order")
    return style


def dump_description(description: StyleDescription) -> str:
    """Return what describes a style as JSON."""
    return _json(_described(description))


def load_description(text: str) -> StyleDescription:
    """Read what describes a style; raises `StyleError`."""
    described = _object(text)
    if described is None:
        raise StyleError("the style is damaged: its description is no JSON")
    return _description(described)


def _stored(weights: Mapping[str, Array], precision: str) -> dict[str, Array]:
    """Return the tensors of a file."""
    tensors: dict[str, Array] = {}
    for name, array in weights.items():
        if precision == Precision.BYTE and array.ndim == 4:
            tensors[name], tensors[name + _SCALE] = _in_bytes(np.asarray(array, np.float32))
        else:
            tensors[name] = np.ascontiguousarray(array, np.float16)
    return tensors


def _in_bytes(kernels: Array) -> tuple[Array, Array]:
    """Return kernels (out, in, H, W) as bytes, and the scale of each of the outputs."""
    scale = (np.abs(kernels).max(axis=(1, 2, 3)) / _LARGEST_BYTE).astype(np.float16)
    divisor = np.where(scale == 0, 1, scale).astype(np.float32)[:, None, None, None]
    return np.clip(np.rint(kernels / divisor), -_LARGEST_BYTE, _LARGEST_BYTE).astype(np.int8), scale


def _restored(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return the weights that tensors of a file stand for."""
    weights = {}
    for name, array in tensors.items():
        if name + _SCALE in tensors:
            weights[name] = array.astype(np.float32) * tensors[name + _SCALE].astype(np.float32)[:, None, None, None]
        elif not name.endswith(_SCALE):
            weights[name] = array
    return weights


_TYPES: Mapping[str, Any] = {"F16": np.dtype("<f2"), "I8": np.dtype("i1")}


def _file(tensors: Mapping[str, Array], description: Mapping[str, Any]) -> bytes:
    """Return a safetensors file, its tensors in the order of their names."""
    metadata = {"contents": _contents_digest(tensors, description), "description": description}
    header: dict[str, Any] = {"__metadata__": {_KEY: _json({"version": FORMAT_VERSION} | metadata)}}
    names, offset = sorted(tensors), 0
    for name in names:
        array = tensors[name]
        kind = "F16" if array.dtype == np.float16 else "I8"
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = _json(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(tensors[name].tobytes() for name in names)


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return what stands before the tensors, and where these begin."""
    size = struct.unpack_from("<Q", data)[0] if len(data) >= 8 else _HEADER_BYTES + 1
    if size > min(_HEADER_BYTES, len(data) - 8):
        raise StyleError("the file is no style: it has no header of safetensors")
    try:
        header = json.loads(data[8 : 8 + size])
    except (ValueError, RecursionError):
        raise StyleError("the file is no style, or a damaged one: its header is no JSON") from None
    if not isinstance(header, dict):
        raise StyleError("the file is no style: its header is no object")
    return header, 8 + size


def _metadata(header: dict[str, Any]) -> dict[str, Any]:
    """Take what describes the style out of the header."""
    metadata = header.pop("__metadata__", None)
    text = metadata.get(_KEY) if isinstance(metadata, dict) else None
    described = _object(text) if isinstance(text, str) else None
    if described is None or not isinstance(described.get("version"), int):
        raise StyleError(f"the file is no style, or a damaged one: its metadata has no {_KEY}")
    if described["version"] > FORMAT_VERSION:
        raise StyleError(
            f"the style has format version {described['version']}, and this program reads {FORMAT_VERSION}: "
            "install a newer one"
        )
    if set(described) != {"version", "contents", "description"} or not isinstance(described["description"], dict):
        raise StyleError("the style is damaged: its metadata is incomplete")
    return described


def _object(text: str) -> dict[str, Any] | None:
    """Read an object of JSON; None if the text is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _tensor(data: bytes, start: int, name: str, entry: Any, expected: Mapping[str, Tensor]) -> Array:
    """Read one tensor, of the type and shape that it must have."""
    kind, shape = expected.get(name, Tensor("", ()))
    first, last = _offsets(entry)
    dtype = _TYPES.get(kind)
    if dtype is None or entry.get("dtype") != kind or entry.get("shape") != list(shape):
        raise StyleError(f"the style is none of this StyleNet: its tensor {name[:80]!r} has no such type or shape")
    if last - first != int(np.prod(shape)) * dtype.itemsize or not 0 <= first <= last <= len(data) - start:
        raise StyleError(f"the style is damaged: its tensor {name!r} does not lie in the file")
    array = np.frombuffer(data, dtype, int(np.prod(shape)), start + first).reshape(shape)
    if not np.isfinite(array).all():
        raise StyleError(f"the style is damaged: its tensor {name!r} is not finite")
    return array


def _offsets(entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(offset) is int for offset in offsets)):
        raise StyleError("the style is damaged: a tensor has no place in the file")
    return offsets[0], offsets[1]


def _contents_digest(tensors: Mapping[str, Array], description: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(_json(description).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _described(description: StyleDescription) -> dict[str, Any]:
    values = asdict(description)
    return values | {"thumbnail": base64.b64encode(description.thumbnail).decode()}


def _description(values: dict[str, Any]) -> StyleDescription:
    """Read a description field by field."""
    if set(values) != {field.name for field in fields(StyleDescription)}:
        raise StyleError("the style is damaged: its description is incomplete")
    for field in fields(StyleDescription):
        expected = _PLAIN.get(str(field.type))
        value = values[field.name]
        if expected and (not isinstance(value, expected) or isinstance(value, bool)):
            raise StyleError(f"the style is damaged: its {field.name} is no {field.type}")
    try:
        json.dumps(values, ensure_ascii=False).encode()  # no text that cannot be sent
        description = StyleDescription(
            **values
            | {
                "models": tuple(EncoderModel(str(name), str(digest)) for name, digest in values["models"]),
                "versions": {str(name): str(version) for name, version in values["versions"].items()},
                "thumbnail": base64.b64decode(values["thumbnail"], validate=True),
            }
        )
    except (TypeError, ValueError, KeyError, AttributeError):
        raise StyleError("the style is damaged: its description cannot be read") from None
    _check(description)
    return description


def _check(description: StyleDescription) -> None:
    """Refuse values that nothing can be drawn with."""
    texts = (description.style_text, description.source_text)
    is_usable = (
        all(0 < len(text) <= MOST_CHARACTERS for text in texts)
        and all(len(name) <= _NAME_CHARACTERS for name in (description.encoder_set, description.template_set))
        and 0 <= description.seed < 2**63
        and SMALLEST_SIZE <= description.size <= 4096
        and 0 <= description.steps <= _LARGEST_COUNT
        and 1 <= description.photos <= _LARGEST_COUNT
        and 0 <= description.input_noise <= 1
        and 1 <= description.noise_octaves <= 8
        and 0 <= description.contrast <= 4
        and description.border in list(Border)
        and description.precision in list(Precision)
        and _is_thumbnail(description.thumbnail)
    )
    if not is_usable:
        raise StyleError("the style cannot be used: a value of its description is out of bounds")


def _is_thumbnail(data: bytes) -> bool:
    """Return whether the bytes begin as those of a small PNG do."""
    if len(data) > _THUMBNAIL_BYTES or not data.startswith(_PNG):
        return False
    size = data[len(_PNG) : len(_PNG) + 8]
    sides = [int.from_bytes(size[:4]), int.from_bytes(size[4:])]
    return all(0 < side <= THUMBNAIL_SIDE for side in sides)


def expected_tensors(precision: str) -> dict[str, Tensor]:
    """Return type and shape of every tensor of a file, by name."""
    tensors = {}
    for name, shape in _weights():
        in_bytes = precision == Precision.BYTE and len(shape) == 4
        tensors[name] = Tensor("I8" if in_bytes else "F16", shape)
        if in_bytes:
            tensors[name + _SCALE] = Tensor("F16", shape[:1])
    return tensors


def _weights() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield names and shapes of StyleNet's weights."""
    for name, (into, out, kernel) in _convolutions():
        yield f"{name}.weight", (out, into, kernel, kernel)
        yield f"{name}.bias", (out,)


def _convolutions() -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yield names, channels and kernel sides of StyleNet's convolutions."""
    yield "stem", (3, 16, 1)
    yield "head", (16, 3, 1)
    for number, channels in enumerate((16, 32, 64)):
        yield f"shrink.{number}", (channels, channels, 4)
    blocks = {"first": (16, 16), "bottom": (64, 128), "last": (32, 16)}
    blocks |= {f"down.{number}": pair for number, pair in enumerate(((16, 16), (16, 32), (32, 64)))}
    blocks |= {f"up.{number}": pair for number, pair in enumerate(((192, 64), (96, 32), (48, 16)))}
    for name, (into, out) in blocks.items():
        yield f"{name}.body.0", (into, out, 3)
        yield f"{name}.body.2", (out, out, 3)
        yield f"{name}.skip", (into, out, 1)
