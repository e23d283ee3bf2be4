"""The pictures inside Debian packages, read as a stream: nothing is installed, nothing needs root."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from PIL import Image

_ZIPPED = {"zip", "pk3", "jar", "sob", "sh3f"}
Wanted = Callable[[str], bool]
"""Says of a path inside a package whether its bytes are needed."""


class PackageError(RuntimeError):
    """A package cannot be had or read; the message says what to do."""


def download(package: str, folder: Path) -> Path:
    """Get a package's newest version through apt, unless the folder holds one already: the path of its archive.

    Raises
    ------
    PackageError
        There is no apt here, or apt does not have the package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (found := _archives(folder, package)):
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise PackageError("apt-get and dpkg-deb are needed to fetch the pictures: run this on Debian or Ubuntu")
        done = subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True, check=False)
        found = _archives(folder, package)
        if done.returncode or not found:
            said = done.stderr.strip().splitlines()[-1:] or ["apt-get said nothing"]
            raise PackageError(f"apt cannot download {package}: {said[0]} (does `apt-get update` help?)")
    return found[-1]


def version(archive: Path) -> str:
    """The version of a downloaded package, by its file's name."""
    return unquote(archive.stem.split("_")[1])


def _archives(folder: Path, package: str) -> list[Path]:
    return sorted(folder.glob(f"{package}_*.deb"))


def pictures(archive: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of the wanted files of a package; see `pictures_in_tar`.

    Raises
    ------
    PackageError
        The archive is damaged.
    """
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield from pictures_in_tar(process.stdout, wanted)
            damage = None
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error) as error:
            damage = error
    if damage or process.returncode:
        raise PackageError(f"{archive} cannot be read: delete it, and it will be downloaded again") from damage


def pictures_in_tar(stream: IO[bytes], wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of the wanted files of a tar stream, those inside its zip and Qt resource files included.

    A file inside a file has the path of both: ``usr/share/game/textures.pk3/wood/oak.jpg``.
    """
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            if member.isfile():
                yield from _inside(member.name.removeprefix("./"), partial(_read, tar, member), wanted)


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def _inside(name: str, read: Callable[[], bytes], wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    suffix = name.rpartition(".")[2].lower()
    if suffix in _ZIPPED:
        with zipfile.ZipFile(io.BytesIO(read())) as inner:
            for path in inner.namelist():
                if wanted(f"{name}/{path}"):
                    yield f"{name}/{path}", inner.read(path)
    elif suffix == "rcc":
        for path, content in qt_resources(read()):
            if wanted(f"{name}/{path}"):
                yield f"{name}/{path}", content
    elif wanted(name):
        yield name, read()


def qt_resources(blob: bytes) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of every file in a Qt binary resource collection (``.rcc``), stored plainly or by zlib."""
    magic, version, tree, data, names = struct.unpack(">4sIIII", blob[:20])
    if magic != b"qres":
        raise PackageError(f"not a Qt resource file: it begins with {magic!r}")
    record = 14 if version < 2 else 22

    def walk(index: int, path: str) -> Iterator[tuple[str, bytes]]:
        name_at, flags, first, second = struct.unpack_from(">IHII", blob, tree + index * record)
        if flags & 2:
            folder = f"{path}{_qt_name(blob, names + name_at)}/" if index else ""
            for child in range(second, second + first):
                yield from walk(child, folder)
            return
        (length,) = struct.unpack_from(">I", blob, data + second)
        content = blob[data + second + 4 : data + second + 4 + length]
        yield f"{path}{_qt_name(blob, names + name_at)}", zlib.decompress(content[4:]) if flags & 1 else content

    yield from walk(0, "")


def _qt_name(blob: bytes, at: int) -> str:
    (length,) = struct.unpack_from(">H", blob, at)
    return blob[at + 6 : at + 6 + 2 * length].decode("utf-16-be")


def opened(name: str, content: bytes) -> Image.Image:
    """Open a picture of any kind met in these packages: what Pillow reads, and GIMP's patterns."""
    return _gimp_pattern(content) if name.endswith(".pat") else Image.open(io.BytesIO(content))


def _gimp_pattern(content: bytes) -> Image.Image:
    header, _version, width, height, channels = struct.unpack_from(">5I", content)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    return Image.frombytes(mode, (width, height), content[header : header + width * height * channels])
