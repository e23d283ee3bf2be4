"""One table of options: the library, the contract and the client have the same names."""

from __future__ import annotations

from typing import get_type_hints

from clipstyler_client import PreviewOptions, StylizeOptions

from clipstyler.front_door import Options
from clipstyler.spec import OPTIONS, PREVIEW_OPTIONS
from clipstyler.v1.options_pb2 import PreviewOptions as PreviewMessage
from clipstyler.v1.options_pb2 import StylizationOptions


def test_the_contract_has_every_option() -> None:
    assert set(StylizationOptions.DESCRIPTOR.fields_by_name) == set(OPTIONS)
    assert set(PreviewMessage.DESCRIPTOR.fields_by_name) == set(PREVIEW_OPTIONS)


def test_the_client_completes_every_option() -> None:
    assert set(get_type_hints(StylizeOptions)) == set(OPTIONS)
    assert set(get_type_hints(PreviewOptions)) == set(PREVIEW_OPTIONS)


def test_the_library_completes_every_option() -> None:
    assert set(get_type_hints(Options)) | {"encoder_set"} == set(OPTIONS)
