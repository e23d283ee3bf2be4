"""Rules of the contract beyond buf's lint, and the files that are derived from it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).with_name("buf")

UNSIGNED = {
    FieldDescriptorProto.TYPE_UINT32,
    FieldDescriptorProto.TYPE_UINT64,
    FieldDescriptorProto.TYPE_FIXED32,
    FieldDescriptorProto.TYPE_FIXED64,
}


def buf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUF, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> FileDescriptorSet:
    """Return proto/ as buf builds it, with the well-known types that it imports and with its comments."""
    path = tmp_path_factory.mktemp("buf") / "contract.binpb"
    finished = buf("build", "proto", "--as-file-descriptor-set", "--output", path)
    assert finished.returncode == 0, finished.stderr
    return FileDescriptorSet.FromString(path.read_bytes())


@pytest.fixture(scope="module")
def ours(built: FileDescriptorSet) -> list[FileDescriptorProto]:
    return [file for file in built.file if file.package == "clipstyler.v1"]


def by_name(described: FileDescriptorSet) -> dict[str, FileDescriptorProto]:
    """Return the files by name, without source locations, whose details differ between compilers."""
    named = {}
    for file in described.file:
        named[file.name] = FileDescriptorProto()
        named[file.name].CopyFrom(file)
        named[file.name].ClearField("source_code_info")
    return named


def messages(file: FileDescriptorProto) -> Iterator[DescriptorProto]:
    pending = list(file.message_type)
    while pending:
        message = pending.pop()
        pending.extend(message.nested_type)
        yield message


def enums(file: FileDescriptorProto) -> Iterator[EnumDescriptorProto]:
    yield from file.enum_type
    for message in messages(file):
        yield from message.enum_type


def test_every_file_is_built(ours: list[FileDescriptorProto]) -> None:
    assert {file.name for file in ours} == {
        path.relative_to(ROOT / "proto").as_posix() for path in (ROOT / "proto").rglob("*.proto")
    }


def test_only_well_known_types_are_imported_from_outside(ours: list[FileDescriptorProto]) -> None:
    outside = {name for file in ours for name in file.dependency} - {file.name for file in ours}
    assert outside
    assert all(name.startswith("google/protobuf/") for name in outside)


def test_every_enum_has_an_unspecified_zero(ours: list[FileDescriptorProto]) -> None:
    found = [enum for file in ours for enum in enums(file)]
    assert {"State", "Priority", "ImageFormat", "Code"} <= {enum.name for enum in found}
    for enum in found:
        zero = enum.value[0]
        prefix = zero.name.removesuffix("UNSPECIFIED")
        assert (zero.number, zero.name.endswith("_UNSPECIFIED")) == (0, True), enum.name
        assert all(value.name.startswith(prefix) for value in enum.value), enum.name


def test_integers_are_signed(ours: list[FileDescriptorProto]) -> None:
    fields = [(message.name, field) for file in ours for message in messages(file) for field in message.field]
    assert fields
    assert [f"{name}.{field.name}" for name, field in fields if field.type in UNSIGNED] == []


def test_the_package_contains_the_descriptor_set_of_the_contract(built: FileDescriptorSet) -> None:
    packaged = FileDescriptorSet.FromString((files("clipstyler.v1") / "contract.binpb").read_bytes())
    assert by_name(packaged) == by_name(built)
    service = next(file for file in packaged.file if file.name == "clipstyler/v1/stylization_service.proto")
    assert any("one call or as durable jobs" in place.leading_comments for place in service.source_code_info.location)


def test_the_contract_breaks_no_client_of_the_baseline() -> None:
    finished = buf("breaking", "proto", "--against", "proto/baseline.binpb")
    assert finished.returncode == 0, finished.stdout


def test_a_renumbered_field_breaks_clients_of_the_baseline(tmp_path: Path) -> None:
    changed = tmp_path / "proto"
    for path in (ROOT / "proto").rglob("*"):
        if path.suffix in {".proto", ".yaml"}:
            target = changed / path.relative_to(ROOT / "proto")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text().replace("string style_text = 3;", "string style_text = 33;"))
    finished = buf("breaking", changed, "--against", "proto/baseline.binpb")
    assert finished.returncode != 0
    assert 'field "3"' in finished.stdout


def test_dimensions_are_in_pixels(ours: list[FileDescriptorProto]) -> None:
    fields = [field.name for file in ours for message in messages(file) for field in message.field]
    sides = [name for name in fields if name.startswith(("width", "height"))]
    assert sides
    assert set(sides) == {"width_px", "height_px"}
