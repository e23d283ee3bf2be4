"""Specs: from a request's fields to plain values, and from a resolved spec to the contract.

Options have the same names on both sides, so that they are translated by their descriptors and never listed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from clipstyler.region import Region, RegionRequest
from clipstyler.spec import SpecRequest, StylizationSpec
from clipstyler.v1.image_pb2 import ImageFormat
from clipstyler.v1.names import number_of, word_of
from clipstyler.v1.options_pb2 import PreviewOptions, StylizationOptions
from clipstyler.v1.region_pb2 import Region as RegionMessage
from clipstyler.v1.stylization_pb2 import StylizationSpec as SpecMessage

MessageT = TypeVar("MessageT", bound=Message)
_IMAGE_FORMAT = ImageFormat.DESCRIPTOR


def read_spec(message: SpecMessage) -> SpecRequest:
    """Read what is asked for, except the photo and the mask."""
    return SpecRequest(
        style_text=message.style_text,
        source_text=message.source_text if message.HasField("source_text") else None,
        options=_read(message.options),
        previews=_read(message.previews),
        result_format=word_of(_IMAGE_FORMAT, message.result_format) or None,
        region=_read_region(message.region) if message.HasField("region") else None,
    )


def spec_message(spec: StylizationSpec) -> SpecMessage:
    """Translate a resolved spec: every field is set, except the photo and the mask."""
    resolved = vars(spec.config) | vars(spec)
    return SpecMessage(
        style_text=spec.style_text,
        source_text=spec.source_text,
        options=options_message(resolved),
        previews=_written(PreviewOptions(), vars(spec.previews)),
        result_format=number_of(_IMAGE_FORMAT, spec.result_format),
        region=_region_message(spec.region) if spec.region else None,
    )


def options_message(values: Mapping[str, Any]) -> StylizationOptions:
    """Translate options by name; names that are no option, and None, are left out."""
    return _written(StylizationOptions(), values)


def _read_region(message: RegionMessage) -> RegionRequest:
    return RegionRequest(
        has_mask=message.WhichOneof("source") is not None,
        boxes=[(box.x, box.y, box.relative_width, box.relative_height) for box in message.boxes],
        text=message.text if message.HasField("text") else None,
        feather=message.feather if message.HasField("feather") else None,
    )


def _region_message(region: Region) -> RegionMessage:
    boxes = [
        RegionMessage.Box(x=box.x, y=box.y, relative_width=box.width, relative_height=box.height)
        for box in region.boxes
    ]
    return RegionMessage(
        boxes=boxes,
        text=region.text,
        feather=region.feather,
        mask_digest=region.mask_digest,
    )


def _read(message: Message) -> dict[str, Any]:
    """Return the fields that are present, enums as their words."""
    return {field.name: _plain(field, value) for field, value in message.ListFields()}


def _plain(field: Any, value: Any) -> Any:
    return word_of(field.enum_type, value) if field.enum_type else value


def _written(message: MessageT, values: Mapping[str, Any]) -> MessageT:
    fields: Any = message.DESCRIPTOR.fields
    for field in fields:
        value = values.get(field.name)
        if value is not None:
            setattr(message, field.name, number_of(field.enum_type, value) if field.enum_type else value)
    return message
